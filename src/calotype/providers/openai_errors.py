"""What refusals of OpenAI and of servers that speak as it does mean (`wire/providers.md §7.5`)."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from calotype.kernel.clock import Clock
from calotype.kernel.generation import DataClass
from calotype.kernel.outcome import NOT_ACCEPTED, Failed, FailedKind
from calotype.kernel.steps import HttpResponse
from calotype.providers.answers import redacted, retry_after_s
from calotype.providers.base import Call
from calotype.providers.errors import ErrorBody, Meaning, error_body, meaning_of

MALFORMED = "The provider's answer could not be read."

_TRANSIENT = "The provider cannot take the request at the moment."
_NO_CREDENTIAL = "The provider refused our credential."
_NO_CREDIT = "The provider's account is out of credit."
_NO_MODEL = "The provider does not have this model."
_POLICY = "The provider's content policy refused the request."
_NO_END = "The provider did not say how the request ended."
_RETRY, _UNKNOWN = FailedKind.RETRY, FailedKind.UNKNOWN

MEANINGS: tuple[Meaning, ...] = (
    Meaning("xxx", FailedKind.MODERATED, _POLICY, frozenset({"moderation_blocked", "content_policy_violation"})),
    Meaning("xxx", FailedKind.MODERATED, _POLICY, frozenset({"content_filter"})),
    Meaning("xxx", FailedKind.QUOTA, _NO_CREDIT, frozenset({"insufficient_quota", "billing_hard_limit_reached"})),
    Meaning("xxx", FailedKind.GONE, _NO_MODEL, frozenset({"model_not_found"})),
    Meaning("xxx", FailedKind.AUTH, _NO_CREDENTIAL, frozenset({"invalid_api_key"})),
    Meaning("xxx", FailedKind.MODERATED, _POLICY, frozenset({""}), frozenset({"image_generation_user_error"})),
    Meaning("2xx", FailedKind.UPSTREAM, "The provider reported an error."),
    Meaning("3xx", FailedKind.GONE, "The provider's address has moved."),
    Meaning("401 403", FailedKind.AUTH, _NO_CREDENTIAL),
    Meaning("402", FailedKind.QUOTA, _NO_CREDIT),
    Meaning("404 405 410", FailedKind.GONE, _NO_MODEL),
    # proxies answer 408 when their own upstream timed out, 409 while a request with our key is still at work
    Meaning("408 409", FailedKind.UNKNOWN, _NO_END),
    Meaning("425", FailedKind.RETRY, _TRANSIENT),
    Meaning("429", FailedKind.RETRY, "The provider limits our rate."),
    Meaning("4xx", FailedKind.INVALID, "The provider refused the input."),
    # 529: overloaded, as Anthropic's compatible endpoint says it
    Meaning("500 503 529", _RETRY, _TRANSIENT, late=_UNKNOWN, silent=_UNKNOWN),
    Meaning("xxx", FailedKind.UNKNOWN, _NO_END),
)
"""The first row that fits decides (`wire/providers.md §7.2, §7.5, §10.1`)."""


class Refusals:
    """Reads the refusals of one account by its table; nothing of the key or of the caller's words is repeated.

    `type_of` finds the type in the error object of a server that writes it elsewhere than OpenAI does.
    """

    def __init__(
        self, table: Sequence[Meaning], key: str, clock: Clock, type_of: Callable[[dict[str, Any]], str] | None = None
    ) -> None:
        self._table = table
        self._key = key
        self._clock = clock
        self._type_of = type_of

    def failed(self, call: Call, answer: HttpResponse, *, late: bool) -> Failed:
        """Return what an answer that is a refusal means; `late` says that the work may have been done before it."""
        error = error_body(answer)
        if error is not None and self._type_of is not None and isinstance(body := answer.json(), dict):
            error = self._typed(error, body)
        outcome = self._meaning(call, answer, answer.status, error, late=late)
        return replace(outcome, retry_after_s=retry_after_s(answer, self._clock))

    def inside(self, call: Call, answer: HttpResponse, body: dict[str, Any], *, begun: bool, late: bool) -> Failed:
        """Return what an error inside a good answer means: in its body, or in a piece of a stream.

        A code that is an HTTP status counts as one. Once the result has `begun` to come, the request was accepted and
        nothing may be tried again.
        """
        error = self._typed(error_of(body), body)
        status = int(error.code) if re.fullmatch(r"[45]\d\d", error.code) else answer.status
        outcome = self._meaning(call, answer, status, error, late=late)
        if begun and (outcome.kind in NOT_ACCEPTED or outcome.kind is FailedKind.UNKNOWN):
            return replace(outcome, kind=FailedKind.UPSTREAM, message="The provider failed while it answered.")
        return outcome

    def _typed(self, error: ErrorBody, body: dict[str, Any]) -> ErrorBody:
        said = body.get("error")
        if self._type_of is None or not isinstance(said, dict):
            return error
        return replace(error, type=self._type_of(said) or error.type)

    def _meaning(self, call: Call, answer: HttpResponse, status: int, error: ErrorBody | None, *, late: bool) -> Failed:
        kind, message = meaning_of(self._table, status, error, late=late)
        said = error or ErrorBody()
        text = said.message if call.data_class is not DataClass.PHI else ""
        words = redacted(f"HTTP {status} {said.type} {said.code} {text}", [self._key, *prose(call.input)])
        request_id = answer.headers.get("x-generation-id") or answer.headers.get("x-request-id") or ""
        return Failed(
            kind,
            message,
            detail=f"{words} ({request_id})" if re.fullmatch(r"[\w.-]{1,80}", request_id) else words,
            code=said.code if re.fullmatch(r"[a-z0-9_.-]{1,64}", said.code) else None,
            status=status,
            field=said.param if said.param in call.input or said.param in call.files else None,
        )


def error_of(body: dict[str, Any]) -> ErrorBody:
    """Read the error object inside a good answer."""
    error = body.get("error")
    if not isinstance(error, dict):
        return ErrorBody(message=error if isinstance(error, str) else "")
    words = {name: error.get(name) for name in ("code", "type", "message", "param")}
    return ErrorBody(**{name: str(word) for name, word in words.items() if isinstance(word, str | int)})


def prose(value: Any) -> Iterator[str]:
    """Return the caller's own words in an input, however deep, which an error text may quote."""
    return (text for text in texts_in(value) if " " in text or len(text) > 24)


def texts_in(value: Any) -> Iterator[str]:
    """Return every text in a JSON value, however deep; without recursion, for callers choose the depth."""
    unread = [value]
    while unread:
        one = unread.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict | list):
            unread += one.values() if isinstance(one, dict) else one
