"""Claim due jobs, fairly: two picks per organisation, then whatever is most urgent, within the in-progress caps.

Claiming writes the end of the lease into `next_at_ms`, so that the row becomes due again by itself when its owner
dies; `lease_n` is the fencing token every later write of this owner must show.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from msgspec import Struct

from calotype.db import ManySql, Sql, Tx
from calotype.jobs.store import JOB_COLUMNS
from calotype.jobs.types import JobRow, job_from
from calotype.kernel.errors import Problem
from calotype.kernel.job import JobState

ORGS_PER_CLAIM = 64
PICKS_PER_ORG = 2
PRIORITIES = (1, 0, -1)
"""High, normal, low. Few and fixed, so that each is one stretch of an index and a long backlog is never sorted."""

_OPEN = "state IN ('queued', 'submitting', 'running', 'storing')"
_STARTED = "state IN ('submitting', 'running', 'storing')"
_ORGS = Sql(
    f"""WITH RECURSIVE orgs(org_id, n) AS (
        SELECT (SELECT MIN(org_id) FROM job WHERE {_OPEN} AND org_id > :after), 1
        UNION ALL
        SELECT (SELECT MIN(job.org_id) FROM job WHERE {_OPEN} AND job.org_id > orgs.org_id), orgs.n + 1
        FROM orgs WHERE orgs.org_id IS NOT NULL AND orgs.n < {ORGS_PER_CLAIM}
    ) SELECT org_id FROM orgs WHERE org_id IS NOT NULL"""  # noqa: S608  (constants of our own)
)
_MINE = "(data_class = 'general' OR lease_by IS NULL OR lease_by <> :instance)"
_PICK = Sql(
    f"""SELECT id, state, provider, org_id FROM job
    WHERE {_OPEN} AND org_id = :org_id AND priority = :priority AND next_at_ms <= :now_ms AND {_MINE}
    AND NOT (state = 'queued' AND provider {{in:full}})
    ORDER BY next_at_ms LIMIT :limit {{skip_locked}}"""  # noqa: S608
)
_FILL = Sql(
    f"""SELECT id, state, provider, org_id FROM job
    WHERE {_OPEN} AND priority = :priority AND next_at_ms <= :now_ms AND {_MINE} AND NOT (id {{in:taken}})
    AND NOT (state = 'queued' AND provider {{in:full}})
    ORDER BY next_at_ms LIMIT :limit {{skip_locked}}"""  # noqa: S608
)
_ANY_DUE = Sql(
    f"SELECT 1 FROM job WHERE {_OPEN} AND priority = :priority AND next_at_ms <= :now_ms LIMIT 1"  # noqa: S608
)
_STARTED_OF = Sql(
    f"SELECT COUNT(*) FROM (SELECT 1 FROM job WHERE provider = :provider AND {_STARTED} LIMIT :cap) busy"  # noqa: S608
)
_LEASE = ManySql("UPDATE job SET lease_by = :instance, lease_n = lease_n + 1, next_at_ms = :until WHERE id = :id")
_LOAD = Sql(
    f"SELECT {JOB_COLUMNS} FROM job j LEFT JOIN submission s ON s.job_id = j.id AND s.attempt = j.attempt"  # noqa: S608
    " WHERE j.id {in:ids}"
)
_BAND_DUE = f"SELECT MIN(next_at_ms) AS due FROM job WHERE {_OPEN} AND priority = "  # noqa: S608
_DUE_BY_BAND = " UNION ALL ".join(f"{_BAND_DUE}{band}" for band in PRIORITIES)
NEXT_DUE = Sql(f"SELECT MIN(due) FROM ({_DUE_BY_BAND}) bands")  # noqa: S608


class Claim(Struct, frozen=True):
    """Take up to `limit` due jobs. `caps` bounds how many jobs of a provider may be started at once.

    `after` is the organisation served last: the next one comes first, so that each gets its turn however few places
    become free at a time.
    """

    point: ClassVar[str | None] = None

    instance: str
    now_ms: int
    lease_ms: int
    limit: int
    caps: dict[str, int]
    after: str = ""

    @property
    def locks(self) -> tuple[str, ...]:
        """No money is touched."""
        return ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list["Claimed | Problem"]:
        """Serve each claim in turn."""
        return [one._claim(tx) for one in batch]

    def _claim(self, tx: Tx) -> "Claimed":
        left = {
            provider: cap - tx.rows(_STARTED_OF, {"provider": provider, "cap": cap})[0][0]
            for provider, cap in self.caps.items()
        }
        picked: list[str] = []
        params: dict[str, Any] = {"now_ms": self.now_ms, "instance": self.instance}

        def take(rows: list[tuple[Any, ...]]) -> None:
            for ident, state, provider, _org in rows:
                if len(picked) >= self.limit:
                    return
                if state == JobState.QUEUED.value and provider in left:
                    if left[provider] <= 0:
                        continue
                    left[provider] -= 1
                picked.append(ident)

        bands = [band for band in PRIORITIES if tx.row(_ANY_DUE, {"priority": band, "now_ms": self.now_ms})]
        orgs = self._orgs(tx) if bands else []
        after = orgs[-1] if len(orgs) == ORGS_PER_CLAIM else self.after
        for org_id in orgs:
            if len(picked) >= self.limit:
                break
            before = len(picked)
            for band in bands:
                full = [provider for provider, free in left.items() if free <= 0]
                wanted = PICKS_PER_ORG - (len(picked) - before)
                named = {"org_id": org_id, "priority": band, "full": full, "limit": wanted}
                take(tx.rows(_PICK, params | named) if wanted else [])
            if len(picked) > before:
                after = org_id
        for band in bands:
            if len(picked) >= self.limit:
                break
            full = [provider for provider, free in left.items() if free <= 0]
            limit = self.limit - len(picked)
            take(tx.rows(_FILL, params | {"priority": band, "taken": picked, "full": full, "limit": limit}))
        if not picked:
            return Claimed((), after, left)
        until = self.now_ms + self.lease_ms
        tx.executemany(_LEASE, [{"id": ident, "instance": self.instance, "until": until} for ident in picked])
        rows = {row[0]: row for row in tx.rows(_LOAD, {"ids": picked})}
        jobs = tuple(job_from(rows[ident]) for ident in picked)
        return Claimed(jobs, after, left)

    def _orgs(self, tx: Tx) -> list[str]:
        """Return the organisations with open jobs in the order of their turns: behind the last served, then around."""
        orgs = [row[0] for row in tx.rows(_ORGS, {"after": self.after})]
        if self.after and len(orgs) < ORGS_PER_CLAIM:
            orgs += [row[0] for row in tx.rows(_ORGS, {"after": ""}) if row[0] <= self.after]
        return orgs[:ORGS_PER_CLAIM]


class Claimed(Struct, frozen=True):
    """The jobs that are ours now, the organisation that was served last, and how many more each provider may begin."""

    jobs: tuple[JobRow, ...]
    after: str
    left: dict[str, int]
