"""The unmodified `fal` package's own client, `fal.apps`, against the running server (`wire/fal.md §12`)."""

import json
from pathlib import Path
from typing import Any

import pytest
from fal_packages import fal_apps
from fal_tls import Secure, program

from house_fixtures import PRICE_MICRO
from upstream import Upstream

pytestmark = pytest.mark.client


def run(secure: Secure, recipe: dict[str, str], home: Path, *words: str) -> dict[str, Any]:
    account = secure.house.account()
    ident, secret = account.key().removeprefix("ct_live_").split("_")
    own = {"FAL_KEY": f"{ident}:{secret}", "HOME": str(home)}
    seen = program("fal_apps_user.py", recipe | own, words, path=fal_apps())
    assert account.held_micro == 0
    return seen | {"spent": account.spent_micro}


def check(seen: dict[str, Any]) -> None:
    assert [len(seen[name]["images"]) for name in ("run", "result")] == [2, 2]
    assert set(seen["events"]) <= {"Queued", "InProgress"}, "it ends by the status 200 alone"
    assert seen["end"][0] == "Completed"
    assert "enable_safety_checker has no effect on test/picture and was ignored" in seen["end"][1]
    last = [line for line in seen["stream"] if line.startswith("data: ")][-1]
    assert json.loads(last.removeprefix("data: "))["images"][0]["content_type"] == "image/png"
    refusals = {name: seen[name] for name in ("cancel_done", "canceled", "unknown", "missing")}
    assert refusals == {"cancel_done": 400, "canceled": 499, "unknown": 404, "missing": 422}
    assert seen["spent"] == 2 * 2 * PRICE_MICRO


def test_host_variables_alone_lead_it_here(secure: Secure, upstream: Upstream, tmp_path: Path) -> None:
    check(run(secure, secure.recipe_a(), tmp_path))


def test_behind_the_proxy_it_needs_no_change(secure: Secure, upstream: Upstream, tmp_path: Path) -> None:
    seen = run(secure, secure.recipe_b(), tmp_path, "ws")
    check(seen)
    assert seen["ws"] == [1, 1]
