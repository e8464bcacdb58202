"""The unmodified `fal-client` of PyPI, two versions of it, against the running server (`wire/fal.md §12`)."""

import hashlib
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fal_packages import fal_client_07
from fal_tls import Secure, program

from house_fixtures import PRICE_MICRO
from running import House
from upstream import PICTURE, Upstream

pytestmark = pytest.mark.client
BIG_BYTES = 101 * 1024 * 1024
DONE = ["Completed"]


def run(secure: Secure, recipe: dict[str, str], folder: Path, *words: str, path: Path | None = None) -> dict[str, Any]:
    account = secure.house.account()
    ident, secret = account.key().removeprefix("ct_live_").split("_")
    (folder / "picture.png").write_bytes(PICTURE)
    seen = program("fal_user.py", recipe | {"FAL_KEY": f"{ident}:{secret}"}, words, str(folder), path=path)
    seen["spent"] = account.spent_micro
    assert account.held_micro == 0
    return seen


def check(seen: dict[str, Any], *, old: bool, base: str) -> None:
    outputs = ("run", "subscribe", "result", "result_by_id", "async_subscribe", "async_run", "async_result")
    for name in outputs:
        images = seen[name]["images"]
        assert len(images) == 2 and all(image["url"].startswith(base) for image in images), name
        assert seen[name]["prompt"] == "a lighthouse"
    assert seen["updates"][-1:] == seen["async_updates"][-1:] == seen["events"][-1:] == DONE
    assert set(seen["updates"]) <= {"Queued", "InProgress", "Completed"}
    assert "enable_safety_checker has no effect on test/picture and was ignored" in seen["logs"]
    assert seen["status_by_id"] == "Completed" and len(seen["enqueued"]) == 1
    assert seen["canceled"][0] == "Completed"
    events = seen["stream"]
    assert events[-1]["video"]["content_type"] == "video/mp4" and events[-1]["seed"] == 5
    progress = [event["progress"] for event in events[:-1]]
    assert progress and progress == sorted(progress) and 0 < progress[0] <= progress[-1] < 1
    assert seen["async_stream"][-1]["images"][0]["content_type"] == "image/png"
    assert seen["encoded"]["video"]["width"] == 256
    if old:
        assert "ALREADY_COMPLETED" in seen["cancel_done"]["message"]
        assert "prompt is required" in seen["missing"]["message"]
        return
    assert (seen["cancel_done"]["status"], seen["async_cancel_done"]["status"]) == (400, 400)
    assert seen["canceled"][1] == "client_cancelled"
    assert (seen["canceled_result"]["status"], seen["canceled_result"]["type"]) == (499, "client_cancelled")
    for name in ("missing", "run_missing"):
        assert (seen[name]["name"], seen[name]["status"]) == ("FalClientHTTPError", 422)
    assert seen["unknown"]["status"] == 404 and "Application not found" in seen["unknown"]["message"]


def check_uploads(seen: dict[str, Any], house: House) -> None:
    for name, body in (("uploaded", b"a small file"), ("async_uploaded", b"an async file"), ("picture", PICTURE)):
        url = seen[name]
        assert url.startswith("https://v3.fal.media/files/"), url
        assert fetched(house, url).content == body
    assert seen["used"]["video"]["width"] == 256


def fetched(house: House, url: str) -> httpx2.Response:
    """Fetch a URL of fal's media host where it leads to: here."""
    path = url.removeprefix("https://v3.fal.media")
    return httpx2.get(house.url + path, headers={"host": "v3.fal.media"}, timeout=60)


def test_host_variables_alone_lead_the_current_client_here(secure: Secure, upstream: Upstream, tmp_path: Path) -> None:
    seen = run(secure, secure.recipe_a(), tmp_path)
    check(seen, old=False, base=f"https://{secure.address}/v1/media/")
    assert seen["spent"] == 2 * PRICE_MICRO * 6, "six requests of two pictures each, and what is local is free"


def test_behind_the_proxy_the_new_client_needs_no_change(secure: Secure, upstream: Upstream, tmp_path: Path) -> None:
    seen = run(secure, secure.recipe_b(), tmp_path, "upload")
    check(seen, old=False, base="https://v3.fal.media/v1/media/")
    check_uploads(seen, secure.house)


def test_behind_the_proxy_the_old_client_needs_no_change(secure: Secure, upstream: Upstream, tmp_path: Path) -> None:
    seen = run(secure, secure.recipe_b(), tmp_path, "upload", path=fal_client_07())
    check(seen, old=True, base="https://v3.fal.media/v1/media/")
    check_uploads(seen, secure.house)


@pytest.mark.full
@pytest.mark.parametrize("old", [False, True])
def test_a_file_of_more_than_100_mb_comes_in_parts(old: bool, secure: Secure, tmp_path: Path) -> None:
    seen = run(secure, secure.recipe_b(), tmp_path, "big", path=fal_client_07() if old else None)
    got = fetched(secure.house, seen["big"])
    assert len(got.content) == BIG_BYTES
    sent = hashlib.sha256((tmp_path / "big.bin").read_bytes()).hexdigest()
    assert hashlib.sha256(got.content).hexdigest() == sent
