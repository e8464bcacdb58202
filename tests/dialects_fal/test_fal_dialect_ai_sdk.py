"""The unmodified AI SDK with `@ai-sdk/fal` makes pictures at the running server (`wire/fal.md §12.7`)."""

import base64
import json
from typing import Any

import pytest
from fal_packages import fal_node

from house_fixtures import PRICE_MICRO
from running import House
from upstream import PICTURE, Upstream

pytestmark = pytest.mark.client


def test_a_base_url_leads_its_pictures_here(house: House, upstream: Upstream) -> None:
    account, poor = house.account(), house.account(micro=1)
    given = json.dumps({"base": f"{house.url}/fal/run", "key": account.key(), "poor": poor.key()})
    seen: dict[str, Any] = json.loads(fal_node().run("ai-sdk.mjs", given).splitlines()[-1])
    assert [base64.b64decode(one["base64"]) for one in seen["pictures"]] == [PICTURE] * 2
    assert {one["type"] for one in seen["pictures"]} == {"image/png"}
    asked = {"model": "upstream-picture", "prompt": "a harbour", "n": 1, "size": "512x256", "seed": 7}
    assert [one.json for one in upstream.seen] == [asked] * 2, "the package asks for one picture at a time"
    assert seen["ratio"] == 1
    refusals = {name: (seen[name]["name"], seen[name]["status"]) for name in ("unknown", "nobody", "poor", "invalid")}
    assert refusals == {
        "unknown": ("AI_APICallError", 404), "nobody": ("AI_APICallError", 401), "poor": ("AI_APICallError", 403),
        "invalid": ("AI_APICallError", 422),
    }  # fmt: skip
    assert seen["unknown"]["message"].startswith("Application not found.")
    assert "guidance" in seen["invalid"]["message"]
    assert (account.spent_micro, account.held_micro, poor.jobs) == (2 * PRICE_MICRO, 0, 0)
