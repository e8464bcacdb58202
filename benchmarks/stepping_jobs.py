"""A provider whose jobs are a tenth further at each poll, and which notes when it said so."""

import time
from collections import Counter
from pathlib import Path

from benchmarks.waiting_jobs import Instant
from calotype.kernel.outcome import Outcome, Pending
from calotype.providers.base import Handle

EVERY_S = 4.0
STEPS = 9
"""Tenths of progress a job shows; it does not end."""
_LATER_S = 3600.0


class Stepping(Instant):
    """Answers each poll at once and appends `job percent nanoseconds` (of the monotonic clock) to a file."""

    kind = name = "bench_step"

    def __init__(self, marks: Path) -> None:
        super().__init__(marks)
        self._said: Counter[str] = Counter()

    async def poll(self, handle: Handle) -> Outcome:
        """Answer that it is a tenth further."""
        job_id = str(handle["id"])
        if self._said[job_id] >= STEPS:
            return Pending(handle, poll_after_s=_LATER_S, progress=STEPS / 10)
        self._said[job_id] += 1
        tenths = self._said[job_id]
        with self._marks.open("ab", buffering=0) as file:
            file.write(f"{job_id} {tenths * 10} {time.monotonic_ns()}\n".encode())
        return Pending(handle, progress=tenths / 10 + 0.001, poll_after_s=EVERY_S)
