"""Answers of server-sent events: headers, events, comments that keep a quiet line open, and whether they were heard."""

import asyncio
import contextlib
from typing import Any

import msgspec

from calotype.dialects.door import Exchange, Receive
from calotype.dialects.headers import Headers

KEEP_ALIVE_S = 15.0
"""After so long without an event a comment is sent, for middlemen close connections on which nothing moves."""
STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]  # fmt: skip
_encode = msgspec.json.Encoder().encode


class EventStream:
    """One answer of events; nothing is sent before `open`."""

    def __init__(self, x: Exchange) -> None:
        self._x = x
        self.opened = False
        self.gone = asyncio.create_task(hung_up(x.receive))
        """Done when the caller has hung up."""

    async def open(self, headers: Headers) -> None:
        """Send status 200 and the headers."""
        self.opened = True
        await self._x.send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *headers]})

    async def event(self, body: Any, name: str = "") -> None:
        """Send one event of JSON, with a name where it has one; bytes inside it become base64."""
        head = f"event: {name}\n".encode() if name else b""
        await self.write(head + b"data: " + _encode(body) + b"\n\n")

    async def keep_alive(self) -> None:
        """Send a comment."""
        await self.write(b": keep-alive\n\n")

    async def write(self, piece: bytes) -> None:
        """Send bytes as they are; to a caller who has hung up nothing is sent."""
        if not self.gone.done():
            await self._x.send({"type": "http.response.body", "body": piece, "more_body": True})

    async def close(self) -> bool:
        """End the stream; False when the caller had hung up before."""
        delivered = not self.gone.done()
        self.leave()
        with contextlib.suppress(OSError):
            await self._x.send({"type": "http.response.body", "body": b""})
        return delivered

    def leave(self) -> None:
        """Stop listening for the caller's hanging up."""
        self.gone.cancel()


async def hung_up(receive: Receive) -> None:
    """Return when the caller has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
