"""Where the time goes: one scene under py-spy, or under cProfile in the server where py-spy is not installed."""

import json
import os
import pstats
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.measure import check, sample
from benchmarks.processes import LOAD_CORE, Stage, threads_cpu_s
from benchmarks.scenes import Scene
from benchmarks.targets import Target

SECONDS = 8
HERTZ = 250
TOP = 30
CPROFILE = "BENCH_CPROFILE"
Shares = defaultdict[str, float]
"""Function → CPU time a request, in microseconds."""
LOOP = "event loop"
WAITING = {"_worker concurrent/futures/thread.py", "Writer._run calotype/db/writer.py"}
"""Functions in which a thread with nothing to do sits."""


def spy() -> str | None:
    """Return the path of py-spy, where it is installed."""
    return shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


def prepare(stage: Stage) -> None:
    """Let the servers started from here on profile themselves, where py-spy is not installed."""
    if spy() is None:
        os.environ[CPROFILE] = str(stage.folder / "cprofile")


def profile(stage: Stage, target: Target, scene: Scene, upstream_pid: int) -> dict[str, Any]:
    """Run a scene under a profiler; return the CPU time by thread and the busiest functions, in µs a request."""
    pid = target.pids[0]
    check(target, scene)
    sample(target, scene, upstream_pid, 1)
    program = spy()
    raw = stage.folder / "stacks"
    recorder = None
    if program is not None:
        command = [program, "record", "--threads", "-p", str(pid), "-d", str(SECONDS), "-r", str(HERTZ), "-f", "raw"]
        recorder = stage.start("py-spy", [*command, "-o", str(raw)], core=LOAD_CORE)
    before = threads_cpu_s(pid)
    found = sample(target, scene, upstream_pid, SECONDS + 1)
    after = threads_cpu_s(pid)
    names = _thread_names(program, pid)
    if recorder is not None:
        recorder.wait(60)
    requests = found.rps * (SECONDS + 1)
    used: dict[str, float] = {}
    for thread, seconds in after.items():
        name = names.get(thread, LOOP if thread == pid else "others")
        used[name] = used.get(name, 0.0) + (seconds - before.get(thread, 0.0)) / requests * 1e6
    total = sum(used.values()) or 1.0
    threads = [
        {"name": name, "share": us / total, "us": us}
        for name, us in sorted(used.items(), key=lambda item: -item[1])
        if us >= 1
    ]
    if program is not None:
        by_self, by_total = _stacks(raw.read_text(), used)
    else:
        by_self, by_total = _cprofile(target, requests)
    return {
        "target": target.name, "rps": found.rps, "with": "py-spy" if program else "cProfile, main thread",
        "threads": threads, "self": _top(by_self), "total": _top(by_total),
    }  # fmt: skip


def _thread_names(program: str | None, pid: int) -> dict[int, str]:
    """Return the name of each thread, by its id in the system."""
    if program is None:
        return {}
    said = subprocess.run(
        [program, "dump", "--json", "-p", str(pid)], capture_output=True, text=True, timeout=30, check=False
    ).stdout
    return {int(thread["os_thread_id"]): _pool(thread.get("thread_name") or "") for thread in json.loads(said or "[]")}


def _pool(thread_name: str) -> str:
    """Return a thread's name without its number, so that those of one pool are one."""
    return LOOP if thread_name == "MainThread" else thread_name.rstrip("0123456789_") or "others"


def _stacks(text: str, used: dict[str, float]) -> tuple[Shares, Shares]:
    """Share the CPU time of each thread (µs) among its functions, by their samples: on top, and anywhere.

    The profiler cannot always tell that a thread waits: samples in which it does are left out, and so are the
    functions that are in nearly all samples of a thread.
    """
    stacks: dict[str, list[tuple[list[str], int]]] = {}
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        functions = [_function(frame) for frame in frames]
        if functions and functions[-1] not in WAITING:
            name = _pool(thread.partition(": ")[2])
            stacks.setdefault(name, []).append((functions, int(count)))
    by_self, by_total = Shares(float), Shares(float)
    for name, found in stacks.items():
        whole = sum(count for _, count in found)
        anywhere = Shares(float)
        for functions, samples in found:
            share = samples / whole * used.get(name, 0.0)
            by_self[functions[-1]] += share
            for function in set(functions):
                anywhere[function] += share
        trunk = 0.97 * used.get(name, 0.0)
        for function, us in anywhere.items():
            if us < trunk:
                by_total[function] += us
    return by_self, by_total


def _function(frame: str) -> str:
    """`send (calotype/http/client.py:123)` without the line."""
    name, _, place = frame.partition(" (")
    path = place.rpartition(":")[0] or place.rstrip(")")
    return f"{name} {_short(path)}" if path else name


def _short(path: str) -> str:
    for mark in ("site-packages/", "/src/", "/lib/python3"):
        if mark in path:
            tail = path.rpartition(mark)[2]
            return tail.partition("/")[2] if mark == "/lib/python3" else tail
    return path


def _cprofile(target: Target, requests: float) -> tuple[Shares, Shares]:
    """End the server and read what its cProfile left."""
    os.kill(target.pids[0], signal.SIGTERM)
    path = Path(os.environ[CPROFILE])
    for _ in range(100):
        if path.exists() and path.stat().st_size:
            break
        time.sleep(0.1)
    by_self, by_total = Shares(float), Shares(float)
    stats: Any = pstats.Stats(str(path))
    for (file, _line, name), (_, _, self_s, total_s, _) in stats.stats.items():
        by_self[f"{name} {_short(file)}"] += self_s / requests * 1e6
        by_total[f"{name} {_short(file)}"] += total_s / requests * 1e6
    return by_self, by_total


def _top(shares: Shares) -> list[dict[str, Any]]:
    return [{"name": name, "us": us} for name, us in sorted(shares.items(), key=lambda item: -item[1])[:TOP]]
