"""What a model takes and costs, as plain lines of Markdown: for pages that language models read."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from calotype.catalog import Card, Pricing, Rate, rates
from calotype.kernel.errors import Problem
from calotype.kernel.money import usd

MOST_CHOICES = 40
"""Of a longer list only the beginning is shown."""


def kind_of(rule: Mapping[str, Any]) -> str:
    """Say in a few words what a schema takes: `integer 1 to 4, default 1`."""
    kind = _choices(rule["enum"]) if "enum" in rule else _type(rule)
    default = rule.get("default")
    return kind if default in (None, "") else f"{kind}, default `{_word(default)}`"


def field_lines(card: Card, names: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each field of a card; `names` are callers' names of fields that the card calls otherwise."""
    said = {own: name for name, own in (names or {}).items()}
    lines = []
    for name, rule in card.schema.properties.items():
        needed = ", required" if name in card.schema.required else ""
        words = rule.get("description", "")
        lines.append(f"- `{said.get(name, name)}` ({kind_of(rule)}{needed}){': ' if words else ''}{words}")
        lines += [
            f"  - `{inner}` ({kind_of(one)}){': ' if one.get('description') else ''}{one.get('description', '')}"
            for inner, one in rule.get("properties", {}).items()
        ]
    return lines


def rates_of(card: Card, pricing: Pricing) -> tuple[Rate, ...]:
    """Return the card's rows of the rate card, by the first of its routes that has a price; none where none has one."""
    for route in card.routes:
        if route.priced:
            try:
                return rates(card, route, pricing)
            except Problem:
                continue
    return ()


def price_lines(card: Card, pricing: Pricing) -> list[str]:
    """Return a line for each price of a card, or the one that says that it is free, or has none."""
    rows = rates_of(card, pricing)
    if not rows:
        return ["- No price is known yet, so it cannot be used until the operator sets one."]
    if not any(row.price_micro for row in rows):
        return ["- Free."]
    return [f"- {usd(row.price_micro)} ({row.price_micro} micro-USD) per {unit_of(row)}{when_of(row)}" for row in rows]


def unit_of(row: Rate) -> str:
    """Say for how much a price is: `image`, `1,000,000 input tokens`."""
    return row.unit if row.per == 1 else f"{row.per:,} {row.unit}s"


def when_of(row: Rate) -> str:
    """Say for which values of fields a price is, with a comma before it."""
    return "".join(f", {name} {value}" for name, value in row.when.items())


def _type(rule: Mapping[str, Any]) -> str:
    kind = str(rule.get("type", "any"))
    if kind == "array":
        items = rule.get("items", {})
        return f"list of {kind_of(items)}{_bounds(rule, 'minItems', 'maxItems')}"
    if "x-size" in rule and "x-accepts" not in rule:
        return "WIDTHxHEIGHT" if kind == "string" else kind
    if kind == "string":
        return f"string{_bounds(rule, 'minLength', 'maxLength', ' characters')}"
    return kind + _bounds(rule, "minimum", "maximum")


def _bounds(rule: Mapping[str, Any], least: str, most: str, unit: str = "") -> str:
    low, high = rule.get(least), rule.get(most)
    if high is None:
        return "" if low is None or unit else f", at least {low}"
    return f", at most {high}{unit}" if low is None or unit else f" {low} to {high}"


def _choices(values: Iterable[Any]) -> str:
    words = [f"`{_word(one)}`" for one in values]
    more = f" and {len(words) - MOST_CHOICES} more" if len(words) > MOST_CHOICES else ""
    return ", ".join(words[:MOST_CHOICES]) + more


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
