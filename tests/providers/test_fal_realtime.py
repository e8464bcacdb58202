"""Frames over one WebSocket to fal: one paid request each, and never a second one (`wire/fal.md §6.3`)."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import Dial, Hear, HttpRequest, HttpResponse, Keep, MaybeSent, NotSent, Say, Step
from calotype.providers.base import Call
from calotype.providers.credentials import Ring
from calotype.providers.fal import Fal
from calotype.sandbox.fal import Fal as FalEmulator
from calotype.sandbox.serve import on_a_thread
from calotype.settings import ProviderSettings
from fal_session import keyed
from running import Account, House, running

MODEL = "fal-ai/fast-frames"
SLOW = "fal-ai/slow-frames"
PRICE_MICRO = 2_000
CARD = """
[[cards]]
id = "fal-ai/fast-frames"
title = "Frames"
operation = "text-to-image"
output = "image"

[cards.input]
required = ["prompt"]

[cards.input.properties]
prompt = { "$ref" = "_shared.toml#/prompt" }
seed = { "$ref" = "_shared.toml#/seed" }
image_size = { type = "string" }

[cards.example]
prompt = "a lighthouse"

[[cards.routes]]
provider = "fal"
upstream = "fal-ai/flux/schnell"
realtime = true
cost_source = "a test"
cost = { unit = "image", micro = 1_000 }
"""
OPEN, NONE = HttpResponse(101), HttpResponse(404)
TOKEN = HttpResponse(200, {}, b'"eyJ0.token"')
PICTURE = {"content": b"\x89PNG", "content_type": "image/png", "width": 1, "height": 1}
RESULT = {"images": [PICTURE], "seed": 7, "request_id": "r-1"}


# -- the adapter's conversation ---------------------------------------------------------------------------------------


def talk(*answers: Any) -> tuple[Outcome, list[Step]]:
    """Drive one frame with answers in their order; an exception among them is thrown."""
    fal = Fal("fal", ProviderSettings(api_key=SecretStr("id:secret")))
    call = Call("job", 1, "job-1", Operation.TEXT_TO_IMAGE, "fal-ai/flux/schnell", {"prompt": "hi"}, session="s1")
    steps, left, seen = fal.submit(call), list(answers), []
    given: Any = None
    try:
        while True:
            step = steps.throw(given) if isinstance(given, Exception) else steps.send(given)
            seen.append(step)
            given = None if isinstance(step, Say | Keep) else left.pop(0)
            if isinstance(step, Say) and left and isinstance(left[0], NotSent):
                given = left.pop(0)
    except StopIteration as end:
        assert left == []
        outcome: Outcome = end.value
        return outcome, seen


def packed(**body: Any) -> bytes:
    return msgspec.msgpack.encode(body)


def test_the_first_frame_opens_the_session_with_a_token_for_the_alias() -> None:
    outcome, seen = talk(NONE, TOKEN, OPEN, packed(**RESULT))
    dial, token, opened, say, hear, keep = seen
    assert isinstance(dial, Dial) and dial.request is None and "secret" not in dial.name and dial.name.startswith("s1/")
    assert isinstance(token, HttpRequest) and token.url == "https://rest.fal.ai/tokens/" and not token.commits
    assert msgspec.json.decode(token.body) == {"allowed_apps": ["flux"], "token_expiration": 120}  # type: ignore[arg-type]
    assert isinstance(opened, Dial) and opened.request is not None and opened.name == dial.name
    assert opened.request.url == "wss://fal.run/fal-ai/flux/schnell/realtime?fal_jwt_token=eyJ0.token"
    assert opened.request.headers == {}, "the token alone opens it"
    assert isinstance(say, Say) and say.commits and isinstance(say.message, bytes)
    assert msgspec.msgpack.decode(say.message) == {"prompt": "hi", "sync_mode": True}
    assert isinstance(hear, Hear) and isinstance(keep, Keep)
    assert isinstance(outcome, Succeeded) and outcome.upstream_id == "r-1"
    assert (outcome.outputs[0].base64, outcome.outputs[0].content_type) == (b"iVBORw==", "image/png")
    assert outcome.data == {"seed": 7, "files": ["images.0"]}


def test_a_frame_that_carries_phi_is_a_request_that_asks_for_nothing_to_be_kept() -> None:
    fal = Fal("fal", ProviderSettings(api_key=SecretStr("id:secret")))
    call = Call(
        "job", 1, "job-1", Operation.TEXT_TO_IMAGE, "fal-ai/flux/schnell", {"prompt": "hi"}, session="s1",
        data_class=DataClass.PHI,
    )  # fmt: skip
    step = fal.submit(call).send(None)
    assert isinstance(step, HttpRequest) and step.commits and step.headers["X-Fal-Store-IO"] == "0"
    assert step.url.startswith("https://queue.fal.run/fal-ai/flux/schnell")


def test_a_kept_session_is_used_again_and_its_notes_are_passed_over() -> None:
    note = '{"type":"x-fal-message","action":"timings"}'
    outcome, seen = talk(OPEN, note, None, note, packed(**RESULT))
    assert isinstance(outcome, Succeeded)
    assert [type(step) for step in seen] == [Dial, Hear, Hear, Say, Hear, Hear, Keep]


@pytest.mark.parametrize("left", [b"\xc1", packed(**RESULT), '{"type":"x-fal-error","error":"TIMEOUT"}', MaybeSent()])
def test_a_kept_session_on_which_something_happened_is_opened_anew(left: Any) -> None:
    outcome, seen = talk(OPEN, left, TOKEN, OPEN, packed(**RESULT))
    assert isinstance(outcome, Succeeded)
    assert [type(step) for step in seen] == [Dial, Hear, HttpRequest, Dial, Say, Hear, Keep]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ('{"type":"x-fal-error","error":"INTERNAL_ERROR","reason":"a cat"}', FailedKind.UPSTREAM),
        ('{"type":"x-fal-error","error":"TIMEOUT","reason":"no inputs"}', FailedKind.UNKNOWN),
        ('{"status":"error","error":"Unauthorized"}', FailedKind.AUTH), (b"\xc1", FailedKind.UNKNOWN),
        ("[]", FailedKind.UNKNOWN), (packed(images=[]), FailedKind.UPSTREAM),
    ],
)  # fmt: skip
def test_what_else_comes_is_an_end_without_a_second_sending(answer: Any, kind: FailedKind) -> None:
    outcome, seen = talk(NONE, TOKEN, OPEN, answer)
    assert isinstance(outcome, Failed) and outcome.kind is kind and "cat" not in outcome.message
    assert sum(isinstance(step, Say) for step in seen) == 1
    assert kind is FailedKind.UPSTREAM or not any(isinstance(step, Keep) for step in seen)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ((NONE, HttpResponse(401, {}, b'{"detail":"No user found"}')), FailedKind.AUTH),
        ((NONE, HttpResponse(403, {}, b'{"detail":"User is locked."}')), FailedKind.QUOTA),
        ((NONE, HttpResponse(422, {}, b'{"detail":"no"}')), FailedKind.RETRY),
        ((NONE, HttpResponse(200, {}, b"{}")), FailedKind.RETRY), ((NONE, MaybeSent()), FailedKind.RETRY),
        ((NONE, TOKEN, HttpResponse(404)), FailedKind.GONE), ((NONE, TOKEN, HttpResponse(502)), FailedKind.RETRY),
        ((NONE, TOKEN, NotSent()), FailedKind.RETRY),
    ],
)  # fmt: skip
def test_a_session_that_does_not_open_costs_nothing(answers: Any, kind: FailedKind) -> None:
    outcome, seen = talk(*answers)
    assert isinstance(outcome, Failed) and outcome.kind is kind
    assert not any(isinstance(step, Say) for step in seen)


def test_the_frames_of_a_session_use_one_credential() -> None:
    ring = Ring([Fal("fal", ProviderSettings(api_key=SecretStr(f"id:{n}"))) for n in range(5)])
    call = Call("job", 1, "t", Operation.TEXT_TO_IMAGE, "m", {}, session="s1")
    assert len({id(ring.choose(call)) for _ in range(10)}) == 1
    assert len({id(ring.choose(msgspec.structs.replace(call, session=None))) for _ in range(10)}) == 5


# -- against the emulator ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _fal() -> Iterator[FalEmulator]:
    emulator = FalEmulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def fal(_fal: FalEmulator) -> FalEmulator:
    _fal.reset()
    return _fal


@pytest.fixture(scope="module")
def house(_fal: FalEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    cards: Path = tmp_path_factory.mktemp("cards")
    (cards / "frames.toml").write_text(CARD)
    (cards / "slow.toml").write_text(CARD.replace(MODEL, SLOW).replace("realtime = true\n", ""))
    provider = {"api_key": "sandbox:key", "base_url": f"{_fal.url}/queue", "read_timeout_s": 1}
    more = {"cards_dir": cards, "prices": {MODEL: PRICE_MICRO, SLOW: PRICE_MICRO}}
    with running(tmp_path_factory.mktemp("house"), providers={"fal": provider}, **more) as one:
        yield one


@pytest.fixture
def account(house: House) -> Account:
    return house.account()


def submissions(account: Account) -> list[str]:
    found = account.house.rows(
        "SELECT s.state FROM submission s JOIN job j ON j.id = s.job_id WHERE j.org_id = :org ORDER BY j.id, s.attempt",
        org=account.org.id,
    )
    return [state for (state,) in found]


def test_all_frames_of_a_session_go_over_one_socket(fal: FalEmulator, house: House, account: Account) -> None:
    with keyed(house, account.key(), MODEL) as session:
        for number in range(5):
            answer = session.ask(prompt=f"frame {number}", image_size="square")
            assert answer["images"][0]["content"].startswith(b"\x89PNG") and answer["images"][0]["width"] == 512
            assert answer["prompt"] == f"frame {number}"
    assert fal.realtime.opened == 1 and [submit.method for submit in fal.submits] == ["FRAME"] * 5
    assert account.spent_micro == 5 * PRICE_MICRO and account.held_micro == 0
    assert submissions(account) == ["done"] * 5
    files = "SELECT COUNT(*) FROM artifact WHERE job_id IN (SELECT id FROM job WHERE org_id = :org)"
    assert house.rows(files, org=account.org.id) == [(0,)]


def test_each_session_has_its_own_socket(fal: FalEmulator, house: House, account: Account) -> None:
    with keyed(house, account.key(), MODEL) as one, keyed(house, account.key(), MODEL) as other:
        for _ in range(2):
            assert one.ask(prompt="one")["images"] and other.ask(prompt="other")["images"]
    assert fal.realtime.opened == 2 and len(fal.submits) == 4


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("@cut=read", "ambiguous"), ("@cut=after", "ambiguous"), ("@idle", "ambiguous"), ("@hang", "ambiguous"),
        ("@moderated", "failed"), ("@status=500", "failed"),
    ],
)  # fmt: skip
def test_a_frame_that_is_lost_upstream_is_refunded_and_not_sent_again(
    word: str, state: str, fal: FalEmulator, house: House, account: Account
) -> None:
    with keyed(house, account.key(), MODEL) as session:
        assert session.ask(prompt="before")["images"]
        lost = session.ask(prompt=f"lost {word}")
        assert lost["type"] == "x-fal-error" and lost["error"] == "UPSTREAM_FAILED", lost
        assert session.ask(prompt="after")["images"], "the session goes on over a new socket"
    assert len(fal.submits) == 3 and fal.realtime.opened == 2
    assert submissions(account) == ["done", state, "done"]
    assert account.spent_micro == 2 * PRICE_MICRO and account.held_micro == 0


def test_a_socket_that_fal_closed_while_idle_is_opened_anew(fal: FalEmulator, house: House, account: Account) -> None:
    fal.settings["realtime_idle_s"] = 0.1
    runtime: Any = house.app.runtimes["fal"]
    with keyed(house, account.key(), MODEL) as session:
        assert session.ask(prompt="before")["images"]
        *_, (line, _) = runtime.upstream.lines._kept.values()
        until_s = time.monotonic() + 30
        while line.open and time.monotonic() < until_s:
            time.sleep(0.02)
        assert session.ask(prompt="after")["images"]
    assert fal.realtime.opened == 2 and account.spent_micro == 2 * PRICE_MICRO


def test_on_a_route_without_sessions_a_frame_goes_through_the_queue(
    fal: FalEmulator, house: House, account: Account
) -> None:
    with keyed(house, account.key(), SLOW) as session:
        answer = session.ask(prompt="a hill", image_size="square")
    assert answer["images"][0]["content"].startswith(b"\x89PNG") and answer["images"][0]["width"] == 512
    assert [submit.method for submit in fal.submits] == ["POST"] and fal.realtime.opened == 0
    assert account.spent_micro == PRICE_MICRO
    files = "SELECT COUNT(*) FROM artifact WHERE job_id IN (SELECT id FROM job WHERE org_id = :org)"
    assert house.rows(files, org=account.org.id) == [(0,)]


def test_outside_of_sessions_the_same_model_goes_through_the_queue(
    fal: FalEmulator, house: House, account: Account
) -> None:
    import httpx2

    headers = {"authorization": f"Key {account.key()}"}
    answer = httpx2.post(f"{house.url}/fal/run/{MODEL}", json={"prompt": "a hill"}, headers=headers, timeout=60)
    assert answer.status_code == 200 and fal.realtime.opened == 0
    assert [submit.method for submit in fal.submits] == ["POST"]


def test_the_key_and_the_token_are_in_no_log_and_no_row(fal: FalEmulator, house: House, account: Account) -> None:
    with keyed(house, account.key(), MODEL) as session:
        session.ask(prompt="lost @cut=read")
    tokens = list(fal.realtime.tokens)
    folder = house.app.settings.data_dir
    kept = b"".join(path.read_bytes() for path in (folder / "server.log", *folder.glob("*.db*")))
    assert tokens and not any(token.encode() in kept for token in tokens) and b"sandbox:key" not in kept
