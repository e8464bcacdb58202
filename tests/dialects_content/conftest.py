"""A running server with an emulator of fal behind it, and a buyer of content."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from content_buyer import Buyer

from calotype.providers.base import PollSchedule
from calotype.sandbox.fal import Fal as FalEmulator
from calotype.sandbox.serve import on_a_thread
from postbox import Postbox
from running import Account, House, hurry, running

GENERATE_MICRO = 210_000
"""What the operator of this server asks for one picture."""


@pytest.fixture(scope="session")
def _fal() -> Iterator[FalEmulator]:
    emulator = FalEmulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def fal(_fal: FalEmulator) -> FalEmulator:
    """Return the emulator with an empty memory."""
    _fal.reset()
    return _fal


@pytest.fixture(scope="session")
def postbox() -> Iterator[Postbox]:
    box = Postbox()
    yield box
    box.stop()


@pytest.fixture(scope="session")
def house(_fal: FalEmulator, postbox: Postbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return the server, looking at fal many times a second; one price is the operator's own."""
    settings: dict[str, Any] = {
        "providers": {"fal": {"api_key": "sandbox:key", "base_url": f"{_fal.url}/queue"}},
        "prices": {"content-image-generate": GENERATE_MICRO},
        "security": {"allowed_private_hosts": [postbox.host]},
    }
    with running(tmp_path_factory.mktemp("house"), **settings) as one:
        hurry(one, PollSchedule(first_s=0.01, factor=1.01, max_s=0.02), "fal")
        yield one


@pytest.fixture
def account(house: House) -> Account:
    return house.account()


@pytest.fixture
def buyer(house: House, account: Account, fal: FalEmulator) -> Iterator[Buyer]:
    with httpx2.Client(base_url=house.url, timeout=60) as client:
        yield Buyer(client, account.key())
