"""Embeddings by `:batchEmbedContents`, as Google's own client (3.4.0) asks for them."""

from typing import Any

from calotype.kernel.generation import DataClass
from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import HttpResponse, Steps
from calotype.providers.base import Call
from calotype.providers.google_errors import NOTHING, unreadable
from calotype.providers.google_json import count, table, tables
from calotype.providers.google_wire import EMBED, Line, Target
from calotype.providers.openai_embeddings import is_vector

CHARS_PER_TOKEN = 4
"""What a token is taken for where an answer counts none."""


def embeddings(line: Line, call: Call, target: Target) -> Steps[Outcome]:
    """Ask for the vectors of one text or several, in their order."""
    given = call.input.get("input")
    texts = [given] if isinstance(given, str) else list(given or ())
    answer: HttpResponse = yield line.call(target, EMBED, embed_body(call.input, texts, target.path))
    if not answer.ok:
        return line.refused(answer, tuple(texts), quiet=call.data_class is DataClass.PHI)
    body = answer.json()
    if not isinstance(body, dict):
        return unreadable(answer)
    vectors = [one.get("values") for one in tables(body.get("embeddings"))]
    if len(vectors) != len(texts) or not all(is_vector(vector) for vector in vectors):
        return Failed(FailedKind.UPSTREAM, NOTHING, detail=f"{len(vectors)} vectors for {len(texts)} texts")
    counted = count(table(body.get("usageMetadata")).get("promptTokenCount"))
    tokens = counted or sum(-(-len(text) // CHARS_PER_TOKEN) for text in texts)
    return Succeeded(
        data={"embeddings": vectors}, usage={"input_tokens": tokens},
        cost=Cost(amount=str(tokens), unit="tokens", source="response") if counted else None,
        warnings=() if counted else ("the provider did not count tokens; four characters were taken as one",),
    )  # fmt: skip


def embed_body(fields: dict[str, Any], texts: list[str], path: str) -> dict[str, Any]:
    """Write the body: a request for each text, so that each has a vector of its own."""
    length = {} if fields.get("dimensions") is None else {"outputDimensionality": fields["dimensions"]}
    requests = [{"model": path, "content": {"role": "user", "parts": [{"text": text}]}, **length} for text in texts]
    return {"requests": requests}
