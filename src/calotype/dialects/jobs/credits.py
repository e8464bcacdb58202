"""Credits as this dialect writes them: millionths of a credit at the finest, exact wherever a price is in credits."""

from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Annotated

from msgspec import Meta

from calotype.jobs.types import JobRow
from calotype.kernel.generation import Operation
from calotype.kernel.job import JobState

Amount = Annotated[Decimal, Meta(extra_json_schema={"type": "number"})]
"""Credits, written as a number."""
FINEST = Decimal("0.000001")
LATE_OPERATIONS = frozenset({Operation.CHAT, Operation.EMBEDDINGS})
"""Answered at once and priced by what was used: their debit is what they cost, shown when they are done."""


class CreditRate:
    """Turns micro-USD into credits, at `credit_micro` each; `late_models` are debited when their job is done."""

    def __init__(self, credit_micro: int, late_models: frozenset[str]) -> None:
        self._credit_micro = credit_micro
        self._late_models = late_models

    def of(self, micro: int) -> Decimal:
        """Return an amount in credits, to the nearest millionth."""
        return _plain((Decimal(micro) / self._credit_micro).quantize(FINEST, ROUND_HALF_EVEN))

    def left(self, micro: int) -> Decimal:
        """Return a balance in credits, rounded down: nobody is shown more than there is."""
        return _plain((Decimal(micro) / self._credit_micro).quantize(FINEST, ROUND_FLOOR))

    def late(self, model: str, operation: str) -> bool:
        """Say whether the debit of a job is shown at its end."""
        return model in self._late_models or operation in LATE_OPERATIONS

    def used(self, job: JobRow) -> Decimal:
        """Return what a job took: the debit of its creation while it runs, what was captured once it ended."""
        if not job.plan.metered:
            return Decimal(0)
        if job.ended:
            return self.of(job.charged_micro or 0 if job.state is JobState.SUCCEEDED else 0)
        return Decimal(0) if self.late(job.model, job.operation) else self.of(job.quote_micro)


def _plain(amount: Decimal) -> Decimal:
    """Drop zeros at the end without falling into an exponent."""
    whole = amount.to_integral_value()
    return whole if whole == amount else amount.normalize()


def two_digits(amount: Decimal) -> str:
    """Write a balance for people, rounded down to hundredths."""
    return f"{amount.quantize(Decimal('0.01'), ROUND_FLOOR):.2f}"
