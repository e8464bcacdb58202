"""What became of announced jobs: events and their attempts for people to read, sent once more, or swept."""

from functools import partial
from typing import Any

from msgspec import Struct

from calotype.db import Database, Sql, Tx
from calotype.kernel.errors import Code, Problem
from calotype.webhooks.verdict import EventState

KEPT_MS = 30 * 24 * 3_600_000
SWEEP_ROWS = 500
MAX_LISTED = 1000

_LIST = Sql(
    "SELECT id, org_id, job_id, type, dialect, url, state, attempts, next_at_ms, created_at_ms, delivered_at_ms"
    " FROM outbox WHERE (CAST(:org_id AS TEXT) IS NULL OR org_id = :org_id)"
    " AND (CAST(:job_id AS TEXT) IS NULL OR job_id = :job_id)"
    " AND (CAST(:event_id AS TEXT) IS NULL OR id = :event_id) ORDER BY created_at_ms DESC, id DESC LIMIT :limit"
)
_ATTEMPTS = Sql(
    "SELECT outbox_id, attempt, status, error, duration_ms, at_ms FROM webhook_delivery WHERE outbox_id {in:ids}"
    " ORDER BY outbox_id, attempt"
)
_STATE = Sql("SELECT state, lease_by, next_at_ms FROM outbox WHERE id = :id {for_update}")
_AGAIN = Sql(
    "UPDATE outbox SET state = 'pending', attempts = 0, next_at_ms = :now_ms, lease_by = NULL, delivered_at_ms = NULL"
    " WHERE id = :id"
)
_OLD = Sql("SELECT id FROM outbox WHERE created_at_ms < :before_ms AND state <> 'pending' ORDER BY id LIMIT :limit")
_FORGET_ATTEMPTS = Sql("DELETE FROM webhook_delivery WHERE outbox_id {in:ids}")
_FORGET = Sql("DELETE FROM outbox WHERE id {in:ids}")


class Delivery(Struct, frozen=True):
    """One recorded attempt, numbered over the whole life of the event."""

    attempt: int
    status: int | None
    error: str | None
    duration_ms: int
    at_ms: int


class Event(Struct):
    """An event of the outbox with its attempts; `attempts` counts those since it was last asked for."""

    id: str
    org_id: str
    job_id: str
    type: str
    dialect: str
    url: str
    state: EventState
    attempts: int
    next_at_ms: int
    created_at_ms: int
    delivered_at_ms: int | None
    deliveries: list[Delivery] = []


def list_events(
    tx: Tx, *, org_id: str | None = None, job_id: str | None = None, event_id: str | None = None, limit: int = 50
) -> list[Event]:
    """Return events with their attempts, newest first; what is named narrows them."""
    limit = max(1, min(limit, MAX_LISTED))
    params: dict[str, Any] = {"org_id": org_id, "job_id": job_id, "event_id": event_id, "limit": limit}
    events = {row[0]: _event(row) for row in tx.rows(_LIST, params)}
    for ident, *rest in tx.rows(_ATTEMPTS, {"ids": list(events)}):
        events[ident].deliveries.append(Delivery(*rest))
    return list(events.values())


def redeliver(tx: Tx, event_id: str, now_ms: int) -> None:
    """Make an event due now with all its attempts before it, under the id it always had.

    Raises:
        Problem: `not_found`, or `conflict` while an attempt is under way.

    """
    row = tx.row(_STATE, {"id": event_id})
    if row is None:
        raise Problem(Code.NOT_FOUND, f"There is no event {event_id[:60]!r}; events are kept for 30 days.")
    state, lease_by, next_at_ms = row
    if state == EventState.PENDING.value and lease_by is not None and next_at_ms > now_ms:
        raise Problem(
            Code.CONFLICT, "An attempt to deliver this event is under way.", retryable=True,
            retry_after_s=(next_at_ms - now_ms) / 1000,
        )  # fmt: skip
    tx.execute(_AGAIN, {"id": event_id, "now_ms": now_ms})


def _event(row: tuple[Any, ...]) -> Event:
    ident, org_id, job_id, kind, dialect, url, state, *rest = row
    return Event(ident, org_id, job_id, kind, dialect, url, EventState(state), *rest)


async def sweep(db: Database, now_ms: int) -> int:
    """Forget events that ended and are 30 days old, with their attempts; returns how many."""
    total = 0
    params = {"before_ms": now_ms - KEPT_MS, "limit": SWEEP_ROWS}
    while ids := [row[0] for row in await db.read(lambda tx: tx.rows(_OLD, params))]:
        await db.write(partial(_forget, ids=ids))
        total += len(ids)
    return total


def _forget(tx: Tx, ids: list[str]) -> None:
    tx.execute(_FORGET_ATTEMPTS, {"ids": ids})
    tx.execute(_FORGET, {"ids": ids})
