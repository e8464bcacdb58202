"""How many tasks Black Forest Labs takes at once from one account, and which are at work (`wire/providers.md §4.3`).

What is over it is refused and not queued there, so it waits here. The count is this process's own: what others send
with the same account is learnt from refusals.
"""

from collections.abc import Iterable

MOST_OF = {"flux-kontext-max": 6}
"""Endpoints of which fewer tasks are taken than of all together."""
FORGOTTEN_MS = 900_000
"""A task that nobody asked for so long has ended long ago."""


class Slots:
    """The tasks of one account that are at work."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._active: dict[str, tuple[str, int]] = {}

    def room(self, endpoint: str, count: int, now_ms: int) -> bool:
        """Say whether so many tasks more would be taken; where nothing is at work any number is tried."""
        self._active = {ident: one for ident, one in self._active.items() if now_ms - one[1] < FORGOTTEN_MS}
        same = sum(used == endpoint for used, _ in self._active.values())
        return _fits(len(self._active), count, self._most) and _fits(same, count, MOST_OF.get(endpoint, self._most))

    def begin(self, ident: str, endpoint: str, now_ms: int) -> None:
        """Count a task, or note that it was seen at work."""
        self._active[ident] = (endpoint, now_ms)

    def end(self, idents: Iterable[str]) -> None:
        """Count these no more."""
        for ident in idents:
            self._active.pop(ident, None)


def _fits(active: int, count: int, most: int) -> bool:
    return active == 0 or active + count <= most
