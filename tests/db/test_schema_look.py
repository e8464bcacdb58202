"""What a start finds out about a database without Alembic, and what it loads."""

import subprocess
import sys
from pathlib import Path

import pytest

from calotype.db import migrate
from calotype.db.connection import Connection, file_of, store_of
from calotype.db.schema import UnknownRevisionError, bring_up, newest
from calotype.db.sql import Sql, Store

LOADED = """
import asyncio, sys
import calotype.cli
from calotype.app import App
from calotype.settings import Settings


async def main() -> None:
    app = App(Settings(data_dir=sys.argv[1]))
    await app.start()
    await app.stop()


asyncio.run(main())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_newest_revision_is_read_from_the_names_of_the_steps() -> None:
    assert newest() == migrate.head()


def test_an_empty_database_is_brought_up_and_a_second_look_changes_nothing(empty_url: str) -> None:
    bring_up(empty_url)
    assert migrate.current(empty_url) == newest()
    bring_up(empty_url)
    assert migrate.current(empty_url) == newest()


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    connection = Connection(database_url)
    connection.reading().execute(Sql("UPDATE alembic_version SET version_num = '9999'"))
    connection.close()
    with pytest.raises(UnknownRevisionError, match="9999"):
        bring_up(database_url)


def test_a_command_and_a_server_on_sqlite_load_no_driver_no_orm_and_no_migrations(tmp_path: Path) -> None:
    bring_up(f"sqlite:///{tmp_path / 'calotype.db'}")
    command = [sys.executable, "-c", LOADED, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    loaded = set(said.splitlines()[-1].split())
    assert not loaded & {"alembic", "mako", "psycopg", "sqlalchemy"}


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////var/lib/calotype.db", Path("/var/lib/calotype.db")),
        ("sqlite:///here/calotype.db", Path("here/calotype.db")),
        ("sqlite+pysqlite:///here.db?timeout=3", Path("here.db")),
        ("sqlite://", None),
        ("postgresql://me@host/name", None),
    ],
)
def test_a_url_names_a_file_or_none(url: str, file: Path | None) -> None:
    assert file_of(url) == file


@pytest.mark.parametrize("url", ["mysql://host/name", "calotype.db", ""])
def test_a_url_of_another_database_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(ValueError, match="use sqlite:///path or postgresql://host/name"):
        store_of(url)


def test_a_driver_in_the_url_of_postgres_is_understood() -> None:
    from calotype.db.postgres import conninfo_of

    assert store_of("postgresql+psycopg://me@host/name") is Store.POSTGRES
    assert conninfo_of("postgresql+psycopg://me@host/name?x=1") == "postgresql://me@host/name?x=1"
