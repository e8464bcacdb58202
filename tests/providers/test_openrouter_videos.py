"""Videos over OpenRouter: the submit, every status, whose addresses get our key."""

from typing import Any

import pytest
from chatted import Held, answer
from pydantic import SecretStr

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Pending, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse
from calotype.providers.base import Call
from calotype.providers.openrouter import BASE_URL, OpenRouter
from calotype.settings import ProviderSettings

KEY = "sk-or-test-0123456789abcdef"
HANDLE = {"id": "gen-vid-1"}


def provider(**settings: Any) -> OpenRouter:
    return OpenRouter("openrouter", ProviderSettings(api_key=SecretStr(KEY), **settings))


def making(**fields: Any) -> Call:
    callback = fields.pop("callback_url", None)
    operation = Operation.IMAGE_TO_VIDEO if "image_url" in fields else Operation.TEXT_TO_VIDEO
    return Call("job", 1, "token", operation, "vendor/video", {"prompt": "waves", **fields}, callback_url=callback)


def polled(response: HttpResponse) -> Outcome:
    steps = provider().poll(HANDLE)
    request = next(steps)
    assert isinstance(request, HttpRequest)
    assert (request.method, request.url, request.commits) == ("GET", f"{BASE_URL}/videos/gen-vid-1", False)
    with pytest.raises(StopIteration) as end:
        steps.send(response)
    outcome: Outcome = end.value.value
    return outcome


def test_a_video_is_submitted_in_openrouters_words() -> None:
    fields = {
        "seconds": "8", "aspect_ratio": "16:9", "image_url": "data:image/png;base64,AA", "seed": 5,
        "end_image_url": "https://example.com/b.png", "callback_url": "https://calotype.example/c/1",
    }  # fmt: skip
    accepted = answer({"id": "gen-vid-1", "polling_url": "https://evil.example/poll", "status": "pending"}, 202)
    one = Held(provider().submit(making(**fields)), [accepted])
    assert one.requests[0].url == f"{BASE_URL}/videos" and one.requests[0].commits

    def frame(url: str, kind: str) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": url}, "frame_type": kind}

    assert one.body == {
        "model": "vendor/video", "prompt": "waves", "duration": 8, "aspect_ratio": "16:9", "seed": 5,
        "frame_images": [
            frame("data:image/png;base64,AA", "first_frame"), frame("https://example.com/b.png", "last_frame"),
        ],
        "callback_url": "https://calotype.example/c/1",
    }  # fmt: skip
    assert one.outcome == Pending(HANDLE, upstream_id="gen-vid-1")


def test_an_address_that_is_not_https_is_not_handed_out() -> None:
    one = Held(provider().submit(making(callback_url="http://10.0.0.1/c")), [answer({"id": "gen-vid-1"}, 202)])
    assert "callback_url" not in one.body


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"id":7}', b'{"id":"a/../b"}'])
def test_an_acceptance_that_cannot_be_read_is_unknown(body: bytes) -> None:
    outcome = Held(provider().submit(making()), [answer(body, 202)]).outcome
    assert isinstance(outcome, Failed) and outcome.kind is FailedKind.UNKNOWN


@pytest.mark.parametrize("status", ["pending", "in_progress", "something new"])
def test_a_status_that_is_no_end_means_still_at_work(status: str) -> None:
    assert polled(answer({"id": "gen-vid-1", "status": status})) == Pending(HANDLE, upstream_id="gen-vid-1")


def test_signed_addresses_are_fetched_without_our_key() -> None:
    body = {"status": "completed", "urls": ["https://cdn.example/v.mp4?sig=1"], "usage": {"cost": 0.5}}
    outcome = polled(answer(body))
    assert isinstance(outcome, Succeeded)
    assert [(o.url, o.url_headers) for o in outcome.outputs] == [("https://cdn.example/v.mp4?sig=1", {})]
    assert outcome.cost is not None and outcome.cost.micro == 500_000


@pytest.mark.parametrize(
    ("unsigned", "url"),
    [
        (["http://[x/1", "http://a:99999999/1", "http:"], f"{BASE_URL}/videos/gen-vid-1/content?index=0"),
        ([f"{BASE_URL}/videos/gen-vid-1/content?index=0"], f"{BASE_URL}/videos/gen-vid-1/content?index=0"),
        (["https://evil.example/v.mp4"], f"{BASE_URL}/videos/gen-vid-1/content?index=0"),
        (None, f"{BASE_URL}/videos/gen-vid-1/content?index=0"),
    ],
)
def test_our_key_goes_to_openrouter_only(unsigned: Any, url: str) -> None:
    outcome = polled(answer({"status": "completed", "unsigned_urls": unsigned}))
    assert isinstance(outcome, Succeeded)
    (output,) = outcome.outputs
    assert (output.url, output.url_headers["Authorization"]) == (url, f"Bearer {KEY}")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"status": "failed", "error": "broke"}, FailedKind.UPSTREAM),
        ({"status": "failed", "error": {"code": "content_policy_violation"}}, FailedKind.MODERATED),
        ({"status": "cancelled"}, FailedKind.UPSTREAM),
        ({"status": "expired", "usage": {"cost": 0.1}}, FailedKind.UPSTREAM),
    ],
)
def test_every_other_end_is_a_failure(body: dict[str, Any], kind: FailedKind) -> None:
    outcome = polled(answer(body))
    assert isinstance(outcome, Failed) and outcome.kind is kind
    assert (outcome.cost is None) == ("usage" not in body)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer({"error": {"code": 404}}, 404), FailedKind.GONE),
        (answer({"error": {"code": 401}}, 401), FailedKind.AUTH),
        (answer({"error": {"code": 500}}, 500), FailedKind.RETRY),
        (answer({"error": {"code": 400}}, 400), FailedKind.RETRY),
        (answer(b"<html>"), FailedKind.RETRY),
    ],
)
def test_a_poll_that_tells_nothing_never_ends_a_job(response: HttpResponse, kind: FailedKind) -> None:
    outcome = polled(response)
    assert isinstance(outcome, Failed) and outcome.kind is kind


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"id":"gen-vid-1","status":"completed"}', True),
        (b'{"data":{"id":"gen-vid-1"}}', True),
        (b'{"id":"gen-vid-2"}', False),
        (b'{"note":"gen-vid-1"}', False),
        (b"gen-vid-1", False),
    ],
)
def test_a_callback_counts_when_it_names_the_video(body: bytes, named: bool) -> None:
    with pytest.raises(StopIteration) as end:
        next(provider().callback({}, body, "gen-vid-1"))
    assert end.value.value is named
