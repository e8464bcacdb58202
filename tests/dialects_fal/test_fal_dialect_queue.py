"""The queue, rule by rule (`wire/fal.md §0, §5`)."""

import re
from typing import Any

import httpx2
import msgspec
import pytest
from fal_caller import MODEL, Fal

from calotype.kernel.errors import Code, Problem
from house_fixtures import PRICE_MICRO
from running import Account, House
from upstream import Upstream

V7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
ADDRESSES = {"request_id", "response_url", "status_url", "cancel_url"}


def arrived(upstream: Upstream) -> None:
    assert upstream.arrived.wait(10)


def test_submit_answers_every_address_and_the_request_id(fal: Fal, http: httpx2.Client) -> None:
    answer = fal.submit()
    body = answer.json()
    assert answer.status_code == 200
    assert body["status"] == "IN_QUEUE" and type(body["queue_position"]) is int
    assert body["logs"] is None and body["metrics"] == {}
    assert V7.match(body["request_id"]) and body["gateway_request_id"] == body["request_id"]
    base = f"{str(http.base_url).rstrip('/')}/fal/queue/{MODEL}/requests/{body['request_id']}"
    assert body["response_url"] == base
    assert body["status_url"] == base + "/status" and body["cancel_url"] == base + "/cancel"
    assert answer.headers["x-fal-request-id"] == body["request_id"]


def test_a_request_goes_from_the_queue_to_its_output(fal: Fal, account: Account, upstream: Upstream) -> None:
    ident = fal.submit(json={"prompt": "a harbour", "num_images": 2, "image_size": "landscape_4_3", "seed": 7}).json()[
        "request_id"
    ]
    done = fal.wait(ident)
    assert done.status_code == 200 and done.json()["status"] == "COMPLETED"
    answer = fal.result(ident)
    body = answer.json()
    assert answer.status_code == 200 and answer.headers["x-fal-request-id"] == ident
    assert answer.headers["x-fal-billable-units"] == "2"
    assert len(body["images"]) == 2
    for image in body["images"]:
        assert (image["width"], image["height"], image["content_type"]) == (64, 64, "image/png")
        assert image["file_size"] > 0 and image["file_name"].endswith(".png")
    assert body["prompt"] == "a harbour" and body["has_nsfw_concepts"] == [False, False]
    asked = {"model": "upstream-picture", "prompt": "a harbour", "n": 2, "size": "1024x768", "seed": 7}
    assert [one.json for one in upstream.seen if one.json["prompt"] == "a harbour"] == [asked]
    assert account.spent_micro == 2 * PRICE_MICRO and account.held_micro == 0


def test_status_holds_every_key_in_every_state(fal: Fal, gated: Upstream) -> None:
    ident = fal.submit().json()["request_id"]
    arrived(gated)
    running = fal.status(ident)
    assert running.status_code == 202
    assert set(running.json()) == ADDRESSES | {"status", "logs"}
    assert (running.json()["status"], running.json()["logs"]) == ("IN_PROGRESS", None)
    gated.gate.set()
    done = fal.wait(ident)
    assert done.status_code == 200
    assert set(done.json()) == ADDRESSES | {"status", "logs", "metrics"}
    assert done.json()["metrics"]["inference_time"] >= 0


def test_a_request_that_waits_is_told_its_position(house: House, fal: Fal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.app.runner, "_claim", _nothing)  # nobody takes what is due
    first, second = (fal.submit().json() for _ in range(2))
    low = fal.submit(headers={"x-fal-queue-priority": "low"}).json()["request_id"]
    third = fal.submit().json()["request_id"]
    house.app.asgi._fal._desk.positions._lines.clear()  # type: ignore[attr-defined]
    positions = []
    for ident in (first["request_id"], second["request_id"], third, low):
        answer = fal.status(ident, "?logs=1")
        assert answer.status_code == 202
        assert set(answer.json()) == ADDRESSES | {"status", "queue_position"}
        assert answer.json()["status"] == "IN_QUEUE"
        positions.append(answer.json()["queue_position"])
    base = positions[0]
    assert positions == [base, base + 1, base + 2, base + 3], "a low priority waits behind all normal ones"
    refused = fal.submit(query="?fal_max_queue_length=1")
    assert refused.status_code == 429 and refused.json()["data"] == {"limit": 1}
    assert refused.headers["x-fal-needs-retry"] == "1"
    for ident in (first["request_id"], second["request_id"], third, low):
        assert fal.cancel(ident).status_code == 202


async def _nothing() -> bool:
    return False


@pytest.mark.parametrize("logs", ["?logs=1", "?logs=true"])
def test_logs_come_when_they_are_asked_for_in_a_form_for_every_client(fal: Fal, logs: str) -> None:
    ident = fal.submit(json={"prompt": "x", "enable_safety_checker": True}).json()["request_id"]
    fal.wait(ident)
    lines = fal.status(ident, logs).json()["logs"]
    assert [line["message"] for line in lines] == [
        f"Accepted for {MODEL}", f"enable_safety_checker has no effect on {MODEL} and was ignored",
        "Started on cloud", "Finished: 1 file",
    ]  # fmt: skip
    assert lines[1]["level"] == "WARN"
    for line in lines:
        assert set(line) == {"message", "timestamp", "level", "source", "labels"}
        assert line["labels"] == {"level": line["level"], "source": line["source"]}
        assert line["timestamp"].endswith("+00:00")
    assert fal.status(ident, "?logs=0").json()["logs"] is None


@pytest.mark.parametrize(
    "path", [
        f"{MODEL}/requests/{{}}", "test/requests/{}", f"{MODEL}/dev/fast/requests/{{}}", "workflows/me/requests/{}",
        "requests/{}", f"{MODEL}/requests/{{}}/response", f"{MODEL}/requests/{{}}/",
    ],
)  # fmt: skip
def test_a_request_is_found_by_its_id_whatever_stands_before_it(fal: Fal, path: str) -> None:
    ident = fal.submit().json()["request_id"]
    fal.wait(ident)
    assert len(fal.ask("GET", "/fal/queue/" + path.format(ident)).json()["images"]) == 1
    tail = path.removesuffix("/response").rstrip("/")
    assert fal.ask("GET", f"/fal/queue/{tail.format(ident)}/status/").status_code == 200


def test_a_result_that_is_not_there_yet_says_so_in_the_exact_words(fal: Fal, gated: Upstream) -> None:
    ident = fal.submit().json()["request_id"]
    answer = fal.result(ident)
    assert (answer.status_code, answer.json()["detail"]) == (400, "Request is still in progress")
    assert answer.headers["x-fal-request-id"] == ident


def test_cancel_takes_a_waiting_request_away_and_tells_it_everywhere(
    house: House, fal: Fal, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.app.runner, "_claim", _nothing)
    ident = fal.submit().json()["request_id"]
    answer = fal.cancel(ident)
    assert (answer.status_code, answer.json()) == (202, {"status": "CANCELLATION_REQUESTED", "success": True})
    status = fal.status(ident)
    assert status.status_code == 200
    assert (status.json()["status"], status.json()["error_type"]) == ("COMPLETED", "client_cancelled")
    result = fal.result(ident)
    assert result.status_code == 499
    assert result.json()["detail"] == "Request cancelled by the client."
    assert result.json()["error_type"] == result.headers["x-fal-error-type"] == "client_cancelled"
    again = fal.cancel(ident)
    assert (again.status_code, again.json()) == (400, {"status": "ALREADY_COMPLETED", "success": False})
    assert account.spent_micro == account.held_micro == 0


@pytest.mark.parametrize("name", ["x-fal-request-timeout", "x-fal-request-start-timeout"])
def test_a_request_that_does_not_begin_in_time_ends_as_the_users_own_timeout(
    name: str, house: House, fal: Fal, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.app.runner, "_claim", _nothing)
    ident = fal.submit(headers={name: "0.2"}).json()["request_id"]
    status = fal.wait(ident).json()
    assert (status["status"], status["error_type"]) == ("COMPLETED", "request_timeout")
    result = fal.result(ident)
    assert result.status_code == 504
    assert result.headers["x-fal-request-timeout-type"] == "user", "with it no client sends the request again"
    assert account.spent_micro == account.held_micro == 0


def test_a_request_of_another_tenant_does_not_exist(fal: Fal, fal_of: Any) -> None:
    ident = fal.submit().json()["request_id"]
    other = fal_of()
    for answer in (other.status(ident), other.result(ident)):
        assert answer.status_code == 404
        assert answer.json()["status"] == "NOT_FOUND" and answer.json()["detail"] == "Request not found"
    assert other.cancel(ident).json()["status"] == "NOT_FOUND"
    assert other.status("not-an-id").status_code == 404


def test_the_status_stream_sends_each_log_line_once_and_ends_with_the_request(fal: Fal, gated: Upstream) -> None:
    ident = fal.submit().json()["request_id"]
    events: list[str] = []
    url = f"/fal/queue/{MODEL}/requests/{ident}/status/stream?logs=1"
    with fal.client.stream("GET", url, headers=fal.auth | {"accept": "application/json"}) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["x-fal-request-id"] == ident
        for line in stream.iter_lines():
            if line.startswith("data: "):
                events.append(line[6:])
                if "IN_PROGRESS" in line:
                    gated.gate.set()
    seen = [httpx2.Response(200, content=event).json() for event in events]
    words = [event["status"] for event in seen]
    assert words == sorted(words, key=["IN_QUEUE", "IN_PROGRESS", "COMPLETED"].index) and "IN_PROGRESS" in words
    assert words.count("COMPLETED") == 1
    lines = [line["message"] for event in seen for line in event.get("logs", [])]
    assert lines == [f"Accepted for {MODEL}", "Started on cloud", "Finished: 1 file"]
    assert all(event.isascii() for event in events)


def test_a_submit_that_came_with_a_path_or_a_legacy_id_or_no_body_is_understood(fal: Fal) -> None:
    assert fal.submit("picture").status_code == 200, "one segment is an id too"
    nobody = fal.ask("POST", "/fal/queue/110602490-lora", json={})
    assert nobody.status_code == 404 and "'110602490/lora'" in nobody.json()["detail"]
    empty = fal.ask("POST", f"/fal/queue/{MODEL}", content=b"")
    assert empty.status_code == 422 and empty.json()["detail"][0]["loc"] == ["body", "prompt"]


def test_a_submit_sent_again_by_a_client_that_heard_nothing_joins_its_request(fal: Fal) -> None:
    retry = {"x-stainless-retry-count": "1"}
    first = fal.submit().json()["request_id"]
    assert fal.submit(headers=retry).json()["request_id"] == first
    proxied = fal.ask(
        "POST", "/api/fal/proxy", json={"prompt": "a lighthouse"},
        headers=retry | {"x-fal-target-url": f"https://queue.fal.run/{MODEL}"},
    )  # fmt: skip
    assert proxied.json()["request_id"] == first, "however it came, it is the same request"
    assert fal.submit().json()["request_id"] != first


def test_a_start_timeout_holds_after_the_process_that_knew_it_is_gone(
    house: House, fal: Fal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.app.runner, "_claim", _nothing)
    monkeypatch.setattr("calotype.dialects.fal.queue.watch_start", lambda _desk, _view: None)
    ident = fal.submit(headers={"x-fal-request-timeout": "5"}).json()["request_id"]
    assert fal.status(ident).json()["status"] == "IN_QUEUE"
    clock = house.app.clock.now_ms
    monkeypatch.setattr(house.app.clock, "now_ms", lambda: clock() + 6000)
    assert fal.status(ident).json()["error_type"] == "request_timeout"


def test_whatever_goes_wrong_behind_the_commit_the_submit_was_accepted(
    house: House, fal: Fal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_job: Any) -> int:
        raise Problem(Code.UNAVAILABLE, "The database is away.")

    desk: Any = house.app.asgi._fal._desk  # type: ignore[attr-defined]
    monkeypatch.setattr(desk.positions, "ahead", broken)
    answer = fal.submit()
    assert answer.status_code == 200 and answer.json()["queue_position"] == 0


def test_a_direct_call_that_takes_too_long_ends_with_an_id_that_leads_to_its_request(
    house: House, fal: Fal, gated: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk: Any = house.app.asgi._fal._desk  # type: ignore[attr-defined]
    monkeypatch.setattr(desk, "bounds", msgspec.structs.replace(desk.bounds, wait_s=0.2))
    answer = fal.run()
    assert answer.status_code == 504 and answer.headers["x-fal-request-timeout-type"] == "user"
    ident = answer.headers["x-fal-request-id"]
    assert fal.status(ident).json()["status"] == "IN_PROGRESS"
    gated.gate.set()
    assert fal.wait(ident).status_code == 200 and fal.result(ident).json()["images"]
