"""What request headers of any dialect say, read strictly."""

from typing import Any

from calotype.kernel.errors import Code, Problem

MAX_HEADER_CHARS = 4096


def choice(name: str, raw: bytes, known: dict[str, Any]) -> Any:
    """Return what a header's word stands for, in any case.

    Raises:
        Problem: `invalid_input` naming the header and what it takes.

    """
    value = raw.decode("latin-1").strip()
    found = known.get(value) or known.get(value.lower()) or known.get(value.upper())
    if found is None:
        raise Problem(Code.INVALID_INPUT, f"{name} must be one of {', '.join(known)}.", field=name)
    return found


def text(raw: bytes | None) -> str | None:
    """Return a header's text, cut at `MAX_HEADER_CHARS`."""
    return raw.decode("latin-1").strip()[:MAX_HEADER_CHARS] if raw else None


def tags_of(raw: bytes | None) -> dict[str, str]:
    """Read `k=v,k=v`; what is not of that form is refused.

    Raises:
        Problem: `invalid_input` naming the header.

    """
    if not raw:
        return {}
    found: dict[str, str] = {}
    for part in raw.decode("latin-1")[:MAX_HEADER_CHARS].split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or not name.strip():
            raise Problem(
                Code.INVALID_INPUT,
                "X-Calotype-Tags is a list such as team=radiology,project=42.",
                field="X-Calotype-Tags",
            )
        found[name.strip()] = value.strip()
    return found
