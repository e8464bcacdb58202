"""A model server of an operator's own, emulated: it keeps to `docs/workers.md` and misbehaves when asked to.

A job ends at its second look, or `@work` seconds after it was taken; then the address it was given is called.
`@fails=moderated` ends it so.
"""

import asyncio
import time
from typing import Any, ClassVar

import aiohttp
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from calotype.sandbox import media
from calotype.sandbox.base import Emulator, reply
from calotype.sandbox.faults import Fault, words_in

MODEL = "painter"
KINDS = ("invalid", "moderated", "busy", "failed")
"""What may be said to be wrong."""


class Painting(Struct):
    """One job as it was taken."""

    id: str
    text: str
    words: dict[str, str]
    callback: str | None
    ready_s: float
    looks: int = 0
    canceled: bool = False


class Painter(Emulator):
    """One server with one model; `token` is what it lets in."""

    name = "painter"
    defaults: ClassVar = {"looks": 1, "capacity": 16}

    def __init__(self, token: str = "painter-token") -> None:
        self.token = token
        self.paintings: dict[str, Painting] = {}
        self.called: list[int] = []
        """What the addresses that were called answered."""
        self._calls: set[asyncio.Task[None]] = set()
        super().__init__()

    def routes(self) -> list[BaseRoute]:
        return [
            self.route("/health", "health", self._health, "GET"),
            self.route("/v1/jobs", "submit", self._take),
            self.route("/v1/jobs/{id}", "status", self._look, "GET"),
            self.route("/v1/jobs/{id}", "cancel", self._cancel, "DELETE"),
            self.route("/v1/files/{id}", "file", self._file, "GET"),
        ]

    def words_of(self, request: Request, body: bytes) -> str:
        painting = self.paintings.get(request.path_params.get("id", ""))
        if painting is not None:
            return painting.text
        return body.decode(errors="replace").partition('"callback"')[0] if request.method == "POST" else ""

    def refusal(self, fault: Fault) -> Response:
        return reply({"error": {"kind": "busy" if fault.status >= 429 else "invalid", "message": "No."}}, fault.status)

    async def _health(self, request: Request) -> Response:
        busy = sum(not self._over(one) for one in self.paintings.values())
        told = {"models": [MODEL], "capacity": int(self.settings["capacity"]), "busy": busy, "version": "1"}
        return self._stranger(request) or reply(told)

    async def _take(self, request: Request) -> Response:
        if (refused := self._stranger(request)) is not None:
            return refused
        raw = await request.body()
        body: dict[str, Any] = await request.json()
        painting = self.paintings.get(body["id"])
        if painting is None:
            words = words_in(raw.decode())
            ready_s = time.monotonic() + float(words.get("work", 0))
            text = self.words_of(request, raw)
            painting = Painting(body["id"], text, words, body.get("callback"), ready_s)
            self.paintings[painting.id] = painting
            if painting.callback and "work" in words:
                call = asyncio.create_task(self._announce(painting))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
        return reply(self._told(painting), 202)

    async def _look(self, request: Request) -> Response:
        painting = self.paintings.get(request.path_params["id"])
        if (refused := self._stranger(request)) is not None or painting is None:
            return refused or reply({"error": {"message": "unknown"}}, 404)
        painting.looks += 1
        return reply(self._told(painting))

    async def _cancel(self, request: Request) -> Response:
        painting = self.paintings.get(request.path_params["id"])
        if (refused := self._stranger(request)) is not None or painting is None:
            return refused or reply({"error": {"message": "unknown"}}, 404)
        painting.canceled = painting.canceled or not self._over(painting)
        return reply(self._told(painting))

    async def _file(self, request: Request) -> Response:
        picture = media.png(64, 64, request.path_params["id"])
        return self._stranger(request) or Response(picture, media_type="image/png")

    async def _announce(self, painting: Painting) -> None:
        await asyncio.sleep(max(0.0, painting.ready_s - time.monotonic()) + 0.01)
        painting.looks = max(painting.looks, int(self.settings["looks"]) + 1)
        async with aiohttp.ClientSession() as session:
            try:
                async with session.post(painting.callback or "", json={"id": painting.id}) as answer:
                    self.called.append(answer.status)
            except aiohttp.ClientError:
                self.called.append(0)

    def _over(self, painting: Painting) -> bool:
        return painting.canceled or (painting.looks > self.settings["looks"] and time.monotonic() >= painting.ready_s)

    def _told(self, painting: Painting) -> dict[str, Any]:
        said: dict[str, Any] = {"id": painting.id, "status": "running", "progress": 0.5}
        if painting.canceled:
            return {**said, "status": "canceled"}
        if not self._over(painting):
            return said
        if wanted := painting.words.get("fails"):
            kind = wanted if wanted in KINDS else "failed"
            return {**said, "status": "failed", "error": {"kind": kind, "message": painting.text}}
        output = {"url": f"/v1/files/{painting.id}", "content_type": "image/png"}
        return {**said, "status": "succeeded", "outputs": [output]}

    def _stranger(self, request: Request) -> Response | None:
        known = request.headers.get("authorization") == f"Bearer {self.token}"
        return None if known else reply({"error": {"message": "no"}}, 401)
