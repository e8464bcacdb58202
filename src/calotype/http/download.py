"""Downloads of what callers and upstreams point at: guarded, capped, and clear about what may be tried again."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

from msgspec import Struct
from yarl import URL

from calotype.http.connection import BrokenOffError
from calotype.http.guard import Blocked, Guard
from calotype.http.sinks import Sink
from calotype.http.wire import ConnectFailedError
from calotype.kernel.steps import AnswerTooLarge, HttpRequest, HttpResponse

MAX_REDIRECTS = 5
IDLE_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
ENDLESS_S = 86_400.0
"""The whole of a download is bounded by its caller."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RETRYABLE_STATUS = frozenset({408, 425, 429})

Reason = Literal["status", "too_large", "redirects", "timeout", "connection", "empty"]


class Downloaded(Struct, frozen=True):
    """What came: `content_type` is the server's claim, in lower case and without parameters."""

    content_type: str | None
    size_bytes: int
    status: int
    final_host: str


class DownloadError(Exception):
    """A download that did not deliver; the text never holds the URL."""

    retryable = False

    def __init__(
        self, message: str, reason: Reason, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.retry_after_s = retry_after_s


class DownloadRetryable(DownloadError):  # noqa: N818  (says what the caller asks)
    """5xx, 429, a timeout, a reset or a truncated body: the same URL may work later."""

    retryable = True


class DownloadPermanent(DownloadError):  # noqa: N818
    """Any other status, too many bytes or too many redirects: trying again is of no use."""


async def download(
    url: str,
    *,
    to: Sink,
    max_bytes: int,
    timeout_s: float,
    guard: Guard,
    headers: Mapping[str, str] | None = None,
    field: str | None = None,
) -> Downloaded:
    """Stream what is behind the URL into the sink.

    `headers` go to the first origin only. Raises DownloadRetryable, DownloadPermanent or Blocked (permanent; a Problem
    that names `field`). After an error the sink may hold a part; the caller discards it.
    """
    try:
        async with asyncio.timeout(timeout_s):
            start = guard.parse(url, field)
            return await _follow(start, to, max_bytes=max_bytes, guard=guard, headers=dict(headers or {}), field=field)
    except Blocked as refusal:
        raise Blocked(refusal.message, field) from None
    except UnicodeError:
        raise Blocked("The URL cannot be fetched.", field) from None
    except TimeoutError:
        raise DownloadRetryable("The download took too long.", "timeout") from None
    except AnswerTooLarge:
        raise DownloadPermanent(f"The file is larger than {max_bytes} bytes.", "too_large") from None
    except (ConnectFailedError, BrokenOffError) as error:
        if isinstance(error.__cause__, TimeoutError):
            raise DownloadRetryable("The download took too long.", "timeout") from None
        cause = type(error.__cause__ or error).__name__
        raise DownloadRetryable(f"The download broke off ({cause}).", "connection") from None


async def _follow(
    url: URL, to: Sink, *, max_bytes: int, guard: Guard, headers: dict[str, str], field: str | None
) -> Downloaded:
    origin = url.origin()
    for _ in range(MAX_REDIRECTS + 1):
        request = HttpRequest(
            "GET", "", headers if url.origin() == origin else {}, connect_timeout_s=CONNECT_TIMEOUT_S,
            read_timeout_s=IDLE_TIMEOUT_S, total_timeout_s=ENDLESS_S, max_bytes=max_bytes,
        )  # fmt: skip
        body = _Body(to, max_bytes)
        answer = await guard.wire.exchange(request, url=url, take=body.take)
        location = answer.headers.get("location")
        if answer.status not in _REDIRECTS or location is None:
            return _taken(answer, body, url)
        try:
            url = guard.parse(url.join(URL(location)), field)
        except ValueError:
            raise DownloadPermanent("The server redirects to something that is no URL.", "redirects") from None
    raise DownloadPermanent(f"More than {MAX_REDIRECTS} redirects.", "redirects")


class _Body:
    """Lets the body of a good answer through to the sink, and counts it."""

    def __init__(self, to: Sink, max_bytes: int) -> None:
        self._to = to
        self.most_bytes = max_bytes
        self.size_bytes = 0
        self.declared = 0

    @property
    def refused(self) -> bool:
        """Whether it says that it is larger than what is taken."""
        return self.declared > self.most_bytes

    def take(self, status: int, headers: dict[str, str]) -> Sink | None:
        """Return the way to the sink; None where the body is not wanted."""
        length = headers.get("content-length", "")
        self.declared = int(length) if length.isascii() and length.isdigit() else 0
        return self if 200 <= status < 300 and not self.refused else None

    async def write(self, chunk: bytes) -> None:
        """Pass bytes on."""
        self.size_bytes += len(chunk)
        await self._to.write(chunk)


def _taken(answer: HttpResponse, body: _Body, url: URL) -> Downloaded:
    status = answer.status
    if not 200 <= status < 300:
        message = f"The server answered {status}."
        if status >= 500 or status in _RETRYABLE_STATUS:
            wait_s = retry_after_s(answer.headers.get("retry-after"))
            raise DownloadRetryable(message, "status", status=status, retry_after_s=wait_s)
        raise DownloadPermanent(message, "status", status=status)
    if body.refused:
        raise DownloadPermanent(
            f"The file has {body.declared} bytes; at most {body.most_bytes} are taken.", "too_large"
        )  # fmt: skip
    if body.size_bytes == 0:
        raise DownloadRetryable("The server answered with an empty file.", "empty", status=status)
    claim = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Downloaded(
        content_type=claim or None, size_bytes=body.size_bytes, status=status, final_host=url.host or ""
    )  # fmt: skip


def retry_after_s(value: str | None, *, at_most_s: float = 3600.0) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date (RFC 9110 §10.2.3), bounded; None when there is none."""
    if not value:
        return None
    if value.isascii() and value.strip().isdigit():
        return min(float(value), at_most_s)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)  # `-0000` is read as no zone
    return min(max(0.0, at.timestamp() - time.time()), at_most_s)
