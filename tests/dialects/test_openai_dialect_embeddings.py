"""Vectors in OpenAI's words: numbers and base64, shorter ones, what is refused and what it costs."""

import base64
import struct
from typing import Any

import pytest
from openai_kit import IN_MICRO, Kit, refused

from calotype.dialects.openai.embeddings import packed

TEXTS = ["good evening", "good night"]


def test_vectors_come_in_the_order_of_the_texts_and_cost_their_tokens(kit: Kit) -> None:
    answer = kit.http.post("/embeddings", json={"model": "test/vectors", "input": TEXTS})
    body = answer.json()
    assert body["object"] == "list" and body["model"] == "test/vectors"
    assert [(one["object"], one["index"], len(one["embedding"])) for one in body["data"]] == [
        ("embedding", 0, 64), ("embedding", 1, 64)
    ]  # fmt: skip
    assert body["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
    assert answer.headers["x-phi-cost-micro"] == str(8 * IN_MICRO) and answer.headers["x-phi-usage"] == "verified"
    assert kit.money == (8 * IN_MICRO, 0)
    assert kit.sent() == {"model": "upstream-model", "input": TEXTS, "encoding_format": "float"}


def test_base64_holds_the_same_numbers(kit: Kit) -> None:
    asked = {"model": "test/vectors", "input": "good evening", "dimensions": 8}
    (plain,) = kit.http.post("/embeddings", json=asked).json()["data"]
    (coded,) = kit.http.post("/embeddings", json={**asked, "encoding_format": "base64"}).json()["data"]
    numbers = struct.unpack("<8f", base64.b64decode(coded["embedding"]))
    assert numbers == pytest.approx(plain["embedding"], abs=1e-6)


def test_numbers_are_packed_in_little_endian() -> None:
    assert base64.b64decode(packed([1.0, -2.5])) == struct.pack("<2f", 1.0, -2.5)


@pytest.mark.client
def test_the_python_package_unpacks_what_it_asked_for(kit: Kit) -> None:
    answer = kit.client.embeddings.create(model="test/vectors", input=TEXTS, dimensions=16)
    assert [len(one.embedding) for one in answer.data] == [16, 16] and answer.usage.prompt_tokens == 8
    assert isinstance(answer.data[0].embedding[0], float)
    plain = kit.client.embeddings.create(model="test/vectors", input=TEXTS[0], encoding_format="float", dimensions=16)
    assert plain.data[0].embedding == pytest.approx(answer.data[0].embedding, abs=1e-6)


@pytest.mark.client
async def test_the_asynchronous_package_does_the_same(kit: Kit) -> None:
    async with kit.asynchronous() as client:
        answer = await client.embeddings.create(model="test/vectors", input="good evening")
    assert len(answer.data[0].embedding) == 64


BODIES: list[tuple[dict[str, Any], int, str, str, str]] = [
    ({}, 400, "invalid_input", "input", "required"),
    ({"input": ""}, 400, "invalid_input", "input", "at least 1"),
    ({"input": []}, 400, "invalid_input", "input", "1 to 256"),
    ({"input": ["x"] * 257}, 400, "invalid_input", "input", "1 to 256"),
    ({"input": ["x", ""]}, 400, "invalid_input", "input[1]", "at least 1"),
    ({"input": [1, 2, 3]}, 400, "invalid_input", "input", "tokens"),
    ({"input": [[1, 2], [3]]}, 400, "invalid_input", "input", "tokens"),
    ({"input": {"text": "x"}}, 400, "invalid_input", "input", "a text or a list"),
    ({"input": "x", "dimensions": 0}, 400, "invalid_input", "dimensions", "at least 1"),
    ({"input": "x", "encoding_format": "hex"}, 400, "invalid_input", "encoding_format", "'hex'"),
    ({"input": "x", "dimension": 3}, 400, "invalid_input", "dimension", "Did you mean dimensions?"),
    ({"input": "x", "model": "test/chat"}, 400, "invalid_input", "model", "chat, not embeddings"),
    ({"input": "x", "model": "test/vector"}, 404, "model_not_found", "model", "test/vectors"),
]


@pytest.mark.parametrize(("body", "status", "code", "param", "word"), BODIES)
def test_a_body_that_does_not_fit_is_refused_by_name_and_costs_nothing(
    kit: Kit, body: dict[str, Any], status: int, code: str, param: str, word: str
) -> None:
    refused(kit.http.post("/embeddings", json={"model": "test/vectors", **body}), status, code, param, word)
    assert kit.upstream.submits == []
    kit.account.untouched()


def test_a_failure_is_told_and_refunded(kit: Kit) -> None:
    answer = kit.http.post("/embeddings", json={"model": "test/vectors", "input": "x @status=502"})
    assert answer.status_code == 502 and kit.money == (0, 0)
