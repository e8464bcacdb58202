"""The waist: every dialect hands its request in here, gets a job back, and asks here what became of it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Collection

from msgspec import Struct

from calotype.catalog import Card, Catalog, Delivered, cost_of
from calotype.db import Database, Tx
from calotype.events.bus import Bus
from calotype.jobs.answers import Answered
from calotype.jobs.feed import Feed
from calotype.jobs.intake import Ask, Intake, Ticket
from calotype.jobs.moves import RequestCancel
from calotype.jobs.recent import Recent
from calotype.jobs.reconcile import Reconciler
from calotype.jobs.runner import Runner
from calotype.jobs.settle import Settle, Verdict
from calotype.jobs.store import list_jobs
from calotype.jobs.types import FrozenRoute, JobRow, JobView
from calotype.jobs.views import ViewLoader, load_views
from calotype.kernel import points
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation
from calotype.kernel.ids import JobId, OrgId, is_uuid
from calotype.kernel.job import TERMINAL, JobState
from calotype.kernel.outcome import Delta
from calotype.media.store import Store
from calotype.media.sweep import forget_media
from calotype.settings import LimitSettings


class CancelOutcome(Struct, frozen=True):
    """What became of a wish to cancel: `canceled`, `requested` (it may still succeed) or `ended` before."""

    word: str
    view: JobView


class Engine:
    """Accepts requests, answers for jobs, and knows who works on them."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        intake: Intake,
        views: ViewLoader,
        limits: LimitSettings,
        store: Store,
        runner: Runner,
        progress: dict[JobId, int],
        feed: Feed,
        reconciler: Reconciler,
        bus: Bus,
        on_end: Callable[[JobView, FrozenRoute], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._intake = intake
        self._views = views
        self._limits = limits
        self._store = store
        self._runner = runner
        self._progress = progress
        self._feed = feed
        self._reconciler = reconciler
        self._bus = bus
        self._on_end = on_end
        self._recent = Recent()

    async def accept(self, ask: Ask) -> Ticket:
        """Take a request or refuse it; nothing has left the machine and nothing is charged when this raises.

        Raises:
            Problem: any refusal of the surface contract.

        """
        return await self._intake.accept(ask)

    def ended(self, view: JobView) -> None:
        """Keep a result that may be nowhere else: its caller may have hung up, and comes back."""
        if view.state is JobState.SUCCEEDED:
            self._recent.put(view)

    # -- wait, look, cancel ----------------------------------------------------------------------------------------

    async def run(self, ask: Ask) -> tuple[JobView, Ticket]:
        """Accept and wait for the end, at most `limits.max_wait_s`; hanging up does not stop the job.

        Raises:
            Problem: any refusal, or `timeout` when the job goes on (it can still be fetched).

        """
        ticket = await self.accept(ask)
        try:
            return await self.end_of(ticket), ticket
        except Problem:  # the same request sent again is joined to what goes on
            self.answered(ticket, delivered=False)
            raise

    async def end_of(self, ticket: Ticket) -> JobView:
        """Wait for the end of an accepted request, at most `limits.max_wait_s`.

        Raises:
            Problem: `timeout` when the job goes on.

        """
        try:
            return await self._end_of(ticket)
        finally:
            if ticket.listener is not None:
                self._feed.close(ticket.job.id)

    async def _end_of(self, ticket: Ticket) -> JobView:
        end_s = time.monotonic() + self._limits.max_wait_s
        if ticket.task is not None:
            await _ended(ticket.task, self._limits.max_wait_s)
            if ticket.task.done() and not ticket.task.cancelled() and (view := ticket.task.result()) is not None:
                return view
        view = await self.wait(ticket.job.id, end_s - time.monotonic())
        if ticket.listener is not None and ticket.listener.end is not None:
            view = ticket.listener.end
        return self._recent.get(view.id) or view

    def leave(self, ticket: Ticket) -> None:
        """Note that the caller of an accepted request is gone: what it was shown only is stored for it instead."""
        if ticket.listener is not None:
            ticket.listener.left = True

    async def follow(self, ticket: Ticket) -> AsyncGenerator[Delta | JobView, None]:
        """Yield the pieces of a result as they come, and at last the job's view.

        There may be no pieces: when nothing was asked to be shown (`Ask.listen`), when the request was joined to an
        earlier one, or when another process does the work. Whoever stops to follow does not stop the job.

        Raises:
            Problem: `timeout` when the job goes on.

        """
        end = asyncio.ensure_future(self.end_of(ticket))
        try:
            if ticket.listener is not None:
                end.add_done_callback(lambda _: self._feed.close(ticket.job.id))
                async for delta in ticket.listener:
                    yield delta
            yield await end
        finally:
            end.cancel()
            self._feed.close(ticket.job.id)

    async def wait(self, job_id: JobId, timeout_s: float) -> JobView:
        """Wait until a job has ended and return its view.

        Raises:
            Problem: `timeout`; the job goes on.

        """
        end = time.monotonic() + max(0.0, timeout_s)
        while True:
            changed = self._bus.subscribe(job_id)
            try:
                view = await self._views.load(job_id)
                if view is None:
                    raise Problem(Code.JOB_NOT_FOUND, "There is no such job.")
                if view.job.ended:
                    return view
                left_s = end - time.monotonic()
                if left_s <= 0:
                    raise Problem(
                        Code.TIMEOUT,
                        f"The job has not ended yet; it goes on and can be fetched as {job_id}.",
                        retryable=False,
                        data={"job_id": job_id},
                    )
                await asyncio.wait((changed,), timeout=min(left_s, 5.0))
            finally:
                self._bus.unsubscribe(job_id, changed)

    async def get(self, job_id: str, org_id: OrgId, *, whole: bool = True) -> JobView:
        """Return one of an organisation's jobs as it stands; with `whole` off without a result that lies beside it.

        Raises:
            Problem: `job_not_found`, also for another tenant's job.

        """
        view = await self._views.load(JobId(job_id), whole=whole) if is_uuid(job_id) else None
        if view is None or view.job.org_id != org_id:
            raise Problem(Code.JOB_NOT_FOUND, "There is no such job.")
        if not view.job.ended and (percent := self._progress.get(view.id)) is not None:
            view.job.progress = max(view.job.progress, percent)
        return view

    async def cancel(self, job_id: str, org_id: OrgId) -> CancelOutcome:
        """Stop a job: at once while it waits, where the provider can be stopped while it runs.

        Raises:
            Problem: `job_not_found`.

        """
        view = await self.get(job_id, org_id)
        if view.job.ended:
            return CancelOutcome("ended", view)
        job = view.job
        now_ms = self._clock.now_ms()
        problem = Problem(Code.CANCELED, "The job was canceled; nothing was charged.", retryable=False)
        settle = Settle(
            job_id=job.id, org_id=job.org_id, key_id=job.key_id, state=JobState.CANCELED, now_ms=now_ms,
            only_from=JobState.QUEUED, problem=problem, keep_input=job.plan.store_payload,
        )  # fmt: skip
        if job.state is JobState.QUEUED and await self._db.submit(settle) is Verdict.DONE:
            self._bus.changed(job.id)
            view = await self.get(job_id, org_id)
            self._on_end(view, job.frozen_route)
            return CancelOutcome("canceled", view)
        await self._db.submit(RequestCancel(job_id=job.id, now_ms=now_ms))
        self._bus.due()
        if self._runner.cancel_here(job.id):
            with contextlib.suppress(Problem):
                view = await self.wait(job.id, 10.0)
        view = await self.get(job_id, org_id)
        word = "canceled" if view.state is JobState.CANCELED else "ended" if view.state in TERMINAL else "requested"
        return CancelOutcome(word, view)

    async def list(
        self,
        org_id: OrgId | None,
        *,
        state: JobState | None = None,
        operations: Collection[Operation] | None = None,
        models: Collection[str] | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> "list[JobView]":
        """Return jobs of an organisation (or of all), newest first, from behind the id `before`."""

        def read(tx: Tx) -> dict[str, JobView]:
            rows = list_jobs(tx, org_id, state=state, operations=operations, models=models, before=before, limit=limit)
            return load_views(tx, [row.id for row in rows])

        views = await self._db.read(read)
        return [views[ident] for ident in sorted(views, reverse=True)]

    async def remove_media(self, view: JobView) -> None:
        """Remove the files of a job that has ended before their time is up."""
        await forget_media(self._db, self._store, view.id, self._clock.now_ms())

    def answered(self, ticket: Ticket, *, delivered: bool) -> None:
        """Note whether the answer to a request reached its caller whole; a cut-off one is joined when sent again."""
        if delivered:
            self._reconciler.paid(ticket.job.id)
        if ticket.memory_id is not None:
            self._reconciler.answered(Answered(ticket.memory_id, ticket.job.id, delivered))
        points.reach("answer.ended")

    @property
    def load(self) -> dict[str, int]:
        """How much is in hand, for metrics and health."""
        return {"active": len(self._runner.active), "writes_waiting": self._db.writer.waiting}


def table_cost(catalog: Catalog, job: JobRow, route: FrozenRoute, outputs: int, usage: dict[str, int]) -> int | None:
    """Return what the price tables say an upstream bills for a delivery, None when nobody published it."""
    card: Card | None = catalog.get(job.model)
    if card is None or job.input is None:
        return None
    for one in card.routes:
        if one.provider == route.provider and one.upstream == route.upstream:
            return cost_of(card, one, job.input, Delivered(outputs, usage))
    return None


async def _ended(task: "asyncio.Task[JobView | None]", timeout_s: float) -> None:
    """Wait for a task, at most so long, without cancelling it; cheaper than `asyncio.wait` for one task."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def end(_task: object = None) -> None:
        if not ended.done():
            ended.set_result(None)

    timer = loop.call_later(timeout_s, end)
    task.add_done_callback(end)
    try:
        await ended
    finally:
        timer.cancel()
        task.remove_done_callback(end)
