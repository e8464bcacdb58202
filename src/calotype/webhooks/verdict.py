"""What an attempt means for its event: delivered, tried again later, or given up. Decisions only, no I/O."""

from email.utils import parsedate_to_datetime
from enum import StrEnum

from msgspec import Struct

MAX_PAUSE_MS = 6 * 3_600_000
MAX_RETRY_AFTER_MS = 3_600_000
MAX_ERROR_CHARS = 300
_GONE = 410


class EventState(StrEnum):
    """Where an event of the outbox is in its life."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Attempt(Struct, frozen=True):
    """How one POST went: the receiver's status, or why there is none.

    `final` says that trying again is of no use, whatever the number of attempts.
    """

    status: int | None = None
    error: str | None = None
    duration_ms: int = 0
    retry_after: str | None = None
    final: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and 200 <= self.status < 300


class Verdict(Struct, frozen=True):
    """The event's next state, and when it is due again."""

    state: EventState
    pause_ms: int = 0


def judge(attempt: Attempt, number: int, *, attempts: int, first_retry_s: float, jitter: float, now_ms: int) -> Verdict:
    """Decide what follows the `number`th attempt; `jitter` is a factor around 1 on the exponential pause."""
    if attempt.delivered:
        return Verdict(EventState.DELIVERED)
    if attempt.final or attempt.status == _GONE or number >= attempts:
        return Verdict(EventState.DEAD)
    pause_ms = int(min(first_retry_s * 1000 * 2 ** (number - 1), MAX_PAUSE_MS) * jitter)
    return Verdict(EventState.PENDING, max(1, pause_ms, retry_after_ms(attempt.retry_after, now_ms)))


def retry_after_ms(value: str | None, now_ms: int) -> int:
    """Read a Retry-After header, seconds or an HTTP date (RFC 9110 §10.2.3), bounded; 0 when there is none."""
    text = (value or "").strip()
    if not text or not text.isascii():
        return 0
    if text.isdigit():
        return MAX_RETRY_AFTER_MS if len(text) > 6 else min(int(text) * 1000, MAX_RETRY_AFTER_MS)
    try:
        at_ms = int(parsedate_to_datetime(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0
    return min(max(0, at_ms - now_ms), MAX_RETRY_AFTER_MS)
