"""Results that were answered directly and are stored nowhere, kept in memory for a moment.

A caller whose connection broke off sends its request again and is joined to its job; within this moment it still gets
what it was charged for. Bounded in time, number and bytes; nothing of it touches a disk, and it goes when its time is
over, whether anybody asks again or not.
"""

import asyncio
import time
from collections import OrderedDict

from calotype.jobs.types import JobView, json_text
from calotype.kernel.generation import DataClass
from calotype.kernel.ids import JobId

KEPT_MS = 60_000
MOST = 256
MOST_BYTES = 128 * 1024 * 1024


class Recent:
    """The last directly answered results of this process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[JobId, tuple[float, int, JobView]] = OrderedDict()
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, view: JobView) -> None:
        """Keep a view whose outputs, or whose words, are nowhere else."""
        phi = view.job.data_class is DataClass.PHI
        if view.artifacts or not (view.inline or phi) or view.id in self._kept:
            return
        size = sum(len(one.data or one.base64 or b"") for one in view.inline)
        size += len(json_text(view.job.result)) if phi else 0
        self._kept[view.id] = (time.monotonic() + KEPT_MS / 1000, size, view)
        self._bytes += size
        while self._kept and (len(self._kept) > MOST or self._bytes > MOST_BYTES):
            self._drop(next(iter(self._kept)))
        if self._timer is None:
            self._let_go()

    def get(self, job_id: JobId) -> JobView | None:
        """Return a view while it is kept."""
        found = self._kept.get(job_id)
        return None if found is None else found[2]

    def _let_go(self) -> None:
        """Drop what has had its time, and come back for what is next."""
        self._timer = None
        while self._kept:
            left_s = next(iter(self._kept.values()))[0] - time.monotonic()
            if left_s > 0:
                self._timer = asyncio.get_running_loop().call_later(left_s, self._let_go)
                return
            self._drop(next(iter(self._kept)))

    def _drop(self, job_id: JobId) -> None:
        self._bytes -= self._kept.pop(job_id)[1]
