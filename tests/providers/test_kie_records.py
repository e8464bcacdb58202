"""What KIE.ai's records of tasks mean, for each of its families (`wire/providers.md §5.2` to `§5.4`)."""

from typing import Any

import msgspec
import pytest
from kie_talk import TASK, answer, call, end_of, handle, polled, provider, said, told

from calotype.kernel.clock import ManualClock
from calotype.kernel.outcome import Cost, Failed, FailedKind, Output, Pending, Succeeded
from calotype.kernel.steps import HttpResponse
from calotype.providers.base import Check


def job(state: str, result: Any = None, **more: Any) -> HttpResponse:
    text = "" if result is None else msgspec.json.encode(result).decode()
    return said(200, "success", {"taskId": TASK, "state": state, "resultJson": text, **more})


# -- looks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "path"),
    [
        ("jobs", "/api/v1/jobs/recordInfo"),
        ("veo", "/api/v1/veo/record-info"),
        ("music", "/api/v1/generate/record-info"),
    ],
)
def test_each_family_is_looked_at_where_it_is_kept(family: str, path: str) -> None:
    (request,), _ = told(provider().poll(handle(family)), said(500))
    assert (request.method, request.url) == ("GET", f"https://api.kie.ai{path}?taskId={TASK}")
    assert not request.commits


@pytest.mark.parametrize(
    ("slow", "waited_s", "pause_s"),
    [(False, 0, 3), (False, 20, 6), (False, 600, 8), (True, 0, 8), (True, 60, 12), (True, 900, 20)],
)
def test_pauses_grow_by_the_schedule_of_what_is_made(slow: bool, waited_s: int, pause_s: float) -> None:
    clock = ManualClock()
    clock.advance(waited_s * 1000)
    outcome = polled(job("generating"), clock=clock, slow=slow)
    assert isinstance(outcome, Pending) and outcome.poll_after_s == pytest.approx(pause_s, rel=0.21)


@pytest.mark.parametrize("state", ["waiting", "queuing", "generating", "dreaming", None])
def test_every_state_that_is_no_end_is_waited_out(state: Any) -> None:
    assert isinstance(polled(job(state)), Pending)


def test_a_result_is_read_from_the_text_in_the_record_with_its_credits() -> None:
    outcome = polled(job("success", {"resultUrls": ["https://t.example/1.png"]}, creditsConsumed=0.8))
    cost = Cost(micro=4_000, amount="0.8", unit="kie_credit", source="response")
    assert outcome == Succeeded((Output(url="https://t.example/1.png"),), cost=cost, upstream_id=TASK)


@pytest.mark.parametrize("amount", [None, "8", True, -1])
def test_a_record_without_credits_leaves_the_cost_to_the_tables(amount: Any) -> None:
    outcome = polled(job("success", {"resultUrls": ["https://t.example/1.png"]}, creditsConsumed=amount))
    assert isinstance(outcome, Succeeded) and outcome.cost is None


@pytest.mark.parametrize(
    "result", [{"character_id": "char_1"}, {"characterId": "char_1"}, {"resultObject": {"character_id": "char_1"}}]
)
def test_a_character_is_an_id_under_whatever_key(result: dict[str, Any]) -> None:
    outcome = polled(job("success", result))
    assert isinstance(outcome, Succeeded) and (outcome.outputs, outcome.data) == ((), {"character_id": "char_1"})


@pytest.mark.parametrize("result", [None, {}, {"resultUrls": []}, {"resultUrls": ["javascript:x"]}, "text", [1]])
def test_a_success_with_nothing_in_it_is_a_failure(result: Any) -> None:
    outcome = polled(job("success", result))
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.UPSTREAM


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        ("400", "Your content was flagged as sensitive", FailedKind.MODERATED),
        ("500", "This content may violate our NSFW rules", FailedKind.MODERATED),
        ("501", "prominent people are not allowed", FailedKind.MODERATED),
        ("422", "bad ratio", FailedKind.INVALID),
        ("451", "Failed to fetch the image", FailedKind.INVALID),
        ("413", "too large", FailedKind.INVALID),
        ("408", "timeout", FailedKind.UPSTREAM),
        ("429", "busy", FailedKind.UPSTREAM),
        ("500", "internal error", FailedKind.UPSTREAM),
        ("", "mining minority reports", FailedKind.UPSTREAM),
        (None, None, FailedKind.UPSTREAM),
    ],
)
def test_a_failed_task_is_an_end_and_never_tried_again(code: Any, text: Any, kind: FailedKind) -> None:
    outcome = polled(job("fail", failCode=code, failMsg=text, creditsConsumed=8))
    assert isinstance(outcome, Failed) and outcome.kind is kind
    assert outcome.cost == Cost(None, "8", "kie_credit", "response"), "whether it is given back is not known"
    free = polled(job("fail", failCode=code, failMsg=text, creditsConsumed=0))
    assert isinstance(free, Failed) and free.cost == Cost(0, "0", "kie_credit", "response")


def veo(flag: Any, **more: Any) -> HttpResponse:
    return said(200, "success", {"taskId": TASK, "successFlag": flag, **more})


def test_a_film_of_veos_comes_first_and_its_origin_second() -> None:
    urls = {"resultUrls": ["https://t.example/1.mp4"], "originUrls": ["https://t.example/o.mp4"], "resolution": "1080p"}
    outcome = polled(veo(1, response=urls), "veo")
    assert isinstance(outcome, Succeeded)
    assert [output.url for output in outcome.outputs] == ["https://t.example/1.mp4", "https://t.example/o.mp4"]
    assert outcome.data == {"resolution": "1080p", "files": ["video", "origin_video"]}
    plain = polled(veo(1, response={"resultUrls": ["https://t.example/1.mp4"], "originUrls": None}), "veo")
    assert isinstance(plain, Succeeded) and (len(plain.outputs), plain.data) == (1, {})


@pytest.mark.parametrize("flag", [0, None, 7])
def test_veos_other_flags_are_waited_out(flag: Any) -> None:
    assert isinstance(polled(veo(flag), "veo"), Pending)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (veo(2, errorCode=400, errorMessage="Unsafe image upload."), FailedKind.MODERATED),
        (veo(3, errorCode=400, errorMessage="Failed to fetch the image"), FailedKind.INVALID),
        (veo(3, errorCode=501, errorMessage="failed"), FailedKind.UPSTREAM),
        (veo(1, response=None), FailedKind.UPSTREAM),
        (said(400, "Your prompt was flagged by Website as violating content policies."), FailedKind.MODERATED),
        (said(451, "Failed to fetch the image."), FailedKind.INVALID),
        (said(501, "Failed"), FailedKind.UPSTREAM),
        (said(500, "oops"), FailedKind.RETRY),
    ],
)
def test_veo_fails_in_its_record_or_in_the_envelope(response: HttpResponse, kind: FailedKind) -> None:
    outcome = polled(response, "veo")
    assert isinstance(outcome, Failed) and outcome.kind is kind


def suno(status: str, *urls: str | None, **more: Any) -> HttpResponse:
    songs = [{"id": "1", "audioUrl": url, "title": "Sea", "tags": "calm", "duration": 198.44} for url in urls]
    return said(200, "success", {"taskId": TASK, "status": status, "response": {"sunoData": songs}, **more})


def test_both_songs_are_delivered_with_their_facts_and_warnings() -> None:
    outcome = polled(
        suno("SUCCESS", "https://t.example/1.mp3", "https://t.example/2.mp3"),
        "music",
        outputs=2,
        warnings=["V4 was used"],
    )
    assert isinstance(outcome, Succeeded)
    assert [(o.url, o.duration_s, o.text) for o in outcome.outputs] == [
        ("https://t.example/1.mp3", 198.44, "Sea"), ("https://t.example/2.mp3", 198.44, "Sea"),
    ]  # fmt: skip
    assert outcome.data["tracks"][0] == {"title": "Sea", "tags": "calm", "duration": 198.44}
    assert outcome.warnings == ("V4 was used",)


@pytest.mark.parametrize("status", ["PENDING", "TEXT_SUCCESS", "FIRST_SUCCESS", "TUNING"])
def test_music_climbs_and_one_song_is_not_the_end(status: str) -> None:
    assert isinstance(polled(suno(status, "https://t.example/1.mp3"), "music", outputs=2), Pending)


def test_a_callback_that_failed_says_nothing_about_the_music() -> None:
    both = ("https://t.example/1.mp3", "https://t.example/2.mp3")
    late = ManualClock()
    late.advance(601_000)
    whole = polled(suno("CALLBACK_EXCEPTION", *both), "music", outputs=2)
    assert isinstance(whole, Succeeded) and len(whole.outputs) == 2
    assert isinstance(polled(suno("CALLBACK_EXCEPTION", both[0], None), "music", outputs=2), Pending)
    part = polled(suno("CALLBACK_EXCEPTION", both[0], None), "music", late, outputs=2)
    assert isinstance(part, Succeeded) and len(part.outputs) == 1
    none = polled(suno("CALLBACK_EXCEPTION"), "music", late, outputs=2)
    assert isinstance(none, Failed) and none.kind is FailedKind.UPSTREAM


@pytest.mark.parametrize(
    ("status", "more", "kind"),
    [
        ("SENSITIVE_WORD_ERROR", {}, FailedKind.MODERATED),
        ("CREATE_TASK_FAILED", {"errorCode": 400, "errorMessage": "bad style"}, FailedKind.INVALID),
        ("GENERATE_AUDIO_FAILED", {"errorCode": 500, "errorMessage": "internal"}, FailedKind.UPSTREAM),
        ("GENERATE_AUDIO_FAILED", {"errorMessage": "lyrics are prohibited"}, FailedKind.MODERATED),
    ],
)
def test_music_fails_by_its_status(status: str, more: dict[str, Any], kind: FailedKind) -> None:
    outcome = polled(suno(status, **more), "music")
    assert isinstance(outcome, Failed) and outcome.kind is kind


@pytest.mark.parametrize("family", ["jobs", "veo", "music"])
@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (said(401), FailedKind.AUTH),
        (said(402), FailedKind.QUOTA),
        (said(408), FailedKind.RETRY),
        (said(429, retry_after="7"), FailedKind.RETRY),
        (said(455), FailedKind.RETRY),
        (said(500, "This interface is temporarily paused"), FailedKind.RETRY),
        (said(505), FailedKind.RETRY),
        (said(200, "success", None), FailedKind.RETRY),
        (answer(b"error code: 1010", 403), FailedKind.RETRY),
        (answer(b"<html>", 502), FailedKind.RETRY),
        (answer(b"<html>", 404), FailedKind.RETRY),
        (answer(b"<html>", 200), FailedKind.RETRY),
    ],
)
def test_a_look_that_fails_ends_no_task(family: str, response: HttpResponse, kind: FailedKind) -> None:
    outcome = polled(response, family)
    assert isinstance(outcome, Failed) and outcome.kind is kind
    assert outcome.retry_after_s == (7.0 if "retry-after" in response.headers else None)


@pytest.mark.parametrize("family", ["jobs", "veo", "music"])
@pytest.mark.parametrize("response", [said(422, "recordInfo is null"), said(404, "Not Found")])
def test_a_record_that_is_not_there_is_believed_after_half_a_minute(family: str, response: HttpResponse) -> None:
    clock = ManualClock()
    clock.advance(29_999)
    assert isinstance(polled(response, family, clock), Pending)
    clock.advance(1)
    outcome = polled(response, family, clock)
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.GONE


def test_kie_stops_nothing_and_knows_nothing_by_our_token() -> None:
    assert end_of(provider().cancel(handle())) is False
    assert end_of(provider().lookup(call())) is None


# -- the account ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "check"),
    [
        (said(200, "success", 60.62), Check(True, "ok", "60.62 credits")),
        (said(401), Check(True, "refused")),
        (said(500), Check(True, note="HTTP 500")),
        (answer(b"error code: 1010", 403), Check(True, note="HTTP 403 without KIE's envelope")),
    ],
)
def test_the_account_says_its_balance(response: HttpResponse, check: Check) -> None:
    (request,), found = told(provider().check(), response)
    assert request.url == "https://api.kie.ai/api/v1/chat/credit" and not request.commits
    assert found == check
