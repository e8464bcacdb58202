"""A table of notes in the database of each test, and a listener at the named points."""

from collections.abc import Callable, Iterator

import pytest
import structlog
from notes import CREATE

from calotype.db import Database
from calotype.kernel import points


@pytest.fixture
async def notes(db: Database) -> Database:
    await db.write(lambda tx: tx.execute(CREATE))
    return db


@pytest.fixture
def at_point(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], None]], None]:
    """Attach a listener to the named points for the length of a test."""
    return lambda listener: monkeypatch.setattr(points, "on_point", listener)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failed writes are logged with their tracebacks, and here most failures are meant."""
    with structlog.testing.capture_logs():
        yield
