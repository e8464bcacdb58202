"""Downloads of what callers and upstreams point at: guarded, capped, and clear about what may be tried again."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

import aiohttp
from msgspec import Struct
from yarl import URL

from calotype.http.guard import Blocked, Guard
from calotype.http.sinks import Sink

MAX_REDIRECTS = 5
IDLE_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
AGAIN_S = 0.05
"""Enough for the ends of other kept connections to be noticed."""
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
    except TimeoutError:
        raise DownloadRetryable("The download took too long.", "timeout") from None
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
        raise Blocked("The URL cannot be fetched.", field) from None
    except aiohttp.ClientError as error:
        raise DownloadRetryable(f"The download broke off ({type(error).__name__}).", "connection") from None


async def _follow(
    url: URL, to: Sink, *, max_bytes: int, guard: Guard, headers: dict[str, str], field: str | None
) -> Downloaded:
    origin = url.origin()
    for _ in range(MAX_REDIRECTS + 1):
        sent = headers if url.origin() == origin else None
        async with await _answer(url, sent, guard) as response:
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                return await _take(response, to, max_bytes)
        try:
            url = guard.parse(url.join(URL(location)), field)
        except ValueError:
            raise DownloadPermanent("The server redirects to something that is no URL.", "redirects") from None
    raise DownloadPermanent(f"More than {MAX_REDIRECTS} redirects.", "redirects")


async def _answer(url: URL, headers: dict[str, str] | None, guard: Guard) -> aiohttp.ClientResponse:
    """Ask for a URL, and once more where the connection broke before an answer began.

    Servers close connections that were kept, several at a time; aiohttp itself tries no more than two of them.
    """
    try:
        return await guard.session.get(url, headers=headers, allow_redirects=False, timeout=_TIMEOUT)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        await asyncio.sleep(AGAIN_S)
        return await guard.session.get(url, headers=headers, allow_redirects=False, timeout=_TIMEOUT)


async def _take(response: aiohttp.ClientResponse, to: Sink, max_bytes: int) -> Downloaded:
    status = response.status
    if not 200 <= status < 300:
        message = f"The server answered {status}."
        if status >= 500 or status in _RETRYABLE_STATUS:
            wait_s = retry_after_s(response.headers.get("Retry-After"))
            raise DownloadRetryable(message, "status", status=status, retry_after_s=wait_s)
        raise DownloadPermanent(message, "status", status=status)
    declared = response.content_length
    if declared is not None and declared > max_bytes:
        raise DownloadPermanent(f"The file has {declared} bytes; at most {max_bytes} are taken.", "too_large")
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > max_bytes:
            raise DownloadPermanent(f"The file is larger than {max_bytes} bytes.", "too_large")
        await to.write(chunk)
    if size == 0:
        raise DownloadRetryable("The server answered with an empty file.", "empty", status=status)
    claim = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Downloaded(content_type=claim or None, size_bytes=size, status=status, final_host=response.url.host or "")


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


_TIMEOUT = aiohttp.ClientTimeout(
    total=None, connect=CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S, sock_read=IDLE_TIMEOUT_S
)
