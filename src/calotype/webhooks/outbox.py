"""The outbox as a queue: due events are leased a few at a time, and what became of each attempt is written back.

Choosing what to claim is a read, for it may look past a long backlog; only the chosen rows are then locked. A claim
moves `next_at_ms` to the end of its lease, so that an event whose owner died becomes due by itself. `lease_by` is
unique to the claim and fences its later writes: who comes back after the lease was lost changes nothing.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Self

from msgspec import Struct

from calotype.db import Sql, Tx
from calotype.db.tx import Params
from calotype.kernel.errors import Problem
from calotype.kernel.ids import EventId, JobId, OrgId
from calotype.webhooks.verdict import Attempt, EventState, Verdict

WINDOW = 500
"""Due rows looked at for one claim, beyond those of hosts and organisations that have their share already."""

_LOCK = Sql(
    "SELECT id FROM outbox WHERE id {in:ids} AND state = 'pending' AND next_at_ms <= :now_ms ORDER BY id {skip_locked}"
)
_LEASE = Sql(
    "UPDATE outbox SET lease_by = :lease, next_at_ms = :until, attempts = attempts + 1 WHERE id = :id AND"
    " state = 'pending'"
)
_LOAD = Sql(
    "SELECT id, org_id, job_id, type, dialect, url, attempts, created_at_ms, lease_by FROM outbox WHERE id {in:ids}"
)
_END = Sql(
    "UPDATE outbox SET state = :state, next_at_ms = :next_at_ms, lease_by = NULL, delivered_at_ms = :delivered_at_ms"
    " WHERE id = :id AND lease_by = :lease AND state = 'pending'"
)
_NOTE = Sql(
    "INSERT INTO webhook_delivery (outbox_id, attempt, status, error, duration_ms, at_ms)"
    " SELECT :id, COALESCE(MAX(attempt), 0) + 1, CAST(:status AS INTEGER), CAST(:error AS TEXT),"
    " CAST(:duration_ms AS INTEGER), CAST(:at_ms AS BIGINT) FROM webhook_delivery WHERE outbox_id = :id"
)
_GIVE_BACK = Sql(
    "UPDATE outbox SET next_at_ms = :now_ms, lease_by = NULL, attempts = attempts - 1"
    " WHERE id = :id AND lease_by = :lease AND state = 'pending'"
)
FREE_LEASES = Sql(
    "UPDATE outbox SET next_at_ms = :now_ms, lease_by = NULL WHERE lease_by IS NOT NULL AND state = 'pending'"
    " AND next_at_ms > :now_ms"
)
NEXT_DUE = Sql("SELECT MIN(next_at_ms) FROM outbox WHERE state = 'pending' AND next_at_ms > :now_ms")


class Due(Struct, frozen=True):
    """An event whose next attempt is ours to make."""

    id: EventId
    org_id: OrgId
    job_id: JobId
    type: str
    dialect: str
    url: str
    number: int
    """The attempt this is, from 1."""
    created_at_ms: int
    lease: str

    @property
    def origin(self) -> str:
        """The receiver it goes to."""
        return origin_of(self.url)


class Share(Struct, frozen=True):
    """How much one process may have under way at once, and what it has."""

    limit: int
    per_org: int
    per_origin: int
    orgs: dict[str, int] = {}
    origins: dict[str, int] = {}


def choose(tx: Tx, share: Share, now_ms: int) -> list[EventId]:
    """Return due events within a share, organisations with nothing under way first; a read, which claims nothing."""
    picked: list[EventId] = []
    orgs, origins = dict(share.orgs), dict(share.origins)
    for per_org in (1, share.per_org):
        found = True
        while found and len(picked) < share.limit:
            full = [org_id for org_id, busy in orgs.items() if busy >= per_org]
            crowded = sorted(origin for origin, busy in origins.items() if busy >= share.per_origin)
            found = False
            for ident, org_id, url in tx.rows(*_candidates(now_ms, full, crowded, picked)):
                origin = origin_of(url)
                if len(picked) >= share.limit:
                    break
                if orgs.get(org_id, 0) < per_org and origins.get(origin, 0) < share.per_origin:
                    picked.append(ident)
                    orgs[org_id] = orgs.get(org_id, 0) + 1
                    origins[origin] = origins.get(origin, 0) + 1
                    found = True
    return picked


class Claim(Struct, frozen=True):
    """Lease those of the chosen events that are still due and that nobody else has or is about to have."""

    point: ClassVar[str | None] = None

    lease: str
    ids: list[EventId]
    now_ms: int
    lease_ms: int

    @property
    def locks(self) -> tuple[str, ...]:
        """No money is touched."""
        return ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list[tuple[Due, ...] | Problem]:
        """Serve each claim in turn."""
        return [one._claim(tx) for one in batch]

    def _claim(self, tx: Tx) -> tuple[Due, ...]:
        ours = [row[0] for row in tx.rows(_LOCK, {"ids": self.ids, "now_ms": self.now_ms})]
        until = self.now_ms + self.lease_ms
        tx.executemany(_LEASE, [{"id": ident, "lease": self.lease, "until": until} for ident in ours])
        return tuple(Due(*row) for row in tx.rows(_LOAD, {"ids": ours}))


class Record(Struct, frozen=True):
    """Write down how an attempt went; False when the lease was lost and nothing was changed."""

    point: ClassVar[str | None] = None

    due: Due
    attempt: Attempt
    verdict: Verdict
    now_ms: int

    @property
    def locks(self) -> tuple[str, ...]:
        """No money is touched."""
        return ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list[bool | Problem]:
        """Record each attempt that is still ours."""
        return [one._record(tx) for one in batch]

    def _record(self, tx: Tx) -> bool:
        state = self.verdict.state
        params = {
            "id": self.due.id, "lease": self.due.lease, "state": state.value,
            "next_at_ms": self.now_ms + self.verdict.pause_ms,
            "delivered_at_ms": self.now_ms if state is EventState.DELIVERED else None,
        }  # fmt: skip
        if tx.execute(_END, params) == 0:
            return False
        note = {
            "id": self.due.id, "status": self.attempt.status, "error": self.attempt.error,
            "duration_ms": self.attempt.duration_ms, "at_ms": self.now_ms,
        }  # fmt: skip
        tx.execute(_NOTE, note)
        return True


def give_back(tx: Tx, due: Sequence[Due], now_ms: int) -> int:
    """Make events due again whose attempt was broken off, without counting it."""
    return tx.executemany(_GIVE_BACK, [{"id": one.id, "lease": one.lease, "now_ms": now_ms} for one in due])


def origin_of(url: str) -> str:
    """Return scheme and authority of a URL exactly as written, so that SQL finds the same rows by it."""
    start = url.find("//") + 2
    ends = [at for mark in "/?#" if (at := url.find(mark, start)) >= 0]
    return url[: min(ends, default=len(url))]


def _candidates(now_ms: int, full: list[str], crowded: list[str], picked: list[EventId]) -> tuple[Sql, Params]:
    params: Params = {"now_ms": now_ms, "full": full, "picked": picked}
    for n, origin in enumerate(crowded):
        params[f"origin{n}"], params[f"length{n}"] = origin, len(origin)
    return _due(len(crowded)), params


@lru_cache(maxsize=300)
def _due(crowded: int) -> Sql:
    """Return the query for due events, each organisation's oldest first, past the receivers that have their share."""
    passed = "".join(
        f" AND NOT (substr(url, 1, :length{n}) = CAST(:origin{n} AS TEXT)"
        f" AND substr(url, :length{n} + 1, 1) IN ('', '/', '?', '#'))"
        for n in range(crowded)
    )
    return Sql(
        f"""SELECT id, org_id, url FROM (
            SELECT id, org_id, url, next_at_ms, ROW_NUMBER() OVER (PARTITION BY org_id ORDER BY next_at_ms, id) AS place
            FROM (
                SELECT id, org_id, url, next_at_ms FROM outbox
                WHERE state = 'pending' AND next_at_ms <= :now_ms AND NOT (org_id {{in:full}})
                AND NOT (id {{in:picked}}){passed} ORDER BY next_at_ms LIMIT {WINDOW}
            ) eldest
        ) ranked ORDER BY place, next_at_ms, id"""  # noqa: S608  (constants of our own)
    )
