"""Answers on the wire: assets, jobs, errors, and the headers that ride on them (`wire/products.md C2`)."""

from typing import Any

import msgspec

from calotype.dialects.addresses import UrlOf
from calotype.dialects.content.entries import Entry
from calotype.dialects.content.handles import Handles
from calotype.dialects.headers import Headers, refusal_stamp, stamp_headers, stamp_of, warning_headers
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass
from calotype.kernel.job import JobState
from calotype.kernel.money import MICRO

JSON = (b"content-type", b"application/json")
JOBS = "/v1/content/jobs/"
encode = msgspec.json.Encoder().encode

_STATUS = {Code.INVALID_INPUT: 400, Code.MODERATED: 400}
STATES = {
    JobState.QUEUED: "IN_QUEUE", JobState.SUCCEEDED: "COMPLETED", JobState.FAILED: "FAILED",
    JobState.CANCELED: "FAILED",
}  # fmt: skip


def price_text(micro: int) -> str:
    """Write a price as the catalogue does, without losing a digit: 198_000 → `$0.198/request`."""
    whole, fraction = divmod(micro, MICRO)
    digits = f"{fraction:06d}".rstrip("0")
    return f"${whole}.{digits or '0'}/request"


def error_object(problem: Problem) -> dict[str, Any]:
    """Return a problem in this dialect's words."""
    error: dict[str, Any] = {"code": problem.code.value, "message": problem.message}
    if problem.field is not None:
        error["field"] = problem.field
    return error


def said(problem: Problem, entry: Entry) -> Problem:
    """Return a problem with the buyer's name of its field."""
    field = problem.field
    if field is None or (ours := entry.named(field)) == field:
        return problem
    sentence = problem.message
    if sentence.startswith(f"{field} "):
        sentence = ours + sentence[len(field) :]
    return Problem(
        problem.code, sentence, field=ours, retryable=problem.retryable, retry_after_s=problem.retry_after_s,
        data=problem.data,
    )  # fmt: skip


def refused(problem: Problem, data_class: DataClass, stamp: Headers | None = None) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of a refusal, or of a job's failure where `stamp` tells of the job."""
    status = _STATUS.get(problem.code, problem.status)
    headers: Headers = [JSON, *(stamp_headers(refusal_stamp(data_class)) if stamp is None else stamp)]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(problem.retry_after_s))).encode()))
    if not problem.retryable and status >= 500:
        headers.append((b"x-should-retry", b"false"))
    return status, headers, encode({"error": error_object(problem)})


def asset_answer(view: JobView, entry: Entry, url_of: UrlOf) -> dict[str, Any]:
    """Return what was made; `retailPrice` is the quote of this request, whatever part of it was delivered."""
    assets: list[dict[str, Any]] = []
    for one in view.artifacts:
        asset: dict[str, Any] = {"url": url_of(one)}
        if one.width is not None:
            asset |= {"width": one.width, "height": one.height}
        assets.append(asset | {"contentType": one.content_type})
    body: dict[str, Any] = {"requestId": request_id(view, entry), "assets": assets}
    if entry.count is not None:
        body["requestedCount"] = entry.count
    return body | _sold(view, entry)


def job_answer(view: JobView, entry: Entry, handles: Handles) -> dict[str, Any]:
    """Return a job that was accepted, and where it is polled."""
    return {**place_of(view, handles), **_sold(view, entry)}


def status_answer(view: JobView, entry: Entry, handles: Handles) -> dict[str, Any]:
    """Return how a job stands."""
    body = place_of(view, handles)
    if view.state in (JobState.FAILED, JobState.CANCELED):
        body["error"] = error_object(failure_of(view, entry))
    return body


def place_of(view: JobView, handles: Handles) -> dict[str, Any]:
    """Return the signed id of a job, its state, and the addresses that go by it."""
    handle = handles.of(view.id)
    return {
        "jobId": handle,
        "status": STATES.get(view.state, "IN_PROGRESS"),
        "statusUrl": JOBS + handle,
        "resultUrl": f"{JOBS}{handle}/result",
    }


def failure_of(view: JobView, entry: Entry) -> Problem:
    """Return why a job failed."""
    return said(view.problem or Problem(Code.INTERNAL, "The job ended without a reason."), entry)


def job_headers(view: JobView) -> Headers:
    """Return how a job was routed, what it costs, and its warnings."""
    stamp = stamp_headers(stamp_of(view))
    return [*stamp, (b"x-calotype-job-id", view.id.encode()), *warning_headers(view.warnings)]


def request_id(view: JobView, entry: Entry) -> str:
    """Return the id of a request: what it was, when in milliseconds, and a few random digits."""
    return f"{entry.prefix}-{view.job.created_at_ms}-{view.id[-6:]}"


def _sold(view: JobView, entry: Entry) -> dict[str, Any]:
    price = price_text(view.job.plan.quote.hold_micro)
    return {"provider": view.job.provider, "modelClass": entry.model_class, "retailPrice": price}
