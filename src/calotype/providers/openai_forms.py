"""Form fields as OpenAI's own client writes them (`wire/providers.md §7.1`)."""

from collections.abc import Iterator
from typing import Any

from calotype.kernel.steps import Part


def form_fields(name: str, value: Any) -> Iterator[Part]:
    """Write a value as form fields: lists as `name[]`, objects as `name[key]`, numbers and booleans as text."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from form_fields(f"{name}[{key}]", item)
    elif isinstance(value, list):
        for item in value:
            yield from form_fields(f"{name}[]", item)
    else:
        yield Part(name, str(value).lower() if isinstance(value, bool) else str(value))
