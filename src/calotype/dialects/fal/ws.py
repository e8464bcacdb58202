"""HTTP over a WebSocket: each text message is the body of a direct call, each answer three kinds of messages (§6.4).

The calls are those of `run` and `/stream`, one after the other; only their way is another.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from calotype.dialects.door import Message, Scope
from calotype.dialects.fal.answers import JSON, refuse
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.direct import run
from calotype.dialects.fal.errors import refused
from calotype.dialects.fal.places import Place, Service
from calotype.dialects.fal.streams import STREAM, stream_run
from calotype.dialects.fal.ws_socket import Socket
from calotype.kernel.errors import Problem
from calotype.kernel.ids import uuid7

MOST_WAITING = 2
"""Messages that are read ahead; then the sender has to wait."""
_OF_THE_HANDSHAKE = frozenset({b"content-length", b"content-encoding", b"idempotency-key", b"upgrade", b"connection"})
_TEXTS = (b"application/json", b"text/")


async def http_over(desk: Desk, x: FalExchange, socket: Socket) -> None:
    """Serve direct calls over one WebSocket until the caller hangs up."""
    try:
        caller = await desk.door.enter(x, counted=False)
        name = desk.open_session(caller, x)
    except Problem as problem:
        found = refused(problem)
        await socket.refuse(found.status, [JSON, *found.headers], msgspec.json.encode(found.body))
        return
    waiting: asyncio.Queue[bytes | str | None] = asyncio.Queue(MOST_WAITING)
    try:
        await socket.accept()
        reader = asyncio.create_task(_read(socket, waiting))
        try:
            while (message := await waiting.get()) is not None and not socket.gone.is_set():
                await _answer(desk, x, socket, message)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
    finally:
        desk.sessions.release(name)


async def _read(socket: Socket, waiting: "asyncio.Queue[bytes | str | None]") -> None:
    message: bytes | str | None = b""
    while message is not None:
        message = await socket.receive()
        await waiting.put(message)


async def _answer(desk: Desk, x: FalExchange, socket: Socket, message: bytes | str) -> None:
    answer = _Answer(socket)
    place = Place(Service.RUN, x.place.path, x.place.query, x.place.host)
    headers = [(name, value) for name, value in x.scope["headers"] if name not in _OF_THE_HANDSHAKE]
    scope: Scope = {
        **x.scope, "type": "http", "method": "POST", "headers": headers, "calotype.request_id": uuid7()
    }  # fmt: skip
    call = FalExchange(scope, _body(socket, message), answer.send, place, x.bases)
    handler = stream_run if place.path.endswith(STREAM) else run
    try:
        await handler(desk, call)
    except Problem as problem:
        await refuse(call, problem)


def _body(socket: Socket, message: bytes | str) -> Callable[[], Awaitable[Message]]:
    """Return how a handler reads its request: the message, and then nothing until the caller hangs up."""
    body = [message.encode() if isinstance(message, str) else message]

    async def receive() -> Message:
        if body:
            return {"type": "http.request", "body": body.pop()}
        await socket.gone.wait()
        return {"type": "http.disconnect"}

    return receive


class _Answer:
    """Sends an HTTP answer as messages: how it begins, its body, and that it ended."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._began_s = time.monotonic()
        self._facts: dict[str, Any] = {}
        self._text = True

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
            kind = headers.get("content-type", "").encode()
            self._text = kind.startswith(_TEXTS)
            self._facts = {"request_id": headers.get("x-fal-request-id", ""), "status": message["status"]}
            self._first_s = time.monotonic() - self._began_s
            await self._socket.tell({"type": "start", **self._facts, "headers": headers})
            return
        if body := message.get("body", b""):
            await self._socket.say(body.decode() if self._text else body)
        if not message.get("more_body", False):
            first_s = round(self._first_s, 6)
            await self._socket.tell({"type": "end", **self._facts, "time_to_first_byte_seconds": first_s})
