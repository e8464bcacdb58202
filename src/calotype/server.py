"""The one listener: request ids, CORS, the paths of every dialect, health and metrics. Plain ASGI, no framework."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

import msgspec
import structlog

from calotype.dialects.content.app import serves as serves_content
from calotype.dialects.door import Message, Receive, Scope, Send
from calotype.dialects.fal.places import HOST_NAMES
from calotype.dialects.image.app import serves as serves_image
from calotype.dialects.jobs.app import MEDIA as JOBS_BELOW_MEDIA
from calotype.kernel.ids import uuid7
from calotype.telemetry import Metrics
from calotype.telemetry.metrics import CONTENT_TYPE

log = structlog.get_logger(__name__)

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
OPENAI_BELOW_API = (
    "images", "videos", "audio", "chat", "embeddings", "ocr", "files", "models", "pricing",
    "responses", "completions", "moderations", "math",  # refused there, in OpenAI's words
)  # fmt: skip
OWN = frozenset({"/", "/healthz", "/readyz", "/metrics"})
STOPPING = "The server is stopping. What it accepted goes on: send the request again to have its answer."
FAL_HOSTS = HOST_NAMES | {name + b":443" for name in HOST_NAMES}
EXPOSED = (
    b"x-request-id, x-calotype-job-id, x-calotype-warnings, x-phi-routed, x-phi-tier, x-phi-attempts, x-phi-cost-micro,"
    b" x-phi-usage, x-phi-tools, openai-poll-after-ms, retry-after, retry-after-ms, x-fal-request-id, x-fal-error-type,"
    b" x-fal-request-timeout-type, x-fal-billable-units, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset,"
    b" x-cache"
)
MAX_REQUEST_ID_CHARS = 100
_encode = msgspec.json.Encoder().encode


class Server:
    """Dispatches by path (the surface contract, §1) and answers the house's own pages."""

    def __init__(
        self,
        *,
        openai: ASGIApp,
        fal: ASGIApp,
        jobs: ASGIApp,
        image: ASGIApp,
        content: ASGIApp,
        callbacks: ASGIApp,
        media: ASGIApp,
        metrics: Metrics,
        ready: Callable[[], Awaitable[dict[str, str]]],
        documents: Callable[[], dict[str, tuple[str, bytes]]],
        cors_origins: list[str],
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        self._openai = openai
        self._fal = fal
        self._jobs = jobs
        self._image = image
        self._content = content
        self._callbacks = callbacks
        self._media = media
        self._metrics = metrics
        self._ready = ready
        self._write_documents = documents
        self._cors = frozenset(origin.encode() for origin in cors_origins)
        self._start = start
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the server's own life."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request_id, origin, host = _request_id(scope)
        scope["calotype.request_id"] = request_id
        extra = [(b"x-request-id", request_id.encode())]
        if origin is not None:
            extra += self._cors_headers(origin)
        status = 500
        started = False

        async def answer(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        name, app = self._app_of(scope["path"], host)
        self._metrics.in_flight.inc()
        try:
            if scope["method"] == "OPTIONS":
                await _preflight(scope, answer)
            else:
                await app(scope, receive, answer)
        except asyncio.CancelledError:  # the listener has waited for this answer as long as a stop may take
            if started:
                raise
            await _failed(answer, 503, "unavailable", STOPPING, (b"retry-after", b"2"))
        except Exception:
            log.exception("request_broke", request_id=request_id, dialect=name)
            if not started:
                more = (b"x-should-retry", b"false")
                await _failed(answer, 500, "internal_error", "The server made a mistake.", more)
        finally:
            self._metrics.in_flight.dec()
            self._metrics.answered(name, status, time.perf_counter() - began)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead a WebSocket to the one dialect that has any."""
        request_id, _, host = _request_id(scope)
        scope["calotype.request_id"] = request_id
        name, app = self._app_of(scope["path"], host)
        if name != "fal":
            await send({"type": "websocket.close", "code": 1000})
            return
        try:
            await app(scope, receive, send)
        except Exception:
            log.exception("socket_broke", request_id=request_id, dialect=name)
            with contextlib.suppress(Exception):
                await send({"type": "websocket.close", "code": 1011})

    def _app_of(self, path: str, host: bytes) -> tuple[str, ASGIApp]:
        if host in FAL_HOSTS and not path.startswith("/v1/media/"):
            return "fal", self._fal
        if serves_content(path):
            return "content", self._content
        if serves_image(path):
            return "image", self._image
        if path.startswith("/v1/"):
            return ("media", self._media) if path.startswith("/v1/media/") else ("openai", self._openai)
        if path.startswith("/api/v1/"):
            below, _, rest = path[8:].partition("/")
            if below == "media" and rest.partition("/")[0] not in JOBS_BELOW_MEDIA:
                return "media", self._media
            if below in OPENAI_BELOW_API:
                return "openai", self._openai
            return "jobs", self._jobs
        if path.startswith(("/fal/", "/api/fal/proxy")):
            return "fal", self._fal
        if path.startswith("/callbacks/"):
            return "callbacks", self._callbacks
        return "own", self._own

    @cached_property
    def _documents(self) -> dict[str, tuple[str, bytes]]:
        """The pages by path; written when first asked for, since only then the server's own address is known."""
        return self._write_documents()

    async def _own(self, scope: Scope, _receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD") and (path in OWN or path in self._documents):
            await _plain(send, 405, b'{"detail":"Method Not Allowed"}', "application/json", (b"allow", b"GET, HEAD"))
        elif path == "/":
            await _plain(send, 307, b'{"docs":"/docs"}', "application/json", (b"location", b"/docs"))
        elif path == "/healthz":
            await _plain(send, 200, b'{"status":"ok"}', "application/json")
        elif path == "/readyz":
            problems = await self._ready()
            body = {"status": "unavailable" if problems else "ok", **({"problems": problems} if problems else {})}
            await _plain(send, 503 if problems else 200, _encode(body), "application/json")
        elif path == "/metrics":
            await _plain(send, 200, self._metrics.text(), CONTENT_TYPE)
        elif path in self._documents:
            kind, body_bytes = self._documents[path]
            await _plain(send, 200, body_bytes, kind)
        else:
            await _plain(send, 404, b'{"detail":"There is nothing at this path; see /docs."}', "application/json")

    def _cors_headers(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        if b"*" in self._cors:
            allowed = b"*"
        elif origin in self._cors:
            allowed = origin
        else:
            return []
        return [
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", EXPOSED),
            (b"vary", b"origin"),
        ]

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._start()
                except Exception as error:
                    log.exception("start_failed")
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _request_id(scope: Scope) -> tuple[str, bytes | None, bytes]:
    """Return the caller's own request id where it is harmless, else a new one; the Origin and the Host headers."""
    given = origin = None
    host = b""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value
        elif name == b"origin":
            origin = value
        elif name == b"host":
            host = value
    if given is not None and 0 < len(given) <= MAX_REQUEST_ID_CHARS:
        text = given.decode("latin-1")
        if text.isascii() and text.replace("-", "").replace("_", "").isalnum():
            return text, origin, host
    return uuid7(), origin, host


async def _plain(send: Send, status: int, body: bytes, kind: str, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _preflight(scope: Scope, send: Send) -> None:
    wanted: Any = next((v for n, v in scope["headers"] if n == b"access-control-request-headers"), b"*")
    headers = [
        (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"access-control-allow-headers", wanted[:1000]),
        (b"access-control-max-age", b"86400"),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _failed(send: Send, status: int, code: str, message: str, more: tuple[bytes, bytes]) -> None:
    error = {"message": message, "type": "server_error", "code": code, "param": None}
    await _plain(send, status, _encode({"error": error}), "application/json", more)
