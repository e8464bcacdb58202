"""Time as a value: Unix milliseconds from a clock that tests and the fault simulator can hold still."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where the code asks for the time."""

    def now_ms(self) -> int:
        """Return Unix time in milliseconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Return Unix time in milliseconds."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the time it was last set to."""
        return self._now_ms

    def advance(self, ms: int) -> None:
        """Move forward."""
        self._now_ms += ms
