"""A queue in front of a few writing threads, which take whatever waits at one moment as one batch."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from calotype.kernel.errors import Code, Problem
from calotype.media.store import Ready, Stored, designed

MAX_WAITING = 10_000


class Lane:
    """A queue in front of a few threads; each takes all that waits, up to `batch` at a time."""

    def __init__(
        self, work: Callable[[list[Callable[[], Ready]]], list[Any]], threads: int, name: str, batch: int
    ) -> None:
        self._work = work
        self._threads = threads
        self._batch = batch
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: list[tuple[Callable[[], Ready], asyncio.Future[tuple[Stored, Any]]]] = []
        self._running = 0
        self._called = False
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def submit(self, prepare: Callable[[], Ready]) -> tuple[Stored, Any]:
        """Wait until what `prepare` returns is durable; a cancelled caller does not stop the write.

        Raises:
            Problem: `unavailable`; too much waits, or the lane is closed and nobody would take it up.

        """
        if self._closed:
            raise Problem(Code.UNAVAILABLE, "The server is shutting down.")
        if len(self._waiting) >= MAX_WAITING:
            raise Problem(Code.UNAVAILABLE, "The media store is overloaded.", retry_after_s=1)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Stored, Any]] = loop.create_future()
        self._waiting.append((prepare, answer))
        self._idle.clear()
        if not self._called and self._running < self._threads:
            self._called = True
            loop.call_soon(self._start, loop)  # soon, not now: what else this turn of the loop brings joins in
        return await answer

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._called = False
        while self._waiting and self._running < self._threads:
            batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
            self._running += 1
            self._pool.submit(self._run, loop, batch)

    def _run(self, loop: asyncio.AbstractEventLoop, batch: list[Any]) -> None:
        try:
            results = self._work([prepare for prepare, _ in batch])
        except Exception as error:  # a waiting caller must hear of anything
            results = [designed(error)] * len(batch)
        loop.call_soon_threadsafe(self._answer, loop, batch, results)

    def _answer(self, loop: asyncio.AbstractEventLoop, batch: list[Any], results: list[Any]) -> None:
        self._running -= 1
        for (_, answer), result in zip(batch, results, strict=True):
            if answer.done():
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)
        self._start(loop)
        if not self._running and not self._waiting:
            self._idle.set()

    async def close(self) -> None:
        """Finish what was submitted, take nothing more and end the threads."""
        self._closed = True
        await self._idle.wait()
        await asyncio.to_thread(self._pool.shutdown)
