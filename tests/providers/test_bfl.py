"""Black Forest Labs: each conversation with recorded answers (`wire/providers.md §4`)."""

from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from calotype.kernel.clock import ManualClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse, MaybeSent, NotSent, Parallel
from calotype.providers.base import Call, Check, Idempotency, MediaInputs
from calotype.providers.bfl import Bfl
from calotype.settings import ProviderSettings

KEY = "bfl-5f0c2ad1-beef-4cafe"
PROMPT = "a very private garden by the sea"
ID = "0f3b5c1e-77aa"
POLL = f"https://api.eu1.bfl.ai/v1/get_result?id={ID}"
TAKEN = {"id": ID, "polling_url": POLL, "cost": 4.5, "input_mp": 0.0, "output_mp": 2.1}
SAMPLE = "https://delivery-eu1.bfl.ai/results/x/sample.jpeg?sig=abc"


def provider(clock: ManualClock | None = None, name: str = "bfl", **settings: Any) -> Bfl:
    settings.setdefault("api_key", SecretStr(KEY))
    return Bfl(name, ProviderSettings(kind="bfl", **settings), clock)


def call(model: str = "flux-2-pro", **changes: Any) -> Call:
    fields = {"prompt": PROMPT, "size": "1024x768", "seed": None, "n": 1, **changes.pop("input", {})}
    token = changes.pop("token", "token-1")
    return Call("job", 1, token, Operation.TEXT_TO_IMAGE, model, fields, **changes)


def answer(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def told(steps: Generator[Any, Any, Any], *answers: Any) -> tuple[list[Any], Any]:
    """Drive a conversation; return its steps and its end."""
    asked = [next(steps)]
    for one in answers:
        try:
            step = steps.throw(one) if isinstance(one, Exception) else steps.send(one)
        except StopIteration as end:
            assert one is answers[-1]
            return asked, end.value
        asked.append(step)
    raise AssertionError("the conversation goes on")


def submitted(*answers: Any, **changes: Any) -> Any:
    return told(provider().submit(call(**changes)), *answers)[1]


def handle(*urls: str, since_ms: int = 0, **bill: Any) -> dict[str, Any]:
    tasks = [{"id": f"{ID}-{n}", "url": url} for n, url in enumerate(urls or (POLL,))]
    return {"tasks": tasks, "missing": 0, "since_ms": since_ms, "bill": bill or {"credits": "4.5"}}


def polled(*answers: HttpResponse, after_s: float = 60.0, **changes: Any) -> Outcome:
    clock = ManualClock()
    known = {**handle(*[POLL] * len(answers), since_ms=clock.now_ms()), **changes}
    clock.advance(int(after_s * 1000))
    outcome: Outcome = told(provider(clock).poll(known), answers)[1]
    return outcome


# -- submit -----------------------------------------------------------------------------------------------------------


def test_a_prompt_becomes_one_request_that_commits_and_its_price_is_known_at_once() -> None:
    (request,), outcome = told(provider().submit(call()), answer(TAKEN))
    assert (request.method, request.url, request.commits) == ("POST", "https://api.bfl.ai/v1/flux-2-pro", True)
    assert msgspec.json.decode(request.body) == {"prompt": PROMPT, "width": 1024, "height": 768}
    assert request.headers["x-key"] == KEY
    assert isinstance(outcome, Pending)
    assert outcome.handle["tasks"] == [{"id": ID, "url": POLL}]
    assert outcome.cost == Cost(45_000, "4.5", "bfl_credit", "response")
    assert outcome.upstream_id == ID


def test_it_offers_nothing_against_doing_the_same_twice_and_takes_files_as_text() -> None:
    assert (Bfl.idempotency, Bfl.media_inputs, Bfl.callbacks) == (Idempotency.NONE, MediaInputs.DATA, False)


@pytest.mark.parametrize(
    ("name", "base_url", "asked"),
    [
        ("bfl", None, "https://api.bfl.ai/v1/flux-2-pro"),
        ("bfl-eu", None, "https://api.eu.bfl.ai/v1/flux-2-pro"),
        ("bfl-us", None, "https://api.us.bfl.ai/v1/flux-2-pro"),
        ("bfl-eu", "https://proxy.example/flux/v1/", "https://proxy.example/flux/v1/flux-2-pro"),
    ],
)
def test_an_instance_has_the_host_of_its_region_by_its_name(name: str, base_url: str | None, asked: str) -> None:
    assert next(provider(name=name, base_url=base_url).submit(call())).url == asked  # type: ignore[union-attr]


@pytest.mark.parametrize("base_url", ["ftp://api.bfl.ai", "https://me:secret@api.bfl.ai", "https://x/?a=b", "nonsense"])
def test_a_base_url_that_cannot_be_used_is_refused_by_name(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"providers\.bfl\.base_url"):
        provider(base_url=base_url)


@pytest.mark.parametrize(
    ("base_url", "url", "followed"),
    [
        (None, "https://gateway.bfl.ai/v1/get_result?id=1", True),
        (None, "https://bfl.ai/x", True),
        (None, "http://api.eu1.bfl.ai/x", False),
        (None, "https://api.eu1.bfl.ai:8443/x", False),
        (None, "https://bfl.ai.evil.example/x", False),
        (None, "https://evilbfl.ai/x", False),
        (None, "https://me:you@api.bfl.ai/x", False),
        (None, "https://[", False),
        (None, None, False),
        ("http://127.0.0.1:8750", "http://127.0.0.1:8751/v1/get_result?id=1", True),
        ("http://127.0.0.1:8750", "http://127.0.0.2:8751/x", False),
        ("https://proxy.example", "http://proxy.example/x", False),
        ("https://proxy.example", "https://api.eu1.bfl.ai/x", False),
    ],
)
def test_our_key_goes_to_allowed_polling_addresses_only(base_url: str | None, url: Any, followed: bool) -> None:
    _, outcome = told(provider(base_url=base_url).submit(call()), answer({**TAKEN, "polling_url": url}))
    own = f"{base_url or 'https://api.bfl.ai'}/v1/get_result?id={ID}"
    assert outcome.handle["tasks"][0]["url"] == (url if followed else own)
    asked = next(provider(base_url=base_url).poll(outcome.handle))
    assert isinstance(asked, Parallel) and asked.requests[0].headers["x-key"] == KEY


def test_pictures_travel_as_bare_base64_under_numbered_names() -> None:
    pictures = [f"data:image/png;base64,{text}" for text in ("QUJD", "REVG", "R0hJ")]
    request = next(provider().submit(call(input={"input_image": pictures, "size": "auto"})))
    assert isinstance(request, HttpRequest) and isinstance(request.body, bytes)
    assert msgspec.json.decode(request.body) == {
        "prompt": PROMPT, "input_image": "QUJD", "input_image_2": "REVG", "input_image_3": "R0hJ",
    }  # fmt: skip


def test_without_a_picture_to_follow_the_size_is_said_so_that_its_price_is_known() -> None:
    request = next(provider().submit(call(input={"size": "auto"})))
    assert isinstance(request, HttpRequest) and isinstance(request.body, bytes)
    assert msgspec.json.decode(request.body) == {"prompt": PROMPT, "width": 1024, "height": 1024}


def test_several_pictures_are_several_tasks_with_seeds_of_their_own() -> None:
    second = {**TAKEN, "id": "two", "cost": 3.0}
    steps, outcome = told(provider().submit(call(outputs=2, input={"seed": 7})), answer(TAKEN), answer(second))
    assert [msgspec.json.decode(step.body)["seed"] for step in steps] == [7, 8]
    assert all(step.commits for step in steps)
    assert [task["id"] for task in outcome.handle["tasks"]] == [ID, "two"]
    assert outcome.cost == Cost(75_000, "7.5", "bfl_credit", "response")


@pytest.mark.parametrize(
    "second", [answer({"detail": "busy"}, 429), MaybeSent("cut"), NotSent("off"), answer(b"<html>")]
)
def test_what_was_taken_is_delivered_whatever_becomes_of_the_rest(second: Any) -> None:
    outcome = submitted(answer(TAKEN), second, outputs=3)
    assert isinstance(outcome, Pending)
    assert (len(outcome.handle["tasks"]), outcome.handle["missing"]) == (1, 2)


def test_a_first_request_that_broke_off_is_for_the_driver_to_judge() -> None:
    with pytest.raises(MaybeSent):
        submitted(MaybeSent("cut"), outputs=2)


def test_without_a_credential_nothing_is_sent() -> None:
    with pytest.raises(StopIteration) as end:
        next(provider(api_key=None).submit(call()))
    assert end.value.value.kind is FailedKind.AUTH


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"detail": "Invalid request"}, FailedKind.INVALID),
        (401, {"detail": "Not authenticated"}, FailedKind.AUTH),
        (403, {"error": "forbidden", "message": "no"}, FailedKind.AUTH),
        (402, {"detail": "Insufficient credits"}, FailedKind.QUOTA),
        (404, {"detail": "Not Found"}, FailedKind.GONE),
        (301, b"", FailedKind.GONE),
        (409, {"detail": "?"}, FailedKind.UNKNOWN),
        (413, {"detail": "Too large"}, FailedKind.INVALID),
        (422, {"detail": [{"loc": ["body", "width"], "msg": "x", "type": "y"}]}, FailedKind.INVALID),
        (429, {"detail": "Too many active tasks"}, FailedKind.RETRY),
        (500, {"detail": "?"}, FailedKind.UNKNOWN),
        (502, b"<html>", FailedKind.UNKNOWN),
        (503, {"detail": "busy"}, FailedKind.RETRY),
        (504, b"", FailedKind.UNKNOWN),
    ],
)
def test_each_refusal_has_its_meaning(status: int, body: Any, kind: FailedKind) -> None:
    outcome = submitted(answer(body, status))
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.status) == (kind, status)


def test_a_refusal_that_took_long_may_stand_for_an_accepted_request() -> None:
    clock = ManualClock()
    steps = provider(clock).submit(call())
    next(steps)
    clock.advance(6_000)
    with pytest.raises(StopIteration) as end:
        steps.send(answer({"detail": "busy"}, 503))
    assert end.value.value.kind is FailedKind.UNKNOWN


def test_a_wrong_field_is_named_as_the_caller_knows_it_and_a_wait_is_kept() -> None:
    wrong = submitted(answer({"detail": [{"loc": ["body", "width"], "msg": "x", "type": "y"}]}, 422))
    assert wrong.field == "size"
    assert submitted(answer({"detail": "wait"}, 429, retry_after="7")).retry_after_s == 7.0


def test_an_operator_reads_neither_key_nor_prompt_and_of_phi_nothing() -> None:
    text = {"detail": f"bad prompt {PROMPT!r} for key {KEY}"}
    shown = submitted(answer(text, 400)).detail
    assert "bad prompt" in shown and PROMPT not in shown and KEY not in shown
    assert submitted(answer(text, 400), data_class=DataClass.PHI).detail == "HTTP 400"


@pytest.mark.parametrize("body", [b"<html>", [], {"polling_url": POLL}, {"id": 7}, {"id": "x" * 300}])
def test_an_accepted_request_without_an_id_is_ambiguous(body: Any) -> None:
    assert submitted(answer(body)).kind is FailedKind.UNKNOWN


@pytest.mark.parametrize("cost", [None, "much", -1, True, float("1e9")])
def test_a_bill_that_is_none_is_left_to_the_price_table(cost: Any) -> None:
    assert submitted(answer({**TAKEN, "cost": cost})).cost is None


def test_an_answer_without_a_polling_address_is_asked_for_where_it_was_submitted() -> None:
    _, outcome = told(provider(name="bfl-eu").submit(call()), answer({"id": "a b&c", "cost": 3.0}))
    assert outcome.handle["tasks"][0]["url"] == "https://api.eu.bfl.ai/v1/get_result?id=a+b%26c"


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"input_mp": 0.0, "output_mp": 1.05}, {"input_megapixels": 0, "further_megapixels": 0}),
        ({"input_mp": 2.1, "output_mp": 2.1}, {"input_megapixels": 2, "further_megapixels": 1}),
        ({"input_mp": 0.3, "output_mp": 4.19}, {"input_megapixels": 1, "further_megapixels": 3}),
        ({"input_mp": None, "output_mp": 1.2}, {"further_megapixels": 1}),
    ],
)
def test_megapixels_are_counted_as_they_are_sold(said: dict[str, Any], usage: dict[str, int]) -> None:
    pending = submitted(answer({**TAKEN, **said}))
    (done,) = [told(provider().poll(pending.handle), (ready(),))[1]]
    assert done.usage == usage


# -- poll -------------------------------------------------------------------------------------------------------------


def ready(sample: Any = SAMPLE, **result: Any) -> HttpResponse:
    return answer({"id": ID, "status": "Ready", "result": {"sample": sample, "prompt": PROMPT, "seed": 12, **result}})


def task(status: str, http: int = 200, **more: Any) -> HttpResponse:
    return answer({"id": ID, "status": status, "result": None, "details": None, **more}, http)


@pytest.mark.parametrize("sample", [SAMPLE, [SAMPLE], {"url": SAMPLE}, [{"url": SAMPLE}]])
def test_a_finished_task_is_a_picture_fetched_without_our_key(sample: Any) -> None:
    done = polled(ready(sample))
    assert done == Succeeded(
        (Output(url=SAMPLE),), {"seed": 12}, cost=Cost(45_000, "4.5", "bfl_credit", "response"), upstream_id=f"{ID}-0"
    )


@pytest.mark.parametrize("word", ["Pending", "Reasoning", "Generating", "Queued", "Dreaming"])
def test_every_other_word_means_still_working(word: str) -> None:
    outcome = polled(task(word, progress=0.4))
    assert isinstance(outcome, Pending) and outcome.progress == 0.4


@pytest.mark.parametrize("http", [200, 503])
@pytest.mark.parametrize(
    ("word", "kind", "code"),
    [
        ("Request Moderated", FailedKind.MODERATED, "request_moderated"),
        ("Content Moderated", FailedKind.MODERATED, "content_moderated"),
        ("Error", FailedKind.UPSTREAM, "error"),
        ("Failed", FailedKind.UPSTREAM, "error"),
    ],
)
def test_an_end_is_read_from_the_body_whatever_the_http_status(
    word: str, kind: FailedKind, code: str, http: int
) -> None:
    outcome = polled(task(word, http, details={"Moderation Reasons": ["Safety Filter"]}))
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code, outcome.detail) == (kind, code, f"{word} Safety Filter")


@pytest.mark.parametrize("gone", [task("Task not found"), task("Task not found", 404), answer({"detail": "?"}, 404)])
def test_an_unknown_task_is_waited_for_a_moment_and_then_lost(gone: HttpResponse) -> None:
    assert isinstance(polled(gone, after_s=5), Pending)
    outcome = polled(gone, after_s=11)
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.UPSTREAM


@pytest.mark.parametrize("silent", [answer(b"<html>", 502), answer({"detail": "?"}, 429), answer(b""), answer({}, 401)])
def test_a_poll_that_tells_nothing_never_ends_a_job(silent: HttpResponse) -> None:
    outcome = polled(silent)
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.RETRY


def test_a_finished_task_without_a_picture_is_a_failure_of_the_provider() -> None:
    for sample in (None, "", "ftp://x", []):
        outcome = polled(ready(sample))
        assert isinstance(outcome, Failed) and outcome.kind is FailedKind.UPSTREAM


def test_the_end_waits_for_every_task() -> None:
    outcome = polled(ready(), task("Pending", progress=0.5))
    assert isinstance(outcome, Pending) and outcome.progress == 0.75


def test_a_picture_that_was_refused_does_not_take_the_others_with_it() -> None:
    outcome = polled(ready(), task("Content Moderated"), missing=1)
    assert isinstance(outcome, Succeeded)
    assert len(outcome.outputs) == 1
    assert outcome.warnings == ("2 of 3 pictures were not made and are not charged",)


def test_the_megapixels_of_a_picture_that_was_refused_are_not_charged() -> None:
    bill = {"credits": "9", "input_megapixels": 6, "further_megapixels": 3}
    outcome = polled(ready(), task("Content Moderated"), ready(), bill=bill)
    assert isinstance(outcome, Succeeded)
    assert outcome.usage == {"input_megapixels": 4, "further_megapixels": 2}
    assert polled(ready(), ready(), ready(), bill=bill).usage == {"input_megapixels": 6, "further_megapixels": 3}


def test_a_task_cannot_be_stopped_or_looked_up() -> None:
    with pytest.raises(StopIteration) as end:
        next(provider().cancel(handle()))
    assert end.value.value is False
    with pytest.raises(StopIteration) as found:
        next(provider().lookup(call()))
    assert found.value.value is None


# -- check ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "check"),
    [
        (answer({"credits": 1234.5}), Check(True, "ok", "1,234.50 credits (12.35 USD)")),
        (answer({"detail": "Not authenticated"}, 403), Check(True, "refused")),
        (answer(b"", 503), Check(True, "unknown", note="HTTP 503")),
    ],
)
def test_the_account_is_asked_for_its_credits(said: HttpResponse, check: Check) -> None:
    (request,), found = told(provider().check(), said)
    assert (request.method, request.url, request.commits) == ("GET", "https://api.bfl.ai/v1/credits", False)
    assert found == check


def test_a_task_over_the_number_that_is_taken_at_once_waits_here_and_is_not_sent() -> None:
    clock = ManualClock()
    bfl = provider(clock)

    def begun(n: int, model: str) -> Any:
        steps = bfl.submit(call(model, token=f"token-{model}-{n}"))
        return told(steps, answer({**TAKEN, "id": f"{model}-{n}"}))[1]

    def waiting(model: str, **changes: Any) -> bool:
        with pytest.raises(StopIteration) as end:
            next(bfl.submit(call(model, **changes)))
        failed = end.value.value
        return isinstance(failed, Failed) and failed.requeue and failed.kind is FailedKind.RETRY

    first, *_ = [begun(n, "flux-kontext-max") for n in range(6)]
    assert waiting("flux-kontext-max")
    assert isinstance(begun(7, "flux-2-pro"), Pending)
    assert waiting("flux-2-pro", outputs=18), "24 of all models, and 7 are at work"
    assert isinstance(told(bfl.poll(first.handle), (ready(),))[1], Succeeded)
    assert isinstance(begun(8, "flux-kontext-max"), Pending)
    assert waiting("flux-kontext-max")
    clock.advance(900_000)
    assert isinstance(begun(9, "flux-kontext-max"), Pending), "what nobody asks for any more has ended"


def test_tasks_of_before_a_restart_are_counted_when_they_are_seen() -> None:
    first, again = provider(), provider()
    handles = [
        told(first.submit(call("flux-kontext-max", token=f"t{n}")), answer({**TAKEN, "id": f"x-{n}"}))[1].handle
        for n in range(6)
    ]
    working = answer({"id": "x", "status": "Pending", "result": None})
    for one in handles:
        assert isinstance(told(again.poll(one), (working,))[1], Pending)
    with pytest.raises(StopIteration):
        next(again.submit(call("flux-kontext-max")))


@pytest.mark.parametrize("trouble", [NotSent("down"), MaybeSent("cut"), answer({"detail": "no"}, 402)])
def test_a_submit_that_was_not_taken_gives_its_place_back(trouble: Any) -> None:
    bfl = provider()
    for n in range(30):
        steps = bfl.submit(call("flux-kontext-max", token=f"t{n}"))
        next(steps)
        with pytest.raises((StopIteration, NotSent, MaybeSent)):
            steps.throw(trouble) if isinstance(trouble, Exception) else steps.send(trouble)
