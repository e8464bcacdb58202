"""The upstream of the streams scene: chats that are written slowly, each piece with the time at which it was sent."""

import asyncio
import json
import random
import re
import time
from dataclasses import dataclass, field
from typing import cast

PIECE_EVERY_S = 1.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Book:
    """The chats that are open, and when which piece was sent."""

    open: "set[Writer]" = field(default_factory=set)
    sent: list[int] = field(default_factory=list)


class Writer(asyncio.Protocol):
    """The upstream of one chat: a piece at once, then one every second until everything is to end."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._asked = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._asked += data
        head, end, body = self._asked.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or len(body) < (int(length[1]) if length else 0) or self._transport is None:
            return
        self._asked = b""
        self._book.open.add(self)
        self._transport.write(_STREAM_HEAD)
        self._piece()
        if self._timer is not None:
            self._timer.cancel()
        self._later(random.uniform(0.0, PIECE_EVERY_S))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._book.open.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def end(self) -> None:
        """Say the last words of the stream."""
        if self._timer is not None:
            self._timer.cancel()
        usage = {"prompt_tokens": 8, "completion_tokens": 30, "total_tokens": 38}
        self._event({**_chunk({}), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._event({**_chunk({}), "choices": [], "usage": usage})
        self._write(b"data: [DONE]\n\n")
        if self._transport is not None:
            self._transport.write(b"0\r\n\r\n")

    def _later(self, pause_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._tick)

    def _tick(self) -> None:
        self._piece()
        self._later(PIECE_EVERY_S)

    def _piece(self) -> None:
        now_ns = time.monotonic_ns()
        self._book.sent.append(now_ns)
        self._event(_chunk({"content": f"at-{now_ns}; "}))

    def _event(self, body: dict[str, object]) -> None:
        self._write(b"data: " + json.dumps(body).encode() + b"\n\n")

    def _write(self, event: bytes) -> None:
        if self._transport is not None:
            self._transport.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")


def _chunk(delta: dict[str, str]) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "slow-writer", "choices": [choice]}
