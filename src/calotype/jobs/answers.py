"""Which answers reached their callers: what joins a re-sent request to the job whose answer was cut off.

Marks are written in bulk a moment later; one that is lost in a crash can only join an identical request, sent within a
minute, to a job that did run.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

from msgspec import Struct

from calotype.db import ManySql, Sql, Tx
from calotype.kernel.errors import Problem
from calotype.kernel.ids import JobId

_MARK = ManySql(
    "UPDATE idempotency SET answer = :answer, answer_ended_ms = :now_ms WHERE id = :id AND job_id = :job_id"
    " AND answer <> 'delivered'"
)
BREAK_OTHERS = Sql(
    "UPDATE idempotency SET answer = 'broken', answer_ended_ms = :now_ms"
    " WHERE answer = 'open' AND answer_by IS NOT NULL AND answer_by <> :instance"
)
BREAK_DEAD = Sql(
    "UPDATE idempotency SET answer = 'broken', answer_ended_ms = :now_ms WHERE answer = 'open' AND answer_by IN"
    " (SELECT id FROM instance WHERE seen_at_ms < :before_ms)"
)
BREAK_THESE = Sql(
    "UPDATE idempotency SET answer = 'broken', answer_ended_ms = :now_ms WHERE answer = 'open' AND answer_by {in:gone}"
)
SWEEP = Sql(
    "DELETE FROM idempotency WHERE id IN (SELECT id FROM idempotency WHERE expires_at_ms <= :now_ms LIMIT :limit)"
)
SWEEP_INSTANCES = Sql("DELETE FROM instance WHERE seen_at_ms < :before_ms")


class Answered(Struct, frozen=True):
    """One answer that was delivered whole, or broke off."""

    memory_id: str
    job_id: JobId
    delivered: bool


class MarkAnswered(Struct, frozen=True):
    """Write a bundle of marks."""

    point: ClassVar[str | None] = None

    answers: tuple[Answered, ...]
    now_ms: int

    @property
    def locks(self) -> tuple[str, ...]:
        """No money is touched."""
        return ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list[Problem | None]:
        """Mark each answer whose request was not sent again meanwhile."""
        rows = {
            answer.memory_id: {
                "id": answer.memory_id,
                "job_id": answer.job_id,
                "answer": "delivered" if answer.delivered else "broken",
                "now_ms": one.now_ms,
            }
            for one in batch
            for answer in one.answers
        }
        tx.executemany(_MARK, [rows[name] for name in sorted(rows)])
        return [None] * len(batch)
