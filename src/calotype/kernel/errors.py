"""The one problem type: every refusal and failure a caller can see, before a dialect puts it in its own words."""

from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """Problem codes (the surface contract, §3)."""

    INVALID_API_KEY = "invalid_api_key"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    PHI_BLOCKED = "phi_blocked"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    SPEND_CAP_REACHED = "spend_cap_reached"
    ACCOUNT_LOCKED = "account_locked"
    FORBIDDEN = "forbidden"
    MODEL_NOT_FOUND = "model_not_found"
    NO_ROUTE = "no_route"
    JOB_NOT_FOUND = "job_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    GONE = "gone"
    MODEL_RETIRED = "model_retired"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID_INPUT = "invalid_input"
    MODERATED = "moderation_blocked"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    RATE_LIMITED = "rate_limited"
    PLANNED = "planned"
    CANCELED = "canceled"
    UPSTREAM_FAILED = "upstream_failed"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    INTERNAL = "internal_error"


STATUS: dict[Code, int] = {
    Code.INVALID_API_KEY: 401,
    Code.INSUFFICIENT_CREDITS: 402,
    Code.PHI_BLOCKED: 403,
    Code.MODEL_NOT_ALLOWED: 403,
    Code.SPEND_CAP_REACHED: 403,
    Code.ACCOUNT_LOCKED: 403,
    Code.FORBIDDEN: 403,
    Code.MODEL_NOT_FOUND: 404,
    Code.NO_ROUTE: 404,
    Code.JOB_NOT_FOUND: 404,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.CONFLICT: 409,
    Code.GONE: 410,
    Code.MODEL_RETIRED: 410,
    Code.PAYLOAD_TOO_LARGE: 413,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.INVALID_INPUT: 422,
    Code.MODERATED: 422,
    Code.IDEMPOTENCY_MISMATCH: 422,
    Code.RATE_LIMITED: 429,
    Code.PLANNED: 501,
    Code.CANCELED: 409,
    Code.UPSTREAM_FAILED: 502,
    Code.UNAVAILABLE: 503,
    Code.TIMEOUT: 504,
    Code.INTERNAL: 500,
}
"""The usual HTTP status of each code; a dialect may answer another one where its own words differ."""

_RETRYABLE = frozenset({Code.RATE_LIMITED, Code.UNAVAILABLE})
"""Codes whose request may succeed later, where the problem does not say otherwise."""


class Problem(Exception):  # noqa: N818  (a problem is the field's word: RFC 9457)
    """A refusal or failure with a stable code, a sentence for people and, where one is to blame, the field.

    `field` is a path such as `size` or `input.image_url`. `data` holds further facts (needed_micro, available_micro,
    near matches, replacement); it never holds secrets, prompts or upstream text. `retryable` says whether the same
    request may succeed later. `retry_after_s` is sent as `Retry-After`.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        field: str | None = None,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retryable = code in _RETRYABLE if retryable is None else retryable
        self.retry_after_s = retry_after_s
        self.data = data or {}

    @property
    def status(self) -> int:
        """The usual HTTP status of the code."""
        return STATUS[self.code]

    def as_dict(self) -> dict[str, Any]:
        """Return the plain form that is stored with a failed job and shown by `--json`."""
        out: dict[str, Any] = {"code": self.code.value, "message": self.message}
        if self.field is not None:
            out["field"] = self.field
        if self.data:
            out["data"] = self.data
        if self.retryable != (self.code in _RETRYABLE):
            out["retryable"] = self.retryable
        if self.retry_after_s is not None:
            out["retry_after_s"] = self.retry_after_s
        return out

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "Problem":
        """Rebuild a stored problem; an unknown code becomes `internal_error`."""
        try:
            code = Code(raw.get("code", ""))
        except ValueError:
            code = Code.INTERNAL
        return cls(
            code, raw.get("message", ""), field=raw.get("field"), data=raw.get("data"), retryable=raw.get("retryable"),
            retry_after_s=raw.get("retry_after_s"),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"Problem({self.code.value}, {self.message!r}, field={self.field!r})"
