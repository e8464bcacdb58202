"""What OpenRouter says that something costs: on answers, its list of models, the account (`wire/providers.md §6`).

Amounts are USD, as numbers or as text; here they are whole micro-USD, rounded up.
"""

from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from msgspec import Struct

from calotype.kernel.outcome import Cost
from calotype.providers.openai_account import count

MICRO = Decimal(1_000_000)


class ListedModel(Struct, frozen=True):
    """A model on OpenRouter's list and what it costs there; None where the list has no price.

    Token prices are for a million tokens. `expires` is the day after which the model cannot be used.
    """

    id: str
    input_micro: int | None = None
    output_micro: int | None = None
    request_micro: int | None = None
    image_micro: int | None = None
    context_tokens: int | None = None
    expires: date | None = None


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


def listed(body: Any) -> tuple[ListedModel, ...]:
    """Read the list of models."""
    items = body.get("data") if isinstance(body, dict) else None
    return tuple(
        _model(item)
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict) and isinstance(item.get("id"), str)
    )


def _model(item: dict[str, Any]) -> ListedModel:
    said = item.get("pricing")
    pricing = said if isinstance(said, dict) else {}
    return ListedModel(
        id=item["id"],
        input_micro=_price(pricing.get("prompt"), 1_000_000),
        output_micro=_price(pricing.get("completion"), 1_000_000),
        request_micro=_price(pricing.get("request"), 1),
        image_micro=_price(pricing.get("image"), 1),
        context_tokens=count(item.get("context_length")),
        expires=_day(item.get("expiration_date")),
    )


def _price(value: Any, units: int) -> int | None:
    amount = usd(value)  # a price that depends on the request is listed as -1
    return None if amount is None else micro(amount * units)


def _day(value: Any) -> date | None:
    """Read a day, written as one, as a time or as seconds."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value).date()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None
    return None
