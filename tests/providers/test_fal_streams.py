"""What streams at fal streams here too, and is one charge for one whole output."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Delta, Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import Emit, HttpResponse, Listen, MaybeSent, Next, ServerEvent
from calotype.providers.base import Call
from calotype.providers.fal import Fal
from calotype.sandbox.fal import Fal as FalEmulator
from calotype.sandbox.serve import on_a_thread
from calotype.settings import ProviderSettings
from running import House, running

HEAD = HttpResponse(200, {"content-type": "text/event-stream", "x-fal-request-id": "r1"})


def talk(answer: HttpResponse, *events: Any, operation: Operation = Operation.CHAT) -> tuple[Outcome, list[Delta]]:
    """Drive a streamed call with an answer and its events; an exception among them is thrown."""
    fal = Fal("fal", ProviderSettings(api_key=SecretStr("id:secret")))
    call = Call("job", 1, "job-1", operation, "fal-ai/any-llm", {"prompt": "hi"}, stream=True)
    steps = fal.submit(call)
    shown: list[Delta] = []
    left = list(events)
    step = next(steps)
    assert isinstance(step, Listen)
    assert (step.request.url, step.request.commits) == ("https://fal.run/fal-ai/any-llm/stream", True)
    given: Any = answer
    try:
        while True:
            step = steps.throw(given) if isinstance(given, Exception) else steps.send(given)
            if isinstance(step, Emit):
                shown.append(step.delta)
                given = None
            else:
                assert isinstance(step, Next)
                given = left.pop(0) if left else None
                if isinstance(given, dict):
                    given = ServerEvent(json.dumps(given))
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome, shown


def test_text_that_grows_is_shown_piece_by_piece() -> None:
    whole = {"output": "Hello there", "reasoning": None, "partial": False, "error": None}
    outcome, shown = talk(HEAD, {"output": "Hello", "partial": True}, {"output": "Hello there", "partial": True}, whole)
    assert [delta.data for delta in shown] == [{"content": "Hello"}, {"content": " there"}]
    assert isinstance(outcome, Succeeded)
    assert outcome.data["choices"][0]["message"]["content"] == "Hello there"
    assert outcome.upstream_id == "r1"


def test_other_models_events_are_shown_as_they_are_and_the_last_is_the_output() -> None:
    files = {"images": [{"url": "https://v3.fal.media/files/a.png", "content_type": "image/png"}]}
    outcome, shown = talk(HEAD, {"progress": 0.5}, files, operation=Operation.TEXT_TO_IMAGE)
    assert [(delta.kind, delta.data) for delta in shown] == [("event", {"progress": 0.5}), ("event", files)]
    assert isinstance(outcome, Succeeded)
    assert [output.url for output in outcome.outputs] == [files["images"][0]["url"]]


@pytest.mark.parametrize(
    ("answer", "events", "kind"),
    [
        (HttpResponse(403, {}, b'{"detail":"User is locked."}'), (), FailedKind.QUOTA),
        (
            HttpResponse(422, {}, b'{"detail":[{"loc":["body","prompt"],"msg":"no","type":"x"}]}'),
            (),
            FailedKind.INVALID,
        ),
        (HttpResponse(429, {}, b"{}"), (), FailedKind.RETRY),
        (HEAD, (), FailedKind.UNKNOWN),
        (HEAD, ({"output": "Hel", "partial": True},), FailedKind.UNKNOWN),
        (HEAD, ({"output": "Hel", "partial": True}, MaybeSent("cut")), FailedKind.UNKNOWN),
        (HEAD, ({"output": "", "partial": False, "error": "no such model"},), FailedKind.UPSTREAM),
    ],
)
def test_what_does_not_come_to_its_end_is_no_result(answer: HttpResponse, events: Any, kind: FailedKind) -> None:
    outcome, _ = talk(answer, *events)
    assert isinstance(outcome, Failed)
    assert outcome.kind is kind


@pytest.fixture(scope="module")
def fal() -> Iterator[FalEmulator]:
    emulator = FalEmulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture(scope="module")
def house(fal: FalEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = {"api_key": "sandbox:key", "base_url": f"{fal.url}/queue"}
    prices = {"fal-ai/any-llm": 1000}
    with running(tmp_path_factory.mktemp("house"), providers={"fal": settings}, prices=prices) as one:
        yield one


def events(house: House, key: str, prompt: str) -> tuple[int, list[dict[str, Any]]]:
    with httpx2.stream(
        "POST", f"{house.url}/fal/run/fal-ai/any-llm/stream", json={"prompt": prompt},
        headers={"Authorization": f"Key {key}"}, timeout=30,
    ) as answer:  # fmt: skip
        lines = list(answer.iter_lines())
    return answer.status_code, [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def test_a_stream_of_fal_reaches_our_caller_and_is_charged_once(house: House, fal: FalEmulator) -> None:
    fal.reset()
    account = house.account()
    status, told = events(house, account.key(), "tell me of herons")
    assert status == 200
    assert [event["partial"] for event in told[:-1]] == [True] * (len(told) - 1)
    assert len(told) > 2, "it came in pieces"
    assert told[-1]["output"].startswith(told[-2]["output"])
    assert account.spent_micro > 0
    assert account.held_micro == 0
    assert [submit.path for submit in fal.submits] == ["/run/fal-ai/any-llm/stream"]


def test_a_stream_that_breaks_off_at_fal_is_not_charged_and_not_sent_again(house: House, fal: FalEmulator) -> None:
    fal.reset()
    account = house.account()
    status, told = events(house, account.key(), "tell me of owls @stops")
    assert status == 200
    assert "detail" in told[-1]
    assert (account.spent_micro, account.held_micro) == (0, 0)
    assert len(fal.submits) == 1
