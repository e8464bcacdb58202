"""The runner: one loop that claims due jobs, works on them under a lease and keeps the lease alive."""

import asyncio
import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable

import structlog

from calotype.db import Database, Sql, Tx
from calotype.events.bus import Bus
from calotype.jobs.claim import NEXT_DUE, Claim
from calotype.jobs.moves import Renew
from calotype.jobs.rows import FencedError
from calotype.jobs.step import Stepper
from calotype.jobs.types import JobRow, JobView
from calotype.kernel import points
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Problem
from calotype.kernel.generation import DataClass
from calotype.kernel.ids import InstanceId, JobId
from calotype.kernel.job import JobState
from calotype.settings import EngineSettings

log = structlog.get_logger(__name__)

IDLE_S = 1.0
"""The slow look that makes a lost wake-up a delay and nothing more."""
CROWDED_S = 0.25
"""The pause while jobs are due whose providers are full."""
PUT_BACK_S = 2.0
"""From here on a clock that shows less time than has passed was put back; less is the drift that is always there."""
UNLIMITED = 100_000
"""A provider cap from here on is not counted at every claim."""

_STARTED = frozenset({JobState.SUBMITTING, JobState.RUNNING, JobState.STORING})
_FREE_LEASES = Sql(
    "UPDATE job SET next_at_ms = :now_ms WHERE lease_by IS NOT NULL AND lease_by <> :instance AND next_at_ms > :now_ms"
    " AND state IN ('queued', 'submitting', 'running', 'storing')"
)
_DUE_NOW = Sql(
    "UPDATE job SET next_at_ms = :now_ms WHERE lease_by IS NULL AND next_at_ms > :now_ms"
    " AND state IN ('queued', 'submitting', 'running', 'storing')"
)


class Active:
    """A job this process works on right now."""

    __slots__ = ("canceling", "job", "task")

    def __init__(self, job: JobRow, task: "asyncio.Task[JobView | None]") -> None:
        self.job = job
        self.task = task
        self.canceling = False


class Runner:
    """Works on due jobs until it is told to stop."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        instance: InstanceId,
        *,
        stepper: Stepper,
        bus: Bus,
        settings: EngineSettings,
        caps: Callable[[], dict[str, int]],
        cancellable: Callable[[str], bool],
    ) -> None:
        self._db = db
        self._clock = clock
        self.instance = instance
        self._stepper = stepper
        self._bus = bus
        self._settings = settings
        self._all_caps = caps
        self._cancellable = cancellable
        self.active: dict[JobId, Active] = {}
        self._busy: Counter[str] = Counter()
        self._claimed = 0
        """Jobs in hand that were claimed; those whose callers wait take no room from them."""
        self._left: dict[str, int] = {}
        """How many more jobs of each provider may be begun: as the last claim counted them, and what began since."""
        self._crowded = False
        self._after = ""
        self._looked_at_ms = 0
        self._seen_at = (clock.now_ms() / 1000, time.monotonic())
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.healthy_at_ms = 0

    @property
    def _caps(self) -> dict[str, int]:
        """How many jobs of each provider may be begun at once, as it is now: workers come and go."""
        return {name: cap for name, cap in self._all_caps().items() if cap < UNLIMITED}

    @property
    def lease_ms(self) -> int:
        """How long a claim lasts without being renewed."""
        return int(self._settings.lease_s * 1000)

    async def start(self, *, alone: bool) -> None:
        """Begin to work; `alone` says no other process runs this database, so every other lease is void."""
        if alone:
            now_ms = self._clock.now_ms()
            params = {"now_ms": now_ms, "instance": self.instance}
            await self._db.write(lambda tx: tx.execute(_FREE_LEASES, params))
        self.healthy_at_ms = self._clock.now_ms()
        self._tasks = [asyncio.create_task(self._loop()), asyncio.create_task(self._keep_leases())]

    async def stop(self, grace_s: float) -> None:
        """Claim nothing more, give the work in hand some time, then let go; what is left is claimed by others."""
        self._stopping = True
        self._bus.wake.set()
        tasks = [active.task for active in self.active.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        left = [*self._tasks, *(active.task for active in self.active.values())]  # also what came in meanwhile
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def has_room(self, provider: str, most: int) -> bool:
        """Say whether one more job of a provider may be begun, beside those in hand and those that wait for it."""
        return self._busy[provider] < most and self._left.get(provider, 1) > 0

    def launch(self, job: JobRow, *, recorded: bool = False, claimed: bool = False) -> "asyncio.Task[JobView | None]":
        """Work on a job whose lease is ours, in a task of its own."""
        self._busy[job.provider] += 1
        self._claimed += claimed
        if not claimed and job.provider in self._left:
            self._left[job.provider] -= 1
        task = asyncio.create_task(self._work(job, job.provider, recorded, claimed))
        self.active[job.id] = Active(job, task)
        return task

    async def _work(self, job: JobRow, provider: str, recorded: bool, claimed: bool) -> JobView | None:
        try:
            while True:
                view = await self._step(job, recorded)
                if view is not None or job.data_class is not DataClass.PHI:
                    return view
                recorded = False
                await asyncio.sleep(max(0.0, (job.next_at_ms - self._clock.now_ms()) / 1000))
        except FencedError:
            log.info("fenced", job_id=job.id)
            return None
        except asyncio.CancelledError:
            active = self.active.get(job.id)
            if active is None or not active.canceling:
                raise
            with contextlib.suppress(FencedError):
                return await self._stepper.canceled(job)
            return None
        except Problem as problem:
            log.warning("step_failed", job_id=job.id, code=problem.code.value)
            return None
        except Exception:
            log.exception("step_broke", job_id=job.id)
            return None
        finally:
            self.active.pop(job.id, None)
            self._busy[provider] -= 1
            self._claimed -= claimed
            if provider in self._left and job.state not in _STARTED:
                self._left[provider] += 1
            self._stepper.progress.pop(job.id, None)
            self._stepper.payloads.pop(job.id, None)  # of a PHI job, which only ever has this one task
            if self._crowded:
                self._bus.wake.set()

    async def _step(self, job: JobRow, recorded: bool) -> JobView | None:
        """Take one step; a PHI job stays ours when that breaks, for nobody else knows its input."""
        try:
            return await self._stepper.step(job, recorded=recorded)
        except FencedError:
            raise
        except Exception as error:
            if job.data_class is not DataClass.PHI:
                raise
            log.warning("step_again", job_id=job.id, error=type(error).__name__)
            job.next_at_ms = self._clock.now_ms() + int(IDLE_S * 1000)
            return None

    async def _loop(self) -> None:
        while not self._stopping:
            try:
                await self._mind_clock()
                busy = await self._claim()
                self.healthy_at_ms = self._clock.now_ms()
                if not busy:
                    await self._rest()
            except Problem as problem:
                log.warning("claim_failed", code=problem.code.value)
                await asyncio.sleep(IDLE_S)
            except Exception:  # whatever it is, the other jobs must go on
                log.exception("claim_broke")
                await asyncio.sleep(IDLE_S)

    async def _mind_clock(self) -> None:
        """Make what waits due when the clock was put back, instead of waiting until its time has come round again."""
        then_s, tick_s = self._seen_at
        now_s, now_tick_s = self._clock.now_ms() / 1000, time.monotonic()
        behind_s = then_s + now_tick_s - tick_s - now_s
        if behind_s > PUT_BACK_S:
            log.warning("clock_put_back", seconds=round(behind_s))
            await self._db.write(lambda tx: tx.execute(_DUE_NOW, {"now_ms": int(now_s * 1000)}))
        self._seen_at = (now_s, now_tick_s)

    async def _claim(self) -> bool:
        """Claim what is due and begin to work on it; say whether there may be more at once."""
        self._bus.wake.clear()
        self._looked_at_ms = self._clock.now_ms()
        room = min(self._settings.steps_in_progress - self._claimed, self._settings.claim_batch)
        self._crowded = room <= 0 or any(self._busy[name] >= cap for name, cap in self._caps.items())
        if room <= 0:
            return False
        claim = Claim(
            instance=self.instance,
            now_ms=self._looked_at_ms,
            lease_ms=self.lease_ms,
            limit=room,
            caps=self._places(),
            after=self._after,
        )
        claimed = await self._db.submit(claim)
        self._after, self._left = claimed.after, claimed.left
        for job in claimed.jobs:
            mine = self.active.get(job.id)
            if mine is None:
                self.launch(job, claimed=True)
            elif mine.job.lease_n == job.lease_n - 1:  # our own lease ran out while we slept: nobody was in between
                mine.job.lease_n = job.lease_n
        if claimed.jobs:
            points.reach("run.claimed")
        return len(claimed.jobs) > 0

    def _places(self) -> dict[str, int]:
        """Return the caps less the jobs in hand that are not begun yet, which nobody else can see."""
        early = Counter(active.job.provider for active in self.active.values() if active.job.state is JobState.QUEUED)
        return {name: max(0, cap - early[name]) for name, cap in self._caps.items()}

    async def _rest(self) -> None:
        """Sleep until something is due, somebody wakes us, or the slow look is."""
        next_due = await self._db.read(lambda tx: tx.row(NEXT_DUE))
        pause_s = IDLE_S
        if next_due is not None and next_due[0] is not None:
            passed_over = next_due[0] <= self._looked_at_ms  # due, but its provider is full: an end wakes us
            least_s = CROWDED_S if passed_over else 0.02
            pause_s = min(IDLE_S, max(least_s, (next_due[0] - self._clock.now_ms()) / 1000))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._bus.wake.wait()

    async def _keep_leases(self) -> None:
        """Renew every lease three times in its life; stop work that is lost or no longer wanted."""
        while True:
            await asyncio.sleep(self._settings.lease_s / 3)
            if not self.active:
                continue
            held = {
                job_id: (active.job.lease_n, self._stepper.progress.get(job_id, 0))
                for job_id, active in self.active.items()
            }
            try:
                until_ms = self._clock.now_ms() + self.lease_ms
                renewed = await self._db.submit(Renew(instance=self.instance, held=held, until_ms=until_ms))
            except Problem as problem:
                log.warning("renew_failed", code=problem.code.value)
                continue
            except Exception:
                log.exception("renew_broke")
                continue
            for job_id in renewed.lost:
                active = self.active.get(job_id)
                if active is not None and active.job.lease_n == held[job_id][0]:  # else it was ours again meanwhile
                    log.warning("lease_lost", job_id=job_id)
                    active.task.cancel()
            for job_id in renewed.cancel:
                self.cancel_here(job_id)

    def cancel_here(self, job_id: JobId) -> bool:
        """Stop a job this process works on, where its provider can really be stopped in the middle."""
        active = self.active.get(job_id)
        if active is None:
            return False
        active.job.cancel_requested = True
        if active.canceling or active.job.ending:
            return True
        if not self._cancellable(active.job.provider):
            return False
        active.canceling = True
        active.task.cancel()
        return True


_HERE = Sql("SELECT id, pid FROM instance WHERE host = :host")
_BEAT = Sql(
    "INSERT INTO instance (id, host, pid, started_at_ms, seen_at_ms) VALUES (:id, :host, :pid, :now_ms, :now_ms)"
    " ON CONFLICT (id) DO UPDATE SET seen_at_ms = excluded.seen_at_ms"
)


def beat(instance: InstanceId, now_ms: int) -> Callable[[Tx], int]:
    """Return a write that says this process is alive."""
    params = {"id": instance, "host": _host(), "pid": os.getpid(), "now_ms": now_ms}
    return lambda tx: tx.execute(_BEAT, params)


def gone_here(tx: Tx, instance: InstanceId) -> list[str]:
    """Return who ran on this machine before us and runs no more, without waiting for their silence to be noticed."""
    rows = tx.rows(_HERE, {"host": _host()})
    return [ident for ident, pid in rows if ident != instance and (pid == os.getpid() or not _runs(pid))]


def _host() -> str:
    return socket.gethostname()[:200]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
