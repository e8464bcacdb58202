"""How far requests had come when, as far as this process has seen it: the lines of progress in their logs.

A job's row knows its last percentage only, while logs are cumulative (`wire/fal.md §5.2`). Bounded in number and age.
"""

import time
from collections import OrderedDict

from calotype.jobs.types import JobView
from calotype.kernel.ids import JobId

MOST = 10_000
EVERY_PERCENT = 10


class Marks:
    """The tenths of requests that were seen lately."""

    def __init__(self) -> None:
        self._seen: OrderedDict[JobId, list[tuple[int, int]]] = OrderedDict()

    def of(self, view: JobView) -> list[tuple[int, int]]:
        """Note how far a request has come and return time and percentage of each mark so far."""
        marks = self._seen.get(view.id, [])
        percent = view.job.progress // EVERY_PERCENT * EVERY_PERCENT
        if not view.job.ended and percent > (marks[-1][1] if marks else 0):
            marks.append((int(time.time() * 1000), percent))
            self._seen[view.id] = marks
            self._seen.move_to_end(view.id)
            if len(self._seen) > MOST:
                self._seen.popitem(last=False)
        return marks
