"""Models of this machine with their weights, for OpenAI's package: words as they come, a recording written down."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from calotype.providers.available import MODELS_FOLDER
from calotype.providers.local.weights import pull
from running import House, running

pytestmark = [pytest.mark.full, pytest.mark.client]
HI: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("home")
    for name in ("smollm2-135m", "whisper-base"):
        pull(name, folder / MODELS_FOLDER)
    with running(folder) as one:
        yield one


@pytest.fixture
def client(home: House) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{home.url}/v1", api_key=home.account().key())


def test_a_chat_shows_its_words_as_they_come(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="local/smollm2-135m", messages=HI, temperature=0, max_tokens=24)
    words = [
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(
            model="local/smollm2-135m", messages=HI, temperature=0, max_tokens=24, stream=True
        )
    ]
    assert "".join(words) == whole.choices[0].message.content and "Paris" in "".join(words)
    assert sum(1 for word in words if word) > 3, "word by word"


def test_parts_of_text_and_a_developer_are_said_in_simpler_words(client: openai.OpenAI) -> None:
    messages: list[Any] = [
        {"role": "developer", "content": "Answer briefly."},
        {"role": "user", "content": [{"type": "text", "text": "Say hello."}]},
    ]
    answer = client.chat.completions.create(model="local/smollm2-135m", messages=messages, max_completion_tokens=8)
    assert answer.choices[0].message.content and answer.usage is not None and answer.usage.completion_tokens <= 8


def test_what_was_spoken_here_is_heard_here(client: openai.OpenAI) -> None:
    said = client.audio.speech.create(model="local/tts", input="The evening train leaves at nine.", voice="alloy")
    heard = client.audio.transcriptions.create(
        model="local/transcribe", file=("a.mp3", said.content), response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )  # fmt: skip
    assert "train" in heard.text and heard.words and heard.segments and heard.language == "en"
