"""Start timeouts: a request that has not begun in time is taken out of the queue (`wire/fal.md §5.1`)."""

import asyncio
import contextlib

import structlog

from calotype.dialects.fal.desk import Desk
from calotype.jobs.types import JobView
from calotype.kernel.errors import Problem
from calotype.kernel.job import JobState

log = structlog.get_logger(__name__)

_watching: set[asyncio.Task[None]] = set()


def watch_start(desk: Desk, view: JobView) -> None:
    """Take a request out of the queue when its start timeout is over, if it has one and still waits then."""
    limit_s = view.job.plan.wants.get("start_timeout_s")
    if limit_s is None or view.state is not JobState.QUEUED:
        return
    task = asyncio.create_task(_withdraw(desk, view, float(limit_s)))
    _watching.add(task)
    task.add_done_callback(_watching.discard)


async def _withdraw(desk: Desk, view: JobView, limit_s: float) -> None:
    await asyncio.sleep(limit_s)
    with contextlib.suppress(Problem):
        if (await desk.engine.get(view.id, view.job.org_id)).state is JobState.QUEUED:
            await desk.engine.cancel(view.id, view.job.org_id)
            log.info("start_timeout", job_id=view.id)
