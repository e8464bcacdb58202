"""Processes of the benchmark: start them on a core, read their CPU time and memory from /proc, end them always."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import FrameType

TICKS_S = os.sysconf("SC_CLK_TCK")
LOAD_CORE, GATEWAY_CORE = 0, 1
BOOST = os.environ.get("BENCH_BOOST")
"""`-15` gives the benchmark more weight than other people's work (root; kernels that group tasks by session)."""
END_GRACE_S = 8.0


def free_port() -> int:
    """Return a port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def allow_files() -> None:
    """Raise the limit of open files as far as it goes, here and in what is started from here on."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def boost(pid: int | str) -> None:
    """Raise the weight of a process's session, where BENCH_BOOST asks for it."""
    if BOOST:
        try:
            Path(f"/proc/{pid}/autogroup").write_text(BOOST)
        except OSError as error:
            print(f"no boost: {error}", flush=True)


class Stage:
    """Every process of one run; leaving it ends them all, also after Ctrl-C or SIGTERM."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Stage":
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGHUP, _leave)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # nothing may keep us from ending them
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(self._running):
            _signal(process, signal.SIGTERM)
        end = time.monotonic() + END_GRACE_S
        for process in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
        for process in self._running:
            _signal(process, signal.SIGKILL)
            process.wait()

    def start(
        self, name: str, command: list[str], *, core: int, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start a command on a core in a session of its own; what it prints goes to `NAME.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["taskset", "-c", str(core), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd,
                env={**os.environ, **(env or {})}, start_new_session=True,
            )  # fmt: skip
        self._running.append(process)
        boost(process.pid)
        return process

    def end(self, process: "subprocess.Popen[bytes]", how: signal.Signals = signal.SIGTERM) -> None:
        """End one process and wait for it."""
        _signal(process, how)
        try:
            process.wait(END_GRACE_S)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()
        _signal(process, signal.SIGKILL)  # children that outlived it
        self._running.remove(process)

    def last_words(self, name: str) -> str:
        """Return the end of a process's log."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _signal(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, how)


def tree(*roots: int) -> list[int]:
    """Return the processes and everything below them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(entry / "stat")):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    todo = list(roots)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def _stat(path: Path) -> list[str]:
    """Return the fields of a stat file from the state on; empty when the process is gone."""
    try:
        text = path.read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def runs(pid: int) -> bool:
    """Say whether a process lives and is no zombie."""
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return bool(fields) and fields[0] not in "ZX"


def cpu_s(pids: list[int]) -> float:
    """Return the CPU time the processes have used."""
    total = 0
    for pid in pids:
        if fields := _stat(Path(f"/proc/{pid}/stat")):
            total += int(fields[11]) + int(fields[12])
    return total / TICKS_S


def threads_cpu_s(pid: int) -> dict[int, float]:
    """Return the CPU time of each thread of a process."""
    times: dict[int, float] = {}
    for entry in Path(f"/proc/{pid}/task").iterdir():
        if fields := _stat(entry / "stat"):
            times[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS_S
    return times


def machine_cpu_s() -> float:
    """Return the CPU time everything on the machine has used."""
    line = Path("/proc/stat").read_text().partition("\n")[0]
    fields = [int(field) for field in line.split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS_S


def own_children_cpu_s() -> float:
    """Return the CPU time of our children that have ended (the load generator)."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def pss_mib(pids: list[int]) -> float:
    """Return the memory of the processes, shared pages divided by their users."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            if found := re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE):
                total += int(found[1])
    return round(total / 1024, 1)


def rss_mib(pids: list[int]) -> float:
    """Return the resident memory of the processes as if they were alone on the machine.

    What processes of one program share is counted once, by their PSS.
    """
    programs: dict[str, list[int]] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            programs.setdefault(str(Path(f"/proc/{pid}/exe").readlink()), []).append(pid)
    total = 0.0
    for group in programs.values():
        total += pss_mib(group) if len(group) > 1 else _rss_mib(group[0])
    return round(total, 1)


def _rss_mib(pid: int) -> float:
    with contextlib.suppress(OSError):
        if found := re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE):
            return int(found[1]) / 1024
    return 0.0


def quiet(limit_s: float) -> None:
    """Wait, at most so long, for a moment in which others leave the machine alone."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        before = machine_cpu_s()
        time.sleep(0.25)
        if machine_cpu_s() - before < 0.05:
            return
