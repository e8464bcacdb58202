"""The status object: every key, every time (`wire/fal.md §0.2, §5.2`)."""

from datetime import UTC, datetime
from typing import Any

from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.endpoints import polled_as
from calotype.dialects.fal.errors import error_type, failure_of, media_of
from calotype.jobs.types import JobRow, JobView
from calotype.kernel.job import JobState

IN_QUEUE, IN_PROGRESS, COMPLETED = "IN_QUEUE", "IN_PROGRESS", "COMPLETED"

WORDS: dict[JobState, str] = {
    JobState.QUEUED: IN_QUEUE,
    JobState.SUBMITTING: IN_PROGRESS,
    JobState.RUNNING: IN_PROGRESS,
    JobState.STORING: IN_PROGRESS,
    JobState.SUCCEEDED: COMPLETED,
    JobState.FAILED: COMPLETED,
    JobState.CANCELED: COMPLETED,
}


async def status_object(desk: Desk, x: FalExchange, view: JobView, *, logs: bool, passed: int = 0) -> dict[str, Any]:
    """Write how a request stands; `passed` lines of its logs are left out, for streams send only new ones."""
    job = view.job
    body: dict[str, Any] = {"status": WORDS[job.state], "request_id": job.id, **addresses(x, job)}
    if job.state is JobState.QUEUED:
        return body | {"queue_position": await desk.positions.ahead(job)}
    body["logs"] = lines_of(desk, view)[passed:] if logs else None
    if job.ended:
        body["metrics"] = metrics(job)
        if job.state is not JobState.SUCCEEDED:
            problem = failure_of(view)
            body |= {"error": problem.message, "error_type": error_type(problem, media_of(view))}
    return body


def status_code(view: JobView) -> int:
    """Return 200 for a request that has ended, 202 before: a client of fal decides by this alone."""
    return 200 if view.job.ended else 202


def addresses(x: FalExchange, job: JobRow) -> dict[str, str]:
    """Return the request's URLs, with the origin that the client itself used."""
    endpoint = polled_as(str(job.plan.wants.get("endpoint") or job.model))
    base = f"{x.bases.queue}/{endpoint}/requests/{job.id}"
    return {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}


def metrics(job: JobRow) -> dict[str, float]:
    """Return how long the work took, in seconds."""
    if job.started_at_ms is None or job.finished_at_ms is None:
        return {}
    return {"inference_time": (job.finished_at_ms - job.started_at_ms) / 1000}


def lines_of(desk: Desk, view: JobView) -> list[dict[str, Any]]:
    """Return all lines of a request's log so far; they tell its progress and never its input."""
    job = view.job
    lines = [_line(job.created_at_ms, f"Accepted for {job.model}")]
    lines += [_line(job.created_at_ms, text, "WARN") for text in job.plan.warnings]
    if job.started_at_ms is not None:
        lines.append(_line(job.started_at_ms, f"Started on {job.provider}"))
    lines += [_line(at_ms, f"{percent} % done") for at_ms, percent in desk.marks.of(view)]
    if job.finished_at_ms is not None:
        if job.state is JobState.SUCCEEDED:
            files = len(view.artifacts)
            lines.append(_line(job.finished_at_ms, f"Finished: {files} file{'' if files == 1 else 's'}"))
        else:
            lines.append(_line(job.finished_at_ms, failure_of(view).message, "ERROR"))
    return lines


def _line(at_ms: int, message: str, level: str = "INFO") -> dict[str, Any]:
    """Write one line in the form that is every client's at once."""
    return {
        "message": message,
        "timestamp": datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="microseconds"),
        "level": level,
        "source": "USER",
        "labels": {"level": level, "source": "USER"},
    }
