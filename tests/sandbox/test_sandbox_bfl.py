"""The emulated Black Forest Labs, driven by plain HTTP as a client of the real one would (`wire/providers.md §4`)."""

import base64
import hashlib
import hmac
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx2
import pytest
from PIL import Image

from calotype.sandbox import media
from calotype.sandbox.bfl import Bfl
from calotype.sandbox.serve import on_a_thread

KEY = {"x-key": "bfl-sandbox"}


@pytest.fixture(scope="module")
def _bfl() -> Iterator[Bfl]:
    emulator = Bfl()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def bfl(_bfl: Bfl) -> Bfl:
    _bfl.reset()
    return _bfl


def submit(bfl: Bfl, endpoint: str = "flux-2-pro", host: str = "", **fields: Any) -> httpx2.Response:
    return httpx2.post(f"{bfl.url}{host}/v1/{endpoint}", json={"prompt": "a lighthouse", **fields}, headers=KEY)


def look(task: dict[str, Any]) -> httpx2.Response:
    return httpx2.get(task["polling_url"], headers=KEY)


def ended(task: dict[str, Any]) -> dict[str, Any]:
    while (said := look(task).json())["status"] in ("Pending", "Task not found", "Reasoning"):
        pass
    return said  # type: ignore[no-any-return]


def test_a_task_is_priced_at_submit_and_found_in_its_region_only(bfl: Bfl) -> None:
    task = submit(bfl, width=2048, height=1024).json()
    assert (task["cost"], task["input_mp"], task["output_mp"]) == (4.5, 0.0, 2.1)
    assert httpx2.URL(task["polling_url"]).port != httpx2.URL(bfl.url).port
    elsewhere = httpx2.get(f"{bfl.url}/v1/get_result", params={"id": task["id"]}, headers=KEY)
    assert elsewhere.json()["status"] == "Task not found"
    assert look(task).json()["status"] in ("Pending", "Ready")
    link = ended(task)["result"]["sample"]
    assert Image.open(io.BytesIO(httpx2.get(link).content)).size == (2048, 1024)


def test_a_link_is_for_a_short_time_and_for_no_key(bfl: Bfl) -> None:
    link = ended(submit(bfl).json())["result"]["sample"]
    assert httpx2.get(link).status_code == 200
    assert httpx2.get(link, headers=KEY).status_code == 403
    assert httpx2.get(link.replace("sig=", "sig=0")).status_code == 403
    assert httpx2.get(ended(submit(bfl, prompt="@link=0").json())["result"]["sample"]).status_code == 403


def test_inputs_and_the_formula_make_the_price(bfl: Bfl) -> None:
    big = base64.b64encode(media.png(1024, 1024, "a")).decode()
    task = submit(bfl, input_image=big, input_image_2="https://example.com/b.png").json()
    assert (task["cost"], task["output_mp"]) == (6.0, 1.05)
    assert submit(bfl, "flux-kontext-pro", input_image=big, aspect_ratio="16:9").json()["cost"] == 4
    assert submit(bfl, "flux-2-klein-4b", width=1024, height=1024).json()["cost"] == 1.4
    left = httpx2.get(f"{bfl.url}/v1/credits", headers=KEY).json()["credits"]
    assert left == 1_000_000 - 6.0 - 4 - 1.4


@pytest.mark.parametrize(
    ("words", "status"),
    [("@moderated", "Request Moderated"), ("@moderated_output", "Content Moderated"), ("@error", "Error")],
)
def test_tasks_end_as_they_are_told(bfl: Bfl, words: str, status: str) -> None:
    assert ended(submit(bfl, prompt=f"x {words}").json())["status"] == status


def test_an_end_may_come_with_another_http_status_and_a_task_be_unknown_at_first(bfl: Bfl) -> None:
    task = submit(bfl, prompt="@terminal=503 @moderated @lost=1 @polls=2 @reasoning").json()
    assert look(task).json()["status"] == "Task not found"
    answer = look(task)
    assert (answer.status_code, answer.json()["status"]) == (503, "Request Moderated")
    assert look(submit(bfl, prompt="@reasoning @polls=9").json()).json()["status"] == "Reasoning"


@pytest.mark.parametrize(
    ("endpoint", "fields", "status", "field"),
    [
        ("flux-9", {}, 404, None),
        ("flux-2-klein", {}, 404, None),
        ("flux-2-pro", {"prompt": ""}, 422, "prompt"),
        ("flux-2-pro", {"width": 32, "height": 64}, 422, "width"),
        ("flux-pro-1.1", {"width": 1000, "height": 1024}, 422, "width"),
        ("flux-pro-1.1", {"aspect_ratio": "1:1"}, 422, "aspect_ratio"),
        ("flux-2-pro", {"safety_tolerance": 6}, 422, "safety_tolerance"),
        ("flux-2-klein-9b", {"input_image_5": "x"}, 422, "input_image_5"),
        ("flux-2-pro", {"input_image": "data:image/png;base64,QUJD"}, 422, "input_image"),
        ("flux-pro-1.0-fill", {}, 422, "image"),
    ],
)
def test_a_body_is_refused_as_the_api_does(
    bfl: Bfl, endpoint: str, fields: dict[str, Any], status: int, field: str | None
) -> None:
    answer = submit(bfl, endpoint, **fields)
    assert answer.status_code == status
    if field is not None:
        assert answer.json()["detail"][0]["loc"] == ["body", field]


def test_accounts_are_refused_and_active_tasks_bounded(bfl: Bfl) -> None:
    for key, status in (("", 403), ("unknown-1", 403), ("empty-1", 402)):
        assert httpx2.post(f"{bfl.url}/v1/flux-dev", json={"prompt": "x"}, headers={"x-key": key}).status_code == status
    answers = [submit(bfl, "flux-kontext-max", prompt=f"@polls=9 {n}").status_code for n in range(7)]
    assert answers == [200] * 6 + [429]
    httpx2.post(f"{bfl.url}/__control__", json={"settings": {"active": 7}})
    assert submit(bfl).status_code == 200
    assert submit(bfl).status_code == 429


def test_regions_are_seen_and_the_control_address_orders_faults_of_polls_too(bfl: Bfl) -> None:
    task = submit(bfl, host="/eu").json()
    assert [one.path for one in bfl.submits] == ["/eu/v1/flux-2-pro"]
    httpx2.post(f"{bfl.url}/__control__", json={"faults": [{"on": "status", "status": 502, "times": 1}]})
    assert look(task).status_code == 502
    assert look(task).status_code == 200


def test_a_webhook_is_signed_and_its_submit_names_no_polling_address(bfl: Bfl) -> None:
    arrived: list[tuple[str, bytes]] = []
    done = threading.Event()

    class Box(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            arrived.append((self.headers["x-bfl-signature"], body))
            self.send_response(200)
            self.end_headers()
            done.set()

        def log_message(self, *_: Any) -> None:
            return None

    with HTTPServer(("127.0.0.1", 0), Box) as box:
        threading.Thread(target=box.serve_forever, daemon=True).start()
        target = f"http://127.0.0.1:{box.server_port}/"
        said = submit(bfl, webhook_url=target, webhook_secret="shh").json()
        assert done.wait(10)
        box.shutdown()
    assert "polling_url" not in said and said["webhook_url"] == target
    ((signature, body),) = arrived
    assert signature == f"sha256={hmac.new(b'shh', body, hashlib.sha256).hexdigest()}"


def test_the_environment_leads_all_three_instances_here(bfl: Bfl) -> None:
    assert bfl.environment() == {
        "BFL_API_KEY": "bfl-sandbox", "BFL_API_BASE": bfl.url, "BFL_EU_API_BASE": f"{bfl.url}/eu",
        "BFL_US_API_BASE": f"{bfl.url}/us",
    }  # fmt: skip
