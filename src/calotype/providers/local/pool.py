"""Worker processes: a fixed number, started when needed and kept warm, one task at a time each.

They are started as fresh interpreters, never forked off the server's threads, with an environment that holds no
secret. A worker that crashes, hangs or is cancelled costs its one task and is replaced.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from msgspec import Struct

from calotype.kernel.outcome import Delta
from calotype.providers.base import unheard
from calotype.providers.local.messages import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    Broken,
    Done,
    Lacking,
    Piece,
    Progress,
    Refused,
    Task,
    frame,
    read_reply,
)

MAX_TASKS_PER_WORKER = 1_000
MAX_RETRY_AFTER_S = 60.0
_INHERITED = (
    "PATH", "LD_LIBRARY_PATH", "TMPDIR", "TZ", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK",
)  # fmt: skip
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""What keeps libraries that know a hub of models from asking it."""


class PoolBusy(Exception):  # noqa: N818  (a state, not a mistake)
    """Every process works and the queue is full, or the pool is closed; come back after `retry_after_s`."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("every worker process is busy and the queue is full")
        self.retry_after_s = retry_after_s


class WorkerLost(Exception):  # noqa: N818
    """The worker process ended in the middle of a task: `reason` is its exit status or the signal's name."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the worker process ended: {reason}")
        self.reason = reason


class Limits(Struct, frozen=True):
    """What the pool and each of its processes may use.

    `queue` bounds the tasks that wait, `memory_bytes` the address space of a process, or with `written_only` what it
    can write to: engines that map files and devices reserve far more addresses than they fill. `niceness` lowers its
    priority so that the event loop goes first.
    """

    processes: int = 1
    queue: int = 64
    memory_bytes: int = 4 << 30
    niceness: int = 5
    written_only: bool = False


class Pool:
    """Runs tasks in worker processes. `preload` names modules that every worker imports when it starts."""

    def __init__(self, limits: Limits, preload: Sequence[str] = ()) -> None:
        self.limits = limits
        self._preload = tuple(preload)
        self._slots = asyncio.Semaphore(limits.processes)
        self._waiting = 0
        self._closing = asyncio.Event()
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._chores: set[asyncio.Task[None]] = set()
        self._usual_s = 1.0

    @property
    def pids(self) -> frozenset[int]:
        """The ids of the living worker processes."""
        return frozenset(worker.pid for worker in self._workers if worker.alive)

    @property
    def busy(self) -> bool:
        """Whether one more task would be refused."""
        return self._closing.is_set() or (self._slots.locked() and self._waiting >= self.limits.queue)

    @property
    def retry_after_s(self) -> float:
        """How long the tasks that wait now will usually take."""
        return min(max(1.0, self._usual_s * (1 + self._waiting) / self.limits.processes), MAX_RETRY_AFTER_S)

    async def run(
        self,
        task: Task,
        *,
        deadline_s: float,
        on_progress: Callable[[float], None],
        on_delta: Callable[[Delta], None] = unheard,
    ) -> Done | Refused | Lacking | Broken:
        """Do a task; `deadline_s` counts from when a process takes it. Cancelling this kills that process.

        `on_delta` gets what a task that `shows` shows.

        Raises:
            PoolBusy: nothing was started.
            WorkerLost: the process crashed or was killed.
            TimeoutError: the deadline passed and the process was killed.

        """
        if self.busy:
            raise PoolBusy(self.retry_after_s)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        worker: _Worker | None = None
        healthy = False
        started_s = time.monotonic()
        try:
            worker = await self._take()
            async with asyncio.timeout(deadline_s):
                reply = await worker.perform(task, on_progress, on_delta)
            healthy = not (isinstance(reply, Broken) and reply.out_of_memory)
            self._usual_s += 0.2 * (time.monotonic() - started_s - self._usual_s)
            return reply
        finally:
            if worker is None:
                self._slots.release()
            elif healthy and worker.tasks < MAX_TASKS_PER_WORKER and not self._closing.is_set():
                self._idle.append(worker)
                self._slots.release()
            else:
                worker.kill()
                await asyncio.shield(self._chore(self._replace(worker)))

    async def close(self) -> None:
        """Kill every worker and wait until all are gone."""
        self._closing.set()
        for worker in self._workers:
            worker.kill()
        for worker in tuple(self._workers):
            await self._bury(worker)
        while self._chores:
            await asyncio.wait(self._chores)

    async def _take(self) -> "_Worker":
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            await self._bury(worker)
        return await self._start()

    async def _start(self) -> "_Worker":
        if self._closing.is_set():
            raise PoolBusy(MAX_RETRY_AFTER_S)
        worker = _Worker(await _spawn(self.limits, self._preload))
        self._workers.add(worker)
        if self._closing.is_set():
            worker.kill()
            await self._bury(worker)
            raise PoolBusy(MAX_RETRY_AFTER_S)
        return worker

    async def _replace(self, worker: "_Worker") -> None:
        """Bury a killed worker and have a fresh one ready before its slot is free again."""
        try:
            await self._bury(worker)
            with contextlib.suppress(PoolBusy, OSError):  # the next task starts one, or says why it cannot
                self._idle.append(await self._start())
        finally:
            self._slots.release()

    async def _bury(self, worker: "_Worker") -> None:
        await worker.ended()
        self._workers.discard(worker)

    def _chore(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        chore = asyncio.get_running_loop().create_task(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)
        return chore


class _Worker:
    """One worker process, seen from the server."""

    def __init__(self, process: Process) -> None:
        self.tasks = 0
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def perform(
        self, task: Task, on_progress: Callable[[float], None], on_delta: Callable[[Delta], None]
    ) -> Done | Refused | Lacking | Broken:
        self.tasks += 1
        try:
            self._to.write(frame(task))
            await self._to.drain()
            while isinstance(reply := read_reply(await self._frame()), Progress | Piece):
                if isinstance(reply, Piece):
                    on_delta(reply.delta)
                else:
                    on_progress(reply.fraction)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.kill()
            raise WorkerLost(_reason(await self._process.wait())) from None
        return reply

    def kill(self) -> None:
        # not Process.kill: it reaps the process behind the event loop's back, and its exit status is lost;
        # the whole group, for what a library started holds the pipes open
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def ended(self) -> None:
        await self._process.wait()
        self._to.close()

    async def _frame(self) -> bytes:
        size = int.from_bytes(await self._from.readexactly(HEADER_BYTES), "big")
        if size > MAX_FRAME_BYTES:
            raise ConnectionError("a worker sent something that is not a frame")
        return await self._from.readexactly(size)


async def _spawn(limits: Limits, preload: tuple[str, ...]) -> Process:
    """Start a worker: the same interpreter and import path, no secrets in its environment, its own session."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1", **_ONE_THREAD, **_OFFLINE}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "calotype.providers.local.worker",
        *(str(int(value)) for value in (os.getpid(), limits.memory_bytes, limits.niceness, limits.written_only)),
        *preload,
        stdin=PIPE,
        stdout=PIPE,
        env=environment,
        start_new_session=True,
    )


def _reason(returncode: int) -> str:
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
