"""SQL of workers and of the places on them."""

from typing import Any

import msgspec

from calotype.db import Sql, Tx
from calotype.providers.workers.types import Auth, Run, Worker, WorkerState

_COLUMNS = (
    "id, provider, kind, name, url, auth, min_jobs, max_jobs, state, labels, loras_dir, note, origin, model_set,"
    " created_at_ms"
)
_PLACES = _COLUMNS.replace(" ", "").replace(",", ", :")
_ALL = Sql(
    f"SELECT {_COLUMNS}, (SELECT COUNT(*) FROM worker_run r WHERE r.worker_id = worker.id AND r.state = 'open')"  # noqa: S608
    " FROM worker ORDER BY created_at_ms, id"
)
_INSERT = Sql(f"INSERT INTO worker ({_COLUMNS}) VALUES (:{_PLACES}) ON CONFLICT (name) DO NOTHING")  # noqa: S608
_UPDATE = Sql(
    "UPDATE worker SET provider = :provider, kind = :kind, url = :url, auth = :auth, min_jobs = :min_jobs,"
    " max_jobs = :max_jobs, labels = :labels, loras_dir = :loras_dir, note = :note, origin = :origin WHERE name = :name"
)
_SET_STATE = Sql("UPDATE worker SET state = :state WHERE id = :id")
_DELETE = Sql("DELETE FROM worker WHERE id = :id")
_DELETE_RUNS = Sql("DELETE FROM worker_run WHERE worker_id = :id")
_LOCKED = Sql("SELECT state FROM worker WHERE id = :id {for_update}")
_OPEN = Sql("SELECT COUNT(*) FROM worker_run WHERE worker_id = :id AND state = 'open'")
_RESERVE = Sql(
    "INSERT INTO worker_run (token, worker_id, upstream_id, state, began_at_ms)"
    " VALUES (:token, :worker_id, :upstream_id, 'open', :now_ms) ON CONFLICT (token) DO NOTHING"
)
_LOADED = Sql("UPDATE worker SET model_set = :model_set WHERE id = :id")
_RUN = Sql("SELECT token, worker_id, upstream_id, state, began_at_ms FROM worker_run WHERE token = :token")
_RUNS = Sql(
    "SELECT token, worker_id, upstream_id, state, began_at_ms FROM worker_run WHERE worker_id = :id"
    " AND (state = 'open' OR ended_at_ms < :before_ms) ORDER BY began_at_ms LIMIT 1000"
)
_END = Sql("UPDATE worker_run SET state = 'ended', ended_at_ms = :now_ms WHERE token = :token AND state = 'open'")
_FORGET = Sql("DELETE FROM worker_run WHERE token {in:tokens}")


def insert_worker(tx: Tx, worker: Worker) -> bool:
    """Write a new worker; False when the name is taken."""
    return tx.execute(_INSERT, _row(worker)) > 0


def upsert_worker(tx: Tx, worker: Worker) -> None:
    """Write a worker of the settings, or bring the one of that name up to date; its state stays."""
    if not insert_worker(tx, worker):
        tx.execute(_UPDATE, _row(worker))


def all_workers(tx: Tx) -> list[tuple[Worker, int]]:
    """Read every worker, oldest first, each with the number of places that are taken."""
    return [(_worker(row[:-1]), int(row[-1])) for row in tx.rows(_ALL)]


def set_state(tx: Tx, worker_id: str, state: WorkerState) -> None:
    """Write what the operator wants of a worker."""
    tx.execute(_SET_STATE, {"id": worker_id, "state": state.value})


def delete_worker(tx: Tx, worker_id: str) -> None:
    """Remove a worker and every place on it."""
    tx.execute(_DELETE_RUNS, {"id": worker_id})
    tx.execute(_DELETE, {"id": worker_id})


def open_runs(tx: Tx, worker_id: str) -> int:
    """Count the places that are taken; the worker's row is locked until the transaction ends."""
    tx.row(_LOCKED, {"id": worker_id})
    row = tx.row(_OPEN, {"id": worker_id})
    return int(row[0]) if row else 0


def reserve(tx: Tx, run: Run, *, places: int, model_set: str) -> bool:
    """Take a place for a run; False when the worker is gone, drains or has no place left."""
    row = tx.row(_LOCKED, {"id": run.worker_id})
    taken = tx.row(_OPEN, {"id": run.worker_id})
    if row is None or row[0] != WorkerState.ACTIVE.value or taken is None or taken[0] >= places:
        return False
    params = {
        "token": run.token, "worker_id": run.worker_id, "upstream_id": run.upstream_id, "now_ms": run.began_at_ms,
    }  # fmt: skip
    if not tx.execute(_RESERVE, params):
        return False
    tx.execute(_LOADED, {"id": run.worker_id, "model_set": model_set})
    return True


def run_of(tx: Tx, token: str) -> Run | None:
    """Read the place of an attempt, held or given back a moment ago."""
    row = tx.row(_RUN, {"token": token})
    return None if row is None else _run(row)


def runs_to_tidy(tx: Tx, worker_id: str, before_ms: int) -> list[Run]:
    """Read the runs of a worker that are open, or ended before that instant."""
    return [_run(row) for row in tx.rows(_RUNS, {"id": worker_id, "before_ms": before_ms})]


def end_run(tx: Tx, token: str, now_ms: int) -> None:
    """Give a place back; the row stays a while, for the worker still remembers the request."""
    tx.execute(_END, {"token": token, "now_ms": now_ms})


def forget_runs(tx: Tx, tokens: list[str]) -> None:
    """Remove runs that nobody will ask for again."""
    tx.execute(_FORGET, {"tokens": tokens})


def _row(worker: Worker) -> dict[str, Any]:
    row = {name: getattr(worker, name) for name in Worker.__struct_fields__}
    auth, labels = msgspec.json.encode(worker.auth).decode(), msgspec.json.encode(worker.labels).decode()
    return row | {"auth": auth, "labels": labels, "state": worker.state.value}


def _worker(row: tuple[Any, ...]) -> Worker:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    values["auth"] = msgspec.json.decode(values["auth"], type=Auth)
    values["labels"] = msgspec.json.decode(values["labels"], type=tuple[str, ...])
    values["state"] = WorkerState(values["state"])
    return Worker(**values)


def _run(row: tuple[Any, ...]) -> Run:
    token, worker_id, upstream_id, state, began_at_ms = row
    return Run(token, worker_id, upstream_id, state == "ended", began_at_ms)
