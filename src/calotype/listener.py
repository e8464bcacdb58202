"""HTTP as uvicorn speaks it, with a bound on what a caller may send before its request is one.

uvicorn keeps every byte of a head until the head is whole, for as long as that takes, and anybody may send one: before
a key is asked for. So what is neither a whole head nor a piece of a body is bounded in bytes, and a head in time. Who
falls silent in the middle of a body is not waited for either.
"""

import asyncio
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = structlog.get_logger(__name__)

MOST_HEAD_BYTES = 128 << 10
"""Beside the piece of the network in which a head begins."""
HEAD_S = 30.0
BODY_S = 60.0
"""How long a caller may be silent in the middle of a body that we are ready to read."""
TOO_LARGE = b"431 Request Header Fields Too Large"
TOO_SLOW = b"408 Request Timeout"


class BoundedHttp(HttpToolsProtocol):
    """One connection; what advances a request is its beginning, the end of its head, its body and its end."""

    _advanced = False
    _in_head = False
    _in_body = False
    _heard_s = 0.0
    _useless_bytes = 0
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._end_patience()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a piece of the network, and see whether it came to anything."""
        self._advanced = False
        super().data_received(data)
        if self._advanced:
            self._useless_bytes = 0
        else:
            self._useless_bytes += len(data)
            if self._useless_bytes > MOST_HEAD_BYTES:
                self._refuse(TOO_LARGE)
        if self._patience is None:
            if self._in_head:
                self._wait_for_head()
            elif self._in_body:
                self._wait_for_body(BODY_S)

    def on_message_begin(self) -> None:
        """Note that a head began."""
        self._advanced = self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that a head is whole."""
        self._advanced = self._in_body = True
        self._in_head = False
        self._heard_s = self.loop.time()
        self._end_patience()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note a piece of a body."""
        self._advanced = True
        self._heard_s = self.loop.time()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        self._advanced = True
        self._in_body = False
        self._end_patience()
        super().on_message_complete()

    def _wait_for_head(self) -> None:
        self._patience = self.loop.call_later(HEAD_S, self._refuse, TOO_SLOW)

    def _wait_for_body(self, left_s: float) -> None:
        self._patience = self.loop.call_later(left_s, self._look_at_body)

    def _look_at_body(self) -> None:
        """Give up on a body of which nothing came for too long, while it was not we who held it back."""
        self._patience = None
        transport: Any = self.transport
        if not self._in_body or transport.is_closing() or transport.get_protocol() is not self:
            return
        if self.flow.read_paused:
            self._heard_s = self.loop.time()
        left_s = self._heard_s + BODY_S - self.loop.time()
        if left_s > 0:
            self._wait_for_body(left_s)
        elif self.cycle.response_started:
            transport.close()
        else:
            self._refuse(TOO_SLOW)

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _refuse(self, status: bytes) -> None:
        """Answer a request that is none yet, and close the connection."""
        self._end_patience()
        self._in_head = self._in_body = False
        transport: Any = self.transport
        if transport.is_closing():
            return
        log.info("request_refused", status=status.decode())
        transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        transport.close()
