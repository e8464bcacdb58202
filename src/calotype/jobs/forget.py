"""Removes what requests asked and were answered: on the caller's wish, or when the time they asked for is over.

The job, what it cost and how it ended stay; its result says `forgotten`.
"""

from functools import partial

from calotype.db import Database, Sql, Tx
from calotype.jobs.types import Result, json_text
from calotype.kernel.clock import Clock

BATCH = 500
MAX_BATCHES = 200

_DUE = Sql(
    "SELECT id FROM job WHERE forget_at_ms IS NOT NULL AND forget_at_ms <= :now_ms ORDER BY forget_at_ms LIMIT :count"
)
_FORGET = Sql(
    "UPDATE job SET input = NULL, result = CASE WHEN result IS NULL THEN NULL ELSE :gone END, forget_at_ms = NULL"
    " WHERE id {in:ids} AND finished_at_ms IS NOT NULL"
)
GONE = json_text(Result(forgotten=True))


async def forget(db: Database, ids: list[str]) -> int:
    """Remove the payloads of jobs that have ended; returns how many there were."""
    return await db.write(partial(_forget, ids=ids))


async def forget_due(db: Database, clock: Clock) -> int:
    """Remove the payloads whose time is over; a sweep that stops halfway is finished by the next."""
    total, now_ms = 0, clock.now_ms()
    for _ in range(MAX_BATCHES):
        rows = await db.read(lambda tx: tx.rows(_DUE, {"now_ms": now_ms, "count": BATCH}))
        if not rows:
            break
        total += await forget(db, [row[0] for row in rows])
    return total


def _forget(tx: Tx, ids: list[str]) -> int:
    return tx.execute(_FORGET, {"ids": ids, "gone": GONE})
