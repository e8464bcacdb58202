"""Who waits for a model, in the order of their turn: where a request stands in its queue.

One read a moment serves every poller of a model, however many there are.
"""

from bisect import bisect_left

from calotype.db import Database, Sql
from calotype.jobs.types import JobRow
from calotype.kernel.clock import Clock

MOST = 1000
"""A line is looked at up to here; who stands further back is told this number."""
FRESH_MS = 250
MODELS = 1000

_WAITING = Sql(
    "SELECT priority, id FROM job WHERE state IN ('queued', 'submitting', 'running', 'storing') AND state = 'queued'"
    " AND model = :model ORDER BY priority DESC, id LIMIT :most"
)


class Positions:
    """The lines of requests that are queued and not begun."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._lines: dict[str, tuple[int, list[tuple[int, str]]]] = {}

    async def ahead(self, job: JobRow) -> int:
        """Count the requests for the same model that come before this one."""
        return bisect_left(await self._line(job.model), (-job.priority, job.id))

    async def length(self, model: str) -> int:
        """Count the requests that wait for a model."""
        return len(await self._line(model))

    async def _line(self, model: str) -> list[tuple[int, str]]:
        now_ms = self._clock.now_ms()
        known = self._lines.get(model)
        if known is not None and 0 <= now_ms - known[0] < FRESH_MS:
            return known[1]
        rows = await self._db.read(lambda tx: tx.rows(_WAITING, {"model": model, "most": MOST}))
        line = [(-row[0], row[1]) for row in rows]
        if len(self._lines) >= MODELS:
            self._lines.clear()
        self._lines[model] = (now_ms, line)
        return line
