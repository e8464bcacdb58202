"""Answers on the wire: JSON bodies and the headers that ride on every one of them (`wire/fal.md §5, §8`)."""

from typing import Any

import msgspec

from calotype.catalog.prices import Delivered
from calotype.catalog.prices import units as delivered_units
from calotype.dialects.door import data_class_of
from calotype.dialects.fal.desk import FalExchange
from calotype.dialects.fal.errors import allowed, as_sent, failure_of, media_of, refused
from calotype.dialects.headers import Headers, refusal_stamp, stamp_headers, stamp_of, warning_headers
from calotype.jobs.types import JobView
from calotype.kernel.errors import Problem
from calotype.kernel.generation import DataClass
from calotype.kernel.job import JobState

JSON = (b"content-type", b"application/json")

_encode = msgspec.json.Encoder().encode


async def tell(x: FalExchange, status: int, body: Any, more: Headers | None = None) -> bool:
    """Answer with JSON; False when the caller had hung up before."""
    return await x.answer(status, [JSON, *standing(x), *(more or [])], _encode(body))


def standing(x: FalExchange) -> Headers:
    """Return the headers every answer has: the request's id, and how its job was routed where there is one."""
    headers: Headers = [(b"x-fal-request-id", x.request_id.encode())]
    if x.job is None:
        return headers
    return [*headers, *stamp_headers(stamp_of(x.job)), *warning_headers(x.job.warnings)]


async def refuse(x: FalExchange, problem: Problem) -> bool:
    """Answer a problem that stopped the request before there was a job, or that is not the job's own."""
    media = x.card.media_fields if x.card is not None else {}
    found = refused(as_sent(problem, x.names), [x.names.get(name, name) for name in media])
    more = list(found.headers)
    if x.job is None:
        more += stamp_headers(refusal_stamp(_class_asked(x)))
    more += allowed(problem)
    if problem.retry_after_s is not None:
        more.append((b"retry-after", str(max(1, round(problem.retry_after_s))).encode()))
    return await tell(x, found.status, found.body, more)


async def tell_end(x: FalExchange, view: JobView, body: dict[str, Any] | None) -> bool:
    """Answer how a request ended: its output, or the failure in the words of its family."""
    x.job = view
    if body is not None:
        return await tell(x, 200, body, [(b"x-fal-billable-units", units(view))])
    found = refused(failure_of(view), media_of(view))
    return await tell(x, found.status, found.body, [*found.headers, (b"x-fal-billable-units", b"0")])


def units(view: JobView) -> bytes:
    """Count the billable units of a request, as billing events do: what its price is for, as much as was delivered."""
    quote = view.job.plan.quote
    if view.job.state is not JobState.SUCCEEDED:
        return b"0"
    usage = view.job.result.usage if view.job.result is not None else {}
    outputs = len(view.artifacts) or len(view.inline) or max(1, quote.outputs)
    return str(delivered_units(quote, Delivered(outputs, usage))).encode()


def _class_asked(x: FalExchange) -> DataClass:
    try:
        return data_class_of(x)
    except Problem:
        return DataClass.GENERAL
