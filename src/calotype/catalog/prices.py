"""The one place a price is computed: quote, rate card, capture and upstream cost all end in `_total`."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from calotype.catalog.card import Card, Route
from calotype.catalog.rules import (
    BLOCK_BYTES,
    AnyRule,
    Character,
    Credit,
    Image,
    Matrix,
    Megapixel,
    Minute,
    Page,
    Request,
    Second,
    Step,
    TenMegabytes,
    Token,
    amount,
    cell,
    factor,
    image_tokens,
    megapixels,
    output_tokens,
    text_bytes,
)
from calotype.kernel.money import MICRO, ceil_div, usd


class Pricing(Struct, frozen=True):
    """How costs become retail prices: the margin, explicit prices by model id, and what a credit is worth."""

    margin_bps: int = 1000
    overrides: dict[str, int] = {}
    credit_micro: int = 30_000


class Line(Struct, frozen=True):
    """One counted part of a price: `quantity` at `micro` for each `per` of its quote.

    `usage` names the measured count that replaces `quantity` at capture, in started units of `step`; without it the
    line is priced by delivered outputs.
    """

    what: str
    quantity: int
    micro: int
    usage: str | None = None
    step: int = 1


class Quote(Struct, frozen=True):
    """The price of one request, frozen when it is accepted: `hold_micro` is the most that is ever charged.

    `per` divides the sum of quantity times micro over the lines; `priced_quantity` is the quantity that the rate card's
    price is for.
    """

    model: str
    unit: str
    hold_micro: int
    outputs: int
    per: int
    margin_bps: int
    lines: tuple[Line, ...]
    priced_quantity: int = 1

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

    Keys of `usage`: `duration_ms`, `input_tokens`, `input_image_tokens`, `output_tokens`, `pages`, `bytes`; each is
    the sum over all outputs. An answer without files (chat) counts as one output.
    """

    outputs: int
    usage: dict[str, int] = {}


class Rate(Struct, frozen=True):
    """One row of the rate card: `price_micro` for `per` units, where the fields in `when` have these values."""

    unit: str
    per: int
    price_micro: int
    when: dict[str, str] = {}


class _Bill(Struct, frozen=True):
    per: int
    lines: tuple[Line, ...]


def quote(card: Card, route: Route, fields: dict[str, Any], pricing: Pricing) -> Quote:
    """Return the retail price of an input that `card.check` accepted."""
    rule, flat, margin_bps = _retail(card, route, pricing)
    outputs = card.outputs_of(fields)
    bill = _bill(rule, fields, outputs, flat, pricing.credit_micro)
    return Quote(
        model=card.id,
        unit=rule.unit,
        hold_micro=_total(bill.lines, bill.per, margin_bps),
        outputs=outputs,
        per=bill.per,
        margin_bps=margin_bps,
        lines=bill.lines,
        priced_quantity=rule.per * 60 if isinstance(rule, Minute) else rule.per,
    )


def captured(quoted: Quote, delivered: Delivered) -> int:
    """Return what a delivery costs: measured units where there are any, else the share of delivered outputs.

    Never more than the hold; nothing for nothing.
    """
    if delivered.outputs <= 0:
        return 0
    done = min(delivered.outputs, quoted.outputs)
    parts = 0
    for line in quoted.lines:
        used = delivered.usage.get(line.usage) if line.usage is not None else None
        if used is None:
            parts += line.quantity * line.micro * done
        else:
            parts += ceil_div(max(0, used), line.step) * line.micro * quoted.outputs
    return min(quoted.hold_micro, _rounded(parts, quoted.per * quoted.outputs, quoted.margin_bps))


def rates(card: Card, route: Route, pricing: Pricing) -> tuple[Rate, ...]:
    """Return the rows of the rate card: one for most rules, one per cell of a matrix or kind of token."""
    rule, flat, margin_bps = _retail(card, route, pricing)
    rows = []
    for fields in _choices(rule, flat):
        bill = _bill(rule, fields, 1, flat, pricing.credit_micro, one_unit=True)
        rows += [
            Rate(line.what, rule.per, _total((line,), bill.per, margin_bps), fields)
            for line in bill.lines
            if line.micro or len(bill.lines) == 1
        ]
    return tuple(rows)


def cost_of(card: Card, route: Route, fields: dict[str, Any], delivered: Delivered | None = None) -> int | None:
    """Return what the upstream charges us for an input, or for what it delivered; None when nobody published it."""
    if not route.cost_known:
        return None
    outputs = card.outputs_of(fields)
    bill = _bill(route.cost, fields, outputs, None, MICRO)
    most = _total(bill.lines, bill.per, 0)
    if delivered is None:
        return most
    return captured(Quote(card.id, route.cost.unit, most, outputs, bill.per, 0, bill.lines), delivered)


def priced(card: Card, route: Route, pricing: Pricing) -> bool:
    """Say whether a retail price exists: set by the operator, fixed on the card, or cost plus margin."""
    return card.id in pricing.overrides or card.price is not None or route.cost_known


def _retail(card: Card, route: Route, pricing: Pricing) -> tuple[AnyRule, int | None, int]:
    """Choose the rule, the operator's flat price if there is one, and the margin that comes on top."""
    flat = pricing.overrides.get(card.id)
    if card.price is not None:
        return card.price, flat, 0
    return route.cost, flat, pricing.margin_bps if flat is None else 0


def _total(lines: tuple[Line, ...], per: int, margin_bps: int) -> int:
    parts = 0
    for line in lines:
        parts += line.quantity * line.micro
    return _rounded(parts, per, margin_bps)


def _rounded(parts: int, per: int, margin_bps: int) -> int:
    """Add the margin to the total and round up once, to a whole micro-USD."""
    return ceil_div(parts * (10_000 + margin_bps), per * 10_000)


def _bill(
    rule: AnyRule, fields: dict[str, Any], outputs: int, flat: int | None, credit_micro: int, *, one_unit: bool = False
) -> _Bill:
    """Count an input by a rule. `one_unit` counts `per` units of each line instead: that is the rate card."""
    per = rule.per
    micro = rule.micro if flat is None else flat
    one = per if one_unit else 0
    match rule:
        case Image():
            return _Bill(per, (Line("image", one or outputs, micro),))
        case Request():
            return _Bill(per, (Line("request", one or 1, micro),))
        case Credit():
            return _credits(per, one or 1, rule.micro, flat, credit_micro)
        case Second():
            quantity = one or amount(fields, rule.field, rule.max) * outputs
            return _Bill(per, (Line("second", quantity, micro, "duration_ms", 1000),))
        case Minute():
            quantity = one * 60 or amount(fields, rule.field, rule.max) * outputs
            line = Line("minute" if one_unit else "second", quantity, micro, "duration_ms", 1000)
            return _Bill(per * 60, (line,))
        case Megapixel():
            whole = 1 if one_unit else megapixels(rule, fields)
            first = micro if flat is not None or rule.first_micro is None else rule.first_micro
            if first == micro:
                return _Bill(per, (Line("megapixel", one or whole * outputs, micro),))
            lines = (
                Line("first megapixel", one or outputs, first),
                Line("further megapixel", one or (whole - 1) * outputs, micro),
            )
            return _Bill(per, lines)
        case Character():
            return _Bill(per, (Line("character", one or len(str(fields.get(rule.field) or "")), micro),))
        case Token():
            return _Bill(per, _tokens(rule, fields, outputs, flat, one))
        case Page():
            return _Bill(per, (Line("page", one or amount(fields, rule.field, rule.max), micro, "pages"),))
        case Step():
            return _Bill(per, (Line("step", one or amount(fields, rule.field, None), micro),))
        case TenMegabytes():
            quantity = one or ceil_div(rule.max_bytes, BLOCK_BYTES) * outputs
            return _Bill(per, (Line("10 MB", quantity, micro, "bytes", BLOCK_BYTES),))
        case Matrix():
            return _matrix(rule, fields, outputs, flat, credit_micro=credit_micro, one=one)


def _tokens(rule: Token, fields: dict[str, Any], outputs: int, flat: int | None, one: int) -> tuple[Line, ...]:
    text = one or min(rule.max_input, sum(text_bytes(fields.get(name)) for name in rule.text))
    images = one or image_tokens(rule, fields)
    made = one or output_tokens(rule, fields) * outputs
    return (
        Line("input token", text, rule.input_micro if flat is None else flat, "input_tokens"),
        Line("input image token", images, rule.input_image_micro if flat is None else flat, "input_image_tokens"),
        Line("output token", made, rule.micro if flat is None else flat, "output_tokens"),
    )


def _credits(per: int, quantity: int, micro_credits: int, flat: int | None, credit_micro: int) -> _Bill:
    if flat is not None:
        return _Bill(per, (Line("request", quantity, flat),))
    return _Bill(per * MICRO, (Line("request", quantity, micro_credits * credit_micro),))


def _matrix(
    rule: Matrix, fields: dict[str, Any], outputs: int, flat: int | None, *, credit_micro: int, one: int
) -> _Bill:
    micro, per = flat, rule.per
    if micro is None:
        micro = cell(rule, fields) * factor(rule, fields)
        per *= 100 ** len(rule.factors)
    match rule.base:
        case "credit":
            return _credits(per, one or 1, micro, flat, credit_micro)
        case "second":
            quantity = one or amount(fields, rule.field, rule.max) * outputs
            return _Bill(per, (Line("second", quantity, micro, "duration_ms", 1000),))
        case "image":
            return _Bill(per, (Line("image", one or outputs, micro),))
        case "request":
            return _Bill(per, (Line("request", one or 1, micro),))


def _choices(rule: AnyRule, flat: int | None) -> Iterator[dict[str, str]]:
    """List the field values that a rate card has rows for."""
    if not isinstance(rule, Matrix) or flat is not None:
        yield {}
        return
    cells = [dict(zip(rule.fields, key.split("/"), strict=True)) for key in rule.cells] or [{}]
    scales = [[(name, value) for value in table] for name, table in rule.factors.items()]
    for chosen, scaled in product(cells, product(*scales)):
        yield {**chosen, **dict(scaled)}


def _counted(line: Line) -> str:
    return f"{line.quantity:,} {line.what}{'' if line.quantity == 1 or line.what == '10 MB' else 's'}"
