"""What a request says beside the model's input: which model, and how the answer is wanted."""

from collections.abc import Container
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from calotype.kernel.errors import Code, Problem


class Options(Struct):
    """What every request that makes something may say."""

    model: str = "auto"
    user: str | None = None
    webhook_url: str | None = None
    allow_preview: bool | None = None


class TriedOptions(Options):
    """What a request may say that is tried as hard as its caller wishes; each field has a header too."""

    fallback: list[str] | str | None = None
    retries: int | None = None
    timeout: int | None = None


Own = TypeVar("Own", bound=Options)


def split(body: dict[str, Any], kind: type[Own], known: Container[str]) -> tuple[Own, dict[str, Any]]:
    """Separate what steers the answer from the model's input; a null counts as left out.

    Raises:
        Problem: `invalid_input` naming the field.

    """
    names = kind.__struct_fields__
    given = {name: value for name, value in body.items() if name in names and value is not None}
    try:
        options = msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise bad_option(error) from None
    return options, {
        name: value for name, value in body.items() if name not in names and not (value is None and name in known)
    }


def bad_option(error: msgspec.ValidationError) -> Problem:
    """Turn msgspec's sentence about a field into a refusal that names it."""
    sentence, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".") or None
    return Problem(Code.INVALID_INPUT, f"{field or 'The body'}: {sentence[:200]}.", field=field)
