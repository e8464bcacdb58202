"""Chats as streams: every chunk as OpenAI's packages read it, and what becomes of a stream that breaks or is left."""

import json
import socket
import time
from typing import Any

import openai
import pytest
from openai_kit import IN_MICRO, OUT_MICRO, Kit, recording

from calotype.dialects.openai.chat_words import ChatWords
from calotype.jobs.types import JobView, Result

HI: list[Any] = [{"role": "user", "content": "one two three"}]
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "test/chat", "messages": [{"role": "user", "content": text}], "stream": True, **more}


def test_a_stream_is_the_role_the_words_the_reason_the_tokens_and_done(kit: Kit) -> None:
    answer, events = kit.events("/chat/completions", ask("one two", stream_options={"include_usage": True}))
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-phi-tools"] == "supported" and answer.headers["x-calotype-job-id"]
    assert events.pop() == ("", "[DONE]")
    chunks = [body for _, body in events]
    assert {(one["object"], one["model"], one["id"]) for one in chunks} == {
        ("chat.completion.chunk", "test/chat", f"chatcmpl-{answer.headers['x-calotype-job-id'].replace('-', '')}")
    }
    last = chunks.pop()
    assert last["choices"] == [] and last["usage"]["total_tokens"] == 4 + 8
    assert all(one["usage"] is None for one in chunks)
    deltas = [one["choices"][0]["delta"] for one in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""} and deltas[-1] == {}
    assert len(deltas) == 2 + 4 and "".join(one.get("content", "") for one in deltas) == "You said: one two"
    reasons = [one["choices"][0]["finish_reason"] for one in chunks]
    assert reasons[-1] == "stop" and set(reasons[:-1]) == {None}
    assert kit.money == (4 * IN_MICRO + 8 * OUT_MICRO, 0)
    assert kit.sent()["stream"] is True


def test_without_being_asked_no_chunk_speaks_of_tokens(kit: Kit) -> None:
    _, events = kit.events("/chat/completions", ask("hi"))
    assert all("usage" not in body for _, body in events[:-1])


def test_thoughts_and_tools_come_as_they_come(kit: Kit) -> None:
    _, events = kit.events("/chat/completions", ask("look @tool @reasoning", tools=[TOOL]))
    deltas = [body["choices"][0]["delta"] for _, body in events[:-1]]
    assert "".join(one.get("reasoning", "") for one in deltas) == "The question is about words."
    calls = [call for one in deltas for call in one.get("tool_calls", ())]
    assert calls[0]["id"] == "call_1" and calls[0]["function"]["name"] == "look" and len(calls) > 2
    arguments = "".join(call["function"].get("arguments", "") for call in calls)
    assert json.loads(arguments) == {"text": "look @tool @reasoning"}
    assert events[-2][1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_model_that_shows_nothing_on_its_way_says_all_at_once(kit: Kit) -> None:
    body = {**ask("look @tool @reasoning", tools=[TOOL]), "model": "test/chat-whole"}
    _, events = kit.events("/chat/completions", body)
    deltas = [body["choices"][0]["delta"] for _, body in events[:-1]]
    assert len(deltas) == 3 and deltas[1]["reasoning"] == "The question is about words."
    assert deltas[1]["tool_calls"][0]["index"] == 0 and deltas[1]["tool_calls"][0]["function"]["name"] == "look"
    assert "stream" not in kit.sent()


def test_a_joined_request_is_told_all_at_once(kit: Kit) -> None:
    kit.http.headers["idempotency-key"] = "turn-7"
    first = kit.events("/chat/completions", ask("hi"))[1]
    again = kit.events("/chat/completions", ask("hi"))[1]
    told = ["".join(b["choices"][0]["delta"].get("content", "") for _, b in one[:-1]) for one in (first, again)]
    assert told == ["You said: hi"] * 2 and len(again) == 4
    assert len(kit.upstream.submits) == 1


def test_words_are_shown_while_the_model_goes_on(kit: Kit) -> None:
    moments: list[float] = []
    began = time.monotonic()
    with kit.http.stream("POST", "/chat/completions", json=ask("a b c d e f g h i j @drip=1.0")) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                moments.append(time.monotonic() - began)
    assert moments[-1] - moments[0] > 0.4, moments


@pytest.mark.client
def test_the_python_package_streams_plainly_and_with_its_helper(kit: Kit) -> None:
    words = []
    with kit.client.chat.completions.create(
        model="test/chat", messages=HI, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for chunk in stream:
            words += [choice.delta.content or "" for choice in chunk.choices]
            used = chunk.usage
    assert "".join(words) == "You said: one two three" and used is not None and used.completion_tokens == 10
    with kit.client.chat.completions.stream(model="test/chat", messages=HI) as helped:
        kinds = [event.type for event in helped]
        final = helped.get_final_completion()
    assert "content.delta" in kinds and kinds[-1] == "content.done"
    assert final.choices[0].message.content == "You said: one two three"


@pytest.mark.client
async def test_the_asynchronous_package_streams_too(kit: Kit) -> None:
    words = []
    async with kit.asynchronous() as client:
        stream = await client.chat.completions.create(model="test/chat", messages=HI, stream=True)
        words = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(words) == "You said: one two three"


@pytest.mark.client
@pytest.mark.parametrize("words", ["@midstream", "@cut=body"])
def test_a_failure_after_the_first_word_raises_in_the_client_and_is_refunded(kit: Kit, words: str) -> None:
    text = f"one two three four five six {words}"
    seen = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in kit.client.chat.completions.create(
            model="test/chat", messages=[{"role": "user", "content": text}], stream=True
        ):
            seen += [chunk.choices[0].delta.content or ""]
    assert "".join(seen).startswith("You said: one") and caught.value.code == "upstream_failed"
    assert len(kit.upstream.submits) == 1 and kit.money == (0, 0)


def test_an_error_is_the_last_event_and_nothing_says_done(kit: Kit) -> None:
    _, events = kit.events("/chat/completions", ask("one two three four five six @midstream"))
    assert set(events[-1][1]) == {"error"} and events[-1][1]["error"]["code"] == "upstream_failed"
    assert ("", "[DONE]") not in events


def test_a_quiet_line_is_kept_open_and_what_fails_then_is_an_event(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calotype.dialects.openai.runs.KEEP_ALIVE_S", 0.05)
    with kit.http.stream("POST", "/chat/completions", json=ask("hi @latency=0.6")) as answer:
        text = b"".join(answer.iter_bytes()).decode()
    assert text.count(": keep-alive\n\n") >= 3
    assert text.index('"role":"assistant"') < text.index(": keep-alive") < text.index('"You ')
    with kit.http.stream("POST", "/chat/completions", json=ask("hi @latency=0.6 @status=400")) as answer:
        text = b"".join(answer.iter_bytes()).decode()
    assert answer.status_code == 200 and '"code":"invalid_input"' in text.split("\n\n")[-2]


def test_who_hangs_up_does_not_stop_the_job_and_can_come_back_for_it(kit: Kit) -> None:
    body = json.dumps(ask("left alone @drip=1.0")).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {kit.key}\r\n"
    with socket.create_connection(("127.0.0.1", kit.house.port)) as link:
        link.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        received = b""
        while b"You " not in received:
            received += link.recv(4096)
    (ident,) = kit.house.rows("SELECT id FROM job WHERE org_id = :org", org=kit.account.org.id)[0]
    view = kit.house.ask(kit.house.app.engine.wait(ident, 20))
    assert view.problem is None and kit.money[0] > 0 and kit.money[1] == 0
    headers = {"content-type": "application/json"}
    with kit.http.stream("POST", "/chat/completions", content=body, headers=headers) as answer:
        text = b"".join(answer.iter_bytes()).decode()
    assert "You said: left alone" in text.replace('"}', "") and "[DONE]" in text
    assert len(kit.upstream.submits) == 1, "the same request is joined to the answer that broke off"


def test_several_answers_are_all_told_each_with_why_it_ended(kit: Kit) -> None:
    kit.chat("hi")
    (ident,) = kit.house.rows("SELECT id FROM job WHERE org_id = :org", org=kit.account.org.id)[0]
    view: JobView = kit.house.ask(kit.house.app.engine.get(ident, kit.account.org.id))
    message = {"role": "assistant", "content": "b"}
    choices = [
        {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"},
        {"index": 1, "message": message, "finish_reason": "eos"},
    ]
    view.job.result = Result({"choices": choices})
    words = ChatWords(view, catalog=kit.house.app.catalog, counted=False)
    told = [body["choices"][0] for _, body in kit.house.ask(words.ending(view))]
    assert [(one["index"], one["delta"].get("content"), one["finish_reason"]) for one in told] == [
        (0, "a", None), (0, None, "stop"), (1, "b", None), (1, None, "stop")
    ]  # fmt: skip


@pytest.mark.client
def test_speech_and_transcriptions_stream_as_openai_s_do(kit: Kit) -> None:
    _, events = kit.events("/audio/speech", {"model": "test/voice", "input": "good evening", "stream_format": "sse"})
    kinds = [body["type"] for _, body in events]
    assert kinds[-1] == "speech.audio.done" and set(kinds[:-1]) == {"speech.audio.delta"}
    stream = kit.client.audio.transcriptions.create(
        model="test/ear", file=("a.wav", recording()), stream=True, response_format="json"
    )
    told = list(stream)
    assert [event.type for event in told] == ["transcript.text.delta", "transcript.text.done"]
