"""Azure's speech and document services with recorded answers."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from calotype.kernel.clock import ManualClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Output, Pending, Succeeded
from calotype.kernel.steps import FileRef, HttpRequest, HttpResponse
from calotype.providers.azure import Azure
from calotype.providers.base import Call, Check, MediaInputs
from calotype.settings import ProviderSettings

KEY = "0123456789abcdef0123456789abcdef"
BASE = "https://westeurope.api.cognitive.microsoft.com"
CUSTOM = "https://my-resource.cognitiveservices.azure.com"
FILE = FileRef(Path("/tmp/x.wav"), "audio/wav", "x.wav")
PLACE = f"{BASE}/documentintelligence/documentModels/prebuilt-read/analyzeResults/abc-1?api-version=2024-11-30"
HEARD = {
    "durationMilliseconds": 2600,
    "combinedPhrases": [{"text": "Guten Tag."}],
    "phrases": [
        {"offsetMilliseconds": 100, "durationMilliseconds": 900, "text": "Guten Tag.", "locale": "de-DE",
         "words": [{"text": "Guten", "offsetMilliseconds": 100, "durationMilliseconds": 400}]},
    ],
}  # fmt: skip


def provider(clock: ManualClock | None = None, **settings: Any) -> Azure:
    settings = {"api_key": SecretStr(KEY), "base_url": BASE, **settings}
    return Azure("azure-eu", ProviderSettings(kind="azure", **settings), clock)


def call(operation: Operation, files: tuple[FileRef, ...] = (FILE,), **fields: Any) -> Call:
    data_class = fields.pop("data_class", DataClass.GENERAL)
    attached = {"audio_url": files} if files else {}
    return Call("job", 1, "token", operation, "prebuilt-read", fields, files=attached, data_class=data_class)


def answer(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def told(steps: Generator[Any, Any, Any], *answers: HttpResponse) -> tuple[list[HttpRequest], Any]:
    asked = [next(steps)]
    for one in answers:
        try:
            asked.append(steps.send(one))
        except StopIteration as end:
            return asked, end.value
    raise AssertionError("the conversation goes on")


def ended(steps: Generator[Any, Any, Any]) -> Any:
    with pytest.raises(StopIteration) as end:
        next(steps)
    return end.value.value


@pytest.mark.parametrize("base_url", [None, "", "westeurope", "https://a:b@x.azure.com", "https://x.azure.com/?k=v"])
def test_a_resource_without_its_address_is_refused_by_name(base_url: str | None) -> None:
    with pytest.raises(ValueError, match=r"providers\.azure-eu\.base_url"):
        provider(base_url=base_url)


@pytest.mark.parametrize(("language", "definition"), [("de", {"locales": ["de-DE"]}), (None, {}), ("xx", {})])
def test_a_recording_is_written_down_with_its_times(language: str | None, definition: dict[str, Any]) -> None:
    asked = call(Operation.TRANSCRIPTION, language=language, response_format="vtt", prompt="Bob")
    (request,), done = told(provider().submit(asked), answer(HEARD))
    assert request.url == f"{BASE}/speechtotext/transcriptions:transcribe?api-version=2024-11-15"
    assert (request.commits, request.headers["Ocp-Apim-Subscription-Key"]) == (True, KEY)
    parts = {part.name: part.value for part in request.multipart or ()}
    assert msgspec.json.decode(parts["definition"]) == definition  # type: ignore[arg-type]
    assert parts["audio"] is FILE
    assert isinstance(done, Succeeded)
    assert (done.data["text"], done.data["language"], done.data["duration_s"]) == ("Guten Tag.", "de", 2.6)
    assert done.data["words"] == [{"word": "Guten", "start": 0.1, "end": 0.5}]
    assert done.data["vtt"].startswith("WEBVTT")
    assert done.usage == {"duration_ms": 2_600}
    assert len(done.warnings) == 1


def test_of_several_channels_each_text_is_kept() -> None:
    body = {"durationMilliseconds": 1000, "combinedPhrases": [{"text": "a"}, {"text": "b"}], "phrases": []}
    assert told(provider().submit(call(Operation.TRANSCRIPTION)), answer(body))[1].data["text"] == "a\nb"


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (BASE, "https://westeurope.tts.speech.microsoft.com/cognitiveservices/v1"),
        (CUSTOM, f"{CUSTOM}/tts/cognitiveservices/v1"),
    ],
)
def test_a_text_is_spoken_by_a_voice_at_the_host_of_its_region(base_url: str, url: str) -> None:
    asked = call(Operation.TEXT_TO_SPEECH, (), input='Tom & "Jo" <3', voice="de-CH-LeniNeural", speed=1.5)
    (request,), done = told(provider(base_url=base_url).submit(asked), answer(b"ID3sound"))
    assert request.url == url
    assert request.headers["X-Microsoft-OutputFormat"] == "audio-24khz-96kbitrate-mono-mp3"
    assert request.headers["Content-Type"] == "application/ssml+xml"
    assert request.body == (
        b'<speak version="1.0" xml:lang="de-CH"><voice name="de-CH-LeniNeural">'
        b'<prosody rate="1.5">Tom &amp; "Jo" &lt;3</prosody></voice></speak>'
    )
    assert done == Succeeded((Output(data=b"ID3sound", content_type="audio/mpeg"),))


def test_a_voices_name_cannot_leave_its_attribute() -> None:
    asked = call(Operation.TEXT_TO_SPEECH, (), input="x", voice='en-US-A"/><voice name="b')
    body = next(provider().submit(asked)).body  # type: ignore[union-attr]
    assert isinstance(body, bytes) and body.count(b"<voice") == 1 and b"&lt;voice" in body


def test_a_document_is_sent_as_it_is_and_read_later() -> None:
    asked = call(Operation.OCR, pages=[0, 4])
    accepted = answer(b"", 202, operation_location=PLACE, retry_after="1")
    (request,), pending = told(provider().submit(asked), accepted)
    assert request.url.startswith(f"{BASE}/documentintelligence/documentModels/prebuilt-read:analyze?")
    assert "api-version=2024-11-30" in request.url and "pages=1,5" in request.url
    assert (request.body, request.headers["Content-Type"], request.commits) == (FILE, "audio/wav", True)
    assert pending == Pending({"url": PLACE}, upstream_id="abc-1", poll_after_s=1.0)
    result = {
        "content": "Zürich\nZwei", "pages": [
            {"pageNumber": 1, "spans": [{"offset": 0, "length": 6}]},
            {"pageNumber": 5, "spans": [{"offset": 7, "length": 4}]},
        ],
    }  # fmt: skip
    (poll,), done = told(provider().poll(pending.handle), answer({"status": "succeeded", "analyzeResult": result}))
    assert (poll.url, poll.commits) == (PLACE, False)
    assert done.data["pages"] == [{"index": 0, "markdown": "Zürich"}, {"index": 4, "markdown": "Zwei"}]
    assert (done.data["page_count"], done.data["raw"], done.usage) == (2, result, {"pages": 2})


@pytest.mark.parametrize("place", ["", "https://evil.example/x", "http://westeurope.api.cognitive.microsoft.com/x"])
def test_our_key_never_follows_an_address_of_another_origin(place: str) -> None:
    _, outcome = told(provider().submit(call(Operation.OCR)), answer(b"", 202, operation_location=place))
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.UNKNOWN


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (answer({"status": "failed", "error": {"code": "InvalidContent"}}), FailedKind.INVALID),
        (answer({"status": "failed", "error": {"code": "InternalServerError"}}), FailedKind.UPSTREAM),
        (answer({"error": {"code": "NotFound"}}, 404), FailedKind.UPSTREAM),
        (answer(b"<html>", 502), FailedKind.RETRY),
        (answer({}, 429, retry_after="3"), FailedKind.RETRY),
        (answer({"status": "running"}), None),
        (answer({"status": "notStarted"}), None),
    ],
)
def test_each_state_of_a_reading_has_its_meaning(said: HttpResponse, kind: FailedKind | None) -> None:
    _, outcome = told(provider().poll({"url": PLACE}), said)
    assert isinstance(outcome, Pending) if kind is None else isinstance(outcome, Failed) and outcome.kind is kind


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidArgument", FailedKind.INVALID),
        (401, "401", FailedKind.AUTH),
        (403, "Forbidden", FailedKind.AUTH),
        (403, "QuotaExceeded", FailedKind.QUOTA),
        (404, "NotFound", FailedKind.GONE),
        (415, "UnsupportedMediaType", FailedKind.INVALID),
        (429, "TooManyRequests", FailedKind.RETRY),
        (500, "InternalServerError", FailedKind.RETRY),
        (502, "BadGateway", FailedKind.UNKNOWN),
        (504, "Timeout", FailedKind.UNKNOWN),
    ],
)
def test_each_refusal_has_its_meaning(status: int, code: str, kind: FailedKind) -> None:
    body = {"error": {"code": code, "message": f"no: {KEY} said a secret thing"}}
    _, outcome = told(provider().submit(call(Operation.TRANSCRIPTION)), answer(body, status))
    assert (outcome.kind, outcome.status) == (kind, status)
    assert KEY not in outcome.detail
    _, phi = told(provider().submit(call(Operation.TRANSCRIPTION, data_class=DataClass.PHI)), answer(body, status))
    assert "secret thing" not in phi.detail


def test_an_error_that_came_late_may_stand_for_paid_work() -> None:
    clock = ManualClock()
    steps = provider(clock).submit(call(Operation.TRANSCRIPTION))
    next(steps)
    clock.advance(6_000)
    with pytest.raises(StopIteration) as end:
        steps.send(answer({"error": {"code": "InternalServerError"}}, 500))
    assert end.value.value.kind is FailedKind.UNKNOWN


def test_nothing_is_sent_without_key_file_service_or_known_format() -> None:
    assert ended(provider(api_key=None).submit(call(Operation.OCR))).kind is FailedKind.AUTH
    assert ended(provider().submit(call(Operation.OCR, ()))).field == "document"
    assert ended(provider().submit(call(Operation.TRANSCRIPTION, (FILE, FILE)))).field == "audio_url"
    assert ended(provider().submit(call(Operation.CHAT))).kind is FailedKind.GONE
    odd = ended(provider().submit(call(Operation.TEXT_TO_SPEECH, (), input="x", response_format="aac")))
    assert (odd.kind, odd.field) == (FailedKind.INVALID, "response_format")
    assert Azure.media_inputs is MediaInputs.FILE


@pytest.mark.parametrize(
    ("documents", "voices", "check"),
    [
        (200, 200, Check(True, "ok", note="serves documents and speech")),
        (404, 200, Check(True, "ok", note="serves speech")),
        (200, 401, Check(True, "ok", note="serves documents")),
        (401, 401, Check(True, "refused", note="HTTP 401, HTTP 401")),
        (404, 401, Check(True, "refused", note="HTTP 404, HTTP 401")),
        (500, 503, Check(True, "unknown", note="HTTP 500, HTTP 503")),
    ],
)
def test_a_resource_may_have_one_service_or_both(documents: int, voices: int, check: Check) -> None:
    asked, found = told(provider().check(), answer({}, documents), answer([], voices))
    assert found == check
    assert all(request.method == "GET" and not request.commits for request in asked)
