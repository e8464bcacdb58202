"""The one place a price is computed: quote, rate card, capture and upstream cost all end in `_rounded`."""

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from calotype.catalog.bill import SOUND_PART, Bill, Line, bill_of, choices
from calotype.catalog.card import Card, Route
from calotype.catalog.rules import AnyRule, Minute
from calotype.catalog.unit_prices import UnitPrice
from calotype.kernel.money import ceil_div, usd


class Pricing(Struct, frozen=True):
    """How costs become retail prices: the margin, explicit prices by model id, and what a credit is worth.

    `synced` are costs from the price lists of upstreams, by provider and upstream model: for routes whose card names
    none.
    """

    margin_bps: int = 1000
    overrides: dict[str, int] = {}
    credit_micro: int = 30_000
    synced: dict[tuple[str, str], UnitPrice] = {}


class Quote(Struct, frozen=True, omit_defaults=True):
    """The price of one request, frozen when it is accepted: `hold_micro` is the most that is ever charged.

    `per` divides the sum of quantity times micro over the lines, which is `least` or more where anything is delivered;
    `priced_quantity` is the quantity that the rate card's price is for.
    """

    model: str
    unit: str
    hold_micro: int
    outputs: int
    per: int
    margin_bps: int
    lines: tuple[Line, ...]
    priced_quantity: int = 1
    least: int = 0

    @property
    def measured(self) -> bool:
        """Whether the charge depends on what is delivered beyond the number of outputs."""
        return any(line.usage is not None for line in self.lines)

    @property
    def unit_micro(self) -> int:
        """The retail price of the first line's unit, as the rate card shows it."""
        return _total((replace(self.lines[0], quantity=self.priced_quantity),), self.per, self.margin_bps)

    def breakdown(self) -> str:
        """Say for people how the hold comes about: `2 images: 0.066 USD`."""
        parts = [_counted(line) for line in self.lines if line.quantity]
        return f"{'up to ' if self.measured else ''}{' + '.join(parts) or 'nothing'}: {usd(self.hold_micro)}"


class Delivered(Struct, frozen=True):
    """What a job delivered: stored outputs and measured units.

    Keys of `usage`: `duration_ms`, `input_tokens`, `input_image_tokens`, `input_audio_tokens`, `output_tokens`,
    `pages`, `bytes`, `input_megapixels`, `further_megapixels` (beyond the first of each image); each is the sum over
    the outputs delivered, or over `made` of them where the upstream made more than could be stored: then only the
    share of the delivered ones counts. An answer without files (chat) counts as one output.
    """

    outputs: int
    usage: dict[str, int] = {}
    made: int | None = None


class Rate(Struct, frozen=True):
    """One row of the rate card: `price_micro` for `per` units, where the fields in `when` have these values."""

    unit: str
    per: int
    price_micro: int
    when: dict[str, str] = {}


def quote(card: Card, route: Route, fields: dict[str, Any], pricing: Pricing) -> Quote:
    """Return the retail price of an input that `card.check` accepted."""
    rule, flat, margin_bps = _retail(card, route, pricing)
    outputs = card.outputs_of(fields)
    bill = bill_of(rule, fields, outputs, flat, pricing.credit_micro)
    return Quote(
        model=card.id,
        unit=rule.unit,
        hold_micro=_total(bill.lines, bill.per, margin_bps, bill.least),
        outputs=outputs,
        per=bill.per,
        margin_bps=margin_bps,
        lines=bill.lines,
        priced_quantity=rule.per * 60 if isinstance(rule, Minute) else rule.per,
        least=bill.least,
    )


def captured(quoted: Quote, delivered: Delivered) -> int:
    """Return what a delivery costs: measured units where there are any, else the share of delivered outputs.

    Never more than the hold; nothing for nothing.
    """
    bill = Bill(quoted.per, quoted.lines, quoted.least)
    return min(quoted.hold_micro, _worth(bill, quoted.outputs, quoted.margin_bps, delivered))


def units(quoted: Quote, delivered: Delivered) -> int:
    """Count what a delivery was in the units of its price: what was measured, else the delivered share of the outputs.

    Tokens of every kind count together, and so do the megapixels of an image.
    """
    if delivered.outputs <= 0:
        return 0
    outputs = max(1, quoted.outputs)
    done = min(delivered.outputs, outputs)
    made = max(delivered.outputs, delivered.made or 0)
    counted = 0
    for line in quoted.lines:
        if line.usage == SOUND_PART:
            continue
        used = delivered.usage.get(line.usage) if line.usage is not None else None
        if used is None:
            counted += ceil_div(line.quantity * done, outputs)
        else:
            counted += ceil_div(max(0, used) * delivered.outputs, line.step * made)
    return counted


def rates(card: Card, route: Route, pricing: Pricing) -> tuple[Rate, ...]:
    """Return the rows of the rate card: one for most rules, one per cell of a matrix or kind of token."""
    rule, flat, margin_bps = _retail(card, route, pricing)
    rows = []
    for fields in choices(rule, flat):
        bill = bill_of(rule, fields, 1, flat, pricing.credit_micro, one_unit=True)
        lines = [line for line in bill.lines if line.micro] or bill.lines[-1:]
        rows += [Rate(line.what, rule.per, _total((line,), bill.per, margin_bps), fields) for line in lines]
    return tuple(rows)


def cost_of(card: Card, route: Route, fields: dict[str, Any], delivered: Delivered | None = None) -> int | None:
    """Return what the upstream charges us for an input, or for what it delivered; None when nobody published it.

    Unlike a capture it has no bound: a bill above the hold is the operator's loss and must be seen.
    """
    if not route.cost_known:
        return None
    outputs = card.outputs_of(fields)
    bill = bill_of(route.cost, fields, outputs, None, 0)
    if delivered is None:
        return _total(bill.lines, bill.per, 0, bill.least)
    return _worth(bill, outputs, 0, delivered)


def priced(card: Card, route: Route, pricing: Pricing) -> bool:
    """Say whether a retail price exists: set by the operator, fixed on the card, or cost plus margin."""
    return card.id in pricing.overrides or card.price is not None or route.cost_known


def _retail(card: Card, route: Route, pricing: Pricing) -> tuple[AnyRule, int | None, int]:
    """Choose the rule, the operator's flat price if there is one, and the margin that comes on top."""
    flat = pricing.overrides.get(card.id)
    if card.price is not None:
        return card.price, flat, 0
    return route.cost, flat, pricing.margin_bps if flat is None else 0


def _worth(bill: Bill, outputs: int, margin_bps: int, delivered: Delivered) -> int:
    """Price a delivery of a request that was to have so many outputs, without a bound on measured units."""
    if delivered.outputs <= 0:
        return 0
    done = min(delivered.outputs, outputs)
    made = max(delivered.outputs, delivered.made or 0)
    parts = 0
    for line in bill.lines:
        used = delivered.usage.get(line.usage) if line.usage is not None else None
        if used is None:
            parts += line.quantity * line.micro * done
        else:
            parts += ceil_div(max(0, used) * delivered.outputs, line.step * made) * line.micro * outputs
    return _rounded(max(parts, bill.least * done), bill.per * outputs, margin_bps)


def _total(lines: tuple[Line, ...], per: int, margin_bps: int, least: int = 0) -> int:
    parts = 0
    for line in lines:
        parts += line.quantity * line.micro
    return _rounded(max(parts, least), per, margin_bps)


def _rounded(parts: int, per: int, margin_bps: int) -> int:
    """Add the margin to the total and round up once, to a whole micro-USD."""
    return ceil_div(parts * (10_000 + margin_bps), per * 10_000)


def _counted(line: Line) -> str:
    return f"{line.quantity:,} {line.what}{'' if line.quantity == 1 or line.what == '10 MB' else 's'}"
