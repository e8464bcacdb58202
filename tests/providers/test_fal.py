"""fal's queue API: each conversation with recorded answers (`wire/fal.md`)."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from calotype.kernel.clock import ManualClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Pending, Succeeded
from calotype.kernel.steps import FileRef, HttpRequest, HttpResponse, MaybeSent, Parallel
from calotype.providers.base import Call, Idempotency, MediaInputs
from calotype.providers.fal import Fal
from calotype.providers.fal_calls import upstream_input
from calotype.settings import ProviderSettings

KEY = "0c2ad1f0-test:5f0c2ad1beef"
PROMPT = "a very private garden by the sea"
ID = "019d9e0b-0000-7000-8000-000000000000"
BASE = f"https://queue.fal.run/fal-ai/flux/requests/{ID}"
HANDLE = {"id": ID, "status_url": f"{BASE}/status", "response_url": BASE, "cancel_url": f"{BASE}/cancel"}
FILE = {"url": "https://v3.fal.media/files/a/b.png", "content_type": "image/png", "file_name": "b.png", "file_size": 9}


def provider(clock: ManualClock | None = None, **settings: Any) -> Fal:
    settings.setdefault("api_key", SecretStr(KEY))
    return Fal("fal", ProviderSettings(kind="fal", **settings), clock)


def call(**changes: Any) -> Call:
    fields = {"prompt": PROMPT, "image_size": "640x480", "seed": None, **changes.pop("input", {})}
    model = changes.pop("model", "fal-ai/flux/dev")
    return Call("job", 1, "token-1", changes.pop("operation", Operation.TEXT_TO_IMAGE), model, fields, **changes)


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


def submitted(response: HttpResponse, elapsed_ms: int = 0, **changes: Any) -> Outcome:
    clock = ManualClock()
    steps = provider(clock).submit(call(**changes))
    next(steps)
    clock.advance(elapsed_ms)
    with pytest.raises(StopIteration) as end:
        steps.send(response)
    outcome: Outcome = end.value.value
    return outcome


def polled(*answers: HttpResponse) -> Outcome:
    outcome: Outcome = told(provider().poll(HANDLE), *answers)[1]
    return outcome


def status(word: str, **more: Any) -> HttpResponse:
    code = 200 if word == "COMPLETED" else 202
    return answer({"status": word, "request_id": ID, "logs": None, **more}, code)


def result(body: Any, code: int = 200, **headers: str) -> Outcome:
    failure = {"error": f"Invalid status code: {code}"} if code >= 300 else {}
    return polled(status("COMPLETED", **failure), answer(body, code, x_fal_request_id=ID, **headers))


# -- submit -----------------------------------------------------------------------------------------------------------


def test_a_prompt_becomes_one_request_that_commits_and_keeps_nothing_at_fal() -> None:
    (request,), outcome = told(provider().submit(call()), answer({"request_id": ID, **HANDLE}))
    assert (request.method, request.url, request.commits) == ("POST", "https://queue.fal.run/fal-ai/flux/dev", True)
    assert msgspec.json.decode(request.body) == {"prompt": PROMPT, "image_size": {"width": 640, "height": 480}}
    assert request.headers["Authorization"] == f"Key {KEY}"
    assert request.headers["X-Fal-Store-IO"] == "0"
    assert request.headers["x-app-fal-disable-fallback"] == "true"
    assert request.headers["X-Fal-Request-Timeout"] == request.headers["X-Fal-Request-Start-Timeout"] == "1800"
    lifetime = msgspec.json.decode(request.headers["X-Fal-Object-Lifecycle-Preference"])
    assert lifetime == {"expiration_duration_seconds": 86_400}
    assert outcome == Pending(HANDLE, upstream_id=ID)


def test_fal_takes_no_key_against_doing_the_same_twice() -> None:
    assert (Fal.idempotency, Fal.media_inputs) == (Idempotency.NONE, MediaInputs.FILE)


@pytest.mark.parametrize("url", ["https://evil.example/x", "http://queue.fal.run/x", None, 7, "http://["])
def test_an_address_of_another_origin_never_gets_our_key(url: Any) -> None:
    body = {"request_id": ID, "status_url": url, "response_url": url, "cancel_url": url}
    assert submitted(answer(body)) == Pending(HANDLE, upstream_id=ID)


def test_addresses_of_the_reply_are_taken_as_they_are_and_namespaces_have_three_parts() -> None:
    theirs = f"https://queue.fal.run/other/path/requests/{ID}/response"
    outcome = submitted(answer({"request_id": ID, "response_url": theirs}), model="workflows/me/flow/deep")
    assert isinstance(outcome, Pending)
    assert outcome.handle["response_url"] == theirs
    assert outcome.handle["status_url"] == f"https://queue.fal.run/workflows/me/flow/requests/{ID}/status"


@pytest.mark.parametrize("body", [b"<html>", {"status": "IN_QUEUE"}, {"request_id": "../x"}, []])
def test_an_accepted_request_without_an_id_is_ambiguous(body: Any) -> None:
    outcome = submitted(answer(body))
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.UNKNOWN


LOCKED = {"detail": "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."}
LIMIT = {
    "detail": "Reached concurrent requests limit of 20",
    "type": "concurrent_requests_limit",
    "data": {"limit": 20},
}
POLICY = {"detail": [{"loc": ["body", "prompt"], "msg": f"flagged: {PROMPT}", "type": "content_policy_violation"}]}
MISSING = {"detail": [{"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"}]}
TEXT = {"detail": "no"}


@pytest.mark.parametrize(
    ("code", "body", "elapsed_ms", "kind"),
    [
        (401, {"detail": "No user found for Key ID and Secret"}, 0, FailedKind.AUTH),
        (403, LOCKED, 0, FailedKind.QUOTA),
        (403, {"detail": "Access denied"}, 0, FailedKind.AUTH),
        (404, {"detail": "Application not found"}, 0, FailedKind.GONE),
        (422, MISSING, 0, FailedKind.INVALID),
        (422, POLICY, 0, FailedKind.MODERATED),
        (400, TEXT, 0, FailedKind.INVALID),
        (408, TEXT, 0, FailedKind.UNKNOWN),
        (429, LIMIT, 0, FailedKind.RETRY),
        (503, {"detail": "no", "error_type": "runner_scheduling_failure"}, 0, FailedKind.RETRY),
        (500, TEXT, 0, FailedKind.RETRY),
        (500, TEXT, 6_000, FailedKind.UNKNOWN),
        (503, b"<html>nginx</html>", 0, FailedKind.UNKNOWN),
        (502, TEXT, 0, FailedKind.UNKNOWN),
        (504, TEXT, 0, FailedKind.UNKNOWN),
        (307, b"", 0, FailedKind.GONE),
    ],
)
def test_a_refused_submit_says_what_may_be_tried_next(code: int, body: Any, elapsed_ms: int, kind: FailedKind) -> None:
    outcome = submitted(answer(body, code, retry_after="3"), elapsed_ms)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.status, outcome.retry_after_s) == (kind, code, 3.0)
    assert PROMPT not in f"{outcome.message}{outcome.detail}" and KEY not in f"{outcome.detail}"


def test_without_a_key_nothing_is_sent() -> None:
    with pytest.raises(StopIteration) as end:
        next(provider(api_key=None).submit(call()))
    assert end.value.value.kind is FailedKind.AUTH


# -- files ------------------------------------------------------------------------------------------------------------


def files(tmp_path: Path) -> dict[str, tuple[FileRef, ...]]:
    image, sound = FileRef(tmp_path / "i.png", "image/png"), FileRef(tmp_path / "s.mp3", "audio/mpeg")
    return {"image_urls": (image,), "audio_url": (sound,)}


def places(*names: str) -> tuple[HttpResponse, ...]:
    urls = [(f"https://up.fal.media/{name}?token=t", f"https://v3.fal.media/files/{name}") for name in names]
    return tuple(answer({"upload_url": upload, "file_url": file}) for upload, file in urls)


def test_files_are_uploaded_before_the_request_that_costs_money(tmp_path: Path) -> None:
    steps = provider().submit(call(files=files(tmp_path)))
    (initiate, put, submit), outcome = told(
        steps, places("i", "s"), (answer({}), answer({})), answer({"request_id": ID})
    )
    assert isinstance(initiate, Parallel) and isinstance(put, Parallel)
    first = initiate.requests[0]
    assert first.url == "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3"
    assert msgspec.json.decode(first.body or b"") == {"file_name": "i.png", "content_type": "image/png"}
    assert [(one.method, one.url, one.headers) for one in put.requests] == [
        ("PUT", "https://up.fal.media/i?token=t", {"Content-Type": "image/png"}),
        ("PUT", "https://up.fal.media/s?token=t", {"Content-Type": "audio/mpeg"}),
    ]
    assert not any(one.commits for one in (*initiate.requests, *put.requests))
    assert isinstance(submit, HttpRequest) and submit.commits
    sent = msgspec.json.decode(submit.body or b"")
    assert sent["image_urls"] == ["https://v3.fal.media/files/i"]
    assert sent["audio_url"] == "https://v3.fal.media/files/s"
    assert isinstance(outcome, Pending)


@pytest.mark.parametrize(
    ("initiated", "put", "kind"),
    [
        (answer({"detail": "no"}, 500), None, FailedKind.RETRY),
        (answer({"detail": "no"}, 401), None, FailedKind.AUTH),
        (answer(LOCKED, 403), None, FailedKind.QUOTA),
        (answer({"upload_url": "http://up.fal.media/x", "file_url": "https://v3.fal.media/x"}), None, FailedKind.RETRY),
        (
            answer({"upload_url": "https://evil.example/x", "file_url": "https://v3.fal.media/x"}),
            None,
            FailedKind.RETRY,
        ),
        (
            answer({"upload_url": "https://notfal.media/x", "file_url": "https://v3.fal.media/x"}),
            None,
            FailedKind.RETRY,
        ),
        (answer({"upload_url": "https://[", "file_url": "https://v3.fal.media/x"}), None, FailedKind.RETRY),
        (places("i")[0], answer(b"", 413), FailedKind.INVALID),
        (places("i")[0], answer(b"", 503), FailedKind.RETRY),
        (places("i")[0], MaybeSent("cut"), FailedKind.RETRY),
    ],
)
def test_a_failed_upload_costs_nothing_and_may_be_tried_again(
    tmp_path: Path, initiated: HttpResponse, put: Any, kind: FailedKind
) -> None:
    steps = provider().submit(call(files={"image_url": files(tmp_path)["audio_url"]}))
    answers = [(initiated,)] if put is None else [(initiated,), put if isinstance(put, Exception) else (put,)]
    asked, outcome = told(steps, *answers)
    assert isinstance(outcome, Failed) and outcome.kind is kind
    assert all(isinstance(step, Parallel) for step in asked)


# -- poll and result --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["IN_QUEUE", "IN_PROGRESS", "SOMETHING_NEW"])
def test_a_request_that_is_not_over_stays_pending(word: str) -> None:
    assert polled(status(word, queue_position=3)) == Pending(HANDLE)


def test_the_status_is_read_without_logs_and_then_the_result_with_our_key() -> None:
    asked, _ = told(provider().poll(HANDLE), status("COMPLETED"), answer({"images": [FILE]}))
    assert [step.url for step in asked] == [HANDLE["status_url"], HANDLE["response_url"]]
    assert {step.headers["Authorization"] for step in asked} == {f"Key {KEY}"}


@pytest.mark.parametrize(
    ("code", "body", "kind"),
    [
        (404, {"status": "NOT_FOUND"}, FailedKind.GONE),
        (401, TEXT, FailedKind.AUTH),
        (429, LIMIT, FailedKind.RETRY),
        (500, TEXT, FailedKind.RETRY),
        (502, b"<html>", FailedKind.RETRY),
        (200, b"<html>", FailedKind.RETRY),
    ],
)
def test_a_status_that_cannot_be_read_ends_nothing_but_an_unknown_request(
    code: int, body: Any, kind: FailedKind
) -> None:
    outcome = polled(answer(body, code))
    assert isinstance(outcome, Failed) and outcome.kind is kind


def test_pictures_come_with_their_sizes_and_everything_else_is_data() -> None:
    body = {
        "images": [{**FILE, "width": 640, "height": 480}, FILE], "seed": 196619188014358660, "prompt": PROMPT,
        "timings": {"inference": 1.5}, "has_nsfw_concepts": [False, True],
    }  # fmt: skip
    outcome = result(body, x_fal_billable_units="2")
    assert isinstance(outcome, Succeeded)
    first, second = outcome.outputs
    assert (first.url, first.width, first.height, first.content_type) == (FILE["url"], 640, 480, "image/png")
    assert second.width is None and not first.url_headers
    assert outcome.data["seed"] == 196619188014358660 and outcome.data["timings"] == {"inference": 1.5}
    assert outcome.data["files"] == ["images.0", "images.1"] and "images" not in outcome.data
    assert outcome.warnings == ("the provider's safety checker marked 1 of 2 images",)
    assert outcome.cost is not None and (outcome.cost.amount, outcome.cost.unit) == ("2", "fal_unit")
    assert outcome.upstream_id == ID


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({"image": FILE, "mask_image": FILE}, ["image", "mask_image"]),
        ({"mask_image": FILE, "image": FILE}, ["image", "mask_image"]),
        ({"video": FILE, "seed": 1}, ["video"]),
        ({"audio": FILE}, ["audio"]),
        ({"audio_file": FILE}, ["audio_file"]),
        ({"audio_url": FILE}, ["audio_url"]),
        ({"audio_url": FILE["url"]}, ["audio_url"]),
        ({"model_mesh": FILE, "textures": [FILE]}, ["model_mesh", "textures.0"]),
        ({"model_urls": {"glb": FILE, "fbx": None}}, ["model_urls.glb"]),
        ({"config_file": FILE, "diffusers_lora_file": FILE}, ["config_file", "diffusers_lora_file"]),
    ],
)
def test_files_of_every_kind_of_model_are_found(body: dict[str, Any], paths: list[str]) -> None:
    outcome = result(body)
    assert isinstance(outcome, Succeeded)
    assert outcome.data["files"] == paths
    assert [output.url for output in outcome.outputs] == [FILE["url"]] * len(paths)


def test_a_sound_keeps_its_length_and_a_data_uri_its_text() -> None:
    sound = result({"audio": {**FILE, "duration": 2.5}})
    assert isinstance(sound, Succeeded) and sound.outputs[0].duration_s == 2.5
    inline = result({"images": [{"url": "data:image/webp;base64,AAAA", "width": 8, "height": 8}]})
    assert isinstance(inline, Succeeded)
    assert (inline.outputs[0].base64, inline.outputs[0].content_type) == (b"AAAA", "image/webp")


def test_text_is_a_result_without_files() -> None:
    outcome = result({"output": "A lighthouse.", "reasoning": None, "partial": False})
    assert isinstance(outcome, Succeeded)
    assert outcome.outputs == () and outcome.data["output"] == "A lighthouse." and "files" not in outcome.data
    finetuned = result({"finetune_id": "ft-1"})
    assert isinstance(finetuned, Succeeded) and finetuned.data == {"finetune_id": "ft-1"}


@pytest.mark.parametrize("body", [b"<html>", [], {}, {"images": []}, {"output": "", "error": "it broke"}])
def test_a_result_with_nothing_in_it_is_the_upstreams_failure(body: Any) -> None:
    outcome = result(body)
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.UPSTREAM


def test_a_result_that_is_late_is_waited_for() -> None:
    early = answer({"detail": "Request is still in progress"}, 400)
    assert polled(status("COMPLETED"), early) == Pending(HANDLE)


def family_1(kind: str, loc: str = "prompt", **ctx: Any) -> dict[str, Any]:
    return {"detail": [{"loc": ["body", loc], "msg": f"about {PROMPT}", "type": kind, "ctx": ctx, "input": PROMPT}]}


def family_2(kind: str) -> dict[str, Any]:
    return {"detail": "it broke", "error_type": kind}


@pytest.mark.parametrize(
    ("code", "body", "kind"),
    [
        (422, POLICY, FailedKind.MODERATED),
        (422, family_1("no_media_generated"), FailedKind.UPSTREAM),
        (422, family_1("image_load_error"), FailedKind.INVALID),
        (422, family_1("string_type"), FailedKind.INVALID),
        (400, family_1("downstream_service_error"), FailedKind.UPSTREAM),
        (500, family_1("internal_server_error"), FailedKind.UPSTREAM),
        (504, family_1("generation_timeout"), FailedKind.UPSTREAM),
        (504, family_2("request_timeout"), FailedKind.UPSTREAM),
        (503, family_2("runner_disconnected"), FailedKind.UPSTREAM),
        (499, family_2("client_cancelled"), FailedKind.UPSTREAM),
        (400, family_2("bad_request"), FailedKind.INVALID),
        (404, {"detail": "Path /x not found"}, FailedKind.GONE),
        (403, TEXT, FailedKind.UPSTREAM),
        (429, TEXT, FailedKind.UPSTREAM),
    ],
)
def test_a_failed_result_is_an_end_and_never_quotes_the_input(code: int, body: Any, kind: FailedKind) -> None:
    outcome = result(body, code)
    assert isinstance(outcome, Failed)
    assert outcome.kind is kind
    assert PROMPT not in f"{outcome.message}{outcome.detail}"


def test_a_wrong_input_is_named_in_our_words() -> None:
    small = result(family_1("image_too_small", "image_url", min_width=256, min_height=128), 422)
    assert isinstance(small, Failed)
    assert (small.message, small.field) == ("An input image is smaller than 256x128 pixels.", "image_url")
    assert small.code == "image_too_small"
    bound = result(family_1("less_than_equal", "num_images", le=4), 422)
    assert isinstance(bound, Failed) and bound.message == "num_images must be at most 4."
    tricky = result(family_1("less_than_equal", "num_images", le="{secret}"), 422)
    assert isinstance(tricky, Failed) and tricky.message == "The provider refused the input."


def test_a_failure_may_be_billed_and_says_so() -> None:
    outcome = result(MISSING, 422, x_fal_billable_units="0")
    assert isinstance(outcome, Failed) and outcome.cost is not None and outcome.cost.micro == 0


@pytest.mark.parametrize(("code", "body"), [(502, b"<html>"), (429, LIMIT), (401, TEXT), (408, TEXT)])
def test_a_result_that_cannot_be_read_is_read_again(code: int, body: Any) -> None:
    outcome = polled(status("COMPLETED"), answer(body, code))
    assert isinstance(outcome, Failed)
    assert outcome.kind in (FailedKind.RETRY, FailedKind.AUTH)


# -- cancel, PHI, settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "stopped"),
    [
        ([answer({}, 202), status("COMPLETED", error_type="client_cancelled", error="x")], True),
        ([answer({}, 200), status("COMPLETED"), answer(family_2("client_cancelled"), 499)], True),
        ([answer({}, 202), status("IN_PROGRESS")], False),
        ([answer({"status": "ALREADY_COMPLETED"}, 400), status("COMPLETED"), answer({"images": [FILE]})], False),
        ([answer({}, 400), status("COMPLETED", error_type="runner_server_error")], False),
        ([answer({}, 404)], False),
        ([answer({}, 500)], False),
    ],
)
def test_a_cancel_counts_only_once_the_request_has_stopped(answers: list[HttpResponse], stopped: bool) -> None:
    asked, ended = told(provider().cancel(HANDLE), *answers)
    assert (asked[0].method, asked[0].url) == ("PUT", HANDLE["cancel_url"])
    assert ended is stopped


def test_phi_comes_back_inside_the_answer_or_is_not_sent(tmp_path: Path) -> None:
    (request,), _ = told(provider().submit(call(data_class=DataClass.PHI)), answer({"request_id": ID}))
    assert msgspec.json.decode(request.body)["sync_mode"] is True
    assert "3600" in request.headers["X-Fal-Object-Lifecycle-Preference"]
    for changes in ({"operation": Operation.TEXT_TO_VIDEO}, {"files": files(tmp_path)}):
        with pytest.raises(StopIteration) as end:
            next(provider().submit(call(data_class=DataClass.PHI, **changes)))
        assert end.value.value.kind is FailedKind.GONE


def test_seconds_become_frames_within_bounds() -> None:
    assert upstream_input({"num_frames@16": 5}) == {"num_frames": 81}
    assert upstream_input({"num_frames@25:41-721": 1, "num_frames": 721}) == {"num_frames": 41}
    assert upstream_input({"num_frames@25:41-721": None, "num_frames": 721}) == {"num_frames": 721}
    assert upstream_input({"image_size": "square_hd"}) == {"image_size": "square_hd"}


@pytest.mark.parametrize(
    ("base", "queue", "rest"),
    [
        (None, "https://queue.fal.run", "https://rest.fal.ai"),
        ("http://127.0.0.1:9101/queue/", "http://127.0.0.1:9101/queue", "http://127.0.0.1:9101/rest"),
        ("https://gw.example.com:8443/fal/queue", "https://gw.example.com:8443/fal/queue",
         "https://gw.example.com:8443/fal/rest"),
        ("https://queue.gw.example.com:8443", "https://queue.gw.example.com:8443", "https://rest.gw.example.com:8443"),
    ],
)  # fmt: skip
def test_another_server_gets_uploads_too_never_the_real_fal(
    tmp_path: Path, base: str | None, queue: str, rest: str
) -> None:
    one = provider(base_url=base)
    first = next(one.submit(call(files=files(tmp_path))))
    assert all(request.url.startswith(f"{rest}/storage/") for request in first.requests)
    assert next(one.submit(call())).url == f"{queue}/fal-ai/flux/dev"
    assert one.output_hosts == (frozenset() if base is None else {queue.split("/")[2]})


@pytest.mark.parametrize("base", ["https://gw.example.com", "ftp://x/queue", "queue", "https://u@h/queue", "https://["])
def test_an_address_beside_which_there_is_no_storage_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="base_url must be"):
        provider(base_url=base)
