"""Pieces of results for whoever listens in this process, while the work goes on; nothing of it is kept.

A piece is a courtesy: the outcome at the end holds the whole. A listener that falls behind gets texts joined, and only
the newest preview and progress, whatever came between.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from msgspec.structs import replace

from calotype.jobs.types import JobView
from calotype.kernel.ids import JobId
from calotype.kernel.outcome import Delta

MAX_WAITING = 1_000
"""Pieces that wait for a listener before neighbours are joined or dropped."""
_TEXTS = ("content", "reasoning")
_REPLACED = ("preview", "progress")
"""Kinds of which only the newest counts."""


class Listener:
    """The pieces of one job, in order; iteration ends when the feed of the job is closed.

    `pieces` says that they are wanted; a listener may also wait for nothing but the end.
    """

    def __init__(self, *, pieces: bool = True) -> None:
        self.pieces = pieces
        self.left = False
        """Whether the one who listened is gone."""
        self.end: JobView | None = None
        """The job's end, with bytes that may be nowhere else."""
        self._waiting: deque[Delta | str] = deque()
        """Pieces in order; a kind of which only the newest counts stands by its name."""
        self._newest: dict[str, Delta] = {}
        self._news = asyncio.Event()
        self._closed = False
        self.heard = False
        """Whether any piece has come."""

    def put(self, delta: Delta) -> None:
        """Take a piece."""
        self.heard = True
        if delta.kind in _REPLACED:
            if delta.kind not in self._newest:
                self._waiting.append(delta.kind)
            self._newest[delta.kind] = delta
        elif len(self._waiting) >= MAX_WAITING:
            self._crowd(self._waiting[-1], delta)
        else:
            self._waiting.append(delta)
        self._news.set()

    def close(self) -> None:
        """Say that nothing more comes."""
        self._closed = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[Delta]:
        while True:
            while self._waiting:
                first = self._waiting.popleft()
                yield self._newest.pop(first) if isinstance(first, str) else first
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()

    def _crowd(self, last: Delta | str, delta: Delta) -> None:
        """Join a text to the one before; drop what may be dropped."""
        name = next(iter(delta.data), "")
        text = delta.kind == "chat" and name in _TEXTS and delta.data.keys() == {name}
        if text and isinstance(last, Delta) and last.kind == "chat" and last.data.keys() == {name}:
            self._waiting[-1] = replace(last, data={name: last.data[name] + delta.data[name]})
        elif delta.kind == "chat":  # tool calls cannot be joined, and there are few of them
            self._waiting.append(delta)


class Feed:
    """Who listens to which job in this process."""

    def __init__(self) -> None:
        self._listeners: dict[JobId, Listener] = {}

    def listen(self, job_id: JobId, *, pieces: bool = True) -> Listener:
        """Begin to listen; there is one listener to a job, the caller that waits for it."""
        listener = self._listeners[job_id] = Listener(pieces=pieces)
        return listener

    def listened(self, job_id: JobId) -> bool:
        """Say whether somebody listens to the pieces."""
        listener = self._listeners.get(job_id)
        return listener is not None and listener.pieces

    def awaited(self, job_id: JobId) -> bool:
        """Say whether somebody in this process waits for the end, and is still there."""
        listener = self._listeners.get(job_id)
        return listener is not None and not listener.left

    def ended(self, view: JobView) -> None:
        """Hand the end to whoever waits for it, and forget them: nothing more comes."""
        if (listener := self._listeners.pop(view.id, None)) is not None:
            listener.end = view
            listener.close()

    def publish(self, job_id: JobId, delta: Delta) -> None:
        """Hand a piece to whoever listens."""
        if (listener := self._listeners.get(job_id)) is not None:
            listener.put(delta)

    def close(self, job_id: JobId) -> None:
        """Stop: the job has ended or nobody wants to hear more."""
        if (listener := self._listeners.pop(job_id, None)) is not None:
            listener.close()
