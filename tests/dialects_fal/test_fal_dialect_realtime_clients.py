"""fal's own clients in realtime sessions, unmodified: PyPI's and three versions of npm's (`wire/fal.md §12.8`)."""

import json
from typing import Any

import pytest
from fal_packages import fal_node
from fal_tls import Secure, program

from house_fixtures import PRICE_MICRO
from upstream import PICTURE, Upstream

pytestmark = pytest.mark.client


def run(secure: Secure, recipe: dict[str, str], *words: str) -> dict[str, Any]:
    account = secure.house.account()
    ident, secret = account.key().removeprefix("ct_live_").split("_")
    seen = program("fal_realtime_user.py", recipe | {"FAL_KEY": f"{ident}:{secret}"}, words)
    assert account.held_micro == 0
    return seen | {"spent": account.spent_micro}


def frame(prompt: str) -> dict[str, Any]:
    return {"bytes": len(PICTURE), "kind": "bytes", "prompt": prompt}


def check(seen: dict[str, Any], ending: str = "") -> None:
    one, two, three, refusal, after = seen[f"sync{ending}"]
    assert [one, two, three, after] == [frame(word) for word in ("one", "two", "three", "after")]
    assert refusal[0] == "INVALID_INPUT" and "must be from 1 to 10" in refusal[1]
    assert seen[f"async{ending}"] == [frame("one"), frame("two")]


def test_with_a_key_the_host_variables_alone_lead_python_here(secure: Secure, upstream: Upstream) -> None:
    seen = run(secure, secure.recipe_a())
    check(seen)
    assert seen["unknown"]["error"] == "MODEL_NOT_FOUND"
    assert seen["unknown"]["reason"].startswith("Application not found.")
    assert seen["spent"] == 6 * PRICE_MICRO


def test_behind_the_proxy_python_fetches_its_token_here(secure: Secure, upstream: Upstream) -> None:
    seen = run(secure, secure.recipe_b(), "token")
    check(seen)
    check(seen, "_token")
    assert seen["spent"] == 12 * PRICE_MICRO


@pytest.mark.parametrize("version", ["1.10.1", "1.6.2", "1.2.3"])
def test_behind_the_proxy_the_npm_package_needs_no_change(version: str, secure: Secure, upstream: Upstream) -> None:
    account = secure.house.account()
    package = "@fal-ai/client" if version == "1.10.1" else f"@fal-ai/client-{version}"
    given = json.dumps({"package": package, "key": account.key()})
    seen = json.loads(fal_node().run("realtime.mjs", given, environment=secure.recipe_b()).splitlines()[-1])
    assert [one["prompt"] for one in seen["results"]] == ["one", "two", "three", "lean"]
    assert [one["bytes"] for one in seen["results"]] == [len(PICTURE)] * 3 + [0]
    assert all(one["url"] == "data:image/png;base64," and len(one["id"]) == 36 for one in seen["results"])
    assert seen["results"][0]["type"] == "Uint8Array"
    # 1005 is how the package takes the end that it asked for itself
    refusal, unknown = [one for one in seen["errors"] if one["status"] != 1005][:2]
    assert refusal["message"].startswith("INVALID_INPUT: ") and refusal["body"]["status"] == 422
    assert unknown["message"].startswith("MODEL_NOT_FOUND: Application not found.")
    assert account.spent_micro == 4 * PRICE_MICRO and account.held_micro == 0
