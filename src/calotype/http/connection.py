"""One HTTP/1.1 connection: sends a request, reads its answer whole or hands the body on while it comes.

Parsing is llhttp's (httptools, which the server uses too).
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import Any, cast

import httptools

from calotype.http.sinks import Sink
from calotype.kernel.steps import AnswerTooLarge, HttpRequest, HttpResponse

MAX_HEAD_BYTES = 128 * 1024
HELD_BYTES = 1 << 20
"""So much of a body is held for its sink before the socket is paused."""
_BODILESS = frozenset({204, 304})

Taker = Callable[[int, dict[str, str]], Sink | None]
"""Sees status and headers of an answer and says where its body goes."""


class BrokenOffError(OSError):
    """The exchange ended early; `silent` says that a kept connection closed before it answered a byte."""

    def __init__(self, reason: str, *, silent: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent


class Connection(asyncio.Protocol):
    """One connection, and the answer that is being read from it."""

    def __init__(self, registry: set["Connection"]) -> None:
        self._registry = registry
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[HttpResponse] | None = None
        self._request: HttpRequest | None = None
        self.idle_since = 0.0
        self.reusable = False
        self._fresh()

    def _fresh(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._length: int | None = None
        self._head_done = False
        self._to_the_end = False
        self._received = 0
        self._take: Taker | None = None
        self._sink: Sink | None = None
        self._turn: asyncio.Future[None] | None = None
        self._held = 0
        self._paused = False

    async def exchange(self, message: bytes, request: HttpRequest, take: Taker | None = None) -> HttpResponse:
        """Send a request and read its answer; with `take` the body goes where that says, while it comes."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[HttpResponse] = loop.create_future()
        self._answer = answer
        self._request = request
        self.reusable = False
        self._fresh()
        self._take = take
        total_s = request.total_timeout_s
        read_s = min(request.read_timeout_s, total_s)
        self._heard_at = began = loop.time()
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal timer
            now = loop.time()
            if self._paused:
                self._heard_at = now
            due = min(self._heard_at + read_s, began + total_s)
            if now >= due:
                self._fail(TimeoutError("no answer in time"))
            else:
                timer = loop.call_at(due, look)

        timer = loop.call_at(began + read_s, look)
        if self._transport is None or self._transport.is_closing():
            timer.cancel()
            self._answer = None
            raise BrokenOffError("closed before it was used", silent=True)
        self._transport.write(message)
        try:
            return await (answer if take is None else self._pour(answer))
        finally:
            timer.cancel()
            self._answer = None
            if not self.reusable:
                self.close()

    async def _pour(self, answer: asyncio.Future[HttpResponse]) -> HttpResponse:
        """Give the body to its sink while it comes; the socket waits while much of it is held."""
        loop = asyncio.get_running_loop()
        while not answer.done() or (self._body and answer.exception() is None):
            if not answer.done():
                self._turn = loop.create_future()
                await self._turn
            chunks, self._body, self._held = self._body, [], 0
            if self._sink is not None:
                for chunk in chunks:
                    await self._sink.write(chunk)
            self._resume()
        return answer.result()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def _wake(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def close(self) -> None:
        """Let the connection go at once."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        self.reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
            self._wake()

    def _finish(self, *, keep: bool) -> None:
        answer, request = self._answer, self._request
        if answer is None or answer.done() or request is None:
            return
        status = self._parser.get_status_code()
        if self._take is not None:
            self.reusable = keep and self._transport is not None and not self._transport.is_closing()
            answer.set_result(HttpResponse(status=status, headers=self._headers))
            self._wake()
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        try:
            body = _plain(self._headers.get("content-encoding", ""), body, request.max_bytes)
        except (ValueError, AnswerTooLarge) as error:
            self._fail(BrokenOffError(str(error)) if isinstance(error, ValueError) else error)
            return
        self.reusable = keep and self._transport is not None and not self._transport.is_closing()
        answer.set_result(HttpResponse(status=status, headers=self._headers, body=body))

    # -- asyncio calls these -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._registry.add(self)

    def data_received(self, data: bytes) -> None:
        """Read more of the answer."""
        self._heard_at = asyncio.get_running_loop().time()
        if self._answer is None:  # bytes nobody asked for
            self.close()
            return
        self._received += len(data)
        if self._length is not None:
            self._go_on(data, self._length - self._size)
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(BrokenOffError("the answer is no HTTP"))
            self.close()
        if not self._head_done and self._received > MAX_HEAD_BYTES:
            self._fail(BrokenOffError("the answer's head is too long"))
            self.close()

    def _go_on(self, data: bytes, left: int) -> None:
        """Take more of a body whose length is known: the parser would only copy it."""
        if len(data) > left:  # bytes nobody asked for follow
            self._hold(data[:left])
            self._finish(keep=False)
            self.close()
            return
        self._hold(data)
        if len(data) == left:
            self._finish(keep=self._parser.should_keep_alive())

    def _hold(self, data: bytes) -> None:
        self._body.append(data)
        self._size += len(data)
        if self._sink is not None:
            self._held += len(data)
            if self._held >= HELD_BYTES and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
                self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer: well where it lasts to the end of the connection, else broken off."""
        self._registry.discard(self)
        self.reusable = False
        if self._to_the_end and exc is None:
            self._finish(keep=False)
        self._fail(BrokenOffError(type(exc).__name__ if exc else "closed", silent=self._received == 0))

    # -- the parser calls these ----------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header; one that comes twice is joined."""
        low = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[low] = text if low not in self._headers else f"{self._headers[low]}, {text}"

    def on_headers_complete(self) -> None:
        """Find out how long the body is and where it goes."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._head_done = True
        request = self._request
        assert request is not None
        if self._take is not None:
            self._sink = self._take(status, self._headers)
            if self._sink is None:
                self._finish(keep=False)
                return
        length = self._headers.get("content-length")
        if request.method == "HEAD" or status in _BODILESS:
            self._finish(keep=False)
        elif length is not None:
            size = int(length) if length.isascii() and length.isdigit() else 0
            if size > request.max_bytes:
                self._refuse_size(request)
            elif size and "transfer-encoding" not in self._headers:
                self._length = size
        elif "transfer-encoding" not in self._headers:
            self._to_the_end = True

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        request = self._request
        if request is not None and self._size + len(body) > request.max_bytes:
            self._refuse_size(request)
        else:
            self._hold(body)

    def _refuse_size(self, request: HttpRequest) -> None:
        self._fail(AnswerTooLarge(f"the answer is larger than {request.max_bytes} bytes"))
        self.close()

    def on_message_complete(self) -> None:
        """End the answer, where it was not an interim one."""
        if not self._head_done:  # an interim answer such as 100 Continue
            self._headers = {}
            return
        self._finish(keep=self._parser.should_keep_alive())


def _plain(encoding: str, body: bytes, max_bytes: int) -> bytes:
    """Unpack a body that was compressed although it was asked not to be.

    Raises:
        ValueError: it ends early or is broken.
        AnswerTooLarge: it unpacks to more than `max_bytes`.

    """
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = inflate.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ValueError("the compressed body is broken") from error
    if len(plain) > max_bytes:
        raise AnswerTooLarge(f"the answer is larger than {max_bytes} bytes")
    if not inflate.eof:
        raise ValueError("the compressed body ended early")
    return plain
