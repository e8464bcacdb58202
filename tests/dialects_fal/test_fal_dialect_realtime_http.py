"""HTTP over a WebSocket: direct calls, one message each (`wire/fal.md §6.4`)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fal_session import wait_for
from house_fixtures import PRICE_MICRO
from running import Account, House
from upstream import Upstream


@pytest.fixture
def socket(house: House, account: Account, upstream: Upstream) -> Iterator[ClientConnection]:
    with connect(address(house), additional_headers={"authorization": f"Key {account.key()}"}) as one:
        yield one


def address(house: House, path: str = "test/picture") -> str:
    return f"{house.url.replace('http', 'ws', 1)}/fal/ws/{path}"


def answer(socket: ClientConnection) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Read one answer: its start, its body and its end."""
    start, body = json.loads(socket.recv(timeout=30)), ""
    assert start["type"] == "start"
    while True:
        message = socket.recv(timeout=30)
        assert isinstance(message, str)
        said = json.loads(message) if message.startswith("{") else {}
        if said.get("type") == "end" and "request_id" in said:
            assert said["request_id"] == start["request_id"] and said["status"] == start["status"]
            return start, body, said
        body += message


def test_a_message_is_a_direct_call_and_the_next_may_follow(socket: ClientConnection, account: Account) -> None:
    for word in ("one", "two"):
        socket.send(json.dumps({"prompt": word}))
    for word in ("one", "two"):
        start, body, end = answer(socket)
        assert start["status"] == 200 and start["headers"]["content-type"] == "application/json"
        assert len(start["request_id"]) == 36 and end["time_to_first_byte_seconds"] > 0
        output = json.loads(body)
        assert output["prompt"] == word and output["images"][0]["url"].startswith("http://127.0.0.1")
    assert account.spent_micro == 2 * PRICE_MICRO


def test_what_is_refused_has_its_status_and_costs_nothing(socket: ClientConnection, account: Account) -> None:
    for message in ("{}", "no json", "[]", json.dumps({"prompt": "a", "num_images": 99})):
        socket.send(message)
        start, body, _ = answer(socket)
        assert start["status"] in (400, 422) and "detail" in json.loads(body)
    account.untouched()


def test_a_stream_comes_event_by_event(house: House, account: Account, upstream: Upstream) -> None:
    headers = {"authorization": f"Key {account.key()}", "host": "ws.fal.run"}
    with connect(address(house, "test/picture/stream").replace("/fal/ws", ""), additional_headers=headers) as socket:
        socket.send(json.dumps({"prompt": "a lighthouse"}))
        start, body, _ = answer(socket)
    assert start["headers"]["content-type"] == "text/event-stream"
    last = json.loads(body.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["images"][0]["url"].startswith("https://v3.fal.media/"), "the origin that the client itself uses"


def test_a_wrong_key_is_refused_at_the_handshake(house: House) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(address(house)):
        pass
    assert refused.value.response.status_code == 401


def test_who_hangs_up_does_not_stop_the_call(house: House, account: Account, gated: Upstream) -> None:
    headers = {"authorization": f"Key {account.key()}"}
    with connect(address(house), additional_headers=headers) as socket:
        socket.send(json.dumps({"prompt": "left alone"}))
        assert gated.arrived.wait(30)
    wait_for(house, "SELECT COUNT(*) FROM idempotency WHERE answer = 'broken' AND id LIKE :org", 1, account)
    gated.gate.set()
    with connect(address(house), additional_headers=headers) as socket:
        socket.send(json.dumps({"prompt": "left alone"}))
        start, _, _ = answer(socket)
    assert start["status"] == 200 and account.held_micro == 0
    assert len(gated.seen) == account.jobs == 1 and account.spent_micro == PRICE_MICRO
