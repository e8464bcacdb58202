"""A running server with emulators of the three makers behind it, and a caller of the image dialect."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from image_caller import Caller

from calotype.providers.base import PollSchedule
from calotype.sandbox.base import Emulator
from calotype.sandbox.bfl import Bfl as BflEmulator
from calotype.sandbox.fal import Fal as FalEmulator
from calotype.sandbox.google import Google as GoogleEmulator
from calotype.sandbox.serve import on_a_thread
from postbox import Postbox
from running import Account, House, hurry, running

SOON = PollSchedule(first_s=0.01, factor=1.01, max_s=0.02)


@pytest.fixture(scope="session")
def emulators() -> Iterator[dict[str, Emulator]]:
    with on_a_thread(FalEmulator()) as fal, on_a_thread(BflEmulator()) as bfl, on_a_thread(GoogleEmulator()) as google:
        yield {"fal": fal, "bfl": bfl, "google": google}


@pytest.fixture(scope="session")
def postbox() -> Iterator[Postbox]:
    box = Postbox()
    yield box
    box.stop()


@pytest.fixture(scope="session")
def house(
    emulators: dict[str, Emulator], postbox: Postbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Return the server, looking at its upstreams many times a second."""
    providers: dict[str, Any] = {
        "fal": {"api_key": "sandbox:key", "base_url": f"{emulators['fal'].url}/queue"},
        "bfl": {"api_key": "bfl-sandbox", "base_url": emulators["bfl"].url},
        "google": {"api_key": "sandbox-key", "base_url": emulators["google"].url},
    }
    settings: dict[str, Any] = {"margin_bps": 1000, "security": {"allowed_private_hosts": [postbox.host]}}
    with running(tmp_path_factory.mktemp("house"), providers=providers, **settings) as one:
        hurry(one, SOON, *providers)
        yield one


@pytest.fixture
def upstreams(emulators: dict[str, Emulator]) -> dict[str, Emulator]:
    """Return the emulators with empty memories."""
    for one in emulators.values():
        one.reset()
    return emulators


@pytest.fixture
def account(house: House, upstreams: dict[str, Emulator]) -> Account:
    return house.account()


@pytest.fixture
def caller(house: House, account: Account) -> Iterator[Caller]:
    with httpx2.Client(base_url=house.url, timeout=60) as client:
        yield Caller(client, account.key())
