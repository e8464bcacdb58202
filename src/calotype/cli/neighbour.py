"""The server of a data directory as other commands find it, or start it for as long as they need it."""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from calotype.cli.client import Client
from calotype.cli.terminal import Failure

START_S = 60.0
STOP_S = 40.0
LOG_LINES = 20
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Note(msgspec.Struct):
    """What a running server leaves in `engine.json`."""

    url: str
    pid: int


def running(data_dir: Path) -> str | None:
    """Return the address of the server that runs this data directory, None when none does."""
    note = read_note(data_dir)
    if note is None or not _exists(note.pid) or not Client(note.url).alive():
        return None
    return note.url


def read_note(data_dir: Path) -> Note | None:
    """Return what the last server left; it may have died since."""
    try:
        return msgspec.json.decode((data_dir / "engine.json").read_bytes(), type=Note)
    except (OSError, msgspec.DecodeError):
        return None


def engine_runs(data_dir: Path) -> bool:
    """Say whether a process holds the engine's lock of this data directory."""
    try:
        with (data_dir / "engine.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock, or none that may be read
        return False
    return False


@contextlib.contextmanager
def server(data_dir: Path, log: Path) -> Iterator[str]:
    """Run a server of this data directory as a process of its own on a free port; yields its address.

    It ends with the block, and also when this process is killed.

    Raises:
        Failure: it did not start; the message holds the end of its log.

    """
    command = [sys.executable, "-m", "calotype", "serve", "--host", "127.0.0.1", "--port", "0"]
    command += ["--data-dir", str(data_dir.absolute())]
    with log.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603  (our own program)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  (no thread runs here yet)
        )
    try:
        yield _address(process, data_dir, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end_with_parent() -> None:
    """Have the kernel stop this process gracefully when the one that started it dies (Linux alone offers that)."""
    with contextlib.suppress(AttributeError):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def log_tail(log: Path) -> str:
    """Return the last lines of a server's log, indented."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
    except OSError:
        lines = []
    return "\n".join(f"  {line}" for line in lines) or "  (it wrote nothing)"


def _address(process: "subprocess.Popen[bytes]", data_dir: Path, log: Path) -> str:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise Failure(
                f"The server did not start (exit status {process.returncode}). Its log ends:\n{log_tail(log)}"
            )
        note = read_note(data_dir)
        if note is not None and note.pid == process.pid and Client(note.url).alive():
            return note.url
        time.sleep(0.05)
    raise Failure(f"The server did not start within {START_S:.0f} s. Its log ends:\n{log_tail(log)}")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
