"""An OpenAI-compatible images server on loopback: keeps every byte it is sent and behaves as it is told."""

import asyncio
import base64
import io
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from PIL import Image


def picture(width: int = 64, height: int = 64) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (40, 90, 160)).save(out, "PNG")
    return out.getvalue()


PICTURE = picture()
Answer = Callable[["Seen"], web.Response]


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


def pictures(seen: Seen) -> web.Response:
    """Deliver what was asked for, as base64."""
    text = base64.b64encode(PICTURE).decode()
    data = [{"b64_json": text} for _ in range(seen.json.get("n") or 1)]
    return web.json_response({"created": 1, "data": data}, headers={"x-request-id": "req_upstream"})


def error(status: int, code: str, message: str = "no", kind: str = "invalid_request_error") -> Answer:
    body = {"error": {"message": message, "type": kind, "code": code, "param": None}}
    return lambda _seen: web.json_response(body, status=status)


@dataclass
class Upstream:
    """Start it, look at `seen`, set `answers` (used once each, then pictures); clear `gate` to make it wait."""

    seen: list[Seen] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)
    holding: dict[str, threading.Event] = field(default_factory=dict)
    """Prompts whose requests wait until their event is set."""
    url: str = ""

    def reset(self) -> None:
        self.seen.clear()
        self.answers.clear()
        self.arrived.clear()
        self.holding.clear()
        self.gate.set()

    async def _handle(self, request: web.Request) -> web.Response:
        seen = Seen(request.path, dict(request.headers), await request.read())
        self.seen.append(seen)
        self.arrived.set()
        held = self.holding.get(str(seen.json.get("prompt"))) if self.holding else None
        while not self.gate.is_set() or (held is not None and not held.is_set()):
            await asyncio.sleep(0.005)
        answer = self.answers.pop(0) if self.answers else pictures
        return answer(seen)

    def start(self) -> None:
        self.reset()
        up = threading.Event()
        self._loop = asyncio.new_event_loop()

        async def serve() -> None:
            app = web.Application(client_max_size=1 << 28)
            app.router.add_route("*", "/{path:.*}", self._handle)
            self._runner = web.AppRunner(app, access_log=None)
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
            up.set()

        def run() -> None:
            self._loop.run_until_complete(serve())
            self._loop.run_forever()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert up.wait(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
