"""What the server and its worker processes say to each other: length-prefixed MessagePack frames over two pipes."""

from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from calotype.kernel.outcome import Delta

HEADER_BYTES = 4
MAX_FRAME_BYTES = 16 << 20


class BadInput(ValueError):  # noqa: N818  (it refuses an input; nothing went wrong)
    """The caller's input cannot be used; the message is shown, `field` names what to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class Unavailable(RuntimeError):  # noqa: N818  (this machine lacks something; nothing went wrong)
    """This machine cannot do it for now: a package or a model's weights are missing; the message is shown."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Made(Struct, frozen=True):
    """What a function made: a file as bytes, or one it wrote that may be moved away, or None for an answer in `data`.

    `content_type` is given where the function decides it. `data` and `usage` join the outcome's (`Succeeded`).
    """

    file: bytes | Path | None
    warnings: tuple[str, ...] = ()
    content_type: str | None = None
    data: dict[str, Any] = {}
    usage: dict[str, int] = {}


class ProgressCallback(Protocol):
    """How a function of a worker says how far it is."""

    def __call__(self, fraction: float) -> None:
        """Take a fraction between 0 and 1."""
        ...


class ShowCallback(Protocol):
    """How a function of a worker shows a piece of what it makes, to a caller who listens."""

    def __call__(self, piece: Delta, /) -> None:
        """Take a piece."""
        ...


class Task(Struct, frozen=True, tag="task"):
    """One piece of work: call `function` (`package.module:name`) once for each of `calls`.

    Each call also gets `progress` and returns `Made`, or an object with `warnings` and, in the attribute `result`, the
    bytes of a file; they are written to the path of the same place in `paths`. A folder named by the argument `scratch`
    is made before the call and removed after it. With `shows` a call also gets `show`, for pieces of what it makes.
    """

    function: str
    calls: tuple[dict[str, Any], ...]
    result: str
    paths: tuple[str, ...]
    shows: bool = False


class Progress(Struct, frozen=True, tag="progress"):
    """How far the task is; it never goes back."""

    fraction: float


class Piece(Struct, frozen=True, tag="piece"):
    """A piece of what is being made, for whoever listens."""

    delta: Delta


class Done(Struct, frozen=True, tag="done"):
    """Every file is written.

    `kinds` has the content type of each file where the function decided it, and None where there is no file. `data` is
    the first call's; `usage` is summed.
    """

    warnings: tuple[str, ...] = ()
    kinds: tuple[str | None, ...] = ()
    data: dict[str, Any] = {}
    usage: dict[str, int] = {}


class Refused(Struct, frozen=True, tag="refused"):
    """The function raised `BadInput`."""

    field: str
    message: str


class Lacking(Struct, frozen=True, tag="lacking"):
    """The function raised `Unavailable`."""

    message: str


class Broken(Struct, frozen=True, tag="broken"):
    """The function raised something else: `error` names its type and place, never a value.

    `out_of_memory` says that the process met its memory limit; it is not used again; `no_room` that the disk is full.
    """

    error: str
    out_of_memory: bool = False
    no_room: bool = False


Reply = Progress | Piece | Done | Refused | Lacking | Broken

_reply = msgspec.msgpack.Decoder(Reply)
_task = msgspec.msgpack.Decoder(Task)


def frame(message: Task | Reply) -> bytes:
    """Return a message as bytes for the pipe; raises ValueError when it is too large."""
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(body)} bytes is larger than {MAX_FRAME_BYTES}")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def read_task(body: bytes) -> Task:
    """Return the task in a frame's body."""
    return _task.decode(body)


def read_reply(body: bytes) -> Reply:
    """Return the reply in a frame's body."""
    reply: Reply = _reply.decode(body)
    return reply
