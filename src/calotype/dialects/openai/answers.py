"""Answers in OpenAI's words: bodies, error bodies and the headers that ride on every one of them."""

from typing import Any

import msgspec

from calotype.dialects.headers import Headers, refusal_stamp, stamp_headers, stamp_of, warning_headers
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.routing import Stamp

JSON = (b"content-type", b"application/json")

_encode = msgspec.json.Encoder().encode

STATUS: dict[Code, int] = {Code.INVALID_INPUT: 400, Code.MODERATED: 400}
"""Where this dialect's status differs from the usual one of a code."""

_TYPES: dict[int, str] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}
_RETRIED = frozenset({408, 409, 429})
"""Statuses below 500 that OpenAI's clients send again for by themselves (`wire/providers.md §7.1`)."""


def error_status(problem: Problem) -> int:
    """Return the HTTP status of a problem in this dialect."""
    return STATUS.get(problem.code, problem.status)


def error_object(problem: Problem) -> dict[str, Any]:
    """Return OpenAI's error object; `data` carries facts such as needed and available micro-USD."""
    status = error_status(problem)
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    error: dict[str, Any] = {
        "message": problem.message, "type": kind, "code": problem.code.value, "param": problem.field,
    }  # fmt: skip
    if problem.data:
        error["data"] = problem.data
    return error


def error_answer(problem: Problem, stamp: Stamp) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of a refusal."""
    headers: Headers = [JSON, *stamp_headers(stamp)]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(problem.retry_after_s))).encode()))
        headers.append((b"retry-after-ms", str(max(1, int(problem.retry_after_s * 1000))).encode()))
    status = error_status(problem)
    if not problem.retryable and (status >= 500 or status in _RETRIED):
        headers.append((b"x-should-retry", b"false"))
    return status, headers, _encode({"error": error_object(problem)})


def job_headers(view: JobView, kind: tuple[bytes, bytes] = JSON) -> Headers:
    """Return the headers of an answer that carries a job; `kind` is its content type."""
    stamp = stamp_headers(stamp_of(view))
    return [kind, *stamp, (b"x-calotype-job-id", view.id.encode()), *warning_headers(view.warnings)]


def kept_once() -> Problem:
    """Return the refusal of a result that was answered directly and is stored nowhere."""
    sentence = "This result was answered once and is not kept; send a new request."
    return Problem(Code.GONE, sentence, retryable=False)


def failure_answer(view: JobView) -> tuple[int, Headers, bytes]:
    """Return status, headers and body for a job that did not succeed; its hold is already released."""
    problem = view.problem or Problem(Code.INTERNAL, "The job ended without a reason.")
    status, headers, body = error_answer(problem, refusal_stamp(view.job.data_class))
    kept = [pair for pair in headers if not pair[0].startswith(b"x-phi") and pair != JSON]
    return status, job_headers(view) + kept, body
