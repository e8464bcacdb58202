"""Google's pictures and speech, and its errors: each conversation with recorded answers (`wire/providers.md §3`)."""

import base64
import struct
from typing import Any

import pytest
from google_kit import (
    B64,
    BASE,
    KEY,
    PICTURE,
    PROMPT,
    answer,
    body_of,
    call,
    ended,
    error,
    picture,
    provider,
    quota,
    submitted,
    told,
)

from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Succeeded
from calotype.kernel.steps import AnswerTooLarge, HttpResponse, MaybeSent, NotSent
from calotype.providers.base import Check, Idempotency, MediaInputs
from calotype.providers.google import Google

IMAGE, EDIT, SPEECH = Operation.TEXT_TO_IMAGE, Operation.IMAGE_TO_IMAGE, Operation.TEXT_TO_SPEECH
FLASH = "gemini-3.1-flash-image"
REASON = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "33s"}


def outcome_of(response: Any, **more: Any) -> Any:
    return submitted(call(IMAGE, FLASH, **more), response)[1]


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_a_prompt_becomes_one_request_that_commits_and_has_the_key_in_a_header_only() -> None:
    (request,), outcome = submitted(call(IMAGE, FLASH), picture())
    assert (request.method, request.url) == ("POST", f"{BASE}/v1beta/models/{FLASH}:generateContent")
    assert request.headers["x-goog-api-key"] == KEY and KEY not in request.url
    assert request.commits and request.read_timeout_s == 180
    assert body_of(request) == {
        "contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
    }
    assert isinstance(outcome, Succeeded)
    (output,) = outcome.outputs
    assert (output.base64, output.content_type) == (B64.encode(), "image/png")
    assert outcome.usage == {"input_tokens": 12, "input_image_tokens": 258, "output_tokens": 1120}
    assert outcome.cost is not None and (outcome.cost.amount, outcome.cost.unit) == ("1390", "tokens")
    assert outcome.upstream_id == "r1"


def test_pictures_to_edit_come_before_the_prompt_with_size_and_proportions() -> None:
    fields = {"prompt": PROMPT, "image": [PICTURE, PICTURE], "aspect_ratio": "16:9", "image_size": "2K", "seed": 7}
    (request,), _ = submitted(call(EDIT, FLASH, fields), picture())
    body = body_of(request)
    shown = {"inlineData": {"mimeType": "image/png", "data": B64}}
    assert body["contents"][0]["parts"] == [shown, shown, {"text": PROMPT}]
    assert body["generationConfig"]["imageConfig"] == {"aspectRatio": "16:9", "imageSize": "2K"}
    assert body["generationConfig"]["seed"] == 7


@pytest.mark.parametrize(
    ("size", "ratio"),
    [("1024x1024", "1:1"), ("1536x1024", "3:2"), ("1024x1792", "9:16"), ("1280x720", "16:9"), ("auto", None)],
)
def test_a_size_becomes_the_nearest_proportions(size: str, ratio: str | None) -> None:
    (request,), _ = submitted(call(IMAGE, FLASH, {"prompt": "x", "size": size}), picture())
    assert body_of(request)["generationConfig"].get("imageConfig", {}).get("aspectRatio") == ratio


def test_drafts_of_a_thinking_model_are_left_out() -> None:
    draft = {"thought": True, "inlineData": {"mimeType": "image/png", "data": "ZHJhZnQ="}}
    made = {"inlineData": {"mimeType": "image/png", "data": B64}, "thoughtSignature": "s"}
    outcome = outcome_of(ended("STOP", draft, {"text": "Here it is."}, made))
    assert [output.base64 for output in outcome.outputs] == [B64.encode()]
    assert outcome.outputs[0].text == "Here it is."


def test_several_pictures_are_asked_for_at_once_and_what_came_is_delivered() -> None:
    asked, outcome = submitted(
        call(IMAGE, FLASH, outputs=3), (picture(), ended("IMAGE_SAFETY"), picture("b3RoZXI=")),
    )  # fmt: skip
    assert len(asked) == 3 and all(request.commits for request in asked)
    assert isinstance(outcome, Succeeded)
    assert [output.base64 for output in outcome.outputs] == [B64.encode(), b"b3RoZXI="]
    assert outcome.usage["output_tokens"] == 2240
    assert outcome.warnings == ("1 of 3 were not made: The provider's content policy refused the request.",)


@pytest.mark.parametrize(
    ("others", "kind"),
    [
        ((error(429, "RESOURCE_EXHAUSTED"), NotSent("x")), FailedKind.RETRY),
        ((error(429, "RESOURCE_EXHAUSTED"), MaybeSent("x")), FailedKind.UNKNOWN),
        ((error(429, "RESOURCE_EXHAUSTED"), ended("IMAGE_SAFETY")), FailedKind.MODERATED),
        ((error(429, "RESOURCE_EXHAUSTED"), AnswerTooLarge("x")), FailedKind.UPSTREAM),
        ((error(403, "PERMISSION_DENIED"), error(400, "INVALID_ARGUMENT")), FailedKind.INVALID),
    ],
)
def test_when_nothing_came_the_gravest_reason_decides(others: Any, kind: FailedKind) -> None:
    _, outcome = submitted(call(IMAGE, FLASH, outputs=2), others)
    assert isinstance(outcome, Failed) and outcome.kind is kind


def test_an_end_without_a_picture_is_tried_once_more_and_then_given_up() -> None:
    nothing = ended("NO_IMAGE", {"text": "I cannot."})
    asked, outcome = submitted(call(IMAGE, FLASH), nothing, picture())
    assert len(asked) == 2 and isinstance(outcome, Succeeded)
    asked, outcome = submitted(call(IMAGE, FLASH), nothing, nothing)
    assert len(asked) == 2 and isinstance(outcome, Failed)
    assert (outcome.kind, outcome.code) == (FailedKind.UPSTREAM, "no_image")


def test_only_what_came_to_nothing_is_tried_again() -> None:
    asked, outcome = submitted(call(IMAGE, FLASH, outputs=2), (picture(), ended("STOP")), picture("b3RoZXI="))
    assert len(asked) == 3 and isinstance(outcome, Succeeded)
    assert len(outcome.outputs) == 2 and outcome.warnings == ()


# -- refusals inside a 200 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason", ["SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "OTHER", "MODEL_ARMOR"]
)
def test_a_blocked_prompt_is_moderated_whatever_the_reason(reason: str) -> None:
    outcome = outcome_of(answer({"promptFeedback": {"blockReason": reason}, "usageMetadata": {}}))
    assert (outcome.kind, outcome.code) == (FailedKind.MODERATED, reason.lower())


@pytest.mark.parametrize(
    "reason",
    [
        "SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "RECITATION", "IMAGE_RECITATION",
        "BLOCKLIST", "SPII", "ESCALATION",
    ],
)  # fmt: skip
def test_an_end_by_policy_is_moderated_and_not_tried_again(reason: str) -> None:
    asked, outcome = submitted(call(IMAGE, FLASH), ended(reason))
    assert len(asked) == 1 and isinstance(outcome, Failed) and outcome.kind is FailedKind.MODERATED


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("MAX_TOKENS", FailedKind.UPSTREAM), ("LANGUAGE", FailedKind.UPSTREAM), ("CONTINUATION", FailedKind.UPSTREAM),
        ("A_NEW_REASON", FailedKind.UPSTREAM), ("PUP_LIMITED_DISABLED", FailedKind.AUTH),
    ],
)  # fmt: skip
def test_other_ends_without_a_picture_fail_with_their_reason_kept(reason: str, kind: FailedKind) -> None:
    outcome = outcome_of(ended(reason))
    assert (outcome.kind, outcome.code) == (kind, reason.lower())


# -- errors (§3.2) ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (error(400, "INVALID_ARGUMENT"), FailedKind.INVALID),
        (error(400, "INVALID_ARGUMENT", "API key not valid.", REASON), FailedKind.AUTH),
        (error(400, "INVALID_ARGUMENT", "It violates our Responsible AI practices."), FailedKind.MODERATED),
        (error(400, "INVALID_ARGUMENT", "This model only supports Interactions API."), FailedKind.GONE),
        (error(400, "FAILED_PRECONDITION", "Billing is not enabled."), FailedKind.QUOTA),
        (error(400, "FAILED_PRECONDITION", "User location is not supported."), FailedKind.AUTH),
        (error(401, "UNAUTHENTICATED"), FailedKind.AUTH),
        (error(403, "PERMISSION_DENIED"), FailedKind.AUTH),
        (error(404, "NOT_FOUND", "models/x is no longer available."), FailedKind.GONE),
        (error(429, "RESOURCE_EXHAUSTED", "no", quota("Minute"), RETRY_INFO), FailedKind.RETRY),
        (error(429, "RESOURCE_EXHAUSTED", "no", quota("Day"), RETRY_INFO), FailedKind.QUOTA),
        (error(429, "RESOURCE_EXHAUSTED"), FailedKind.RETRY),
        (error(499, "CANCELLED"), FailedKind.UNKNOWN),
        (error(500, "INTERNAL"), FailedKind.RETRY),
        (error(503, "UNAVAILABLE"), FailedKind.RETRY),
        (error(504, "DEADLINE_EXCEEDED"), FailedKind.UNKNOWN),
        (answer(b"<html>", 500), FailedKind.UNKNOWN),
        (answer(b"<html>", 502), FailedKind.UNKNOWN),
        (answer(b"", 413), FailedKind.INVALID),
        (answer(b"", 301), FailedKind.GONE),
        (answer([{"error": {"code": 404, "message": "no", "status": "NOT_FOUND"}}], 404), FailedKind.GONE),
        (answer({"error": "odd"}, 400), FailedKind.INVALID),
        (answer([], 403), FailedKind.AUTH),
    ],
)
def test_every_refusal_has_its_meaning(response: HttpResponse, kind: FailedKind) -> None:
    outcome = outcome_of(response)
    assert (outcome.kind, outcome.status) == (kind, response.status)


def test_a_limit_says_when_to_come_back() -> None:
    assert outcome_of(error(429, "RESOURCE_EXHAUSTED", "no", RETRY_INFO)).retry_after_s == 33
    assert outcome_of(answer({}, 429, retry_after="7")).retry_after_s == 7


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"'])
def test_a_good_status_that_cannot_be_read_is_unknown(body: bytes) -> None:
    assert outcome_of(answer(body)).kind is FailedKind.UNKNOWN


@pytest.mark.parametrize(
    "body",
    [
        {"candidates": 7}, {"candidates": [{"content": {"parts": 3}}]}, {"candidates": [{"content": []}]},
        {"candidates": [{"finishReason": 5, "content": {"parts": [{"inlineData": {"data": 9}}]}}]},
        {"promptFeedback": [], "usageMetadata": 5},
    ],
)  # fmt: skip
def test_an_answer_of_odd_shape_is_a_failure_and_never_a_crash(body: Any) -> None:
    _, outcome = submitted(call(IMAGE, FLASH), answer(body), answer(body))
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.UPSTREAM


def test_neither_the_key_nor_the_callers_words_are_in_what_an_operator_reads() -> None:
    outcome = outcome_of(error(400, "INVALID_ARGUMENT", f"bad key {KEY} for {PROMPT}"))
    assert KEY not in outcome.detail and PROMPT not in outcome.detail
    quiet = outcome_of(error(400, "INVALID_ARGUMENT", "secret illness"), data_class=DataClass.PHI)
    assert "illness" not in quiet.detail


def test_without_a_key_nothing_is_sent() -> None:
    with pytest.raises(StopIteration) as end:
        next(provider(api_key=None).submit(call(IMAGE, FLASH)))
    assert end.value.value.kind is FailedKind.AUTH


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "model", "url"),
    [
        (None, FLASH, f"{BASE}/v1beta/models/{FLASH}:generateContent"),
        (f"{BASE}/v1", FLASH, f"{BASE}/v1/models/{FLASH}:generateContent"),
        ("http://10.0.0.5:8080/google/v1beta/", FLASH, f"http://10.0.0.5:8080/google/v1beta/models/{FLASH}:generateContent"),
        (None, f"v1/{FLASH}", f"{BASE}/v1/models/{FLASH}:generateContent"),
        (None, "imagen-4.0-generate-001", f"{BASE}/v1beta/models/imagen-4.0-generate-001:predict"),
        (None, "new-model:predict", f"{BASE}/v1beta/models/new-model:predict"),
        (
            "https://aiplatform.googleapis.com", "v1/publishers/google/models/imagen-4.0-generate-001:predict",
            "https://aiplatform.googleapis.com/v1/publishers/google/models/imagen-4.0-generate-001:predict",
        ),
    ],
)  # fmt: skip
def test_version_and_method_come_from_the_model_or_the_base_url(base: str | None, model: str, url: str) -> None:
    steps = provider(base_url=base).submit(call(IMAGE, model))
    step: Any = next(steps)
    assert getattr(step, "requests", (step,))[0].url == url


@pytest.mark.parametrize("model", ["a b", "../x", "x:embed", "x:interactions", ""])
def test_a_model_that_nothing_can_run_is_gone_before_anything_is_sent(model: str) -> None:
    with pytest.raises(StopIteration) as end:
        next(provider().submit(call(EDIT, model)))
    assert end.value.value.kind is FailedKind.GONE


@pytest.mark.parametrize("url", ["ftp://x", "https://a:b@x", "https://x/?key=1", "nonsense", "http://[x"])
def test_a_base_url_that_cannot_be_used_is_refused_by_name(url: str) -> None:
    with pytest.raises(ValueError, match=r"providers\.google\.base_url"):
        provider(base_url=url)


def test_google_takes_data_and_offers_no_key_against_doing_the_same_twice() -> None:
    assert (Google.idempotency, Google.media_inputs) == (Idempotency.NONE, MediaInputs.DATA)
    assert provider().output_hosts == frozenset()
    assert provider(base_url="http://10.0.0.5:8080").output_hosts == {"10.0.0.5:8080"}


def test_an_account_is_checked_by_the_list_of_models() -> None:
    (request,), found = told(provider().check(), answer({"models": []}))
    assert (request.method, request.url) == ("GET", f"{BASE}/v1beta/models?pageSize=1")
    assert found == Check(True, "ok")
    assert told(provider().check(), error(400, "INVALID_ARGUMENT", "no", REASON))[1].credential == "refused"
    assert told(provider().check(), answer(b"", 503))[1].credential == "unknown"


# -- speech (§3.4) ----------------------------------------------------------------------------------------------------

SAMPLES = bytes(range(96)) * 500
TTS = "gemini-2.5-flash-preview-tts"


def recording(mime: str = "audio/L16;codec=pcm;rate=24000", data: bytes = SAMPLES) -> HttpResponse:
    usage = {
        "promptTokenCount": 9, "candidatesTokenCount": 25, "totalTokenCount": 34,
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 25}],
    }  # fmt: skip
    part = {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}}
    return answer({"candidates": [{"finishReason": "STOP", "content": {"parts": [part]}}], "usageMetadata": usage})


def test_a_text_becomes_speech_and_bare_samples_a_wav_file() -> None:
    fields = {"prompt": "Good evening.", "voice": "Puck", "language": "th", "slow": False}
    (request,), outcome = submitted(call(SPEECH, TTS, fields), recording())
    assert body_of(request) == {
        "contents": [{"role": "user", "parts": [{"text": "Good evening."}]}],
        "generationConfig": {
            "responseModalities": ["AUDIO"],
            "speechConfig": {"languageCode": "th", "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Puck"}}},
        },
    }
    assert isinstance(outcome, Succeeded)
    (output,) = outcome.outputs
    assert output.data is not None and len(output.data) == 44 + len(SAMPLES)
    head = struct.unpack("<4sI4s4sIHHIIHH4sI", output.data[:44])
    assert head[:3] == (b"RIFF", 36 + len(SAMPLES), b"WAVE")
    assert head[5:11] == (1, 1, 24_000, 48_000, 2, 16) and head[12] == len(SAMPLES)
    assert (output.content_type, output.duration_s) == ("audio/wav", 1.0)
    assert outcome.usage == {"input_tokens": 9, "output_tokens": 25}


def test_a_manner_is_said_in_words_and_a_dialogue_has_two_voices() -> None:
    (request,), _ = submitted(call(SPEECH, TTS, {"prompt": "Hello.", "slow": True}), recording())
    assert body_of(request)["contents"][0]["parts"] == [{"text": "Say slowly and clearly: Hello."}]
    pair = [{"speaker": "Joe", "voice": "Kore"}, {"speaker": "Jane", "voice": "Puck"}]
    (request,), _ = submitted(call(SPEECH, TTS, {"input": "Joe: Hi. Jane: Hi.", "speakers": pair}), recording())
    config = body_of(request)["generationConfig"]["speechConfig"]
    assert "voiceConfig" not in config
    assert [one["speaker"] for one in config["multiSpeakerVoiceConfig"]["speakerVoiceConfigs"]] == ["Joe", "Jane"]


def test_samples_are_left_bare_when_asked_for_and_their_rate_is_read() -> None:
    fields = {"input": "Hello.", "response_format": "pcm"}
    _, outcome = submitted(call(SPEECH, TTS, fields), recording("audio/L16;codec=pcm;rate=48000"))
    assert isinstance(outcome, Succeeded)
    assert (outcome.outputs[0].content_type, outcome.outputs[0].duration_s) == ("audio/pcm", 0.5)
    assert outcome.outputs[0].data == SAMPLES


def test_speech_that_is_answered_in_words_is_asked_for_once_more() -> None:
    asked, outcome = submitted(call(SPEECH, TTS), ended("STOP", {"text": "Sure!"}), recording())
    assert len(asked) == 2 and isinstance(outcome, Succeeded)
    _, outcome = submitted(call(SPEECH, TTS), recording(data=b""), recording(data=b""))
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.UPSTREAM


@pytest.mark.parametrize("usage", [{}, {"candidatesTokenCount": 0, "promptTokenCount": 0}, {"totalTokenCount": 5}])
def test_what_was_made_and_not_counted_is_left_to_the_price_table(usage: dict[str, int]) -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": B64}}
    body = {"candidates": [{"finishReason": "STOP", "content": {"parts": [part]}}], "usageMetadata": usage}
    outcome = outcome_of(answer(body))
    assert isinstance(outcome, Succeeded) and outcome.usage == {}
