"""What OpenAI's package sends again by itself is joined to the first request and charged once."""

import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai_kit import SPOKEN, Kit, recording

from cutter import Cutter

pytestmark = pytest.mark.client
SLOW: Any = [{"role": "user", "content": "one two @latency=0.8"}]


def chat(client: openai.OpenAI) -> str:
    return client.chat.completions.create(model="test/chat", messages=SLOW).choices[0].message.content or ""


def stream(client: openai.OpenAI) -> str:
    chunks = client.chat.completions.create(model="test/chat", messages=SLOW, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def vectors(client: openai.OpenAI) -> str:
    made = client.embeddings.create(model="test/vectors", input="one two @latency=0.8")
    return str(len(made.data[0].embedding))


def speech(client: openai.OpenAI) -> str:
    made = client.audio.speech.create(model="test/voice", input="hi @latency=0.8", voice="alloy", response_format="wav")
    return made.content[:4].decode()


def heard(client: openai.OpenAI) -> str:
    file = ("a.wav", recording())
    return client.audio.transcriptions.create(model="test/ear", file=file, prompt="@latency=0.8").text


@pytest.mark.parametrize(
    ("call", "answer"),
    [(chat, "You said: one two"), (stream, "You said: one two"), (vectors, "64"), (speech, "RIFF"), (heard, SPOKEN)],
)
def test_a_request_whose_answer_was_cut_off_is_answered_by_the_job_it_began(
    kit: Kit, call: Callable[[openai.OpenAI], str], answer: str
) -> None:
    told: list[str] = []
    with Cutter(kit.house.port, cuts=1) as proxy:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{proxy.port}/v1", api_key=kit.key)
        thread = threading.Thread(target=lambda: told.append(call(client)))
        thread.start()
        while not kit.upstream.submits and thread.is_alive():
            proxy.ended.wait(0.005)
        proxy.release.set()
        thread.join(30)
    assert told == [answer] and proxy.connections == 2
    assert len(kit.upstream.submits) == 1 and kit.account.jobs == 1
    assert kit.money[0] > 0 and kit.money[1] == 0


@pytest.mark.parametrize("streamed", [False, True])
def test_a_busy_upstream_is_waited_for_and_the_answer_charged_once(kit: Kit, streamed: bool) -> None:
    words = "hi @status=429 @times=1 @retry_after=0"
    told = kit.chat(words, stream=streamed)
    assert told.status_code == 200 and len(kit.upstream.submits) == 2 and len(kit.upstream.done) == 1
    assert kit.account.jobs == 1 and kit.money[1] == 0
