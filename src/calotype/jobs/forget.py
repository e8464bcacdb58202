"""Removes what requests asked and were answered: on the caller's wish, or when the time they asked for is over.

The job, what it cost and how it ended stay; its result says `forgotten`.
"""

from functools import partial

import msgspec

from calotype.db import Database, Sql, Tx
from calotype.jobs.types import Result, json_text
from calotype.kernel.clock import Clock
from calotype.media.uploads import RESULT

_result = msgspec.json.Decoder(Result)

BATCH = 500
MAX_BATCHES = 200

_DUE = Sql(
    "SELECT id FROM job WHERE forget_at_ms IS NOT NULL AND forget_at_ms <= :now_ms ORDER BY forget_at_ms LIMIT :count"
)
_FORGET = Sql(
    "UPDATE job SET input = NULL, result = CASE WHEN result IS NULL THEN NULL ELSE :gone END, forget_at_ms = NULL"
    " WHERE id {in:ids} AND finished_at_ms IS NOT NULL"
)
_ASIDE = Sql("SELECT result FROM job WHERE id {in:ids} AND finished_at_ms IS NOT NULL AND result LIKE :mark")
_EXPIRE = Sql("UPDATE upload SET expires_at_ms = :now_ms WHERE id {in:files} AND purpose = :purpose")
GONE = json_text(Result(forgotten=True))


async def forget(db: Database, ids: list[str], now_ms: int) -> int:
    """Remove the payloads of jobs that have ended; returns how many there were."""
    return await db.write(partial(_forget, ids=ids, now_ms=now_ms))


async def forget_due(db: Database, clock: Clock) -> int:
    """Remove the payloads whose time is over; a sweep that stops halfway is finished by the next."""
    total, now_ms = 0, clock.now_ms()
    for _ in range(MAX_BATCHES):
        rows = await db.read(lambda tx: tx.rows(_DUE, {"now_ms": now_ms, "count": BATCH}))
        if not rows:
            break
        total += await forget(db, [row[0] for row in rows], now_ms)
    return total


def _forget(tx: Tx, ids: list[str], now_ms: int) -> int:
    if files := [_result.decode(row[0]).aside for row in tx.rows(_ASIDE, {"ids": ids, "mark": '%"aside":"%'})]:
        tx.execute(_EXPIRE, {"files": files, "purpose": RESULT, "now_ms": now_ms})
    return tx.execute(_FORGET, {"ids": ids, "gone": GONE})
