"""The waiting scene: very many jobs that wait for their upstream, a SIGKILL, and how fast they are asked for again."""

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import ask
from benchmarks.processes import GATEWAY_CORE, Stage, cpu_s, free_port, pss_mib, rss_mib
from benchmarks.scenes import Request
from benchmarks.targets import ROOT, environment, serve

JOBS = 100_000
IDLE_S, POLLING_S, LIMIT_S = 10.0, 6.0, 60.0
KILL_AFTER = 1000
"""Polls, after which the first process is killed: in the middle of its work."""


def measure_waiting(stage: Stage, jobs: int = JOBS) -> dict[str, float]:
    """Run the scene and return its figures.

    `first_s` and `thousand_s` are counted from the SIGKILL to the poll, the start of the next process included.
    """
    folder = stage.folder / "waiting"
    folder.mkdir()
    env = environment(free_port(), folder / "data", "off")
    port = free_port()

    def start(*more: str) -> "subprocess.Popen[bytes]":
        return stage.start("waiting", serve(port, folder, *more), core=GATEWAY_CORE, env=env, cwd=ROOT)

    process = start("--waiting", str(jobs))
    _await(lambda: _up(port), "the server with the waiting jobs")
    stage.end(process)  # what inserting them left in memory goes with this process
    process = start("--again")
    _await(lambda: _up(port), "the server with the waiting jobs")
    time.sleep(2.0)
    pids = [process.pid]
    before = cpu_s(pids)
    time.sleep(IDLE_S)
    found = {
        "jobs": float(jobs),
        "idle_cores": round((cpu_s(pids) - before) / IDLE_S, 3),
        "rss_mib": rss_mib(pids),
        "pss_mib": pss_mib(pids),
    }
    marks = folder / "polls"
    _make_due(folder / "data" / "calotype.db")
    _await(lambda: _polls(marks) >= KILL_AFTER, "the first polls")
    killed = time.time()
    stage.end(process, signal.SIGKILL)
    marks.unlink()
    process = start("--again")
    _await(lambda: _polls(marks) >= 1000, "polls after the restart")
    found["first_s"] = round(_at(marks, 1) - killed, 2)
    found["thousand_s"] = round(_at(marks, 1000) - killed, 2)
    began, used, polls = time.monotonic(), cpu_s([process.pid]), _polls(marks)
    time.sleep(POLLING_S)
    took, used, polls = time.monotonic() - began, cpu_s([process.pid]) - used, _polls(marks) - polls
    found["polls_per_s"] = round(polls / took, 1)
    found["poll_cpu_us"] = round(used / max(1, polls) * 1e6, 1)
    found["polling_pss_mib"] = pss_mib([process.pid])
    stage.end(process)
    return found


def _up(port: int) -> bool:
    try:
        return ask(port, Request("/readyz", method="GET"), 2.0)[0] == 200
    except OSError:
        return False


def _make_due(path: Path) -> None:
    connection = sqlite3.connect(path, timeout=30)
    try:
        with connection:
            connection.execute("UPDATE job SET next_at_ms = ? WHERE state = 'running'", (int(time.time() * 1000),))
    finally:
        connection.close()


def _lines(marks: Path) -> list[dict[str, float]]:
    text = marks.read_text() if marks.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _polls(marks: Path) -> float:
    lines = _lines(marks)
    return lines[-1]["polls"] if lines else 0


def _at(marks: Path, polls: int) -> float:
    return next(line["at"] for line in _lines(marks) if line["polls"] >= polls)


def _await(what: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(f"{name}: nothing for {LIMIT_S:.0f} s")
        time.sleep(0.05)
