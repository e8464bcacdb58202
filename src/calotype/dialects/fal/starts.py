"""Start timeouts: a request that has not begun in time is taken out of the queue (`wire/fal.md §5.1`).

A timer does it in the process that accepted the request; should that one be gone, the next look at the request does.
"""

import asyncio

import structlog

from calotype.dialects.fal.desk import Desk
from calotype.jobs.types import JobView
from calotype.kernel.errors import Problem
from calotype.kernel.job import JobState

log = structlog.get_logger(__name__)


def watch_start(desk: Desk, view: JobView) -> None:
    """Take a request out of the queue when its start timeout is over, if it has one and still waits then."""
    if _left_s(desk, view) is not None:
        task = asyncio.create_task(_withdraw_later(desk, view))
        desk.timers.add(task)
        task.add_done_callback(desk.timers.discard)


async def begun_in_time(desk: Desk, view: JobView) -> JobView:
    """Return a request as it stands, withdrawn first when its start timeout is over."""
    left_s = _left_s(desk, view)
    if left_s is None or left_s > 0:
        return view
    return await _withdraw(desk, view)


def _left_s(desk: Desk, view: JobView) -> float | None:
    limit_s = view.job.plan.wants.get("start_timeout_s")
    if limit_s is None or view.state is not JobState.QUEUED:
        return None
    return float(limit_s) - (desk.now_ms() - view.job.created_at_ms) / 1000


async def _withdraw_later(desk: Desk, view: JobView) -> None:
    left_s = _left_s(desk, view)
    while left_s is not None and left_s > 0:  # again and again: a busy loop's timers ring some milliseconds early
        await asyncio.sleep(left_s)
        left_s = _left_s(desk, view)
    try:
        now = await desk.engine.get(view.id, view.job.org_id)
        if now.state is JobState.QUEUED:
            await _withdraw(desk, now)
    except Problem as problem:
        log.warning("start_timeout_failed", job_id=view.id, code=problem.code.value)


async def _withdraw(desk: Desk, view: JobView) -> JobView:
    log.info("start_timeout", job_id=view.id)
    return (await desk.engine.cancel(view.id, view.job.org_id)).view
