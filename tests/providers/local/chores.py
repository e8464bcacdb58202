"""Small pieces of work for worker processes in tests."""

import mmap
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from calotype.kernel.outcome import Delta
from calotype.providers.local.messages import BadInput

Progress = Callable[[float], None]


class Made(NamedTuple):
    png: bytes
    warnings: tuple[str, ...] = ()


def echo(*, progress: Progress, **arguments: object) -> Made:
    """Return the arguments as text, having told of four quarters."""
    for quarter in range(1, 5):
        progress(quarter / 4)
    print("noise on standard output")  # noqa: T201
    return Made(repr(sorted(arguments.items())).encode(), ("echoed",))


def whoami(*, progress: Progress) -> Made:
    return Made(f"{os.getpid()} {os.nice(0)} {sorted(os.environ)}".encode())


def hang(*, progress: Progress) -> Made:
    """Say that it began, then never end."""
    progress(0.5)
    threading.Event().wait()
    raise AssertionError


def fork_and_hang(*, progress: Progress) -> Made:
    """Leave a child that holds every pipe, then never end."""
    if os.fork() == 0:
        signal.pause()
    return hang(progress=progress)


def reserve(*, progress: Progress) -> Made:
    """Map far more than may be written, as engines do with files and devices."""
    with mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ):
        return Made(b"mapped")


def half(*, prompt: str, seed: int, progress: Progress) -> Made:
    """Finish a first call and hang in the second."""
    if seed == _first.setdefault("seed", seed):
        return Made(prompt.encode())
    return hang(progress=progress)


_first: dict[str, int] = {}


def leave(*, progress: Progress) -> Made:
    os._exit(7)


def segfault(*, progress: Progress) -> Made:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def gobble(*, progress: Progress) -> Made:
    return Made(bytes(bytearray(64 << 30)))


def refuse(*, progress: Progress) -> Made:
    raise BadInput("image_url", "This is not an image.")


def break_down(*, progress: Progress) -> Made:
    raise RuntimeError("a secret prompt")


def fill_up(*, progress: Progress) -> Made:
    with Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"a result")
    return Made(b"")


def speak(*, words: str, progress: Progress, show: Callable[[Delta], None] | None = None) -> Made:
    """Say words one by one to whoever listens."""
    for word in words.split():
        if show is not None:
            show(Delta("chat", {"content": word}))
    return Made(words.encode())
