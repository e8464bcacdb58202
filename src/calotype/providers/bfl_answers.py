"""What Black Forest Labs' answers mean: refusals, the ends of tasks, and what they cost (`wire/providers.md §4`)."""

import math
from collections.abc import Iterable, Iterator
from decimal import Decimal, DecimalException
from typing import Any

from calotype.kernel.money import ceil_div
from calotype.kernel.outcome import Cost, Failed, FailedKind, Output
from calotype.kernel.steps import HttpResponse
from calotype.providers.answers import redacted
from calotype.providers.errors import ErrorBody, Meaning, meaning_of

CREDIT_MICRO = 10_000
"""A credit is 0.01 USD (§4.1)."""
BILLED_PIXELS = 1_048_576
"""1024x1024 is sold as one megapixel and reported as 1.05."""
_REPORTED_ROUGHLY = 0.02
NOT_FOUND = "Task not found"

_UNKNOWN = FailedKind.UNKNOWN
_POLICY_IN = "The provider's content policy refused the request."
_POLICY_OUT = "The provider's content policy withheld the result."
_BROKE = "The provider failed while it worked on the request."
_NO_END = "The provider did not say how the request ended."

REFUSALS: tuple[Meaning, ...] = (
    Meaning("401 403", FailedKind.AUTH, "The provider refused our credential."),
    Meaning("402", FailedKind.QUOTA, "The provider's account is out of credit."),
    Meaning("3xx 404 405 410", FailedKind.GONE, "The provider does not have this model."),
    Meaning("408 409", _UNKNOWN, _NO_END),
    Meaning("425 429", FailedKind.RETRY, "The provider limits how many requests it takes at once."),
    Meaning("4xx", FailedKind.INVALID, "The provider refused the input."),
    Meaning("503", FailedKind.RETRY, "The provider cannot take the request now.", late=_UNKNOWN),
    # no idempotency key: a server error may stand for an accepted request (§4.3)
    Meaning("xxx", _UNKNOWN, _NO_END),
)
"""What an answer to a submit means when it is not a 2xx; the first row that fits decides."""

ENDS: dict[str, tuple[FailedKind, str, str]] = {
    "Request Moderated": (FailedKind.MODERATED, _POLICY_IN, "request_moderated"),
    "Content Moderated": (FailedKind.MODERATED, _POLICY_OUT, "content_moderated"),
    "Error": (FailedKind.UPSTREAM, _BROKE, "error"),
    "Failed": (FailedKind.UPSTREAM, _BROKE, "error"),
}
"""Statuses of a task that came to an end without a picture (§4.2); any other word means: still working."""


def refused(answer: HttpResponse, secrets: Iterable[str], fields: dict[str, Any], *, late: bool, quote: bool) -> Failed:
    """Return what a refused submit means; `quote` lets the upstream's text, redacted, into the operator's detail."""
    said = _error(answer)
    kind, message = meaning_of(REFUSALS, answer.status, said, late=late)
    text = said.message if said is not None and quote else ""
    name = said.param if said is not None else ""
    field = "size" if name in ("width", "height") and "size" in fields else name
    return Failed(
        kind,
        message,
        detail=redacted(f"HTTP {answer.status} {text}", secrets),
        status=answer.status,
        field=field if field in fields else None,
    )


def ended(status: str, body: dict[str, Any], secrets: Iterable[str]) -> Failed | None:
    """Return the failure that a task's status stands for; None for a status that is no failure."""
    if status not in ENDS:
        return None
    kind, message, code = ENDS[status]
    details = body.get("details")
    reasons = details.get("Moderation Reasons") if isinstance(details, dict) else None
    words = ", ".join(str(reason) for reason in reasons) if isinstance(reasons, list) else ""
    return Failed(kind, message, detail=redacted(f"{status} {words}".strip(), secrets), code=code)


def pictures(result: Any) -> tuple[Output, ...]:
    """Return what a finished task made: `sample` is an address, several, or an object with one (§4.2)."""
    sample = result.get("sample") if isinstance(result, dict) else None
    listed = sample if isinstance(sample, list) else [sample]
    urls = (one.get("url") if isinstance(one, dict) else one for one in listed)
    return tuple(Output(url=url) for url in urls if isinstance(url, str) and url.startswith(("https://", "http://")))


def billed(said: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return what the answers to accepted submits say about their bill, for the handle; what one leaves out is lost.

    `credits` is their sum as text; `input_megapixels` and `further_megapixels` count as prices do.
    """
    bodies = list(said)
    bill: dict[str, Any] = {}
    costs = [_decimal(body.get("cost")) for body in bodies]
    if costs and None not in costs:
        bill["credits"] = str(sum((cost for cost in costs if cost is not None), Decimal(0)))
    for name, field, free in (("input_megapixels", "input_mp", 0), ("further_megapixels", "output_mp", 1)):
        counts = [_decimal(body.get(field)) for body in bodies]
        if counts and None not in counts:
            bill[name] = sum(max(0, _started(count) - free) for count in counts if count is not None)
    return bill


def cost_of(bill: dict[str, Any]) -> Cost | None:
    """Return the cost that a handle remembers."""
    spent = _decimal(bill.get("credits"))
    if spent is None:
        return None
    return Cost(math.ceil(spent * CREDIT_MICRO), str(spent), "bfl_credit", "response")


def usage_of(bill: dict[str, Any], *, made: int, tasks: int) -> dict[str, int]:
    """Return the measured units that a handle remembers, for as many of its tasks, all alike, as came to a picture."""
    measured = ("input_megapixels", "further_megapixels")
    return {name: ceil_div(int(bill[name]) * made, tasks) for name in measured if name in bill}


def prose(fields: dict[str, Any]) -> Iterator[str]:
    """Return the caller's own words, which an error text may quote."""
    return (value for value in fields.values() if isinstance(value, str) and (" " in value or len(value) > 24))


def _started(megapixels: Decimal) -> int:
    """Return the megapixels as they are sold: reported by the million, rounded, and sold by 1024x1024."""
    return math.ceil(float(megapixels) * 1_000_000 / BILLED_PIXELS - _REPORTED_ROUGHLY)


def _decimal(value: Any) -> Decimal | None:
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except DecimalException:
        return None
    return number if number.is_finite() and 0 <= number < 1_000_000 else None


def _error(answer: HttpResponse) -> ErrorBody | None:
    """Read an error of either published style: FastAPI's `detail`, or `error` with `message` (§4.3)."""
    body = answer.json() if len(answer.body) <= 1 << 20 else None
    if not isinstance(body, dict):
        return None
    detail = body.get("detail")
    if isinstance(detail, list):
        first = next((item for item in detail if isinstance(item, dict)), {})
        loc = first.get("loc")
        field = (
            next((part for part in loc if isinstance(part, str) and part != "body"), "")
            if isinstance(loc, list)
            else ""
        )
        return ErrorBody(_word(first.get("type")), message=_word(first.get("msg")), param=field)
    texts = (_word(body.get(name)) for name in ("detail", "error", "message"))
    return ErrorBody(message=" ".join(text for text in texts if text))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
