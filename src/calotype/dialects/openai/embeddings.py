"""`POST /embeddings`: texts as vectors, as numbers or as base64 (`wire/providers.md §7.4`)."""

import sys
from array import array
from functools import partial
from typing import Any, Literal

import msgspec
import pybase64

from calotype.dialects.door import Exchange
from calotype.dialects.openai.answers import job_headers, kept_once
from calotype.dialects.openai.desk import Desk
from calotype.dialects.openai.forms import json_body
from calotype.dialects.openai.options import TriedOptions, split
from calotype.dialects.openai.runs import Answer, answer_tried
from calotype.dialects.openai.tries import effort_in, turns
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation

FIELDS = frozenset({"input", "dimensions"})
_encode = msgspec.json.Encoder().encode


class EmbeddingOptions(TriedOptions):
    """The fields of a request for vectors that steer the answer."""

    encoding_format: Literal["float", "base64"] | None = None


class EmbeddingRequest(EmbeddingOptions, kw_only=True):
    """The body of a request for vectors, as documented."""

    input: str | list[str]
    dimensions: int | None = None


async def create_embeddings(desk: Desk, x: Exchange) -> None:
    """Write texts as vectors."""
    caller = await desk.door.enter(x)
    raw, body = await json_body(desk, x)
    options, fields = split(body, EmbeddingOptions, FIELDS)
    given = fields.get("input")
    if isinstance(given, list) and any(isinstance(one, int | list) for one in given):
        sentence = "input is a text or a list of texts; numbers of tokens are not taken, for models count differently."
        raise Problem(Code.INVALID_INPUT, sentence, field="input")
    effort = effort_in(x, body, options)
    ask = desk.ask(
        x, caller, raw, options, Operation.EMBEDDINGS, fields, FIELDS, wants={"inline": True}, effort=effort
    )  # fmt: skip
    asks = turns(desk, ask, effort, lambda _: (Operation.EMBEDDINGS, fields))
    await answer_tried(desk, x, asks, effort, partial(_told, as_text=options.encoding_format == "base64"))


async def _told(view: JobView, *, as_text: bool) -> Answer:
    return job_headers(view), encode(view, as_text=as_text)


def encode(view: JobView, *, as_text: bool) -> bytes:
    """Encode a job that made vectors; as text they are base64 of 32-bit numbers, little endian."""
    result = view.job.result
    vectors = result.data.get("embeddings") if result is not None else None
    if result is None or not isinstance(vectors, list):
        raise kept_once()
    used = result.usage.get("input_tokens", 0)
    body: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": n, "embedding": packed(vector) if as_text else vector}
            for n, vector in enumerate(vectors)
        ],
        "model": view.job.model,
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }
    if view.warnings:
        body["warnings"] = view.warnings
    return _encode(body)


def packed(vector: list[float]) -> str:
    """Write a vector as base64."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return pybase64.b64encode(numbers.tobytes()).decode("ascii")
