"""A running server whose models of every kind run at an emulated OpenAI, and what the tests of the dialect ask it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from calotype.sandbox import media
from calotype.sandbox.openai import OpenAI as Emulator
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

KEY = "sk-secret-4d19ab02cc71"
IN_MICRO, OUT_MICRO = 10, 40
"""What a token costs here."""
SECOND_MICRO = 100
CHARACTER_MICRO = 7
PICTURE_MICRO = 30_000
SPOKEN = "the evening train leaves at half past nine"
"""What the emulator hears in every recording."""

_MESSAGES = """
max_tokens = { "$ref" = "_chat.toml#/max_tokens" }
temperature = { "$ref" = "_chat.toml#/temperature" }
stop = { "$ref" = "_chat.toml#/stop" }
seed = { "$ref" = "_shared.toml#/seed" }
tools = { "$ref" = "_chat.toml#/tools" }
tool_choice = { "$ref" = "_chat.toml#/tool_choice" }
response_format = { "$ref" = "_chat.toml#/response_format" }
n = { type = "integer", minimum = 1, maximum = 4, default = 1 }
"""
_ROUTE = """
[[cards.routes]]
provider = "{provider}"
kind = "openai"
upstream = "{upstream}"
cost_source = "a test"
{more}
"""
_TOKENS = (
    'cost = { unit = "token", input_micro = 10_000_000, micro = 40_000_000, text = ["messages"], max_input = 8_192,'
    ' max_part = 1_000, max_output = 4_096, output_field = "max_tokens" }'
)
_FORMATS = 'response_format = { type = "string", enum = ["mp3", "opus", "aac", "flac", "wav", "pcm"], default = "mp3" }'
_SHAPES = 'response_format = { type = "string", enum = ["json", "text", "srt", "verbose_json", "vtt"] }'


def card(name: str, operation: str, output: str, required: str, properties: str, example: str, route: str) -> str:
    return f"""
[[cards]]
id = "{name}"
title = "{name}"
operation = "{operation}"
output = "{output}"
[cards.input]
required = ["{required}"]
[cards.input.properties]
{properties}
[cards.example]
{example}
{route}
"""


def route(more: str, *, upstream: str = "upstream-model", provider: str = "cloud") -> str:
    return _ROUTE.format(provider=provider, upstream=upstream, more=more)


def _twice(name: str, *words: str) -> list[str]:
    """The card, and the same at the provider with an agreement for PHI."""
    clinic = [word.replace('provider = "cloud"', 'provider = "clinic"') for word in words]
    return [card(name, *words), card(f"{name}-clinic", *clinic)]


def chat_card(
    name: str,
    provider: str = "cloud",
    *,
    more: str = _TOKENS,
    fields: str = _MESSAGES,
    upstream: str = "upstream-model",
) -> str:
    messages = 'messages = { "$ref" = "_chat.toml#/messages" }'
    example = 'messages = [{ role = "user", content = "hi" }]\nmax_tokens = 16'
    return card(
        name, "chat", "text", "messages", messages + fields, example, route(more, upstream=upstream, provider=provider)
    )


_AUDIO = 'audio_url = { "$ref" = "_shared.toml#/audio_url" }\nlanguage = { type = "string" }\n'
_HEARD = f'cost = {{ unit = "second", micro = {SECOND_MICRO}, max = 3600 }}'
_PICTURE = 'prompt = { "$ref" = "_shared.toml#/prompt" }\nn = { "$ref" = "_shared.toml#/n" }\n'
_IMAGES = 'type = "array", minItems = 1, maxItems = 3, items = { type = "string", minLength = 1 }, x-media = "image"'
CARDS = "".join(
    (
        chat_card("test/chat"),
        chat_card("test/chat-whole", more=f"streams = false\n{_TOKENS}"),
        chat_card("test/chat-clinic", "clinic"),
        chat_card("test/chat-down", upstream="down@status=503@retry_after=0"),
        chat_card("test/chat-broken", upstream="broken@error"),
        chat_card("test/chat-plain", fields='\nmax_tokens = { "$ref" = "_chat.toml#/max_tokens" }\n'),
        *_twice(
            "test/vectors", "embeddings", "data", "input",
            'input = { type = ["string", "array"], minLength = 1, minItems = 1, maxItems = 256,'
            ' items = { type = "string", minLength = 1 } }\ndimensions = { type = "integer", minimum = 1 }',
            'input = "hi"',
            route('cost = { unit = "token", input_micro = 10_000_000, text = ["input"], max_input = 65_536,'
                  " max_output = 0 }"),
        ),
        *_twice(
            "test/voice", "text-to-speech", "audio", "input",
            'input = { type = "string", minLength = 1, maxLength = 4096 }\nspeed = { type = "number", minimum = 0.25,'
            f' maximum = 4 }}\nvoice = {{ type = "string", enum = ["alloy", "nova"], default = "alloy" }}\n{_FORMATS}',
            'input = "hi"',
            route(f'cost = {{ unit = "character", micro = {CHARACTER_MICRO}, per = 1 }}'),
        ),
        *_twice(
            "test/ear", "transcription", "text", "audio_url",
            _AUDIO + _SHAPES + '\ntimestamp_granularities = { type = "array",'
            ' items = { type = "string", enum = ["segment", "word"] } }',
            'audio_url = "https://example.com/a.mp3"', route(_HEARD),
        ),
        card(
            "test/ear-short", "transcription", "text", "audio_url", _AUDIO,
            'audio_url = "https://example.com/a.mp3"', route(_HEARD, upstream="gpt-ear"),
        ),
        card(
            "test/edit", "image-to-image", "image", "prompt",
            f'{_PICTURE}image = {{ {_IMAGES} }}\nmask = {{ type = "string", minLength = 1, x-media = "image" }}',
            'prompt = "x"\nimage = ["https://example.com/a.png"]',
            route(f'cost = {{ unit = "image", micro = {PICTURE_MICRO} }}', upstream="gpt-image-2"),
        ),
        card(
            "test/retouch", "image-to-image", "image", "image_url",
            f'{_PICTURE}image_url = {{ "$ref" = "_shared.toml#/image_url" }}', 'image_url = "https://example.com/a.png"',
            route(f'fields = {{ image_url = "image" }}\ncost = {{ unit = "image", micro = {PICTURE_MICRO} }}',
                  upstream="gpt-image-2"),
        ),
    )
)  # fmt: skip


@dataclass
class Kit:
    """One organisation at the server, the emulated upstream, and clients."""

    house: House
    account: Account
    upstream: Emulator

    @cached_property
    def key(self) -> str:
        return self.account.key()

    @cached_property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.house.url}/v1", api_key=self.key)

    @cached_property
    def http(self) -> httpx2.Client:
        return httpx2.Client(
            base_url=f"{self.house.url}/v1", timeout=60, headers={"authorization": f"Bearer {self.key}"}
        )

    def asynchronous(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.house.url}/v1", api_key=self.key)

    def chat(self, text: str, model: str = "test/chat", **more: Any) -> httpx2.Response:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.http.post("/chat/completions", json=body)

    def events(self, path: str, body: dict[str, Any]) -> tuple[httpx2.Response, list[tuple[str, Any]]]:
        """Send a request for a stream and return its answer and its events: name and body, `[DONE]` as text."""
        with self.http.stream("POST", path, json=body) as answer:
            text = b"".join(answer.iter_bytes()).decode()
        return answer, read_events(text)

    def sent(self) -> dict[str, Any]:
        """Return the only body that the upstream was sent."""
        (submit,) = self.upstream.submits
        found: dict[str, Any] = submit.json()
        return found

    @property
    def money(self) -> tuple[int, int]:
        return self.account.spent_micro, self.account.held_micro


def read_events(text: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in lines:
            raw = lines["data"]
            found.append((lines.get("event", ""), raw if raw == "[DONE]" else json.loads(raw)))
    return found


def refused(answer: httpx2.Response, status: int, code: str, param: str | None, *words: str) -> None:
    """Check a refusal in every part that clients rely on."""
    assert answer.status_code == status, answer.text
    problem = answer.json()["error"]
    assert (problem["code"], problem["param"]) == (code, param), problem
    for word in words:
        assert word in problem["message"], (word, problem["message"])
    assert answer.headers["x-phi-cost-micro"] == "0"


@pytest.fixture(scope="session")
def _emulated() -> Iterator[Emulator]:
    emulator = Emulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture(scope="session")
def _kit_house(_emulated: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("kit")
    (folder / "cards").mkdir()
    (folder / "cards" / "kit.toml").write_text(CARDS)
    host = {"kind": "openai", "api_key": KEY, "base_url": f"{_emulated.url}/v1", "read_timeout_s": 5}
    agreement = {"reference": "DPA-7", "expires": (datetime.now(UTC).date() + timedelta(days=30)).isoformat()}
    providers = {"cloud": host, "clinic": {**host, "phi": agreement}}
    with running(folder, providers=providers, margin_bps=0, cards_dir=folder / "cards") as one:
        yield one
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert [path.name for path in written if KEY.encode() in path.read_bytes()] == [], "the key is written nowhere"


@pytest.fixture
def kit(_kit_house: House, _emulated: Emulator) -> Kit:
    """Return the server with an organisation of this test alone, and the emulator with an empty memory."""
    _emulated.reset()
    return Kit(_kit_house, _kit_house.account(), _emulated)


def recording(seconds: float = 4.0) -> bytes:
    return media.wav(seconds)


def picture(side: int = 64) -> bytes:
    return media.png(side, side)
