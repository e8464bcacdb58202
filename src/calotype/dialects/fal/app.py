"""The fal dialect as one small ASGI application: one set of handlers behind hosts, prefixes and the proxy path."""

from collections.abc import Awaitable, Callable

import msgspec
import structlog

from calotype.dialects.door import Message, Receive, Scope, Send
from calotype.dialects.fal.answers import JSON, refuse
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.direct import run
from calotype.dialects.fal.endpoints import request_path
from calotype.dialects.fal.errors import not_offered, refused
from calotype.dialects.fal.places import TARGET, Bases, Place, Service, place_of
from calotype.dialects.fal.platform import platform_handler
from calotype.dialects.fal.platform import refuse as refuse_platform
from calotype.dialects.fal.queue import cancel, result, status, submit
from calotype.dialects.fal.realtime import SUFFIXES, realtime
from calotype.dialects.fal.storage import storage_handler
from calotype.dialects.fal.streams import STREAM, status_stream, stream_run
from calotype.dialects.fal.ws import http_over
from calotype.dialects.fal.ws_socket import Socket
from calotype.kernel.errors import Code, Problem

log = structlog.get_logger(__name__)

Handler = Callable[[Desk, FalExchange], Awaitable[None]]

REQUEST: dict[str, tuple[str, Handler]] = {
    "": ("GET", result),
    "response": ("GET", result),
    "status": ("GET", status),
    "status/stream": ("GET", status_stream),
    "stream": ("GET", status_stream),
    "cancel": ("PUT", cancel),
}
"""What follows a request's id → method and handler."""
RUN = ("GET", "POST", "PUT")
"""How a model may be called directly; not by HEAD, whose answer would hold nothing of what was paid for."""


class FalDialect:
    """Serves `/fal/{service}/*`, `/api/fal/proxy` and fal's own host names."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every problem becomes an error body of fal's."""
        host, target = "", None
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1")
            elif name == TARGET:
                target = value
        if scope["type"] == "websocket":
            await self._connected(scope, receive, send, host)
            return
        try:
            place = place_of(scope, host, target)
        except Problem as problem:
            nowhere = Place(Service.OTHER, "/")
            await refuse(FalExchange(scope, receive, send, nowhere, Bases("", "", "")), problem)
            return
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        x = FalExchange(scope, receive, answer, place, self._desk.bases(scope, host, place))
        try:
            await self._route(x)(self._desk, x)
        except Problem as problem:
            await refuse(x, problem)
        except Exception:
            if begun:
                raise
            log.exception("request_broke", request_id=scope.get("calotype.request_id"), dialect="fal")
            mistake = Problem(Code.INTERNAL, "The server made a mistake.", retryable=False)
            await (refuse_platform if place.service is Service.API else refuse)(x, mistake)

    async def _connected(self, scope: Scope, receive: Receive, send: Send, host: str) -> None:
        """Serve a WebSocket: a realtime session, or HTTP over it."""
        socket = Socket(scope, receive, send)
        try:
            place = place_of(scope, host, None)
        except Problem as problem:
            await _no_socket(socket, problem)
            return
        as_http = {**scope, "method": "GET", "scheme": "https" if scope.get("scheme") == "wss" else "http"}
        x = FalExchange(as_http, receive, send, place, self._desk.bases(as_http, host, place))
        if place.service is Service.RUN and place.path.endswith(SUFFIXES):
            await realtime(self._desk, x, socket)
        elif place.service is Service.WS and place.path != "/":
            await http_over(self._desk, x, socket)
        else:
            await _no_socket(socket, Problem(Code.NOT_FOUND, f"Path {place.path[:200]} not found"))

    def _route(self, x: FalExchange) -> Handler:
        method, place = x.scope["method"], x.place
        method = "GET" if method == "HEAD" else method
        if (told := platform_handler(x, method)) is not None:
            return told
        if place.path != "/":
            if place.service is Service.QUEUE:
                return self._queued(x, method)
            if place.service is Service.RUN:
                if x.scope["method"] not in RUN:
                    raise not_offered(x.scope["method"], *RUN)
                return stream_run if place.path.endswith(STREAM) and method == "POST" else run
            if (stored := storage_handler(x, method)) is not None:
                return stored
        raise Problem(Code.NOT_FOUND, f"Path {place.path[:200]} not found")

    def _queued(self, x: FalExchange, method: str) -> Handler:
        found = request_path(x.place.path)
        if found is None:
            if method != "POST":
                raise not_offered(method, "POST")
            return submit
        x.rest = found.id
        wanted, handler = REQUEST[found.tail]
        if method != wanted:
            raise not_offered(method, wanted)
        return handler


async def _no_socket(socket: Socket, problem: Problem) -> None:
    found = refused(problem)
    await socket.refuse(found.status, [JSON], msgspec.json.encode(found.body))
