"""The ledger's tables with their triggers."""

from collections.abc import Iterator

import pytest
import structlog
from moves import protect

from calotype.db import Database
from calotype.kernel.clock import ManualClock
from calotype.ledger.ledger import Ledger


@pytest.fixture
def database_url(database_url: str) -> str:
    protect(database_url)
    return database_url


@pytest.fixture
def ledger(db: Database) -> Ledger:
    return Ledger(db, ManualClock())


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failed writes are logged with their tracebacks, and here most failures are meant."""
    with structlog.testing.capture_logs():
        yield
