"""Chats in OpenAI's words: what the model is sent, what the caller gets, what is refused and what it costs."""

import base64
from typing import Any

import openai
import pytest
from openai_kit import IN_MICRO, OUT_MICRO, Kit, picture, refused

from calotype.dialects.openai.hooks import status_object
from calotype.jobs.recent import Recent

TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
HI: Any = [{"role": "user", "content": "hi"}]


def test_an_answer_has_everything_that_clients_read(kit: Kit) -> None:
    answer = kit.chat("good evening", max_tokens=100)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["id"].startswith("chatcmpl-") and body["object"] == "chat.completion" and body["model"] == "test/chat"
    message = {"role": "assistant", "content": "You said: good evening", "refusal": None}
    assert body["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"] == {
        "prompt_tokens": 4, "completion_tokens": 8, "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    price = 4 * IN_MICRO + 8 * OUT_MICRO
    headers = answer.headers
    assert headers["x-phi-cost-micro"] == str(price) and headers["x-phi-usage"] == "verified"
    assert headers["x-phi-tools"] == "supported" and headers["x-phi-tier"] == "non_phi"
    assert headers["x-phi-routed"] == "cloud-test-chat/WORLD/non_phi" and headers["x-phi-attempts"] == "1"
    assert kit.money == (price, 0)
    assert "stream" not in kit.sent()


@pytest.mark.client
def test_the_python_package_reads_answers_tools_and_thoughts(kit: Kit) -> None:
    answer = kit.client.chat.completions.create(
        model="test/chat", messages=[{"role": "user", "content": "look @tool @reasoning"}], tools=[TOOL],
        tool_choice="auto", max_completion_tokens=200,
    )  # fmt: skip
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls" and choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "look" and "@tool" in call.function.arguments
    assert answer.usage is not None and answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 10
    assert choice.message.model_extra is not None and choice.message.model_extra["reasoning"]
    assert kit.sent()["max_tokens"] == 200 and kit.sent()["tool_choice"] == "auto"


@pytest.mark.client
def test_an_answer_can_be_sent_back_as_it_came(kit: Kit) -> None:
    asked: list[Any] = [{"role": "user", "content": "look @tool"}]
    first = kit.client.chat.completions.create(model="test/chat", messages=asked, tools=[TOOL])
    message: Any = first.choices[0].message
    told: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "a fox"}
    second = kit.client.chat.completions.create(model="test/chat", messages=[*asked, message, told])
    assert second.choices[0].message.content == "You said: a fox"
    sent = kit.upstream.submits[1].json()["messages"][1]
    assert sent["tool_calls"][0]["id"] == "call_1" and "refusal" not in sent and sent["content"] is None


@pytest.mark.client
async def test_the_asynchronous_client_does_the_same(kit: Kit) -> None:
    async with kit.asynchronous() as client:
        answer = await client.chat.completions.create(model="test/chat", messages=HI)
    assert answer.choices[0].message.content == "You said: hi"


def test_pictures_in_a_message_reach_the_model(kit: Kit) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": uri}}]
    answer = kit.http.post(
        "/chat/completions", json={"model": "test/chat", "messages": [{"role": "user", "content": parts}]}
    )
    assert answer.status_code == 200, answer.text
    assert kit.sent()["messages"][0]["content"] == parts
    assert kit.money == (306 * IN_MICRO + 10 * OUT_MICRO, 0)


def test_values_that_say_what_happens_anyway_are_no_warnings(kit: Kit) -> None:
    answer = kit.chat(
        "hi", "test/chat-plain", n=1, store=False, logprobs=False, modalities=["text"], frequency_penalty=0,
        service_tier="auto", stop=None, tools=None, user="me", max_completion_tokens=9, max_tokens=9,
    )  # fmt: skip
    assert answer.status_code == 200 and "warnings" not in answer.json(), answer.text
    assert kit.sent() == {"model": "upstream-model", "messages": HI, "max_tokens": 9}


def test_a_field_the_model_does_not_take_is_a_warning(kit: Kit) -> None:
    answer = kit.chat("hi", "test/chat-plain", temperature=0.5, metadata={"a": "b"})
    warnings = answer.json()["warnings"]
    assert {one.split()[0] for one in warnings} == {"temperature", "metadata"}
    assert answer.headers["x-phi-tools"] == "unsupported"


def test_auto_is_the_cheapest_model_for_chats(kit: Kit) -> None:
    answer = kit.chat("hi", "auto", max_completion_tokens=16)
    assert answer.status_code == 200 and answer.json()["model"].startswith("test/chat"), answer.text


def test_what_was_not_counted_says_that_it_is_estimated(kit: Kit) -> None:
    answer = kit.chat("hi @nousage")
    assert answer.headers["x-phi-usage"] == "estimated"
    assert answer.json()["usage"]["total_tokens"] > 0 and "estimated" in answer.json()["warnings"][0]


BODIES: list[tuple[dict[str, Any], int, str, str | None, str]] = [
    ({}, 400, "invalid_input", "messages", "required"),
    ({"messages": []}, 400, "invalid_input", "messages", "1 to 2000"),
    ({"messages": "hi"}, 400, "invalid_input", "messages", "a list"),
    ({"messages": [7]}, 400, "invalid_input", "messages[0]", "an object"),
    ({"messages": [{"content": "hi"}]}, 400, "invalid_input", "messages[0].role", "required"),
    ({"messages": [{"role": "king", "content": "hi"}]}, 400, "invalid_input", "messages[0].role", "assistant"),
    ({"messages": [{"role": "user", "content": 7}]}, 400, "invalid_input", "messages[0].content", "a text"),
    ({"messages": HI, "max_tokens": 0}, 400, "invalid_input", "max_tokens", "from 1"),
    ({"messages": HI, "max_tokens": 5, "max_completion_tokens": 6}, 400, "invalid_input", "max_completion_tokens",
     "disagree"),
    ({"messages": HI, "temperature": 9}, 400, "invalid_input", "temperature", "from 0 to 2"),
    ({"messages": HI, "temperature": "hot"}, 400, "invalid_input", "temperature", "a number"),
    ({"messages": HI, "n": 9}, 400, "invalid_input", "n", "from 1 to 4"),
    ({"messages": HI, "tools": {}}, 400, "invalid_input", "tools", "a list"),
    ({"messages": HI, "response_format": "json"}, 400, "invalid_input", "response_format", "an object"),
    ({"messages": HI, "stop": ["a"] * 5}, 400, "invalid_input", "stop", "4"),
    ({"messages": HI, "stream": "yes"}, 400, "invalid_input", "stream", "bool"),
    ({"messages": HI, "stream_options": {"include_usage": True}}, 400, "invalid_input", "stream_options", "stream"),
    ({"messages": HI, "stream": True, "stream_options": {"usage": 1}}, 400, "invalid_input", "stream_options",
     "usage"),
    ({"messages": HI, "temprature": 1}, 400, "invalid_input", "temprature", "Did you mean temperature?"),
    ({"messages": HI, "model": "test/voice"}, 400, "invalid_input", "model", "text-to-speech, not chat"),
    ({"messages": HI, "model": "test/caht"}, 404, "model_not_found", "model", "test/chat"),
    ({"messages": HI, "model": "gemini-2-5-flash"}, 501, "planned", "model", "planned"),
    ({"messages": HI, "webhook_url": "http://10.0.0.1/"}, 400, "invalid_input", "webhook_url", "public"),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("body", "status", "code", "param", "word"), BODIES)
def test_a_body_that_does_not_fit_is_refused_by_name_and_costs_nothing(
    kit: Kit, body: dict[str, Any], status: int, code: str, param: str | None, word: str, stream: bool
) -> None:
    asked = {"model": "test/chat", **({"stream": True} if stream and "stream_options" not in body else {}), **body}
    refused(kit.http.post("/chat/completions", json=asked), status, code, param, word)
    assert kit.upstream.submits == []
    kit.account.untouched()


FAILURES = [
    ("@moderated", 400, "moderation_blocked"),
    ("@filtered", 400, "moderation_blocked"),
    ("@status=400", 400, "invalid_input"),
    ("@error", 502, "upstream_failed"),
    ("@status=502", 502, "upstream_failed"),
    ("@garbage", 502, "upstream_failed"),
    ("@cut=after", 502, "upstream_failed"),
    ("@code=insufficient_quota", 503, "unavailable"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("words", "status", "code"), FAILURES)
def test_a_failure_before_the_first_word_is_an_ordinary_error_and_is_refunded(
    kit: Kit, words: str, status: int, code: str, stream: bool
) -> None:
    answer = kit.chat(f"one two {words}", stream=stream)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json" and answer.json()["error"]["code"] == code
    assert answer.headers["x-phi-cost-micro"] == "0"
    assert kit.money == (0, 0) and len(kit.upstream.submits) == 1


# -- data that may not be kept -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_phi_chat_is_answered_where_an_agreement_is_in_force_and_written_nowhere(kit: Kit, stream: bool) -> None:
    kit.http.headers["x-phi"] = "true"
    answer = kit.chat("the patient Zebulon sleeps", "test/chat-clinic", stream=stream)
    assert answer.status_code == 200 and "Zebulon" in answer.text, answer.text
    assert answer.headers["x-phi-tier"] == "phi" and "clinic" in answer.headers["x-phi-routed"]
    for path in kit.house.app.settings.data_dir.rglob("*"):
        if path.is_file():
            assert b"Zebulon" not in path.read_bytes(), path


def test_a_phi_chat_without_an_agreement_is_refused_before_a_byte_leaves(kit: Kit) -> None:
    kit.http.headers["x-phi"] = "true"
    refused(kit.chat("the patient sleeps"), 403, "phi_blocked", "model", "agreement")
    assert kit.upstream.submits == []
    kit.account.untouched()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embeddings", {"model": "test/vectors-clinic", "input": "the patient Quirinius wakes"}),
        ("/audio/speech", {"model": "test/voice-clinic", "input": "the patient Quirinius wakes"}),
        ("/audio/speech", {"model": "test/voice-clinic", "input": "so does Quirinius", "stream_format": "sse"}),
    ],
)
def test_phi_vectors_and_speech_are_answered_and_written_nowhere(kit: Kit, path: str, body: dict[str, Any]) -> None:
    kit.http.headers["x-phi"] = "true"
    answer = kit.http.post(path, json=body)
    assert answer.status_code == 200 and len(answer.content) > 200, answer.text
    assert answer.headers["x-phi-tier"] == "phi" and kit.money[0] > 0
    files = [path for path in kit.house.app.settings.data_dir.rglob("*") if path.is_file()]
    assert not any(b"Quirinius" in path.read_bytes() for path in files)
    assert kit.house.rows("SELECT COUNT(*) FROM artifact WHERE org_id = :org", org=kit.account.org.id) == [(0,)]


def test_a_phi_answer_can_be_had_again_for_a_moment_and_is_gone_then(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.http.headers |= {"x-phi": "true", "idempotency-key": "one"}
    first, again = kit.chat("hi", "test/chat-clinic"), kit.chat("hi", "test/chat-clinic")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["choices"] == first.json()["choices"]
    monkeypatch.setattr(Recent, "get", lambda *_: None)  # as after its minute
    gone = kit.chat("hi", "test/chat-clinic")
    assert gone.status_code == 410 and gone.json()["error"]["code"] == "gone"
    assert len(kit.upstream.submits) == 1


@pytest.mark.client
def test_a_retry_of_the_client_is_joined_and_charged_once(kit: Kit) -> None:
    first = kit.chat("hi")
    kit.http.headers["x-stainless-retry-count"] = "1"
    again = kit.chat("hi")
    assert again.json()["choices"] == first.json()["choices"] and again.json()["id"] == first.json()["id"]
    assert len(kit.upstream.submits) == 1


@pytest.mark.client
def test_what_is_not_offered_is_refused_clearly(kit: Kit) -> None:
    with pytest.raises(openai.NotFoundError, match="chat/completions"):
        kit.client.responses.create(model="test/chat", input="hi")
    with pytest.raises(openai.NotFoundError, match="not offered"):
        kit.client.moderations.create(input="hi")
    with pytest.raises(openai.NotFoundError, match="images/edits"):
        kit.client.images.create_variation(image=picture())
    with pytest.raises(openai.NotFoundError, match="not offered"):
        kit.client.audio.translations.create(file=("a.wav", b"x"), model="test/ear")
    kit.account.untouched()


@pytest.mark.parametrize("path", ["/responses", "/moderations", "/images/variations", "/audio/translations"])
def test_what_is_not_offered_is_not_told_to_strangers(kit: Kit, path: str) -> None:
    answer = kit.http.post(path, json={}, headers={"authorization": "Bearer nobody"})
    assert answer.status_code == 401


def test_the_end_of_a_chat_is_announced_with_what_was_said(kit: Kit) -> None:
    ident = kit.chat("hi").headers["x-calotype-job-id"]
    view = kit.house.ask(kit.house.app.engine.get(ident, kit.account.org.id))
    told = status_object(view, str)
    assert (told["object"], told["status"], told["data"]) == ("chat.generation", "completed", [])
    assert told["result"]["choices"][0]["message"]["content"] == "You said: hi"
