"""Imagen, Veo and the Files API with recorded answers (`wire/providers.md §3.3, §3.5, §3.6`)."""

from typing import Any

import pytest
from google_kit import B64, BASE, KEY, PICTURE, PROMPT, answer, body_of, call, error, provider, submitted, told

from calotype.kernel.clock import ManualClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Pending, Succeeded
from calotype.kernel.steps import HttpResponse, MaybeSent, Wait
from calotype.providers import google_media
from calotype.providers.base import PollSchedule
from calotype.providers.google import Google

IMAGE, EDIT = Operation.TEXT_TO_IMAGE, Operation.IMAGE_TO_IMAGE
VIDEO = Operation.TEXT_TO_VIDEO
IMAGEN, VEO = "imagen-4.0-generate-001", "veo-3.1-generate-preview"
NAME = f"models/{VEO}/operations/abc"
FILE = f"{BASE}/v1beta/files/xyz:download?alt=media"


# -- Imagen (§3.5) ----------------------------------------------------------------------------------------------------


def predicted(*items: dict[str, Any]) -> HttpResponse:
    return answer({"predictions": list(items)} if items else {})


def test_imagen_is_asked_for_all_pictures_at_once_with_the_reasons_of_its_filter() -> None:
    fields = {"prompt": PROMPT, "n": 2, "aspect_ratio": "16:9", "image_size": "2K", "output_format": "jpeg"}
    made = {"mimeType": "image/jpeg", "bytesBase64Encoded": B64}
    (request,), outcome = submitted(call(IMAGE, IMAGEN, fields, outputs=2), predicted(made, made))
    assert request.url == f"{BASE}/v1beta/models/{IMAGEN}:predict" and request.commits
    assert body_of(request) == {
        "instances": [{"prompt": PROMPT}],
        "parameters": {
            "sampleCount": 2, "includeRaiReason": True, "aspectRatio": "16:9", "sampleImageSize": "2K",
            "outputOptions": {"mimeType": "image/jpeg"},
        },
    }  # fmt: skip
    assert isinstance(outcome, Succeeded) and len(outcome.outputs) == 2 and outcome.warnings == ()


def test_a_size_becomes_the_nearest_proportions_that_imagen_has() -> None:
    (request,), _ = submitted(call(IMAGE, IMAGEN, {"prompt": "x", "size": "1536x1024"}), predicted())
    assert body_of(request)["parameters"]["aspectRatio"] == "4:3"


def test_pictures_that_are_held_back_are_missing_with_a_warning_and_none_at_all_is_moderated() -> None:
    held = {"raiFilteredReason": "Support codes: 39322892"}
    made = {"mimeType": "image/png", "bytesBase64Encoded": B64}
    for answered in (predicted(made, held), predicted(made)):
        _, outcome = submitted(call(IMAGE, IMAGEN, outputs=2), answered)
        assert isinstance(outcome, Succeeded) and len(outcome.outputs) == 1
        assert outcome.warnings == ("1 of 2 pictures were held back by the provider's content policy",)
    for answered in (predicted(held), predicted(), answer({"predictions": 5})):
        _, outcome = submitted(call(IMAGE, IMAGEN), answered)
        assert isinstance(outcome, Failed) and outcome.kind is FailedKind.MODERATED


def test_imagen_that_is_switched_off_is_gone_and_an_unreadable_answer_unknown() -> None:
    assert submitted(call(IMAGE, IMAGEN), error(404, "NOT_FOUND"))[1].kind is FailedKind.GONE  # type: ignore[union-attr]
    assert submitted(call(IMAGE, IMAGEN), answer(b"<html>"))[1].kind is FailedKind.UNKNOWN  # type: ignore[union-attr]


# -- Veo (§3.6) -------------------------------------------------------------------------------------------------------


def begun(clock: ManualClock | None = None, **fields: Any) -> tuple[Any, Pending]:
    steps = provider(clock).submit(call(VIDEO, VEO, {"prompt": PROMPT, **fields}))
    (request,), outcome = told(steps, answer({"name": NAME}))
    assert isinstance(outcome, Pending)
    return request, outcome


def polled(response: HttpResponse, name: str = NAME, **settings: Any) -> Any:
    handle = {"kind": "operation", "name": name, "version": "v1beta", "since_ms": 0}
    return told(provider(ManualClock(0), **settings).poll(handle), response)


def test_a_video_is_begun_with_its_frames_and_references_and_named_by_an_operation() -> None:
    request, outcome = begun(
        seconds=8, aspect_ratio="9:16", resolution="1080p", negative_prompt="rain", image_url=PICTURE,
        last_image_url=PICTURE, reference_image_urls=[PICTURE, PICTURE],
    )  # fmt: skip
    assert request.url == f"{BASE}/v1beta/models/{VEO}:predictLongRunning" and request.commits
    frame = {"bytesBase64Encoded": B64, "mimeType": "image/png"}
    assert body_of(request) == {
        "instances": [
            {
                "prompt": PROMPT, "image": frame, "lastFrame": frame,
                "referenceImages": [{"image": frame, "referenceType": "ASSET"}] * 2,
            }
        ],
        "parameters": {
            "aspectRatio": "9:16", "resolution": "1080p", "durationSeconds": 8, "negativePrompt": "rain",
        },
    }  # fmt: skip
    assert outcome.upstream_id == "abc" and outcome.handle["name"] == NAME
    assert Google.schedule == PollSchedule(first_s=10.0, factor=1.0, max_s=10.0)


@pytest.mark.parametrize("body", [b"<html>", {}, {"name": 5}, {"name": "models/x"}, {"name": "../operations/1"}])
def test_an_accepted_video_without_a_name_is_ambiguous(body: Any) -> None:
    _, outcome = submitted(call(VIDEO, VEO), answer(body))
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.UNKNOWN


@pytest.mark.parametrize("body", [{"name": NAME, "metadata": {}}, {"name": NAME, "done": False}, {}])
def test_a_video_that_is_not_done_is_waited_for(body: Any) -> None:
    (request,), outcome = polled(answer(body))
    assert (request.method, request.url) == ("GET", f"{BASE}/v1beta/{NAME}")
    assert isinstance(outcome, Pending) and outcome.poll_after_s is None


def test_after_a_quarter_of_an_hour_a_look_a_minute_is_enough() -> None:
    clock = ManualClock()
    _, outcome = begun(clock)
    clock.advance(901_000)
    _, looked = told(provider(clock).poll(outcome.handle), answer({}))
    assert looked.poll_after_s == 60


@pytest.mark.parametrize(
    "response",
    [
        {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": FILE}}]}},
        {"generatedSamples": [{"video": {"uri": FILE}}]},
        {"videos": [{"uri": FILE, "mimeType": "video/mp4"}]},
    ],
)
def test_a_video_by_address_is_fetched_with_the_key(response: Any) -> None:
    outcome = polled(answer({"name": NAME, "done": True, "response": response}))[1]
    (output,) = outcome.outputs
    assert (output.url, output.url_headers) == (FILE, {"x-goog-api-key": KEY})


def test_a_video_inside_the_answer_is_taken_as_it_is() -> None:
    response = {"videos": [{"bytesBase64Encoded": "AAAA", "mimeType": "video/mp4"}]}
    outcome = polled(answer({"done": True, "response": response}))[1]
    assert outcome.outputs[0].base64 == b"AAAA"


@pytest.mark.parametrize(
    "url", ["https://evil.example/files/xyz:download", "http://generativelanguage.googleapis.com/x"]
)
def test_the_key_goes_to_the_configured_origin_only(url: str) -> None:
    response = {"generatedSamples": [{"video": {"uri": url}}]}
    (output,) = polled(answer({"done": True, "response": response}))[1].outputs
    assert (output.url, output.url_headers) == (url, {})


def test_a_file_of_googles_is_fetched_through_the_operators_own_base_url() -> None:
    response = {"generatedSamples": [{"video": {"uri": FILE}}]}
    (output,) = polled(answer({"done": True, "response": response}), base_url="http://10.0.0.5:8080")[1].outputs
    assert output.url == "http://10.0.0.5:8080/v1beta/files/xyz:download?alt=media"
    assert output.url_headers == {"x-goog-api-key": KEY}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"code": 3, "message": "The prompt violates Google's Responsible AI practices."}}, "moderated"),
        ({"error": {"code": 3, "message": "durationSeconds is out of bound."}}, "invalid"),
        ({"error": {"code": 8, "message": "no"}}, "upstream"),
        ({"error": {"code": 13, "message": "no"}}, "upstream"),
        ({"error": {"code": 14}}, "upstream"),
        ({"response": {"generateVideoResponse": {"raiMediaFilteredCount": 1}}}, "moderated"),
        ({"response": {"generateVideoResponse": {"raiMediaFilteredReasons": ["no"]}}}, "moderated"),
        ({"response": {"raiMediaFilteredReasons": ["no"], "raiMediaFilteredCount": 1}}, "moderated"),
        ({"response": {"videos": [{"gcsUri": "gs://bucket/video.mp4"}]}}, "upstream"),
        ({"response": {}}, "upstream"),
        ({"response": 7}, "upstream"),
    ],
)
def test_every_other_end_of_a_video_is_final(body: Any, kind: str) -> None:
    outcome = polled(answer({"name": NAME, "done": True, **body}))[1]
    assert isinstance(outcome, Failed) and outcome.kind.value == kind


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer(b"", 502), "retry"), (error(429, "RESOURCE_EXHAUSTED"), "retry"), (answer(b"<html>"), "retry"),
        (error(404, "NOT_FOUND"), "gone"), (error(403, "PERMISSION_DENIED"), "auth"),
        (error(400, "INVALID_ARGUMENT"), "retry"),
    ],
)  # fmt: skip
def test_a_look_that_tells_nothing_ends_nothing(response: HttpResponse, kind: str) -> None:
    assert polled(response)[1].kind.value == kind


def test_the_enterprise_platform_is_asked_in_its_own_way() -> None:
    path = "projects/p/locations/us-central1/publishers/google/models/veo-3.1-generate-001"
    (request,), _ = polled(answer({}), name=f"{path}/operations/7")
    assert (request.method, request.url) == ("POST", f"{BASE}/v1beta/{path}:fetchPredictOperation")
    assert body_of(request) == {"operationName": f"{path}/operations/7"} and not request.commits


def test_a_video_of_veos_cannot_be_stopped() -> None:
    with pytest.raises(StopIteration) as end:
        next(provider().cancel({"kind": "operation", "name": NAME}))
    assert end.value.value is False


# -- the Files API ----------------------------------------------------------------------------------------------------

PLACE = f"{BASE}/upload/v1beta/files/f1?upload_protocol=resumable"


def stored(state: str = "ACTIVE") -> HttpResponse:
    return answer({"file": {"name": "files/f1", "uri": f"{BASE}/v1beta/files/f1", "state": state}})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_media, "INLINE_CHARS", 10)


def uploading(*answers: Any, **settings: Any) -> tuple[list[Any], Any]:
    edit = call(EDIT, "gemini-3.1-flash-image", {"prompt": PROMPT, "image": [PICTURE]})
    return told(provider(**settings).submit(edit), *answers)


@pytest.mark.usefixtures("small")
def test_large_inputs_are_uploaded_before_anything_is_paid_for() -> None:
    done = answer({"candidates": [{"finishReason": "IMAGE_SAFETY"}]})
    asked, _ = uploading(answer({}, x_goog_upload_url=PLACE), stored("PROCESSING"), None, stored(), done)
    start, put, wait, look_, paid = asked
    assert start.url == f"{BASE}/upload/v1beta/files" and not start.commits
    assert start.headers["X-Goog-Upload-Command"] == "start"
    assert start.headers["X-Goog-Upload-Header-Content-Length"] == str(len(b"picture bytes"))
    assert (put.url, put.body, put.headers["X-Goog-Upload-Command"]) == (PLACE, b"picture bytes", "upload, finalize")
    assert "x-goog-api-key" not in put.headers
    assert isinstance(wait, Wait) and look_.url == f"{BASE}/v1beta/files/f1"
    (request,) = paid.requests
    shown = {"fileData": {"fileUri": f"{BASE}/v1beta/files/f1", "mimeType": "image/png"}}
    assert body_of(request)["contents"][0]["parts"][0] == shown


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ((answer({}, x_goog_upload_url="https://evil.example/x"),), "retry"),
        ((answer({}),), "retry"),
        ((error(403, "PERMISSION_DENIED"),), "auth"),
        ((error(503, "UNAVAILABLE"),), "retry"),
        ((MaybeSent("x"),), "retry"),
        ((answer({}, x_goog_upload_url=PLACE), error(400, "INVALID_ARGUMENT")), "invalid"),
        ((answer({}, x_goog_upload_url=PLACE), stored("FAILED")), "retry"),
        ((answer({}, x_goog_upload_url=PLACE), MaybeSent("x")), "retry"),
    ],
)
def test_an_upload_that_fails_costs_nothing_and_sends_nothing_elsewhere(answers: Any, kind: str) -> None:
    _, outcome = uploading(*answers)
    assert isinstance(outcome, Failed) and outcome.kind.value == kind


@pytest.mark.usefixtures("small")
def test_large_inputs_with_phi_are_not_uploaded() -> None:
    edit = call(EDIT, "gemini-3.1-flash-image", {"prompt": PROMPT, "image": [PICTURE]}, data_class=DataClass.PHI)
    with pytest.raises(StopIteration) as end:
        next(provider().submit(edit))
    assert end.value.value.kind is FailedKind.GONE
