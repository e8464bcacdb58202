"""One attempt on the wire: a POST through the guard, redirects not followed, the answer's body dropped unread."""

import asyncio
import contextlib
import time

from calotype.http import Blocked, StreamedResponse, Upstream
from calotype.kernel.steps import HttpRequest, TransportError
from calotype.webhooks.verdict import MAX_ERROR_CHARS, Attempt

MAX_ANSWER_BYTES = 4096
BODY_PATIENCE_S = 1.0
"""How long the end of a short answer is waited for, so that its connection can be used again."""


async def post(upstream: Upstream, url: str, headers: dict[str, str], body: bytes, timeout_s: float) -> Attempt:
    """Send the event once and say how it went; a guarded address is final, everything else may be tried again."""
    request = HttpRequest(
        "POST", url, headers={"Content-Type": "application/json", **headers}, body=body,
        connect_timeout_s=timeout_s, read_timeout_s=timeout_s, total_timeout_s=timeout_s,
        max_bytes=MAX_ANSWER_BYTES,
    )  # fmt: skip
    began = time.perf_counter()
    status = retry_after = error = None
    final = False
    try:
        async with asyncio.timeout(timeout_s), upstream.stream(request) as response:
            status, retry_after = response.status, response.headers.get("retry-after")
            await _drop(response)
    except Blocked as refusal:
        error, final = refusal.message, True
    except TransportError as failure:
        error = str(failure)
    except TimeoutError:
        error = f"no answer within {timeout_s:g} s"
    if status is not None:
        error = _error_of(status)
    duration_ms = int((time.perf_counter() - began) * 1000)
    return Attempt(status, error and error[:MAX_ERROR_CHARS], duration_ms, retry_after, final)


async def _drop(response: StreamedResponse) -> None:
    with contextlib.suppress(TransportError, TimeoutError):
        async with asyncio.timeout(BODY_PATIENCE_S):
            async for _ in response.chunks():
                pass


def _error_of(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"answered {status}; redirects are not followed"
    return f"answered {status}"
