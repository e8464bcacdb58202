"""Plain HTTP/1.1 exchanges over kept connections: the short way for requests whose body is already in memory.

Parsing is llhttp's (httptools, which the server uses too). Files, forms, answers that go to disk and guarded addresses
take the long way (`calotype.http.client`). Measured beside aiohttp in the same server: about half of its cost.
"""

import asyncio
import ssl
import time
import zlib
from collections import defaultdict, deque
from functools import lru_cache
from typing import Any, cast

import httptools
from yarl import URL

from calotype.kernel.steps import AnswerTooLarge, HttpRequest, HttpResponse

MAX_HEAD_BYTES = 128 * 1024
_BODILESS = frozenset({204, 304})
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})


class ConnectFailedError(OSError):
    """No connection: nothing of the request can have left."""


class BrokenOffError(OSError):
    """The exchange ended early; `silent` says that a kept connection closed before it answered a byte."""

    def __init__(self, reason: str, *, silent: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent


class _Address:
    __slots__ = ("host", "port", "tls")

    def __init__(self, url: URL) -> None:
        self.tls = url.scheme == "https"
        self.host = url.host or ""
        self.port = url.port or (443 if self.tls else 80)


@lru_cache(maxsize=1024)
def _parsed(url: str) -> tuple[str, _Address, bytes]:
    """Return the pool's key, the address, and the request line's target with the Host header."""
    parsed = URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("not an HTTP address")
    address = _Address(parsed)
    usual = address.port == (443 if address.tls else 80)
    name = parsed.raw_host or ""
    host = f"[{name}]" if ":" in name else name
    head = f" {parsed.raw_path_qs} HTTP/1.1\r\nHost: {host}{'' if usual else f':{address.port}'}\r\n"
    return f"{parsed.scheme}://{host}:{address.port}", address, head.encode("ascii")


class Wire:
    """A pool of connections. One exchange at a time on each; a connection that ends badly is not used again."""

    def __init__(self, *, pool_size: int, keepalive_s: float, headers: dict[str, str]) -> None:
        self._pool_size = pool_size
        self._keepalive_s = keepalive_s
        self._default = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")
        self._idle: dict[str, list[_Connection]] = defaultdict(list)
        self._open: set[_Connection] = set()
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._tls: ssl.SSLContext | None = None

    async def exchange(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return the whole answer.

        Raises:
            ConnectFailedError, ValueError: nothing was sent.
            BrokenOffError, TimeoutError: it may have been.
            AnswerTooLarge: the answer is longer than `max_bytes`.

        """
        key, address, target = _parsed(request.url)
        message = self._message(request, target)
        await self._take_place(request)
        try:
            while True:
                connection, kept = await self._connect(key, address, request)
                try:
                    return await connection.exchange(message, request)
                except BrokenOffError as error:
                    if not (kept and error.silent and request.method in _REPEATABLE and not request.commits):
                        raise
                finally:
                    if connection.reusable:
                        connection.idle_since = time.monotonic()
                        self._idle[key].append(connection)
                    else:
                        connection.close()
        finally:
            self._give_place()

    def _message(self, request: HttpRequest, target: bytes) -> bytes:
        lines = [request.method.encode("ascii"), target, self._default]
        for name, value in request.headers.items():
            line = f"{name}: {value}\r\n"
            if "\n" in line[:-2] or "\r" in line[:-2] or "\0" in line:
                raise ValueError("a header may not hold line breaks")
            lines.append(line.encode("latin-1"))
        body = cast("bytes | None", request.body)
        if body is not None or request.method in ("POST", "PUT", "PATCH"):
            lines.append(b"Content-Length: %d\r\n" % len(body or b""))
        lines.append(b"\r\n")
        if body:
            lines.append(body)
        return b"".join(lines)

    async def _take_place(self, request: HttpRequest) -> None:
        if self._taken < self._pool_size:
            self._taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(min(request.connect_timeout_s, request.total_timeout_s)):
                await turn
        except TimeoutError:
            if turn.done() and not turn.cancelled():
                self._give_place()
            raise ConnectFailedError("every connection of the pool is in use") from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_place()
            raise

    def _give_place(self) -> None:
        """Hand the place to who waits longest, else free it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1

    async def _connect(self, key: str, address: _Address, request: HttpRequest) -> tuple["_Connection", bool]:
        idle = self._idle[key]
        oldest = time.monotonic() - self._keepalive_s
        while idle:
            connection = idle.pop()
            if connection.reusable and connection.idle_since > oldest:
                return connection, True
            connection.close()
        context = None
        if address.tls:
            context = self._tls = self._tls or ssl.create_default_context()
        try:
            async with asyncio.timeout(min(request.connect_timeout_s, request.total_timeout_s)):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self._open), address.host, address.port, ssl=context
                )
        except (OSError, TimeoutError) as error:
            raise ConnectFailedError(type(error).__name__) from error
        return connection, False

    def close(self) -> None:
        """Close every connection."""
        for connection in tuple(self._open):
            connection.close()
        self._idle.clear()


class _Connection(asyncio.Protocol):
    """One connection, and the answer that is being read from it."""

    def __init__(self, registry: set["_Connection"]) -> None:
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

    async def exchange(self, message: bytes, request: HttpRequest) -> HttpResponse:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[HttpResponse] = loop.create_future()
        self._answer = answer
        self._request = request
        self.reusable = False
        self._fresh()
        total_s = request.total_timeout_s
        read_s = min(request.read_timeout_s, total_s)
        self._heard_at = began = loop.time()
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal timer
            now = loop.time()
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
            return await answer
        finally:
            timer.cancel()
            self._answer = None
            if not self.reusable:
                self.close()

    def close(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        self.reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _finish(self, *, keep: bool) -> None:
        answer, request = self._answer, self._request
        if answer is None or answer.done() or request is None:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        try:
            body = _plain(self._headers.get("content-encoding", ""), body, request.max_bytes)
        except (ValueError, AnswerTooLarge) as error:
            self._fail(BrokenOffError(str(error)) if isinstance(error, ValueError) else error)
            return
        self.reusable = keep and self._transport is not None and not self._transport.is_closing()
        status = self._parser.get_status_code()
        answer.set_result(HttpResponse(status=status, headers=self._headers, body=body))

    # -- asyncio calls these -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._registry.add(self)

    def data_received(self, data: bytes) -> None:
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
            data = data[:left]
            self._body.append(data)
            self._size += left
            self._finish(keep=False)
            self.close()
            return
        self._body.append(data)
        self._size += len(data)
        if len(data) == left:
            self._finish(keep=self._parser.should_keep_alive())

    def connection_lost(self, exc: Exception | None) -> None:
        self._registry.discard(self)
        self.reusable = False
        if self._to_the_end and exc is None:
            self._finish(keep=False)
        self._fail(BrokenOffError(type(exc).__name__ if exc else "closed", silent=self._received == 0))

    # -- the parser calls these ----------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        low = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[low] = text if low not in self._headers else f"{self._headers[low]}, {text}"

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._head_done = True
        request = self._request
        assert request is not None
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
        self._size += len(body)
        request = self._request
        if request is not None and self._size > request.max_bytes:
            self._refuse_size(request)
        else:
            self._body.append(body)

    def _refuse_size(self, request: HttpRequest) -> None:
        self._fail(AnswerTooLarge(f"the answer is larger than {request.max_bytes} bytes"))
        self.close()

    def on_message_complete(self) -> None:
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
