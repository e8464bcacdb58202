"""Events on the wire: ASCII, one write each, the whole output last (`wire/fal.md §0.9, §6.2`)."""

import json
import socket
from typing import Any

import pytest
from fal_caller import MODEL, Fal

from running import Account, House
from upstream import Upstream, error

STREAM = f"/fal/run/{MODEL}/stream"
FILM = "/fal/run/local/sketch-video/stream"


def events_of(fal: Fal, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    with fal.client.stream("POST", path, json=body, headers=fal.auth) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-fal-request-id"]
        text = b"".join(answer.iter_bytes())
    assert text.isascii()
    pieces = text.decode().split("\n\n")
    assert pieces.pop() == "" and all(piece.startswith(("data: {", ": ")) for piece in pieces)
    return [json.loads(piece[6:]) for piece in pieces if piece.startswith("data: ")]


def test_a_stream_ends_with_the_whole_output_in_ascii(fal: Fal) -> None:
    events = events_of(fal, STREAM, {"prompt": "wäves 🌊"})
    assert events[-1]["prompt"] == "wäves 🌊" and len(events[-1]["images"]) == 1


def test_a_stream_tells_progress_that_only_grows(fal: Fal) -> None:
    events = events_of(fal, FILM, {"prompt": "waves", "duration": 2, "size": "256x256"})
    steps = [event["progress"] for event in events[:-1]]
    assert len(steps) > 2 and steps == sorted(set(steps)) and steps[-1] < 1
    assert all(set(event) == {"status", "request_id", "progress"} for event in events[:-1])
    assert events[-1]["video"]["content_type"] == "video/mp4"


@pytest.mark.parametrize("at", ["accept", "upstream"])
def test_a_failure_before_any_progress_is_an_ordinary_error(at: str, fal: Fal, upstream: Upstream) -> None:
    if at == "upstream":
        upstream.answers[:] = [error(400, "moderation_blocked", kind="image_generation_user_error")]
    answer = fal.ask("POST", STREAM, json={"prompt": "x"} if at == "upstream" else {})
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/json"
    wanted = "content_policy_violation" if at == "upstream" else "missing"
    assert answer.json()["detail"][0]["type"] == wanted


def test_a_failure_after_progress_is_the_last_event(fal: Fal) -> None:
    seen: list[dict[str, Any]] = []
    body = {"prompt": "waves", "duration": 20}
    with fal.client.stream("POST", FILM, json=body, headers=fal.auth) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line[6:]))
                if len(seen) == 1:
                    fal.cancel(answer.headers["x-fal-request-id"])
    assert seen[-1]["error_type"] == "client_cancelled" and "detail" in seen[-1]


def test_who_hangs_up_does_not_stop_the_work(fal: Fal, gated: Upstream, house: House, account: Account) -> None:
    body = json.dumps({"prompt": "left alone"}).encode()
    head = f"POST {STREAM} HTTP/1.1\r\nhost: x\r\nauthorization: {fal.auth['authorization']}\r\n"
    with socket.create_connection(("127.0.0.1", house.port)) as link:
        link.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        assert gated.arrived.wait(10)
    gated.gate.set()
    (ident,) = house.rows("SELECT id FROM job WHERE org_id = :org", org=account.org.id)[0]
    fal.wait(ident)
    assert fal.result(ident).json()["prompt"] == "left alone"
