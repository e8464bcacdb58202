"""Problems in fal's words: the families of error bodies, their statuses and headers (`wire/fal.md §8, §9`).

No permanent refusal answers 408, 409, 429, 502, 503 or 504, for fal's clients send those requests again.
"""

from collections.abc import Collection
from typing import Any

from msgspec import Struct

from calotype.dialects.headers import Headers
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.job import JobState

DOCS = "https://docs.fal.ai/errors#"
MISSING = "missing_parameter"
USER_TIMEOUT = (b"x-fal-request-timeout-type", b"user")
"""With this header neither client sends a request again that came to its end by a 504."""

IN_QUERY = frozenset({"fal_webhook"})
"""Parameters that are not the model's own."""
PHI_SENTENCE = "PHI results are only answered directly and never stored: use a direct call with sync_mode true."
"""What the general sentence says in this dialect's terms."""

TYPES: dict[Code, tuple[int, str]] = {
    Code.INSUFFICIENT_CREDITS: (403, "insufficient_credits"),
    Code.CONFLICT: (400, "bad_request"),
    Code.CANCELED: (499, "client_cancelled"),
    Code.RATE_LIMITED: (429, "rate_limited"),
    Code.UPSTREAM_FAILED: (500, "runner_server_error"),
    Code.UNAVAILABLE: (503, "runner_scheduling_failure"),
    Code.TIMEOUT: (504, "request_timeout"),
    Code.INTERNAL: (500, "internal_error"),
}
"""Status and `error_type` of the codes for which fal has words of its own; other codes keep theirs."""

RULES: dict[str, tuple[str, str | None]] = {
    "required": ("missing", None),
    "minimum": ("greater_than_equal", "ge"),
    "maximum": ("less_than_equal", "le"),
    "exclusiveMinimum": ("greater_than", "gt"),
    "exclusiveMaximum": ("less_than", "lt"),
    "multipleOf": ("multiple_of", "multiple_of"),
    "minItems": ("sequence_too_short", "min_length"),
    "maxItems": ("sequence_too_long", "max_length"),
    "minLength": ("string_too_short", "min_length"),
    "maxLength": ("string_too_long", "max_length"),
    "enum": ("one_of", None),
    "type": ("type_error", None),
}
"""A rule of JSON Schema → fal's (Pydantic's) type and the name of its bound in `ctx`."""


class Refused(Struct, frozen=True):
    """An error as it goes out: the status, the body and what its headers add."""

    status: int
    body: dict[str, Any]
    headers: Headers


def refused(problem: Problem, media: Collection[str] = ()) -> Refused:
    """Put a problem into fal's words; `media` holds the fields that take files."""
    code = problem.code
    if code is Code.PHI_BLOCKED and problem.field == "response_format":
        problem = Problem(code, PHI_SENTENCE, field="sync_mode")
    if code in (Code.INVALID_INPUT, Code.IDEMPOTENCY_MISMATCH, Code.MODERATED):
        in_header = problem.field is not None and (problem.field[:1].isupper() or problem.field == "body")
        if code is Code.INVALID_INPUT and in_header:  # or a body that is no JSON object
            return _platform(problem, 400, "bad_request")
        return _validation(problem, media)
    if code is Code.INVALID_API_KEY:
        return _platform(problem, 401, "unauthorized", "No user found for Key ID and Secret")
    if code is Code.INSUFFICIENT_CREDITS:
        detail = f"User is locked. Reason: Exhausted balance. {problem.message}"
        return _platform(problem, 403, "insufficient_credits", detail)
    if code is Code.MODEL_NOT_FOUND:
        return _platform(problem, 404, code.value, f"Application not found. {problem.message}")
    status, kind = TYPES.get(code, (problem.status, code.value))
    if code is Code.UNAVAILABLE and not problem.retryable:
        status, kind = 500, "internal_error"
    return _platform(problem, status, kind)


def not_offered(method: str, *offered: str) -> Problem:
    """Return the refusal of a method that a path is not for."""
    sentence = f"{method} is not offered here; use {' or '.join(offered)}."
    return Problem(Code.METHOD_NOT_ALLOWED, sentence, data={"allowed": offered})


def allowed(problem: Problem) -> Headers:
    """Return the header that names the methods of a path, for the refusal of another one."""
    methods = problem.data.get("allowed")
    return [] if methods is None else [(b"allow", ", ".join(methods).encode())]


def as_sent(problem: Problem, names: dict[str, str]) -> Problem:
    """Return a problem that names its field as the caller did."""
    field = problem.field or ""
    head = field.partition(".")[0].partition("[")[0]
    if (sent := names.get(head)) is None:
        return problem
    message = sent + problem.message[len(head) :] if problem.message.startswith(head) else problem.message
    return Problem(
        problem.code, message, field=sent + field[len(head) :], retryable=problem.retryable, data=problem.data,
        retry_after_s=problem.retry_after_s,
    )  # fmt: skip


def failure_of(view: JobView) -> Problem:
    """Return why a request did not succeed, in this dialect's terms."""
    if missed_start(view):
        return Problem(Code.TIMEOUT, "The request did not start within its start timeout.", retryable=False)
    problem = view.problem or Problem(Code.INTERNAL, "The request ended without a reason.")
    if problem.code is Code.CANCELED:
        return Problem(Code.CANCELED, "Request cancelled by the client.", retryable=False)
    return as_sent(problem, view.job.plan.wants.get("names") or {})


def media_of(view: JobView) -> list[str]:
    """Return the fields of a request that hold files, as the caller named them."""
    names = view.job.plan.wants.get("names") or {}
    return [names.get(name, name) for name in view.job.plan.media_fields]


def error_type(problem: Problem, media: Collection[str]) -> str:
    """Return the word that a status object and a webhook use for a failure."""
    body = refused(problem, media).body
    kind = body.get("error_type")
    return str(kind if kind is not None else body["detail"][0]["type"])


def missed_start(view: JobView) -> bool:
    """Say whether a request ended because it had not begun by its start timeout (`wire/fal.md §5.1, §6.1`)."""
    limit_s = view.job.plan.wants.get("start_timeout_s")
    job = view.job
    if limit_s is None or job.started_at_ms is not None or job.state is not JobState.CANCELED:
        return False
    return (job.finished_at_ms or 0) - job.created_at_ms >= float(limit_s) * 1000


def _platform(problem: Problem, status: int, kind: str, detail: str | None = None) -> Refused:
    """Write the platform's family: `detail` is a text."""
    text = detail or problem.message
    body: dict[str, Any] = {"detail": text, "error_type": kind, "message": text}
    headers: Headers = [(b"x-fal-error-type", kind.encode())]
    if status == 429:
        body["type"] = kind
        limit = problem.data.get("requests_per_minute") or problem.data.get("limit")
        body["data"] = {} if limit is None else {"limit": limit}
    if problem.code is Code.JOB_NOT_FOUND:
        body["status"] = "NOT_FOUND"
    if problem.code is Code.TIMEOUT:
        headers.append(USER_TIMEOUT)
    return Refused(status, body | _seed(problem, text), headers + _again(problem))


def _validation(problem: Problem, media: Collection[str]) -> Refused:
    """Write the model's family: `detail` is a list; `status`, `message` and `body` are what Dart's client reads."""
    kind, ctx = "value_error", {}
    rule = str(problem.data.get("rule", ""))
    head = (problem.field or "").partition(".")[0].partition("[")[0]
    if problem.code is Code.MODERATED:
        kind = "content_policy_violation"
    elif rule in RULES:
        kind, bound = RULES[rule]
        if bound is not None and "limit" in problem.data:
            ctx = {bound: problem.data["limit"]}
    elif head in media:
        kind = "file_download_error"
    item: dict[str, Any] = {
        "loc": _location(problem), "msg": problem.message, "type": kind, "url": DOCS + kind
    }  # fmt: skip
    if ctx:
        item["ctx"] = ctx
    body = {
        "detail": [item], "status": 422, "message": problem.message, "body": [{"msg": problem.message, "type": kind}]
    }  # fmt: skip
    return Refused(422, body | _seed(problem, problem.message), _again(problem))


def _location(problem: Problem) -> list[str | int]:
    """Return where the fault is, as FastAPI writes it: `images[0].url` becomes `body, images, 0, url`."""
    if problem.code is Code.MODERATED and problem.field is None:
        return ["body", "prompt"]
    if problem.field is not None and problem.field[:1].isupper():
        return ["header", problem.field]
    if problem.field in IN_QUERY:
        return ["query", problem.field]
    parts = (problem.field or "").replace("[", ".").replace("]", "").split(".")
    return ["body", *(int(part) if part.isascii() and part.isdigit() else part for part in parts if part)]


def _seed(problem: Problem, text: str) -> dict[str, Any]:
    """Return the `error` object that stands beside `detail`; its codes are ours but for one (`wire/products.md E1`)."""
    error = {"type": "invalid_request" if problem.status < 500 else "server_error", "message": text}
    error["code"] = MISSING if problem.data.get("rule") == "required" else problem.code.value
    return {"error": error | ({"param": problem.field} if problem.field is not None else {})}


def _again(problem: Problem) -> Headers:
    word = b"true" if problem.retryable else b"false"
    return [(b"x-fal-retryable", word), (b"x-fal-needs-retry", b"1" if problem.retryable else b"0")]
