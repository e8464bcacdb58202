"""Where upstreams say that they are done (`POST /callbacks/{token}`).

The token names one attempt of one job and is signed by us; then the adapter proves that the upstream itself has
written. A proven word makes the job due, nothing more: the poll reads the truth, and a repeated word does no harm.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog

from calotype.db import Database
from calotype.events.bus import Bus
from calotype.jobs.callbacks import PATH, Callbacks, Hasten
from calotype.jobs.types import JobRow
from calotype.jobs.views import load_views
from calotype.kernel import points
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Problem
from calotype.kernel.ids import JobId
from calotype.kernel.job import JobState
from calotype.providers.base import Runtime

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 1 << 20
BODY_TIMEOUT_S = 10.0
MAX_AT_ONCE = 64
SOON_S = 3.0
"""How long a word may wait for the row that it is about: the answer to our submit may still be on its way."""

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Scope]]
_Send = Callable[[_Scope], Awaitable[None]]


class CallbackEndpoint:
    """Takes callbacks. It answers 2xx for everything that need not be repeated and 503 for what should be."""

    def __init__(
        self, db: Database, clock: Clock, *, callbacks: Callbacks, runtimes: dict[str, Runtime], bus: Bus
    ) -> None:
        self._db = db
        self._clock = clock
        self._callbacks = callbacks
        self._runtimes = runtimes
        self._bus = bus
        self._at_once = 0

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one callback."""
        status = 405
        if scope["method"] == "POST":
            status = 503
            if self._at_once < MAX_AT_ONCE:
                self._at_once += 1
                try:
                    status = await self._heard(scope, receive)
                finally:
                    self._at_once -= 1
        body = b'{"ok":true}' if status == 200 else b'{"ok":false}'
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status == 503:
            headers.append((b"retry-after", b"5"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _heard(self, scope: _Scope, receive: _Receive) -> int:
        named = self._callbacks.read(scope["path"].removeprefix(PATH).strip("/"))
        if named is None:
            return 404
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _body(receive)
        except TimeoutError:
            return 408
        if body is None:
            return 413
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            async with asyncio.timeout(SOON_S + BODY_TIMEOUT_S):
                return await self._taken(*named, headers, body)
        except (TimeoutError, Problem):
            return 503

    async def _taken(self, job_id: JobId, attempt: int, headers: dict[str, str], body: bytes) -> int:
        end_s = asyncio.get_running_loop().time() + SOON_S
        proven = False
        while True:
            changed = self._bus.subscribe(job_id)
            try:
                job = (await self._db.read(lambda tx: load_views(tx, [job_id]))).get(job_id)
                if job is None or not _waits(job.job, attempt):
                    return 200
                if job.job.state is JobState.RUNNING and not proven:
                    if not await self._proven(job.job, headers, body):
                        return 401
                    proven = True
                    points.reach("callback.received")
                if proven and await self._hastened(job_id, attempt):
                    return 200
                left_s = end_s - asyncio.get_running_loop().time()
                if left_s <= 0:
                    return 503
                await asyncio.wait((changed,), timeout=min(left_s, 0.25))
            finally:
                self._bus.unsubscribe(job_id, changed)

    async def _proven(self, job: JobRow, headers: dict[str, str], body: bytes) -> bool:
        runtime = self._runtimes.get(job.provider)
        if runtime is None or job.handle is None or job.upstream_id is None:
            return False
        proven = await runtime.callback(headers, body, job.handle, job.upstream_id)
        if not proven:
            log.warning("callback_refused", job_id=job.id, provider=job.provider)
        return proven

    async def _hastened(self, job_id: JobId, attempt: int) -> bool:
        """Make the job due; False when a look at it is under way that may have come before the upstream's end."""
        answer = await self._db.submit(Hasten(job_id=job_id, attempt=attempt, now_ms=self._clock.now_ms()))
        if answer:
            self._bus.due()
        return answer is not None


def _waits(job: JobRow, attempt: int) -> bool:
    return job.attempt == attempt and job.state in (JobState.SUBMITTING, JobState.RUNNING)


async def _body(receive: _Receive) -> bytes | None:
    """Return the body, None when it is too large or breaks off."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        size += len(piece)
        if size > MAX_BODY_BYTES:
            return None
        parts.append(piece)
        if not message.get("more_body"):
            return b"".join(parts)
