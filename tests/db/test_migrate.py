"""The schema is brought up to date once, whole, by whichever process comes first."""

import asyncio
import logging
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from notes import engine_of
from sqlalchemy.exc import DatabaseError

from calotype.db import migrate

STEP = '''
"""{revision}."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {before!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    {what}


def downgrade() -> None:
    raise NotImplementedError
'''
# Without the lock both processes find the table missing: the check comes first, the creation much later.
SLOW = """op.create_table("first", sa.Column("id", sa.Text, primary_key=True))
    op.execute("INSERT INTO first (id) VALUES ('made once')")
    import time; time.sleep(0.3)"""
SECOND = """op.create_table("second", sa.Column("id", sa.Text, primary_key=True))"""
CHANGE = """with op.batch_alter_table("first") as table:
        table.add_column(sa.Column("more", sa.Text, nullable=False, server_default="x"))"""
BROKEN = """op.create_table("third", sa.Column("id", sa.Text, primary_key=True))
    op.execute("INSERT INTO nowhere VALUES (1)")"""
START = """
import sys
from pathlib import Path
from calotype.db import migrate
migrate.SCRIPTS = Path(sys.argv[1])
migrate.upgrade(sys.argv[2])
"""


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A history of its own beside the package's env.py, in a folder with a name Alembic could misread."""
    folder = tmp_path / "100%(here)s"
    (folder / "versions").mkdir(parents=True)
    for name in ("env.py", "script.py.mako"):
        (folder / name).write_text((migrate.SCRIPTS / name).read_text())
    monkeypatch.setattr(migrate, "SCRIPTS", folder)
    step(folder, "a1", None, SLOW)
    step(folder, "a2", "a1", SECOND)
    return folder


def step(folder: Path, revision: str, before: str | None, what: str) -> None:
    text = STEP.format(revision=revision, before=before, what=what)
    (folder / "versions" / f"{revision}.py").write_text(text)


@pytest.fixture
def empty_url(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if store == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'folder' / 'calotype.db'}"
        return
    server, name = request.getfixturevalue("postgres"), f"migrate_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield server.replace("/postgres?", f"/{name}?", 1)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = engine_of(url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]
    finally:
        engine.dispose()


def test_an_empty_database_is_brought_to_the_newest_schema(scripts: Path, empty_url: str) -> None:
    assert migrate.head() == "a2"
    assert migrate.current(empty_url) is None
    assert migrate.needs_upgrade(empty_url)
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == "a2"
    assert not migrate.needs_upgrade(empty_url)
    migrate.upgrade(empty_url)
    assert rows(empty_url, "SELECT id FROM first") == [("made once",)]


def test_to_look_at_a_database_creates_nothing(scripts: Path, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "calotype.db"
    assert migrate.current(f"sqlite:///{path}") is None
    assert not path.parent.exists()


def test_a_further_step_keeps_what_is_there(scripts: Path, empty_url: str) -> None:
    migrate.upgrade(empty_url)
    step(scripts, "a3", "a2", CHANGE)
    assert migrate.needs_upgrade(empty_url)
    migrate.upgrade(empty_url)
    assert rows(empty_url, "SELECT id, more FROM first") == [("made once", "x")]


def test_a_step_that_fails_leaves_the_database_as_it_was(scripts: Path, empty_url: str) -> None:
    migrate.upgrade(empty_url)
    step(scripts, "a3", "a2", CHANGE)
    step(scripts, "a4", "a3", BROKEN)
    with pytest.raises(Exception, match="nowhere"):
        migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == "a2"
    assert rows(empty_url, "SELECT * FROM first") == [("made once",)]
    with pytest.raises(Exception, match="third"):
        rows(empty_url, "SELECT * FROM third")


def test_a_database_of_a_newer_version_is_left_alone(scripts: Path, empty_url: str) -> None:
    migrate.upgrade(empty_url)
    (scripts / "versions" / "a2.py").unlink()
    assert migrate.needs_upgrade(empty_url)
    with pytest.raises(migrate.UnknownRevisionError, match="a2"):
        migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == "a2"


async def test_two_processes_that_start_at_once_upgrade_once(scripts: Path, empty_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", START, str(scripts), empty_url, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in processes:
        _, complaint = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, complaint.decode()
        assert complaint == b""
    assert rows(empty_url, "SELECT id FROM first") == [("made once",)]
    assert migrate.current(empty_url) == "a2"


def test_logging_stays_as_it_was(scripts: Path, empty_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    watched = [logging.getLogger(), logging.getLogger("alembic"), logging.getLogger("sqlalchemy.engine")]
    before = [(logger.level, list(logger.handlers), logger.disabled) for logger in watched]
    migrate.upgrade(empty_url)
    assert [(logger.level, list(logger.handlers), logger.disabled) for logger in watched] == before
    assert capfd.readouterr() == ("", "")


def test_an_empty_history_has_no_head(scripts: Path, empty_url: str) -> None:
    for name in ("a1", "a2"):
        (scripts / "versions" / f"{name}.py").unlink()
    with pytest.raises(LookupError):
        migrate.head()


OWN = """
import sys
from calotype.db import migrate
migrate.upgrade(sys.argv[1])
"""
REWRITES = ("UPDATE journal SET memo = NULL", "DELETE FROM journal")


async def test_the_packages_own_history_runs_in_a_process_that_knows_nothing_else(empty_url: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", OWN, empty_url)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    assert migrate.current(empty_url) == migrate.head()
    engine = engine_of(empty_url)
    journal = "INSERT INTO journal (id, kind, org_id, created_at_ms) VALUES ('j', 'grant', 'acme', 1)"
    with engine.begin() as connection:
        connection.exec_driver_sql(journal)
    for rewrite in REWRITES:
        with engine.begin() as connection, pytest.raises(DatabaseError, match="append-only"):
            connection.exec_driver_sql(rewrite)
    engine.dispose()


def test_the_packages_own_scripts_are_where_they_are_looked_for() -> None:
    assert Path(migrate.__file__).parent / "migrations" == migrate.SCRIPTS
    assert {"env.py", "script.py.mako", "versions"} <= {path.name for path in migrate.SCRIPTS.iterdir()}
