"""Named points in the life of a job where a test may stop, pause or kill the process.

In production nothing is attached and a point costs one comparison. The names are those of the crash-point table in
`docs/design.md`.
"""

from collections.abc import Callable

on_point: Callable[[str], None] | None = None
"""Called with the name of each point as it is reached; set once, before the server starts."""


def reach(name: str) -> None:
    """Tell whoever listens that the point was reached."""
    if on_point is not None:
        on_point(name)
