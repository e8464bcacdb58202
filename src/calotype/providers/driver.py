"""Performs the steps an adapter yields: the only place where a provider's conversation meets a socket."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from calotype.http import Upstream
from calotype.kernel import points
from calotype.kernel.outcome import Failed, FailedKind, Outcome
from calotype.kernel.steps import (
    AnswerTooLarge,
    HttpRequest,
    HttpResponse,
    MaybeSent,
    NotSent,
    Parallel,
    Step,
    Steps,
    TransportError,
    Wait,
)
from calotype.providers.base import Call, Handle, Provider

T = TypeVar("T")

MAX_STEPS = 50
MAX_WAIT_S = 60.0
ON_ITS_WAY_S = 0.25
"""How long a request is given to leave before tests take it as sent."""


async def _nothing() -> None:
    return None


async def drive(steps: Steps[T], upstream: Upstream, on_commit: Callable[[], Awaitable[None]] = _nothing) -> T:
    """Run a conversation to its end.

    The submission is recorded (`on_commit`) just before the first request that costs money. A transport failure is
    thrown into the generator as `NotSent` or `MaybeSent`; what it does not handle ends the call.

    Raises:
        TransportError: an exchange failed and the adapter did not turn it into an outcome.

    """
    answer: Any = None
    error: TransportError | None = None
    committed = False
    for _ in range(MAX_STEPS):
        try:
            step: Step = steps.throw(error) if error is not None else steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        answer, error = None, None
        commits = isinstance(step, HttpRequest) and step.commits
        if commits and not committed:
            committed = True
            await on_commit()
            points.reach("submit.recorded")
        try:
            answer = await _perform(step, upstream)
        except TransportError as failure:
            error = failure
        if commits:
            points.reach("submit.answered")
    raise RuntimeError("an adapter did not come to an end")


async def _perform(step: Step, upstream: Upstream) -> HttpResponse | tuple[HttpResponse, ...] | None:
    match step:
        case HttpRequest():
            if not step.commits or points.on_point is None:
                return await upstream.perform(step)
            return await _observed(step, upstream)
        case Wait(seconds=seconds):
            await asyncio.sleep(min(seconds, MAX_WAIT_S))
            return None
        case Parallel(requests=requests):
            if any(request.commits for request in requests):
                raise RuntimeError("a request that commits cannot be one of several")
            return tuple(await asyncio.gather(*(upstream.perform(request) for request in requests)))


async def _observed(step: HttpRequest, upstream: Upstream) -> HttpResponse:
    """Perform a committing request with a point after it left, before its answer is used (tests only)."""
    task = asyncio.ensure_future(upstream.perform(step))
    await asyncio.wait((task,), timeout=ON_ITS_WAY_S)
    points.reach("submit.sent")
    return await task


class Driven:
    """An HTTP adapter as a `Runtime`."""

    def __init__(self, provider: Provider, upstream: Upstream, *, max_in_progress: int) -> None:
        self.provider = provider
        self.upstream = upstream
        self.name = provider.name
        self.kind = provider.kind
        self.idempotency = provider.idempotency
        self.media_inputs = provider.media_inputs
        self.schedule = provider.schedule
        self.output_hosts = provider.output_hosts
        self.max_in_progress = max_in_progress
        self.cancellable = False

    async def submit(
        self,
        call: Call,
        on_commit: Callable[[], Awaitable[None]],
        on_progress: Callable[[float], None],  # noqa: ARG002  (an HTTP exchange has no progress)
    ) -> Outcome:
        """Run the submit conversation; a transport failure becomes `retry` or `unknown`."""
        try:
            return await drive(self.provider.submit(call), self.upstream, on_commit)
        except NotSent as error:
            return Failed(FailedKind.RETRY, "The upstream could not be reached.", detail=str(error))
        except AnswerTooLarge as error:
            return Failed(FailedKind.UPSTREAM, "The upstream's answer was too large.", detail=str(error))
        except MaybeSent as error:
            return Failed(FailedKind.UNKNOWN, "The upstream did not answer.", detail=str(error))

    async def poll(self, handle: Handle) -> Outcome:
        """Run the poll conversation; a transport failure means: look again later."""
        try:
            return await drive(self.provider.poll(handle), self.upstream)
        except TransportError as error:
            return Failed(FailedKind.RETRY, "The upstream could not be asked.", detail=str(error))

    async def cancel(self, handle: Handle) -> bool:
        """Run the cancel conversation; False when the upstream cannot be reached."""
        try:
            return await drive(self.provider.cancel(handle), self.upstream)
        except TransportError:
            return False

    async def lookup(self, call: Call) -> Outcome | None:
        """Run the look-up conversation.

        Raises:
            TransportError: the upstream cannot be asked; look again later.

        """
        return await drive(self.provider.lookup(call), self.upstream)

    async def close(self) -> None:
        """Close the connection pool."""
        await self.upstream.close()
