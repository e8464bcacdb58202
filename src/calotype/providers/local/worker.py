"""The worker process: takes tasks from standard input, one at a time, and writes results as files.

Started as `python -m calotype.providers.local.worker PARENT_PID MEMORY_BYTES NICENESS WRITTEN_ONLY [MODULE …]`; the
modules are imported at once, so that the first task does not wait for them. It ends with its parent: the kernel kills
it on Linux, and elsewhere the end of standard input does.
"""

import contextlib
import ctypes
import errno
import importlib
import os
import queue
import resource
import shutil
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from calotype.providers.local.messages import (
    HEADER_BYTES,
    BadInput,
    Broken,
    Done,
    Lacking,
    Made,
    Piece,
    Progress,
    Refused,
    Reply,
    Task,
    Unavailable,
    frame,
    read_task,
)

MAX_FILE_BYTES = 2 << 30
MAX_WARNINGS = 50
MAX_WARNING_CHARS = 500
PROGRESS_STEP = 0.01
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until standard input ends."""
    parent_pid, memory_bytes, niceness, written_only = (int(value) for value in sys.argv[1:5])
    _confine(parent_pid, memory_bytes, niceness, written_only=bool(written_only))
    # whatever a library prints must not get between the frames
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, tasks), daemon=True).start()
    for name in sys.argv[5:]:
        with contextlib.suppress(Exception):  # the task that needs it will say what is wrong
            importlib.import_module(name)
    while True:
        _send(replies, _answer(read_task(tasks.get()), lambda message: _send(replies, message)))


def _confine(parent_pid: int, memory_bytes: int, niceness: int, *, written_only: bool) -> None:
    """Bound what this process may use and tie its life to its parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
    os.nice(niceness)
    os.umask(0o077)
    for limit, value in (
        (resource.RLIMIT_DATA if written_only else resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _receive(source: BinaryIO, tasks: queue.SimpleQueue[bytes]) -> None:
    """Hand tasks to the main thread; the end of the pipe is the end of the process, whatever it is doing."""
    while header := source.read(HEADER_BYTES):
        tasks.put(source.read(int.from_bytes(header, "big")))
    os._exit(0)


def _send(replies: BinaryIO, message: Reply) -> None:
    replies.write(frame(message))
    replies.flush()


def _answer(task: Task, send: Callable[[Reply], None]) -> Reply:
    """Do a task; whatever its function raises becomes a reply."""
    try:
        return _perform(task, send)
    except BadInput as error:
        return Refused(error.field, error.message)
    except Unavailable as error:
        return Lacking(error.message)
    except MemoryError:
        return Broken("MemoryError", out_of_memory=True)
    except Exception as error:  # the boundary: a task may fail in any way
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
        return Broken(place, no_room=isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))


def _perform(task: Task, send: Callable[[Reply], None]) -> Done:
    module, _, name = task.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    warnings: dict[str, None] = {}
    kinds: list[str | None] = []
    data: dict[str, Any] = {}
    usage: Counter[str] = Counter()
    rising = _rising(lambda fraction: send(Progress(fraction)))
    more: dict[str, Any] = {"show": lambda delta: send(Piece(delta))} if task.shows else {}
    for index, (arguments, path) in enumerate(zip(task.calls, task.paths, strict=True)):

        def progress(fraction: float, done: int = index) -> None:
            rising((done + min(max(fraction, 0.0), 1.0)) / len(task.calls))

        with _scratch(arguments.get("scratch")):
            made = function(**arguments, **more, progress=progress)
            if not isinstance(made, Made):
                made = Made(getattr(made, task.result), made.warnings)
            kinds.append(_keep(made, path))
        warnings.update(dict.fromkeys(made.warnings))
        data = data or made.data
        usage.update(made.usage)
        progress(1.0)
    told = tuple(warning[:MAX_WARNING_CHARS] for warning in list(warnings)[:MAX_WARNINGS])
    return Done(told, tuple(kinds), data, dict(usage))


@contextlib.contextmanager
def _scratch(folder: str | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    Path(folder).mkdir(mode=0o700, parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(made: Made, path: str) -> str | None:
    """Put the file in its place; return its content type, empty where the model's own holds."""
    if made.file is None:
        return None
    if isinstance(made.file, Path):
        shutil.move(made.file, path)
    else:
        Path(path).write_bytes(made.file)
    return made.content_type or ""


def _rising(send: Callable[[float], None]) -> Callable[[float], None]:
    """Pass on only what is further than before by a step worth a message."""
    last = 0.0

    def tell(fraction: float) -> None:
        nonlocal last
        if fraction >= last + PROGRESS_STEP or fraction == 1.0 > last:
            last = fraction
            send(fraction)

    return tell


if __name__ == "__main__":
    main()
