"""Google's interactions with recorded answers: videos, music and speech (`wire/providers.md §3.7, §3.8`)."""

import base64
from typing import Any

import pytest
from google_kit import BASE, KEY, PICTURE, PROMPT, answer, body_of, call, error, provider, submitted, told

from calotype.kernel.clock import ManualClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Pending, Succeeded
from calotype.kernel.steps import HttpResponse

VIDEO, FROM_IMAGE, FROM_VIDEO = Operation.TEXT_TO_VIDEO, Operation.IMAGE_TO_VIDEO, Operation.VIDEO_TO_VIDEO
MUSIC, SPEECH = Operation.TEXT_TO_MUSIC, Operation.TEXT_TO_SPEECH
OMNI = "gemini-omni-1.1-flash:interactions"
FILE = f"{BASE}/v1beta/files/xyz:download?alt=media"


def interaction(status: str = "completed", *blocks: dict[str, Any], **more: Any) -> HttpResponse:
    steps = [
        {"type": "user_input", "content": [{"type": "video", "data": "bm90IHRoaXM="}]},
        {"type": "thought", "signature": "s"},
        {"type": "model_output", "content": list(blocks)},
    ]
    return answer({"id": "v1_abc", "object": "interaction", "status": status, "steps": steps, **more})


def test_a_video_is_asked_for_in_the_background_by_address() -> None:
    fields = {"prompt": PROMPT, "seconds": 8, "aspect_ratio": "9:16", "resolution": "1080p", "seed": 5}
    asked = call(VIDEO, OMNI, fields, callback_url="https://gw.example/callbacks/1")
    (request,), outcome = submitted(asked, answer({"id": "v1_abc", "status": "in_progress"}))
    assert request.url == f"{BASE}/v1beta/interactions" and request.commits
    assert request.headers["Api-Revision"] == "2026-05-20"
    assert body_of(request) == {
        "model": "gemini-omni-1.1-flash", "input": PROMPT, "background": True, "store": True,
        "response_modalities": ["video"],
        "response_format": {
            "type": "video", "delivery": "uri", "aspect_ratio": "9:16", "resolution": "1080p", "duration": "8s",
        },
        "generation_config": {"video_config": {"task": "text_to_video"}, "seed": 5},
        "webhook_config": {"uris": ["https://gw.example/callbacks/1"]},
    }  # fmt: skip
    assert isinstance(outcome, Pending) and outcome.upstream_id == "v1_abc"


@pytest.mark.parametrize(
    ("operation", "fields", "task", "kinds"),
    [
        (FROM_IMAGE, {"image_url": PICTURE}, "image_to_video", ["image", "text"]),
        (FROM_IMAGE, {"reference_image_urls": [PICTURE, PICTURE]}, "reference_to_video", ["image", "image", "text"]),
        (FROM_VIDEO, {"video_url": "data:video/mp4;base64,AAAA"}, "edit", ["video", "text"]),
        (FROM_VIDEO, {"video_url": "data:video/mp4;base64,AAAA", "task": "extend"}, "extend", ["video", "text"]),
    ],
)
def test_what_the_input_holds_says_what_is_done(
    operation: Operation, fields: dict[str, Any], task: str, kinds: list[str]
) -> None:
    asked = call(operation, OMNI, {"prompt": PROMPT, **fields})
    (request,), _ = submitted(asked, answer({"id": "v1_abc", "status": "queued"}))
    body = body_of(request)
    assert body["generation_config"]["video_config"]["task"] == task
    assert [block["type"] for block in body["input"]] == kinds
    assert body["input"][0]["data"] and "/" in body["input"][0]["mime_type"]


def look(response: HttpResponse, **handle: Any) -> Any:
    known = {"kind": "interaction", "id": "v1_abc", "version": "v1beta", "want": "video", "since_ms": 0, **handle}
    (request,), outcome = told(provider(ManualClock(0)).poll(known), response)
    assert (request.method, request.url) == ("GET", f"{BASE}/v1beta/interactions/v1_abc")
    return outcome


def test_the_result_is_found_by_its_type_and_its_tokens_are_counted() -> None:
    usage = {
        "total_input_tokens": 11, "total_output_tokens": 57_950, "total_tokens": 57_961,
        "output_tokens_by_modality": [{"modality": "text", "tokens": 30}, {"modality": "video", "tokens": 57_920}],
    }  # fmt: skip
    blocks = ({"type": "text", "text": "Here."}, {"type": "video", "mime_type": "video/mp4", "uri": FILE})
    outcome = look(interaction("completed", *blocks, usage=usage))
    assert isinstance(outcome, Succeeded)
    assert [(one.url, one.url_headers) for one in outcome.outputs] == [(FILE, {"x-goog-api-key": KEY})]
    assert outcome.usage == {"input_tokens": 11, "output_tokens": 57_920}
    assert outcome.cost is not None and outcome.cost.amount == "57961" and outcome.data == {"text": "Here."}


@pytest.mark.parametrize("status", ["queued", "in_progress", "something_new"])
def test_an_interaction_that_goes_on_is_waited_for(status: str) -> None:
    assert isinstance(look(interaction(status)), Pending)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (interaction("failed", errors=[{"code": "internal", "message": "no"}]), "upstream"),
        (interaction("failed", errors=[{"code": "safety", "message": "no"}]), "moderated"),
        (interaction("failed", errors=[{"message": "It violates the policy."}]), "moderated"),
        (interaction("cancelled"), "upstream"),
        (interaction("incomplete"), "upstream"),
        (interaction("budget_exceeded"), "upstream"),
        (interaction("requires_action"), "upstream"),
        (interaction("requires_continuation"), "upstream"),
        (interaction("completed", {"type": "text", "text": "No."}), "upstream"),
        (interaction("completed", {"type": "video", "uri": "gs://b/v.mp4"}), "upstream"),
        (interaction("completed", errors=[{"code": "safety"}]), "moderated"),
        (answer({"id": "../x", "status": "queued"}), "unknown"),
        (answer(b"<html>"), "retry"),
        (answer(b"", 503), "retry"),
        (error(404, "NOT_FOUND"), "gone"),
    ],
)  # fmt: skip
def test_every_other_state_of_an_interaction_has_its_meaning(response: HttpResponse, kind: str) -> None:
    outcome = look(response)
    assert isinstance(outcome, Failed) and outcome.kind.value == kind


@pytest.mark.parametrize(("status", "stopped"), [("cancelled", True), ("completed", False), ("in_progress", False)])
def test_an_interaction_is_stopped_when_it_says_so(status: str, stopped: bool) -> None:
    (request,), done = told(provider().cancel({"kind": "interaction", "id": "v1_abc"}), answer({"status": status}))
    assert request.url == f"{BASE}/v1beta/interactions/v1_abc/cancel"
    assert done is stopped


@pytest.mark.parametrize(
    ("body", "true"),
    [
        (b'{"data":{"id":"v1_abc"}}', True), (b'[{"name":"interactions/v1_abc"}]', True), (b'{"id":"v1_abcd"}', False),
        (b"v1_abc", False), (b"", False),
    ],
)  # fmt: skip
def test_a_word_counts_when_it_names_the_interaction(body: bytes, true: bool) -> None:
    with pytest.raises(StopIteration) as end:
        next(provider().callback({}, body, "v1_abc"))
    assert end.value.value is true


def test_music_comes_with_the_answer_and_its_words_beside_it() -> None:
    song = {"type": "audio", "mime_type": "audio/mp3", "data": base64.b64encode(b"ID3 song").decode()}
    (request,), outcome = submitted(
        call(MUSIC, "lyria-3.5"), interaction("completed", {"type": "text", "text": "[Verse] la"}, song)
    )
    assert body_of(request) == {"model": "lyria-3.5", "store": False, "input": PROMPT}
    assert isinstance(outcome, Succeeded)
    assert (outcome.outputs[0].data, outcome.outputs[0].content_type) == (b"ID3 song", "audio/mp3")
    assert outcome.data == {"text": "[Verse] la"}


def test_speech_is_asked_for_in_a_format_and_a_manner() -> None:
    fields = {
        "input": "Hello.",
        "voice": "Puck",
        "instructions": "cheerfully",
        "response_format": "mp3",
        "language": "en",
    }
    sound = {"type": "audio", "mime_type": "audio/mp3", "data": base64.b64encode(b"ID3").decode()}
    (request,), _ = submitted(
        call(SPEECH, "gemini-3.8-flash-tts:interactions", fields), interaction("completed", sound)
    )
    said = {"type": "text", "text": "Hello.", "annotations": [{"type": "speech_metadata", "style": "cheerfully"}]}
    assert body_of(request) == {
        "model": "gemini-3.8-flash-tts", "store": False, "input": [{"type": "user_input", "content": [said]}],
        "response_format": {"type": "audio", "mime_type": "audio/mp3"},
        "generation_config": {"speech_config": [{"voice": "Puck", "language": "en"}]},
    }  # fmt: skip


def test_speech_as_samples_becomes_a_wav_file_and_words_are_answered_by_asking_again() -> None:
    bare = {"type": "audio", "mime_type": "audio/l16;rate=24000", "data": base64.b64encode(bytes(48_000)).decode()}
    words = interaction("completed", {"type": "text", "text": "Sure!"})
    asked = call(SPEECH, "gemini-3.8-flash-tts:interactions", {"input": "Hello."})
    requests, outcome = submitted(asked, words, interaction("completed", bare))
    assert len(requests) == 2 and isinstance(outcome, Succeeded)
    assert (outcome.outputs[0].content_type, outcome.outputs[0].duration_s) == ("audio/wav", 1.0)


def test_what_the_provider_would_keep_is_not_asked_for_with_phi() -> None:
    with pytest.raises(StopIteration) as end:
        next(provider().submit(call(VIDEO, OMNI, data_class=DataClass.PHI)))
    assert end.value.value.kind is FailedKind.GONE
