"""Conversations through fal's any-llm: one prompt there, one message back (`wire/products.md E11`)."""

from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Pending, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse
from calotype.providers.base import Call
from calotype.providers.fal import Fal
from calotype.providers.fal_chat import prompted
from calotype.settings import ProviderSettings

ID = "019d9e0b-0000-7000-8000-000000000000"
HELLO = [{"role": "user", "content": "hello"}]
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def said(*turns: tuple[str, Any], **more: Any) -> Any:
    return prompted({"messages": [{"role": role, "content": content} for role, content in turns], **more})


def answer(body: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"x-fal-request-id": ID}, msgspec.json.encode(body))


def run(fields: dict[str, Any], result: dict[str, Any], model: str = "fal-ai/any-llm") -> tuple[dict[str, Any], Any]:
    """Return what was sent and what came of it."""
    fal = Fal("fal", ProviderSettings(api_key=SecretStr("a:b")))
    steps = fal.submit(Call("job", 1, "token", Operation.CHAT, model, fields))
    request = next(steps)
    assert isinstance(request, HttpRequest) and isinstance(request.body, bytes)
    with pytest.raises(StopIteration) as end:
        steps.send(answer({"request_id": ID}))
    pending = end.value.value
    assert isinstance(pending, Pending)
    steps = fal.poll(pending.handle)
    next(steps)
    steps.send(answer({"status": "COMPLETED"}))
    with pytest.raises(StopIteration) as end:
        steps.send(answer(result))
    return msgspec.json.decode(request.body), end.value.value


def test_one_question_is_the_prompt_itself() -> None:
    assert said(("user", "hello")) == {"prompt": "hello"}
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert said(("user", parts)) == {"prompt": "one\ntwo"}


def test_guidance_goes_apart_and_a_conversation_becomes_a_script() -> None:
    sent = said(("system", "Be brief."), ("developer", "No jokes."), ("user", "a"), ("assistant", "b"), ("user", "c"))
    assert sent == {
        "system_prompt": "Be brief.\n\nNo jokes.",
        "prompt": "User: a\n\nAssistant: b\n\nUser: c\n\nAssistant:",
    }


def test_fals_own_fields_pass_as_they_are() -> None:
    assert prompted({"prompt": "x", "model": "m", "max_tokens": 5}) == {"prompt": "x", "model": "m", "max_tokens": 5}
    assert said(("user", "a"), model="m", system_prompt="mine")["system_prompt"] == "mine"


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function"}]}, {"response_format": {"type": "json_object"}}, {"tool_choice": "required"},
        {"messages": [{"role": "tool", "content": "x"}]}, {"messages": [{"role": "assistant", "content": None}]},
        {"messages": [{"role": "user", "content": [PICTURE]}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
    ],
)  # fmt: skip
def test_what_fal_cannot_do_is_left_to_another_route(fields: dict[str, Any]) -> None:
    refused = prompted({"messages": HELLO, **fields})
    assert isinstance(refused, Failed) and refused.kind is FailedKind.GONE


def test_pictures_of_messages_go_to_the_endpoint_that_sees() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "what?"}, PICTURE]}
    sent, _ = run({"messages": [message]}, {"output": "A."}, "fal-ai/any-llm/vision")
    assert sent == {"prompt": "what?", "image_urls": ["https://example.com/a.png"]}


def test_the_answer_is_a_conversations_next_message() -> None:
    fields = {"messages": HELLO, "model": "openai/gpt-4o-mini", "temperature": 0.5, "top_p": 0.9}
    sent, ended = run(fields, {"output": "Paris.", "reasoning": "Known.", "partial": False, "error": None})
    assert sent == {"prompt": "hello", "model": "openai/gpt-4o-mini", "temperature": 0.5}
    assert isinstance(ended, Succeeded)
    message = {"role": "assistant", "content": "Paris.", "reasoning": "Known."}
    assert ended.data == {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert ended.warnings == ("top_p has no effect on this model here",)


def test_an_answer_that_was_cut_says_so_and_tokens_are_counted_where_fal_counts_them() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    _, ended = run({"messages": HELLO}, {"output": "Par", "partial": True, "usage": usage})
    assert ended.data["choices"][0]["finish_reason"] == "length"
    assert ended.usage == {"input_tokens": 3, "output_tokens": 5}


def test_an_error_inside_an_answer_is_a_failure() -> None:
    _, ended = run({"messages": HELLO}, {"output": "", "error": "model overloaded"})
    assert isinstance(ended, Failed) and ended.kind is FailedKind.UPSTREAM
