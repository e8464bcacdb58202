"""What OpenRouter says that something cost (`wire/providers.md §6.1, §6.5`).

Amounts are USD, as numbers or as text; here they are whole micro-USD, rounded up.
"""

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from calotype.kernel.outcome import Cost

MICRO = Decimal(1_000_000)


def bill(usage: Any) -> Cost | None:
    """Read the bill in a `usage` object: where a host is used with its own key (`is_byok`), its bill comes on top."""
    if not isinstance(usage, dict):
        return None
    amount = usd(usage.get("cost"))
    if amount is None:
        return None
    details = usage.get("cost_details")
    if usage.get("is_byok") is True and isinstance(details, dict):
        amount += usd(details.get("upstream_inference_cost")) or Decimal(0)
    return Cost(micro=micro(amount), amount=f"{amount:f}", unit="usd", source="response")


def usd(value: Any) -> Decimal | None:
    """Read an amount; None for what is none. A number is read as it was written, not as it is held."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < 1_000_000 else None


def micro(amount: Decimal) -> int:
    """Return whole micro-USD, rounded up."""
    return int((amount * MICRO).to_integral_value(ROUND_CEILING))
