"""Inputs that stand for all a schema allows, as far as a price can tell them apart."""

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

from calotype.catalog.rules import AnyRule, Character, Matrix, Megapixel, Minute, Page, Second, Step, Token
from calotype.catalog.schema import InputSchema

MOST_SAMPLES = 10_000
_ABSENT = object()


def priced_fields(rule: AnyRule) -> tuple[str, ...]:
    """Return the input fields whose values change the price."""
    match rule:
        case Second() | Minute() | Page() | Step() | Character():
            return (rule.field,)
        case Megapixel():
            return (rule.size, rule.width, rule.height, *rule.images)
        case Token():
            size = ("size", "width", "height") if rule.by_megapixel else ()
            return (
                *rule.text,
                *rule.images,
                *rule.output_table,
                *((rule.output_field,) if rule.output_field else ()),
                *size,
            )
        case Matrix():
            length = (rule.field,) if rule.base == "second" else ()
            return tuple(dict.fromkeys((*rule.fields, *rule.factors, *rule.max_table, *length)))
        case _:
            return ()


def samples(schema: InputSchema, rule: AnyRule, example: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the example with every combination of choices and bounds of the fields that the rule reads."""
    names = [name for name in priced_fields(rule) if name in schema.fields]
    for values in islice(product(*(_values(schema, name) for name in names)), MOST_SAMPLES):
        chosen = dict(zip(names, values, strict=True))
        merged = {**schema.defaults, **example, **chosen}
        yield {name: value for name, value in merged.items() if value is not _ABSENT}


def _values(schema: InputSchema, name: str) -> list[Any]:
    rule = schema.properties[name]
    found: list[Any] = list(rule.get("enum", ()))
    if "const" in rule:
        found.append(rule["const"])
    if rule.get("type") == "boolean":
        found += [True, False]
    found += [rule[bound] for bound in ("minimum", "maximum", "default") if bound in rule]
    if size := rule.get("x-size"):
        found += [*size.get("words", ()), f"{size.get('max', 4096)}x{size.get('max', 4096)}"]
    if not found and rule.get("type") == "string":
        found.append("x" * min(rule.get("maxLength", 1000), 1000))
    if name not in schema.required and name not in schema.defaults:
        found.append(_ABSENT)
    return found or [1]
