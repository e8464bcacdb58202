"""How jobs are read: by id, by organisation, with their submissions and artifacts."""

from collections.abc import Collection
from typing import Any

from calotype.db import Sql, Tx
from calotype.jobs.types import COLUMNS, JobRow, job_from
from calotype.kernel.generation import Operation
from calotype.kernel.ids import JobId, OrgId
from calotype.kernel.job import JobState

_JOB = ", ".join(f"j.{name}" for name in COLUMNS)
JOB_COLUMNS = f"{_JOB}, s.handle, s.upstream_id"
JOB_FROM = "FROM job j LEFT JOIN submission s ON s.job_id = j.id AND s.attempt = j.attempt"

_BY_ID = Sql(f"SELECT {JOB_COLUMNS} {JOB_FROM} WHERE j.id = :id")
_LIST = Sql(
    f"SELECT {JOB_COLUMNS} {JOB_FROM} WHERE j.org_id = :org_id AND j.id < :before"
    " AND (CAST(:state AS TEXT) IS NULL OR j.state = :state)"
    " AND j.operation {in:operations} AND (:any_model = 1 OR j.model {in:models})"
    " ORDER BY j.id DESC LIMIT :limit"
)
_LIST_ALL = Sql(
    f"SELECT {JOB_COLUMNS} {JOB_FROM} WHERE j.id < :before AND (CAST(:state AS TEXT) IS NULL OR j.state = :state)"
    " ORDER BY j.id DESC LIMIT :limit"
)
_SUBMISSIONS = Sql(
    "SELECT attempt, provider, upstream_model, state, upstream_id, error, cost_micro, cost_amount, cost_unit,"
    " cost_source, created_at_ms, answered_at_ms FROM submission WHERE job_id = :id ORDER BY attempt"
)
_EVENTS = Sql("SELECT seq, type, data, at_ms FROM event WHERE job_id = :id AND seq > :after ORDER BY seq LIMIT 1000")

_LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"


def load_job(tx: Tx, job_id: JobId) -> JobRow | None:
    """Return one job, whoever owns it."""
    row = tx.row(_BY_ID, {"id": job_id})
    return None if row is None else job_from(row)


def list_jobs(
    tx: Tx,
    org_id: OrgId | None,
    *,
    state: JobState | None = None,
    operations: Collection[Operation] | None = None,
    models: Collection[str] | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[JobRow]:
    """Return an organisation's jobs (or everybody's), newest first, of some operations and models or of all."""
    params: dict[str, Any] = {
        "before": before or _LAST,
        "state": None if state is None else state.value,
        "limit": max(1, min(limit, 1000)),
    }
    if org_id is None:
        rows = tx.rows(_LIST_ALL, params)
    else:
        wanted = [one.value for one in operations or Operation]
        named = {"any_model": int(models is None), "models": list(models or ())}
        rows = tx.rows(_LIST, {**params, **named, "org_id": org_id, "operations": wanted})
    return [job_from(row) for row in rows]


def submissions_of(tx: Tx, job_id: JobId) -> list[dict[str, Any]]:
    """Return what was sent upstream for a job, one row for each attempt."""
    names = (
        "attempt", "provider", "upstream_model", "state", "upstream_id", "error", "cost_micro", "cost_amount",
        "cost_unit", "cost_source", "created_at_ms", "answered_at_ms",
    )  # fmt: skip
    return [dict(zip(names, row, strict=True)) for row in tx.rows(_SUBMISSIONS, {"id": job_id})]


def events_of(tx: Tx, job_id: JobId, after: int = 0) -> list[tuple[int, str, str | None, int]]:
    """Return a job's events behind a cursor: sequence, type, JSON data, time."""
    return [(row[0], row[1], row[2], row[3]) for row in tx.rows(_EVENTS, {"id": job_id, "after": after})]
