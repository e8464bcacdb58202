"""A server as a process of its own, for tests."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from program import environment


class Running:
    """A server process, its data directory and its address."""

    def __init__(self, process: "subprocess.Popen[bytes]", data_dir: Path, log: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.log = log
        self.url = ""
        self.key = ""

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextlib.contextmanager
def start(data_dir: Path, *arguments: str, prices: dict[str, int] | None = None, **variables: str) -> Iterator[Running]:
    """Run `calotype serve` until the block ends; it is ready when the block begins."""
    log = data_dir.parent / "server.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "calotype", "serve", *arguments],
            env=environment(data_dir) | {"CALOTYPE_PRICES": json.dumps(prices or {})} | variables,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    server = Running(process, data_dir, log)
    try:
        note = data_dir / "engine.json"
        until = time.monotonic() + 30
        while "listens on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        server.url = json.loads(note.read_text())["url"]
        yield server
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
