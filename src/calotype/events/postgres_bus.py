"""Wake-ups between processes: NOTIFY, coalesced, on a connection of its own and never inside a writing transaction."""

import asyncio
import contextlib
from collections.abc import Iterable

import psycopg
import structlog

from calotype.db.postgres import conninfo_of
from calotype.events.bus import Bus
from calotype.kernel.ids import JobId

log = structlog.get_logger(__name__)

CHANNEL = "calotype"
NOTIFY_EVERY_S = 0.02
MAX_IDS = 150
"""Job ids in one notification: 36 bytes each, and PostgreSQL takes fewer than 8,000 bytes."""


class PostgresBus(Bus):
    """Wake-ups between processes on one PostgreSQL; a lost one only delays, for every reader also looks by itself."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = conninfo_of(url)
        self._due = False
        self._changed: set[JobId] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._outbox = asyncio.Event()

    async def start(self) -> None:
        """Begin to listen and to notify."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._notify())]

    async def close(self) -> None:
        """Stop both."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def due(self) -> None:
        """Wake our own runner and everybody else's."""
        super().due()
        self._due = True
        self._outbox.set()

    def changed(self, job_id: JobId) -> None:
        """Wake who waits for the job here and elsewhere."""
        super().changed(job_id)
        self._changed.add(job_id)
        self._outbox.set()

    async def _connect(self) -> "psycopg.AsyncConnection[tuple[object, ...]]":
        return await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=10)

    async def _listen(self) -> None:
        while True:
            try:
                async with await self._connect() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    async for notice in connection.notifies():
                        kind, _, rest = notice.payload.partition(":")
                        if kind == "due":
                            self.wake.set()
                        self._tell_all(JobId(item) for item in rest.split(",") if item)
            except psycopg.Error as error:
                log.warning("listen_lost", error=type(error).__name__)
                await asyncio.sleep(1)

    def _tell_all(self, job_ids: Iterable[JobId]) -> None:
        for job_id in job_ids:
            self._tell(job_id)

    async def _notify(self) -> None:
        while True:
            try:
                async with await self._connect() as connection:
                    while True:
                        await self._outbox.wait()
                        self._outbox.clear()
                        due, self._due = self._due, False
                        changed, self._changed = sorted(self._changed), set()
                        groups = [changed[i : i + MAX_IDS] for i in range(0, len(changed), MAX_IDS)] or [[]]
                        for group in groups:
                            payload = ("due:" if due else "end:") + ",".join(group)
                            await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
                        await asyncio.sleep(NOTIFY_EVERY_S)
            except psycopg.Error as error:
                log.warning("notify_lost", error=type(error).__name__)
                await asyncio.sleep(1)
