"""Bring a database to the schema of this version: Alembic, run from code, safe when two processes start at once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import OperationalError

from calotype.db.connection import Fault, fault_of, file_of, store_of
from calotype.db.engine import open_engine
from calotype.db.metadata import metadata  # also how a BigInteger is spelled on SQLite
from calotype.db.schema import SCRIPTS, UnknownRevisionError, current
from calotype.db.sql import Store

WAIT_S = 600.0
"""How long one process waits for another's migration."""

_LOCK = 0x63616C6F74797065
"""PostgreSQL's advisory lock of the migration, "calotype" in ASCII."""


def config(connection: Connection | None = None, target_metadata: MetaData = metadata) -> Config:
    """Return Alembic's configuration; nothing is read from a file and logging stays as it is."""
    found = Config()
    found.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    found.attributes["connection"] = connection
    found.attributes["target_metadata"] = target_metadata
    return found


def head() -> str:
    """Return the newest revision this version knows.

    Raises:
        LookupError: the history is empty.

    """
    revision = ScriptDirectory.from_config(config()).get_current_head()
    if revision is None:
        raise LookupError("there is no revision yet")
    return revision


def needs_upgrade(url: str) -> bool:
    """Say whether the database has another schema than this version needs."""
    return current(url) != head()


def upgrade(url: str) -> None:
    """Create or change the schema until it is this version's; a second process waits and finds nothing to do.

    Either every step is kept or none.

    Raises:
        UnknownRevisionError: the database is newer than this version.
        TimeoutError: another process held the lock for ten minutes.

    """
    if (file := file_of(url)) is not None and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = open_engine(url)
    try:
        with engine.connect() as connection, _locked(connection, store_of(url)):
            before = _revision(connection)
            if before is not None and before not in _known():
                raise UnknownRevisionError(
                    f"the database has the schema {before}, which this version does not know: use the newer version"
                )
            command.upgrade(config(connection), "head")
    finally:
        engine.dispose()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _known() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}


@contextmanager
def _locked(connection: Connection, store: Store) -> Iterator[None]:
    """Hold the database for ourselves in a transaction that ends with the block; the lock ends with the connection.

    PostgreSQL's lock is asked for again and again instead of waited for: a waiting statement would be an open snapshot,
    on which `CREATE INDEX CONCURRENTLY` of the process that migrates would wait in turn.
    """
    until = time.monotonic() + WAIT_S
    while not (_take_postgres if store is Store.POSTGRES else _take_sqlite)(connection):
        if time.monotonic() > until:
            raise TimeoutError("another process is changing the schema")
        time.sleep(0.05)
    try:
        yield
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def _take_postgres(connection: Connection) -> bool:
    if not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK})").scalar():
        return False
    connection.exec_driver_sql("BEGIN")
    return True


def _take_sqlite(connection: Connection) -> bool:
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except OperationalError as error:
        if fault_of(error) is Fault.AGAIN:
            return False
        raise
    return True
