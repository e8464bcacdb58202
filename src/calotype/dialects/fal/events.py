"""Server-sent events in the one form that every client of fal reads (`wire/fal.md §0.9, §5.3, §6.2`)."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from calotype.dialects.fal.answers import standing
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.sse import hung_up
from calotype.jobs.types import JobView
from calotype.kernel.ids import JobId, OrgId

PING_S = 15.0
LOOK_S = 2.0
"""The slow look that makes a lost wake-up a delay and nothing more."""


class EventStream:
    """An answer of events. Each is one write of ASCII, for a client decodes each piece of the network by itself."""

    def __init__(self, x: FalExchange) -> None:
        self._x = x
        self._written_s = time.monotonic()
        self.gone = asyncio.create_task(hung_up(x.receive))
        """Done when the caller has hung up."""

    async def open(self) -> None:
        """Send the headers."""
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), *standing(self._x)]
        headers.append((b"x-accel-buffering", b"no"))
        await self._x.send({"type": "http.response.start", "status": 200, "headers": headers})

    async def event(self, body: dict[str, Any]) -> None:
        """Send one event."""
        text = json.dumps(body, ensure_ascii=True, separators=(",", ":"))
        await self._write(f"data: {text}\n\n".encode())

    async def keep_alive(self) -> None:
        """Send a comment when nothing was sent for a while."""
        if time.monotonic() - self._written_s >= PING_S:
            await self._write(b": ping\n\n")

    async def close(self) -> bool:
        """End the stream; False when the caller had hung up before."""
        delivered = not self.gone.done()
        self.leave()
        with contextlib.suppress(OSError):
            await self._x.send({"type": "http.response.body", "body": b""})
        return delivered

    def leave(self) -> None:
        """Stop listening for the caller's hanging up."""
        self.gone.cancel()

    async def _write(self, piece: bytes) -> None:
        self._written_s = time.monotonic()
        await self._x.send({"type": "http.response.body", "body": piece, "more_body": True})


async def looks(desk: Desk, job_id: JobId, org_id: OrgId, gone: "asyncio.Task[None]") -> AsyncIterator[JobView]:
    """Yield how a request stands, now and at each of its changes, until it has ended or nobody listens."""
    while not gone.done():
        changed = desk.bus.subscribe(job_id)
        try:
            view = await desk.engine.get(job_id, org_id, whole=False)
            yield view
            if view.job.ended:
                return
            await asyncio.wait((changed, gone), timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            desk.bus.unsubscribe(job_id, changed)
