"""What every emulator stands on: a small web application that keeps what it is sent and misbehaves when asked to.

Trouble is asked for in three ways: by the header `x-sandbox-fault` (`status=429 retry_after=2`), by words in a
model's name or a prompt (`a cat @status=429 @times=1`), or ahead through `/__control__`. That address also reports
every paid request and forgets everything on DELETE.
"""

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, ClassVar

import msgspec
import uvicorn
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from calotype.sandbox.faults import NONE, Fault, fault_in, words_in

CONTROL = "/__control__"
FAULT_HEADER = "x-sandbox-fault"
STAGES_THAT_PAY = frozenset({"submit"})
PIECES = 10
SHOWN_BYTES = 4_096
_TRANSPORT = "calotype.transport"

Handler = Callable[[Request], Awaitable[Response]]


class Submit(Struct, frozen=True):
    """One request that costs money, as it arrived; `at_s` is a monotonic time, `fault` the trouble it was given."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    at_s: float
    fault: Fault = NONE

    def json(self) -> Any:
        """Decode the body; None when it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return None


class Orders(Struct, forbid_unknown_fields=True):
    """What `POST /__control__` takes: faults to come, settings of the emulator by name, and acts to do at once."""

    faults: list[Fault] = []
    settings: dict[str, float] = {}
    do: list[str] = []


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer JSON."""
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


class Emulator:
    """One emulated upstream on a port of its own. A subclass says its `routes` and how it words a refusal.

    `hosts` maps the upstream's real host names to path prefixes here, so that clients with fixed hosts can be led
    to it. `settings` are the numbers that `/__control__` may change. `websockets` says that it serves those too.
    """

    name = "emulator"
    websockets = False
    hosts: ClassVar[dict[str, str]] = {}
    defaults: ClassVar[dict[str, float]] = {}

    def __init__(self) -> None:
        self.submits: list[Submit] = []
        self.settings = dict(self.defaults)
        self.url = ""
        self._orders: list[tuple[Fault, int]] = []
        self._spent: Counter[str] = Counter()
        self._app = Starlette(routes=[Route(CONTROL, self._control, methods=["GET", "POST", "DELETE"]), *self.routes()])
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()

    # -- what a subclass says -----------------------------------------------------------------------------------------

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes, made with `route`, and those of WebSockets, which keep to no faults."""
        raise NotImplementedError

    def refusal(self, fault: Fault) -> Response:
        """Word an error of this status as the upstream does."""
        return reply({"error": "as you wished"}, fault.status)

    def words_of(self, request: Request, body: bytes) -> str:
        """Return the text that may hold words for this request: the same one when the request is sent again."""
        text = body[:SHOWN_BYTES].decode(errors="replace")
        boundary = request.headers.get("content-type", "").partition("boundary=")[2].strip('"')
        return f"{request.url.path} {text.replace(boundary, '') if boundary else text}"

    def state(self) -> dict[str, Any]:
        """Return what the report tells beside the submits."""
        return {}

    def reset(self) -> None:
        """Forget everything."""
        self.submits.clear()
        self.settings = dict(self.defaults)
        self._orders.clear()
        self._spent.clear()

    def act(self, order: str) -> bool:  # noqa: ARG002  (an emulator without acts)
        """Do what one of the control address's `do` says; False when there is no such act."""
        return False

    def environment(self) -> dict[str, str]:
        """Return the variables that lead Calotype to this emulator."""
        return {}

    # -- exchanges ----------------------------------------------------------------------------------------------------

    def route(self, path: str, stage: str, handler: Handler, *methods: str) -> Route:
        """Make a route whose exchanges keep to faults of that stage."""

        async def exchange(request: Request) -> Response:
            fault = self._ordered(request, stage)
            if fault.cut == "before":
                return await drop(request)
            try:
                body = await request.body()
            except ClientDisconnect:
                return Response()
            if fault is NONE:
                fault = self._worded(request, stage, body)
            if stage in STAGES_THAT_PAY:
                headers = dict(request.headers)
                url, now_s = request.url, time.monotonic()
                self.submits.append(Submit(request.method, url.path, url.query, headers, body, now_s, fault))
            if fault.cut == "before":
                return await drop(request)
            return await self._answer(request, fault, handler)

        return Route(path, exchange, methods=list(methods or ("POST",)))

    async def _answer(self, request: Request, fault: Fault, handler: Handler) -> Response:
        if fault.latency:
            await asyncio.sleep(fault.latency)
        if fault.hang:
            await self._silence(request)
        if fault.cut == "read" or fault.hang:
            return await drop(request)
        response = self.refusal(fault) if fault.status else await handler(request)
        if fault.retry_after is not None:
            response.headers["retry-after"] = f"{fault.retry_after:g}"
        if fault.cut == "after":
            return await drop(request)
        if isinstance(response, StreamingResponse):
            return response
        if fault.garbage:
            return Response("<!doctype html><title>so sorry</title>", response.status_code, media_type="text/html")
        if fault.huge > len(response.body):
            response = Response(bytes(response.body).ljust(fault.huge), response.status_code, dict(response.headers))
            response.headers["content-length"] = str(fault.huge)
        if fault.cut == "body" or fault.drip:
            return _Pieces(response, fault)
        return response

    def _ordered(self, request: Request, stage: str) -> Fault:
        """Return the fault that a header or the control address asks for."""
        if wish := request.headers.get(FAULT_HEADER):
            fault = fault_in(words_in(" ".join(f"@{word.lstrip('@')}" for word in wish.split())))
            return fault if fault.on in (stage, "any") else NONE
        for n, (fault, left) in enumerate(self._orders):
            if fault.on in (stage, "any"):
                self._orders[n : n + 1] = [(fault, left - 1)] if left > 1 else []
                return fault
        return NONE

    def _worded(self, request: Request, stage: str, body: bytes) -> Fault:
        text = self.words_of(request, body)
        fault = fault_in(words_in(text))
        if fault.harmless or fault.on not in (stage, "any"):
            return NONE
        self._spent[text] += 1
        return fault if self._spent[text] <= fault.times else NONE

    async def _silence(self, request: Request) -> None:
        """Wait until the client hangs up or the emulator stops."""
        gone = asyncio.ensure_future(request.receive())
        left = asyncio.ensure_future(self._leaving.wait())
        await asyncio.wait((gone, left), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        left.cancel()

    async def _control(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.reset()
        elif request.method == "POST":
            try:
                orders = msgspec.json.decode(await request.body(), type=Orders)
            except msgspec.MsgspecError as error:
                return reply({"error": str(error)}, 400)
            if unknown := sorted(set(orders.settings) - set(self.defaults)):
                return reply({"error": f"no setting {unknown[0]}; there are {', '.join(self.defaults)}"}, 400)
            self._orders += [(fault, fault.times) for fault in orders.faults]
            self.settings |= orders.settings
            for order in orders.do:
                if not self.act(order):
                    return reply({"error": f"no act {order!r}"}, 400)
        shown = [_shown(submit) for submit in self.submits]
        return reply({"name": self.name, "settings": self.settings, "submits": shown, **self.state()})

    # -- life ---------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request: a real host name becomes a prefix, a slash at the end counts for nothing."""
        host = next((value.decode() for key, value in scope["headers"] if key == b"host"), "").partition(":")[0]
        path = self.hosts.get(host, "") + scope["path"]
        scope = {**scope, "path": path.rstrip("/") or "/"}
        await self._app(scope, receive, send)

    async def start(self, port: int = 0, *, tls: tuple[str, str] | None = None) -> str:
        """Begin to serve on loopback and return the base URL; `tls` names the files of certificate and key."""
        listener = socket.create_server(("127.0.0.1", port))
        self._leaving = asyncio.Event()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self, http=_Protocol, loop="none", lifespan="off", access_log=False, log_config=None, server_header=False,
            ws="websockets-sansio" if self.websockets else "none", timeout_graceful_shutdown=2,
            ssl_certfile=tls and tls[0], ssl_keyfile=tls and tls[1],
        )  # fmt: skip
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        return self.url

    async def stop(self) -> None:
        """Stop serving; exchanges that hang are let go."""
        self._leaving.set()
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handling: several run in one process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """Leaves the connection where an exchange can drop it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope[_TRANSPORT] = self.transport


class _Pieces(Response):
    """An answer that comes slowly, or stops in the middle."""

    def __init__(self, whole: Response, fault: Fault) -> None:
        super().__init__(whole.body, whole.status_code, dict(whole.headers))
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        half = len(body) // 2 if self._fault.cut else len(body)
        step = max(1, -(-half // PIECES))
        for at in range(0, half, step):
            if scope[_TRANSPORT].is_closing():
                return
            piece: Message = {"type": "http.response.body", "body": body[at : min(at + step, half)], "more_body": True}
            await send(piece)
            await asyncio.sleep(self._fault.drip / PIECES)
        if self._fault.cut:
            scope[_TRANSPORT].close()
            await gone(receive)
        else:
            await send({"type": "http.response.body", "body": b""})


async def drop(request: Request) -> Response:
    """Reset the connection without a word."""
    request.scope[_TRANSPORT].abort()
    await gone(request.receive)
    return Response()


async def gone(receive: Receive) -> None:
    """Wait until the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _shown(submit: Submit) -> dict[str, Any]:
    headers = {name: value for name, value in submit.headers.items() if name not in ("authorization", "cookie")}
    text = submit.body[:SHOWN_BYTES].decode(errors="replace")
    return {"method": submit.method, "path": submit.path, "query": submit.query, "headers": headers, "body": text}
