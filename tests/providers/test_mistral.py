"""Mistral: transcription, speech and documents with recorded answers."""

from base64 import b64encode
from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Output, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse
from calotype.providers.base import Call, Check, MediaInputs
from calotype.providers.mistral import Mistral
from calotype.settings import ProviderSettings

KEY = "mistral-5f0c2ad1beef"
SOUND = b"RIFF....WAVE"
URI = f"data:audio/wav;base64,{b64encode(SOUND).decode()}"
PDF = "data:application/pdf;base64,JVBERi0="
HEARD = {
    "model": "voxtral-mini-2602", "text": " Hello there. ", "language": None,
    "segments": [{"type": "transcription_segment", "text": " Hello there.", "start": 0.1, "end": 1.4}],
    "usage": {"prompt_audio_seconds": 2, "prompt_tokens": 13, "completion_tokens": 5, "total_tokens": 18},
}  # fmt: skip


def provider(**settings: Any) -> Mistral:
    settings.setdefault("api_key", SecretStr(KEY))
    return Mistral("mistral", ProviderSettings(kind="mistral", **settings))


def call(operation: Operation, **fields: Any) -> Call:
    return Call("job", 1, "token-1", operation, "a-model", fields)


def answer(body: Any, status: int = 200) -> HttpResponse:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpResponse(status, {"content-type": "application/json"}, raw)


def told(steps: Generator[Any, Any, Any], response: HttpResponse) -> tuple[HttpRequest, Any]:
    request = next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(response)
    return request, end.value.value


def ended(steps: Generator[Any, Any, Any]) -> Any:
    with pytest.raises(StopIteration) as end:
        next(steps)
    return end.value.value


def test_a_recording_is_written_down_and_measured_by_its_seconds() -> None:
    asked = call(Operation.TRANSCRIPTION, audio_url=URI, language="en", temperature=0.2, response_format="json")
    request, done = told(provider().submit(asked), answer(HEARD))
    assert (request.url, request.commits) == ("https://api.mistral.ai/v1/audio/transcriptions", True)
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    parts = {part.name: part.value for part in request.multipart or ()}
    assert parts == {"model": "a-model", "file": SOUND, "language": "en", "temperature": "0.2"}
    assert done.data["text"] == "Hello there." and done.data["duration_s"] == 2
    assert done.usage == {"duration_ms": 2_000, "input_tokens": 13, "output_tokens": 5}
    assert done.warnings == ()


def test_subtitles_need_times_which_exclude_the_language_and_a_prompt_is_left_out_aloud() -> None:
    asked = call(Operation.TRANSCRIPTION, audio_url=URI, language="en", prompt="Bob", response_format="srt")
    request, done = told(provider().submit(asked), answer(HEARD))
    parts = {part.name: part.value for part in request.multipart or ()}
    assert parts["timestamp_granularities"] == "segment" and "language" not in parts and "prompt" not in parts
    assert done.data["srt"] == "1\n00:00:00,100 --> 00:00:01,400\nHello there.\n\n"
    assert len(done.warnings) == 2


def test_a_text_is_spoken_by_the_voice_that_is_named() -> None:
    asked = call(Operation.TEXT_TO_SPEECH, input="hi", voice="gb_jane_neutral", response_format="wav", speed=None)
    request, done = told(provider().submit(asked), answer({"audio_data": "QUJD"}))
    assert request.url == "https://api.mistral.ai/v1/audio/speech"
    assert msgspec.json.decode(request.body) == {
        "model": "a-model", "input": "hi", "voice_id": "gb_jane_neutral", "response_format": "wav", "stream": False,
    }  # fmt: skip
    assert done == Succeeded((Output(base64=b"QUJD", content_type="audio/wav"),))


@pytest.mark.parametrize(("document", "kind"), [(PDF, "document_url"), ("data:image/png;base64,QUJD", "image_url")])
def test_a_document_is_read_as_pages_and_billed_by_those_processed(document: str, kind: str) -> None:
    said = {
        "pages": [{"index": 3, "markdown": "# One", "images": []}, {"index": 4, "markdown": "Two"}],
        "model": "m", "usage_info": {"pages_processed": 2, "doc_size_bytes": 9},
    }  # fmt: skip
    request, done = told(provider().submit(call(Operation.OCR, document=document, pages=[3, 4])), answer(said))
    body = msgspec.json.decode(request.body)
    assert body == {"model": "a-model", "document": {"type": kind, kind: document}, "pages": [3, 4]}
    assert done.data["pages"] == [{"index": 3, "markdown": "# One"}, {"index": 4, "markdown": "Two"}]
    assert (done.data["page_count"], done.data["raw"]) == (2, said)
    assert done.usage == {"pages": 2}


@pytest.mark.parametrize(
    ("operation", "fields", "field"),
    [
        (Operation.TRANSCRIPTION, {}, "audio_url"),
        (Operation.TRANSCRIPTION, {"audio_url": "data:audio/wav;base64,%%"}, "audio_url"),
        (Operation.OCR, {}, "document"),
    ],
)
def test_an_input_without_its_file_is_never_sent(operation: Operation, fields: dict[str, Any], field: str) -> None:
    outcome = ended(provider().submit(call(operation, **fields)))
    assert (outcome.kind, outcome.field) == (FailedKind.INVALID, field)


def test_without_a_credential_or_for_something_else_nothing_is_sent() -> None:
    assert ended(provider(api_key=None).submit(call(Operation.OCR))).kind is FailedKind.AUTH
    assert ended(provider().submit(call(Operation.TEXT_TO_VIDEO))).kind is FailedKind.GONE


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (
            400,
            {"object": "error", "message": "bad", "type": "invalid_request_error", "param": None},
            FailedKind.INVALID,
        ),
        (401, {"message": "Unauthorized", "request_id": "x"}, FailedKind.AUTH),
        (402, {"message": "Payment required"}, FailedKind.QUOTA),
        (403, {"message": "Forbidden"}, FailedKind.AUTH),
        (404, {"message": "no model"}, FailedKind.GONE),
        (422, {"detail": [{"loc": ["body"], "msg": "x", "type": "y"}]}, FailedKind.INVALID),
        (429, {"object": "error", "message": "Service tier capacity exceeded", "code": "3505"}, FailedKind.RETRY),
        (500, {"object": "error", "message": "x"}, FailedKind.RETRY),
        (500, b"<html>", FailedKind.UNKNOWN),
        (502, b"", FailedKind.UNKNOWN),
    ],
)
def test_each_refusal_has_its_meaning(status: int, body: Any, kind: FailedKind) -> None:
    _, outcome = told(provider().submit(call(Operation.TEXT_TO_SPEECH, input="hi")), answer(body, status))
    assert isinstance(outcome, Failed) and (outcome.kind, outcome.status) == (kind, status)


@pytest.mark.parametrize(
    ("operation", "body", "kind"),
    [
        (Operation.TRANSCRIPTION, {"model": "m"}, FailedKind.UNKNOWN),
        (Operation.TEXT_TO_SPEECH, {"audio": 1}, FailedKind.UNKNOWN),
        (Operation.TEXT_TO_SPEECH, {"audio_data": ""}, FailedKind.UPSTREAM),
        (Operation.OCR, [], FailedKind.UNKNOWN),
    ],
)
def test_an_answer_without_a_result_is_no_success(operation: Operation, body: Any, kind: FailedKind) -> None:
    asked = call(operation, audio_url=URI, document=PDF, input="hi")
    assert told(provider().submit(asked), answer(body))[1].kind is kind


def test_files_come_as_text_and_the_account_is_asked_for_its_models() -> None:
    assert Mistral.media_inputs is MediaInputs.DATA
    request, check = told(provider().check(), answer({"data": []}))
    assert (request.method, request.url, check) == ("GET", "https://api.mistral.ai/v1/models", Check(True, "ok"))
