"""What a provider says about a call: still working, done, or failed and in which way."""

from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct


class FailedKind(StrEnum):
    """Why an upstream did not deliver, in the terms that decide what happens next (the surface contract, §3)."""

    RETRY = "retry"
    """Not accepted, nothing was spent: another route, or the same one later, may be tried."""
    INVALID = "invalid"
    """The caller's input is wrong."""
    MODERATED = "moderated"
    AUTH = "auth"
    """Our credential is refused: another route may be tried, the operator is told."""
    QUOTA = "quota"
    """Our balance at the provider is used up: another route may be tried, the operator is told."""
    UPSTREAM = "upstream"
    """Accepted, then failed: refund, no failover."""
    GONE = "gone"
    """The upstream model is retired or unknown: another route may be tried."""
    UNKNOWN = "unknown"
    """The request may have been taken but no answer tells: never sent again blindly."""


NOT_ACCEPTED = frozenset({FailedKind.RETRY, FailedKind.AUTH, FailedKind.QUOTA, FailedKind.GONE})
"""Kinds after which the next route may be tried: the upstream did not take the job."""


class Cost(Struct, frozen=True):
    """What the upstream billed us: `amount` in `unit` (`usd`, `bfl_credit`, `tokens` …) and, where known, micro-USD."""

    micro: int | None = None
    amount: str | None = None
    unit: str | None = None
    source: str = "table"
    """`response`, `table` or `reconciled`."""


class Output(Struct, frozen=True):
    """One produced file, in exactly one form: a URL to fetch, a file already on this machine, bytes, or base64 text.

    `base64` is the text as the upstream wrote it, so that it can be passed on or decoded once, off the event loop.
    `url_headers` are sent with the download (an upstream that wants its key). `content_type` is what the upstream
    claims; the probe decides. Sizes are pixels, `duration_s` seconds. `text` is caption-like data that belongs to the
    file (a revised prompt).
    """

    url: str | None = None
    path: str | None = None
    data: bytes | None = None
    base64: bytes | None = None
    content_type: str | None = None
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    url_headers: dict[str, str] = {}
    text: str | None = None


class Pending(Struct, frozen=True, tag="pending"):
    """Accepted and not finished. `handle` is what poll and cancel need, and it is stored with the submission."""

    handle: dict[str, Any]
    cost: Cost | None = None
    progress: float | None = None
    upstream_id: str | None = None
    poll_after_s: float | None = None


class Succeeded(Struct, frozen=True, tag="succeeded"):
    """Done. `data` is what is not a file (text, embeddings, seed); `usage` counts measured units for the price.

    `estimated` in `usage` says that the upstream did not count, and the numbers beside it are estimates.
    """

    outputs: tuple[Output, ...] = ()
    data: dict[str, Any] = {}
    usage: dict[str, int] = {}
    cost: Cost | None = None
    warnings: tuple[str, ...] = ()
    upstream_id: str | None = None


class Failed(Struct, frozen=True, tag="failed"):
    """Not delivered. `message` is our own sentence and safe to show; `detail` is for the operator, redacted.

    `requeue` says that nobody works on the job and nothing is billed for it: it goes back into the queue. From a submit
    it means that there was no free place, which counts as no try; from a poll, that the work was lost on the way.
    """

    kind: FailedKind
    message: str
    detail: str | None = None
    code: str | None = None
    status: int | None = None
    field: str | None = None
    retry_after_s: float | None = None
    cost: Cost | None = None
    requeue: bool = False


class Delta(Struct, frozen=True):
    """A piece of a result that is shown while the work goes on; the outcome at the end holds the whole.

    `chat`: `data` is the `delta` of an OpenAI chat chunk (`content`, `reasoning`, `tool_calls` with `index`).
    `preview`: `body` is a picture of `content_type` as it stands; the next one replaces it. `event`: `data` is a whole
    event in the upstream model's own words (fal's stream). `progress`: `data` has `fraction`, between 0 and 1.
    """

    kind: Literal["chat", "preview", "event", "progress"]
    data: dict[str, Any] = {}
    body: bytes = b""
    content_type: str = ""


Outcome = Pending | Succeeded | Failed
