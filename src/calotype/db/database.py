"""The database as the rest of the house sees it: submit a command, write alone, read."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from calotype.db.connection import IDLE_S, Connection, Fault, fault_of, file_of, store_of
from calotype.db.sql import Store
from calotype.db.tx import Tx
from calotype.db.writer import MAX_BATCH, MAX_WAITING, PATIENCE_S, Command, Writer
from calotype.kernel.errors import Code, Problem

R = TypeVar("R")

READERS = 4


class Database:
    """One writer and a few read-only connections on one SQLite file or one PostgreSQL database."""

    def __init__(
        self,
        url: str,
        *,
        readers: int = READERS,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        patience_s: float = PATIENCE_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self.url = url
        self.store: Store = store_of(url)
        if (file := file_of(url)) is not None:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.writer = Writer(
            lambda: Connection(url, idle_s=idle_s),
            max_batch=max_batch,
            max_waiting=max_waiting,
            patience_s=patience_s,
        )
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="calotype-reader")
        self._local = threading.local()
        self._open: list[Connection] = []

    def start(self) -> None:
        """Open the writer's connection.

        Raises:
            Exception: the database cannot be reached.

        """
        self.writer.start()

    def submit(self, command: Command[R]) -> Awaitable[R]:
        """Queue a command for the next batch and return what ends when it is durable.

        Raises:
            Problem: the command was refused, or the database cannot write.

        """
        return self.writer.submit(command)

    def write(self, fn: Callable[[Tx], R]) -> Awaitable[R]:
        """Run a rare write alone in its transaction, on the writer's thread.

        Raises:
            Problem: what `fn` raised to refuse, or the database cannot write.

        """
        return self.writer.call(fn)

    async def read(self, fn: Callable[[Tx], R], *, snapshot: bool = False) -> R:
        """Run a reading function on a read-only connection; with `snapshot` all its statements see one moment."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn, snapshot)

    def _read(self, fn: Callable[[Tx], R], snapshot: bool) -> R:
        for tried in (1, 2):
            try:
                connection = self._reader()
                if not snapshot:
                    return fn(connection.reading())
                tx = connection.begin_snapshot()
                try:
                    return fn(tx)
                finally:
                    connection.rollback()
            except Exception as error:
                writes = getattr(error, "sqlite_errorname", "") == "SQLITE_READONLY"
                if writes or fault_of(error) is Fault.OTHER:
                    raise
                self._forget_reader()
                if tried == 2:
                    raise Problem(
                        Code.UNAVAILABLE, "The database is not reachable right now.", retry_after_s=1
                    ) from error
        raise AssertionError("the loop above returns or raises")

    def _reader(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = Connection(self.url, read_only=True)
            self._open.append(connection)
        return connection

    def _forget_reader(self) -> None:
        connection: Connection | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            self._open.remove(connection)
            with contextlib.suppress(Exception):  # it is broken already
                connection.close()

    def close(self) -> None:
        """Finish the writes that wait and close every connection; blocks until done."""
        self.writer.close()
        self._readers.shutdown(wait=True)
        for connection in self._open:
            connection.close()
        self._open.clear()
