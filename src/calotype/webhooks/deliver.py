"""The deliverer: one loop that claims due events, posts them and writes down what became of each attempt.

Delivery is at least once: an event keeps its id over all attempts, and receivers drop what they have seen.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
import structlog

from calotype.db import Database
from calotype.http import Guard, Upstream
from calotype.jobs.aside import Aside
from calotype.jobs.types import JobView
from calotype.jobs.views import ViewLoader
from calotype.kernel import points
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Problem
from calotype.kernel.generation import DataClass
from calotype.kernel.ids import InstanceId
from calotype.settings import WebhookSettings
from calotype.telemetry import Metrics
from calotype.webhooks.history import sweep
from calotype.webhooks.outbox import FREE_LEASES, NEXT_DUE, Claim, Due, Record, Share, choose, give_back
from calotype.webhooks.post import post
from calotype.webhooks.sign import WebhookSigner
from calotype.webhooks.verdict import Attempt, EventState, judge

log = structlog.get_logger(__name__)

Renderer = Callable[[JobView], dict[str, Any]]


class Style(Protocol):
    """How a dialect announces the end of a job whose webhooks have a form and a signature of their own."""

    def letter(self, view: JobView, timestamp_s: int) -> tuple[dict[str, str], bytes]:
        """Return headers and body."""
        ...


IDLE_S = 1.0
"""The slow look that makes a lost wake-up a delay and nothing more."""
PER_ORIGIN = 4
LEASE_SLACK_S = 20.0
"""What a lease lasts beyond the timeout of the POST: reading the job before it, recording the answer after it."""
STOP_GRACE_S = 2.0
SWEEP_EVERY_S = 3600.0
_JITTER = (0.8, 1.2)


class Deliverer:
    """Delivers the outbox until it is told to stop.

    `renderers` holds, for each dialect, the function that encodes a job's status object as that dialect answers it;
    `styles` holds the dialects whose webhooks are another's.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        instance: InstanceId,
        *,
        guard: Guard,
        signer: WebhookSigner,
        renderers: Mapping[str, Renderer],
        styles: Mapping[str, Style] | None = None,
        settings: WebhookSettings,
        metrics: Metrics | None = None,
        aside: Aside | None = None,
    ) -> None:
        self._db = db
        self._clock = clock
        self._instance = instance
        self._upstream = Upstream("webhook", pool_size=settings.concurrency, guard=guard)
        self._signer = signer
        self._renderers = renderers
        self._styles = styles or {}
        self._settings = settings
        self._metrics = metrics
        self._views = ViewLoader(db, aside)
        self._wake = asyncio.Event()
        self._claims = 0
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._active: dict[asyncio.Task[None], Due] = {}

    async def start(self, *, alone: bool) -> None:
        """Begin to work; `alone` says no other process runs this database, so every lease is void."""
        if alone:
            now_ms = self._clock.now_ms()
            await self._db.write(lambda tx: tx.execute(FREE_LEASES, {"now_ms": now_ms}))
        self._tasks = [asyncio.create_task(self._loop()), asyncio.create_task(self._sweep_forever())]

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Claim nothing more, let the attempts under way end within a grace, and give back the others."""
        self._stopping = True
        self._wake.set()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # the loop ends by itself: no claim is torn
        if self._active:
            await asyncio.wait(tuple(self._active), timeout=grace_s)
        broken = dict(self._active)
        for task in broken:
            task.cancel()
        await asyncio.gather(*broken, return_exceptions=True)
        if broken:
            now_ms, due = self._clock.now_ms(), tuple(broken.values())
            with contextlib.suppress(Problem):
                await self._db.write(lambda tx: give_back(tx, due, now_ms))
        await self._upstream.close()

    def wake(self) -> None:
        """Say that an event may be due now."""
        self._wake.set()

    async def once(self) -> int:
        """Deliver what is due now, wait until it is written down, and return how many attempts were made."""
        made = 0
        while await self._claim():
            made += len(self._active)
            await asyncio.gather(*self._active)
        return made

    # -- the loop ----------------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        while not self._stopping:
            try:
                if not await self._claim():
                    await self._rest()
            except Problem as problem:
                log.warning("webhook_claim_failed", code=problem.code.value)
                await asyncio.sleep(IDLE_S)
            except Exception:
                log.exception("webhook_claim_broke")
                await asyncio.sleep(IDLE_S)

    async def _claim(self) -> bool:
        """Claim what is due and begin to deliver it; say whether there may be more at once."""
        self._wake.clear()
        most = self._settings.concurrency
        room = most - len(self._active)
        now_ms = self._clock.now_ms()
        if room <= 0:
            return False
        share = Share(
            limit=room,
            per_org=max(1, most // 2),
            per_origin=min(PER_ORIGIN, most),
            orgs=dict(Counter(due.org_id for due in self._active.values())),
            origins=dict(Counter(due.origin for due in self._active.values())),
        )
        chosen = await self._db.read(lambda tx: choose(tx, share, now_ms))
        if not chosen:
            return False
        self._claims += 1
        claim = Claim(f"{self._instance}/{self._claims}", chosen, now_ms, self.lease_ms)
        for due in await self._db.submit(claim):
            task = asyncio.create_task(self._deliver(due))
            self._active[task] = due
            task.add_done_callback(self._done)
        return True

    @property
    def lease_ms(self) -> int:
        """How long a claimed event stays ours; an attempt is over well before."""
        return int((self._settings.timeout_s + LEASE_SLACK_S) * 1000)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._active.pop(task, None)
        self._wake.set()

    async def _rest(self) -> None:
        """Sleep until something becomes due, a place becomes free, somebody wakes us, or the slow look is."""
        now_ms = self._clock.now_ms()
        next_due = await self._db.read(lambda tx: tx.row(NEXT_DUE, {"now_ms": now_ms}))
        pause_s = IDLE_S
        if next_due is not None and next_due[0] is not None:
            pause_s = min(IDLE_S, max(0.02, (next_due[0] - self._clock.now_ms()) / 1000))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await sweep(self._db, self._clock.now_ms())
            except Exception:
                log.exception("webhook_sweep_broke")
            await asyncio.sleep(SWEEP_EVERY_S)

    # -- one attempt -------------------------------------------------------------------------------------------------

    async def _deliver(self, due: Due) -> None:
        try:
            attempt = await self._attempt(due)
            if attempt.status is not None:
                points.reach("webhook.sent")
            await self._record(due, attempt)
        except Problem as problem:  # the lease ends, and it is delivered again
            log.warning("webhook_not_recorded", event_id=due.id, code=problem.code.value)
        except Exception:
            log.exception("webhook_broke", event_id=due.id)

    async def _attempt(self, due: Due) -> Attempt:
        view = await self._views.load(due.job_id)
        if view is None:
            return Attempt(error="the job is gone", final=True)
        if view.job.data_class is DataClass.PHI:  # refused at accept; never leaves whatever the row says
            log.error("webhook_phi_refused", event_id=due.id, job_id=due.job_id)
            return Attempt(error="PHI jobs are not announced", final=True)
        if due.dialect not in self._renderers and due.dialect not in self._styles:
            return Attempt(error=f"no words for the dialect {due.dialect}")
        try:
            headers, body = self._letter(due, view)
        except Exception:
            log.exception("webhook_render_broke", event_id=due.id, job_id=due.job_id)
            return Attempt(error="the status could not be written")
        return await post(self._upstream, due.url, headers, body, self._settings.timeout_s)

    def _letter(self, due: Due, view: JobView) -> tuple[dict[str, str], bytes]:
        timestamp_s = self._clock.now_ms() // 1000
        if (style := self._styles.get(due.dialect)) is not None:
            return style.letter(view, timestamp_s)
        body = body_of(due, self._renderers[due.dialect](view))
        return self._signer.headers(due.org_id, due.id, timestamp_s, body), body

    async def _record(self, due: Due, attempt: Attempt) -> None:
        now_ms = self._clock.now_ms()
        verdict = judge(
            attempt, due.number, attempts=self._settings.attempts, first_retry_s=self._settings.first_retry_s,
            jitter=random.uniform(*_JITTER), now_ms=now_ms,  # noqa: S311  (jitter, not a secret)
        )  # fmt: skip
        if not await self._db.submit(Record(due, attempt, verdict, now_ms)):
            log.info("webhook_fenced", event_id=due.id)
            return
        word = "failed" if verdict.state is EventState.PENDING else verdict.state.value
        if self._metrics is not None:
            self._metrics.webhooks.labels(word).inc()
        log.info(
            "webhook_attempt", event_id=due.id, job_id=due.job_id, result=word, attempt=due.number,
            status=attempt.status, error=attempt.error, duration_ms=attempt.duration_ms,
        )  # fmt: skip


def body_of(due: Due, data: dict[str, Any]) -> bytes:
    """Return the event's body; only `data` may differ between attempts, for media URLs are signed anew."""
    event = {"id": due.id, "type": due.type, "created_at": due.created_at_ms // 1000, "data": data}
    return msgspec.json.encode(event)
