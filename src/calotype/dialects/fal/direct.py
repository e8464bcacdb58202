"""Direct calls: run a request and answer its output (`wire/fal.md §6.1`)."""

import asyncio
import time

from calotype.dialects.fal.answers import tell, tell_end
from calotype.dialects.fal.asks import ask_of
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.outputs import output_of
from calotype.dialects.fal.starts import watch_start
from calotype.dialects.sse import hung_up
from calotype.jobs.intake import Ask, Ticket
from calotype.jobs.types import JobView
from calotype.kernel.job import JobState


async def run(desk: Desk, x: FalExchange) -> None:
    """Run a request to its end and answer its output.

    fal's clients send a call again when the connection breaks, without any mark that it is a retry. So a hang-up is
    noted at once, while the work goes on: the same call is then joined to it and not made twice.
    """
    ask = await ask_of(desk, x, x.place.path, at_once=True)
    if ask.wants.get("inline"):
        await _run_inline(desk, x, ask)
        return
    ticket = await desk.engine.accept(ask)
    x.job = JobView(ticket.job)
    watch_start(desk, x.job)
    gone = asyncio.create_task(hung_up(x.receive))
    delivered = False
    try:
        view = await _ended(desk, ticket, gone)
        gone.cancel()
        if view is None:
            await tell(x, 499, {"detail": "The client hung up.", "error_type": "client_disconnected"})
        else:
            delivered = await _tell(desk, x, view)
    finally:
        gone.cancel()
        desk.engine.answered(ticket, delivered=delivered)


async def _run_inline(desk: Desk, x: FalExchange, ask: Ask) -> None:
    """Run a request whose outputs' bytes are answered directly; they may be nowhere else."""
    view, ticket = await desk.engine.run(ask)
    delivered = False
    try:
        delivered = await _tell(desk, x, view)
    finally:
        desk.engine.answered(ticket, delivered=delivered)


async def _tell(desk: Desk, x: FalExchange, view: JobView) -> bool:
    x.job = view
    output = await output_of(desk, view, x.bases.media) if view.state is JobState.SUCCEEDED else None
    return await tell_end(x, view, output)


async def _ended(desk: Desk, ticket: Ticket, gone: "asyncio.Task[None]") -> JobView | None:
    """Wait for the end of a request, None when the caller hung up before."""
    ending = asyncio.create_task(_end_of(desk, ticket))
    await asyncio.wait((ending, gone), return_when=asyncio.FIRST_COMPLETED)
    if ending.done():
        return ending.result()
    ending.cancel()
    return None


async def _end_of(desk: Desk, ticket: Ticket) -> JobView:
    until_s = time.monotonic() + desk.bounds.wait_s
    if ticket.task is not None:
        await asyncio.wait((ticket.task,), timeout=desk.bounds.wait_s)
        if ticket.task.done() and not ticket.task.cancelled() and (view := ticket.task.result()) is not None:
            return view
    return await desk.engine.wait(ticket.job.id, until_s - time.monotonic())
