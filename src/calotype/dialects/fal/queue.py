"""The queue: submit, status, status stream, result, cancel (`wire/fal.md §5`).

Once a submit is accepted whatever goes wrong is told by the request's status and result, never by another answer to
the submit. Polls are never refused for their number.
"""

from typing import Any

from calotype.dialects.fal.answers import tell, tell_end
from calotype.dialects.fal.asks import ask_of
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.outputs import output_of
from calotype.dialects.fal.starts import begun_in_time, watch_start
from calotype.dialects.fal.statuses import addresses, status_code, status_object
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.job import JobState

STILL_IN_PROGRESS = "Request is still in progress"
"""The exact text by which a client knows that it has to go on waiting."""


async def submit(desk: Desk, x: FalExchange) -> None:
    """Accept a request and answer at once with its addresses."""
    ask = await ask_of(desk, x, x.place.path, at_once=False)
    longest = x.query.get("fal_max_queue_length", "")
    if longest.isascii() and longest.isdigit() and len(longest) < 10:
        waiting = await desk.positions.length(ask.generation.model)
        if waiting > int(longest):
            sentence = f"{waiting} requests wait for {ask.generation.model}, more than fal_max_queue_length allows."
            raise Problem(Code.RATE_LIMITED, sentence, data={"limit": int(longest)})
    ticket = await desk.engine.accept(ask)
    delivered = False
    try:
        view = x.job = JobView(ticket.job)
        watch_start(desk, view)
        body: dict[str, Any] = {
            "status": "IN_QUEUE", "request_id": view.id, **addresses(x, view.job), "gateway_request_id": view.id,
            "queue_position": await _position(desk, view), "logs": None, "metrics": {},
        }  # fmt: skip
        delivered = await tell(x, 200, body)
    finally:
        desk.engine.answered(ticket, delivered=delivered)


async def status(desk: Desk, x: FalExchange) -> None:
    """Answer how a request stands: 202 until it has ended, 200 then."""
    view = await _asked(desk, x, whole=False)
    body = await status_object(desk, x, view, logs=wants_logs(x))
    await tell(x, status_code(view), body)


async def result(desk: Desk, x: FalExchange) -> None:
    """Answer the output of a request, or why there is none."""
    view = await _asked(desk, x)
    if not view.job.ended:
        body = {"detail": STILL_IN_PROGRESS, "message": STILL_IN_PROGRESS}
        await tell(x, 400, body)
        return
    output = await output_of(desk, view, x.bases.media) if view.state is JobState.SUCCEEDED else None
    await tell_end(x, view, output)


async def cancel(desk: Desk, x: FalExchange) -> None:
    """Stop a request: it never begins, or is stopped where its provider can be."""
    caller = await desk.door.enter(x, counted=False)
    try:
        await desk.look(x, x.rest, caller.org.id, whole=False)
        outcome = await desk.engine.cancel(x.rest, caller.org.id)
    except Problem as problem:
        if problem.code is not Code.JOB_NOT_FOUND:
            raise
        await tell(x, 404, {"status": "NOT_FOUND", "success": False, "detail": problem.message})
        return
    x.job = outcome.view
    if outcome.word == "ended":
        await tell(x, 400, {"status": "ALREADY_COMPLETED", "success": False})
    else:
        await tell(x, 202, {"status": "CANCELLATION_REQUESTED", "success": True})


async def _position(desk: Desk, view: JobView) -> int:
    """Count who is ahead; whatever goes wrong with that, the request was accepted and its submit must say so."""
    try:
        return await desk.positions.ahead(view.job)
    except Problem:
        return 0


def wants_logs(x: FalExchange) -> bool:
    """Read `logs`, which JavaScript writes as 1 and Python as true."""
    return x.query.get("logs", "").lower() in ("1", "true")


async def _asked(desk: Desk, x: FalExchange, *, whole: bool = True) -> JobView:
    caller = await desk.door.enter(x, counted=False)
    view = x.job = await begun_in_time(desk, await desk.look(x, x.rest, caller.org.id, whole=whole))
    return view
