"""The upstream client: performs `HttpRequest` values over one pool of connections per upstream."""

import asyncio
import io
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from calotype.http.guard import Guard
from calotype.http.sinks import FileSink, MemorySink, Sink
from calotype.http.sockets import PING_S, Line, Lines, staying
from calotype.http.wire import FRESH_S, ConnectFailedError, Wire
from calotype.kernel.steps import AnswerTooLarge, FileRef, HttpRequest, HttpResponse, MaybeSent, NotSent, Part

LARGE_BODY_BYTES = 1 << 20
_NO_AUTO_HEADERS = ("Accept-Encoding", "User-Agent")

REFUSED = "the connection was refused"
"""In the sentence of a `NotSent`: somebody is there, and nothing listens."""
_WORDS: dict[type[BaseException], str] = {
    ConnectionRefusedError: REFUSED,
    ConnectionResetError: "the connection was reset",
    socket.gaierror: "no host of this name is known",
    TimeoutError: "it took too long",
}


class _Phase:
    """How far one exchange came: `connected` once a connection was handed to the request; `files` it sends."""

    __slots__ = ("connected", "files")

    def __init__(self) -> None:
        self.connected = False
        self.files: list[IO[bytes]] = []

    def close(self) -> None:
        for file in self.files:
            file.close()


_phase: ContextVar[_Phase] = ContextVar("calotype_http_phase")


class _Connector(aiohttp.TCPConnector):
    """Marks the instant after which bytes of the request may leave this machine."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        _phase.get().connected = True
        return connection


class StreamedResponse:
    """An answer whose body is read as it comes (`Upstream.stream`); header names are lower case."""

    def __init__(self, name: str, response: aiohttp.ClientResponse, max_bytes: int) -> None:
        self.status = response.status
        self.headers = _lower(response)
        self._name = name
        self._response = response
        self._max_bytes = max_bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raises MaybeSent when it is cut, AnswerTooLarge past `max_bytes`."""
        try:
            async for chunk in _plain(self._response, self._name, self._max_bytes):
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise MaybeSent(_sentence(self._name, error, sent=True)) from None


class Upstream:
    """The connections to one upstream.

    `perform` never retries a POST and never follows a redirect. It raises NotSent when no byte of the request can
    have reached the upstream, MaybeSent for every later failure and AnswerTooLarge past `max_bytes`; the texts name
    the upstream and the kind of failure, never a URL or a header. With a `guard` every address is checked first and
    a refused one raises `Blocked`. An `ssl` context replaces the usual certificate store.
    """

    def __init__(
        self,
        name: str,
        *,
        pool_size: int = 500,
        keepalive_s: float = 15.0,
        user_agent: str = "calotype",
        guard: Guard | None = None,
        ssl: Any = True,
    ) -> None:
        self.name = name
        self._pool_size = pool_size
        self._keepalive_s = keepalive_s
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        self._guard = guard
        self._ssl = ssl
        self._session: aiohttp.ClientSession | None = None
        self.lines = Lines()
        self._wire = Wire(pool_size=pool_size, keepalive_s=keepalive_s, headers=self._headers)
        self._short = guard is None and ssl is True

    async def perform(self, request: HttpRequest) -> HttpResponse:
        """Send the request and return the whole answer, whatever its status."""
        in_memory = request.body is None or isinstance(request.body, bytes)
        if self._short and in_memory and request.save_to is None and request.multipart is None:
            return await self._exchange(request)
        phase = _Phase()
        _phase.set(phase)
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._send(request, phase)
            if request.save_to is not None:
                return await self._save(response, request.save_to, request.max_bytes)
            body = await self._read(response, request.max_bytes)
            return HttpResponse(status=response.status, headers=_lower(response), body=body)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            failure = MaybeSent if phase.connected else NotSent
            raise failure(_sentence(self.name, error, sent=phase.connected)) from None
        finally:
            if response is not None:
                response.close()
            if phase.files:
                phase.close()

    async def _exchange(self, request: HttpRequest) -> HttpResponse:
        """Take the short way: the request is in memory and so will be the answer."""
        try:
            return await self._wire.exchange(request)
        except (ConnectFailedError, ValueError) as error:
            raise NotSent(_sentence(self.name, error.__cause__ or error, sent=False)) from None
        except AnswerTooLarge:
            raise AnswerTooLarge(_too_large(self.name, request.max_bytes)) from None
        except (OSError, TimeoutError) as error:
            raise MaybeSent(_sentence(self.name, error, sent=True)) from None

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncIterator[StreamedResponse]:
        """Send the request and hand out the answer while its body still comes (server-sent events)."""
        phase = _Phase()
        _phase.set(phase)
        try:
            response = await self._send(request, phase)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            phase.close()
            failure = MaybeSent if phase.connected else NotSent
            raise failure(_sentence(self.name, error, sent=phase.connected)) from None
        try:
            yield StreamedResponse(self.name, response, request.max_bytes)
        finally:
            response.close()
            phase.close()

    async def dial(self, request: HttpRequest) -> Line | HttpResponse:
        """Open a WebSocket, or return what its handshake was answered; any failure of it is NotSent."""
        phase = _Phase()
        _phase.set(phase)
        try:
            async with asyncio.timeout(request.total_timeout_s):
                socket = await (self._session or self._open()).ws_connect(
                    _url(request.url), headers=request.headers, max_msg_size=request.max_bytes, heartbeat=PING_S
                )
        except aiohttp.WSServerHandshakeError as error:
            return HttpResponse(error.status)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise NotSent(_sentence(self.name, error, sent=False)) from None
        return Line(socket)

    async def close(self) -> None:
        """Close every connection."""
        self._wire.close()
        await self.lines.close()
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _send(self, request: HttpRequest, phase: _Phase) -> aiohttp.ClientResponse:
        session = self._session or self._open()
        url = _url(request.url) if self._guard is None else self._guard.parse(request.url)
        body: Any = request.body
        headers = request.headers
        if request.multipart is not None:
            body = await asyncio.to_thread(_form, request.multipart, phase.files)
        elif isinstance(body, FileRef):
            if not any(name.lower() == "content-type" for name in headers):
                headers = {**headers, "Content-Type": body.content_type}
            body = await asyncio.to_thread(body.path.open, "rb")
            phase.files.append(body)
        elif body is not None and len(body) > LARGE_BODY_BYTES:
            body = io.BytesIO(body)  # written in pieces, so that the loop breathes between them
        return await session.request(
            request.method,
            url,
            headers=headers,
            data=body,
            allow_redirects=False,
            timeout=_timeout(request.connect_timeout_s, request.read_timeout_s, request.total_timeout_s),
        )

    def _open(self) -> aiohttp.ClientSession:
        resolver = None if self._guard is None else self._guard.resolver
        connector = _Connector(
            limit=self._pool_size, keepalive_timeout=min(FRESH_S, self._keepalive_s), ssl=self._ssl, resolver=resolver
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=self._headers,
            skip_auto_headers=_NO_AUTO_HEADERS,
            read_bufsize=READ_BYTES,
            trace_configs=[staying()],
        )
        return self._session

    async def _read(self, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
        if response.method == "HEAD":
            return b""
        declared = response.content_length
        if declared is not None and "Content-Encoding" not in response.headers:
            if declared > max_bytes:
                raise AnswerTooLarge(_too_large(self.name, max_bytes))
            return await response.content.read()
        sink = MemorySink()
        await self._pump(response, sink, max_bytes)
        return sink.value()

    async def _save(self, response: aiohttp.ClientResponse, path: Path, max_bytes: int) -> HttpResponse:
        declared = response.content_length
        if declared is not None and declared > max_bytes:
            raise AnswerTooLarge(_too_large(self.name, max_bytes))
        async with FileSink(path) as sink:
            await self._pump(response, sink, max_bytes)
        headers = _lower(response)
        saved = FileRef(path, headers.get("content-type", "application/octet-stream"))
        return HttpResponse(status=response.status, headers=headers, saved=saved)

    async def _pump(self, response: aiohttp.ClientResponse, sink: Sink, max_bytes: int) -> None:
        async for data in _plain(response, self.name, max_bytes):
            await sink.write(data)


READ_BYTES = 1 << 20
"""Read-ahead of one answer before the socket is paused: a picture in base64 comes in one go."""
_url = lru_cache(maxsize=1024)(URL)


@lru_cache(maxsize=256)
def _timeout(connect_s: float, read_s: float, total_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total_s, connect=min(connect_s, total_s), sock_read=min(read_s, total_s))


def _lower(response: aiohttp.ClientResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        low = name.lower()
        headers[low] = value if low not in headers else f"{headers[low]}, {value}"
    return headers


def _decompressor(encoding: str) -> Any:
    """Return an inflater for an upstream that compresses although it was asked not to, else None."""
    if encoding.strip().lower() in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(zlib.MAX_WBITS | 32)
    return None


async def _plain(response: aiohttp.ClientResponse, name: str, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield a body as it comes, unpacked where it was packed; raises ClientPayloadError where that is broken."""
    inflate = _decompressor(response.headers.get("Content-Encoding", ""))
    size = 0
    async for chunk in response.content.iter_any():
        data = chunk
        if inflate is not None:
            try:  # asking for one byte more than is left shows a bomb without unpacking it
                data = inflate.decompress(chunk, max_bytes - size + 1)
            except zlib.error:
                raise aiohttp.ClientPayloadError("compressed body is broken") from None
        size += len(data)
        if size > max_bytes:
            raise AnswerTooLarge(_too_large(name, max_bytes))
        if data:
            yield data
    if inflate is not None and not inflate.eof:
        raise aiohttp.ClientPayloadError("compressed body ended early")


def _form(parts: tuple[Part, ...], files: list[IO[bytes]]) -> aiohttp.FormData:
    """Build the multipart body; files are opened here and read while they are sent."""
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for part in parts:
        value: Any = part.value
        filename, content_type = part.filename, part.content_type
        if isinstance(value, FileRef):
            filename = filename or value.name or value.path.name
            content_type = content_type or value.content_type
            value = value.path.open("rb")
            files.append(value)
        elif isinstance(value, bytes):
            value = io.BytesIO(value)
            filename = filename or part.name
        for text in (part.name, filename or ""):
            if any(ord(char) < 32 or char == '"' for char in text):
                raise ValueError("a multipart name may not hold quotes or control characters")
        form.add_field(part.name, value, filename=filename, content_type=content_type)
    return form


def _too_large(name: str, max_bytes: int) -> str:
    return f"{name}: the answer is larger than {max_bytes} bytes"


def _sentence(name: str, error: BaseException, *, sent: bool) -> str:
    """Describe a failure by its kind alone: the library's own texts can hold URLs."""
    where = "the connection failed after the request was sent" if sent else "could not connect"
    reason = getattr(error, "os_error", None)
    cause = reason if isinstance(reason, OSError) else error
    words = next((words for kind, words in _WORDS.items() if isinstance(cause, kind)), type(cause).__name__)
    return f"{name}: {where} ({words})"
