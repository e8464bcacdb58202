"""The schema of a database as a start finds it: one look, and Alembic only where something has to change."""

from functools import cache
from pathlib import Path

from calotype.db.connection import Connection, file_of
from calotype.db.sql import Sql

SCRIPTS = Path(__file__).parent / "migrations"
_REVISION = Sql("SELECT version_num FROM alembic_version")

_NO_TABLE = "42P01"


class UnknownRevisionError(Exception):
    """The database was written by a newer version of the server."""


def bring_up(url: str) -> None:
    """Create or change the schema until it is this version's.

    Raises:
        UnknownRevisionError: the database is newer than this version.
        TimeoutError: another process was changing the schema for ten minutes.

    """
    if current(url) == newest():
        return
    from calotype.db.migrate import upgrade  # noqa: PLC0415  (Alembic's 17 MiB stay out of a server that needs none)

    upgrade(url)


@cache
def newest() -> str:
    """Return the newest revision of the history; its files are named by their revisions."""
    return max(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*.py"))


def current(url: str) -> str | None:
    """Return the revision of a database; None where nothing was created yet."""
    file = file_of(url)
    if file is not None and not file.exists():
        return None
    connection = Connection(url, read_only=True)
    try:
        rows = connection.reading().rows(_REVISION)
    except Exception as error:
        if getattr(error, "sqlstate", None) == _NO_TABLE or "no such table" in str(error):
            return None
        raise
    finally:
        connection.close()
    return str(rows[0][0]) if rows else None
