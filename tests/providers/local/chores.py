"""Small pieces of work for worker processes in tests."""

import os
import signal
import threading
from collections.abc import Callable
from typing import NamedTuple

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
