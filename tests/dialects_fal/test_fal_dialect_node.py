"""The unmodified `@fal-ai/client` of npm, three versions of it, against the running server (`wire/fal.md §12.5`)."""

import json
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fal_packages import fal_node
from fal_tls import Secure

from cutter import Cutter
from house_fixtures import PRICE_MICRO
from running import House
from upstream import PICTURE, Upstream

pytestmark = pytest.mark.client
NEW, MIDDLE, OLD = "@fal-ai/client", "@fal-ai/client-1.6.2", "@fal-ai/client-1.2.3"
BIG_BYTES = 101 * 1024 * 1024


def run(house: House, folder: Path, package: str, way: str, **more: Any) -> dict[str, Any]:
    account = house.account()
    picture = folder / "picture.png"
    picture.write_bytes(PICTURE)
    given = {
        "package": package, "way": way, "key": account.key(), "poor": house.account(micro=1).key(),
        "proxy": house.url + "/api/fal/proxy", "picture": str(picture), **more.pop("given", {}),
    }  # fmt: skip
    seen = json.loads(fal_node().run("fal.mjs", json.dumps(given), **more).splitlines()[-1])
    seen["spent"] = account.spent_micro
    assert account.held_micro == 0
    return seen


def check(seen: dict[str, Any], house: House, media: str, package: str = NEW) -> None:
    old = package == OLD
    for name in ("run", "subscribe", "streaming", "result"):
        images = seen[name]["data"]["images"]
        assert len(images) == 2 and images[0]["url"].startswith(media), name
        assert len(seen[name]["requestId"]) == 36, "it comes from a header of the result"
    assert seen["updates"][-1] == seen["streamed"][-1] == "COMPLETED"
    logs = seen["logs"]
    assert "enable_safety_checker has no effect on test/picture and was ignored" in logs
    assert seen["streamedLogs"] == logs, "a stream sends each line once"
    assert seen["status"]["status"] == "COMPLETED" and seen["status"]["logs"]
    assert (seen["cancelDone"]["status"], seen["cancelDone"]["body"]["status"]) == (400, "ALREADY_COMPLETED")
    assert seen["canceled"]["error_type"] == "client_cancelled"
    assert seen["canceledResult"]["status"] == 499
    assert seen["canceledResult"]["message"] == "Request cancelled by the client."
    steps = [event for event in seen["events"] if "progress" in event]
    assert steps and all(0 < event["progress"] < 1 for event in steps)
    assert seen["last"]["video"]["content_type"] == "video/mp4"
    assert old or seen["events"][-1] == seen["last"], "the older one's iterator may stop before its last event"
    for name in ("missing", "submitMissing"):
        assert seen[name]["validation"] and seen[name]["fields"] == ["body.prompt"], name
        assert "prompt" in seen[name]["message"] and (package != NEW or seen[name]["requestId"])
    assert (seen["unknown"]["status"], seen["nobody"]["status"], seen["poor"]["status"]) == (404, 401, 403)
    assert seen["unknown"]["message"].startswith("Application not found.")
    assert seen["poor"]["message"].startswith("User is locked. Reason: Exhausted balance.")
    assert fetched(house, seen["uploaded"]).content == PICTURE
    assert seen["used"]["data"]["video"]["width"] == 256
    assert seen["spent"] == 8 * PRICE_MICRO


def fetched(house: House, url: str) -> httpx2.Response:
    """Fetch a file's URL where it leads to: here."""
    path = url.removeprefix("https://v3.fal.media").removeprefix(house.url)
    host = {"host": "v3.fal.media"} if url.startswith("https://v3.fal.media") else {}
    return httpx2.get(house.url + path, headers=host, timeout=60)


@pytest.mark.parametrize(
    ("package", "way"), [(NEW, "proxyUrl"), (NEW, "middleware"), (MIDDLE, "middleware"), (OLD, "middleware")],
    ids=["1.10.1-proxyUrl", "1.10.1-middleware", "1.6.2-middleware", "1.2.3-middleware"],
)  # fmt: skip
def test_the_npm_package_works_through_the_proxy_path(
    package: str, way: str, house: House, upstream: Upstream, tmp_path: Path
) -> None:
    seen = run(house, tmp_path, package, way)
    check(seen, house, house.url + "/v1/media/", package)


def test_behind_the_proxy_the_npm_package_needs_no_change(secure: Secure, upstream: Upstream, tmp_path: Path) -> None:
    seen = run(secure.house, tmp_path, NEW, "none", environment=secure.recipe_b())
    check(seen, secure.house, "https://v3.fal.media/v1/media/")


def test_a_call_whose_connection_breaks_is_sent_again_and_made_once(
    house: House, upstream: Upstream, tmp_path: Path
) -> None:
    answer = upstream.holding["cut off"] = threading.Event()
    with Cutter(house.port, cuts=1) as proxy:

        def cut() -> None:
            assert upstream.arrived.wait(30)
            proxy.release.set()
            while proxy.connections < 2 and not proxy.ended.wait(0.005):
                pass
            answer.set()

        helper = threading.Thread(target=cut, daemon=True)
        helper.start()
        given = {"cut": True, "proxy": f"http://127.0.0.1:{proxy.port}/api/fal/proxy"}
        seen = run(house, tmp_path, NEW, "proxyUrl", given=given)
        assert proxy.connections == 2
    assert len(seen["cut"]["data"]["images"]) == 1
    assert len(upstream.seen) == 1 and seen["spent"] == PRICE_MICRO


@pytest.mark.full
@pytest.mark.parametrize("package", [NEW, OLD], ids=["1.10.1", "1.2.3"])
def test_a_file_of_more_than_90_mb_comes_in_parts(package: str, house: House, tmp_path: Path) -> None:
    seen = run(house, tmp_path, package, "middleware", given={"big": BIG_BYTES})
    got = fetched(house, seen["big"])
    assert len(got.content) == BIG_BYTES and set(got.content) == {7}
