"""Wakes who waits: the runner when something is due, callers when their job has ended.

A wake-up is only a hint; whoever is woken reads the row. In one process it is an event; with PostgreSQL the hints also
travel between processes (`postgres_bus.py`).
"""

import asyncio

from calotype.db import Store
from calotype.db.connection import store_of
from calotype.kernel.ids import JobId


class Bus:
    """Wake-ups inside one process."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self._waiting: dict[JobId, set[asyncio.Future[None]]] = {}

    async def start(self) -> None:
        """Begin to listen to other processes, if there can be any."""

    async def close(self) -> None:
        """Stop listening."""

    def due(self) -> None:
        """Say that a job may be due now."""
        self.wake.set()

    def changed(self, job_id: JobId) -> None:
        """Say that a job has ended or moved."""
        self._tell(job_id)

    def _tell(self, job_id: JobId) -> None:
        for future in self._waiting.pop(job_id, ()):
            if not future.done():
                future.set_result(None)

    def subscribe(self, job_id: JobId) -> asyncio.Future[None]:
        """Return a future that ends with the job's next change; subscribe first, then read the row."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(future)
        return future

    def unsubscribe(self, job_id: JobId, future: asyncio.Future[None]) -> None:
        """Forget a subscription that is no longer awaited."""
        waiting = self._waiting.get(job_id)
        if waiting is not None:
            waiting.discard(future)
            if not waiting:
                del self._waiting[job_id]


def open_bus(url: str) -> Bus:
    """Return the bus that fits a database URL."""
    if store_of(url) is not Store.POSTGRES:
        return Bus()
    from calotype.events.postgres_bus import PostgresBus  # noqa: PLC0415  (brings a driver that SQLite never needs)

    return PostgresBus(url)
