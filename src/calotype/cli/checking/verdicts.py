"""Judging: what a card must be before it runs, and whether a run did what its card promises."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from calotype.catalog import Card, Catalog, Delivered, Pricing, Quote, Route, captured, cost_of, quote, rates
from calotype.catalog.rules import PriceError
from calotype.catalog.samples import samples
from calotype.cli.checking.cases import Case
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation
from calotype.kernel.job import JobState
from calotype.kernel.money import usd
from calotype.kernel.outcome import Delta

State = Literal["ok", "failed", "skipped"]
FILES = ("image", "video", "audio", "file")
"""Kinds of output that are files; the others are answers."""


class Finding(Struct, frozen=True):
    """What was found about a card, or about one run of it. `why` says what failed or why it was left out."""

    card: str
    state: State
    why: str = ""
    operation: str | None = None
    provider: str | None = None
    upstream: str | None = None
    seconds: float | None = None
    quote_micro: int | None = None
    charged_micro: int | None = None
    outputs: int | None = None
    streamed: bool | None = None


def looked_at(card: Card, pricing: Pricing) -> Finding:
    """Check a card without running it: its example, and a price for every input, the same wherever it is shown."""
    try:
        card.check(card.example)
        for route in card.routes:
            for fault in _faults_of_prices(card, route, pricing):
                return Finding(card.id, "failed", fault, provider=route.provider, upstream=route.upstream)
    except (Problem, PriceError, ValueError) as error:
        return Finding(card.id, "failed", str(error))
    if not card.routes:
        return Finding(card.id, "failed", "it has no route")
    return Finding(card.id, "ok")


def _faults_of_prices(card: Card, route: Route, pricing: Pricing) -> Iterator[str]:
    shown = {rate.price_micro for rate in rates(card, route, pricing)}
    for fields in samples(card.schema, card.price or route.cost, card.example):
        made = quote(card, route, fields, pricing)
        if made.hold_micro < 0 or made.outputs < 1:
            yield f"the price of {fields} is {made.hold_micro} for {made.outputs} outputs"
        cost_of(card, route, fields)
        if not on_the_rate_card(made, shown):
            yield f"the quote's {made.unit_micro} micro-USD a {made.unit} for {fields} is not on the rate card"


def on_the_rate_card(made: Quote, shown: Collection[int]) -> bool:
    """Say whether the rate card shows the price that a quote uses; what costs nothing it need not show."""
    return made.unit_micro in shown or not made.unit_micro


def retired(card: Card, catalog: Catalog) -> Finding:
    """Check that a retired model is refused with what to use instead."""
    try:
        catalog.find(card.id)
    except Problem as problem:
        if problem.code is Code.MODEL_RETIRED and problem.data.get("replacement") == card.replacement:
            return Finding(card.id, "ok", f"retired, use {card.replacement}")
        return Finding(card.id, "failed", f"refused as {problem.code.value}, not as retired with a replacement")
    return Finding(card.id, "failed", "it is retired and was not refused")


def judged(
    case: Case, view: JobView, pricing: Pricing, *, seconds: float, pieces: Sequence[Delta] = (), detail: str = ""
) -> Finding:
    """Say whether a job that ended is what its card promises: the kind, the number and the charge."""
    job = view.job
    fault = next(_faults(case, view, pricing, detail), "") or _fault_of_pieces(view, pieces)
    return Finding(
        case.card.id, "failed" if fault else "ok", fault, operation=case.operation.value, provider=case.route.provider,
        upstream=case.route.upstream, seconds=round(seconds, 2), quote_micro=job.quote_micro,
        charged_micro=job.charged_micro, outputs=len(view.artifacts), streamed=bool(pieces) if case.listen else None,
    )  # fmt: skip


def _faults(case: Case, view: JobView, pricing: Pricing, detail: str) -> Iterator[str]:
    job, card = view.job, case.only
    if job.state is not JobState.SUCCEEDED:
        problem = view.problem
        said = job.state.value if problem is None else f"{problem.code.value}: {problem.message}"
        yield f"{said} ({detail})" if detail else said
        return
    fields = card.check(case.fields).input
    made = quote(card, case.route, fields, pricing)
    if job.quote_micro != made.hold_micro:
        yield f"{usd(job.quote_micro)} was held, but the quote is {usd(made.hold_micro)}"
    yield from _faults_of_output(card, view, made.outputs)
    usage = {} if job.result is None else job.result.usage
    due = captured(made, Delivered(len(view.artifacts) or 1, usage)) if job.plan.metered else 0
    if (job.charged_micro or 0) != due:
        yield f"{usd(job.charged_micro or 0)} was charged, but {usd(due)} is due for what came"
    if not on_the_rate_card(made, {rate.price_micro for rate in rates(card, case.route, pricing)}):
        yield "the rate card shows another price than the quote"
    if job.attempt != 1:
        yield f"it took {job.attempt} attempts ({detail})"


def _faults_of_output(card: Card, view: JobView, wanted: int) -> Iterator[str]:
    result = view.job.result
    data = {} if result is None else result.data
    if card.output not in FILES:
        part = {"chat": "choices", "embeddings": "embeddings", "transcription": "text"}.get(card.operations[0].value)
        if not data or (part is not None and not data.get(part)):
            yield f"the answer has no {part or 'data'}"
        return
    came = len(view.artifacts)
    if came != wanted and not (card.output == "file" and came > wanted) and not _answered(card, data):
        yield f"{came} files came instead of {wanted}"
    for artifact in view.artifacts:
        kind = artifact.content_type
        fits = card.output == "file" or kind.startswith(f"{card.output}/")
        if not (fits or (card.output == "video" and kind == "image/gif")):
            yield f"a file is {kind}, no {card.output}"
        if not artifact.stored or not artifact.size_bytes:
            yield "a file was not stored"


def _fault_of_pieces(view: JobView, pieces: Sequence[Delta]) -> str:
    """Say what is wrong with what was shown while it came: it must be the answer's own text."""
    shown = "".join(str(piece.data.get("content") or "") for piece in pieces if piece.kind == "chat")
    choices = [] if view.job.result is None else view.job.result.data.get("choices") or []
    whole = "".join(str(choice.get("message", {}).get("content") or "") for choice in choices)
    return "" if shown in ("", whole) else "what was shown as it came is not the answer"


def _answered(card: Card, data: dict[str, Any]) -> bool:
    """Say whether the answer may be words alone: a cloned voice is a name, with or without a sample of it."""
    return card.operations[0] is Operation.VOICE_CLONING and bool(data)


def count(findings: Iterable[Finding]) -> dict[str, int]:
    """Return how many there are of each state."""
    counted = {"ok": 0, "failed": 0, "skipped": 0}
    for finding in findings:
        counted[finding.state] += 1
    return counted
