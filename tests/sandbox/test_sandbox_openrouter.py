"""The emulated OpenRouter: its traps as the official OpenAI package sees them, then over plain HTTP."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from calotype.sandbox import media
from calotype.sandbox.openrouter import COMMENT, OpenRouter
from calotype.sandbox.serve import on_a_thread


@pytest.fixture(scope="module")
def _emulator() -> Iterator[OpenRouter]:
    emulator = OpenRouter()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def emulator(_emulator: OpenRouter) -> OpenRouter:
    _emulator.reset()
    return _emulator


@pytest.fixture
def http(emulator: OpenRouter) -> Iterator[httpx2.Client]:
    headers = {"Authorization": "Bearer sk-or-sandbox"}
    with httpx2.Client(base_url=f"{emulator.url}/api/v1", headers=headers) as client:
        yield client


@pytest.fixture
def client(emulator: OpenRouter) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{emulator.url}/api/v1", api_key="sk-or-sandbox", max_retries=0)


def chat(client: openai.OpenAI, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model="a/b", messages=[{"role": "user", "content": text}], **more)


def test_a_chat_says_what_it_cost(client: openai.OpenAI, emulator: OpenRouter) -> None:
    made = chat(client, "good evening")
    assert made.usage.cost == emulator.bills[made.id] > 0
    chunks = list(chat(client, "good evening", stream=True))
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "You said: good evening"
    )
    assert chunks[-1].usage.cost == made.usage.cost
    paid = chat(client, "@byok x").usage
    assert paid.cost < paid.cost_details["upstream_inference_cost"]


def test_comments_stand_between_the_events_of_a_stream(http: httpx2.Client) -> None:
    body = {"model": "a/b", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    text = http.post("/chat/completions", json=body).text
    assert text.startswith(f": {COMMENT}\n\ndata: ") and text.endswith("data: [DONE]\n\n")


def test_errors_come_inside_good_answers(client: openai.OpenAI, http: httpx2.Client) -> None:
    body = {"model": "a/b", "messages": [{"role": "user", "content": "@error"}]}
    answer = http.post("/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, 502)
    with pytest.raises(openai.APIError, match="broke off"):
        list(chat(client, "one two three four @midstream", stream=True))


@pytest.mark.parametrize(
    ("text", "status", "metadata"),
    [
        ("@moderated", 403, "reasons"),
        ("@inflight", 402, "limit_source"),
        ("@code=402", 402, None),
        ("@code=529", 529, None),
    ],
)
def test_refusals_carry_their_metadata(http: httpx2.Client, text: str, status: int, metadata: str | None) -> None:
    answer = http.post("/chat/completions", json={"model": "a/b", "messages": [{"role": "user", "content": text}]})
    assert answer.status_code == answer.json()["error"]["code"] == status
    assert next(iter(answer.json()["error"].get("metadata", {None: 0}))) == metadata
    assert ("retry-after" in answer.headers) == (text == "@inflight")


def test_keys_are_known_refused_or_empty(http: httpx2.Client) -> None:
    def status(key: str) -> int:
        return http.get("/credits", headers={"Authorization": f"Bearer {key}"}).status_code

    assert [status(key) for key in ("sk-or-x", "sk-or-unknown", "sk-or-empty", "sk-x")] == [200, 401, 402, 401]


def test_a_generations_bill_is_late(http: httpx2.Client) -> None:
    made = http.post("/audio/speech", json={"model": "a/b", "input": "two words", "voice": "x"})
    assert made.headers["content-type"] == "audio/mpeg"
    path = f"/generation?id={made.headers['x-generation-id']}"
    assert http.get(path).status_code == 404
    assert http.get(path).json()["data"]["total_cost"] == pytest.approx(9 * 0.000015)
    assert http.get("/credits").json()["data"]["total_usage"] > 0
    assert http.get("/key").json()["data"]["usage"] > 0


def test_pictures_vectors_and_recordings(http: httpx2.Client) -> None:
    made = http.post("/images", json={"model": "a/b", "prompt": "x", "n": 2, "size": "64x32"}).json()
    assert base64.b64decode(made["data"][1]["b64_json"]) == media.png(64, 32, "x-1")
    assert made["usage"]["cost"] == 0.08
    assert http.post("/embeddings", json={"model": "a/b", "input": "x"}).json()["usage"]["cost"] > 0
    sound = {"data": base64.b64encode(media.wav(2.0)).decode(), "format": "wav"}
    heard = http.post("/audio/transcriptions", json={"model": "a/b", "input_audio": sound}).json()
    assert heard["usage"] == {"seconds": 2, "cost": 0.0002} and heard["text"]


def test_a_video_is_polled_and_fetched_signed_or_with_the_key(http: httpx2.Client) -> None:
    for prompt, name in (("waves", "urls"), ("waves @unsigned", "unsigned_urls")):
        made = http.post("/videos", json={"model": "a/b", "prompt": prompt, "duration": 1})
        assert made.status_code == 202
        path = f"/videos/{made.json()['id']}"
        seen = [http.get(path).json() for _ in range(3)]
        assert [one["status"] for one in seen] == ["pending", "in_progress", "completed"]
        (url,) = seen[-1][name]
        assert httpx2.get(url).status_code == (200 if name == "urls" else 401)
        assert http.get(url).status_code == (400 if name == "urls" else 200)


def test_the_list_of_models_has_prices(http: httpx2.Client) -> None:
    listed = {model["id"]: model for model in http.get("/models").json()["data"]}
    assert listed["openrouter/auto"]["pricing"]["prompt"] == "-1"
    assert float(listed["google/gemini-3-flash-preview"]["pricing"]["prompt"]) == 5e-7
