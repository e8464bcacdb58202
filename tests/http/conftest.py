"""Clients for the tests of this room."""

from collections.abc import AsyncIterator

import pytest

from calotype.http import Upstream


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream("acme", pool_size=4)
    yield made
    await made.close()
