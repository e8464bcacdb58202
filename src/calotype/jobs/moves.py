"""The moves of a job between accept and its end, each one conditional UPDATE that shows the lease.

A result of False means: the row is not ours any more (or already ended). The caller stops at once and writes nothing.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from msgspec import Struct

from calotype.db import ManySql, Sql, Tx
from calotype.events.log import INSERT_EVENT, event_row
from calotype.jobs.accept import INSERT_SUBMISSION
from calotype.jobs.types import json_text
from calotype.kernel.errors import Problem
from calotype.kernel.ids import JobId
from calotype.kernel.job import JobState, check_move
from calotype.kernel.outcome import Cost

_LOCK = Sql(
    "SELECT id, state, lease_n, events, org_id, cancel_requested FROM job WHERE id {in:ids} ORDER BY id {for_update}"
)
_CLOSE_SUBMISSION = ManySql(
    "UPDATE submission SET state = :state, error = :error, handle = COALESCE(:handle, handle),"
    " upstream_id = COALESCE(:upstream_id, upstream_id), answered_at_ms = :now_ms,"
    " cost_micro = COALESCE(:cost_micro, cost_micro), cost_amount = COALESCE(:cost_amount, cost_amount),"
    " cost_unit = COALESCE(:cost_unit, cost_unit), cost_source = COALESCE(:cost_source, cost_source)"
    " WHERE job_id = :job_id AND attempt = :attempt"
)
_BEGIN = Sql(
    "UPDATE job SET state = 'submitting', route = :route, provider = :provider, attempt = :attempt,"
    " started_at_ms = COALESCE(started_at_ms, :now_ms), next_at_ms = :until, lease_by = :instance,"
    " events = events + 1 WHERE id = :id AND lease_n = :lease_n"
)
_MOVE = ManySql(
    "UPDATE job SET state = :state, route = COALESCE(:route, route), provider = COALESCE(:provider, provider),"
    " attempt = :attempt, next_at_ms = :next_at_ms, progress = :progress, outcome = COALESCE(:outcome, outcome),"
    " lease_by = CASE WHEN :keep = 1 THEN lease_by ELSE NULL END, events = events + :events"
    " WHERE id = :id AND lease_n = :lease_n"
)
_RENEW = ManySql(
    "UPDATE job SET next_at_ms = :until, progress = CASE WHEN :progress > progress THEN :progress ELSE progress END"
    " WHERE id = :id AND lease_n = :lease_n AND lease_by = :instance"
    " AND state IN ('queued', 'submitting', 'running', 'storing')"
)
_CANCEL = ManySql(
    "UPDATE job SET cancel_requested = 1, next_at_ms = CASE WHEN lease_by IS NULL THEN :now_ms ELSE next_at_ms END"
    " WHERE id = :id AND state IN ('queued', 'submitting', 'running', 'storing')"
)


class Closing(Struct, frozen=True):
    """How a submission ended, or went on: `accepted`, `rejected`, `done`, `failed` or `ambiguous`."""

    attempt: int
    state: str
    error: str | None = None
    handle: dict[str, Any] | None = None
    upstream_id: str | None = None
    cost: Cost | None = None

    def row(self, job_id: JobId, now_ms: int) -> dict[str, Any]:
        """Return the parameters of the UPDATE."""
        cost = self.cost or Cost(source="")
        return {
            "job_id": job_id,
            "attempt": self.attempt,
            "state": self.state,
            "error": self.error,
            "handle": None if self.handle is None else json_text(self.handle),
            "upstream_id": self.upstream_id,
            "now_ms": now_ms,
            "cost_micro": cost.micro,
            "cost_amount": cost.amount,
            "cost_unit": cost.unit,
            "cost_source": cost.source or None,
        }


def close_submissions(tx: Tx, rows: list[dict[str, Any]]) -> None:
    """Write how submissions ended."""
    tx.executemany(_CLOSE_SUBMISSION, rows)


class _Locked(Struct):
    state: JobState
    lease_n: int
    events: int
    org_id: str


def _locked(tx: Tx, ids: list[str]) -> dict[str, _Locked]:
    return {row[0]: _Locked(JobState(row[1]), row[2], row[3], row[4]) for row in tx.rows(_LOCK, {"ids": ids})}


class Begin(Struct, frozen=True):
    """Record a submission before its first request: the job is `submitting` and at most this attempt may be sent."""

    point: ClassVar[str | None] = None

    job_id: JobId
    lease_n: int
    instance: str
    route: int
    attempt: int
    provider: str
    upstream_model: str
    now_ms: int
    until_ms: int
    previous: Closing | None = None

    @property
    def locks(self) -> tuple[str, ...]:
        """No money is touched."""
        return ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list[bool | Problem]:
        """Begin each submission whose job is still ours."""
        rows = _locked(tx, [one.job_id for one in batch])
        answers: list[bool | Problem] = []
        for one in batch:
            row = rows.get(one.job_id)
            if row is None or row.lease_n != one.lease_n or row.state not in (JobState.QUEUED, JobState.SUBMITTING):
                answers.append(False)
                continue
            tx.execute(
                _BEGIN,
                {
                    "id": one.job_id, "lease_n": one.lease_n, "route": one.route, "provider": one.provider,
                    "attempt": one.attempt, "now_ms": one.now_ms, "until": one.until_ms, "instance": one.instance,
                },
            )  # fmt: skip
            if one.previous is not None:
                close_submissions(tx, [one.previous.row(one.job_id, one.now_ms)])
            tx.execute(
                INSERT_SUBMISSION,
                {
                    "job_id": one.job_id, "attempt": one.attempt, "provider": one.provider,
                    "upstream_model": one.upstream_model, "now_ms": one.now_ms,
                },
            )  # fmt: skip
            tx.execute(INSERT_EVENT, event_row(one.job_id, row.events + 1, row.org_id, "job.submitting", one.now_ms))
            row.events += 1
            row.state = JobState.SUBMITTING
            answers.append(True)
        return answers


class Move(Struct, frozen=True):
    """Go to another open state, or stay in it: accepted by the upstream, looked at again, back to the queue, storing.

    `keep` holds on to the lease (the owner goes on working); otherwise the row is free and due at `next_at_ms`.
    """

    point: ClassVar[str | None] = "running"

    job_id: JobId
    lease_n: int
    state: JobState
    now_ms: int
    next_at_ms: int
    attempt: int
    progress: int = 0
    route: int | None = None
    provider: str | None = None
    outcome: str | None = None
    keep: bool = False
    closing: Closing | None = None

    @property
    def locks(self) -> tuple[str, ...]:
        """No money is touched."""
        return ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list[bool | Problem]:
        """Move each job that is still ours."""
        rows = _locked(tx, [one.job_id for one in batch])
        answers: list[bool | Problem] = []
        moves: list[dict[str, Any]] = []
        closings: list[dict[str, Any]] = []
        events: list[dict[str, Any]] = []
        for one in batch:
            row = rows.get(one.job_id)
            if row is None or row.lease_n != one.lease_n or row.state not in _OPEN_STATES:
                answers.append(False)
                continue
            changed = row.state is not one.state
            if changed:
                check_move(row.state, one.state)
                row.state = one.state
                row.events += 1
                events.append(event_row(one.job_id, row.events, row.org_id, f"job.{one.state.value}", one.now_ms))
            moves.append(
                {
                    "id": one.job_id, "lease_n": one.lease_n, "state": one.state.value, "route": one.route,
                    "provider": one.provider, "attempt": one.attempt, "next_at_ms": one.next_at_ms,
                    "progress": one.progress, "outcome": one.outcome, "keep": int(one.keep), "events": int(changed),
                }
            )  # fmt: skip
            if one.closing is not None:
                closings.append(one.closing.row(one.job_id, one.now_ms))
            answers.append(True)
        tx.executemany(_MOVE, moves)
        close_submissions(tx, closings)
        tx.executemany(INSERT_EVENT, events)
        return answers


_OPEN_STATES = frozenset({JobState.QUEUED, JobState.SUBMITTING, JobState.RUNNING, JobState.STORING})


class Renew(Struct, frozen=True):
    """Keep the leases of the jobs this process works on; `held` is job → (fencing token, progress in per cent)."""

    point: ClassVar[str | None] = None

    instance: str
    held: dict[JobId, tuple[int, int]]
    until_ms: int

    @property
    def locks(self) -> tuple[str, ...]:
        """No money is touched."""
        return ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list["Renewed | Problem"]:
        """Renew what is still ours and say what is lost and what somebody asked to cancel."""
        answers: list[Renewed | Problem] = []
        for one in batch:
            rows = {row[0]: row for row in tx.rows(_LOCK, {"ids": sorted(one.held)})}
            params = [
                {
                    "id": job_id, "lease_n": lease_n, "progress": progress, "instance": one.instance,
                    "until": one.until_ms,
                }
                for job_id, (lease_n, progress) in one.held.items()
            ]  # fmt: skip
            tx.executemany(_RENEW, params)
            lost = {
                job_id for job_id, (lease_n, _) in one.held.items() if job_id not in rows or rows[job_id][2] != lease_n
            }
            cancel = {job_id for job_id, row in rows.items() if row[5] and job_id not in lost}
            answers.append(Renewed(frozenset(lost), frozenset(cancel)))
        return answers


class Renewed(Struct, frozen=True):
    """Jobs that are not ours any more, and jobs whose cancellation was asked for."""

    lost: frozenset[JobId]
    cancel: frozenset[JobId]


class RequestCancel(Struct, frozen=True):
    """Note that somebody wants the job to stop; whoever works on it sees the note."""

    point: ClassVar[str | None] = None

    job_id: JobId
    now_ms: int

    @property
    def locks(self) -> tuple[str, ...]:
        """No money is touched."""
        return ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list[bool | Problem]:
        """Note each request."""
        tx.executemany(_CANCEL, [{"id": one.job_id, "now_ms": one.now_ms} for one in batch])
        return [True] * len(batch)
