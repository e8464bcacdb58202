"""Answers on the wire: the envelope, errors in this dialect's words, and the headers (`wire/products.md D5`).

Where D5 pairs a code with a status that pair is kept; what D5 has no word for keeps the house's usual status.
"""

from typing import Any

import msgspec

from calotype.dialects.door import Standing
from calotype.dialects.headers import Headers, refusal_stamp, stamp_headers
from calotype.dialects.image.fields import said
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass

JSON = (b"content-type", b"application/json")
encode = msgspec.json.Encoder().encode

WORDS: dict[Code, tuple[str, int | None]] = {
    Code.INVALID_API_KEY: ("INVALID_API_KEY", 401),
    Code.INSUFFICIENT_CREDITS: ("INSUFFICIENT_CREDITS", None),
    Code.PHI_BLOCKED: ("FORBIDDEN", 403),
    Code.MODEL_NOT_ALLOWED: ("FORBIDDEN", 403),
    Code.FORBIDDEN: ("FORBIDDEN", 403),
    Code.SPEND_CAP_REACHED: ("FORBIDDEN", 403),
    Code.ACCOUNT_LOCKED: ("FORBIDDEN", 403),
    Code.MODEL_NOT_FOUND: ("INVALID_MODEL", 400),
    Code.MODEL_RETIRED: ("MODEL_UNAVAILABLE", None),
    Code.NO_ROUTE: ("MODEL_UNAVAILABLE", None),
    Code.PLANNED: ("MODEL_UNAVAILABLE", None),
    Code.UPSTREAM_FAILED: ("MODEL_UNAVAILABLE", None),
    Code.TIMEOUT: ("MODEL_UNAVAILABLE", None),
    Code.UNAVAILABLE: ("MODEL_UNAVAILABLE", 503),
    Code.INVALID_INPUT: ("BAD_REQUEST", 400),
    Code.MODERATED: ("GUARDRAIL_BLOCKED", 400),
    Code.RATE_LIMITED: ("RATE_LIMIT_EXCEEDED", 429),
    Code.JOB_NOT_FOUND: ("NOT_FOUND", None),
    Code.NOT_FOUND: ("NOT_FOUND", None),
    Code.METHOD_NOT_ALLOWED: ("METHOD_NOT_ALLOWED", None),
    Code.INTERNAL: ("INTERNAL_ERROR", 500),
}
"""D5's word of each code, and the status where D5 names one; a code that is not here is a BAD_REQUEST."""


def error_of(problem: Problem) -> tuple[int, dict[str, Any]]:
    """Return status and error object; `details` says which field it is and what else is known, in the house's code."""
    problem = said(problem)
    word, status = WORDS.get(problem.code, ("BAD_REQUEST", None))
    if problem.code is Code.INVALID_INPUT and problem.data.get("rule") == "required":
        word = "MISSING_REQUIRED_FIELD"
    elif problem.code is Code.INVALID_INPUT and problem.field == "model":
        word = "INVALID_MODEL"
    elif problem.code is Code.INVALID_API_KEY and problem.data.get("missing"):
        word = "UNAUTHORIZED"
    details: dict[str, Any] = {"code": problem.code.value}
    if problem.field is not None:
        details["field"] = problem.field
    details |= {name: value for name, value in problem.data.items() if name != "missing"}
    if problem.retry_after_s is not None:
        details["retryAfter"] = max(1, round(problem.retry_after_s))
    return problem.status if status is None else status, {"code": word, "message": problem.message, "details": details}


def refused(
    problem: Problem, standing: Standing | None, data_class: DataClass, stamp: Headers | None = None
) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of a refusal, or of a job's failure where `stamp` tells of the job."""
    status, error = error_of(problem)
    routed = stamp_headers(refusal_stamp(data_class)) if stamp is None else stamp
    headers: Headers = [JSON, *rate_headers(standing), *routed]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(problem.retry_after_s))).encode()))
    if not problem.retryable and status >= 500:
        headers.append((b"x-should-retry", b"false"))
    return status, headers, encode({"error": error})


def success(data: Any, warnings: tuple[str, ...] = ()) -> bytes:
    """Write the envelope of a success."""
    body: dict[str, Any] = {"success": True, "data": data}
    if warnings:
        body["warnings"] = warnings
    return encode(body)


def rate_headers(standing: Standing | None) -> Headers:
    """Return how a key stands: requests a minute, how many may be sent now, and when all of them may be again."""
    if standing is None:
        return []
    return [
        (b"x-ratelimit-limit", str(standing.limit).encode()),
        (b"x-ratelimit-remaining", str(standing.remaining).encode()),
        (b"x-ratelimit-reset", str(standing.reset_at_s).encode()),
    ]


def usd_number(micro: int) -> float:
    """Write micro-USD as the number of USD; its shortest text is exact."""
    return micro / 1_000_000
