"""One database connection and what its errors mean, for each store."""

import sqlite3
from enum import Enum, auto
from pathlib import Path
from typing import Any

from calotype.db.sql import Store
from calotype.db.tx import Tx


class Fault(Enum):
    """What a database error means for the batch it hit."""

    AGAIN = auto()
    """Deadlock, serialisation failure, busy: the same batch may succeed at once."""
    LOST = auto()
    """The connection is gone."""
    FULL = auto()
    """No room or a broken disk: nothing was written."""
    OTHER = auto()
    """The statement itself is wrong, or a rule of the schema refused it."""


_MARK_KEPT_MS = 30 * 24 * 3_600_000
_OPEN_MARK = "INSERT INTO write_mark (writer, batch, at_ms) VALUES (%s, 0, %s) ON CONFLICT (writer) DO NOTHING"
_MARK = (
    "INSERT INTO write_mark (writer, batch, at_ms) VALUES (%s, %s, %s)"
    " ON CONFLICT (writer) DO UPDATE SET batch = EXCLUDED.batch, at_ms = EXCLUDED.at_ms"
)
_END_LOST = (
    "SELECT pg_terminate_backend(a.pid) FROM write_mark m JOIN pg_stat_activity a ON a.backend_xid = m.xmax"
    " WHERE m.writer = %s AND a.pid <> pg_backend_pid()"
)

_LOCKED = "55P03"
WRITE_AS = "use sqlite:///path or postgresql://host/name"
IDLE_S = 20.0
"""A process that was paused in the middle of a batch loses it after this long, and with it the rows it locked."""

_SQLITE_AGAIN = {"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_BUSY_SNAPSHOT", "SQLITE_BUSY_RECOVERY", "SQLITE_PROTOCOL"}
_SQLITE_FULL = {"SQLITE_FULL", "SQLITE_READONLY", "SQLITE_NOMEM", "SQLITE_CANTOPEN"}


_PRAGMAS = (
    "busy_timeout=10000",
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=4000",
    "temp_store=MEMORY",  # else a batch that might be undone by halves writes its old pages to a file in /tmp first
    "recursive_triggers=ON",  # REPLACE deletes rows: the ledger's triggers must see it
)


def fault_of(error: BaseException) -> Fault:
    """Classify an error raised by a statement, BEGIN or COMMIT; SQLAlchemy's carry the driver's own in `orig`."""
    inner = getattr(error, "orig", None)
    if isinstance(inner, BaseException):
        error = inner
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "") or ""
        if name in _SQLITE_AGAIN:
            return Fault.AGAIN
        if name in _SQLITE_FULL or name.startswith("SQLITE_IOERR"):
            return Fault.FULL
        return Fault.OTHER
    if is_postgres(error):
        import psycopg  # noqa: PLC0415  (loaded already, as the error shows)

        state = getattr(error, "sqlstate", None) or ""
        if state in ("40001", "40P01", _LOCKED):
            return Fault.AGAIN
        if state.startswith("53"):  # insufficient resources: disk full, out of memory, too many connections
            return Fault.FULL if state == "53100" else Fault.LOST
        if state.startswith(("57P", "08", "25P03")) or (isinstance(error, psycopg.OperationalError) and not state):
            return Fault.LOST
        return Fault.OTHER
    return Fault.OTHER


def is_postgres(error: BaseException) -> bool:
    """Say whether an error is psycopg's, without loading psycopg where nothing else did."""
    return hasattr(error, "sqlstate")


def store_of(url: str) -> Store:
    """Say which store a database URL names.

    Raises:
        ValueError: neither SQLite nor PostgreSQL.

    """
    scheme, colon, _ = url.partition("://")
    name = scheme.partition("+")[0]
    if colon and name == "sqlite":
        return Store.SQLITE
    if colon and name in ("postgresql", "postgres"):
        return Store.POSTGRES
    raise ValueError(f"unsupported database {name if colon else ''!r}: {WRITE_AS}")


def file_of(url: str) -> Path | None:
    """Return the file of an SQLite URL: `sqlite:///relative` or `sqlite:////absolute`; None where it names none."""
    if store_of(url) is not Store.SQLITE:
        return None
    name = url.partition("://")[2].partition("?")[0].removeprefix("/")
    return Path(name) if name else None


def open_driver(url: str) -> Any:
    """Return a new connection of the store's own driver, in autocommit: transactions are begun explicitly.

    Neither driver is loaded before a database of its kind is opened.
    """
    if store_of(url) is Store.POSTGRES:
        from calotype.db.postgres import open_postgres  # noqa: PLC0415  (7 MiB that SQLite never needs)

        return open_postgres(url)
    connection = sqlite3.connect(
        file_of(url) or ":memory:", timeout=10.0, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()
    return connection


class Connection:
    """A connection with explicit transactions, owned by one thread."""

    def __init__(self, url: str, *, read_only: bool = False, idle_s: float = IDLE_S) -> None:
        self.store = store_of(url)
        self._dbapi = open_driver(url)
        self._cursor = self._dbapi.cursor()
        if read_only:
            statement = (
                "PRAGMA query_only=ON" if self.store is Store.SQLITE else "SET default_transaction_read_only = on"
            )
            self._cursor.execute(statement)
        elif self.store is Store.POSTGRES:
            self._cursor.execute(f"SET idle_in_transaction_session_timeout = {round(idle_s * 1000)}")

    def begin(self) -> Tx:
        """Open a writing transaction; on SQLite it takes the write lock at once."""
        self._cursor.execute("BEGIN IMMEDIATE" if self.store is Store.SQLITE else "BEGIN")
        return Tx(self._cursor, self.store)

    def begin_snapshot(self) -> Tx:
        """Open a reading transaction in which every statement sees the same moment."""
        lite = self.store is Store.SQLITE
        self._cursor.execute("BEGIN" if lite else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return Tx(self._cursor, self.store)

    def reading(self) -> Tx:
        """Return a `Tx` whose statements each stand alone."""
        return Tx(self._cursor, self.store)

    @property
    def in_transaction(self) -> bool:
        """Whether the transaction that was begun still exists and can be committed."""
        if self.store is Store.SQLITE:
            return bool(self._dbapi.in_transaction)
        return bool(self._dbapi.info.transaction_status.name == "INTRANS")

    def open_mark(self, writer: str, now_ms: int) -> None:
        """Give the writer its row, and remove those of writers long gone."""
        self._cursor.execute("DELETE FROM write_mark WHERE at_ms < %s", (now_ms - _MARK_KEPT_MS,))
        self._cursor.execute(_OPEN_MARK, (writer, now_ms))

    def mark(self, writer: str, batch: int, now_ms: int) -> None:
        """Write the number of this batch into the transaction."""
        self._cursor.execute(_MARK, (writer, batch, now_ms))

    def marked(self, writer: str) -> int:
        """Return the number of the last batch that was kept, once no earlier transaction of the writer is open.

        A transaction that stays open, because the server did not notice that its client is gone, is ended there.

        Raises:
            Exception: it cannot be found out yet.

        """
        self._cursor.execute("SET lock_timeout = '1s'")
        try:
            row = self._cursor.execute(
                "SELECT batch FROM write_mark WHERE writer = %s FOR UPDATE", (writer,)
            ).fetchone()
        except Exception as error:
            if getattr(error, "sqlstate", None) == _LOCKED:
                self._cursor.execute(_END_LOST, (writer,))
            raise
        self._cursor.execute("RESET lock_timeout")
        return 0 if row is None else int(row[0])

    def commit(self) -> None:
        """Make the transaction durable."""
        self._cursor.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction if there still is one."""
        if self.store is Store.SQLITE:
            if self._dbapi.in_transaction:
                self._cursor.execute("ROLLBACK")
        elif not self._dbapi.closed and self._dbapi.info.transaction_status.name != "IDLE":
            self._cursor.execute("ROLLBACK")

    def close(self) -> None:
        """Give the connection back to the operating system."""
        self._dbapi.close()
