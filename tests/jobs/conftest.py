"""Databases as a server finds them: migrated, empty but for the default organisation."""

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog

from calotype.db.migrate import upgrade
from jobs.kit import at_home


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "calotype.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> str:
    name = f"migrated_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    upgrade(postgres.replace("/postgres?", f"/{name}?", 1))
    return name


@contextlib.contextmanager
def copied(server: str, template: str) -> Iterator[str]:
    name = f"jobs_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.replace("/postgres?", f"/{name}?", 1)
    finally:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def url(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of a migrated database on the store of this run."""
    if store == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "calotype.db")
        yield f"sqlite:///{tmp_path / 'calotype.db'}"
    else:
        with copied(request.getfixturevalue("postgres"), request.getfixturevalue("migrated_template")) as found:
            yield found


@pytest.fixture
def home(url: str, tmp_path: Path) -> Callable[..., Any]:
    """Return what opens the application on this test's database."""
    return lambda *fakes, **how: at_home(url, tmp_path, *fakes, **how)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """Catch what is logged: most failures here are meant, and no payload may be in it."""
    with structlog.testing.capture_logs() as caught:
        yield caught
