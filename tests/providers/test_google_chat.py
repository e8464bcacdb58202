"""Chat with Google's models, whole and in pieces, and embeddings, with recorded answers (`wire/providers.md §3.9`)."""

from typing import Any

import msgspec
import pytest
from google_kit import B64, BASE, PICTURE, answer, body_of, call, error, provider, submitted

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Succeeded
from calotype.kernel.steps import Emit, HttpResponse, Listen, MaybeSent, Next, ServerEvent

FLASH = "gemini-2.5-flash"
HELLO = [{"role": "user", "content": "Hello."}]
SHOWN = {"type": "image_url", "image_url": {"url": PICTURE}}
USAGE = {
    "promptTokenCount": 20, "candidatesTokenCount": 8, "thoughtsTokenCount": 5, "cachedContentTokenCount": 4,
    "totalTokenCount": 33,
}  # fmt: skip


def chat(fields: dict[str, Any], *answers: Any, model: str = FLASH) -> Any:
    return submitted(call(Operation.CHAT, model, {"messages": HELLO, **fields}), *answers)


def sent(fields: dict[str, Any], model: str = FLASH) -> Any:
    return body_of(chat(fields, reply({"text": "Hi."}), model=model)[0][0])


def reply(*parts: dict[str, Any], reason: str = "STOP", **more: Any) -> HttpResponse:
    return answer(chunk(*parts, reason=reason, usageMetadata=USAGE, **more))


def chunk(*parts: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "responseId": "r1", **more}


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_a_conversation_becomes_turns_and_instructions() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "And kind."}]},
        {"role": "user", "content": "Hello."},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, SHOWN]},
        {"role": "assistant", "content": "A picture."},
        {"role": "user", "content": [
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{B64}"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        ]},
    ]  # fmt: skip
    (request,), _ = chat({"messages": messages}, reply({"text": "Hi."}))
    assert request.url == f"{BASE}/v1beta/models/{FLASH}:generateContent" and request.commits
    assert body_of(request) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "And kind."}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "Hello."}, {"text": "What is this?"}, {"inlineData": {"mimeType": "image/png", "data": B64}},
            ]},
            {"role": "model", "parts": [{"text": "A picture."}]},
            {"role": "user", "parts": [
                {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
                {"inlineData": {"mimeType": "application/pdf", "data": B64}},
                {"fileData": {"fileUri": "https://example.com/a.png"}},
            ]},
        ],
    }  # fmt: skip


def test_settings_have_googles_names() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    body = sent({
        "max_tokens": 50, "temperature": 0, "top_p": 0.5, "seed": 3, "stop": "END",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    })  # fmt: skip
    assert body["generationConfig"] == {
        "maxOutputTokens": 50, "temperature": 0, "topP": 0.5, "seed": 3, "stopSequences": ["END"],
        "responseMimeType": "application/json", "responseJsonSchema": schema,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "fields", "thinking"),
    [
        (FLASH, {"reasoning_effort": "low"}, {"thinkingBudget": 1024, "includeThoughts": True}),
        (FLASH, {"reasoning_effort": "none"}, {"thinkingBudget": 0, "includeThoughts": False}),
        (FLASH, {"reasoning_effort": "low", "thinking_budget": 99}, {"thinkingBudget": 99, "includeThoughts": True}),
        ("gemini-3.8-flash", {"reasoning_effort": "high"}, {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-3.8-flash", {"reasoning_effort": "none"}, {"thinkingLevel": "minimal", "includeThoughts": False}),
    ],
)
def test_how_long_to_think_is_counted_by_older_models_and_named_for_newer_ones(
    model: str, fields: dict[str, Any], thinking: dict[str, Any]
) -> None:
    assert sent(fields, model)["generationConfig"]["thinkingConfig"] == thinking


TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather.", "parameters": {"type": "object"}},
}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}), ("none", {"mode": "NONE"}), ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "weather"}}, {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)  # fmt: skip
def test_tools_are_declared_and_chosen(choice: Any, config: dict[str, Any]) -> None:
    body = sent({"tools": [TOOL], "tool_choice": choice})
    declared = {"name": "weather", "description": "The weather.", "parametersJsonSchema": {"type": "object"}}
    assert body["tools"] == [{"functionDeclarations": [declared]}]
    assert body["toolConfig"] == {"functionCallingConfig": config}


def test_calls_and_their_results_go_back_with_the_models_signature() -> None:
    made = {
        "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"place":"Geneva"}'},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }  # fmt: skip
    plain = {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": ""}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [made, plain]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"degrees":7}'},
        {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
    ]
    assert sent({"messages": messages})["contents"][1:] == [
        {"role": "model", "parts": [
            {"functionCall": {"name": "weather", "args": {"place": "Geneva"}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"name": "time", "args": {}}},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "weather", "response": {"degrees": 7}}},
            {"functionResponse": {"name": "time", "response": {"result": "noon"}}},
        ]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([{"role": "system", "content": "x"}], "messages"),
        ([{"role": "user", "content": [{"type": "hologram"}]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{**SHOWN, "image_url": {"url": "file:///etc"}}]}], "messages[0].content[0]"),
        ([{"role": "tool", "tool_call_id": "nobody", "content": "x"}], "messages[0].tool_call_id"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "x", "arguments": "no"}}]}],
            "messages[0].tool_calls",
        ),
    ],
)  # fmt: skip
def test_what_google_has_no_place_for_is_refused_before_anything_is_sent(messages: Any, field: str) -> None:
    with pytest.raises(StopIteration) as end:
        next(provider().submit(call(Operation.CHAT, FLASH, {"messages": messages})))
    assert (end.value.value.kind, end.value.value.field) == (FailedKind.INVALID, field)


# -- what comes back --------------------------------------------------------------------------------------------------


def test_an_answer_has_its_text_its_thoughts_and_its_tokens() -> None:
    _, outcome = chat({}, reply({"text": "Hm.", "thought": True}, {"text": "Hi "}, {"text": "there."}))
    assert isinstance(outcome, Succeeded)
    message = {"role": "assistant", "content": "Hi there.", "reasoning": "Hm."}
    assert outcome.data == {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert outcome.usage == {"input_tokens": 20, "output_tokens": 13, "reasoning_tokens": 5, "cached_tokens": 4}
    assert outcome.cost is not None and (outcome.cost.amount, outcome.cost.unit) == ("33", "tokens")
    assert outcome.upstream_id == "r1"


def test_a_call_of_a_function_has_an_id_and_keeps_its_signature() -> None:
    called = {"functionCall": {"name": "weather", "args": {"place": "Geneva"}}, "thoughtSignature": "c2ln"}
    _, outcome = chat({"tools": [TOOL]}, reply(called))
    choice = outcome.data["choices"][0]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    (made,) = choice["message"]["tool_calls"]
    assert made["function"] == {"name": "weather", "arguments": '{"place":"Geneva"}'}
    assert made["id"].startswith("call_") and made["extra_content"] == {"google": {"thought_signature": "c2ln"}}


@pytest.mark.parametrize(
    ("response", "finish"),
    [
        (reply({"text": "Hi"}, reason="MAX_TOKENS"), "length"),
        (reply(reason="MAX_TOKENS"), "length"),
        (reply({"text": "Hi"}, reason="SAFETY"), "content_filter"),
        (reply({"text": "Hi"}, reason="A_NEW_REASON"), "stop"),
        (reply(), "stop"),
    ],
)
def test_an_end_after_words_is_told_in_openais_word(response: HttpResponse, finish: str) -> None:
    _, outcome = chat({}, response)
    assert isinstance(outcome, Succeeded)
    assert outcome.data["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer({"promptFeedback": {"blockReason": "SAFETY"}}), "moderated"),
        (reply(reason="PROHIBITED_CONTENT"), "moderated"),
        (reply(reason="MALFORMED_FUNCTION_CALL"), "upstream"),
        (answer({"candidates": []}), "upstream"),
        (answer(b"<html>"), "unknown"),
        (error(429, "RESOURCE_EXHAUSTED"), "retry"),
        (error(404, "NOT_FOUND"), "gone"),
        (error(504, "DEADLINE_EXCEEDED"), "unknown"),
    ],
)
def test_every_other_answer_is_a_failure(response: HttpResponse, kind: str) -> None:
    _, outcome = chat({}, response)
    assert isinstance(outcome, Failed) and outcome.kind.value == kind


# -- embeddings -------------------------------------------------------------------------------------------------------


def embedded(texts: Any, response: HttpResponse, **more: Any) -> Any:
    return submitted(call(Operation.EMBEDDINGS, "gemini-embedding-001", {"input": texts, **more}), response)


def test_each_text_has_a_vector_of_its_own() -> None:
    vectors = {"embeddings": [{"values": [0.5, 1]}, {"values": [1, 0]}], "usageMetadata": {"promptTokenCount": 7}}
    (request,), outcome = embedded(["one", "two"], answer(vectors), dimensions=2)
    assert request.url == f"{BASE}/v1beta/models/gemini-embedding-001:batchEmbedContents" and request.commits
    asked = {"model": "models/gemini-embedding-001", "outputDimensionality": 2}
    assert body_of(request)["requests"] == [
        {**asked, "content": {"role": "user", "parts": [{"text": text}]}} for text in ("one", "two")
    ]
    assert isinstance(outcome, Succeeded)
    assert outcome.data == {"embeddings": [[0.5, 1], [1, 0]]} and outcome.usage == {"input_tokens": 7}
    assert outcome.cost is not None and outcome.cost.amount == "7" and outcome.warnings == ()


def test_tokens_that_nobody_counted_are_taken_from_the_characters() -> None:
    _, outcome = embedded("Hello there.", answer({"embeddings": [{"values": [1]}]}))
    assert isinstance(outcome, Succeeded)
    assert outcome.usage == {"input_tokens": 3} and outcome.cost is None and len(outcome.warnings) == 1


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer({"embeddings": []}), "upstream"), (answer({"embeddings": [{"values": 3}]}), "upstream"),
        (answer({"embeddings": [{"values": [None]}]}), "upstream"),
        (answer({}), "upstream"), (answer(b"<html>"), "unknown"), (error(400, "INVALID_ARGUMENT"), "invalid"),
    ],
)  # fmt: skip
def test_an_answer_without_every_vector_is_a_failure(response: HttpResponse, kind: str) -> None:
    _, outcome = embedded("Hello.", response)
    assert isinstance(outcome, Failed) and outcome.kind.value == kind


# -- in pieces --------------------------------------------------------------------------------------------------------

STREAM = HttpResponse(200, {"content-type": "text/event-stream"})


def streamed(*events: Any, head: HttpResponse = STREAM) -> tuple[list[dict[str, Any]], Any]:
    """Drive a streamed chat; return what was shown and its end."""
    steps = provider().submit(call(Operation.CHAT, FLASH, {"messages": HELLO}, stream=True))
    step: Any = next(steps)
    assert isinstance(step, Listen) and step.request.commits
    assert step.request.url == f"{BASE}/v1beta/models/{FLASH}:streamGenerateContent?alt=sse"
    shown: list[dict[str, Any]] = []
    coming = iter(events)
    said: Any = head
    try:
        while True:
            step = steps.throw(said) if isinstance(said, Exception) else steps.send(said)
            if isinstance(step, Emit):
                shown.append(step.delta.data)
                said = None
            else:
                assert isinstance(step, Next)
                one = next(coming, None)
                told = isinstance(one, Exception) or one is None
                said = one if told else ServerEvent(msgspec.json.encode(one).decode())
    except StopIteration as end:
        return shown, end.value


def test_pieces_are_shown_as_they_come_and_the_whole_is_the_same() -> None:
    called = {"functionCall": {"name": "weather", "args": {}}}
    shown, outcome = streamed(
        chunk({"text": "Hm.", "thought": True}), chunk({"text": "Hi "}), chunk({"text": "there."}),
        chunk(called), chunk({"text": ""}, reason="STOP", usageMetadata=USAGE),
    )  # fmt: skip
    assert shown[:3] == [{"reasoning": "Hm."}, {"content": "Hi "}, {"content": "there."}]
    assert shown[3]["tool_calls"][0]["index"] == 0 and len(shown) == 4
    assert isinstance(outcome, Succeeded)
    message = outcome.data["choices"][0]["message"]
    assert (message["content"], message["reasoning"]) == ("Hi there.", "Hm.")
    assert message["tool_calls"] == [
        {name: value for name, value in shown[3]["tool_calls"][0].items() if name != "index"}
    ]
    assert outcome.usage["output_tokens"] == 13


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ((chunk({"text": "Hi"}),), "upstream"),
        ((), "upstream"),
        (
            (chunk({"text": "Hi"}), {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}),
            "upstream",
        ),
        (([{"error": {"code": 3, "message": "It violates the policy."}}],), "moderated"),
        (({"promptFeedback": {"blockReason": "SAFETY"}},), "moderated"),
        ((chunk(reason="SAFETY"),), "moderated"),
    ],
)
def test_a_stream_that_does_not_come_to_an_end_is_a_failure(events: Any, kind: str) -> None:
    _, outcome = streamed(*events)
    assert isinstance(outcome, Failed) and outcome.kind.value == kind


def test_a_stream_that_breaks_off_is_the_middles_to_judge() -> None:
    with pytest.raises(MaybeSent):
        streamed(chunk({"text": "Hi"}), MaybeSent("cut"))


def test_an_answer_that_is_no_stream_is_an_error_or_unknown() -> None:
    refused = answer([{"error": {"code": 404, "message": "no", "status": "NOT_FOUND"}}], 404)
    assert streamed(head=refused)[1].kind is FailedKind.GONE
    assert streamed(head=answer(b"<html>"))[1].kind is FailedKind.UNKNOWN


@pytest.mark.parametrize("usage", [None, {}, {"promptTokenCount": 0, "candidatesTokenCount": 0}])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_whose_tokens_nobody_counted_is_estimated_and_neither_free_nor_the_dearest(
    usage: Any, stream: bool
) -> None:
    said = chunk({"text": "A long answer. " * 40}, reason="STOP", **({} if usage is None else {"usageMetadata": usage}))
    if stream:
        outcome = streamed(said)[1]
    else:
        _, outcome = chat({}, answer(said))
    assert isinstance(outcome, Succeeded) and outcome.usage["estimated"] == 1
    assert 1 <= outcome.usage["input_tokens"] < 20 and 140 < outcome.usage["output_tokens"] < 170
    assert len(outcome.warnings) == 1


def test_arguments_of_a_call_that_are_nested_too_deeply_are_the_callers_mistake() -> None:
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":' + "[" * 100_000}}
    messages = [*HELLO, {"role": "assistant", "tool_calls": [called]}]
    with pytest.raises(StopIteration) as end:
        next(provider().submit(call(Operation.CHAT, FLASH, {"messages": messages})))
    assert end.value.value.kind is FailedKind.INVALID
