"""Speech, transcription and embeddings over OpenAI's API: requests, answers, and what answers fail to say."""

from pathlib import Path
from typing import Any

import pytest
from chatted import Held, answer
from pydantic import SecretStr

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Output, Succeeded
from calotype.kernel.steps import FileRef, HttpResponse, Part
from calotype.providers.base import Call
from calotype.providers.openai import OpenAI
from calotype.settings import ProviderSettings

SOUND = FileRef(Path("/tmp/interview.mp3"), "audio/mpeg", "interview.mp3")
WHOLE = {
    "text": " Good evening. ", "language": "english", "duration": "2.5",
    "segments": [{"id": 4, "start": 0, "end": 2.4, "text": " Good evening.", "avg_logprob": -0.2, "tokens": [1]}],
    "words": [{"word": " Good", "start": 0.0, "end": 1.0}, {"word": "evening.", "start": 1.0, "end": 2.4}],
}  # fmt: skip


def held(call: Call, *answers: Any) -> Held:
    settings = ProviderSettings(kind="openai", api_key=SecretStr("sk-test-0123456789"))
    return Held(OpenAI("openai", settings).submit(call), answers)


def speaking(**fields: Any) -> Call:
    return Call("job", 1, "token", Operation.TEXT_TO_SPEECH, "tts-1", {"input": "Hello", "voice": "alloy", **fields})


def hearing(model: str = "whisper-1", **fields: Any) -> Call:
    files = {"audio_url": (SOUND,)}
    return Call("job", 1, "token", Operation.TRANSCRIPTION, model, fields, files=files)


def embedding(**fields: Any) -> Call:
    return Call("job", 1, "token", Operation.EMBEDDINGS, "embed", fields)


def succeeded(one: Held) -> Succeeded:
    assert isinstance(one.outcome, Succeeded), one.outcome
    return one.outcome


def kind_of(one: Held) -> FailedKind:
    assert isinstance(one.outcome, Failed), one.outcome
    return one.outcome.kind


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ("mp3", "audio/mpeg"), ("opus", "audio/ogg"), ("aac", "audio/aac"), ("flac", "audio/flac"),
        ("wav", "audio/wav"), ("pcm", "audio/pcm"),
    ],
)  # fmt: skip
def test_a_text_becomes_one_recording_of_the_format_asked_for(shape: str, kind: str) -> None:
    headers = {"content-type": "application/octet-stream", "x-request-id": "req_1"}
    one = held(speaking(response_format=shape, speed=None), HttpResponse(200, headers, b"sound"))
    assert one.requests[0].url.endswith("/v1/audio/speech") and one.requests[0].commits
    assert one.body == {"model": "tts-1", "input": "Hello", "voice": "alloy", "response_format": shape}
    outcome = succeeded(one)
    assert (outcome.outputs, outcome.upstream_id) == ((Output(data=b"sound", content_type=kind),), "req_1")


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer({"error": {"code": "content_filter", "message": "x"}}, content_type="application/json"), "moderated"),
        (answer({"fine": True}, content_type="application/json"), "unknown"),
        (HttpResponse(200, {"content-type": "text/html"}, b"<html>"), "unknown"),
        (HttpResponse(200, {"content-type": "audio/mpeg"}, b""), "upstream"),
        (answer({"error": {"message": "x"}}, 400), "invalid"),
        (answer({"error": {"message": "x"}}, 429), "retry"),
    ],
)
def test_a_recording_that_is_none_says_why(response: HttpResponse, kind: str) -> None:
    assert kind_of(held(speaking(), response)) == kind


def test_a_recording_is_sent_as_a_file_and_written_down_in_full() -> None:
    call = hearing(language="en", response_format="json", timestamp_granularities=["segment", "word"])
    one = held(call, answer(WHOLE))
    parts = one.requests[0].multipart
    assert parts is not None and one.requests[0].commits
    assert [part for part in parts if part.name != "file"] == [
        Part("model", "whisper-1"), Part("language", "en"), Part("response_format", "verbose_json"),
        Part("timestamp_granularities[]", "segment"), Part("timestamp_granularities[]", "word"),
    ]  # fmt: skip
    assert [part.value for part in parts if part.name == "file"] == [SOUND]
    outcome = succeeded(one)
    assert outcome.data == {
        "text": "Good evening.", "language": "english", "duration_s": 2.5,
        "segments": [{"id": 0, "start": 0.0, "end": 2.4, "text": "Good evening.", "avg_logprob": -0.2}],
        "words": [{"word": "Good", "start": 0.0, "end": 1.0}, {"word": "evening.", "start": 1.0, "end": 2.4}],
    }  # fmt: skip
    assert (outcome.usage, outcome.warnings) == ({"duration_ms": 2500}, ())


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ("srt", "1\n00:00:00,000 --> 00:00:02,400\nGood evening.\n\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:02.400\nGood evening.\n\n"),
    ],
)
def test_subtitles_are_written_from_the_segments(shape: str, text: str) -> None:
    assert succeeded(held(hearing(response_format=shape), answer(WHOLE))).data[shape] == text


def test_openais_newer_models_are_asked_for_the_short_form() -> None:
    call = hearing("gpt-transcribe", response_format="json", timestamp_granularities=["segment"])
    one = held(call, answer({"text": "Hi.", "usage": {"type": "duration", "seconds": 9}}))
    names = {part.name: part.value for part in one.requests[0].multipart or ()}
    assert names["response_format"] == "json" and "timestamp_granularities[]" not in names
    assert succeeded(one).usage == {"duration_ms": 9000}


def test_a_length_that_nobody_says_is_estimated_and_the_caller_told() -> None:
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 45}
    outcome = succeeded(held(hearing("gpt-transcribe"), answer({"text": "a" * 150, "usage": usage})))
    assert outcome.usage == {"duration_ms": 10_000, "input_tokens": 14, "output_tokens": 45, "estimated": 1}
    assert len(outcome.warnings) == 1
    by_segments = {"text": "x", "segments": [{"start": 0, "end": 7, "text": "x"}, {"start": "?"}, 5]}
    assert succeeded(held(hearing(), answer(by_segments))).usage == {"duration_ms": 7000}


def test_a_transcription_that_is_none_says_why() -> None:
    assert kind_of(held(hearing(), answer({"ok": 1}))) is FailedKind.UNKNOWN
    assert kind_of(held(hearing(), answer({"error": {"message": "no sound"}}, 400))) is FailedKind.INVALID
    without = Call("job", 1, "token", Operation.TRANSCRIPTION, "whisper-1", {})
    assert kind_of(held(without)) is FailedKind.INVALID


def test_texts_become_vectors_in_their_order() -> None:
    data = [{"index": 1, "embedding": [0.3, 0.4]}, {"index": 0, "embedding": [1, 2.5]}]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    one = held(embedding(input=["a", "b"], dimensions=2), answer({"data": data, "usage": usage}))
    assert one.requests[0].url.endswith("/v1/embeddings") and one.requests[0].commits
    assert one.body == {"model": "embed", "input": ["a", "b"], "dimensions": 2, "encoding_format": "float"}
    outcome = succeeded(one)
    assert outcome.data == {"embeddings": [[1, 2.5], [0.3, 0.4]]}
    assert outcome.usage == {"input_tokens": 8}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"data": [{"embedding": [1.0]}]}, "upstream"),
        ({"data": [{"embedding": []}, {"embedding": [1.0]}]}, "unknown"),
        ({"data": [{"embedding": [None]}, {"embedding": [1.0]}]}, "unknown"),
        ({"data": [{"embedding": ["1"]}, {"embedding": [1.0]}]}, "unknown"),
        ({"data": [{"embedding": [10**400]}, {"embedding": [1.0]}]}, "unknown"),
        ({"data": "x"}, "unknown"),
        ([], "unknown"),
        ({"error": {"code": 503, "message": "x"}}, "retry"),
    ],
)
def test_vectors_that_are_none_say_why(body: Any, kind: str) -> None:
    assert kind_of(held(embedding(input=["a", "b"]), answer(body))) == kind
