"""One step of one job: read where it stands, do the next thing, write where it stands now.

Every step may run twice without harm except a paid submit, which is fenced by the lease and by the submission row that
is committed before its first request.
"""

import random
from collections.abc import Callable
from functools import partial

import structlog

from calotype.db import Database
from calotype.events.bus import Bus
from calotype.jobs.feed import Feed
from calotype.jobs.finish import Finisher, detail, note
from calotype.jobs.inputs import InputFiles
from calotype.jobs.moves import Begin, Closing
from calotype.jobs.rows import FencedError, Rows
from calotype.jobs.types import FrozenRoute, JobRow, JobView
from calotype.kernel import points
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass
from calotype.kernel.ids import InstanceId, JobId
from calotype.kernel.job import JobState
from calotype.kernel.outcome import NOT_ACCEPTED, Delta, Failed, FailedKind, Outcome, Pending, Succeeded
from calotype.kernel.steps import FileRef, TransportError
from calotype.providers.base import Call, Idempotency, PollSchedule, Runtime
from calotype.settings import EngineSettings

log = structlog.get_logger(__name__)

GONE_GRACE_S = 30.0
"""How long a poll may answer "unknown" after the submit before it is believed."""


class Stepper:
    """Takes jobs forward. It holds no state of a job but what the row holds, except the payloads of PHI jobs."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        instance: InstanceId,
        runtimes: dict[str, Runtime],
        *,
        inputs: InputFiles,
        bus: Bus,
        settings: EngineSettings,
        rows: Rows,
        finish: Finisher,
        feed: Feed,
        callback_url: Callable[[Runtime, JobId, int], str | None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._instance = instance
        self._runtimes = runtimes
        self._inputs = inputs
        self._bus = bus
        self._settings = settings
        self._rows = rows
        self.finish = finish
        self._feed = feed
        self._callback_url = callback_url
        self.payloads = rows.payloads
        self.progress = rows.progress

    async def step(self, job: JobRow, *, recorded: bool = False) -> JobView | None:
        """Do the next thing for a job whose lease we hold; return its view if that ended it.

        `recorded` says that the submission of this attempt was committed by us and not sent yet.

        Raises:
            FencedError: somebody else has the job.

        """
        view = await self._next(job, recorded=recorded)
        if view is not None:
            self._feed.ended(view)
        return view

    async def canceled(self, job: JobRow) -> JobView | None:
        """End a job whose work was stopped in the middle.

        Raises:
            FencedError: somebody else has the job.

        """
        view = await self.finish.canceled(job)
        if view is not None:
            self._feed.ended(view)
        return view

    async def _next(self, job: JobRow, *, recorded: bool) -> JobView | None:
        phi = job.data_class is DataClass.PHI
        if phi and job.id not in self.payloads:
            problem = Problem(
                Code.UNAVAILABLE, "The process that held this request's data ended; send it again.", retryable=False
            )
            return await self.finish.fail(job, problem, Closing(job.attempt, "ambiguous"))
        if self._clock.now_ms() >= job.deadline_at_ms:
            return await self.finish.expire(job)
        if job.cancel_requested and (view := await self.finish.cancel(job)) is not None:
            return view
        if job.state is JobState.QUEUED or recorded:
            return await self._submit(job, recorded=recorded)
        if job.state is JobState.SUBMITTING:
            return await self._recover(job)
        if job.state is JobState.RUNNING:
            return await self._poll(job)
        return await self.finish.store(job)

    # -- submit ----------------------------------------------------------------------------------------------------

    async def _submit(self, job: JobRow, *, recorded: bool) -> JobView | None:
        """Walk the routes from where the job stands until one takes it."""
        previous: Closing | None = None
        begun = recorded
        while True:
            route = job.frozen_route
            attempt = job.attempt if begun else job.attempt + 1
            outcome, begun = await self._send(job, route, attempt, begun, previous)
            if begun:
                previous = None
            if not isinstance(outcome, Failed):
                return await self._answered(job, outcome, fresh=True)
            if outcome.kind is FailedKind.UNKNOWN and begun and self._can_find_out(job):
                note(job, route, outcome)
                return await self._look_later(job)
            if outcome.kind not in NOT_ACCEPTED:
                return await self.finish.failed(job, outcome)
            note(job, route, outcome)
            if begun:
                previous = Closing(attempt, "rejected", error=detail(job, outcome), cost=outcome.cost)
                job.attempt = attempt
            begun = False
            if job.route + 1 < len(job.plan.routes):
                job.route += 1
                continue
            return await self._try_later(job, outcome, previous)

    async def _send(
        self, job: JobRow, route: FrozenRoute, attempt: int, begun: bool, previous: Closing | None
    ) -> tuple[Outcome, bool]:
        """Make one attempt at one route; the second value says whether a submission row stands for it."""
        runtime = self._runtimes.get(route.provider)
        if runtime is None:
            return Failed(FailedKind.GONE, f"The provider {route.provider!r} is not set up any more."), begun
        try:
            call = await self._call(job, route, runtime, attempt)
        except Problem as problem:
            kind = FailedKind.INVALID if problem.code is Code.INVALID_INPUT else FailedKind.RETRY
            return Failed(kind, problem.message, field=problem.field), begun

        state = {"begun": begun}

        async def on_commit() -> None:
            if state["begun"]:
                return
            now_ms = self._clock.now_ms()
            begin = Begin(
                job_id=job.id, lease_n=job.lease_n, instance=self._instance, route=job.route, attempt=attempt,
                provider=route.provider, upstream_model=route.upstream, now_ms=now_ms,
                until_ms=now_ms + int(self._settings.lease_s * 1000), previous=previous,
            )  # fmt: skip
            if not await self._db.submit(begin):
                raise FencedError
            state["begun"] = True
            job.state, job.attempt, job.provider = JobState.SUBMITTING, attempt, route.provider

        def on_progress(fraction: float) -> None:
            self.progress[job.id] = _percent(fraction)
            self._tell(job, fraction)
            self._bus.changed(job.id)

        try:
            outcome = await runtime.submit(call, on_commit, on_progress, partial(self._feed.publish, job.id))
        finally:
            await self._inputs.release(job)
        if not isinstance(outcome, Failed):
            await on_commit()
        return outcome, state["begun"]

    async def _call(self, job: JobRow, route: FrozenRoute, runtime: Runtime, attempt: int) -> Call:
        fields = self.payloads.get(job.id) or job.input or {}
        files: dict[str, tuple[FileRef, ...]] = {}
        if job.plan.media_fields:
            fields, files = await self._inputs.prepare(job, fields, runtime.media_inputs)
        return Call(
            job_id=job.id, attempt=attempt, token=f"{job.id}-{attempt}", operation=job.operation,
            upstream_model=route.upstream, input=route.upstream_fields(fields), outputs=job.plan.quote.outputs,
            files={route.fields.get(name, name): refs for name, refs in files.items()}, data_class=job.data_class,
            stream=route.streams and self._feed.listened(job.id),
            session=job.plan.wants.get("session") if route.realtime else None,
            callback_url=None if job.data_class is DataClass.PHI else self._callback_url(runtime, job.id, attempt),
        )  # fmt: skip

    async def _try_later(self, job: JobRow, outcome: Failed, previous: Closing | None) -> JobView | None:
        """Put a job nobody took back into the queue, or give up after the rounds are used up."""
        if outcome.requeue:
            await self._rows.move(job, JobState.QUEUED, outcome.retry_after_s or 1.0, closing=previous, route=0)
            return None
        rounds = job.attempt // len(job.plan.routes)
        if rounds >= job.plan.rounds or outcome.kind is not FailedKind.RETRY:
            return await self.finish.failed(job, outcome, previous)
        pause_s = outcome.retry_after_s if outcome.retry_after_s is not None else 1.0
        pause_s = min(max(pause_s, 0.2 if rounds < 2 else 2.0 ** (rounds - 1)), 30.0)
        if job.state is JobState.QUEUED:
            job.attempt += 1  # the attempt never reached the point where it is recorded, but it counts
        await self._rows.move(job, JobState.QUEUED, pause_s, closing=previous, route=0)
        return None

    # -- what came back --------------------------------------------------------------------------------------------

    async def _answered(self, job: JobRow, outcome: Pending | Succeeded, *, fresh: bool) -> JobView | None:
        if isinstance(outcome, Succeeded):
            return await self.finish.deliver(job, outcome, fresh=fresh)
        closing = Closing(
            job.attempt, "accepted", handle=outcome.handle, upstream_id=outcome.upstream_id, cost=outcome.cost
        )
        job.handle = outcome.handle
        schedule = self._schedule(job)
        await self._rows.move(
            job, JobState.RUNNING, outcome.poll_after_s or schedule.first_s, closing=closing,
            progress=_percent(outcome.progress),
        )  # fmt: skip
        points.reach("running.recorded")
        return None

    async def _poll(self, job: JobRow) -> JobView | None:
        runtime = self._runtimes.get(job.provider)
        if runtime is None or job.handle is None:
            await self._rows.move(job, JobState.RUNNING, 30.0)
            return None
        outcome = await runtime.poll(job.handle)
        waited_s = (self._clock.now_ms() - (job.started_at_ms or job.created_at_ms)) / 1000
        if isinstance(outcome, Succeeded):
            return await self.finish.deliver(job, outcome, fresh=False)
        if isinstance(outcome, Pending):
            changed = outcome.handle != job.handle
            closing = Closing(job.attempt, "accepted", handle=outcome.handle) if changed else None
            job.handle = outcome.handle
            self._tell(job, outcome.progress)
            pause_s = outcome.poll_after_s or self._pause(job, waited_s)
            await self._rows.move(job, JobState.RUNNING, pause_s, closing=closing, progress=_percent(outcome.progress))
            return None
        if outcome.requeue:
            note(job, job.frozen_route, outcome)
            closing = Closing(job.attempt, "failed", error=detail(job, outcome))
            await self._rows.move(job, JobState.QUEUED, outcome.retry_after_s or 0.2, closing=closing, route=0)
            return None
        waiting = outcome.kind in (FailedKind.RETRY, FailedKind.AUTH, FailedKind.QUOTA, FailedKind.UNKNOWN)
        if waiting or (outcome.kind is FailedKind.GONE and waited_s < GONE_GRACE_S):
            note(job, job.frozen_route, outcome)
            pause_s = outcome.retry_after_s or self._pause(job, waited_s)
            await self._rows.move(job, JobState.RUNNING, pause_s)
            return None
        return await self.finish.failed(job, outcome)

    async def _recover(self, job: JobRow) -> JobView | None:
        """Take up a submission whose owner is gone: it may or may not have been sent."""
        if not self._can_find_out(job):
            return await self.finish.failed(job, _ambiguous())
        runtime = self._runtimes[job.provider]
        if runtime.idempotency is Idempotency.KEY:
            found: Outcome | None = (await self._send(job, job.frozen_route, job.attempt, True, None))[0]
        else:
            found = await self._lookup(job, runtime)
        if isinstance(found, Failed):
            # that this sending was not taken says nothing about the first one: no other route may be tried
            if found.kind is not FailedKind.UNKNOWN and found.kind not in NOT_ACCEPTED:
                return await self.finish.failed(job, found)
            note(job, job.frozen_route, found)
        elif found is not None:
            return await self._answered(job, found, fresh=True)
        return await self._look_later(job)

    async def _lookup(self, job: JobRow, runtime: Runtime) -> Outcome | None:
        try:
            return await runtime.lookup(await self._call(job, job.frozen_route, runtime, job.attempt))
        except (TransportError, Problem) as error:
            log.warning("lookup_failed", job_id=job.id, provider=job.provider, error=type(error).__name__)
            return None
        finally:
            await self._inputs.release(job)

    def _can_find_out(self, job: JobRow) -> bool:
        """Say whether the provider can tell what became of a submission, by our key or by a look-up."""
        runtime = self._runtimes.get(job.provider)
        return runtime is not None and runtime.idempotency is not Idempotency.NONE

    async def _look_later(self, job: JobRow) -> JobView | None:
        """Try again to find out what became of a submission, until its grace is over."""
        waited_s = (self._clock.now_ms() - (job.started_at_ms or job.created_at_ms)) / 1000
        if waited_s > self._settings.ambiguous_grace_s:
            return await self.finish.failed(job, _ambiguous())
        await self._rows.move(job, JobState.SUBMITTING, self._pause(job, waited_s))
        return None

    def _tell(self, job: JobRow, fraction: float | None) -> None:
        """Show whoever listens how far a job is."""
        if fraction is not None:
            self._feed.publish(job.id, Delta("progress", {"fraction": max(0.0, min(1.0, fraction))}))

    # -- small parts -----------------------------------------------------------------------------------------------

    def _schedule(self, job: JobRow) -> PollSchedule:
        runtime = self._runtimes.get(job.provider)
        return PollSchedule() if runtime is None else runtime.schedule

    def _pause(self, job: JobRow, waited_s: float) -> float:
        """Grow the pause with the time already waited, which needs no memory: each look is `factor` times later."""
        schedule = self._schedule(job)
        pause_s = min(max(schedule.first_s, waited_s * (schedule.factor - 1)), schedule.max_s)
        return pause_s * random.uniform(0.8, 1.2)  # noqa: S311  (jitter, not a secret)


def _ambiguous() -> Failed:
    return Failed(
        FailedKind.UNKNOWN,
        "It is not known whether the upstream took the request; nothing was charged and it was not sent again.",
    )


def _percent(fraction: float | None) -> int:
    return 0 if fraction is None else max(0, min(99, int(max(0.0, min(1.0, fraction)) * 100)))
