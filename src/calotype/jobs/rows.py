"""Writes where a job stands: every write shows the lease, and whoever has lost it stops."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from calotype.db import Command, Database
from calotype.events.bus import Bus
from calotype.jobs.delivery import FORGET_MS, Delivery
from calotype.jobs.moves import Closing, Move
from calotype.jobs.owed import Owed
from calotype.jobs.settle import Settle, Verdict
from calotype.jobs.types import FrozenRoute, JobRow, JobView, json_text
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass
from calotype.kernel.ids import JobId
from calotype.kernel.job import JobState
from calotype.kernel.outcome import Succeeded

log = structlog.get_logger(__name__)

R = TypeVar("R")

WRITE_TRIES = 12


class FencedError(Exception):
    """The job is not ours any more: stop and write nothing."""


class Rows:
    """The rows of jobs whose lease we hold, and what is known of them in memory alone."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        bus: Bus,
        owed: Owed,
        lease_s: float,
        on_end: Callable[[JobView, FrozenRoute], None] | None = None,
    ) -> None:
        self._db = db
        self._clock = clock
        self._bus = bus
        self._owed = owed
        self._lease_ms = int(lease_s * 1000)
        self._on_end = on_end
        self.payloads: dict[JobId, dict[str, Any]] = {}
        """Inputs of PHI jobs, which are nowhere else."""
        self.progress: dict[JobId, int] = {}
        """Per cent done of jobs that are being worked on right now."""

    async def move(
        self,
        job: JobRow,
        state: JobState,
        pause_s: float,
        *,
        closing: Closing | None = None,
        progress: int | None = None,
        route: int | None = None,
        outcome: Succeeded | None = None,
        keep: bool = False,
    ) -> None:
        """Go to another open state, or stay in it, and be due again after `pause_s`; `keep` holds on to the lease.

        Raises:
            FencedError: somebody else has the job.

        """
        now_ms = self._clock.now_ms()
        next_at_ms = min(now_ms + int(pause_s * 1000), max(job.deadline_at_ms, now_ms))
        phi = job.data_class is DataClass.PHI  # stays with us: the row is due only when we are dead
        kept = keep or phi
        due_ms = now_ms + self._lease_ms if phi else next_at_ms
        move = Move(
            job_id=job.id, lease_n=job.lease_n, state=state, now_ms=now_ms, next_at_ms=due_ms,
            progress=job.progress if progress is None else max(progress, job.progress), route=route,
            provider=None if route is None else job.plan.routes[route].provider,
            outcome=None if outcome is None else json_text(outcome), keep=kept, closing=closing,
            attempt=job.attempt,
        )  # fmt: skip
        telling = closing is not None or outcome is not None
        if not await (self._insist(move, job.id) if telling else self._db.submit(move)):
            raise FencedError
        job.state, job.next_at_ms, job.progress = state, next_at_ms, move.progress
        if route is not None:
            job.route, job.provider = route, job.plan.routes[route].provider
        if state is not JobState.STORING:
            self._bus.changed(job.id)
        if not kept:
            self._bus.due()

    async def end(
        self,
        job: JobRow,
        state: JobState,
        *,
        delivery: Delivery | None = None,
        problem: Problem | None = None,
        closing: Closing | None = None,
    ) -> JobView | None:
        """Settle, tell who waits, and return the view that was just made true."""
        now_ms = self._clock.now_ms()
        settle = Settle(
            job_id=job.id, org_id=job.org_id, key_id=job.key_id, state=state, now_ms=now_ms, lease_n=job.lease_n,
            charged_micro=0 if delivery is None else delivery.charged_micro,
            result=None if delivery is None else delivery.kept, problem=problem,
            artifacts=() if delivery is None else delivery.artifacts, closing=closing,
            keep_input=job.plan.store_payload, unit=job.plan.quote.unit,
            units=0 if delivery is None else delivery.units,
            forget_at_ms=None if job.plan.store_payload else now_ms + FORGET_MS,
            owed_by=None if delivery is None else self._owed.holder(job, delivery),
        )  # fmt: skip
        verdict = await self._insist(settle, job.id)
        self.payloads.pop(job.id, None)
        self.progress.pop(job.id, None)
        if verdict is not Verdict.DONE:
            raise FencedError
        if settle.owed_by is not None:
            self._owed.owe(job.id)
        job.state, job.finished_at_ms, job.charged_micro = state, now_ms, settle.charged_micro
        job.error = None if problem is None else problem.as_dict()
        job.result = None if delivery is None else delivery.result
        job.progress = 100 if state is JobState.SUCCEEDED else job.progress
        view = JobView(job, settle.artifacts, () if delivery is None else delivery.inline)
        self._bus.changed(job.id)
        if self._on_end is not None:
            self._on_end(view, job.frozen_route)
        return view

    async def _insist(self, command: Command[R], job_id: JobId) -> R:
        """Commit what would be lost otherwise; a database that cannot write is asked again while the lease is kept."""
        for tried in range(WRITE_TRIES):
            try:
                return await self._db.submit(command)
            except Problem as problem:
                if problem.code is not Code.UNAVAILABLE or tried == WRITE_TRIES - 1:
                    raise
                log.warning("write_again", job_id=job_id, command=type(command).__name__, tried=tried + 1)
                await asyncio.sleep(min(0.25 * 2**tried, 5.0))
        raise AssertionError("the loop above returns or raises")
