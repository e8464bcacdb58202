"""Embeddings over OpenAI's API, which most servers share (`wire/providers.md §7.4`)."""

from array import array
from collections.abc import Callable
from typing import Any

from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import Steps
from calotype.providers.base import Call
from calotype.providers.openai_account import Account, given
from calotype.providers.openai_chat import token_usage
from calotype.providers.openai_errors import MALFORMED


def embeddings(
    account: Account, call: Call, cost_of: Callable[[dict[str, Any]], Cost | None], extra: dict[str, Any] | None = None
) -> Steps[Outcome]:
    """Turn texts into vectors: one for each text, in their order."""
    body = {"model": call.upstream_model, **given(call.input), "encoding_format": "float", **(extra or {})}
    answer = yield from account.ask(call, account.post("/embeddings", call, body))
    if isinstance(answer, Failed):
        return answer
    said = answer.json()
    vectors = _vectors(said)
    if vectors is None:
        return Failed(FailedKind.UNKNOWN, MALFORMED, detail=f"HTTP {answer.status}, no vectors", status=answer.status)
    texts = call.input.get("input")
    if len(vectors) != (len(texts) if isinstance(texts, list) else 1):
        return Failed(FailedKind.UPSTREAM, "The provider answered another number of vectors.", status=answer.status)
    usage = said["usage"] if isinstance(said.get("usage"), dict) else {}
    counted = {name: number for name, number in token_usage(usage).items() if name == "input_tokens"}
    upstream_id = answer.headers.get("x-generation-id") or answer.headers.get("x-request-id")
    return Succeeded(
        data={"embeddings": vectors}, usage=counted, cost=cost_of(usage) if usage else None, upstream_id=upstream_id
    )


def _vectors(said: Any) -> list[list[float]] | None:
    """Return the vectors in order of their index; None where the answer is none."""
    items = said.get("data") if isinstance(said, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    ordered = sorted(items, key=lambda item: item["index"] if isinstance(item.get("index"), int) else 0)
    vectors = [item.get("embedding") for item in ordered]
    if not all(is_vector(vector) for vector in vectors):
        return None
    return [vector for vector in vectors if vector is not None]


def is_vector(value: Any) -> bool:
    """Say whether a value is a list of numbers; some servers write null for what is none."""
    try:
        return isinstance(value, list) and len(array("d", value)) > 0
    except (TypeError, OverflowError):
        return False
