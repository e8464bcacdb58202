"""The streams scene: very many open event streams, and how long a change takes to reach the client."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import ask
from benchmarks.processes import (
    GATEWAY_CORE,
    LOAD_CORE,
    Stage,
    cpu_s,
    free_port,
    machine_cpu_s,
    pss_mib,
    rss_mib,
    runs,
)
from benchmarks.scenes import Request
from benchmarks.stepping_jobs import EVERY_S, STEPS
from benchmarks.targets import ROOT, environment, serve

STATUS_STREAMS, CHAT_STREAMS = 1600, 400
SECONDS = STEPS * EVERY_S
LIMIT_S = 120.0


def measure_streams(stage: Stage, *, status: int = STATUS_STREAMS, chats: int = CHAT_STREAMS) -> dict[str, float]:
    """Run the scene and return its figures; CPU and memory are the server's while everything is open."""
    folder = stage.folder / "streams"
    folder.mkdir()
    port, upstream = free_port(), free_port()
    env = environment(upstream, folder / "data", "off")
    env["CALOTYPE_PROVIDERS__BENCH_CHAT__KIND"] = "openai"
    env["CALOTYPE_PROVIDERS__BENCH_CHAT__BASE_URL"] = f"http://127.0.0.1:{upstream}/v1"
    env["CALOTYPE_PROVIDERS__BENCH_CHAT__API_KEY"] = "sk-up"
    command = serve(port, folder, "--stepping", str(status))
    server = stage.start("streams", command, core=GATEWAY_CORE, env=env, cwd=ROOT)
    _await(lambda: _up(port), "the server of the streams", server)
    command = [sys.executable, "-m", "benchmarks.listeners", str(port), str(upstream), str(folder)]
    command += ["--chats", str(chats), "--seconds", str(SECONDS)]
    load = stage.start("listeners", command, core=LOAD_CORE, cwd=ROOT)
    _await((folder / "open").exists, "open streams", load)
    _make_due(folder / "data" / "calotype.db")
    before = _used(server, load)
    time.sleep(SECONDS / 2)
    memory = {"pss_mib": pss_mib([server.pid]), "rss_mib": rss_mib([server.pid])}
    _await((folder / "over").exists, "the end of the streams", load)
    after = _used(server, load)
    _await((folder / "listened").exists, "the figures of the streams", load)
    found: dict[str, float] = json.loads((folder / "listened").read_text())
    ours, everything = after[0] - before[0], after[1] - before[1]
    stage.end(load)
    stage.end(server)
    return {
        **found, **memory, "cores": round(ours / found["seconds"], 3),
        "others": round(max(0.0, everything) / found["seconds"], 2),
    }  # fmt: skip


def _used(server: "subprocess.Popen[bytes]", load: "subprocess.Popen[bytes]") -> tuple[float, float]:
    """Return the CPU time of the server, and of everybody but server and load generator."""
    ours = cpu_s([server.pid])
    return ours, machine_cpu_s() - ours - cpu_s([load.pid])


def _make_due(path: Path) -> None:
    """Let the jobs that step be asked for, spread over the pause between two steps."""
    connection = sqlite3.connect(path, timeout=30)
    try:
        with connection:
            connection.execute(
                "UPDATE job SET next_at_ms = ? + abs(random()) % ? WHERE provider = 'bench_step'",
                (int(time.time() * 1000), int(EVERY_S * 1000)),
            )
    finally:
        connection.close()


def _up(port: int) -> bool:
    try:
        return ask(port, Request("/readyz", method="GET"), 2.0)[0] == 200
    except OSError:
        return False


def _await(what: Callable[[], bool], name: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + LIMIT_S
    while not what():
        if time.monotonic() > end or not runs(process.pid):
            raise TimeoutError(f"{name}: nothing came")
        time.sleep(0.05)
