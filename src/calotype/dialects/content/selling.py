"""The calls that make something, and the polls of what is being made: polls are free (`wire/products.md C2, C3`)."""

from calotype.dialects.content.answers import (
    JSON,
    asset_answer,
    encode,
    failure_of,
    job_answer,
    job_headers,
    refused,
    said,
    status_answer,
)
from calotype.dialects.content.desk import Desk
from calotype.dialects.content.entries import Entry
from calotype.dialects.door import Exchange, json_object
from calotype.jobs.intake import Ask
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.job import JobState

POLL_AFTER_S = b"3"


async def sell(desk: Desk, x: Exchange, entry: Entry) -> None:
    """Make what an entry sells."""
    caller = await desk.buyer(x, entry)
    kind = x.headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "Send application/json.", field="Content-Type")
    raw = await desk.door.body(x)
    given = json_object(raw)
    told_to = given.pop("webhook_url", None)
    if told_to is not None and not isinstance(told_to, str):
        raise Problem(Code.INVALID_INPUT, "webhook_url is an address.", field="webhook_url")
    ask = desk.ask(x, caller, raw, entry, given, entry.schema.check(given, entry.slug), told_to)
    try:
        await (_at_once if entry.answers == "assets" else _begun)(desk, x, entry, ask)
    except Problem as problem:
        raise said(problem, entry) from None


async def _at_once(desk: Desk, x: Exchange, entry: Entry, ask: Ask) -> None:
    view, ticket = await desk.engine.run(ask)
    delivered = False
    try:
        delivered = await _tell_end(desk, x, view, entry)
    finally:
        desk.engine.answered(ticket, delivered=delivered)


async def _begun(desk: Desk, x: Exchange, entry: Entry, ask: Ask) -> None:
    ticket = await desk.engine.accept(ask)
    delivered = False
    try:
        view = await desk.engine.get(ticket.job.id, ask.org.id) if ticket.joined else JobView(ticket.job)
        headers = [JSON, *job_headers(view), (b"retry-after", POLL_AFTER_S)]
        delivered = await x.answer(202, headers, encode(job_answer(view, entry, desk.handles)))
    finally:
        desk.engine.answered(ticket, delivered=delivered)


async def get_job(desk: Desk, x: Exchange) -> None:
    """Answer how a job stands; its signed id is all that is asked for."""
    view, entry = await desk.job_of(x.rest)
    await x.answer(200, _polled(view), encode(status_answer(view, entry, desk.handles)))


async def get_result(desk: Desk, x: Exchange) -> None:
    """Answer what a job made: 202 with its state while it is made."""
    view, entry = await desk.job_of(x.rest)
    if not view.job.ended:
        await x.answer(202, _polled(view), encode(status_answer(view, entry, desk.handles)))
        return
    await _tell_end(desk, x, view, entry)


async def _tell_end(desk: Desk, x: Exchange, view: JobView, entry: Entry) -> bool:
    if view.state is not JobState.SUCCEEDED:
        return await x.answer(*refused(failure_of(view, entry), view.job.data_class, job_headers(view)))
    if not view.artifacts:
        raise Problem(Code.GONE, "The result was kept for its time and is gone; send a new request.", field="jobId")
    body = encode(asset_answer(view, entry, desk.addresses.url_of(x)))
    return await x.answer(200, [JSON, *job_headers(view), (b"cache-control", b"no-store")], body)


def _polled(view: JobView) -> list[tuple[bytes, bytes]]:
    headers = [JSON, *job_headers(view), (b"cache-control", b"no-store")]
    return headers if view.job.ended else [*headers, (b"retry-after", POLL_AFTER_S)]
