"""Realtime sessions of the emulated fal, as fal's own package serves them (`wire/fal.md §6.3`).

One frame at a time; of those that wait, the oldest gives way where `max_buffering` says how many may. A frame that
fails is told and ends the session. Words in a prompt: `@latency=0.5`, `@hang`, `@cut=read` (closed, nothing was done),
`@cut=after` (closed after the work), `@idle` (the end of an idle session comes in place of an answer), and every
failure of a model's.
"""

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from calotype.kernel.ids import uuid7
from calotype.sandbox import media
from calotype.sandbox.base import Emulator, Submit, reply
from calotype.sandbox.fal_models import Ending, ending_of
from calotype.sandbox.fal_storage import key_refusal
from calotype.sandbox.faults import fault_in, words_in

IDLE = {"type": "x-fal-error", "error": "TIMEOUT", "reason": "no inputs, reconnect when needed!"}
UNAUTHORIZED = {"status": "error", "error": "Unauthorized"}
NAMESPACES = ("workflows", "comfy")

Keep = Callable[[bytes, str, str], str]


class Realtime:
    """Tokens, and the sessions they open."""

    def __init__(self, emulator: Emulator, keep: Keep) -> None:
        self.tokens: dict[str, tuple[list[str], float]] = {}
        self.opened = 0
        """How many sessions were ever opened."""
        self._emulator = emulator
        self._keep = keep

    def routes(self) -> list[BaseRoute]:
        """Return the addresses of tokens and sessions."""
        route = self._emulator.route
        return [
            route("/rest/tokens", "tokens", self._token),
            route("/rest/tokens/realtime", "tokens", self._token),
            WebSocketRoute("/run/{endpoint:path}/realtime", self._session),
        ]

    def reset(self) -> None:
        """Forget tokens and counts."""
        self.tokens.clear()
        self.opened = 0

    async def _token(self, request: Request) -> Response:
        if (refused := key_refusal(request)) is not None:
            return refused
        try:
            given = msgspec.json.decode(await request.body(), type=dict[str, Any])
        except msgspec.MsgspecError:
            return reply({"detail": "Invalid JSON body"}, 400)
        apps, lasts_s = given.get("allowed_apps"), given.get("token_expiration") or given.get("duration")
        if not isinstance(apps, list) or not isinstance(lasts_s, int):
            return reply(
                {"detail": [{"loc": ["body", "allowed_apps"], "msg": "Field required", "type": "missing"}]}, 422
            )
        token = f"eyJ{secrets.token_urlsafe(24)}"
        self.tokens[token] = (apps, time.monotonic() + lasts_s)
        return reply(token)

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def _session(self, socket: WebSocket) -> None:
        await socket.accept()
        endpoint = socket.path_params["endpoint"]
        if not self._allowed(socket, endpoint):
            await _tell(socket, UNAUTHORIZED)
            await socket.close(1008)
            return
        self.opened += 1
        most = socket.query_params.get("max_buffering", "")
        waiting: deque[bytes | str] = deque(maxlen=int(most) if most.isdecimal() else None)
        news = asyncio.Event()
        reader = asyncio.create_task(_read(socket, waiting, news))
        try:
            while await self._heard(waiting, news, reader):
                if not await self._frame(socket, endpoint, waiting.popleft(), reader):
                    return
            if not reader.done():
                await _tell(socket, IDLE)
                await socket.close()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _heard(self, waiting: deque[bytes | str], news: asyncio.Event, reader: "asyncio.Task[None]") -> bool:
        """Wait for a frame; False when the client is gone or idle."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._emulator.settings["realtime_idle_s"]):
                while not waiting and not reader.done():
                    news.clear()
                    await news.wait()
        return bool(waiting)

    async def _frame(self, socket: WebSocket, endpoint: str, frame: bytes | str, gone: "asyncio.Task[None]") -> bool:
        """Answer one frame; False when that ended the session."""
        fields = msgspec.msgpack.decode(frame) if isinstance(frame, bytes) else msgspec.json.decode(frame)
        body = msgspec.json.encode(fields)
        words = words_in(f"{endpoint} {body.decode()}")
        fault = fault_in(words)
        url = socket.url
        self._emulator.submits.append(
            Submit("FRAME", url.path, url.query, dict(socket.headers), body, time.monotonic())
        )
        await asyncio.sleep(fault.latency)
        if fault.hang:
            await asyncio.wait((gone,))
        if fault.cut in ("before", "read"):
            await socket.close(1011)
            return False
        if "idle" in words:
            await _tell(socket, IDLE)
            await socket.close()
            return False
        ident = uuid7()
        ending = ending_of(endpoint, ident, fields, words, store=self._keep, known=lambda url: url.startswith("http"))
        if fault.cut:
            await socket.close(1011)
            return False
        if ending.error is not None or fault.status:
            reason = str(ending.body.get("detail", "as you wished")) if ending.error is not None else "as you wished"
            await _tell(socket, {"type": "x-fal-error", "error": "INTERNAL_ERROR", "reason": reason})
            await socket.close()
            return False
        await _show(socket, ending, fields, binary=isinstance(frame, bytes), ident=ident)
        return True

    def _allowed(self, socket: WebSocket, endpoint: str) -> bool:
        token = socket.query_params.get("fal_jwt_token")
        if token is None:
            return socket.headers.get("authorization", "").startswith("Key ")
        apps, until_s = self.tokens.get(token, ([], 0.0))
        parts = endpoint.split("/")
        alias = parts[2 if parts[0] in NAMESPACES else 1] if len(parts) > 1 else endpoint
        return time.monotonic() < until_s and (alias in apps or endpoint in apps)


async def _show(socket: WebSocket, ending: Ending, fields: dict[str, Any], *, binary: bool, ident: str) -> None:
    """Send a result, its pictures as bytes unless the input asks for data URIs."""
    body = dict(ending.body)
    if binary and not fields.get("sync_mode"):
        body["images"] = [_as_bytes(image, ident) for image in body.get("images", [])]
    body["request_id"] = fields.get("request_id", ident)
    if binary:
        await socket.send_bytes(msgspec.msgpack.encode(body))
    else:
        await socket.send_text(msgspec.json.encode(body).decode())
    await _tell(socket, {"type": "x-fal-message", "action": "timings", "timing": 0.01})


def _as_bytes(image: dict[str, Any], name: str) -> dict[str, Any]:
    width, height = image["width"], image["height"]
    return {"content": media.png(width, height, name), "content_type": "image/png", "width": width, "height": height}


async def _read(socket: WebSocket, waiting: deque[bytes | str], news: asyncio.Event) -> None:
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            frame = message.get("bytes")
            waiting.append(frame if frame is not None else message["text"])
            news.set()
    finally:
        news.set()


async def _tell(socket: WebSocket, body: dict[str, Any]) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_text(msgspec.json.encode(body).decode())
