"""Pictures, usage and keys on both stores; content's signed ids too."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import httpx2
import pytest
from image_caller import Caller

from calotype.jobs.spending import Group
from calotype.kernel.generation import Scope
from calotype.ledger.verify import verify
from running import House, running


@pytest.fixture
def stored(database_url: str, tmp_path: Path) -> Iterator[House]:
    with running(tmp_path, database_url=database_url, prices={"local/sketch": 1_000}) as house:
        yield house


def test_usage_and_keys_are_the_same_on_both_stores(stored: House) -> None:
    account = stored.account()
    with httpx2.Client(base_url=stored.url, timeout=60) as client:
        caller = Caller(client, account.key(scopes=[Scope.API, Scope.ADMIN]))
        body = {"prompt": "a fox", "model": "local/sketch", "width": 256, "height": 256}
        for customer in ("anna", "anna", "bert"):
            made = caller.post(
                "/api/v1/image/generate", body, x_calotype_customer=customer, x_calotype_tags=f"who={customer}"
            )
            assert made.json()["data"]["cost_usd"] == 0.001
        for by in get_args(Group):
            told = caller.get(f"/api/v1/usage?group_by={by}{':who' if by == 'tag' else ''}").json()["data"]
            assert (told["requests"], told["succeeded"], told["cost_micro"]) == (3, 3, 3_000), by
            figures = sorted(group["cost_micro"] for group in told["groups"])
            assert figures == ([1_000, 2_000] if by in ("customer", "tag") else [3_000]), by
        ident = caller.post("/api/v1/keys", {"name": "ci"}).json()["data"]
        caller.request("PATCH", f"/api/v1/keys/{ident['keyId']}", {"enabled": False})
        assert Caller(client, ident["key"]).generate().status_code == 401
        assert client.get("/catalog.json").json()["count"] == 8


def test_the_keys_of_one_budget_never_spend_more_than_it_at_the_same_moment(stored: House) -> None:
    account = stored.account()
    with httpx2.Client(base_url=stored.url, timeout=60) as client:
        maker = Caller(client, account.key(scopes=[Scope.API, Scope.ADMIN], spend_cap_micro=2_500))
        keys = [maker.post("/api/v1/keys", {"name": name}).json()["data"]["key"] for name in "ab"]
        callers = [maker, *(Caller(client, key) for key in keys)] * 3

        def make(one: Caller) -> int:
            return one.generate(model="local/sketch", width=256, height=256).status_code

        with ThreadPoolExecutor(len(callers)) as pool:
            assert sorted(pool.map(make, callers)) == [200] * 2 + [403] * 7
        assert client.get("/api/v1/keys/%00", headers={"authorization": f"Bearer {maker.key}"}).status_code == 404
        gone = client.delete("/fal/api/v1/keys/%00", headers={"authorization": f"Key {maker.key}"})
        assert gone.status_code == 404, gone.text
    assert (account.spent_micro, account.held_micro) == (2_000, 0)
    assert stored.ask(stored.app.db.read(verify)).differences == ()
