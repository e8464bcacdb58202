"""The emulated OpenAI API beyond pictures, driven by the official package."""

import io
from collections.abc import Iterator
from typing import Any

import av
import openai
import pytest

from calotype.sandbox.openai import OpenAI as Emulator
from calotype.sandbox.serve import on_a_thread

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def _emulator() -> Iterator[Emulator]:
    emulator = Emulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def emulator(_emulator: Emulator) -> Emulator:
    _emulator.reset()
    return _emulator


@pytest.fixture
def client(emulator: Emulator) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{emulator.url}/v1", api_key="sk-sandbox", max_retries=0)


def chat(client: openai.OpenAI, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model="gemma", messages=[{"role": "user", "content": text}], **more)


def test_the_official_client_chats_and_is_told_the_tokens(client: openai.OpenAI, emulator: Emulator) -> None:
    made = chat(client, "good evening @reasoning")
    assert made.choices[0].message.content == "You said: good evening"
    assert made.choices[0].message.reasoning_content
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (6, 18)
    assert chat(client, "one two three", max_tokens=4).choices[0].finish_reason == "length"
    assert len(emulator.submits) == len(emulator.done) == 2


def test_a_stream_says_the_same_in_pieces(client: openai.OpenAI) -> None:
    chunks = list(chat(client, "good evening", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "You said: good evening"
    assert chunks[-1].usage.completion_tokens == 8
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_a_tool_is_called_whole_and_in_pieces(client: openai.OpenAI) -> None:
    (call,) = chat(client, "look @tool", tools=[TOOL]).choices[0].message.tool_calls
    pieces = [
        piece
        for chunk in chat(client, "look @tool", tools=[TOOL], stream=True)
        for piece in chunk.choices[0].delta.tool_calls or ()
    ]
    assert (pieces[0].function.name, pieces[0].id) == (call.function.name, call.id)
    assert "".join(piece.function.arguments for piece in pieces) == call.function.arguments


def test_trouble_is_what_clients_see(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError):
        list(chat(client, "one two three four @midstream", stream=True))
    with pytest.raises(openai.APIConnectionError):
        list(chat(client, "one two three four @cut=body", stream=True))
    with pytest.raises(openai.BadRequestError):
        chat(client, "@moderated")
    with pytest.raises(openai.RateLimitError):
        chat(client, "@code=insufficient_quota")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="unknown", messages=[{"role": "user", "content": "x"}])


def test_vectors_follow_from_the_words(client: openai.OpenAI) -> None:
    made = client.embeddings.create(model="e", input=["a red fox", "the red fox", "tax law"], encoding_format="float")
    one, two, three = (item.embedding for item in made.data)

    def likeness(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert len(one) == 64 and abs(likeness(one, one) - 1) < 1e-3
    assert likeness(one, two) > likeness(one, three)
    again = client.embeddings.create(model="e", input="a red fox", dimensions=16, encoding_format="float")
    assert len(again.data[0].embedding) == 16
    assert made.usage.prompt_tokens == 16


@pytest.mark.parametrize("shape", ["mp3", "opus", "aac", "flac", "wav"])
def test_speech_is_sound_that_decoders_take(client: openai.OpenAI, shape: Any) -> None:
    sound = client.audio.speech.create(model="tts-1", voice="alloy", input="two words", response_format=shape).read()
    with av.open(io.BytesIO(sound), "r") as container:
        assert sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)) == pytest.approx(
            0.8, abs=0.1
        )


def test_bare_samples_are_as_long_as_the_text(client: openai.OpenAI) -> None:
    sound = client.audio.speech.create(model="tts-1", voice="alloy", input="two words", response_format="pcm").read()
    assert len(sound) == pytest.approx(0.8 * 24_000 * 2, rel=0.01)


def test_a_recording_is_heard_with_its_times(client: openai.OpenAI) -> None:
    sound = client.audio.speech.create(model="tts-1", voice="alloy", input="a b c d e", response_format="mp3").read()
    heard = client.audio.transcriptions.create(
        model="whisper-1", file=("a.mp3", sound), response_format="verbose_json",
        timestamp_granularities=["segment", "word"],
    )  # fmt: skip
    assert heard.text == "the evening train leaves at half past nine"
    assert heard.segments is not None and len(heard.segments) == 2
    assert heard.words is not None and heard.words[-1].end == pytest.approx(2.0, abs=0.2)
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(
            model="gpt-transcribe", file=("a.mp3", sound), response_format="verbose_json"
        )


def test_every_host_is_led_here(emulator: Emulator) -> None:
    said = emulator.environment()
    assert said["CALOTYPE_PROVIDERS__INFOMANIAK__BASE_URL"] == said["OPENAI_BASE_URL"] == f"{emulator.url}/v1"
