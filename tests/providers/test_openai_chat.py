"""Chat completions, whole and as a stream: the request, what is gathered, what is shown, how it can end."""

from typing import Any

import pytest
from chatted import DONE, STREAM, Held, answer, asking, chunk, usage
from pydantic import SecretStr

from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Cost, Failed, FailedKind, Succeeded
from calotype.kernel.steps import HttpResponse, MaybeSent, NotSent
from calotype.providers.openai import OpenAI
from calotype.settings import ProviderSettings

KEY = "sk-test-0123456789abcdefghij"
HEAD = HttpResponse(200, STREAM)


def provider(name: str = "openai", **settings: Any) -> OpenAI:
    settings.setdefault("api_key", SecretStr(KEY))
    return OpenAI(name, ProviderSettings(kind="openai", **settings))


def held(*answers: Any, call: Any = None, **settings: Any) -> Held:
    return Held(provider(**settings).submit(call or asking()), answers)


def streamed(*events: Any, call: Any = None) -> Held:
    return held(HEAD, *events, call=call or asking(stream=True))


def completion(message: Any, reason: str = "stop", **more: Any) -> HttpResponse:
    choice = {"index": 0, "message": message, "finish_reason": reason}
    counted = {"prompt_tokens": 12, "completion_tokens": 3}
    return answer({"id": "c-1", "choices": [choice], "usage": counted, **more})


def succeeded(one: Held) -> Succeeded:
    assert isinstance(one.outcome, Succeeded), one.outcome
    return one.outcome


def failed(one: Held) -> Failed:
    assert isinstance(one.outcome, Failed), one.outcome
    return one.outcome


# -- whole ------------------------------------------------------------------------------------------------------------


def test_a_conversation_is_one_request_that_commits_and_no_stream_when_nobody_listens() -> None:
    fields = {"max_tokens": 9, "temperature": None, "tools": [{"type": "function", "function": {"name": "f"}}]}
    one = held(completion({"role": "assistant", "content": "A garden."}), call=asking(input=fields))
    (request,) = one.requests
    assert (request.method, request.url, request.commits) == (
        "POST",
        "https://api.openai.com/v1/chat/completions",
        True,
    )
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    messages = [{"role": "user", "content": "What is it?"}]
    assert one.body == {"model": "gemma", "messages": messages, "max_tokens": 9, "tools": fields["tools"]}
    assert one.listened == 0


def test_a_model_may_think_for_minutes_unless_the_operator_set_a_limit() -> None:
    (slow,) = held(completion({"content": "x"})).requests
    (limited,) = held(completion({"content": "x"}), read_timeout_s=30).requests
    assert (slow.read_timeout_s, slow.total_timeout_s) == (600, 1800)
    assert (limited.read_timeout_s, limited.total_timeout_s) == (30, 1800)


def test_a_whole_answer_is_choices_and_tokens() -> None:
    counted = {
        "prompt_tokens": 40, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 32},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }  # fmt: skip
    outcome = succeeded(held(completion({"role": "assistant", "content": "A garden."}, usage=counted)))
    message = {"role": "assistant", "content": "A garden."}
    assert outcome.data == {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert outcome.usage == {"input_tokens": 40, "output_tokens": 9, "cached_tokens": 32, "reasoning_tokens": 5}
    assert outcome.cost == Cost(amount="49", unit="tokens", source="response")
    assert (outcome.upstream_id, outcome.warnings, outcome.outputs) == ("c-1", (), ())


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Yes.", "reasoning": "Let me see."},
        {"content": "Yes.", "reasoning_content": "Let me see."},
        {"content": "Yes.", "reasoning": None, "reasoning_content": "Let me see."},
        {
            "content": [
                {
                    "type": "thinking",
                    "thinking": [{"type": "text", "text": "Let me "}, {"type": "text", "text": "see."}],
                },
                {"type": "text", "text": "Yes."},
            ]
        },
    ],
)
def test_what_a_model_thinks_is_reasoning_wherever_a_server_writes_it(message: dict[str, Any]) -> None:
    said = succeeded(held(completion(message))).data["choices"][0]["message"]
    assert said == {"role": "assistant", "content": "Yes.", "reasoning": "Let me see."}


def test_reasoning_of_earlier_turns_is_not_sent_to_servers_that_refuse_it() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "reasoning": "…", "reasoning_details": [{}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]},
    ]
    one = held(completion({"content": "x"}), call=asking(input={"messages": messages}))
    assert one.body["messages"] == [messages[0], {"role": "assistant", "content": "Hello"}, messages[2]]


def test_tool_calls_are_handed_on_without_an_index() -> None:
    call = {"index": 0, "id": "call_9", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
    choice = succeeded(held(completion({"content": None, "tool_calls": [call]}, "tool_calls"))).data["choices"][0]
    function = {"name": "look", "arguments": '{"a":1}'}
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_9", "type": "function", "function": function}],
    }
    assert choice["finish_reason"] == "tool_calls"


def test_a_server_that_counts_no_tokens_is_estimated_and_the_caller_told() -> None:
    outcome = succeeded(held(completion({"content": "x" * 40}, usage=None), call=asking()))
    assert outcome.usage == {"input_tokens": 4, "output_tokens": 13, "estimated": 1}
    assert outcome.warnings == ("the provider did not say how many tokens were used; they are estimated from the text",)
    deep: Any = "y" * 40
    for _ in range(900):
        deep = [deep]
    messages = [{"role": "user", "content": "Hello.", "x": deep}]
    deepest = succeeded(held(completion({"content": "x" * 40}, usage=None), call=asking(input={"messages": messages})))
    assert deepest.usage["output_tokens"] == 13
    assert (
        failed(held(answer({"error": {"message": "no"}}, 400), call=asking(input={"messages": messages}))).status == 400
    )
    nought = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert succeeded(held(completion({"content": "x" * 40}, usage=nought), call=asking())).usage == outcome.usage


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer(b"<html>"), FailedKind.UNKNOWN),
        (answer({"choices": []}), FailedKind.UPSTREAM),
        (answer({"choices": [{"message": {"content": ""}, "finish_reason": "error"}]}), FailedKind.UPSTREAM),
        (completion({"content": ""}, "content_filter"), FailedKind.MODERATED),
        (answer({"error": {"message": "down", "code": 503}}), FailedKind.RETRY),
        (answer({"error": {"message": "down"}}), FailedKind.UPSTREAM),
        (answer({"error": "no such luck"}), FailedKind.UPSTREAM),
        (answer({"error": {"code": "content_filter", "message": "x"}}, 400), FailedKind.MODERATED),
        (answer({"error": {"code": "context_length_exceeded", "message": "x"}}, 400), FailedKind.INVALID),
        (answer({"error": {"type": "overloaded_error", "message": "x"}}, 529), FailedKind.RETRY),
        (answer({"error": {"code": "insufficient_quota", "message": "x"}}, 429), FailedKind.QUOTA),
        (answer(b"", 502), FailedKind.UNKNOWN),
    ],
)
def test_each_end_of_a_whole_answer_has_its_kind(response: HttpResponse, kind: FailedKind) -> None:
    assert failed(held(response)).kind is kind


def test_an_answer_that_only_ends_with_the_word_error_is_none() -> None:
    said = succeeded(held(completion({"content": 'the key "error" means trouble'})))
    assert said.data["choices"][0]["message"]["content"] == 'the key "error" means trouble'


def test_an_answer_that_was_filtered_after_its_beginning_is_delivered_as_such() -> None:
    choice = succeeded(held(completion({"content": "Once"}, "content_filter"))).data["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Once", "content_filter")


# -- streams ----------------------------------------------------------------------------------------------------------


def test_a_stream_asks_for_usage_shows_its_pieces_and_ends_with_the_whole() -> None:
    one = streamed(
        chunk({"role": "assistant", "content": ""}), chunk({"content": "A gar"}), chunk({"content": "den."}),
        chunk({}, "stop"), usage(12, 3), DONE,
    )  # fmt: skip
    assert one.listened == 1
    assert (one.body["stream"], one.body["stream_options"]) == (True, {"include_usage": True})
    assert one.deltas == [{"content": "A gar"}, {"content": "den."}]
    outcome = succeeded(one)
    message = {"role": "assistant", "content": "A garden."}
    assert outcome.data == {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert outcome.usage == {"input_tokens": 12, "output_tokens": 3}


def test_a_host_that_counts_unasked_is_not_asked() -> None:
    mistral = Held(provider("mistral").submit(asking(stream=True)), [HEAD, chunk({"content": "a"}, "stop"), DONE])
    assert mistral.body["stream"] is True and "stream_options" not in mistral.body


def test_the_last_word_on_usage_counts_where_every_piece_has_one() -> None:
    counted = {"prompt_tokens": 7, "completion_tokens": 1}
    events = (chunk({"content": "a"}, usage=counted), chunk({"content": "b"}, "stop", usage=None), usage(7, 2), DONE)
    assert succeeded(streamed(*events)).usage == {"input_tokens": 7, "output_tokens": 2}


def test_tool_calls_are_put_together_by_index_and_shown_in_pieces() -> None:
    def piece(index: int, **function: str) -> dict[str, Any]:
        return {"index": index, "function": function}

    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "look", "arguments": ""}}
    second = {"index": 1, "id": "b", "type": "function", "function": {"name": "go", "arguments": ""}}
    one = streamed(
        chunk({"tool_calls": [first]}), chunk({"tool_calls": [piece(0, arguments='{"x"')]}),
        chunk({"tool_calls": [second, piece(0, arguments=":1}")]}), chunk({"tool_calls": [piece(1, arguments="{}")]}),
        chunk({}, "tool_calls"), usage(1, 1), DONE,
    )  # fmt: skip
    (choice,) = succeeded(one).data["choices"]
    assert choice["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "go", "arguments": "{}"}},
    ]
    assert one.deltas[0] == {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "look"}}]}
    assert one.deltas[1] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]}


@pytest.mark.parametrize("index", [{}, {"index": 0}])
def test_whole_tool_calls_that_share_an_index_or_have_none_stay_apart(index: dict[str, int]) -> None:
    def whole(ident: str) -> dict[str, Any]:
        return {**index, "id": ident, "type": "function", "function": {"name": f"f{ident}", "arguments": "{}"}}

    one = streamed(chunk({"tool_calls": [whole("1"), whole("2")]}), chunk({}, "stop"), usage(1, 1), DONE)
    calls = succeeded(one).data["choices"][0]["message"]["tool_calls"]
    assert [call["id"] for call in calls] == ["1", "2"]
    assert [call["index"] for call in one.deltas[0]["tool_calls"]] == [0, 1]


def test_reasoning_is_gathered_and_shown() -> None:
    one = streamed(
        chunk({"reasoning_content": "Let "}), chunk({"reasoning_content": "me see."}), chunk({"content": "Yes."}),
        chunk({}, "stop"), usage(1, 1), DONE,
    )  # fmt: skip
    assert one.deltas == [{"reasoning": "Let "}, {"reasoning": "me see."}, {"content": "Yes."}]
    assert succeeded(one).data["choices"][0]["message"]["reasoning"] == "Let me see."


def test_every_choice_is_gathered_and_the_first_is_shown() -> None:
    one = streamed(
        chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop"), chunk({}, "length", index=1),
        usage(1, 2), DONE,
    )  # fmt: skip
    choices = succeeded(one).data["choices"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in choices] == [
        (0, "a", "stop"), (1, "b", "length"),
    ]  # fmt: skip
    assert one.deltas == [{"content": "a"}]


def test_a_stream_without_its_last_mark_is_whole_when_every_choice_has_ended() -> None:
    assert succeeded(streamed(chunk({"content": "a"}, "stop"), usage(1, 1), None)).usage["output_tokens"] == 1


def test_a_mark_without_a_reason_ends_the_answer() -> None:
    assert succeeded(streamed(chunk({"content": "a"}), DONE)).data["choices"][0]["finish_reason"] == "stop"


def test_odd_pieces_are_passed_over() -> None:
    events = (
        "not json",
        [],
        {"choices": "x"},
        {"choices": [7]},
        chunk({"content": 5}),
        chunk({"content": "a"}, "stop"),
    )
    one = streamed(*events, usage(1, 1), DONE)
    assert one.deltas == [{"content": "a"}]
    assert succeeded(one).data["choices"][0]["message"]["content"] == "a"


BEGUN = chunk({"content": "Once upon"})


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ((BEGUN, MaybeSent("cut")), FailedKind.UPSTREAM),
        ((BEGUN, None), FailedKind.UPSTREAM),
        ((None,), FailedKind.UNKNOWN),
        ((DONE,), FailedKind.UPSTREAM),
        ((BEGUN, {"error": {"code": 502, "message": "broke"}}), FailedKind.UPSTREAM),
        ((BEGUN, {"error": {"code": "insufficient_quota", "message": "x"}}), FailedKind.UPSTREAM),
        ((BEGUN, {"error": {"code": "content_filter", "message": "x"}}), FailedKind.MODERATED),
        ((BEGUN, chunk({}, "error"), DONE), FailedKind.UPSTREAM),
        (({"error": {"code": 503, "message": "overloaded"}},), FailedKind.RETRY),
        (({"error": {"code": "model_not_found", "message": "x"}},), FailedKind.GONE),
        (({"error": {"message": "broke"}},), FailedKind.UPSTREAM),
        ((chunk({"role": "assistant", "content": ""}), {"error": {"code": 429, "message": "x"}}), FailedKind.RETRY),
    ],
)
def test_a_stream_that_fails_after_its_first_piece_is_never_tried_again(
    events: tuple[Any, ...], kind: FailedKind
) -> None:
    assert failed(streamed(*events)).kind is kind


def test_a_stream_that_breaks_off_before_its_first_piece_is_for_the_driver_to_judge() -> None:
    with pytest.raises(MaybeSent):
        streamed(MaybeSent("cut"))
    with pytest.raises(NotSent):
        held(NotSent("down"), call=asking(stream=True))


def test_a_refusal_before_the_stream_is_read_by_the_table() -> None:
    outcome = failed(held(answer({"error": {"message": "slow"}}, 429, retry_after="3"), call=asking(stream=True)))
    assert (outcome.kind, outcome.retry_after_s) == (FailedKind.RETRY, 3.0)


def test_a_server_that_streams_nothing_is_shown_in_one_piece() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"content": "Yes.", "reasoning": "Hm.", "tool_calls": [call]}
    one = held(completion(message), call=asking(stream=True))
    assert one.deltas == [{"content": "Yes.", "reasoning": "Hm.", "tool_calls": [{"index": 0, **call}]}]
    assert succeeded(one).usage == {"input_tokens": 12, "output_tokens": 3}


def test_nothing_of_a_conversation_stays_in_what_the_operator_reads() -> None:
    text = "my very private question"
    call = asking(input={"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]})
    said = {"error": {"message": f"cannot answer '{text}' with {KEY}", "code": "bad"}}
    for response in (answer(said, 400), answer(said)):
        detail = failed(held(response, call=call)).detail or ""
        assert text not in detail and KEY not in detail and "cannot answer" in detail
    phi = asking(data_class=DataClass.PHI)
    assert "cannot" not in (failed(held(answer(said, 400), call=phi)).detail or "")


# -- hosts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "base_url", "url"),
    [
        ("scaleway", None, "https://api.scaleway.ai/v1"),
        ("together", None, "https://api.together.xyz/v1"),
        ("anthropic", None, "https://api.anthropic.com/v1"),
        ("mistral", None, "https://api.mistral.ai/v1"),
        ("fireworks", None, "https://api.fireworks.ai/inference/v1"),
        ("infomaniak", "https://api.infomaniak.com/2/ai/7/openai/v1/", "https://api.infomaniak.com/2/ai/7/openai/v1"),
        ("azure_openai", "https://me.openai.azure.com/", "https://me.openai.azure.com/openai/v1"),
        ("azure_openai", "https://me.openai.azure.com/openai/v1", "https://me.openai.azure.com/openai/v1"),
        ("second-openai", None, "https://api.openai.com/v1"),
    ],
)
def test_a_host_is_known_by_the_name_of_the_instance_or_told(name: str, base_url: str | None, url: str) -> None:
    one = Held(provider(name, base_url=base_url).submit(asking()), [completion({"content": "x"})])
    assert one.requests[0].url == f"{url}/chat/completions"


@pytest.mark.parametrize("name", ["infomaniak", "azure_openai", "vllm"])
def test_a_host_with_an_address_of_the_operators_own_is_never_guessed(name: str) -> None:
    with pytest.raises(ValueError, match=f"providers.{name}.base_url is required, like http"):
        provider(name)


def test_a_known_host_is_not_asked_without_a_key() -> None:
    for name in ("openai", "scaleway"):
        outcome = failed(Held(provider(name, api_key=None).submit(asking()), []))
        assert (outcome.kind, outcome.detail) == (FailedKind.AUTH, f"{name}: set api_key")
    free = Held(
        provider("vllm", api_key=None, base_url="http://10.0.0.5:8000/v1").submit(asking()),
        [completion({"content": "x"})],
    )
    assert "Authorization" not in free.requests[0].headers


def test_headers_of_the_operator_go_along_and_never_in_the_place_of_the_key() -> None:
    headers = {"OpenAI-Organization": "org-1", "Authorization": "Bearer other"}
    one = held(completion({"content": "x"}), headers=headers)
    assert one.requests[0].headers["OpenAI-Organization"] == "org-1"
    assert one.requests[0].headers["Authorization"] == f"Bearer {KEY}"


def test_what_it_does_not_do_is_left_to_another_route() -> None:
    call = asking()
    outcome = provider().submit(type(call)("j", 1, "t", Operation.TEXT_TO_VIDEO, "m", {}))
    assert failed(Held(outcome, [])).kind is FailedKind.GONE
