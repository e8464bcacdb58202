"""The end of a job: what came is stored and settled, or it is refused, stopped or given up, and the hold let go."""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import structlog

from calotype.jobs.delivery import Deliverer, Delivery, NotYetError
from calotype.jobs.moves import Closing
from calotype.jobs.rows import Rows
from calotype.jobs.types import FrozenRoute, JobRow, JobView
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.job import JobState
from calotype.kernel.outcome import Cost, Failed, FailedKind, Succeeded
from calotype.providers.base import Handle, Runtime

log = structlog.get_logger(__name__)

_outcome = msgspec.json.Decoder(Succeeded)

PROBLEM_OF: dict[FailedKind, Code] = {
    FailedKind.RETRY: Code.UNAVAILABLE,
    FailedKind.INVALID: Code.INVALID_INPUT,
    FailedKind.MODERATED: Code.MODERATED,
    FailedKind.AUTH: Code.UNAVAILABLE,
    FailedKind.QUOTA: Code.UNAVAILABLE,
    FailedKind.UPSTREAM: Code.UPSTREAM_FAILED,
    FailedKind.GONE: Code.UNAVAILABLE,
    FailedKind.UNKNOWN: Code.UPSTREAM_FAILED,
}


class Finisher:
    """Ends jobs. Storing and settling may run twice without harm: the second settlement changes nothing."""

    def __init__(
        self,
        clock: Clock,
        runtimes: dict[str, Runtime],
        *,
        deliverer: Deliverer,
        rows: Rows,
        lease_s: float,
        table_cost: Callable[[JobRow, FrozenRoute, int, dict[str, int]], int | None],
    ) -> None:
        self._clock = clock
        self._runtimes = runtimes
        self._deliverer = deliverer
        self._rows = rows
        self._lease_s = lease_s
        self._table_cost = table_cost

    async def store(self, job: JobRow) -> JobView | None:
        """Store again what was written down while it was fetched."""
        if job.outcome is None:
            raise RuntimeError(f"job {job.id} is storing nothing")
        return await self.deliver(job, _outcome.decode(job.outcome), fresh=False)

    async def deliver(self, job: JobRow, outcome: Succeeded, *, fresh: bool) -> JobView | None:
        """Store what came, then settle. A fresh answer by URL is written down while it is fetched."""
        urls = [
            o for o in outcome.outputs if o.url is not None and not o.url_headers and self._deliverer.stores(job, o)
        ]
        recording: asyncio.Task[None] | None = None
        if fresh and urls and len(urls) == len(outcome.outputs):
            recording = asyncio.create_task(self._record(job, outcome))
        try:
            delivery = await self._deliverer.deliver(job, outcome, self._clock.now_ms())
        except NotYetError as error:
            await _written_down(recording)
            return await self._store_later(job, outcome, error)
        except BaseException:
            if recording is not None:
                recording.cancel()
            raise
        await _written_down(recording)
        return await self._delivered(job, outcome, delivery)

    async def _delivered(self, job: JobRow, outcome: Succeeded, delivery: Delivery) -> JobView | None:
        job.ending = True
        cost = self._cost(job, outcome, delivery)
        closing = Closing(job.attempt, "done", upstream_id=outcome.upstream_id, cost=cost)
        if (outcome.outputs or _makes_a_file(job)) and not delivery.artifacts and not delivery.inline:
            word = "could not be fetched" if outcome.outputs else f"holds no {job.plan.output}"
            problem = Problem(Code.UPSTREAM_FAILED, f"The upstream's result {word}.", retryable=False)
            return await self._rows.end(job, JobState.FAILED, problem=problem, closing=closing)
        return await self._rows.end(job, JobState.SUCCEEDED, delivery=delivery, closing=closing)

    def _cost(self, job: JobRow, outcome: Succeeded, delivery: Delivery) -> Cost | None:
        """Return what the upstream bills: its own word, or, where that is no money, the tables' beside it."""
        said = outcome.cost
        if said is not None and said.micro is not None:
            return said
        outputs = len(delivery.artifacts) + len(delivery.inline) + delivery.missing or 1
        micro = self._table_cost(job, job.frozen_route, outputs, delivery.result.usage)
        if micro is None:
            return said
        return Cost(micro=micro, source="table") if said is None else Cost(micro, said.amount, said.unit, "table")

    async def _record(self, job: JobRow, outcome: Succeeded) -> None:
        await self._rows.move(job, JobState.STORING, self._lease_s, outcome=outcome, keep=True)

    async def _store_later(self, job: JobRow, outcome: Succeeded, error: NotYetError) -> JobView | None:
        log.warning("store_again", job_id=job.id, reason=error.reason)
        pause_s = error.retry_after_s if error.retry_after_s is not None else 2.0
        keyed = any(o.url_headers for o in outcome.outputs)
        if keyed and job.state is JobState.RUNNING and job.handle is not None:
            # a key may not be written down: the upstream is asked for the same result again
            await self._rows.move(job, JobState.RUNNING, min(pause_s, 30.0))
            return None
        carried = job.data_class is DataClass.GENERAL and all(o.url is not None for o in outcome.outputs)
        if carried and not keyed:
            await self._rows.move(job, JobState.STORING, min(pause_s, 30.0), outcome=outcome)
            return None
        for tried in range(3):  # bytes in memory cannot be written down: try here, under the renewed lease
            await asyncio.sleep(min(pause_s, 2.0) * (tried + 1))
            try:
                delivery = await self._deliverer.deliver(job, outcome, self._clock.now_ms())
            except NotYetError:
                continue
            return await self._delivered(job, outcome, delivery)
        problem = Problem(Code.UNAVAILABLE, "The result could not be stored; nothing was charged.")
        return await self.fail(job, problem, Closing(job.attempt, "done", cost=outcome.cost))

    # -- ends ------------------------------------------------------------------------------------------------------

    async def expire(self, job: JobRow) -> JobView | None:
        """Give up a job whose deadline has passed."""
        runtime = self._runtimes.get(job.provider)
        if job.state is JobState.RUNNING and runtime is not None and job.handle is not None:
            await _stop(runtime, job.handle, job)
        problem = Problem(
            Code.TIMEOUT, "The job did not end before its deadline; nothing was charged.", retryable=False
        )
        closing = Closing(job.attempt, "ambiguous", error="deadline") if job.state is not JobState.QUEUED else None
        return await self.fail(job, problem, closing)

    async def cancel(self, job: JobRow) -> JobView | None:
        """Stop the job if that is still possible; None lets it go on to its end."""
        if job.state is JobState.RUNNING:
            runtime = self._runtimes.get(job.provider)
            if runtime is None or job.handle is None or not await _stop(runtime, job.handle, job):
                return None
        elif job.state is JobState.SUBMITTING:
            runtime = self._runtimes.get(job.provider)
            if runtime is None or not runtime.cancellable:
                return None
        elif job.state is JobState.STORING:
            return None
        return await self.canceled(job)

    async def canceled(self, job: JobRow) -> JobView | None:
        """End a job whose work has stopped because somebody asked for it."""
        job.ending = True
        problem = Problem(Code.CANCELED, "The job was canceled; nothing was charged.", retryable=False)
        closing = Closing(job.attempt, "failed", error="canceled") if job.state is not JobState.QUEUED else None
        return await self._rows.end(job, JobState.CANCELED, problem=problem, closing=closing)

    async def failed(self, job: JobRow, outcome: Failed, previous: Closing | None = None) -> JobView | None:
        """End a job as its upstream's failure demands; `previous` closes an attempt that was refused before."""
        route = job.frozen_route
        note(job, route, outcome)
        code = PROBLEM_OF[outcome.kind]
        retryable = outcome.kind is FailedKind.RETRY
        problem = Problem(
            code, outcome.message, field=_named(route, outcome.field), retryable=retryable,
            retry_after_s=outcome.retry_after_s if retryable else None,
        )  # fmt: skip
        state = "ambiguous" if outcome.kind is FailedKind.UNKNOWN else "failed"
        closing = previous or Closing(job.attempt, state, error=detail(job, outcome), cost=outcome.cost)
        return await self.fail(job, problem, closing)

    async def fail(self, job: JobRow, problem: Problem, closing: Closing | None) -> JobView | None:
        """End a job with a problem and let its hold go."""
        return await self._rows.end(job, JobState.FAILED, problem=problem, closing=closing)


def note(job: JobRow, route: FrozenRoute, outcome: Failed) -> None:
    """Tell the operator's log about a failure at an upstream; of a PHI request only its kind."""
    log.warning(
        "upstream_failed", job_id=job.id, provider=route.provider, kind=outcome.kind.value, status=outcome.status,
        code=outcome.code, detail=outcome.detail if job.data_class is DataClass.GENERAL else None,
    )  # fmt: skip


def detail(job: JobRow, outcome: Failed) -> str:
    """Return what the operator may read about a failure; of a PHI request only its kind."""
    if job.data_class is DataClass.PHI:
        return outcome.kind.value
    return f"{outcome.kind.value}: {outcome.detail or outcome.message}"[:500]


async def _stop(runtime: Runtime, handle: Handle, job: JobRow) -> bool:
    """Ask an upstream to stop; an adapter that breaks over it has stopped nothing, and must not keep the job open."""
    try:
        return await runtime.cancel(handle)
    except Exception as error:
        log.warning("cancel_broke", job_id=job.id, provider=job.provider, error=type(error).__name__)
        return False


def _makes_a_file(job: JobRow) -> bool:
    """Say whether nothing is delivered without a file; what voice cloning makes is an id, a file is a sample of it."""
    return job.plan.output in ("image", "video", "audio") and job.operation != Operation.VOICE_CLONING


async def _written_down(recording: "asyncio.Task[None] | None") -> None:
    """Wait until an outcome is written down; where that failed the coming settlement decides."""
    if recording is not None:
        with contextlib.suppress(Problem):
            await recording


def _named(route: FrozenRoute, field: str | None) -> str | None:
    """Return the caller's name of a field that the upstream calls something else (`num_frames@16` is `num_frames`)."""
    names = {theirs.partition("@")[0]: ours for ours, theirs in route.fields.items()}
    return None if field is None else names.get(field, field)
