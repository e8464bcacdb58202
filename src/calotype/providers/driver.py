"""Performs the steps an adapter yields: the only place where a provider's conversation meets a socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from msgspec.structs import replace

from calotype.http import Upstream
from calotype.http.events import server_events
from calotype.http.sockets import Broken, Line
from calotype.kernel import points
from calotype.kernel.outcome import Delta, Failed, FailedKind, Outcome, Pending
from calotype.kernel.steps import (
    AnswerTooLarge,
    Dial,
    Emit,
    Hear,
    HttpRequest,
    HttpResponse,
    Keep,
    Listen,
    MaybeSent,
    Next,
    NotSent,
    Parallel,
    Say,
    ServerEvent,
    Step,
    Steps,
    TransportError,
    Wait,
)
from calotype.providers.base import Call, Check, Handle, Provider, unheard
from calotype.providers.credentials import Ring

T = TypeVar("T")

SWITCHED = 101
_CREDENTIAL_LOST = "The credential by which the request was made is no longer in the settings."
_CUT = "the WebSocket was closed, or silent for too long"
MAX_STEPS = 50
MAX_WAIT_S = 60.0
ON_ITS_WAY_S = 0.25
"""How long a request is given to leave before tests take it as sent."""


async def _nothing() -> None:
    return None


async def drive(
    steps: Steps[T],
    upstream: Upstream,
    on_commit: Callable[[], Awaitable[None]] = _nothing,
    on_delta: Callable[[Delta], None] = unheard,
) -> T:
    """Run a conversation to its end.

    The submission is recorded (`on_commit`) just before the first request that costs money. A transport failure is
    thrown into the generator as `NotSent` or `MaybeSent`; what it does not handle ends the call.

    Raises:
        TransportError: an exchange failed and the adapter did not turn it into an outcome.

    """
    async with _Exchanges(upstream, on_delta) as exchanges:
        answer: Any = None
        error: TransportError | None = None
        committed = False
        while exchanges.count <= MAX_STEPS:
            try:
                step: Step = steps.throw(error) if error is not None else steps.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            answer, error = None, None
            commits = _commits(step)
            if commits and not committed:
                committed = True
                await on_commit()
                points.reach("submit.recorded")
            try:
                answer = await exchanges.perform(step, commits=commits)
            except TransportError as failure:
                error = failure
            if commits:
                points.reach("submit.answered")
    raise RuntimeError("an adapter did not come to an end")


def _commits(step: Step) -> bool:
    match step:
        case HttpRequest(commits=commits) | Listen(request=HttpRequest(commits=commits)) | Say(commits=commits):
            return commits
        case Parallel(requests=requests):
            return any(request.commits for request in requests)
    return False


class _Exchanges:
    """The exchanges of one conversation, and the stream that is open."""

    def __init__(self, upstream: Upstream, on_delta: Callable[[Delta], None]) -> None:
        self.count = 0
        self._upstream = upstream
        self._on_delta = on_delta
        self._open = AsyncExitStack()
        self._events: AsyncIterator[ServerEvent] | None = None
        self._line: Line | None = None
        self._line_name = ""

    async def __aenter__(self) -> "_Exchanges":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()
        self._hang_up()

    async def perform(self, step: Step, *, commits: bool) -> Any:
        """Do one step; reading an open stream and showing a piece of it count as none."""
        match step:
            case Next():
                return None if self._events is None else await anext(self._events, None)
            case Emit(delta=delta):
                self._on_delta(delta)
                return None
            case Hear(wait_s=wait_s):
                return await self._heard(wait_s)
            case Keep():
                self._keep()
                return None
            case _:
                self.count += 1
                await self._open.aclose()
                self._events = None
                send = self._send(step)
                return await (_observed(send) if commits and points.on_point is not None else send)

    async def _send(self, step: Step) -> HttpResponse | tuple[HttpResponse | TransportError, ...] | None:
        match step:
            case HttpRequest():
                return await self._upstream.perform(step)
            case Listen(request=request):
                return await self._listen(request)
            case Parallel(requests=requests, each=each):
                if not each and any(request.commits for request in requests):
                    raise RuntimeError("a request that commits can be one of several only where each is answered")
                perform = self._each if each else self._upstream.perform
                return tuple(await asyncio.gather(*(perform(request) for request in requests)))
            case Wait(seconds=seconds):
                await asyncio.sleep(min(seconds, MAX_WAIT_S))
            case Dial(name=name, request=wanted):
                return await self._dial(name, wanted)
            case Say(message=message):
                await self._say(message)
        return None

    # -- a WebSocket ---------------------------------------------------------------------------------------------------

    async def _dial(self, name: str, request: HttpRequest | None) -> HttpResponse:
        self._hang_up()
        self._line_name = name
        if request is None:
            self._line = self._upstream.lines.take(name)
            return HttpResponse(404 if self._line is None else SWITCHED)
        found = await self._upstream.dial(request)
        if isinstance(found, HttpResponse):
            return found
        self._line = found
        return HttpResponse(SWITCHED)

    async def _say(self, message: str | bytes) -> None:
        try:
            await self._on_line().say(message)
        except Broken:
            raise MaybeSent(f"{self._upstream.name}: {_CUT}") from None

    async def _heard(self, wait_s: float) -> str | bytes | None:
        try:
            return await self._on_line().hear(wait_s)
        except Broken:
            raise MaybeSent(f"{self._upstream.name}: {_CUT}") from None

    def _keep(self) -> None:
        line, self._line = self._on_line(), None
        self._upstream.lines.keep(self._line_name, line)

    def _hang_up(self) -> None:
        if self._line is not None:
            line, self._line = self._line, None
            self._upstream.lines.let_go(line)

    def _on_line(self) -> Line:
        if self._line is None:
            raise RuntimeError("an adapter uses a WebSocket that it has not taken")
        return self._line

    async def _each(self, request: HttpRequest) -> HttpResponse | TransportError:
        try:
            return await self._upstream.perform(request)
        except TransportError as failure:
            return failure

    async def _listen(self, request: HttpRequest) -> HttpResponse:
        streamed = await self._open.enter_async_context(self._upstream.stream(request))
        events = streamed.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"
        if events and 200 <= streamed.status < 300:
            self._events = server_events(streamed.chunks(), self._upstream.name)
            return HttpResponse(streamed.status, streamed.headers)
        body = b"".join([chunk async for chunk in streamed.chunks()])
        await self._open.aclose()
        return HttpResponse(streamed.status, streamed.headers, body)


def _unknown_there(outcome: Failed) -> bool:
    """Say whether an upstream may only mean that it knows no such request of this account."""
    return outcome.kind is FailedKind.GONE or (outcome.kind is FailedKind.UPSTREAM and outcome.code is None)


async def _observed(sending: Awaitable[T]) -> T:
    """Perform a committing request with a point after it left, before its answer is used (tests only)."""
    task = asyncio.ensure_future(sending)
    await asyncio.wait((task,), timeout=ON_ITS_WAY_S)
    points.reach("submit.sent")
    return await task


class Driven:
    """An HTTP adapter as a `Runtime`: one for each credential of the instance, over the same connections."""

    def __init__(
        self, adapters: Sequence[Provider], upstream: Upstream, *, max_in_progress: int, marks: Sequence[str] = ()
    ) -> None:
        provider = adapters[0]
        self.upstream = upstream
        self.adapters = tuple(adapters)
        self.ring = Ring(adapters, marks)
        self.name = provider.name
        self.kind = provider.kind
        self.idempotency = provider.idempotency
        self.media_inputs = provider.media_inputs
        self.schedule = provider.schedule
        self.output_hosts = provider.output_hosts
        self.callbacks = provider.callbacks
        self.max_in_progress = max_in_progress * len(adapters)
        self.cancellable = False

    async def submit(
        self,
        call: Call,
        on_commit: Callable[[], Awaitable[None]],
        on_progress: Callable[[float], None],  # noqa: ARG002  (an HTTP exchange has no progress)
        on_delta: Callable[[Delta], None] = unheard,
    ) -> Outcome:
        """Run the submit conversation; a transport failure becomes `retry` or `unknown`.

        A call whose credential is refused is made again with another one: what was refused was not taken.
        """
        while True:
            chosen = self.ring.choose(call)
            if isinstance(chosen, Failed):
                return chosen
            try:
                outcome = await drive(chosen.adapter.submit(call), self.upstream, on_commit, on_delta)
            except NotSent as error:
                return Failed(FailedKind.RETRY, "The upstream could not be reached.", detail=str(error))
            except AnswerTooLarge as error:
                return Failed(FailedKind.UPSTREAM, "The upstream's answer was too large.", detail=str(error))
            except MaybeSent as error:
                return Failed(FailedKind.UNKNOWN, "The upstream did not answer.", detail=str(error))
            if not self.ring.learn(chosen, outcome):
                break
        if isinstance(outcome, Pending):
            return replace(outcome, handle=self.ring.marked(chosen, outcome.handle))
        return outcome

    async def poll(self, handle: Handle) -> Outcome:
        """Run the poll conversation; a transport failure means: look again later."""
        credential = self.ring.of(handle)
        try:
            outcome = await drive(credential.adapter.poll(handle), self.upstream)
        except TransportError as error:
            return Failed(FailedKind.RETRY, "The upstream could not be asked.", detail=str(error))
        if isinstance(outcome, Pending):
            return replace(outcome, handle=self.ring.marked(credential, outcome.handle))
        if isinstance(outcome, Failed) and _unknown_there(outcome) and self.ring.lost(handle):
            return replace(outcome, kind=FailedKind.RETRY, message=_CREDENTIAL_LOST)
        return outcome

    async def cancel(self, handle: Handle) -> bool:
        """Run the cancel conversation; False when the upstream cannot be reached."""
        try:
            return await drive(self.ring.of(handle).adapter.cancel(handle), self.upstream)
        except TransportError:
            return False

    async def lookup(self, call: Call) -> Outcome | None:
        """Run the look-up conversation.

        Raises:
            TransportError: the upstream cannot be asked; look again later.

        """
        chosen = self.ring.choose(call)
        return None if isinstance(chosen, Failed) else await drive(chosen.adapter.lookup(call), self.upstream)

    async def callback(self, headers: Mapping[str, str], body: bytes, handle: Handle, upstream_id: str) -> bool:
        """Run the conversation that proves a callback; what cannot be proved now counts for nothing."""
        try:
            return await drive(self.ring.of(handle).adapter.callback(headers, body, upstream_id), self.upstream)
        except TransportError:
            return False

    async def check(self) -> tuple[Check | None, ...]:
        """Ask about the account of every credential; an upstream that cannot be reached is such an answer."""
        found: list[Check | None] = []
        for adapter in self.ring.adapters:
            try:
                found.append(await drive(adapter.check(), self.upstream))
            except TransportError as error:
                found.append(Check(reachable=False, note=str(error)))
        return tuple(found)

    async def close(self) -> None:
        """Close the connection pool."""
        await self.upstream.close()
