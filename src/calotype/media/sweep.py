"""The retention sweep: removes what has expired, what nobody owns and what dead writers left.

It may run beside the server and beside itself: a file is removed before its row is marked, and removing one that is
gone already is no error, so a sweep that dies halfway is finished by the next.
"""

from functools import partial
from typing import Any, Literal

from msgspec import Struct

from calotype.db import Database, Sql, Tx
from calotype.kernel.clock import Clock, SystemClock
from calotype.media.store import Store

BATCH = 500
MAX_BATCHES = 200
TEMP_AGE_MS = 3_600_000
ORPHAN_AGE_MS = 48 * 3_600_000
"""A file without a row may belong to a job that still runs; after this long it cannot."""

_EXPIRED_ARTIFACTS = Sql("""
    SELECT job_id, n, key FROM artifact
    WHERE expires_at_ms <= :now_ms AND deleted_at_ms IS NULL ORDER BY expires_at_ms LIMIT :count
""")
_OF_JOB = Sql("SELECT job_id, n, key FROM artifact WHERE job_id = :job_id AND deleted_at_ms IS NULL")
_MARK_ARTIFACT = Sql("UPDATE artifact SET deleted_at_ms = :now_ms, url = NULL WHERE job_id = :job_id AND n = :n")
_EXPIRED_UPLOADS = Sql("SELECT id, key FROM upload WHERE expires_at_ms <= :now_ms ORDER BY expires_at_ms LIMIT :count")
_DELETE_UPLOADS = Sql("DELETE FROM upload WHERE id {in:ids}")
_OWNED = Sql("""
    SELECT key FROM artifact WHERE key {in:keys} AND deleted_at_ms IS NULL
    UNION ALL SELECT key FROM upload WHERE key {in:keys}
""")
_ORGS = Sql("SELECT id FROM organisation WHERE id {in:ids}")


class Swept(Struct, frozen=True):
    """What one sweep removed; `more` says that it stopped at its bound."""

    artifacts: int = 0
    uploads: int = 0
    orphans: int = 0
    temporary: int = 0
    more: bool = False


async def sweep(db: Database, store: Store, *, clock: Clock | None = None, orphans: bool = False) -> Swept:
    """Run one sweep; with `orphans` it also walks the whole store, which is for once a day."""
    now_ms = (clock or SystemClock()).now_ms()
    artifacts, more = await _in_batches("artifact", db, store, now_ms)
    uploads, more_uploads = await _in_batches("upload", db, store, now_ms)
    return Swept(
        artifacts=artifacts,
        uploads=uploads,
        orphans=await _orphans(db, store, now_ms) if orphans else 0,
        temporary=await store.sweep_temp(now_ms - TEMP_AGE_MS),
        more=more or more_uploads,
    )


async def forget_media(db: Database, store: Store, job_id: str, now_ms: int) -> int:
    """Remove the files of one job before their time is up; returns how many there were."""
    rows = await db.read(lambda tx: tx.rows(_OF_JOB, {"job_id": job_id}))
    await store.delete([row[-1] for row in rows if row[-1]])
    marks = [{"job_id": job, "n": n, "now_ms": now_ms} for job, n, _ in rows]
    if marks:
        await db.write(partial(_mark, marks=marks))
    return len(marks)


async def _in_batches(kind: Literal["artifact", "upload"], db: Database, store: Store, now_ms: int) -> tuple[int, bool]:
    """Remove up to `MAX_BATCHES` batches of one kind; returns how many rows and whether some are left."""
    query = _EXPIRED_ARTIFACTS if kind == "artifact" else _EXPIRED_UPLOADS
    total = 0
    for _ in range(MAX_BATCHES):
        rows = await db.read(lambda tx: tx.rows(query, {"now_ms": now_ms, "count": BATCH}))
        if not rows:
            return total, False
        await store.delete([row[-1] for row in rows if row[-1]])
        if kind == "artifact":
            marks = [{"job_id": job_id, "n": n, "now_ms": now_ms} for job_id, n, _ in rows]
            await db.write(partial(_mark, marks=marks))
        else:
            ids = [row[0] for row in rows]
            await db.write(partial(_forget, ids=ids))
        total += len(rows)
    return total, True


async def _orphans(db: Database, store: Store, now_ms: int) -> int:
    gone = 0
    async for page in store.scan():
        for start in range(0, len(page), BATCH):
            old = [one.key for one in page[start : start + BATCH] if one.modified_ms < now_ms - ORPHAN_AGE_MS]
            if not old:
                continue
            spared = await db.read(partial(_spared, keys=old, shared=store.shared))
            gone += await store.delete([key for key in old if key not in spared])
    return gone


def _mark(tx: Tx, marks: list[dict[str, Any]]) -> int:
    return tx.executemany(_MARK_ARTIFACT, marks)


def _forget(tx: Tx, ids: list[str]) -> int:
    return tx.execute(_DELETE_UPLOADS, {"ids": ids})


def _spared(tx: Tx, keys: list[str], *, shared: bool) -> set[str]:
    """Return the keys that have a row and, in a shared place, those that are not of an organisation of ours."""
    owned = {row[0] for row in tx.rows(_OWNED, {"keys": keys})}
    if not shared:
        return owned
    ids = list({key.partition("/")[0] for key in keys})
    ours = {row[0] for row in tx.rows(_ORGS, {"ids": ids})}
    return owned | {key for key in keys if key.partition("/")[0] not in ours}
