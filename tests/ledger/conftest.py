"""The ledger's tables with their triggers."""

import pytest
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
