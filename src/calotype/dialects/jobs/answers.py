"""Answers of this dialect: JSON bodies, and refusals as `{"detail": …}` (`wire/products.md B1`)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from calotype.dialects.door import Exchange
from calotype.dialects.headers import Headers, refusal_stamp, stamp_headers, stamp_of, warning_headers
from calotype.dialects.jobs.credits import CreditRate
from calotype.dialects.jobs.shapes import FieldError, JobsError
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass

JSON = (b"content-type", b"application/json")
RULES = {
    "required": "missing", "additionalProperties": "extra_forbidden", "minLength": "string_too_short",
    "maxLength": "string_too_long", "enum": "literal_error", "type": "type_error", "minimum": "greater_than_equal",
    "maximum": "less_than_equal", "minItems": "too_short", "maxItems": "too_long", "pattern": "string_pattern_mismatch",
}  # fmt: skip
"""A schema's rule → the word that FastAPI's validation uses for it."""
LISTED = frozenset({Code.INVALID_INPUT, Code.IDEMPOTENCY_MISMATCH})
"""Refusals whose detail is a list of fields, as FastAPI's is."""
encode = msgspec.json.Encoder(decimal_format="number").encode


async def tell(x: Exchange, body: Any, headers: Headers | None = None) -> bool:
    """Answer 200; say whether it reached the caller."""
    return await x.answer(200, [JSON, *(headers or [])], encode(body))


def job_headers(view: JobView) -> Headers:
    """Return the headers of an answer about a job."""
    return [*stamp_headers(stamp_of(view)), (b"x-calotype-job-id", view.id.encode()), *warning_headers(view.warnings)]


def detail_of(problem: Problem, rate: CreditRate) -> str | list[FieldError]:
    """Return what a refusal says: a list that names the field, or a sentence; money in credits."""
    if problem.code in LISTED and problem.field is not None:
        kind = RULES.get(str(problem.data.get("rule", "")), "value_error")
        return [FieldError(kind, location(problem.field), problem.message)]
    needed, available = (problem.data.get(name) for name in ("needed_micro", "available_micro"))
    if problem.code is Code.INSUFFICIENT_CREDITS and needed is not None and available is not None:
        return f"Not enough credits: {rate.of(needed):f} are needed and {rate.left(available):f} are available."
    return problem.message


def as_sent(problem: Problem, names: Mapping[str, str]) -> Problem:
    """Return a problem that calls its field as the caller does; `names` are the caller's words for the card's."""
    field = problem.field or ""
    head = field.partition(".")[0].partition("[")[0]
    sent = next((name for name, own in names.items() if own == head), None)
    if sent is None:
        return problem
    return Problem(
        problem.code, problem.message.replace(head, sent, 1), field=sent + field[len(head) :],
        retryable=problem.retryable, data=problem.data, retry_after_s=problem.retry_after_s,
    )  # fmt: skip


def location(field: str) -> list[str | int]:
    """Return where a fault is, as FastAPI writes it: `input_urls[0]` becomes `body, input_urls, 0`."""
    if field[:1].isupper():
        return ["header", field]
    if field in ("limit", "cursor"):
        return ["query", field]
    parts = field.replace("[", ".").replace("]", "").split(".")
    found: list[str | int] = [int(part) if part.isascii() and part.isdigit() else part for part in parts if part]
    return found if found == ["body"] else ["body", *found]


def error_answer(problem: Problem, rate: CreditRate, data_class: DataClass) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of a refusal."""
    headers: Headers = [JSON, *stamp_headers(refusal_stamp(data_class))]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(problem.retry_after_s))).encode()))
    if not problem.retryable and (problem.status >= 500 or problem.code is Code.RATE_LIMITED):
        headers.append((b"x-should-retry", b"false"))
    return problem.status, headers, encode(JobsError(detail_of(problem, rate)))


def failure_answer(view: JobView, rate: CreditRate) -> tuple[int, Headers, bytes]:
    """Return the same for a call whose job did not succeed; its hold is already released."""
    problem = view.problem or Problem(Code.INTERNAL, "The job ended without a reason.")
    status, headers, body = error_answer(problem, rate, view.job.data_class)
    kept = [pair for pair in headers if not pair[0].startswith(b"x-phi")]
    return status, kept + job_headers(view), body
