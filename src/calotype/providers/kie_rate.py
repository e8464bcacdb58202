"""KIE's limit on new tasks: 20 in ten seconds for an account, and what is over it is refused, not queued (§5.6)."""

from collections import deque

WINDOW_MS = 10_000
SLACK_MS = 1_000
"""Requests do not arrive as evenly as they leave."""
MOST_IN_WINDOW = 18
"""A little under the limit, for the same reason."""


class Turnstile:
    """Gives each new task of one account its moment, so that no ten seconds hold too many."""

    def __init__(self, most: int = MOST_IN_WINDOW, window_ms: int = WINDOW_MS + SLACK_MS) -> None:
        self._window_ms = window_ms
        self._starts: deque[int] = deque(maxlen=most)
        self._closed_until_ms = 0

    def wait_ms(self, now_ms: int, most_ms: int) -> int:
        """Take a place and return how long to wait for it; a wait of more than `most_ms` takes none."""
        full = len(self._starts) == self._starts.maxlen
        start_ms = max(now_ms, self._closed_until_ms, self._starts[0] + self._window_ms if full else 0)
        if start_ms - now_ms <= most_ms:
            self._starts.append(start_ms)
        return start_ms - now_ms

    def closed_ms(self, now_ms: int) -> int:
        """Return for how long nobody is let through, which may have begun while somebody waited."""
        return max(0, self._closed_until_ms - now_ms)

    def close(self, until_ms: int) -> None:
        """Let nobody through before a moment, for the upstream said so."""
        self._closed_until_ms = max(self._closed_until_ms, until_ms)
