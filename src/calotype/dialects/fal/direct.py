"""Direct calls: run a request and answer its output (`wire/fal.md §6.1`)."""

import asyncio

from calotype.dialects.fal.answers import tell_end
from calotype.dialects.fal.asks import ask_of
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.outputs import output_of
from calotype.dialects.fal.starts import watch_start
from calotype.jobs.engine import Ask, Ticket
from calotype.jobs.types import JobView
from calotype.kernel.errors import Problem
from calotype.kernel.job import JobState


async def run(desk: Desk, x: FalExchange) -> None:
    """Run a request to its end and answer its output."""
    ask = await ask_of(desk, x, x.place.path, at_once=True)
    try:
        view, ticket = await (_timed(desk, ask) if "start_timeout_s" in ask.wants else desk.engine.run(ask))
    except Problem as problem:
        if "job_id" in problem.data:  # it goes on: the answer's request id leads to it
            x.job = await desk.engine.get(problem.data["job_id"], ask.org.id)
        raise
    x.job = view
    delivered = False
    try:
        output = await output_of(desk, view, x.bases.media) if view.state is JobState.SUCCEEDED else None
        delivered = await tell_end(x, view, output)
    finally:
        desk.engine.answered(ticket, delivered=delivered)


async def _timed(desk: Desk, ask: Ask) -> tuple[JobView, Ticket]:
    """Run a request that is given up when it has not begun in time."""
    ticket = await desk.engine.accept(ask)
    watch_start(desk, JobView(ticket.job))
    if ticket.task is not None:
        await asyncio.wait((ticket.task,), timeout=desk.bounds.wait_s)
        if ticket.task.done() and not ticket.task.cancelled() and (view := ticket.task.result()) is not None:
            return view, ticket
    return await desk.engine.wait(ticket.job.id, desk.bounds.wait_s), ticket
