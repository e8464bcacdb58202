"""How many values a JSON body may hold: each costs far more time and memory than its bytes.

Decoding holds the interpreter's lock, in whatever thread it runs, so a body is bounded by what all other callers can
wait for. 64 MiB of `[],[],…` stopped the server for 5 s and took 1.5 GB. Within the bound 64 MiB of one long text are
decoded in 0.1 s, of nothing but escaped quotes in 0.4 s, and 250,000 names and values in 0.05 s (measured).
"""

from calotype.kernel.errors import Code, Problem

MOST_VALUES = 250_000
"""Values in one body: items of lists and of objects. What a model reads fits in far fewer."""
_ESCAPES = ((b"\\\\", b""), (b'\\"', b""))


def bounded(body: bytes) -> bytes:
    """Return a body that is no more work to decode than its size tells.

    Raises:
        Problem: `payload_too_large`.

    """
    if len(body) > MOST_VALUES and _marks(body) > MOST_VALUES and _marks(_without_texts(body)) > MOST_VALUES:
        raise too_many_values()
    return body


def too_many_values() -> Problem:
    """Return the refusal of a body of too many values."""
    return Problem(Code.PAYLOAD_TOO_LARGE, f"The body holds more than {MOST_VALUES:,} values.", field="body")


def _marks(text: bytes) -> int:
    """Count what begins a value in a list or an object; inside texts it is counted too."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _without_texts(body: bytes) -> bytes:
    """Return what stands between the texts, up to where the body stops being JSON.

    Raises:
        Problem: `payload_too_large` for too many texts: a value has two of them at most, its name and itself.

    """
    for escape, nothing in _ESCAPES:
        body = body.replace(escape, nothing)
    if body.count(b'"') > 4 * (MOST_VALUES + 1):
        raise too_many_values()
    return b"".join(body.split(b'"')[::2])
