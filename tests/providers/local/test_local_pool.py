"""Worker processes: what one task does to them, and what they never do to the server."""

import asyncio
import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from calotype.providers.local.messages import Broken, Done, Refused, Task
from calotype.providers.local.pool import Limits, Pool, PoolBusy, WorkerLost

PATIENCE_S = 20.0


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(Limits(processes=1, queue=2))
    yield pool
    await pool.close()
    assert pool.pids == frozenset()


class Begun(asyncio.Event):
    """Set by the first progress of a task; keeps every fraction."""

    def __init__(self) -> None:
        super().__init__()
        self.fractions: list[float] = []

    def __call__(self, fraction: float) -> None:
        self.fractions.append(fraction)
        self.set()


def task(name: str, tmp_path: Path, *calls: dict[str, Any]) -> Task:
    calls = calls or ({},)
    return Task(f"chores:{name}", calls, "png", tuple(str(tmp_path / uuid.uuid4().hex) for _ in calls))


async def run(pool: Pool, work: Task, deadline_s: float = PATIENCE_S, begun: Begun | None = None) -> Any:
    return await pool.run(work, deadline_s=deadline_s, on_progress=begun or Begun())


async def whoami(pool: Pool, tmp_path: Path) -> list[str]:
    work = task("whoami", tmp_path)
    await run(pool, work)
    return Path(work.paths[0]).read_text().split(" ", 2)


async def begin_to_hang(pool: Pool, tmp_path: Path) -> tuple["asyncio.Task[Any]", int]:
    """Start a task that never ends; return it and the id of the process that does it."""
    begun = Begun()
    running = asyncio.create_task(run(pool, task("hang", tmp_path), begun=begun))
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    (pid,) = pool.pids
    return running, pid


def ends(pid: int) -> bool:
    """Wait for the end of a process that need not be our child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], PATIENCE_S)[0])
    finally:
        os.close(fd)


async def test_a_task_ends_with_its_files_and_warnings_and_rising_progress(pool: Pool, tmp_path: Path) -> None:
    begun = Begun()
    work = task("echo", tmp_path, {"seed": 1}, {"seed": 2})
    done = await run(pool, work, begun=begun)
    assert isinstance(done, Done)
    assert [Path(path).read_text() for path in work.paths] == ["[('seed', 1)]", "[('seed', 2)]"]
    assert done.warnings == ("echoed",)
    assert begun.fractions == [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]


async def test_a_process_stays_warm_steps_back_and_knows_no_secret(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    first, second = await whoami(pool, tmp_path), await whoami(pool, tmp_path)
    assert first == second
    assert int(first[0]) != os.getpid()
    assert int(first[1]) == min(os.nice(0) + 5, 19)
    assert "OPENAI_API_KEY" not in first[2]


async def test_processes_start_only_when_they_are_needed_and_never_more_than_allowed(tmp_path: Path) -> None:
    pool = Pool(Limits(processes=2, queue=10))
    try:
        assert not pool.pids
        await whoami(pool, tmp_path)
        assert len(pool.pids) == 1
        ids = await asyncio.gather(*(whoami(pool, tmp_path) for _ in range(6)))
        assert len({pid for pid, *_ in ids}) == 2 == len(pool.pids)
    finally:
        await pool.close()


async def test_what_does_not_fit_in_the_queue_is_refused_at_once(pool: Pool, tmp_path: Path) -> None:
    running, _ = await begin_to_hang(pool, tmp_path)
    waiting = [asyncio.create_task(run(pool, task("echo", tmp_path))) for _ in range(2)]
    await asyncio.sleep(0)
    assert pool.busy
    with pytest.raises(PoolBusy) as refusal:
        await run(pool, task("echo", tmp_path))
    assert refusal.value.retry_after_s >= 1.0
    running.cancel()
    assert all(isinstance(done, Done) for done in await asyncio.gather(*waiting))
    assert not pool.busy


async def test_cancelling_a_waiting_task_gives_its_place_back(pool: Pool, tmp_path: Path) -> None:
    running, pid = await begin_to_hang(pool, tmp_path)
    waiting = asyncio.create_task(run(pool, task("echo", tmp_path)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert pool.pids == {pid}
    running.cancel()
    await asyncio.wait([running])
    assert isinstance(await run(pool, task("echo", tmp_path)), Done)


async def test_cancelling_a_running_task_kills_its_process_and_readies_another(pool: Pool, tmp_path: Path) -> None:
    running, pid = await begin_to_hang(pool, tmp_path)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert len(pool.pids - {pid}) == 1
    assert isinstance(await run(pool, task("echo", tmp_path)), Done)


async def test_what_a_task_started_ends_with_it(pool: Pool, tmp_path: Path) -> None:
    begun = Begun()
    running = asyncio.create_task(run(pool, task("fork_and_hang", tmp_path), begun=begun))
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(PATIENCE_S):
        assert isinstance(await run(pool, task("echo", tmp_path)), Done), "nothing holds the place"


async def test_a_task_past_its_deadline_is_killed(pool: Pool, tmp_path: Path) -> None:
    await whoami(pool, tmp_path)
    (pid,) = pool.pids
    with pytest.raises(TimeoutError):
        await run(pool, task("hang", tmp_path), deadline_s=0.05)
    assert ends(pid)
    assert isinstance(await run(pool, task("echo", tmp_path)), Done)


@pytest.mark.parametrize(("name", "reason"), [("leave", "exit status 7"), ("segfault", "SIGSEGV")])
async def test_a_crash_costs_one_task(pool: Pool, tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(WorkerLost) as lost:
        await run(pool, task(name, tmp_path))
    assert lost.value.reason == reason
    assert isinstance(await run(pool, task("echo", tmp_path)), Done)


async def test_a_process_killed_while_idle_costs_nothing(pool: Pool, tmp_path: Path) -> None:
    await whoami(pool, tmp_path)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S):
        while pool.pids:
            await asyncio.sleep(0)
    assert isinstance(await run(pool, task("echo", tmp_path)), Done)


async def test_memory_is_bounded_and_the_process_that_met_the_bound_is_replaced(pool: Pool, tmp_path: Path) -> None:
    before = (await whoami(pool, tmp_path))[0]
    assert await run(pool, task("gobble", tmp_path)) == Broken("MemoryError", out_of_memory=True)
    assert (await whoami(pool, tmp_path))[0] != before


async def test_what_is_only_reserved_does_not_count_where_what_is_written_is_bounded(tmp_path: Path) -> None:
    pool = Pool(Limits(processes=1, memory_bytes=1 << 30, written_only=True))
    try:
        assert isinstance(await run(pool, task("reserve", tmp_path)), Done)
        reply = await run(pool, task("gobble", tmp_path))
        assert isinstance(reply, Broken)
        assert reply.out_of_memory
    finally:
        await pool.close()


async def test_refusals_and_errors_come_back_as_values_without_the_error_text(pool: Pool, tmp_path: Path) -> None:
    assert await run(pool, task("refuse", tmp_path)) == Refused("image_url", "This is not an image.")
    broken = await run(pool, task("break_down", tmp_path))
    assert isinstance(broken, Broken)
    assert broken.error.startswith("RuntimeError in chores.py:")
    missing = await run(pool, Task("no.such.module:f", ({},), "png", (str(tmp_path / "x"),)))
    assert isinstance(missing, Broken)


@pytest.mark.parametrize("seed", range(3))
async def test_a_storm_of_ends_of_every_kind_leaks_no_process_and_no_place(tmp_path: Path, seed: int) -> None:
    chance, others = random.Random(seed), children()
    pool = Pool(Limits(processes=2, queue=20))

    async def storm() -> None:
        name = chance.choice(["echo", "echo", "hang", "leave", "break_down"])
        running = asyncio.create_task(run(pool, task(name, tmp_path), deadline_s=0.1))
        if chance.random() < 0.6:
            for _ in range(chance.randrange(60)):
                await asyncio.sleep(0)
            running.cancel()
        await asyncio.wait([running])

    try:
        await asyncio.gather(*(storm() for _ in range(20)))
        async with asyncio.timeout(PATIENCE_S):
            while children() - others != pool.pids:
                await asyncio.sleep(0)
        assert len(pool.pids) <= 2
        assert all(isinstance(done, Done) for done in [await run(pool, task("echo", tmp_path)) for _ in range(3)])
    finally:
        await pool.close()
    assert not children() - others


def children() -> set[int]:
    """Return the ids of this process's living children."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.add(int(stat.parent.name))
    return found


async def test_a_closed_pool_takes_nothing_and_ends_what_runs(tmp_path: Path) -> None:
    pool = Pool(Limits(processes=1, queue=5))
    running, pid = await begin_to_hang(pool, tmp_path)
    waiting = asyncio.create_task(run(pool, task("echo", tmp_path)))
    await asyncio.sleep(0)
    await pool.close()
    results = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [WorkerLost, PoolBusy]
    assert ends(pid)
    with pytest.raises(PoolBusy):
        await run(pool, task("echo", tmp_path))


PARENT = """
import asyncio, sys
from calotype.providers.local.messages import Task
from calotype.providers.local.pool import Limits, Pool

async def main():
    pool = Pool(Limits(processes=2))
    async def run(name):
        def show(_): print(*pool.pids, flush=True)
        task = Task(f"chores:{name}", ({},), "png", (f"{sys.argv[1]}/{name}",))
        await pool.run(task, deadline_s=60, on_progress=show)
    await asyncio.gather(run("echo"), run("hang"))

asyncio.run(main())
"""


def test_no_process_outlives_a_killed_server(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids: set[int] = set()
    while len(pids) < 2:
        line = parent.stdout.readline()
        assert line, "the parent ended before both workers ran"
        pids |= {int(pid) for pid in line.split()}
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert all(ends(pid) for pid in pids)
