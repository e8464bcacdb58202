"""Counting an input by a price rule: which lines a bill has and how much of each; no margin and no rounding."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

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
    audio_tokens,
    cell,
    factor,
    image_units,
    input_tokens,
    megapixels,
    output_tokens,
    sized,
)
from calotype.kernel.money import MICRO, ceil_div

SOUND_PART = "input_audio_tokens"
"""Measured tokens that are a part of `input_tokens`: what is charged for them comes on top."""


class Line(Struct, frozen=True, omit_defaults=True):
    """One counted part of a price: `quantity` at `micro` for each `per` of its quote.

    `usage` names the measured count that replaces `quantity` at capture, in started units of `step`; without it the
    line is priced by delivered outputs.
    """

    what: str
    quantity: int
    micro: int
    usage: str | None = None
    step: int = 1


class Bill(Struct, frozen=True):
    """The lines of a price; `per` divides the sum of quantity times micro over them, which is `least` or more."""

    per: int
    lines: tuple[Line, ...]
    least: int = 0


def bill_of(
    rule: AnyRule, fields: dict[str, Any], outputs: int, flat: int | None, credit_micro: int, *, one_unit: bool = False
) -> Bill:
    """Count an input by a rule. `one_unit` counts `per` units of each line instead: that is the rate card."""
    bill = _counted(rule, fields, outputs, flat, one_unit=one_unit)
    if flat is not None:
        return bill
    least = 0 if one_unit else rule.least * bill.per
    if not rule.in_credits:
        return Bill(bill.per, bill.lines, least)
    lines = tuple(replace(line, micro=line.micro * credit_micro) for line in bill.lines)
    return Bill(bill.per * MICRO, lines, least * credit_micro)


def _counted(rule: AnyRule, fields: dict[str, Any], outputs: int, flat: int | None, *, one_unit: bool) -> Bill:
    per = rule.per
    micro = rule.micro if flat is None else flat
    one = per if one_unit else 0
    match rule:
        case Image():
            return Bill(per, (Line("image", one or outputs, micro),))
        case Request() | Credit():
            return Bill(per, (Line("request", one or 1, micro),))
        case Second():
            quantity = one or amount(fields, rule.field, rule.max) * outputs
            return Bill(per, (Line("second", quantity, micro, "duration_ms", 1000),))
        case Minute():
            quantity = one * 60 or amount(fields, rule.field, rule.max) * outputs
            line = Line("minute" if one_unit else "second", quantity, micro, "duration_ms", 1000)
            return Bill(per * 60, (line,))
        case Megapixel():
            return Bill(per, _megapixels(rule, fields, outputs, flat, one))
        case Character():
            return Bill(per, (Line("character", one or len(str(fields.get(rule.field) or "")), micro),))
        case Token():
            return Bill(per, _tokens(rule, fields, outputs, flat, one))
        case Page():
            return Bill(per, (Line("page", one or amount(fields, rule.field, rule.max), micro, "pages"),))
        case Step():
            return Bill(per, (Line("step", one or amount(fields, rule.field, None), micro),))
        case TenMegabytes():
            quantity = one or ceil_div(rule.max_bytes, BLOCK_BYTES) * outputs
            return Bill(per, (Line("10 MB", quantity, micro, "bytes", BLOCK_BYTES),))
        case Matrix():
            return _matrix(rule, fields, outputs, flat, one=one)


def choices(rule: AnyRule, flat: int | None) -> Iterator[dict[str, str]]:
    """List the field values that a rate card has rows for."""
    if not isinstance(rule, Matrix) or flat is not None:
        yield {}
        return
    cells = [dict(zip(rule.fields, key.split("/"), strict=True)) for key in rule.cells] or [{}]
    scales = [[(name, value) for value in table] for name, table in rule.factors.items()]
    for chosen, scaled in product(cells, product(*scales)):
        yield {**chosen, **dict(scaled)}


def _megapixels(rule: Megapixel, fields: dict[str, Any], outputs: int, flat: int | None, one: int) -> tuple[Line, ...]:
    whole = 1 if one else megapixels(rule, fields)
    micro = rule.micro if flat is None else flat
    first = micro if flat is not None or rule.first_micro is None else rule.first_micro
    if first == micro:
        lines: tuple[Line, ...] = (Line("megapixel", one or whole * outputs, micro),)
    else:
        measured = None if one or sized(rule, fields) else "further_megapixels"
        lines = (
            Line("first megapixel", one or outputs, first),
            Line("further megapixel", one or (whole - 1) * outputs, micro, measured),
        )
    if rule.image_micro and flat is None:
        held = one or image_units(rule, fields)
        lines += (Line("input megapixel", held * (1 if one else outputs), rule.image_micro, "input_megapixels"),)
    return lines


def _tokens(rule: Token, fields: dict[str, Any], outputs: int, flat: int | None, one: int) -> tuple[Line, ...]:
    text = one or input_tokens(rule, fields)
    images = one or image_units(rule, fields)
    made = one or output_tokens(rule, fields) * outputs
    sound: tuple[Line, ...] = ()
    if rule.input_audio_micro and flat is None:
        held = one or audio_tokens(rule, fields)
        sound = (Line("input audio token", held, rule.input_audio_micro, SOUND_PART),)
    return (
        Line("input token", text, rule.input_micro if flat is None else flat, "input_tokens"),
        Line("input image token", images, rule.input_image_micro if flat is None else flat, "input_image_tokens"),
        Line("output token", made, rule.micro if flat is None else flat, "output_tokens"),
        *sound,
    )


def _matrix(rule: Matrix, fields: dict[str, Any], outputs: int, flat: int | None, *, one: int) -> Bill:
    micro, per = flat, rule.per
    if micro is None:
        micro = cell(rule, fields) * factor(rule, fields)
        per *= 100 ** len(rule.factors)
    match rule.base:
        case "second":
            quantity = one or amount(fields, rule.field, rule.most(fields)) * outputs
            return Bill(per, (Line("second", quantity, micro, "duration_ms", 1000),))
        case "image":
            return Bill(per, (Line("image", one or outputs, micro),))
        case "request" | "credit":
            return Bill(per, (Line("request", one or 1, micro),))
