"""What nobody asks for and must happen all the same: heartbeats, broken answers, upstream bills, old memories."""

import asyncio
from collections.abc import Callable

import structlog

from calotype.db import Database, ManySql, Sql, Store, Tx
from calotype.jobs.answers import (
    BREAK_DEAD,
    BREAK_OTHERS,
    BREAK_THESE,
    SWEEP,
    SWEEP_INSTANCES,
    Answered,
    MarkAnswered,
)
from calotype.jobs.backlog import Backlog, count_open
from calotype.jobs.owed import Owed, Revoke, lost_alone, lost_here, lost_silent
from calotype.jobs.runner import beat, gone_here
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Problem
from calotype.kernel.ids import InstanceId, JobId
from calotype.ledger.book import Book
from calotype.ledger.types import COST, PAYABLE, JournalKind

log = structlog.get_logger(__name__)

FLUSH_S = 0.05
BEAT_S = 3.0
DEAD_AFTER_MS = 15_000
FORGET_INSTANCE_MS = 24 * 3600 * 1000
SWEEP_ROWS = 5_000
COST_ROWS = 10_000

_UNPOSTED = Sql(
    "SELECT job_id, attempt, provider, cost_micro FROM submission WHERE cost_posted = 0 AND cost_micro > 0"
    " AND state IN ('done', 'failed', 'ambiguous') LIMIT :limit {for_update}"
)
_POSTED = ManySql(
    "UPDATE submission SET cost_posted = 1 WHERE job_id = :job_id AND attempt = :attempt AND cost_posted = 0"
)


class Reconciler:
    """The background duties of one process."""

    def __init__(self, db: Database, clock: Clock, instance: InstanceId, owed: Owed, backlog: Backlog) -> None:
        self._db = db
        self._clock = clock
        self._instance = instance
        self._owed = owed
        self._backlog = backlog
        self._answers: list[Answered] = []
        self._flushing: asyncio.Event = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, *, alone: bool) -> None:
        """Say we are alive and begin; `alone` says that every other process on this database is gone."""
        now_ms = self._clock.now_ms()
        await self._db.write(beat(self._instance, now_ms))
        if alone:
            params = {"now_ms": now_ms, "instance": self._instance}
            await self._db.write(lambda tx: tx.execute(BREAK_OTHERS, params))
            await self._revoke(lambda tx: lost_alone(tx, self._instance, now_ms))
        elif gone := await self._db.read(lambda tx: gone_here(tx, self._instance)):
            await self._db.write(lambda tx: tx.execute(BREAK_THESE, {"now_ms": now_ms, "gone": gone}))
            await self._revoke(lambda tx: lost_here(tx, self._instance, gone, now_ms))
        await self._count()
        self._tasks = [asyncio.create_task(self._flush_forever()), asyncio.create_task(self._beat_forever())]

    async def stop(self) -> None:
        """Stop, and write the marks that wait."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._flush()

    def answered(self, answer: Answered) -> None:
        """Note that an answer was delivered, or broke off."""
        self._answers.append(answer)
        self._flushing.set()

    def paid(self, job_id: JobId) -> None:
        """Note that the answer of a job reached its caller whole."""
        self._owed.paid(job_id)
        self._flushing.set()

    async def _flush_forever(self) -> None:
        while True:
            await self._flushing.wait()
            self._flushing.clear()
            try:
                await self._flush()
            except Exception:  # whatever it is, later marks must be written
                log.exception("flush_broke")
            await asyncio.sleep(FLUSH_S)

    async def _flush(self) -> None:
        answers, self._answers = tuple(self._answers), []
        if answers:
            try:
                await self._db.submit(MarkAnswered(answers, self._clock.now_ms()))
            except Problem as problem:
                log.warning("marks_lost", count=len(answers), code=problem.code.value)
        if over := self._owed.take():
            try:
                await self._db.write(lambda tx: self._owed.write(tx, over))
            except Problem as problem:
                self._owed.give_back(over)
                log.warning("marks_late", count=len(over), code=problem.code.value)

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self.tick()
            except Problem as problem:
                log.warning("reconcile_failed", code=problem.code.value)
            except Exception:
                log.exception("reconcile_broke")

    async def tick(self) -> None:
        """Do every duty once."""
        now_ms = self._clock.now_ms()

        def duties(tx: Tx) -> None:
            beat(self._instance, now_ms)(tx)
            if tx.store is Store.POSTGRES:
                tx.execute(BREAK_DEAD, {"now_ms": now_ms, "before_ms": now_ms - DEAD_AFTER_MS})
            tx.execute(SWEEP_INSTANCES, {"before_ms": now_ms - FORGET_INSTANCE_MS})
            tx.execute(SWEEP, {"now_ms": now_ms, "limit": SWEEP_ROWS})

        await self._db.write(duties)
        await self._db.write(lambda tx: post_costs(tx, now_ms))
        await self._flush()
        if self._db.store is Store.POSTGRES:  # on SQLite there is no other process to outlive
            alive_ms = now_ms - DEAD_AFTER_MS
            await self._revoke(lambda tx: lost_silent(tx, self._instance, alive_ms, now_ms))
        await self._count()

    async def _count(self) -> None:
        self._backlog.counting()
        self._backlog.counted(await self._db.read(count_open))

    async def _revoke(self, look: Callable[[Tx], list[Revoke]]) -> None:
        """Give back what is found, until nothing more comes of it; a row that breaks a rule must not stop a start."""
        revoked = True
        while revoked:
            revoked = False
            for one in await self._db.read(look):
                try:
                    done = await self._db.submit(one)
                except Problem:
                    raise
                except Exception:
                    log.exception("revoke_broke", job_id=one.job_id)
                    continue
                if done:
                    revoked = True
                    log.warning("answer_lost_with_its_server", job_id=one.job_id, instance=one.owed_by)


def post_costs(tx: Tx, now_ms: int) -> int:
    """Write what upstreams bill us into the ledger, one journal a provider, each submission once; return how many."""
    rows = tx.rows(_UNPOSTED, {"limit": COST_ROWS})
    totals: dict[str, int] = {}
    for _, _, provider, cost_micro in rows:
        totals[provider] = totals.get(provider, 0) + cost_micro
    if not totals:
        return 0
    params = [{"job_id": row[0], "attempt": row[1]} for row in rows]
    if tx.executemany(_POSTED, params) != len(params):
        raise AssertionError("a submission's cost was posted by somebody else although its row is locked")
    book = Book.of(tx)
    for provider, total in sorted(totals.items()):
        book.post_house(JournalKind.PROVIDER_COST, COST, PAYABLE, total, now_ms=now_ms, memo=provider)
    book.flush()
    return len(rows)
