"""Requests that are tried as hard as their caller wishes: model after model, within time, or answered from before.

Every model's turn is a job of its own. One that failed or was canceled has cost nothing, so that whoever falls back
still pays for one delivery only; a job that cannot be stopped in time is never followed by another. Of a stream no
other model is tried once the first piece was shown.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

import structlog
from msgspec import Struct
from msgspec.structs import replace

from calotype.dialects.effort import Effort
from calotype.dialects.kept import KeptAnswers, name_of
from calotype.jobs.engine import CancelOutcome, Engine
from calotype.jobs.intake import Ask, Ticket
from calotype.jobs.types import JobRow, JobView
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.job import JobState
from calotype.kernel.outcome import Delta

log = structlog.get_logger(__name__)

ANOTHER_MAY_DO = frozenset(
    {Code.NO_ROUTE, Code.PLANNED, Code.MODEL_RETIRED, Code.UPSTREAM_FAILED, Code.UNAVAILABLE, Code.TIMEOUT}
)
"""Failures that are the model's own: nothing the caller said is wrong, and no rule forbids it."""
STOP_S = 5.0
"""How long it may take until a job that is to stop has ended."""


class Tried(Struct, frozen=True):
    """How a request ended. `ticket` is None where the answer was `kept` from before.

    The view is told as it is: it warns of the models that failed first, and an answer from before costs nothing.
    """

    view: JobView
    ticket: Ticket | None

    @property
    def end(self) -> JobView:
        """The job's end."""
        return self.view

    @property
    def kept(self) -> bool:
        """Whether it is the answer of an earlier request."""
        return self.ticket is None

    def noting(self, notes: tuple[str, ...]) -> "Tried":
        """Return the same, with who failed first."""
        return Tried(_noted(self.view, notes), self.ticket)


class Begun(Struct, frozen=True):
    """A request whose answer begins: `head` came already, `rest` comes."""

    ticket: Ticket
    head: tuple[Delta | JobView, ...] = ()
    rest: AsyncGenerator[Delta | JobView, None] | None = None
    notes: tuple[str, ...] = ()

    @property
    def job(self) -> JobRow:
        """The job as it was accepted, with who failed before it."""
        return _noted(JobView(self.ticket.job), self.notes).job

    @property
    def end(self) -> JobView | None:
        """The job's end, None while it goes on."""
        last = self.head[-1] if self.head else None
        return last if isinstance(last, JobView) else None

    def noting(self, notes: tuple[str, ...]) -> "Begun":
        """Return the same, with who failed first."""
        return replace(self, notes=notes)

    async def items(self) -> AsyncIterator[Delta | JobView]:
        """Yield the pieces as they come, and at last the job's view."""
        for one in self.head:
            yield _noted(one, self.notes) if isinstance(one, JobView) else one
        if self.rest is not None:
            async with aclosing(self.rest) as rest:
                async for one in rest:
                    yield _noted(one, self.notes) if isinstance(one, JobView) else one


Turn = TypeVar("Turn", Tried, Begun)


class Attempts:
    """Runs requests with their callers' wishes."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._kept = KeptAnswers(engine, clock)
        self._stopping: set[asyncio.Future[CancelOutcome]] = set()

    async def run(self, asks: Sequence[Ask], effort: Effort) -> Tried:
        """Run the first request to its end, and the others in turn where it is the model that fails.

        Raises:
            Problem: the first one's refusal, or `timeout` of a job that goes on (`data.job_id`).

        """
        name = name_of(asks[0].context, effort)
        if name is not None and not effort.fresh and (view := await self._kept.find(name, asks[0].org.id)) is not None:
            return Tried(view, None)
        tried = await self._in_turn(asks, effort, self._ended)
        if name is not None:
            self._kept.keep(name, tried.view, effort.cache_ttl_s or 0)
        return tried

    async def begin(self, asks: Sequence[Ask], effort: Effort) -> Begun:
        """Run requests in turn until one of them shows something of its result, or ends well.

        The only one is returned at once where no time limit is set for it.

        Raises:
            Problem: the first one's refusal, or `timeout` of a job that goes on (`data.job_id`).

        """
        return await self._in_turn(asks, effort, self._begun)

    async def _in_turn(
        self, asks: Sequence[Ask], effort: Effort, take: Callable[[Ask, Effort, bool], Awaitable[Turn]]
    ) -> Turn:
        first: Problem | Turn | None = None
        notes: tuple[str, ...] = ()
        for n, ask in enumerate(asks):
            try:
                turn = await take(_turn(ask, n, effort), effort, len(asks) == 1)
            except Problem as problem:
                if (n == 0 and problem.code not in ANOTHER_MAY_DO) or problem.data.get("job_id"):
                    raise
                why, first = problem, first or problem
            else:
                end = turn.end
                failed = None if end is None or end.state is JobState.SUCCEEDED else end.problem
                if failed is None or failed.code not in ANOTHER_MAY_DO:
                    return turn.noting(notes)
                why, first = failed, first or turn
            notes += (f"{ask.generation.model} was not used: {why.message}",)
        if isinstance(first, Tried | Begun):
            return first
        raise first or Problem(Code.INTERNAL, "Nothing was tried.")

    async def _ended(self, ask: Ask, effort: Effort, _alone: bool) -> Tried:
        """Run one request in its time; a job that takes longer is stopped.

        Raises:
            Problem: a refusal, or `timeout`; `data.job_id` says that the job goes on.

        """
        ticket = await self._engine.accept(ask)
        view = await self._end_within(ticket, effort.timeout_ms)
        view = await self._stopped(ticket, ask, effort) if view is None else _in_time(view, effort)
        return Tried(view, ticket)

    async def _begun(self, ask: Ask, effort: Effort, alone: bool) -> Begun:
        """Run one request until it shows something; the time limit is for that.

        Raises:
            Problem: a refusal, or `timeout`; `data.job_id` says that the job goes on.

        """
        ticket = await self._engine.accept(replace(ask, listen=True))
        pieces = self._engine.follow(ticket)
        if alone and effort.timeout_ms is None:
            return Begun(ticket, rest=pieces)
        head: list[Delta | JobView] = []
        try:
            async with asyncio.timeout(_seconds(effort.timeout_ms)):
                async for item in pieces:
                    if isinstance(item, JobView):
                        await pieces.aclose()
                        return Begun(ticket, (*head, _in_time(item, effort)))
                    if item.kind != "progress":  # a number alone is nothing shown; the newest counts
                        return Begun(ticket, (*head, item), pieces)
                    head = [item]
        except TimeoutError:
            return Begun(ticket, (await self._stopped(ticket, ask, effort),))
        except Problem:
            self._engine.answered(ticket, delivered=False)
            raise
        raise AssertionError("a job was followed to no end")

    async def _stopped(self, ticket: Ticket, ask: Ask, effort: Effort) -> JobView:
        """Stop a job that took too long; what ended by itself meanwhile, well or not, stands.

        Raises:
            Problem: `timeout`; `data.job_id` says that the job could not be stopped.

        """
        stop = asyncio.ensure_future(self._engine.cancel(ticket.job.id, ask.org.id))
        self._stopping.add(stop)
        stop.add_done_callback(self._asked_to_stop)
        view = await self._end_within(ticket, int(STOP_S * 1000))
        if view is None:
            self._engine.answered(ticket, delivered=False)
            sentence = "It took longer than the timeout and cannot be stopped; the same request sent again joins it."
            raise Problem(Code.TIMEOUT, sentence, retryable=False, data={"job_id": ticket.job.id})
        if view.state is JobState.CANCELED:
            raise _too_slow(effort)
        return view

    def _asked_to_stop(self, stop: "asyncio.Future[CancelOutcome]") -> None:
        self._stopping.discard(stop)
        if not stop.cancelled() and (error := stop.exception()) is not None:
            log.warning("stop_failed", error=type(error).__name__)

    async def _end_within(self, ticket: Ticket, limit_ms: int | None) -> JobView | None:
        """Wait for the end of a job, None where it takes longer."""
        try:
            async with asyncio.timeout(_seconds(limit_ms)):
                return await self._engine.end_of(ticket)
        except TimeoutError:
            return None
        except Problem:
            self._engine.answered(ticket, delivered=False)
            raise


def _noted(view: JobView, notes: tuple[str, ...]) -> JobView:
    if not notes:
        return view
    plan = replace(view.job.plan, warnings=notes + view.job.plan.warnings)
    return JobView(replace(view.job, plan=plan), view.artifacts, view.inline)  # the view itself may be shared


def _turn(ask: Ask, n: int, effort: Effort) -> Ask:
    """Return the request of the n-th model: an idempotency key stands for one job, so that each has its own."""
    context = ask.context
    if n and context.idempotency_key is not None:
        context = replace(context, idempotency_key=f"{context.idempotency_key}/{n}")
    return replace(ask, context=context, rounds=effort.rounds)


def _in_time(view: JobView, effort: Effort) -> JobView:
    """Return the end of a job, unless an earlier sending of the same request had stopped it after its time.

    Raises:
        Problem: `timeout`, as that sending was told.

    """
    job = view.job
    if effort.timeout_ms is None or job.state is not JobState.CANCELED:
        return view
    if (job.finished_at_ms or 0) - job.created_at_ms >= effort.timeout_ms:
        raise _too_slow(effort)
    return view


def _too_slow(effort: Effort) -> Problem:
    sentence = f"It took longer than {effort.timeout_ms} ms and was stopped; nothing was charged."
    return Problem(Code.TIMEOUT, sentence, field="timeout", retryable=False)


def _seconds(limit_ms: int | None) -> float | None:
    return None if limit_ms is None else limit_ms / 1000
