"""One emulated upstream: OpenAI's images endpoint, which answers at once, and a jobs endpoint that is polled.

It remembers every request that would have cost money, so that a test can count them.
"""

import asyncio
import base64
import struct
import time
import zlib
from typing import Any

from aiohttp import web
from msgspec import Struct

from calotype.sandbox.wishes import Wishes, wishes_in

PICTURE_PIXELS = 8


class Submit(Struct):
    """One request that costs money, as it arrived; `key` is the caller's idempotency key."""

    prompt: str
    path: str
    key: str | None
    at_s: float


class Work(Struct):
    """One piece of work the upstream took on and bills, whoever asks how often for it."""

    id: str
    prompt: str
    key: str | None
    ready_at_s: float
    canceled: bool = False
    polls: int = 0


class Emulator:
    """Serves on loopback. `takes_keys` makes it do the work of one idempotency key once."""

    def __init__(self, *, takes_keys: bool = True) -> None:
        self.submits: list[Submit] = []
        self.works: dict[str, Work] = {}
        self.url = ""
        self._takes_keys = takes_keys
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> str:
        """Begin to serve and return the base URL."""
        app = web.Application(client_max_size=1 << 26)
        app.add_routes(
            [
                web.post("/v1/images/generations", self._images),
                web.post("/jobs", self._create),
                web.get("/jobs", self._find),
                web.get("/jobs/{id}", self._poll),
                web.delete("/jobs/{id}", self._cancel),
                web.get("/files/{name}", self._file),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    def submits_of(self, word: str) -> list[Submit]:
        """Return the paid requests whose prompt holds the word."""
        return [submit for submit in self.submits if word in submit.prompt]

    def works_of(self, word: str) -> list[Work]:
        """Return the work that was taken on for prompts with the word."""
        return [work for work in self.works.values() if word in work.prompt]

    # -- the images endpoint ---------------------------------------------------------------------------------------

    async def _images(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        wishes, refusal = await self._take(request, body)
        if refusal is not None:
            return refusal
        work = self._begin(request, body, wishes)
        await self._before_answer(request, wishes)
        data: list[dict[str, Any]] = []
        for n in range(max(wishes.n, int(body.get("n") or 1))):
            picture = picture_of(f"{work.id}-{n}")
            if wishes.b64 or body.get("response_format") == "b64_json":
                data.append({"b64_json": base64.b64encode(picture).decode()})
            else:
                data.append({"url": self._file_url(work, n, wishes)})
        return await self._answer(request, wishes, {"created": int(time.time()), "data": data})

    # -- the jobs endpoint -----------------------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        wishes, refusal = await self._take(request, body)
        if refusal is not None:
            return refusal
        work = self._begin(request, body, wishes)
        await self._before_answer(request, wishes)
        return await self._answer(request, wishes, {"id": work.id, "status": "running"}, status=202)

    async def _find(self, request: web.Request) -> web.StreamResponse:
        token = request.query.get("token")
        found = [work for work in self.works.values() if work.key == token and token]
        return web.json_response({"jobs": [{"id": work.id} for work in found]})

    async def _poll(self, request: web.Request) -> web.StreamResponse:
        work = self.works.get(request.match_info["id"])
        if work is None:
            return web.json_response({"error": "unknown"}, status=404)
        work.polls += 1
        wishes = wishes_in(work.prompt)
        if work.canceled:
            return web.json_response({"id": work.id, "status": "canceled"})
        if time.monotonic() < work.ready_at_s:
            return web.json_response({"id": work.id, "status": "running"})
        if wishes.fails:
            return web.json_response({"id": work.id, "status": "failed", "kind": wishes.fails})
        urls = [self._file_url(work, n, wishes) for n in range(wishes.n)]
        return web.json_response({"id": work.id, "status": "done", "urls": urls})

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        work = self.works.get(request.match_info["id"])
        if work is None or time.monotonic() >= work.ready_at_s:
            return web.json_response({"canceled": False})
        work.canceled = True
        return web.json_response({"canceled": True})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name.startswith("lost-"):
            return web.Response(status=404)
        slow = float(request.query.get("slow", 0))
        if slow:
            await asyncio.sleep(slow)
        return web.Response(body=picture_of(name.removesuffix(".png")), content_type="image/png")

    # -- small parts -----------------------------------------------------------------------------------------------

    async def _take(self, request: web.Request, body: dict[str, Any]) -> tuple[Wishes, web.StreamResponse | None]:
        """Note a paid request; say what it wants, and the refusal where it wants one."""
        prompt = str(body.get("prompt", ""))
        key = request.headers.get("Idempotency-Key") or body.get("token")
        self.submits.append(Submit(prompt, request.path, key, time.monotonic()))
        wishes = wishes_in(prompt)
        if len([one for one in self.submits if one.prompt == prompt]) > wishes.first:
            wishes = Wishes(work=wishes.work, b64=wishes.b64, n=wishes.n, lost=wishes.lost)
        if wishes.reset == "before":
            _abort(request)
            return wishes, web.Response()
        if wishes.status != 200:
            await asyncio.sleep(wishes.delay)
            error = {"message": "as you wished", "type": "wish", "code": None, "param": None}
            return wishes, web.json_response({"error": error}, status=wishes.status)
        return wishes, None

    def _begin(self, request: web.Request, body: dict[str, Any], wishes: Wishes) -> Work:
        key = request.headers.get("Idempotency-Key") or body.get("token")
        if key and self._takes_keys and "Idempotency-Key" in request.headers:
            for work in self.works.values():
                if work.key == key:
                    return work
        prompt = str(body.get("prompt", ""))
        work = Work(f"w{len(self.works)}-{time.monotonic_ns():x}", prompt, key, time.monotonic() + wishes.work)
        self.works[work.id] = work
        return work

    async def _before_answer(self, request: web.Request, wishes: Wishes) -> None:
        await asyncio.sleep(wishes.delay)
        if wishes.reset == "after":
            _abort(request)

    async def _answer(
        self, request: web.Request, wishes: Wishes, body: dict[str, Any], status: int = 200
    ) -> web.StreamResponse:
        if wishes.garbage:
            return web.Response(text="<html>so sorry</html>", content_type="text/html", status=status)
        whole = web.json_response(body, status=status)
        if not wishes.cut:
            return whole
        text = bytes(whole.body) if isinstance(whole.body, bytes) else b"{}"
        response = web.StreamResponse(status=status, headers={"Content-Length": str(len(text))})
        await response.prepare(request)
        await response.write(text[: len(text) // 2])
        _abort(request)
        return response

    def _file_url(self, work: Work, n: int, wishes: Wishes) -> str:
        lost = "lost-" if n >= wishes.n - wishes.lost else ""
        slow = f"?slow={wishes.slowfile}" if wishes.slowfile else ""
        return f"{self.url}/files/{lost}{work.id}-{n}.png{slow}"


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def picture_of(name: str) -> bytes:
    """Return a small PNG whose colour follows from the name."""
    colour = zlib.crc32(name.encode()).to_bytes(4, "big")[:3]
    rows = (b"\x00" + colour * PICTURE_PIXELS) * PICTURE_PIXELS
    head = struct.pack(">IIBBBBB", PICTURE_PIXELS, PICTURE_PIXELS, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
