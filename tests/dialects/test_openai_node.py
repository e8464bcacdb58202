"""The unmodified `openai` package of npm against the running server."""

import base64
import json
import threading
from typing import Any

import pytest

from cutter import Cutter
from house_fixtures import PRICE_MICRO
from node import Node
from running import House
from upstream import PICTURE, Upstream

pytestmark = pytest.mark.client


def run(node: Node, **options: Any) -> dict[str, Any]:
    given = {"picture": base64.b64encode(PICTURE).decode(), **options}
    return json.loads(node.run("openai.mjs", json.dumps(given)).splitlines()[-1])


@pytest.mark.parametrize("base", ["/v1", "/api/v1"])
def test_the_npm_package_gets_what_the_python_one_gets(base: str, house: House, upstream: Upstream, node: Node) -> None:
    account, poor = house.account(), house.account(micro=10)
    cutter_for = base == "/v1"
    with Cutter(house.port, cuts=1) as proxy:
        helper = threading.Thread(target=_cut_when_it_arrives, args=(upstream, proxy), daemon=True)
        if cutter_for:
            helper.start()
        seen = run(
            node, base=house.url + base, key=account.key(), poorKey=poor.key(),
            counter=f"http://127.0.0.1:{proxy.port}{base}" if cutter_for else None,
        )  # fmt: skip
    assert seen["urls"] == {"count": 1, "magic": "PNG"}
    assert [base64.b64decode(text) for text in seen["base64"]] == [PICTURE] * 3
    assert upstream.seen[0].json == {
        "model": "upstream-picture", "prompt": "a harbour", "n": 3, "size": "1024x768", "seed": 7
    }  # fmt: skip
    assert seen["headers"]["cost"] == str(PRICE_MICRO) and seen["headers"]["request_id"]
    video = seen["videos"]
    assert (video["status"], video["magic"], video["deleted"]) == ("completed", "ftyp", True)
    assert video["listed"] == [video["id"]]
    assert seen["still"] == "completed"
    assert {"local/sketch", "test/picture"} <= set(seen["models"]["ids"]) and seen["models"]["one"] == "local/sketch"
    assert seen["files"] == {"same": True, "content": base64.b64encode(PICTURE).decode(), "deleted": True}
    errors = {name: (one["name"], one["status"], one["code"], one["param"]) for name, one in seen["errors"].items()}
    assert errors == {
        "invalid": ("BadRequestError", 400, "invalid_input", "n"),
        "nobody": ("AuthenticationError", 401, "invalid_api_key", None),
        "poor": ("APIError", 402, "insufficient_credits", None),
        "unknown": ("NotFoundError", 404, "model_not_found", "model"),
        "planned": ("InternalServerError", 501, "planned", "model"),
    }
    assert all(one["requestID"] for one in seen["errors"].values())
    pictures = 3 + 1
    if cutter_for:
        assert seen["retries"] == 2
        assert proxy.connections == 2
        assert sum(one.json["prompt"] == "cut off" for one in upstream.seen) == 1
        pictures += 2
    assert account.spent_micro == pictures * PRICE_MICRO and account.held_micro == 0
    assert poor.jobs == 0


def _cut_when_it_arrives(upstream: Upstream, proxy: Cutter) -> None:
    """Hold the marked request at the upstream until its client has been cut off and has come back."""
    answer = upstream.holding["cut off"] = threading.Event()
    while not any(one.json.get("prompt") == "cut off" for one in list(upstream.seen)):
        if proxy.ended.wait(0.005):
            return
    proxy.release.set()
    while proxy.connections < 2 and not proxy.ended.wait(0.005):
        pass
    answer.set()
