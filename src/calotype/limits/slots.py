"""Counters of what is in progress, by name, each with a cap."""


class Slots:
    """At most `cap` in progress under each name. Names without any cost nothing. Used from one event loop."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._taken: dict[str, int] = {}

    def try_acquire(self, name: str, cap: int | None = None) -> bool:
        """Take a slot if one is free; `cap` replaces the common cap for this name."""
        taken = self._taken.get(name, 0)
        if taken >= (self._cap if cap is None else cap):
            return False
        self._taken[name] = taken + 1
        return True

    def release(self, name: str) -> None:
        """Give a slot back.

        Raises:
            ValueError: none is taken under that name, which is a defect of the caller.

        """
        taken = self._taken.get(name, 0)
        if taken == 0:
            raise ValueError(f"no slot of {name!r} is taken")
        if taken == 1:
            del self._taken[name]
        else:
            self._taken[name] = taken - 1

    def taken(self, name: str) -> int:
        """Return how many are in progress under a name."""
        return self._taken.get(name, 0)

    def free(self, name: str, cap: int | None = None) -> int:
        """Return how many more would be let in."""
        return max(0, (self._cap if cap is None else cap) - self.taken(name))
