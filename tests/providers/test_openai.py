"""OpenAI's images API: each conversation with recorded answers, then over a real socket."""

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from pydantic import SecretStr

from calotype.http import Upstream
from calotype.kernel.clock import ManualClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import FileRef, HttpRequest, HttpResponse
from calotype.providers.base import Call, Idempotency
from calotype.providers.driver import Driven
from calotype.providers.openai import BASE_URL, OpenAI
from calotype.settings import ProviderSettings

KEY = "sk-test-0123456789abcdefghij"
PROMPT = "a very private garden by the sea"
B64 = base64.b64encode(b"picture bytes").decode()


def provider(clock: ManualClock | None = None, **settings: Any) -> OpenAI:
    settings.setdefault("api_key", SecretStr(KEY))
    return OpenAI("openai", ProviderSettings(kind="openai", **settings), clock)


def call(operation: Operation = Operation.TEXT_TO_IMAGE, **changes: Any) -> Call:
    fields: dict[str, Any] = {"prompt": PROMPT, "n": 1, "size": "1024x1024", "user": None}
    fields.update(changes.pop("input", {}))
    return Call("job", 1, "token-1", operation, "gpt-image-2", fields, **changes)


def answer(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def asked(steps: Generator[Any, Any, Outcome]) -> HttpRequest:
    step = next(steps)
    assert isinstance(step, HttpRequest)
    return step


def told(steps: Generator[Any, Any, Outcome], response: HttpResponse) -> Outcome:
    with pytest.raises(StopIteration) as end:
        steps.send(response)
    outcome: Outcome = end.value.value
    return outcome


def outcome_of(response: HttpResponse, call_: Call | None = None, elapsed_ms: int = 0) -> Outcome:
    clock = ManualClock()
    steps = provider(clock).submit(call_ or call())
    asked(steps)
    clock.advance(elapsed_ms)
    return told(steps, response)


def error(status: int, code: str | None = None, type_: str = "invalid_request_error", text: str = "no") -> HttpResponse:
    return answer({"error": {"message": text, "type": type_, "param": None, "code": code}}, status)


def test_a_prompt_becomes_one_request_that_commits_and_sends_only_what_is_set() -> None:
    request = asked(provider(read_timeout_s=90).submit(call()))
    assert (request.method, request.url) == ("POST", "https://api.openai.com/v1/images/generations")
    assert msgspec.json.decode(request.body or b"") == {
        "model": "gpt-image-2",
        "prompt": PROMPT,
        "n": 1,
        "size": "1024x1024",
    }
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert "Idempotency-Key" not in request.headers
    assert request.commits
    assert request.read_timeout_s == 90


def test_an_answer_with_pictures_becomes_outputs_and_token_counts() -> None:
    body = {
        "created": 1,
        "data": [{"b64_json": B64, "revised_prompt": "a garden"}, {"url": "https://cdn.example/2.png"}],
        "output_format": "webp",
        "size": "1536x1024",
        "usage": {
            "input_tokens": 60,
            "output_tokens": 1800,
            "total_tokens": 1860,
            "input_tokens_details": {"text_tokens": 50, "image_tokens": 10},
        },
    }
    outcome = outcome_of(answer(body, x_request_id="req_1"))
    assert isinstance(outcome, Succeeded)
    first, second = outcome.outputs
    assert first.base64 == B64.encode()
    assert (first.content_type, first.width, first.height, first.text) == ("image/webp", 1536, 1024, "a garden")
    assert second.url == "https://cdn.example/2.png"
    assert outcome.usage == {"input_tokens": 50, "input_image_tokens": 10, "output_tokens": 1800}
    assert outcome.cost is not None
    assert (outcome.cost.amount, outcome.cost.unit) == ("1860", "tokens")
    assert outcome.upstream_id == "req_1"


@pytest.mark.parametrize(
    "written", [f'"{B64}"', '"' + B64.replace("=", "\\u003d") + '"', f'"data:image/png;base64,{B64}"']
)
def test_base64_is_taken_as_written_and_decoded_only_when_it_is_escaped(written: str) -> None:
    outcome = outcome_of(answer(b'{"data":[{"b64_json":' + written.encode() + b',"url":null}]}'))
    assert isinstance(outcome, Succeeded)
    assert outcome.outputs[0].base64 == B64.encode()


def test_odd_side_facts_of_compatible_servers_do_not_lose_the_pictures() -> None:
    body = {"data": [{"b64_json": B64, "revised_prompt": 7}], "usage": {"input_tokens": "many"}, "size": [1]}
    outcome = outcome_of(answer(body))
    assert isinstance(outcome, Succeeded)
    assert (len(outcome.outputs), outcome.usage, outcome.cost) == (1, {}, None)


def test_fewer_pictures_than_asked_for_are_delivered_as_they_are() -> None:
    outcome = outcome_of(answer({"data": [{"b64_json": B64}, {"b64_json": None}, {"b64_json": ""}]}), call(outputs=3))
    assert isinstance(outcome, Succeeded)
    assert len(outcome.outputs) == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>ok</html>", b"{}", b'{"data":{}}', b'{"data":[{"b64_json":5}]}', b'{"data":[{"b64_json":"']
)
def test_a_good_status_that_cannot_be_read_is_unknown(body: bytes) -> None:
    outcome = outcome_of(answer(body))
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailedKind.UNKNOWN


def test_a_good_answer_without_pictures_was_taken_and_failed() -> None:
    outcome = outcome_of(answer({"data": []}))
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailedKind.UPSTREAM


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (error(400, "moderation_blocked", "image_generation_user_error"), FailedKind.MODERATED),
        (error(400, "content_policy_violation"), FailedKind.MODERATED),
        (error(400, None, "image_generation_user_error"), FailedKind.MODERATED),
        (error(400, "invalid_size", "image_generation_user_error"), FailedKind.INVALID),
        (error(400, "unknown_parameter"), FailedKind.INVALID),
        (error(400, "billing_hard_limit_reached"), FailedKind.QUOTA),
        (error(401, "invalid_api_key"), FailedKind.AUTH),
        (answer(b"denied", 401), FailedKind.AUTH),
        (error(402), FailedKind.QUOTA),
        (error(403, "unsupported_country_region_territory"), FailedKind.AUTH),
        (error(404, "model_not_found"), FailedKind.GONE),
        (answer({"detail": "Not Found"}, 404), FailedKind.GONE),
        (answer(b"", 408), FailedKind.UNKNOWN),
        (error(409), FailedKind.UNKNOWN),
        (answer({"detail": "too large"}, 413), FailedKind.INVALID),
        (answer({"detail": [{"msg": "bad"}]}, 422), FailedKind.INVALID),
        (error(429, "rate_limit_exceeded", "tokens"), FailedKind.RETRY),
        (error(429, "insufficient_quota", "insufficient_quota"), FailedKind.QUOTA),
        (answer(b"slow down", 429), FailedKind.RETRY),
        (answer(b"", 307, location="https://elsewhere.example"), FailedKind.GONE),
        (error(500, None, "server_error"), FailedKind.RETRY),
        (error(503, None, "server_error"), FailedKind.RETRY),
        (answer(b"", 500), FailedKind.UNKNOWN),
        (answer(b"<html>oops</html>", 503), FailedKind.UNKNOWN),
        (error(502), FailedKind.UNKNOWN),
        (error(504), FailedKind.UNKNOWN),
        (answer(b"", 520), FailedKind.UNKNOWN),
        (answer({"error": {"message": "no", "code": "moderation_blocked"}}, 200), FailedKind.MODERATED),
        (answer({"error": {"message": "no"}}, 200), FailedKind.UPSTREAM),
    ],
)
def test_each_refusal_has_its_kind(response: HttpResponse, kind: FailedKind) -> None:
    outcome = outcome_of(response)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.status) == (kind, response.status)


def test_a_server_error_after_a_long_wait_may_have_been_paid_for() -> None:
    outcome = outcome_of(error(500, None, "server_error"), elapsed_ms=40_000)
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailedKind.UNKNOWN


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:20 GMT"}, 20.0),
        ({"retry-after": "999999"}, 3600.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_the_asked_for_wait_is_honoured(headers: dict[str, str], seconds: float | None) -> None:
    outcome = outcome_of(HttpResponse(429, headers, b"{}"))
    assert isinstance(outcome, Failed)
    assert outcome.retry_after_s == seconds


def test_upstream_text_reaches_the_operator_redacted_and_the_caller_never() -> None:
    text = (
        f"Incorrect key {KEY}, Bearer abcdef123456: prompt '{PROMPT}' at "
        f"https://files.example/a.png?sig=SECRET&x=1 " + "more " * 200
    )
    body = {"error": {"message": text, "type": "invalid_request_error", "param": "size", "code": "bad_size"}}
    outcome = outcome_of(answer(body, 400, x_request_id="req_0123456789abcdef0123456789abcdef"))
    assert isinstance(outcome, Failed)
    assert outcome.message == "The provider refused the input."
    assert (outcome.field, outcome.code) == ("size", "bad_size")
    detail = outcome.detail or ""
    for secret in (KEY, "abcdef123456", PROMPT, "SECRET"):
        assert secret not in detail
    assert "https://files.example/a.png" in detail
    assert "req_0123456789abcdef0123456789abcdef" in detail
    assert len(detail) <= 400


def test_nothing_the_upstream_says_about_phi_is_kept() -> None:
    outcome = outcome_of(error(400, "bad", text="patient Ada"), call(data_class=DataClass.PHI))
    assert isinstance(outcome, Failed)
    assert "Ada" not in (outcome.detail or "")


def test_without_a_credential_openai_is_not_asked() -> None:
    for key in (None, SecretStr(" ")):
        with pytest.raises(StopIteration) as end:
            next(provider(api_key=key).submit(call()))
        assert end.value.value.kind is FailedKind.AUTH


def test_a_compatible_server_needs_no_credential_and_keeps_its_path() -> None:
    local = provider(api_key=None, base_url="http://10.0.0.5:8000/openai/v1/")
    request = asked(local.submit(call()))
    assert request.url == "http://10.0.0.5:8000/openai/v1/images/generations"
    assert "Authorization" not in request.headers
    assert local.output_hosts == {"10.0.0.5:8000"}
    assert provider().output_hosts == {"api.openai.com:443"}


@pytest.mark.parametrize(
    "url", ["api.openai.com", "ftp://x/v1", "https://u:p@x/v1", "https://x/v1?a=b", "http://x:99999"]
)
def test_a_base_url_that_cannot_work_is_refused_by_name(url: str) -> None:
    with pytest.raises(ValueError, match="providers.openai.base_url must be like " + BASE_URL):
        provider(base_url=url)


def test_an_idempotency_key_is_sent_only_when_the_operator_says_so() -> None:
    keyed = provider(idempotency="key")
    assert asked(keyed.submit(call())).headers["Idempotency-Key"] == "token-1"
    assert keyed.idempotency is Idempotency.KEY
    assert provider().idempotency is Idempotency.NONE


def test_an_edit_is_sent_as_a_form(tmp_path: Path) -> None:
    first, second, mask = (FileRef(tmp_path / f"{name}.png", "image/png") for name in ("a", "b", "mask"))
    fields = {"image": "https://example.com/a.png", "mask": "https://example.com/m.png", "background": None}
    edit = call(Operation.IMAGE_TO_IMAGE, input=fields, files={"image": (first, second), "mask": (mask,)})
    request = asked(provider().submit(edit))
    assert request.url.endswith("/images/edits")
    assert request.body is None
    assert [(part.name, part.value) for part in request.multipart or ()] == [
        ("model", "gpt-image-2"),
        ("prompt", PROMPT),
        ("n", "1"),
        ("size", "1024x1024"),
        ("image[]", first),
        ("image[]", second),
        ("mask", mask),
    ]
    assert "Content-Type" not in request.headers


def test_an_edit_without_a_picture_is_refused_before_it_is_sent() -> None:
    with pytest.raises(StopIteration) as end:
        next(provider().submit(call(Operation.IMAGE_TO_IMAGE)))
    assert (end.value.value.kind, end.value.value.field) == (FailedKind.INVALID, "image")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """A real server on loopback that answers every POST with one handler."""

    def __init__(self, handler: Handler) -> None:
        self.requests: list[web.Request] = []
        self._handler = handler

    async def __aenter__(self) -> "Server":
        async def serve(request: web.Request) -> web.StreamResponse:
            self.requests.append(request)
            return await self._handler(request)

        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/v1/images/{verb}", serve)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"{site.name}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def submitted(base_url: str, call_: Call | None = None) -> tuple[Outcome, int]:
    """Run a submit as the middle does; return the outcome and how often it was told that money is about to be spent."""
    commits = 0

    async def on_commit() -> None:
        nonlocal commits
        commits += 1

    runtime = Driven([provider(base_url=base_url)], Upstream("openai"), max_in_progress=10)
    try:
        return await runtime.submit(call_ or call(), on_commit, lambda fraction: None), commits
    finally:
        await runtime.close()


async def test_over_a_socket_a_large_picture_arrives_as_the_very_text_that_was_sent() -> None:
    encoded = base64.b64encode(os.urandom(3 << 20))

    async def handler(request: web.Request) -> web.StreamResponse:
        assert (await request.json())["prompt"] == PROMPT
        return web.Response(body=b'{"data":[{"b64_json":"' + encoded + b'"}]}', content_type="application/json")

    async with Server(handler) as server:
        outcome, commits = await submitted(server.base_url)
    assert isinstance(outcome, Succeeded)
    assert outcome.outputs[0].base64 == encoded
    assert commits == 1


async def test_over_a_socket_a_rate_limit_is_a_retry_with_its_wait() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"code": "rate_limit_exceeded"}}, status=429, headers={"Retry-After": "3"})

    async with Server(handler) as server:
        outcome, _ = await submitted(server.base_url)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.retry_after_s) == (FailedKind.RETRY, 3.0)


async def test_over_a_socket_a_lost_answer_is_unknown_and_never_sent_again() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with Server(handler) as server:
        outcome, _ = await submitted(server.base_url)
        assert len(server.requests) == 1
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailedKind.UNKNOWN


async def test_over_a_socket_a_refused_connection_is_a_retry() -> None:
    listener = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    outcome, commits = await submitted(f"http://127.0.0.1:{port}/v1")
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailedKind.RETRY
    assert commits == 1


async def test_over_a_socket_an_edit_carries_the_file(tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    picture.write_bytes(b"\x89PNG data")
    seen: dict[str, Any] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        part = form["image"]
        assert isinstance(part, web.FileField)
        seen.update(prompt=form["prompt"], content_type=part.content_type, body=part.file.read())
        return web.json_response({"data": [{"b64_json": B64}]})

    edit = call(Operation.IMAGE_TO_IMAGE, files={"image": (FileRef(picture, "image/png"),)})
    async with Server(handler) as server:
        outcome, _ = await submitted(server.base_url, edit)
        assert server.requests[0].path == "/v1/images/edits"
    assert isinstance(outcome, Succeeded)
    assert seen == {"prompt": PROMPT, "content_type": "image/png", "body": b"\x89PNG data"}
