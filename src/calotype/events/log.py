"""The event log: what happened to a job, in order, written in the same commit as what happened."""

from typing import Any

from calotype.db import ManySql

INSERT_EVENT = ManySql(
    "INSERT INTO event (job_id, seq, org_id, type, data, at_ms) VALUES (:job_id, :seq, :org_id, :type, :data, :at_ms)"
)
INSERT_OUTBOX = ManySql(
    "INSERT INTO outbox (id, org_id, job_id, type, dialect, url, state, attempts, next_at_ms, created_at_ms)"
    " VALUES (:id, :org_id, :job_id, :type, :dialect, :url, 'pending', 0, :now_ms, :now_ms)"
)


def event_row(job_id: str, seq: int, org_id: str, kind: str, at_ms: int, data: str | None = None) -> dict[str, Any]:
    """Return the parameters of `INSERT_EVENT`; `data` is JSON text without payload."""
    return {"job_id": job_id, "seq": seq, "org_id": org_id, "type": kind, "data": data, "at_ms": at_ms}
