"""What is sent to KIE.ai and what its refusals mean, with recorded answers (`wire/providers.md §5`)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from kie_talk import (
    I2I,
    I2V,
    KEY,
    PROMPT,
    T2V,
    TAKEN,
    TASK,
    answer,
    call,
    end_of,
    handle,
    posted,
    provider,
    refused,
    said,
    told,
)

from calotype.kernel.clock import ManualClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Pending
from calotype.kernel.steps import FileRef, HttpRequest, HttpResponse, NotSent, Parallel, Wait
from calotype.providers.base import Idempotency, MediaInputs
from calotype.providers.kie import Kie
from calotype.providers.kie_calls import bases
from calotype.settings import ProviderSettings

# -- create -----------------------------------------------------------------------------------------------------------


def test_a_prompt_becomes_one_create_that_commits() -> None:
    (request,), outcome = told(provider().submit(call(callback_url="https://us.example/cb/1")), TAKEN)
    assert (request.method, request.url, request.commits) == ("POST", "https://api.kie.ai/api/v1/jobs/createTask", True)
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert msgspec.json.decode(request.body) == {
        "model": "z-image", "callBackUrl": "https://us.example/cb/1",
        "input": {"prompt": PROMPT, "aspect_ratio": "1:1"},
    }  # fmt: skip
    assert isinstance(outcome, Pending)
    assert (outcome.upstream_id, outcome.handle) == (TASK, handle())
    assert outcome.poll_after_s == pytest.approx(3, rel=0.21)


def test_nobody_is_called_where_this_server_has_no_address() -> None:
    assert "callBackUrl" not in posted(call())[1]


def test_kie_takes_no_key_against_doing_the_same_twice_and_wants_files() -> None:
    assert (Kie.idempotency, Kie.media_inputs, Kie.callbacks) == (Idempotency.NONE, MediaInputs.FILE, True)
    assert "Mozilla" in Kie.user_agent


def test_a_route_may_ask_for_a_number() -> None:
    one = call("bytedance/seedance-1.5-pro", T2V, input={"duration@number": "8"})
    assert posted(one)[1]["input"]["duration"] == 8


def test_veo_has_an_address_of_its_own_and_no_input_inside() -> None:
    request, body = posted(call("veo3_fast", T2V, input={"generationType": "TEXT_2_VIDEO", "seeds": 12_345}))
    assert request.url == "https://api.kie.ai/api/v1/veo/generate"
    assert body == {
        "prompt": PROMPT, "aspect_ratio": "1:1", "generationType": "TEXT_2_VIDEO", "seeds": 12_345,
        "model": "veo3_fast",
    }  # fmt: skip


def music(**fields: Any) -> tuple[dict[str, Any], list[str]]:
    given = {"aspect_ratio": None, "model": "V4", "instrumental": False, **fields}
    one = call("suno", Operation.TEXT_TO_MUSIC, input=given, outputs=2)
    (request,), outcome = told(provider().submit(one), TAKEN)
    assert request.url == "https://api.kie.ai/api/v1/generate"
    assert isinstance(outcome, Pending) and outcome.handle["outputs"] == 2
    return msgspec.json.decode(request.body), outcome.handle.get("warnings", [])


def test_music_without_a_style_is_a_description_alone() -> None:
    body, warnings = music(title="Sea", negativeTags="drums")
    assert body == {
        "prompt": PROMPT, "customMode": False, "instrumental": False, "model": "V4",
        "callBackUrl": "https://api.kie.ai/",
    }  # fmt: skip
    assert warnings == ["without a style the provider reads the prompt alone: title and details were left out"]
    assert music()[1] == []


def test_music_with_a_style_has_lyrics_and_a_title() -> None:
    body, warnings = music(style="jazz", vocalGender="f", styleWeight=0.5, instrumental=True, model="V5")
    assert (body["customMode"], body["style"], body["title"], body["prompt"]) == (True, "jazz", PROMPT, PROMPT)
    assert (body["vocalGender"], body["styleWeight"], body["instrumental"], body["model"]) == ("f", 0.5, True, "V5")
    assert warnings == []
    long, told_so = music(style="jazz", title="x" * 100)
    assert len(long["title"]) == 80 and "80 characters" in told_so[0]


@pytest.mark.parametrize("version", ["V3", "V3_5"])
def test_a_dropped_version_of_suno_is_replaced_and_the_answer_says_so(version: str) -> None:
    body, warnings = music(model=version)
    assert body["model"] == "V4"
    assert warnings == [f"the provider does not offer {version} any more: V4 was used"]


def test_phi_never_leaves() -> None:
    outcome = end_of(provider().submit(call(data_class=DataClass.PHI)))
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.GONE


def test_without_a_credential_nothing_is_sent() -> None:
    outcome = end_of(provider(api_key=None).submit(call()))
    assert outcome.kind is FailedKind.AUTH


@pytest.mark.parametrize("operation", [I2I, I2V])
def test_work_on_a_picture_needs_one(operation: Operation) -> None:
    assert end_of(provider().submit(call("seedream/5-lite-text-to-image", operation))).kind is FailedKind.INVALID


# -- refusals (§5.7) --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (400, "prompt is required", FailedKind.INVALID),
        (400, "Your prompt was flagged by Website as violating content policies.", FailedKind.MODERATED),
        (400, "unsafe image upload", FailedKind.MODERATED),
        (401, "You do not have access permissions", FailedKind.AUTH),
        (402, "Credits insufficient", FailedKind.QUOTA),
        (404, "Not Found", FailedKind.GONE),
        (408, "Upstream is silent", FailedKind.UNKNOWN),
        (413, "too large", FailedKind.INVALID),
        (422, "aspect_ratio is not within the range of allowed options", FailedKind.INVALID),
        (422, "The model name you specified is not supported", FailedKind.GONE),
        (429, "Your call frequency is too high", FailedKind.RETRY),
        (433, "The sub-key's usage exceeds its limit", FailedKind.QUOTA),
        (451, "Failed to fetch the image", FailedKind.INVALID),
        (455, "The service is under maintenance", FailedKind.RETRY),
        (500, "Server exception", FailedKind.UNKNOWN),
        (500, "This interface is temporarily paused", FailedKind.GONE),
        (501, "Generation failed", FailedKind.UPSTREAM),
        (505, "The feature is disabled", FailedKind.GONE),
        (477, "?", FailedKind.INVALID),
        (599, "?", FailedKind.UNKNOWN),
    ],
)
def test_a_refusal_is_read_from_the_code_whatever_the_http_status(code: int, text: str, kind: FailedKind) -> None:
    for status in (200, 400, 500):
        outcome = refused(said(code, text, status=status))
        assert (outcome.kind, outcome.status) == (kind, code)


def test_the_text_may_be_called_message_and_holds_neither_key_nor_prompt() -> None:
    outcome = refused(answer({"code": 400, "message": f"bad: {PROMPT} {KEY}"}))
    assert outcome.detail is not None and outcome.detail.startswith("code 400 bad:")
    assert PROMPT not in outcome.detail and KEY not in outcome.detail and KEY not in outcome.message


def test_an_operator_can_add_words_of_content_policy() -> None:
    refusal = said(400, "Geweigert: aanstootgevend")
    assert refused(refusal).kind is FailedKind.INVALID
    assert refused(refusal, moderation_words=["aanstoot"]).kind is FailedKind.MODERATED


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, b"error code: 1010", FailedKind.RETRY),
        (429, b"slow down", FailedKind.RETRY),
        (401, b"", FailedKind.AUTH),
        (404, b"<html>", FailedKind.GONE),
        (307, b"", FailedKind.GONE),
        (413, b"<html>", FailedKind.INVALID),
        (502, b"<html>", FailedKind.UNKNOWN),
        (200, b"<html>", FailedKind.UNKNOWN),
        (200, b'{"code":200,"msg":"success","data":{}}', FailedKind.UNKNOWN),
        (200, b'{"code":200,"msg":"success","data":{"taskId":"../x"}}', FailedKind.UNKNOWN),
        (500, b'{"code":200,"msg":"success","data":{"taskId":"t"}}', FailedKind.UNKNOWN),
        (200, b'{"code":true}', FailedKind.UNKNOWN),
    ],
)
def test_what_is_not_kies_envelope_is_judged_by_the_http_status(status: int, body: bytes, kind: FailedKind) -> None:
    assert refused(answer(body, status)).kind is kind


# -- the rate (§5.6) --------------------------------------------------------------------------------------------------


def test_eighteen_creates_go_at_once_and_the_next_waits_for_the_window() -> None:
    clock = ManualClock()
    one = provider(clock)
    for _ in range(18):
        assert isinstance(next(one.submit(call())), HttpRequest)
    clock.advance(4_000)
    steps = one.submit(call())
    assert next(steps) == Wait(7.0)
    assert isinstance(steps.send(None), HttpRequest)


def test_everything_that_may_be_in_progress_finds_a_place_and_more_is_offered_elsewhere() -> None:
    clock = ManualClock()
    one = provider(clock)
    steps = [next(one.submit(call())) for _ in range(Kie.max_in_progress)]
    assert [step for step in steps[::18] if isinstance(step, Wait)] == [Wait(11.0 * n) for n in range(1, 6)]
    for _ in range(8):
        next(one.submit(call()))
    outcome = end_of(one.submit(call()))
    assert (outcome.kind, outcome.status, outcome.retry_after_s) == (FailedKind.RETRY, 429, 66.0)
    clock.advance(11_000)
    assert next(one.submit(call())) == Wait(55.0), "a refused call took no place"


@pytest.mark.parametrize(("code", "pause_s"), [(429, 10.0), (455, 60.0)])
def test_after_a_refused_rate_or_maintenance_nobody_goes_before_the_pause_is_over(code: int, pause_s: float) -> None:
    clock = ManualClock()
    one = provider(clock)
    outcome = told(one.submit(call()), said(code))[1]
    assert (outcome.kind, outcome.retry_after_s) == (FailedKind.RETRY, pause_s)
    clock.advance(int(pause_s * 1000) - 1_000)
    assert next(one.submit(call())) == Wait(1.0)
    clock.advance(1_000)
    assert isinstance(next(one.submit(call())), HttpRequest)


def test_who_waited_while_the_rate_was_refused_to_another_waits_again_or_goes_elsewhere() -> None:
    clock = ManualClock()
    one = provider(clock)
    for _ in range(18):
        next(one.submit(call()))
    waiting, hopeless = one.submit(call()), one.submit(call())
    assert next(waiting) == next(hopeless) == Wait(11.0)
    clock.advance(10_000)
    one._turnstile.close(clock.now_ms() + 10_000)
    clock.advance(1_000)
    assert waiting.send(None) == Wait(9.0)
    one._turnstile.close(clock.now_ms() + 61_000)
    with pytest.raises(StopIteration) as end:
        hopeless.send(None)
    assert (end.value.value.kind, end.value.value.retry_after_s) == (FailedKind.RETRY, 61.0)


def test_a_longer_pause_that_kie_asks_for_is_kept() -> None:
    assert refused(said(429, retry_after="25")).retry_after_s == 25.0


# -- uploads (§5.6) ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, tuple[FileRef, ...]]:
    refs = []
    for name in ("a.png", "b.PNG"):
        (tmp_path / name).write_bytes(name.encode())
        refs.append(FileRef(tmp_path / name, "image/png", name))
    return {"image_urls": tuple(refs)}


def uploaded(url: str) -> HttpResponse:
    data = {"fileName": "x", "downloadUrl": url, "fileSize": 1}
    return answer({"success": True, "code": 200, "msg": "File uploaded successfully", "data": data})


def test_files_are_uploaded_under_their_own_names_before_the_create(files: dict[str, tuple[FileRef, ...]]) -> None:
    one = call("seedream/5-lite-text-to-image", I2I, files=files)
    addresses = [f"https://tempfile.redpandaai.co/{n}.png" for n in range(2)]
    (uploads, create), outcome = told(provider().submit(one), tuple(uploaded(address) for address in addresses), TAKEN)
    assert isinstance(uploads, Parallel) and isinstance(outcome, Pending)
    for n, request in enumerate(uploads.requests):
        assert request.url == "https://kieai.redpandaai.co/api/file-stream-upload" and not request.commits
        parts = {part.name: part.value for part in request.multipart or ()}
        assert parts == {
            "file": files["image_urls"][n], "uploadPath": "calotype", "fileName": f"job-1-image_urls-{n}.png",
        }  # fmt: skip
    body = msgspec.json.decode(create.body)
    assert body["model"] == "seedream/5-lite-image-to-image" and body["input"]["image_urls"] == addresses


def test_a_field_of_one_address_gets_one(files: dict[str, tuple[FileRef, ...]]) -> None:
    one = call("kling/ai-avatar-pro", Operation.TALKING_AVATAR, files={"image_url": files["image_urls"][:1]})
    (_, create), _ = told(provider().submit(one), (uploaded("https://x.example/1.png"),), TAKEN)
    assert msgspec.json.decode(create.body)["input"]["image_url"] == "https://x.example/1.png"


@pytest.mark.parametrize(
    ("response", "kind", "field"),
    [
        (said(413), FailedKind.INVALID, "image_urls"),
        (said(401), FailedKind.AUTH, None),
        (said(402), FailedKind.QUOTA, None),
        (said(500), FailedKind.RETRY, None),
        (answer(b"error code: 1010", 403), FailedKind.RETRY, None),
        (answer(b"<html>", 502), FailedKind.RETRY, None),
        (uploaded("file:///etc/passwd"), FailedKind.RETRY, None),
        (NotSent("kie: could not connect"), FailedKind.RETRY, None),
    ],
)
def test_a_failed_upload_costs_nothing_and_creates_nothing(
    files: dict[str, tuple[FileRef, ...]], response: Any, kind: FailedKind, field: str | None
) -> None:
    one = call("seedream/5-lite-text-to-image", I2I, files={"image_urls": files["image_urls"][:1]})
    (step,), outcome = told(provider().submit(one), response if isinstance(response, Exception) else (response,))
    assert isinstance(step, Parallel)
    assert (outcome.kind, outcome.field) == (kind, field)


def test_nothing_meant_for_another_server_reaches_the_real_kie() -> None:
    assert bases("k", ProviderSettings()) == ("https://api.kie.ai", "https://kieai.redpandaai.co")
    assert bases("k", ProviderSettings(base_url="http://den:9/kie/")) == ("http://den:9/kie", "http://den:9/kie")
    apart = ProviderSettings(base_url="http://den:9", upload_base_url="http://den:10")
    assert bases("k", apart) == ("http://den:9", "http://den:10")
    assert provider(base_url="http://den:9", upload_base_url="http://den:10").output_hosts == {"den:9", "den:10"}
    assert provider().output_hosts == frozenset()


@pytest.mark.parametrize("url", ["api.kie.ai", "ftp://x", "http://u:p@x", "https://x/?key=1", "http://["])
def test_an_address_that_cannot_be_used_is_refused_when_the_server_starts(url: str) -> None:
    with pytest.raises(ValueError, match=r"providers\.kie\.upload_base_url must be like"):
        provider(upload_base_url=url)
