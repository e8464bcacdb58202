"""One server and its emulated upstreams for all tests of the jobs API; each test has its own organisation."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from jobs_kit import Emulated, JobsUser, emulated, serving

from running import Account, House


@pytest.fixture(scope="session")
def _emulated() -> Iterator[Emulated]:
    yield from emulated()


@pytest.fixture
def upstreams(_emulated: Emulated) -> Emulated:
    """Return the emulators with empty memories."""
    _emulated.reset()
    return _emulated


@pytest.fixture(scope="session")
def jobs_house(_emulated: Emulated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return the running server."""
    folder: Path = tmp_path_factory.mktemp("jobs-house")
    yield from serving(_emulated, folder)


@pytest.fixture
def account(jobs_house: House, upstreams: Emulated) -> Account:
    """Return an organisation with a thousand credits, of this test alone."""
    return jobs_house.account(micro=1000 * 30_000)


@pytest.fixture
def user(account: Account) -> JobsUser:
    """Return a caller with a key of that organisation, whose rate is no matter here."""
    return JobsUser(account, requests_per_minute=1_000_000)
