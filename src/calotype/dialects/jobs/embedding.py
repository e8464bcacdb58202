"""Texts as vectors, answered at once and priced by tokens (`wire/products.md B3`)."""

from msgspec import Struct

from calotype.dialects.door import Exchange
from calotype.dialects.jobs.answers import failure_answer, job_headers, tell
from calotype.dialects.jobs.chat_words import kept_once
from calotype.dialects.jobs.credits import Amount, CreditRate
from calotype.dialects.jobs.desk import Desk
from calotype.dialects.jobs.facts import EMBEDDING_MODEL
from calotype.jobs.types import JobView
from calotype.kernel.generation import Operation
from calotype.kernel.job import JobState

FIELDS = frozenset({"input"})


class JobsEmbeddingRequest(Struct, kw_only=True):
    """The body of a request for vectors, as documented."""

    input: str | list[str]
    model: str = EMBEDDING_MODEL
    webhook_url: str | None = None


class JobsVector(Struct):
    """The vector of one text."""

    object: str
    index: int
    embedding: list[float]


class JobsEmbeddingUsage(Struct):
    """Tokens of texts."""

    prompt_tokens: int
    total_tokens: int


class JobsEmbeddingAnswer(Struct, omit_defaults=True):
    """Vectors, in the order of the texts."""

    success: bool
    object: str
    data: list[JobsVector]
    model: str
    usage: JobsEmbeddingUsage
    credits_used: Amount
    warnings: tuple[str, ...] = ()


async def embed(desk: Desk, x: Exchange) -> None:
    """Write texts as vectors."""
    caller = await desk.enter(x)
    raw, body = await desk.body(x)
    model = desk.model_of(body, EMBEDDING_MODEL)
    ask = desk.ask_now(x, caller, raw, model, Operation.EMBEDDINGS, body, FIELDS)
    view, ticket = await desk.engine.run(ask)
    delivered = False
    try:
        if view.state is JobState.SUCCEEDED:
            delivered = await tell(x, embedding_answer(view, desk.rate), job_headers(view))
        else:
            delivered = await x.answer(*failure_answer(view, desk.rate))
    finally:
        desk.engine.answered(ticket, delivered=delivered)


def embedding_answer(view: JobView, rate: CreditRate) -> JobsEmbeddingAnswer:
    """Return the vectors.

    Raises:
        Problem: `gone` for those that were answered directly and are kept nowhere.

    """
    result = view.job.result
    vectors = result.data.get("embeddings") if result is not None else None
    if result is None or not isinstance(vectors, list):
        raise kept_once()
    asked = result.usage.get("input_tokens", 0)
    return JobsEmbeddingAnswer(
        True, "list", [JobsVector("embedding", n, one) for n, one in enumerate(vectors)], view.job.model,
        JobsEmbeddingUsage(asked, asked), rate.used(view.job), view.warnings,
    )  # fmt: skip
