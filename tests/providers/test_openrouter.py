"""OpenRouter's chat, embeddings, pictures and sound: requests, privacy, bills, and its table of refusals."""

from typing import Any

import msgspec
import pytest
from chatted import DONE, STREAM, Held, answer, asking, chunk, usage
from pydantic import SecretStr

from calotype.kernel.clock import ManualClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Cost, Failed, FailedKind, Output, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse, MaybeSent
from calotype.providers.base import Call, Check
from calotype.providers.openrouter import BASE_URL, OpenRouter
from calotype.providers.openrouter_bill import bill
from calotype.settings import ProviderSettings

KEY = "sk-or-test-0123456789abcdef"
PRIVATE = {"zdr": True, "data_collection": "deny"}


def provider(clock: ManualClock | None = None, **settings: Any) -> OpenRouter:
    settings.setdefault("api_key", SecretStr(KEY))
    return OpenRouter("openrouter", ProviderSettings(kind="openrouter", **settings), clock)


def held(call: Call, *answers: Any, **settings: Any) -> Held:
    return Held(provider(**settings).submit(call), answers)


def call(operation: Operation, model: str = "vendor/model", **fields: Any) -> Call:
    return Call("job", 1, "token", operation, model, fields)


def phi(one: Call) -> Call:
    return msgspec.structs.replace(one, data_class=DataClass.PHI)


def completion(**more: Any) -> HttpResponse:
    choice = {"index": 0, "message": {"content": "Yes.", "reasoning": "Hm."}, "finish_reason": "stop"}
    counted = {"prompt_tokens": 12, "completion_tokens": 3, "cost": 0.0000387, "is_byok": False}
    return answer({"id": "gen-1", "choices": [choice], "usage": counted, **more})


def succeeded(one: Held) -> Succeeded:
    assert isinstance(one.outcome, Succeeded), one.outcome
    return one.outcome


def failed(one: Held) -> Failed:
    assert isinstance(one.outcome, Failed), one.outcome
    return one.outcome


# -- chat and embeddings ----------------------------------------------------------------------------------------------


def test_a_chat_answers_with_its_bill_in_usd() -> None:
    headers = {"HTTP-Referer": "https://calotype.example", "X-OpenRouter-Title": "Calotype"}
    one = held(asking(), completion(), headers=headers)
    (request,) = one.requests
    assert request.url == f"{BASE_URL}/chat/completions" and request.commits
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["X-OpenRouter-Title"] == "Calotype"
    assert "provider" not in one.body
    outcome = succeeded(one)
    assert outcome.cost == Cost(micro=39, amount="0.0000387", unit="usd", source="response")
    assert outcome.usage == {"input_tokens": 12, "output_tokens": 3}
    assert outcome.data["choices"][0]["message"]["reasoning"] == "Hm."


def test_a_stream_ends_with_its_bill_and_keeps_what_must_be_sent_back() -> None:
    details = [{"type": "reasoning.encrypted", "data": "abc"}]
    one = held(
        asking(stream=True), HttpResponse(200, STREAM), chunk({"content": "", "reasoning_details": details}),
        chunk({"content": "Yes."}, "stop"), usage(12, 3, cost=0.5), DONE,
    )  # fmt: skip
    outcome = succeeded(one)
    assert outcome.cost is not None and outcome.cost.micro == 500_000
    message = outcome.data["choices"][0]["message"]
    assert message["reasoning_details"] == details
    again = held(asking(input={"messages": [message]}), completion())
    assert again.body["messages"] == [message]


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        (Operation.CHAT, {"messages": [{"role": "user", "content": "x"}]}),
        (Operation.EMBEDDINGS, {"input": "x"}),
        (Operation.TEXT_TO_IMAGE, {"prompt": "x"}),
        (Operation.TEXT_TO_SPEECH, {"input": "x"}),
        (Operation.TRANSCRIPTION, {"audio_url": "data:audio/wav;base64,AAAA"}),
    ],
)
def test_phi_only_goes_to_hosts_that_keep_and_learn_nothing(operation: Operation, fields: dict[str, Any]) -> None:
    general, private = call(operation, **fields), phi(call(operation, **fields))
    assert "provider" not in held(general, answer({}, 400)).body
    assert held(private, answer({}, 400)).body["provider"] == PRIVATE
    assert held(general, answer({}, 400), zero_retention=True).body["provider"] == PRIVATE


def test_privacy_wins_over_a_cards_own_preferences() -> None:
    fields = {"provider": {"sort": "price", "zdr": False, "data_collection": "allow"}}
    assert held(phi(asking(input=fields)), answer({}, 400)).body["provider"] == {"sort": "price", **PRIVATE}
    assert held(asking(input=fields), answer({}, 400)).body["provider"] == fields["provider"]


def test_a_document_is_read_by_the_model_and_not_by_a_service_that_is_billed_by_the_page() -> None:
    document = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    for part, plugins in ((document, [{"id": "file-parser", "pdf": {"engine": "native"}}]), (picture, None)):
        one = phi(call(Operation.CHAT, messages=[{"role": "system"}, {"role": "user", "content": ["x", part]}]))
        body = held(one, answer({}, 400)).body
        assert body.get("plugins") == plugins and body["provider"] == PRIVATE


def test_phi_is_never_made_into_a_video() -> None:
    one = held(phi(call(Operation.TEXT_TO_VIDEO, prompt="x")))
    assert (failed(one).kind, one.requests) == (FailedKind.GONE, [])


def test_embeddings_carry_their_bill() -> None:
    body = {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 4, "cost": 0.000001}}
    outcome = succeeded(held(call(Operation.EMBEDDINGS, input="x"), answer(body)))
    assert (outcome.data, outcome.usage) == ({"embeddings": [[1.0]]}, {"input_tokens": 4})
    assert outcome.cost is not None and outcome.cost.micro == 1


@pytest.mark.parametrize(
    ("said", "micro"),
    [
        ({"cost": 0.04}, 40_000),
        ({"cost": "0.04"}, 40_000),
        ({"cost": 1e-7}, 1),
        ({"cost": 0}, 0),
        ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, 210_000),
        ({"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.2}}, 10_000),
        ({"cost": None}, None),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost": "NaN"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_bill_is_whole_micro_usd_rounded_up(said: Any, micro: int | None) -> None:
    found = bill(said)
    assert (None if found is None else found.micro) == micro


# -- refusals ---------------------------------------------------------------------------------------------------------


def error(status: int, metadata: dict[str, Any] | None = None, **headers: str) -> HttpResponse:
    body: dict[str, Any] = {"code": status, "message": "no"}
    if metadata is not None:
        body["metadata"] = metadata
    return answer({"error": body, "user_id": "user_1"}, status, **headers)


def inside(status: int, metadata: dict[str, Any] | None = None) -> HttpResponse:
    return HttpResponse(200, {}, error(status, metadata).body)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (error(400), FailedKind.INVALID),
        (error(413), FailedKind.INVALID),
        (error(422), FailedKind.INVALID),
        (error(400, {"error_type": "content_policy_violation"}), FailedKind.MODERATED),
        (error(502, {"error_type": "context_length_exceeded"}), FailedKind.INVALID),
        (error(401), FailedKind.AUTH),
        (error(402), FailedKind.QUOTA),
        (error(402, {"limit_source": "openrouter_in_flight_budget"}, retry_after="2"), FailedKind.RETRY),
        (error(403), FailedKind.AUTH),
        (error(403, {"reasons": ["violence"], "flagged_input": "x"}), FailedKind.MODERATED),
        (error(403, {"error_type": "refusal"}), FailedKind.MODERATED),
        (error(404), FailedKind.GONE),
        (error(408), FailedKind.UNKNOWN),
        (error(524), FailedKind.UNKNOWN),
        (error(429), FailedKind.RETRY),
        (error(500), FailedKind.RETRY),
        (error(502), FailedKind.RETRY),
        (error(503), FailedKind.RETRY),
        (error(529), FailedKind.RETRY),
        (answer(b"<html>", 502), FailedKind.UNKNOWN),
        (answer(b"", 307), FailedKind.GONE),
        (answer(b"", 520), FailedKind.UNKNOWN),
        (inside(502), FailedKind.RETRY),
        (inside(402), FailedKind.QUOTA),
        (inside(403, {"reasons": ["x"]}), FailedKind.MODERATED),
        (inside(408), FailedKind.UNKNOWN),
        (answer({"error": {"message": "broke"}}), FailedKind.UPSTREAM),
    ],
)
def test_each_refusal_has_its_kind_outside_and_inside_an_answer(response: HttpResponse, kind: FailedKind) -> None:
    for one in (asking(), call(Operation.TEXT_TO_IMAGE, prompt="x"), call(Operation.EMBEDDINGS, input="x")):
        assert failed(held(one, response)).kind is kind


def test_the_wait_asked_for_is_honoured() -> None:
    budget = error(402, {"limit_source": "openrouter_in_flight_budget"}, retry_after="2")
    assert failed(held(asking(), budget)).retry_after_s == 2.0


def test_a_late_server_error_may_have_been_paid_for_a_late_refusal_of_a_host_not() -> None:
    for status, kind in ((500, FailedKind.UNKNOWN), (502, FailedKind.RETRY)):
        clock = ManualClock()
        steps = provider(clock).submit(asking())
        next(steps)
        clock.advance(20_000)
        with pytest.raises(StopIteration) as end:
            steps.send(error(status))
        assert end.value.value.kind is kind


def test_without_a_key_nothing_is_asked() -> None:
    one = held(asking(), api_key=None, base_url="http://127.0.0.1:9/api/v1")
    assert (failed(one).kind, one.requests) == (FailedKind.AUTH, [])


# -- pictures and sound -----------------------------------------------------------------------------------------------


def test_pictures_are_asked_for_with_the_ones_to_look_at() -> None:
    uri = "data:image/png;base64,AAAA"
    body = {
        "data": [{"b64_json": "QUJD", "media_type": "image/webp"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1000, "cost": 0.04},
    }
    fields = {"prompt": "a garden", "size": "1024x1024", "image": [uri], "seed": None}
    one = held(call(Operation.IMAGE_TO_IMAGE, **fields), answer(body, x_generation_id="gen-7"))
    assert one.requests[0].url == f"{BASE_URL}/images" and one.requests[0].commits
    assert one.body == {
        "model": "vendor/model", "prompt": "a garden", "size": "1024x1024",
        "input_references": [{"type": "image_url", "image_url": {"url": uri}}],
    }  # fmt: skip
    outcome = succeeded(one)
    assert outcome.outputs == (Output(base64=b"QUJD", content_type="image/webp"),)
    assert outcome.usage == {"input_tokens": 5, "output_tokens": 1000}
    assert (outcome.cost and outcome.cost.micro, outcome.upstream_id) == (40_000, "gen-7")


def recording(**headers: str) -> HttpResponse:
    return HttpResponse(200, {"content-type": "audio/mpeg", **headers}, b"sound")


def test_speech_asks_for_its_bill_and_once_more_when_it_is_late() -> None:
    late, told = answer({"error": {"code": 404}}, 404), answer({"data": {"total_cost": 0.003}})
    sound = recording(**{"x-generation-id": "gen-9"})
    one = held(call(Operation.TEXT_TO_SPEECH, input="Hello", voice="x", response_format="mp3"), sound, late, told)
    assert [request.url for request in one.requests[1:]] == [f"{BASE_URL}/generation?id=gen-9"] * 2
    assert [request.commits for request in one.requests] == [True, False, False]
    assert one.waited == 1
    outcome = succeeded(one)
    assert outcome.outputs[0].data == b"sound"
    assert outcome.cost is not None and outcome.cost.micro == 3_000


@pytest.mark.parametrize("trouble", [MaybeSent("cut"), answer(b"", 500)])
def test_a_bill_that_cannot_be_had_costs_nobody_the_recording(trouble: Any) -> None:
    sound = recording(**{"x-generation-id": "gen-9"})
    outcome = succeeded(held(call(Operation.TEXT_TO_SPEECH, input="Hello"), sound, trouble, trouble))
    assert (outcome.outputs[0].data, outcome.cost) == (b"sound", None)
    assert len(held(call(Operation.TEXT_TO_SPEECH, input="Hello"), recording()).requests) == 1


@pytest.mark.parametrize(("ident", "asked"), [("gen-9", 1), ("a&id=gen-8", 0), ("..", 0), ("a/b", 0)])
def test_a_bill_is_asked_for_by_the_generations_own_id_and_by_nothing_that_is_none(ident: str, asked: int) -> None:
    sound = recording(**{"x-request-id": "of-the-proxy", "x-generation-id": ident})
    one = held(call(Operation.TEXT_TO_SPEECH, input="Hello"), sound, *[answer({"data": {"total_cost": 0.003}})] * asked)
    assert [request.url for request in one.requests[1:]] == [f"{BASE_URL}/generation?id={ident}"] * asked
    assert succeeded(one).upstream_id == ident


def test_a_recording_is_sent_inside_and_written_down_in_full() -> None:
    body = {"text": "Hi.", "usage": {"seconds": 3, "cost": 0.0006}, "segments": [{"start": 0, "end": 2, "text": "Hi."}]}
    fields = {"audio_url": "data:audio/x-wav;base64,UklGRg==", "language": "en", "response_format": "srt"}
    one = held(call(Operation.TRANSCRIPTION, **fields), answer(body))
    assert one.body == {
        "model": "vendor/model", "language": "en", "response_format": "verbose_json",
        "input_audio": {"data": "UklGRg==", "format": "wav"},
    }  # fmt: skip
    outcome = succeeded(one)
    assert (outcome.data["text"], outcome.usage) == ("Hi.", {"duration_ms": 3000})
    assert outcome.data["srt"].startswith("1\n00:00:00,000")
    assert outcome.cost is not None and outcome.cost.micro == 600


@pytest.mark.parametrize("uri", ["data:image/png;base64,AA", "https://example.com/a.mp3", None])
def test_a_recording_of_another_kind_is_refused_before_anything_is_sent(uri: str | None) -> None:
    one = held(call(Operation.TRANSCRIPTION, audio_url=uri))
    assert (failed(one).kind, failed(one).field, one.requests) == (FailedKind.INVALID, "audio_url", [])


# -- the account ------------------------------------------------------------------------------------------------------


def asked(steps: Any, response: HttpResponse) -> Any:
    request = next(steps)
    assert isinstance(request, HttpRequest) and not request.commits and request.method == "GET"
    with pytest.raises(StopIteration) as end:
        steps.send(response)
    return end.value.value


def test_the_account_tells_what_is_left_of_its_credit() -> None:
    body = {"data": {"total_credits": 25.5, "total_usage": 1.25}}
    assert asked(provider().check(), answer(body)) == Check(True, "ok", "24.25 USD")
    assert asked(provider().check(), answer({}, 401)).credential == "refused"
