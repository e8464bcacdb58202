"""One life of the emulated server process: its queue, its single executor, its history and its caches.

Everything here is in memory and gone after a restart, as on the real server (`wire/comfyui.md §1`).
"""

import asyncio
import heapq
from typing import Any

from calotype.sandbox.comfyui_run import Item, Process, Run

MAX_HISTORY = 10_000


class Life:
    """The state of the process, from its start to the next; any thread may read it, the emulator's own writes it."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.number = 0
        self.queue: list[Item] = []
        self.running: Item | None = None
        self.history: dict[str, dict[str, Any]] = {}
        self._flags: set[str] = set()
        self._turn = 0
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # -- the queue ----------------------------------------------------------------------------------------------------

    @property
    def status(self) -> dict[str, Any]:
        """How many jobs there are, the running one included."""
        return {"status": {"exec_info": {"queue_remaining": len(self.queue) + (self.running is not None)}}}

    def put(self, item: Item) -> None:
        """Take a job; there is no bound."""
        item.turn = self._turn = self._turn + 1
        heapq.heappush(self.queue, item)
        self.tell_status()
        self._wake()

    def remove(self, ident: str | None) -> None:
        """Take one job out of those that wait, or all of them with None; the running one stays."""
        keep = [item for item in self.queue if ident is not None and item.id != ident]
        if len(keep) != len(self.queue):
            self.queue = keep
            heapq.heapify(self.queue)
            self.tell_status()

    def interrupt(self) -> None:
        """Ask the running job to stop; honoured between nodes and between a sampler's steps."""
        self.process.stop.set()

    def flag(self, name: str) -> None:
        """Do something between jobs: `unload_models` or `free_memory`."""
        self._flags.add(name)
        self._wake()

    def tell_status(self) -> None:
        """Tell every socket how long the queue is."""
        self.process.sockets.tell("status", self.status, None)

    async def end(self) -> None:
        """End the process where it stands."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    # -- the executor -------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._due.set()
        if self._task is None:  # only now: there is no event loop where the emulator is made
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while True:
            while not self.queue and not self._flags:
                self._due.clear()
                await self._due.wait()
            if self._flags:
                self.process.loaded.clear()
                if "free_memory" in self._flags:
                    self.process.cache.clear()
                self._flags.clear()
                continue
            item = self.running = heapq.heappop(self.queue)
            self.tell_status()
            if "lost" in item.words:
                self.running = None
                continue
            await self._run(item)

    async def _run(self, item: Item) -> None:
        entry = await Run(self.process, item).whole()
        self.process.node = None
        await asyncio.sleep(self.process.settings["history_lag_s"] or item.word("late"))
        if len(self.history) >= MAX_HISTORY:
            self.history.pop(next(iter(self.history)))
        self.history[item.id] = entry
        self.running = None
        self.tell_status()
        if item.client_id is not None:
            self.process.sockets.tell("executing", {"node": None, "prompt_id": item.id}, item.client_id)
