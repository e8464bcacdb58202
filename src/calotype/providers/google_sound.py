"""Google's speech: bare samples become a WAV file, voices and styles become its fields (`wire/providers.md §3.4`)."""

import re
import struct
from typing import Any

import pybase64

from calotype.kernel.outcome import Output

RATE_HZ = 24_000
_SAMPLES = ("audio/l16", "audio/pcm", "audio/raw")


def sound(data: str, kind: str, wanted: str | None) -> Output | None:
    """Return a recording as an output: samples are wrapped as WAV, unless samples are `wanted`; files are passed on.

    Google's `audio/L16` is little-endian, as WAV is (§3.4). None where the text is no base64 or empty.
    """
    try:
        body = pybase64.b64decode(data, validate=True)
    except ValueError:
        return None
    if not body:
        return None
    name = kind.partition(";")[0].strip().lower()
    if name not in _SAMPLES or body.startswith(b"RIFF"):
        return Output(data=body, content_type=name or None)
    rate = rate_of(kind)
    body = body[: len(body) // 2 * 2]
    duration_s = len(body) / (2 * rate)
    if wanted == "pcm":
        return Output(data=body, content_type="audio/pcm", duration_s=duration_s)
    return Output(data=wav(body, rate), content_type="audio/wav", duration_s=duration_s)


def rate_of(kind: str) -> int:
    """Return the `rate=` of a content type such as `audio/L16;codec=pcm;rate=24000`."""
    found = re.search(r"rate=(\d{4,6})", kind)
    return int(found[1]) if found else RATE_HZ


def wav(samples: bytes, rate: int) -> bytes:
    """Put a RIFF header before signed 16-bit mono samples."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16, b"data",
        len(samples),
    )  # fmt: skip
    return head + samples


def spoken(fields: dict[str, Any]) -> tuple[str, str]:
    """Return the text to speak (`input`, or `prompt`) and how (`instructions`, `slow`)."""
    text = fields.get("input", fields.get("prompt"))
    style = fields.get("instructions")
    parts = [style] if isinstance(style, str) and style.strip() else []
    if fields.get("slow"):
        parts.append("slowly and clearly")
    return text if isinstance(text, str) else "", ", ".join(parts)


def speakers_of(fields: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the speakers of a dialogue and their voices."""
    given = fields.get("speakers")
    found = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return [(str(one.get("speaker", "")), str(one.get("voice", ""))) for one in found]
