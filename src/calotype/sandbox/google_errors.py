"""How Google words a refusal, and the spellings it takes (`wire/providers.md §3.1, §3.2`)."""

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from calotype.sandbox.base import reply

STATUSES: dict[int, tuple[str, str]] = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "The caller does not have permission."),
    404: ("NOT_FOUND", "This model is no longer available."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    499: ("CANCELLED", "The operation was cancelled."),
    500: ("INTERNAL", "An internal error has occurred. Please retry."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The request timed out. Please try again."),
}
"""Status → Google's word for it and a usual sentence."""
_RPC = "type.googleapis.com/google.rpc."


class Bad(ValueError):  # noqa: N818  (it refuses a request as the upstream does)
    """What is wrong with a request: the answer is a 400, or another status where `status` says so."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def refused(
    status: int,
    message: str | None = None,
    *,
    word: str | None = None,
    details: tuple[dict[str, Any], ...] = (),
    in_list: bool = False,
) -> Response:
    """Answer an error; a streaming call may get it inside a list of one."""
    known, text = STATUSES.get(status, ("UNKNOWN", "As you wished."))
    error: dict[str, Any] = {"code": status, "message": message or text, "status": word or known}
    if details:
        error["details"] = list(details)
    body = {"error": error}
    return reply([body] if in_list else body, status)


def over_quota(retry_after_s: float | None, *, per_day: bool, in_list: bool = False) -> Response:
    """Answer a 429; that it is the day's quota is said in the details alone (§3.2)."""
    period = "Day" if per_day else "Minute"
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": f"GenerateRequestsPer{period}PerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "sandbox"}, "quotaValue": "10",
    }  # fmt: skip
    delay = 33 if retry_after_s is None else retry_after_s
    details: tuple[dict[str, Any], ...] = (
        {"@type": f"{_RPC}QuotaFailure", "violations": [violation]},
        {"@type": f"{_RPC}Help", "links": [{"description": "Rate limits", "url": "https://ai.google.dev/rate-limits"}]},
        {"@type": f"{_RPC}RetryInfo", "retryDelay": f"{delay:g}s"},
    )
    return refused(429, details=details, in_list=in_list)


def key_refusal(request: Request) -> Response | None:
    """Refuse a request without a key that works: `unknown…` is none, `unpaid…` has no billing."""
    key = request.headers.get("x-goog-api-key") or request.query_params.get("key")
    if not key:
        return refused(403, "Method doesn't allow unregistered callers.")
    if key.startswith("unknown"):
        info = {"@type": f"{_RPC}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        return refused(400, "API key not valid. Please pass a valid API key.", details=(info,))
    if key.startswith("unpaid"):
        return refused(400, "Billing is not enabled for this project.", word="FAILED_PRECONDITION")
    return None


def camel(value: Any) -> Any:
    """Return a body with every name in camelCase: both spellings may be mixed in one body (§3.1).

    What callers name themselves (arguments and schemas of functions) stays as it is.
    """
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {_camel(name): item if _camel(name) in _THEIRS else camel(item) for name, item in value.items()}


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


_THEIRS = frozenset({"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"})
