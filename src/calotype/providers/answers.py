"""What adapters read in an upstream's answer besides the result: when to come back, and what an operator may see."""

import re
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, TypeGuard, TypeVar

from calotype.kernel.clock import Clock
from calotype.kernel.steps import HttpResponse, Steps

T = TypeVar("T")

MAX_DETAIL_CHARS = 300
MAX_READ_CHARS = 4_000
MAX_RETRY_AFTER_S = 3600.0
MIN_SECRET_CHARS = 6

_NAME = re.compile(r"(?!\.+\Z)[\w.-]+", re.ASCII)

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(https?://)[^/\s@]*@", re.IGNORECASE), r"\1"),
    (re.compile(r"(https?://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", re.IGNORECASE), r"\1"),
    (re.compile(r"data:[\w/+.-]*;base64,[\w+/=-]*", re.IGNORECASE), "[data]"),
    (re.compile(r"\b(bearer|basic|key)\s+[\w.~+/=-]{8,}", re.IGNORECASE), r"\1 [redacted]"),
    (re.compile(r"\b(?:sk|pk|rk|ct|org|proj|sess)[-_][\w*.-]{6,}", re.IGNORECASE), "[redacted]"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), "[redacted]"),
    (re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{32,}\b"), "[redacted]"),
    (re.compile(r"[\s\x00-\x1f\x7f]+"), " "),
)


def redacted(text: str, secrets: Iterable[str | None] = ()) -> str:
    """Return upstream text that an operator may read: no keys, no queries of URLs, none of `secrets`, bounded."""
    for secret in secrets:
        if secret and len(secret) >= MIN_SECRET_CHARS:
            text = text.replace(secret, "[redacted]")
    text = text[:MAX_READ_CHARS]  # only now: a half of a secret would not be found
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = text.strip()
    return text if len(text) <= MAX_DETAIL_CHARS else text[: MAX_DETAIL_CHARS - 1] + "…"


def retry_after_s(answer: HttpResponse, clock: Clock) -> float | None:
    """Return the wait an upstream asks for (`retry-after-ms`, then `retry-after` in seconds or as a date), bounded."""
    seconds = _number(answer.headers.get("retry-after-ms"))
    if seconds is not None:
        seconds /= 1000
    elif (value := answer.headers.get("retry-after")) is not None:
        seconds = _number(value)
        if seconds is None:
            seconds = _until(value, clock)
    return None if seconds is None else min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def is_name(value: Any, most_chars: int) -> TypeGuard[str]:
    """Say whether an upstream's id can stand in an address as it is, and leads nowhere else there."""
    return isinstance(value, str) and len(value) <= most_chars and _NAME.fullmatch(value) is not None


def immediately(value: T) -> Steps[T]:
    """Return a conversation that needs no step."""
    yield from ()
    return value


def _number(value: str | None) -> float | None:
    return float(value) if value is not None and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value.strip()) else None


def _until(value: str, clock: Clock) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)  # `-0000` is read as no zone
        return moment.timestamp() - clock.now_ms() / 1000
    except (ValueError, OverflowError):
        return None
