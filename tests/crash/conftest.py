"""An installation with one funded key on either store, an emulated upstream, and servers that die when told to."""

import asyncio
import contextlib
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from calotype.accounts import Accounts
from calotype.db import Database
from calotype.db.migrate import upgrade
from calotype.kernel.clock import SystemClock
from calotype.kernel.generation import KeyClass
from calotype.ledger.ledger import Ledger
from calotype.sandbox.upstream import Emulator
from crash.house import GRANT_MICRO, House, Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """Return an emulator that runs in a thread with a loop of its own."""
    emulator, loop = Emulator(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(emulator.start(), loop).result(10)
    yield emulator
    asyncio.run_coroutine_threadsafe(emulator.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


async def furnish(url: str) -> str:
    """Bring a database up to date, fund its organisation and return the text of a paid key."""
    await asyncio.to_thread(upgrade, url)
    db = Database(url)
    db.start()
    accounts = Accounts(db, SystemClock())
    await accounts.start()
    org = await accounts.get_org("default")
    _, text = await accounts.create_key(name="crash", key_class=KeyClass.PAID)
    await Ledger(db, SystemClock()).credit(org.id, GRANT_MICRO)
    await asyncio.to_thread(db.close)
    return text


@pytest.fixture(scope="session")
def sqlite_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("model") / "calotype.db"
    return path, asyncio.run(furnish(f"sqlite:///{path}"))


@pytest.fixture(scope="session")
def postgres_model(postgres: str) -> tuple[str, str]:
    name = "crash_model"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return name, asyncio.run(furnish(postgres.replace("/postgres?", f"/{name}?", 1)))


@contextlib.contextmanager
def postgres_house(request: pytest.FixtureRequest, folder: Path) -> Iterator[House]:
    """Make an installation on a PostgreSQL database of its own."""
    server = request.getfixturevalue("postgres")
    model, key = request.getfixturevalue("postgres_model")
    name = f"crash_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {model}")
    url = server.replace("/postgres?", f"/{name}?", 1)
    house = House(url, folder, key, request.getfixturevalue("nursery"), request.getfixturevalue("emulator"))
    try:
        yield house
    finally:
        house.close()
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def house(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    """Return an installation with its own copy of the data; its servers die with the test."""
    if store == "postgresql":
        with postgres_house(request, tmp_path) as house:
            yield house
        return
    model, key = request.getfixturevalue("sqlite_model")
    shutil.copy(model, tmp_path / "calotype.db")
    nursery, emulator = request.getfixturevalue("nursery"), request.getfixturevalue("emulator")
    house = House(f"sqlite:///{tmp_path / 'calotype.db'}", tmp_path, key, nursery, emulator)
    yield house
    house.close()


@pytest.fixture
def shared(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    """Return an installation on PostgreSQL whose servers share a media folder, as machines share a bucket."""
    (tmp_path / "media").mkdir()
    for name in ("data", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "media").symlink_to(tmp_path / "media")
    with postgres_house(request, tmp_path) as house:
        yield house
