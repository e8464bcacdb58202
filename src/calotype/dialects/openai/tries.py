"""How hard a request is tried: other models to fall back on, retries, a time limit, answers from before.

Chats, vectors and pictures take these wishes (`wire/products.md D4`); no other call does.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from calotype.catalog import Card
from calotype.dialects.door import Exchange
from calotype.dialects.effort import FIELDS, NOT_OFFERED, Effort, effort_of, not_offered
from calotype.dialects.openai.desk import Desk
from calotype.dialects.openai.options import TriedOptions
from calotype.jobs.intake import Ask
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Generation, Operation
from calotype.routing.plan import AUTO

Fitted = Callable[[Card | None], tuple[Operation, dict[str, Any]]]
"""What a request asks of a model, in the fields that the model takes."""


def effort_in(x: Exchange, body: Mapping[str, Any], options: TriedOptions) -> Effort:
    """Read the wishes of a request, from its fields or its headers.

    Raises:
        Problem: `invalid_input` naming the field or header, also for what a gateway may offer and this one does not.

    """
    for name in NOT_OFFERED:
        if body.get(name):
            raise not_offered(name)
    if body.get("load_balance"):
        sentence = "load_balance is not offered by this server: routes are ordered by their price."
        raise Problem(Code.INVALID_INPUT, sentence, field="load_balance")
    return effort_of(x.headers, {name: getattr(options, name) for name in FIELDS})


def idle_in_streams(effort: Effort) -> tuple[str, ...]:
    """Return a warning about the wish that a stream does not fulfil."""
    return ("X-Cache-TTL has no effect on streams",) if effort.cache_ttl_s is not None else ()


def turns(desk: Desk, ask: Ask, effort: Effort, fitted: Fitted) -> list[Ask]:
    """Return the request, and the same for each model to fall back on; what that one does not take is left out.

    Raises:
        Problem: naming the model that does not exist, or that the request does not fit.

    """
    asks = [ask]
    for n, model in enumerate(effort.fallback):
        try:
            operation, fields = fitted(None if model == AUTO else desk.catalog.find(model))
        except Problem as problem:
            raise Problem(problem.code, problem.message, field=f"fallback.{n}", data=problem.data) from None
        asks.append(
            replace(
                ask, generation=Generation(operation, model, fields), operation=operation,
                known_fields=ask.known_fields | fields.keys(),
            )
        )  # fmt: skip
    return asks
