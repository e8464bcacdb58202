"""The server of the tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from refusal_house import Surface, surface


@pytest.fixture(scope="session")
def _surface(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surface]:
    folder: Path = tmp_path_factory.mktemp("refusals")
    with surface(folder) as one:
        yield one


@pytest.fixture
def asked(_surface: Surface) -> Iterator[Surface]:
    """Return the server, and hold it to that nothing came of what was asked of it."""
    before = _surface.traces
    yield _surface
    assert _surface.traces == before
