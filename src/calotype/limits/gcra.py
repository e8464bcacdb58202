"""A rate limiter by the generic cell rate algorithm: one number for each key, no windows and no background work."""

import time
from collections.abc import Callable

MINUTE_NS = 60_000_000_000


class Gcra:
    """Requests per minute by key, with a burst.

    A key's number is when its bucket will be empty again. `most_keys` bounds memory: idle keys go first, by two on
    each use; only when all are busy is the longest unused one forgotten. Used from one event loop, without locks.
    """

    def __init__(self, *, most_keys: int = 100_000, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._most_keys = most_keys
        self._now_ns = now_ns
        self._empty_at_ns: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._empty_at_ns)

    def take(self, key: str, rate_per_minute: int, burst: int) -> float | None:
        """Take one request; None when it may pass, else the seconds until it would.

        `burst` requests may come at once; both bounds are at least 1.
        """
        now = self._now_ns()
        interval = MINUTE_NS // rate_per_minute
        empty_at = max(self._empty_at_ns.pop(key, now), now) + interval
        early = empty_at - burst * interval - now
        if early > 0:
            self._empty_at_ns[key] = empty_at - interval
            return early / 1e9
        self._make_room(now)
        self._empty_at_ns[key] = empty_at
        return None

    def left(self, key: str, rate_per_minute: int, burst: int) -> tuple[int, float]:
        """Return how many requests may come at once now, and in how many seconds the whole burst may; takes none."""
        interval = MINUTE_NS // rate_per_minute
        ahead = max(0, self._empty_at_ns.get(key, 0) - self._now_ns())
        return max(0, (burst * interval - ahead) // interval), ahead / 1e9

    def _make_room(self, now: int) -> None:
        """Forget up to two idle keys among the longest unused, and the very longest unused one when full."""
        keys = self._empty_at_ns
        for _ in range(2):
            oldest = next(iter(keys), None)
            if oldest is None or keys[oldest] > now:
                break
            del keys[oldest]
        while len(keys) >= self._most_keys:
            del keys[next(iter(keys))]
