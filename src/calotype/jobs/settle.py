"""Settle: the end of a job in one commit: money, state, artifacts, event and outbox, at most once.

Whoever comes second finds the hold settled and changes nothing, which is fine. Whoever comes with an old lease is told
so and changes nothing either.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, ClassVar, Self

from msgspec import Struct

from calotype.db import ManySql, Sql, Tx
from calotype.events.log import INSERT_EVENT, INSERT_OUTBOX, event_row
from calotype.jobs.moves import Closing, close_submissions
from calotype.jobs.types import Result, json_text
from calotype.kernel.errors import Problem
from calotype.kernel.ids import InstanceId, JobId, OrgId, new_event_id
from calotype.kernel.job import TERMINAL, JobState, check_move
from calotype.ledger.book import Book, locks_of
from calotype.media.artifacts import Artifact, as_params
from calotype.media.statements import INSERT_ARTIFACT

_LOCK = Sql(
    "SELECT id, state, lease_n, events, webhook_url, dialect, charged_micro FROM job WHERE id {in:ids}"
    " ORDER BY id {for_update}"
)
_END = ManySql(
    "UPDATE job SET state = :state, charged_micro = :charged, result = :result, error = :error, outcome = NULL,"
    " input = CASE WHEN :keep_input = 1 THEN input ELSE NULL END, lease_by = NULL, events = events + 1,"
    " progress = CASE WHEN :state = 'succeeded' THEN 100 ELSE progress END, finished_at_ms = :now_ms,"
    " unit = :unit, units = :units, forget_at_ms = :forget_at_ms, owed_by = :owed_by"
    " WHERE id = :id AND state IN ('queued', 'submitting', 'running', 'storing')"
)


class Verdict(Enum):
    """What became of a settlement."""

    DONE = auto()
    ALREADY = auto()
    """The job had ended before; nothing was changed."""
    FENCED = auto()
    """Somebody else holds the lease; nothing was changed."""


class Settle(Struct, frozen=True):
    """End a job: `charged_micro` is captured, the rest of the hold let go.

    `lease_n` None ends the job whoever holds it (a cancellation of a job still queued). `units` were delivered, in the
    `unit` of the price; at `forget_at_ms` what it answered is removed. `owed_by` has the only copy of the result.
    """

    point: ClassVar[str | None] = "finish"

    job_id: JobId
    org_id: OrgId
    key_id: str
    state: JobState
    now_ms: int
    lease_n: int | None = None
    only_from: JobState | None = None
    charged_micro: int = 0
    result: Result | None = None
    problem: Problem | None = None
    artifacts: tuple[Artifact, ...] = ()
    closing: Closing | None = None
    keep_input: bool = True
    unit: str | None = None
    units: int = 0
    forget_at_ms: int | None = None
    owed_by: InstanceId | None = None

    @property
    def locks(self) -> tuple[str, ...]:
        """The organisation's account and the key's budget."""
        return locks_of(self.org_id, self.key_id)

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list[Verdict | Problem]:
        """End each job that is still open and ours."""
        book = Book.of(tx)
        rows = {row[0]: row for row in tx.rows(_LOCK, {"ids": sorted({one.job_id for one in batch})})}
        book.load_holds(sorted(rows))
        answers: list[Verdict | Problem] = []
        ended: dict[JobId, JobState] = {}
        ends: list[dict[str, Any]] = []
        closings: list[dict[str, Any]] = []
        artifacts: list[dict[str, Any]] = []
        events: list[dict[str, Any]] = []
        outbox: list[dict[str, Any]] = []
        for one in batch:
            row = rows.get(one.job_id)
            if row is None:
                answers.append(Verdict.FENCED)
                continue
            _, state, lease_n, seq, webhook_url, dialect, _charged = row
            before = ended.get(one.job_id, JobState(state))
            if before in TERMINAL:
                answers.append(Verdict.ALREADY)
                continue
            if (one.lease_n is not None and lease_n != one.lease_n) or one.only_from not in (None, before):
                answers.append(Verdict.FENCED)
                continue
            check_move(before, one.state)
            assert one.charged_micro == 0 or one.state is JobState.SUCCEEDED, "only a delivered result is charged"
            settled = book.settle(one.job_id, one.charged_micro, now_ms=one.now_ms)
            assert settled.first, "an open job has an open hold"
            ended[one.job_id] = one.state
            ends.append(
                {
                    "id": one.job_id,
                    "state": one.state.value,
                    "charged": one.charged_micro,
                    "result": None if one.result is None else json_text(one.result),
                    "error": None if one.problem is None else json_text(one.problem.as_dict()),
                    "keep_input": int(one.keep_input),
                    "unit": one.unit,
                    "units": one.units,
                    "forget_at_ms": one.forget_at_ms,
                    "owed_by": one.owed_by,
                    "now_ms": one.now_ms,
                }
            )
            if one.closing is not None and one.closing.attempt > 0:
                closings.append(one.closing.row(one.job_id, one.now_ms))
            artifacts.extend(
                as_params(artifact, job_id=one.job_id, org_id=one.org_id, created_at_ms=one.now_ms)
                for artifact in one.artifacts
            )
            kind = f"job.{one.state.value}"
            events.append(event_row(one.job_id, seq + 1, one.org_id, kind, one.now_ms))
            if webhook_url is not None:
                outbox.append(
                    {
                        "id": new_event_id(), "org_id": one.org_id, "job_id": one.job_id, "type": kind,
                        "dialect": dialect, "url": webhook_url, "now_ms": one.now_ms,
                    }
                )  # fmt: skip
            answers.append(Verdict.DONE)
        book.flush()
        if tx.executemany(_END, ends) != len(ends):
            raise AssertionError("a job ended twice although its row is locked")
        close_submissions(tx, closings)
        tx.executemany(INSERT_ARTIFACT, artifacts)
        tx.executemany(INSERT_EVENT, events)
        tx.executemany(INSERT_OUTBOX, outbox)
        return answers
