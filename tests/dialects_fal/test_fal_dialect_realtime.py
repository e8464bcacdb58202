"""Realtime sessions: every frame is a request with its own price and end (`wire/fal.md §6.3`)."""

import base64
from typing import Any

import msgspec
import pytest
from fal_caller import Fal
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fal_session import keyed, wait_for
from house_fixtures import PRICE_MICRO
from running import Account, House
from upstream import PICTURE, Upstream, error

SKETCH = {"prompt": "a hill", "seed": 3, "image_size": {"width": 256, "height": 256}}


def test_each_frame_is_answered_in_the_form_it_came_and_charged_its_price(
    house: House, account: Account, upstream: Upstream
) -> None:
    with keyed(house, account.key()) as session:
        whole = session.ask(prompt="a lighthouse", image_size="square", request_id="frame-1")
        lean = session.ask(prompt="a lighthouse", num_images=2, sync_mode=True)
        session.send_json({"prompt": "a lighthouse"})
        text = session.heard()
    (picture,) = whole["images"]
    assert picture["content"] == PICTURE and (picture["width"], picture["height"]) == (64, 64)
    assert base64.b64decode(picture["url"].removeprefix("data:image/png;base64,")) == PICTURE
    assert whole["request_id"] == "frame-1" and whole["prompt"] == "a lighthouse"
    assert ["content" in image for image in lean["images"]] == [False, False]
    assert text["images"][0]["url"].startswith("data:image/png;base64,") and len(text["request_id"]) == 36
    assert account.spent_micro == 4 * PRICE_MICRO and account.held_micro == 0 and account.jobs == 3


def test_no_file_of_a_frame_is_stored(house: House, account: Account, upstream: Upstream) -> None:
    with keyed(house, account.key(), "local/sketch") as session:
        assert session.ask(**SKETCH)["images"][0]["content"].startswith(b"\x89PNG")
    mine = "SELECT COUNT(*) FROM artifact WHERE job_id IN (SELECT id FROM job WHERE org_id = :org)"
    assert house.rows(mine, org=account.org.id) == [(0,)]
    assert house.rows("SELECT state FROM job WHERE org_id = :org", org=account.org.id) == [("succeeded",)]


def test_a_refused_frame_costs_nothing_and_the_session_goes_on(
    house: House, account: Account, upstream: Upstream
) -> None:
    broken: list[Any] = [
        b"\xc1", b"\x93\x01\x02\x03", msgspec.msgpack.encode({1: "a"}), "no json", "[]",
        msgspec.msgpack.encode({"prompt": "a", "guidance": float("nan")}),
        msgspec.msgpack.encode({"prompt": b"bytes"}), msgspec.msgpack.encode({"prompt": msgspec.msgpack.Ext(4, b"x")}),
        msgspec.msgpack.encode({}), msgspec.msgpack.encode({"prompt": "a", "num_images": 99}),
    ]  # fmt: skip
    with keyed(house, account.key()) as session:
        for frame in broken:
            session.socket.send(frame)
            refusal = session.heard()
            assert (refusal["type"], refusal["error"]) == ("x-fal-error", "INVALID_INPUT"), frame
            assert refusal["reason"] and refusal["status"] in (400, 422) and refusal["detail"]
        assert account.jobs == 0
        assert session.ask(prompt="still here")["images"]
    assert account.spent_micro == PRICE_MICRO


def test_money_that_runs_out_is_said_and_new_money_goes_on(house: House, upstream: Upstream) -> None:
    account = house.account(micro=PRICE_MICRO + 1)
    with keyed(house, account.key()) as session:
        assert session.ask(prompt="one")["images"]
        refusal = session.ask(prompt="two")
        assert refusal["error"] == "INSUFFICIENT_CREDITS" and refusal["status"] == 403
        assert refusal["reason"].startswith("User is locked. Reason: Exhausted balance.")
        house.ask(house.app.ledger.credit(account.org.id, PRICE_MICRO))
        assert session.ask(prompt="three")["images"]
    assert account.spent_micro == 2 * PRICE_MICRO and account.jobs == 2


def test_a_frame_that_fails_upstream_is_refunded_and_said(house: House, account: Account, upstream: Upstream) -> None:
    upstream.answers.append(error(400, "moderation_blocked"))
    with keyed(house, account.key()) as session:
        failed = session.ask(prompt="a lighthouse")
        assert failed["error"] == "MODERATION_BLOCKED" and failed["detail"][0]["type"] == "content_policy_violation"
        assert session.ask(prompt="a lighthouse")["images"]
    assert account.spent_micro == PRICE_MICRO and account.held_micro == 0


def test_with_little_buffering_the_newest_frame_wins(house: House, account: Account, gated: Upstream) -> None:
    with keyed(house, account.key(), query="?max_buffering=1") as session:
        session.send(prompt="first")
        assert gated.arrived.wait(30)
        for word in ("second", "third", "fourth"):
            session.send(prompt=word)
        session.socket.ping().wait(30)  # what was sent before the ping has been taken
        gated.gate.set()
        answers = [session.heard()["prompt"] for _ in range(2)]
    assert answers == ["first", "fourth"]
    assert session.notes == [{"type": "x-fal-message", "action": "dropped", "frames": 2}]
    assert len(gated.seen) == account.jobs == 2 and account.spent_micro == 2 * PRICE_MICRO


def test_without_a_bound_every_frame_is_answered_in_order(house: House, account: Account, upstream: Upstream) -> None:
    with keyed(house, account.key()) as session:
        for number in range(10):
            session.send(prompt=f"frame {number}")
        assert [session.heard()["prompt"] for _ in range(10)] == [f"frame {number}" for number in range(10)]


def test_who_hangs_up_is_charged_once_and_gets_the_frame_by_sending_it_again(
    house: House, account: Account, gated: Upstream
) -> None:
    key = account.key()
    with keyed(house, key) as session:
        session.send(prompt="cut off", seed=1)
        session.send(prompt="never accepted")
        assert gated.arrived.wait(30)
    wait_for(house, "SELECT COUNT(*) FROM idempotency WHERE answer = 'broken' AND id LIKE :org", 1, account)
    gated.gate.set()
    wait_for(house, "SELECT COUNT(*) FROM job WHERE state = 'succeeded' AND org_id || '%' = :org", 1, account)
    with keyed(house, key) as session:
        again = session.ask(prompt="cut off", seed=1)
    assert again["images"][0]["content"] == PICTURE
    assert len(gated.seen) == account.jobs == 1 and account.spent_micro == PRICE_MICRO and account.held_micro == 0


def test_the_result_of_a_caller_who_is_gone_can_be_fetched(
    house: House, account: Account, gated: Upstream, fal_of: Any
) -> None:
    key = account.key()
    with keyed(house, key) as session:
        session.send(prompt="fetched later")
        assert gated.arrived.wait(30)
    wait_for(house, "SELECT COUNT(*) FROM idempotency WHERE answer = 'broken' AND id LIKE :org", 1, account)
    gated.gate.set()
    wait_for(house, "SELECT COUNT(*) FROM job WHERE state = 'succeeded' AND org_id || '%' = :org", 1, account)
    caller: Fal = fal_of()
    caller.auth = {"authorization": f"Key {key}"}
    ((ident,),) = house.rows("SELECT id FROM job WHERE org_id = :org", org=account.org.id)
    assert caller.result(ident).json()["images"][0]["url"].startswith("http"), "it was stored instead of shown"


def test_a_frame_has_its_own_limits(house: House, upstream: Upstream) -> None:
    slow, rich = house.account(), house.account()
    with keyed(house, slow.key(requests_per_minute=1)) as session:
        assert session.ask(prompt="one")["images"]
        assert session.ask(prompt="two")["error"] == "RATE_LIMITED"
    with keyed(house, rich.key()) as session:
        large = session.ask(prompt="x" * (house.app.settings.limits.max_body_bytes + 1))
        assert (large["error"], large["status"]) == ("PAYLOAD_TOO_LARGE", 413)
        with pytest.raises(ConnectionClosed):  # 1009, which may be lost among what is still being sent
            session.socket.send(b"x" * (17 << 20))
            session.heard()
    rich.untouched()
    assert slow.jobs == 1


def test_a_key_has_so_many_sessions_and_a_closed_one_makes_room(
    house: House, account: Account, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.app.asgi._fal._desk.sessions, "_cap", 1)
    key = account.key()
    with keyed(house, key) as first:
        with keyed(house, key) as second:
            assert second.heard()["error"] == "RATE_LIMITED"
            assert second.closed[0] == 1013
        with keyed(house, account.key()) as other:
            assert other.ask(prompt="another key")["images"]
        assert first.ask(prompt="still open")["images"]
    first.socket.close()
    with keyed(house, key) as third:
        assert third.ask(prompt="room again")["images"]


def test_an_idle_session_is_told_and_closed(
    house: House, account: Account, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = house.app.door.limits.model_copy(update={"realtime_idle_s": 0.2})
    monkeypatch.setattr(house.app.door, "limits", limits)
    with keyed(house, account.key()) as session:
        assert session.ask(prompt="one")["images"]
        said = session.heard()
        assert (said["type"], said["error"]) == ("x-fal-error", "TIMEOUT")
        assert session.closed[0] == 1000


@pytest.mark.parametrize(
    ("endpoint", "query", "word"),
    [
        ("no/such-model", "", "MODEL_NOT_FOUND"), ("local/sketch-video", "", "INVALID_INPUT"),
        ("test/picture", "?max_buffering=0", "INVALID_INPUT"), ("test/picture", "?max_buffering=61", "INVALID_INPUT"),
        ("test/picture", "?max_buffering=x", "INVALID_INPUT"),
        ("test/picture", "?max_buffering=00000000161", "INVALID_INPUT"),
        ("test/picture", f"?max_buffering={'1' * 5000}", "INVALID_INPUT"),
    ],
)  # fmt: skip
def test_what_no_session_can_be_of_is_said_inside_and_closed(
    endpoint: str, query: str, word: str, house: House, account: Account, upstream: Upstream
) -> None:
    with keyed(house, account.key(), endpoint, query) as session:
        assert session.heard()["error"] == word
        assert session.closed[0] == 1008


def test_a_path_without_any_socket_refuses_the_handshake(house: House, account: Account, upstream: Upstream) -> None:
    for path in ("/fal/run/test/picture", "/fal/queue/test/picture/realtime", "/v1/realtime", "/fal/ws",
                 "/api/fal/proxy"):  # fmt: skip
        with pytest.raises(InvalidStatus) as refused:
            open_at(house, path, account.key())
        assert refused.value.response.status_code in (400, 403, 404)


def test_phi_is_refused_frame_by_frame_where_no_route_is_under_an_agreement(
    house: House, account: Account, upstream: Upstream
) -> None:
    with keyed(house, account.key(), **{"x-phi": "true"}) as session:
        assert session.ask(prompt="a patient")["error"] == "PHI_BLOCKED"
    account.untouched()
    assert upstream.seen == []


def test_bytes_in_a_field_that_takes_a_file_are_taken(house: House, account: Account, upstream: Upstream) -> None:
    with keyed(house, account.key(), "local/upscale") as session:
        answer = session.ask(image_url=PICTURE)
    assert answer["image"]["content"].startswith(b"\x89PNG") and answer["image"]["width"] > 64


def open_at(house: House, path: str, key: str) -> None:
    from websockets.sync.client import connect

    url = house.url.replace("http", "ws", 1) + path
    with connect(url, additional_headers={"authorization": f"Key {key}"}):
        pass
