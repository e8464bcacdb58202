"""What Google's refusals mean, also those inside an answer with status 200 (`wire/providers.md §3.2, §3.3, §3.6`)."""

import re
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from calotype.kernel.outcome import Failed, FailedKind
from calotype.kernel.steps import HttpResponse
from calotype.providers.answers import MAX_RETRY_AFTER_S, redacted
from calotype.providers.errors import MAX_BODY_BYTES, ErrorBody, Meaning, meaning_of
from calotype.providers.google_json import table, tables, word

POLICY = "The provider's content policy refused the request."
UNREADABLE = "The provider's answer could not be read."
NOTHING = "The provider delivered nothing."
_RETRY, _UNKNOWN = FailedKind.RETRY, FailedKind.UNKNOWN
_NO_CREDENTIAL = "The provider refused our credential."
_NO_CREDIT = "The provider's account is out of quota."
_NO_MODEL = "The provider does not have this model."
_NO_END = "The provider did not say how the request ended."
_TRANSIENT = "The provider cannot take the request at the moment."

MODERATED, PER_DAY, BILLING, ELSEWHERE = "moderated", "per_day", "billing", "interactions_only"
PRECONDITION = "failed_precondition"
"""Words of ours for what Google says only in details or in prose; they stand where its own reason is missing."""

MEANINGS: tuple[Meaning, ...] = (
    Meaning("4xx", FailedKind.MODERATED, POLICY, frozenset({MODERATED})),
    Meaning("4xx", FailedKind.AUTH, _NO_CREDENTIAL, frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED"})),
    Meaning("4xx", FailedKind.QUOTA, _NO_CREDIT, frozenset({PER_DAY, BILLING})),
    Meaning("400", FailedKind.GONE, "The provider does not offer this model here.", frozenset({ELSEWHERE})),
    Meaning("400", FailedKind.AUTH, "The provider does not serve our account.", frozenset({PRECONDITION})),
    Meaning("401 403", FailedKind.AUTH, _NO_CREDENTIAL),
    Meaning("402", FailedKind.QUOTA, _NO_CREDIT),
    Meaning("3xx 404 405 410", FailedKind.GONE, _NO_MODEL),
    Meaning("408 409 499", _UNKNOWN, _NO_END),
    Meaning("425 429", _RETRY, "The provider limits our rate."),
    Meaning("4xx", FailedKind.INVALID, "The provider refused the input."),
    # with an error body of Google's nothing was accepted; without one it is a word of something on the way
    Meaning("500 503", _RETRY, _TRANSIENT, silent=_UNKNOWN),
    Meaning("xxx", _UNKNOWN, _NO_END),
)  # fmt: skip
"""What an answer that is not a 2xx means (`wire/providers.md §3.2`); the first row that fits decides."""

AGAIN = frozenset({"NO_IMAGE", "IMAGE_OTHER", "OTHER", "MALFORMED_RESPONSE", "NOTHING"})
"""Ends without a result that are worth one more try (§3.3); `NOTHING` is ours: an end called good, without a result."""
REFUSED = frozenset(
    {
        "SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "RECITATION", "IMAGE_RECITATION",
        "BLOCKLIST", "SPII", "ESCALATION", "MODEL_ARMOR", "JAILBREAK",
    }
)  # fmt: skip
"""Finish reasons that are a refusal by content policy (§3.3)."""
_POLICY_WORDS = re.compile(r"responsible ai|violat", re.IGNORECASE)
_ENDS_AS: dict[int, FailedKind] = {3: FailedKind.INVALID}
"""google.rpc codes of an operation that was accepted and failed (§3.6); all others are the provider's own failure."""


class Said(Struct, frozen=True):
    """An error as Google words it: `error` is None where the body is none of Google's."""

    error: ErrorBody | None = None
    retry_after_s: float | None = None


def said(answer: HttpResponse) -> Said:
    """Read an error body; a streaming call may wrap it in a list of one (§3.2)."""
    body = answer.json() if len(answer.body) <= MAX_BODY_BYTES else None
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    error = table(table(body).get("error"))
    if not error:
        return Said()
    details = tables(error.get("details"))
    text, status = word(error.get("message")), word(error.get("status"))
    reason = next((word(item.get("reason")) for item in details if item.get("reason")), "")
    return Said(ErrorBody(_code(reason, status, text, details), status, text), _delay_s(details))


def refusal(answer: HttpResponse, secrets: Iterable[str], *, quiet: bool = False) -> Failed:
    """Return what an answer that is not a 2xx means; `quiet` keeps Google's own text out of the detail."""
    heard = said(answer)
    error = heard.error or ErrorBody()
    kind, message = meaning_of(MEANINGS, answer.status, heard.error, late=False)
    text = "" if quiet else error.message
    detail = redacted(f"HTTP {answer.status} {error.type} {error.code} {text}", secrets)
    return Failed(
        kind, message, detail=detail, code=_safe(error.code or error.type), status=answer.status,
        retry_after_s=heard.retry_after_s,
    )  # fmt: skip


def ended(error: dict[str, Any], secrets: Iterable[str]) -> Failed:
    """Return what the error of an accepted operation means (§3.6): an end, never "try again"."""
    number, text = error.get("code"), word(error.get("message"))
    kind = _ENDS_AS.get(number, FailedKind.UPSTREAM) if isinstance(number, int) else FailedKind.UPSTREAM
    message = "The provider refused the input." if kind is FailedKind.INVALID else "The provider failed at its work."
    if _POLICY_WORDS.search(text):
        kind, message = FailedKind.MODERATED, POLICY
    return Failed(kind, message, detail=redacted(f"error {number} {text}", secrets), code=_safe(str(number or "")))


def blocked(feedback: Any) -> Failed | None:
    """Return the refusal that a `promptFeedback` is, if it is one (§3.3)."""
    reason = word(table(feedback).get("blockReason"))
    if not reason or reason == "BLOCK_REASON_UNSPECIFIED":
        return None
    return Failed(FailedKind.MODERATED, POLICY, detail=f"blockReason {_safe(reason)}", code=_safe(reason))


def finished(reason: str) -> Failed:
    """Return what a finish reason means that comes without a result (§3.3); an unknown one is a failure."""
    code = _safe(reason) or "nothing"
    if reason in REFUSED:
        return Failed(FailedKind.MODERATED, POLICY, detail=f"finishReason {code}", code=code)
    if reason == "PUP_LIMITED_DISABLED":
        return Failed(
            FailedKind.AUTH, "The provider has restricted our account.", detail=f"finishReason {code}", code=code
        )
    if reason in ("", "STOP", "FINISH_REASON_UNSPECIFIED"):
        code = "nothing"
    return Failed(FailedKind.UPSTREAM, NOTHING, detail=f"finishReason {_safe(reason)}", code=code)  # fmt: skip


def filtered(reasons: Iterable[Any], secrets: Iterable[str]) -> Failed:
    """Return the refusal of a result that was made and held back (`raiFilteredReason`, §3.5, §3.6)."""
    texts = "; ".join(word(reason) for reason in reasons)
    return Failed(FailedKind.MODERATED, POLICY, detail=redacted(f"filtered: {texts}", secrets), code="rai_filtered")


def worth_again(failed: Failed) -> bool:
    """Say whether a failure inside a 200 is worth one more try."""
    return failed.kind is FailedKind.UPSTREAM and (failed.code or "").upper() in AGAIN


def unreadable(answer: HttpResponse) -> Failed:
    """Return what a 2xx without a readable body means: nobody knows whether the work was done (§10.1)."""
    return Failed(_UNKNOWN, UNREADABLE, detail=f"HTTP {answer.status}", status=answer.status)


def _code(reason: str, status: str, text: str, details: list[dict[str, Any]]) -> str:
    """Name what only details or prose tell; Google's own reason otherwise."""
    quotas = [word(one.get("quotaId")) for item in details for one in tables(item.get("violations"))]
    if any("PerDay" in quota for quota in quotas):
        return PER_DAY
    if status == "INVALID_ARGUMENT" and _POLICY_WORDS.search(text):
        return MODERATED
    if "only supports Interactions API" in text:
        return ELSEWHERE
    if status == "FAILED_PRECONDITION":
        return BILLING if "billing" in text.lower() else PRECONDITION
    if status == "INVALID_ARGUMENT" and text.startswith(("API key not valid", "API key expired")):
        return "API_KEY_INVALID"
    return reason


def _delay_s(details: list[dict[str, Any]]) -> float | None:
    """Return the wait of a `RetryInfo`, such as `33s`."""
    for item in details:
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)s", word(item.get("retryDelay")))
        if found:
            return min(float(found[1]), MAX_RETRY_AFTER_S)
    return None


def _safe(text: str) -> str | None:
    return text.lower() if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text) else None
