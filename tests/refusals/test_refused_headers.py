"""Rules that a request names in its headers: a value that is none is refused by the header's name in each API."""

import socket

import httpx2
import pytest
from refusal_calls import CALLS, PICTURE, Call, Told, told
from refusal_house import MOST_BYTES, Surface

MODELS = [
    ("openai", "/v1/images/generations", {"model": "test/picture", "prompt": "x"}),
    ("openai", "/v1/videos", {"model": "local/sketch-video", "prompt": "x"}),
    ("openai", "/v1/chat/completions", {"model": "test/chat", "messages": [{"role": "user", "content": "hi"}]}),
    ("openai", "/v1/embeddings", {"model": "test/vectors", "input": "hi"}),
    ("openai", "/v1/audio/speech", {"model": "local/tts", "input": "hi"}),
    ("jobs", "/api/v1/text-to-image/generate", {"prompt": "x"}),
    ("jobs", "/api/v1/phaya-gpt/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    ("jobs", "/api/v1/embedding/create", {"input": "hi"}),
    ("image", "/api/v1/image/generate", {"prompt": "x"}),
    ("image", "/api/v1/image/edit", {"prompt": "x", "image_url": PICTURE}),
    ("image", "/api/v1/video/generate", {"prompt": "x"}),
    ("content", "/v1/content/images/generate", {"prompt": "x"}),
    ("fal", "/fal/queue/test/picture", {"prompt": "x"}),
    ("fal", "/fal/run/test/picture", {"prompt": "x"}),
    ("fal", "/fal/run/test/picture/stream", {"prompt": "x"}),
]
HEADERS: list[tuple[str, str]] = [
    ("X-PHI", "yes"), ("X-PHI", ""), ("X-PHI", "1"), ("X-Region", "Mars"), ("X-Region", "EU,US"), ("X-Region", ""),
    ("X-Model-Tier", "best"), ("X-Calotype-Tags", "team"), ("X-Calotype-Tags", "=x"),
    ("X-Calotype-Tags", ",".join(f"k{n}=v" for n in range(21))), ("X-Calotype-Tags", "k=" + "v" * 201),
    ("X-Calotype-Customer", "c" * 201), ("Idempotency-Key", "k" * 256), ("Idempotency-Key", ""),
    ("X-Webhook-Url", "http://192.168.0.1/"), ("X-Webhook-Url", "ftp://example.com/"), ("X-Webhook-Url", "http://["),
    ("X-Webhook-Url", "nonsense"), ("X-Webhook-Url", "http://localhost:1/x"), ("X-Webhook-Url", "http://[::1]/"),
]  # fmt: skip
BAD = {
    "openai": (400, "invalid_input"), "jobs": (422, "value_error"), "image": (400, "BAD_REQUEST"),
    "content": (400, "invalid_input"), "fal": (400, "bad_request"),
}  # fmt: skip
TWICE = [("X-PHI", "true", "false"), ("X-Region", "EU", "US")]


def refusal(api: str, name: str) -> Told:
    return Told(*BAD[api]) if api == "fal" else Told(*BAD[api], name)


@pytest.mark.parametrize(("api", "path", "body"), MODELS)
def test_a_header_that_does_not_fit_is_refused_by_its_name(
    api: str, path: str, body: dict[str, object], asked: Surface
) -> None:
    for name, value in HEADERS:
        answer = asked.send("POST", path, json=body, headers={name: value})
        assert told(api, answer) == refusal(api, name), (name, value[:40], answer.text)
        assert api != "fal" or answer.json()["error"]["param"] == name
    for name, one, other in TWICE:
        key = asked.account.key()
        headers = [("authorization", f"Bearer {key}"), (name, one), (name.lower(), other)]
        twice: httpx2.Response = asked.http.post(path, json=body, headers=headers)
        assert told(api, twice) == refusal(api, name), twice.text


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(call: Call, asked: Surface) -> None:
    key = asked.account.key() if call.api == "content" else asked.key
    path = call.path.replace("{key}", asked.plain_id)
    head = f"{call.method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nexpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", asked.house.port), timeout=30) as wire:
        wire.sendall(f"{head}content-type: application/json\r\ncontent-length: {MOST_BYTES + 1}\r\n\r\n".encode())
        assert wire.recv(65536).startswith(b"HTTP/1.1 413 ")
