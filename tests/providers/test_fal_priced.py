"""A server whose costs were read from the upstream's own list: it charges them, and leaves emulated models for last."""

from collections.abc import Iterator

import httpx2
import pytest

from calotype.catalog.synced import write
from calotype.catalog.unit_prices import UnitPrice
from calotype.providers.base import PollSchedule
from calotype.providers.fal import Fal
from calotype.sandbox.fal import Fal as FalEmulator
from calotype.sandbox.serve import on_a_thread
from running import House, running

FLUX = "fal-ai/flux/dev"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return a server that knows what FLUX costs and not what other models do."""
    data_dir = tmp_path_factory.mktemp("house")
    emulator = FalEmulator()
    with on_a_thread(emulator), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fal, "schedule", PollSchedule(first_s=0.01, factor=1.01, max_s=0.02))
        url = f"{emulator.url}/queue"
        price = UnitPrice("fal", url, FLUX, "megapixel", 25_000, 1, "fal's price list", "2026-11-20")
        write(data_dir, [price])
        fal = {"api_key": "sandbox:key", "base_url": url}
        with running(data_dir, providers={"fal": fal}, margin_bps=1000) as one:
            yield one


def test_a_synced_cost_is_charged_with_the_margin_and_kept_as_the_upstreams_cost(house: House) -> None:
    account = house.account()
    body = {"model": FLUX, "prompt": "a lighthouse", "size": "2048x1024", "n": 2}
    with httpx2.Client(base_url=house.url, headers={"Authorization": f"Bearer {account.key()}"}, timeout=60) as http:
        answer = http.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    assert (account.spent_micro, account.held_micro) == (2 * 2 * 27_500, 0)
    ((cost_micro, source),) = house.rows(
        "SELECT s.cost_micro, s.cost_source FROM submission s JOIN job j ON j.id = s.job_id WHERE j.org_id = :org",
        org=account.org.id,
    )
    assert (cost_micro, source) == (2 * 2 * 25_000, "table")


def test_auto_takes_a_model_that_has_a_price_before_an_emulated_one_that_has_none(house: House) -> None:
    account = house.account()
    with httpx2.Client(base_url=house.url, headers={"Authorization": f"Bearer {account.key()}"}, timeout=60) as http:
        answer = http.post("/v1/images/generations", json={"prompt": "a lighthouse"})
    assert answer.status_code == 200, answer.text
    assert account.spent_micro > 0
