"""Requests that are tried as hard as their caller wishes: model after model, within time, or answered from before.

Every model's turn is a job of its own. One that failed or was canceled has cost nothing, so that whoever falls back
still pays for one delivery only; a job that cannot be stopped in time is never followed by another.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from calotype.dialects.effort import Effort
from calotype.jobs.engine import Engine
from calotype.jobs.intake import Ask, Ticket
from calotype.jobs.types import JobView
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Context, DataClass
from calotype.kernel.ids import JobId, OrgId
from calotype.kernel.job import JobState

ANOTHER_MAY_DO = frozenset(
    {Code.NO_ROUTE, Code.PLANNED, Code.MODEL_RETIRED, Code.UPSTREAM_FAILED, Code.UNAVAILABLE, Code.TIMEOUT}
)
"""Failures that are the model's own: nothing the caller said is wrong, and no rule forbids it."""
FILES = ("image", "video", "audio", "file")
"""Kinds of output that lie in storage, and not with the job."""
MOST_KEPT = 10_000
STOP_S = 3.0
"""How long a wish to stop a job may take to be heard upstream."""


class Tried(Struct, frozen=True):
    """How a request ended. `ticket` is None where the answer was `kept` from before; `notes` say who failed first."""

    view: JobView
    ticket: Ticket | None
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether it is the answer of an earlier request."""
        return self.ticket is None


class KeptAnswers:
    """Which job answered a request, for as long as its caller wishes; in memory, the oldest go beyond a bound."""

    def __init__(self, clock: Clock, most: int = MOST_KEPT) -> None:
        self._clock = clock
        self._most = most
        self._jobs: dict[str, tuple[JobId, int]] = {}

    def find(self, name: str) -> JobId | None:
        """Return the job that answered a request, None when there is none or its time is over."""
        job_id, until_ms = self._jobs.get(name, (None, 0))
        if until_ms <= self._clock.now_ms():
            self._jobs.pop(name, None)
            return None
        return job_id

    def keep(self, name: str, job_id: JobId, ttl_s: int) -> None:
        """Remember who answered."""
        self._jobs.pop(name, None)
        while len(self._jobs) >= self._most:
            del self._jobs[next(iter(self._jobs))]
        self._jobs[name] = (job_id, self._clock.now_ms() + ttl_s * 1000)


class Attempts:
    """Runs requests with their callers' wishes."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._kept = KeptAnswers(clock)

    async def run(self, asks: Sequence[Ask], effort: Effort) -> Tried:
        """Run the first request, and the others in turn where it is the model that fails.

        Raises:
            Problem: the first one's refusal, or `timeout` of a job that goes on (`data.job_id`).

        """
        name = _name_of(asks[0].context) if effort.cache_ttl_s is not None else None
        if name is not None and not effort.fresh and (view := await self._earlier(name, asks[0].org.id)) is not None:
            return Tried(view, None)
        first: Problem | Tried | None = None
        notes: list[str] = []
        for n, ask in enumerate(asks):
            try:
                view, ticket = await self._one(_turn(ask, n, effort), effort)
            except Problem as problem:
                if (n == 0 and problem.code not in ANOTHER_MAY_DO) or problem.data.get("job_id"):
                    raise
                first = first or problem
                notes.append(f"{ask.generation.model} was not used: {problem.message}")
                continue
            tried = Tried(view, ticket, tuple(notes))
            if view.state is JobState.SUCCEEDED:
                if name is not None and _is_there(view):
                    self._kept.keep(name, view.id, effort.cache_ttl_s or 0)
                return tried
            why = view.problem
            if why is None or why.code not in ANOTHER_MAY_DO:
                return tried
            first = first or tried
            notes.append(f"{ask.generation.model} was not used: {why.message}")
        if isinstance(first, Tried):
            return first
        raise first or Problem(Code.INTERNAL, "Nothing was tried.")

    async def _one(self, ask: Ask, effort: Effort) -> tuple[JobView, Ticket]:
        """Run one request in its time; a job that takes longer is stopped.

        Raises:
            Problem: a refusal, or `timeout`; `data.job_id` says that the job could not be stopped.

        """
        ticket = await self._engine.accept(ask)
        limit_s = None if effort.timeout_ms is None else effort.timeout_ms / 1000
        view = await self._end_within(ticket, limit_s)
        if view is not None:
            return view, ticket
        await self._engine.cancel(ticket.job.id, ask.org.id)
        view = await self._end_within(ticket, STOP_S)
        if view is None:
            self._engine.answered(ticket, delivered=False)
            sentence = "It took longer than the timeout and cannot be stopped; the same request sent again joins it."
            raise Problem(Code.TIMEOUT, sentence, retryable=False, data={"job_id": ticket.job.id})
        if view.state is JobState.SUCCEEDED:
            return view, ticket
        sentence = f"It took longer than {effort.timeout_ms} ms and was stopped; nothing was charged."
        raise Problem(Code.TIMEOUT, sentence, field="timeout", retryable=False)

    async def _end_within(self, ticket: Ticket, limit_s: float | None) -> JobView | None:
        """Wait for the end of a job, None where it takes longer."""
        try:
            async with asyncio.timeout(limit_s):
                return await self._engine.end_of(ticket)
        except TimeoutError:
            return None

    async def _earlier(self, name: str, org_id: OrgId) -> JobView | None:
        """Return the job that answered the same request, while its files are still there."""
        job_id = self._kept.find(name)
        if job_id is not None:
            with suppress(Problem):
                view = await self._engine.get(job_id, org_id)
                if view.state is JobState.SUCCEEDED and _is_there(view):
                    return view
        return None


def _turn(ask: Ask, n: int, effort: Effort) -> Ask:
    """Return the request of the n-th model: an idempotency key stands for one job, so that each has its own."""
    context = ask.context
    if n and context.idempotency_key is not None:
        context = replace(context, idempotency_key=f"{context.idempotency_key}/{n}")
    return replace(ask, context=context, rounds=effort.rounds)


def _is_there(view: JobView) -> bool:
    """Say whether a result can be read again: its files, or what it is where it has none."""
    if view.job.plan.output in FILES:
        return bool(view.artifacts)
    return view.job.result is not None


def _name_of(context: Context) -> str | None:
    """Return under which name an answer is kept: the key, the path and the body, and the rules; PHI never is."""
    if context.data_class is DataClass.PHI or context.fingerprint is None:
        return None
    return f"{context.fingerprint}/{context.region}/{context.tier}"
