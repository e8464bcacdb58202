"""What was charged and is in the memory of one process alone: a debt until its caller has it.

Results of PHI requests, frames of realtime sessions and bytes that are passed on are stored nowhere. `settle` writes
the process that has them to the row (`owed_by`). Once the answer went out whole, or a minute after the end when nobody
came for it, the debt is gone. If the process dies first, nobody can have the result any more: the job is revoked, which
gives the money back and makes it a failure, and a request sent again is a new one. (What is announced to a webhook is
always stored.)
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from msgspec import Struct

from calotype.db import ManySql, Sql, Tx
from calotype.events.log import INSERT_EVENT, event_row
from calotype.jobs.delivery import Delivery
from calotype.jobs.recent import KEPT_MS
from calotype.jobs.types import JobRow, json_text
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass
from calotype.kernel.ids import InstanceId, JobId, KeyId, OrgId
from calotype.kernel.job import REVOKED, JobState
from calotype.ledger.book import Book, locks_of

MOST_AT_ONCE = 1_000
SENTENCE = "The server stopped before it could answer; nothing was charged. Send the request again."

_PAID = ManySql("UPDATE job SET owed_by = NULL WHERE id = :id AND owed_by = :instance")
_LOST = "SELECT id, org_id, key_id, owed_by FROM job WHERE owed_by IS NOT NULL AND owed_by <> :instance"
_LOST_ALONE = Sql(" ".join((_LOST, "LIMIT :limit")))
_LOST_HERE = Sql(" ".join((_LOST, "AND owed_by {in:gone} LIMIT :limit")))
_SILENT = "AND owed_by NOT IN (SELECT id FROM instance WHERE seen_at_ms >= :alive_ms) LIMIT :limit"
_LOST_SILENT = Sql(" ".join((_LOST, _SILENT)))
_LOCK = Sql("SELECT id, state, owed_by, events, charged_micro FROM job WHERE id {in:ids} ORDER BY id {for_update}")
_REVOKE = ManySql(
    "UPDATE job SET state = :state, charged_micro = 0, units = 0, result = NULL, error = :error, owed_by = NULL,"
    " events = events + 1 WHERE id = :id AND state = 'succeeded' AND owed_by = :owed_by"
)
_FORGET_REQUESTS = Sql("DELETE FROM idempotency WHERE job_id {in:ids}")


class Owed:
    """The debts of this process, each until it is paid or a minute old."""

    def __init__(self, clock: Clock, instance: InstanceId) -> None:
        self._clock = clock
        self.instance = instance
        self._open: dict[JobId, int] = {}
        self._paid: list[JobId] = []

    def holder(self, job: JobRow, delivery: Delivery) -> InstanceId | None:
        """Return who has a result that is stored nowhere and costs something; None when it is stored, or free."""
        if not delivery.charged_micro or delivery.artifacts:
            return None
        return self.instance if delivery.inline or job.data_class is DataClass.PHI else None

    def owe(self, job_id: JobId) -> None:
        """Note a debt that was just committed."""
        self._open[job_id] = self._clock.now_ms() + KEPT_MS

    def paid(self, job_id: JobId) -> None:
        """Note that a caller has its answer; nothing happens where nothing was owed."""
        if self._open.pop(job_id, None) is not None:
            self._paid.append(job_id)

    def take(self) -> list[JobId]:
        """Return the debts that are over since the last call; give back what could not be written."""
        now_ms = self._clock.now_ms()
        for job_id in [ident for ident, end_ms in self._open.items() if end_ms <= now_ms]:
            self.paid(job_id)
        over, self._paid = self._paid, []
        return over

    def give_back(self, over: list[JobId]) -> None:
        """Take back debts whose end could not be written."""
        self._paid.extend(over)

    def write(self, tx: Tx, over: Sequence[JobId]) -> None:
        """Write that debts are over; those that were revoked meanwhile stay revoked."""
        tx.executemany(_PAID, [{"id": job_id, "instance": self.instance} for job_id in sorted(over)])


class Revoke(Struct, frozen=True):
    """Give back what was captured for a result that was lost with the process `owed_by`, and make the job a failure."""

    point: ClassVar[str | None] = None

    job_id: JobId
    org_id: OrgId
    key_id: KeyId
    owed_by: str
    now_ms: int

    @property
    def locks(self) -> tuple[str, ...]:
        """The organisation's account and the key's budget."""
        return locks_of(self.org_id, self.key_id)

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list[bool | Problem]:
        """Revoke each job whose debt is still open; whoever comes second changes nothing."""
        rows = {row[0]: row[1:] for row in tx.rows(_LOCK, {"ids": sorted({one.job_id for one in batch})})}
        book = Book.of(tx)
        problem = json_text(Problem(Code.UNAVAILABLE, SENTENCE, retryable=True).as_dict())
        answers: list[bool | Problem] = []
        ends: list[dict[str, Any]] = []
        events: list[dict[str, Any]] = []
        for one in batch:
            state, owed_by, seq, charged = rows.pop(one.job_id, (None, None, 0, 0))
            if owed_by is None or owed_by != one.owed_by:
                answers.append(False)
                continue
            after = REVOKED[JobState(state)]
            given = book.reverse(one.job_id, now_ms=one.now_ms)
            assert given == charged, "a job was charged what its hold captured"
            ends.append({"id": one.job_id, "state": after.value, "error": problem, "owed_by": owed_by})
            events.append(event_row(one.job_id, seq + 1, one.org_id, "job.revoked", one.now_ms))
            answers.append(True)
        if not ends:
            return answers
        book.flush()
        if tx.executemany(_REVOKE, ends) != len(ends):
            raise AssertionError("a job was revoked twice although its row is locked")
        tx.execute(_FORGET_REQUESTS, {"ids": [end["id"] for end in ends]})
        tx.executemany(INSERT_EVENT, events)
        return answers


def lost_alone(tx: Tx, instance: InstanceId, now_ms: int) -> list[Revoke]:
    """Return what is owed by others, when every other process on this database is gone."""
    return _found(tx, _LOST_ALONE, {"instance": instance}, now_ms)


def lost_here(tx: Tx, instance: InstanceId, gone: list[str], now_ms: int) -> list[Revoke]:
    """Return what is owed by processes that are known to be gone."""
    return _found(tx, _LOST_HERE, {"instance": instance, "gone": gone}, now_ms)


def lost_silent(tx: Tx, instance: InstanceId, alive_ms: int, now_ms: int) -> list[Revoke]:
    """Return what is owed by processes that gave no sign of life since a moment."""
    return _found(tx, _LOST_SILENT, {"instance": instance, "alive_ms": alive_ms}, now_ms)


def _found(tx: Tx, sql: Sql, params: dict[str, Any], now_ms: int) -> list[Revoke]:
    rows = tx.rows(sql, {**params, "limit": MOST_AT_ONCE})
    return [Revoke(job_id, org_id, key_id, owed_by, now_ms) for job_id, org_id, key_id, owed_by in rows]
