"""The port to a place that keeps media files, its value types and its errors."""

import errno
import re
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

from msgspec import Struct

from calotype.kernel.errors import Code, Problem

MAX_KEY_CHARS = 200
LARGE_BYTES = 4 << 20
"""From here on a file has its own thread, so that it does not hold up the pictures."""
ACTIVE = frozenset({"image/svg+xml", "text/html", "application/xhtml+xml", "text/xml", "application/xml"})
"""Types a browser would run scripts of."""

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*){0,7}\Z")


class StoreError(Problem):
    """The file could not be stored or read just now; nothing half-written is left under its key.

    To a caller it is the problem `unavailable`. Its text names no path, host or secret.
    """

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNAVAILABLE, message, retry_after_s=5)


class StoreFull(StoreError):  # noqa: N818  (says what is)
    """The disk or the quota is full."""


class Stored(Struct, frozen=True):
    """A durable file."""

    key: str
    size_bytes: int
    sha256: str


class Stat(Struct, frozen=True):
    """A file in the store; `modified_ms` is Unix time."""

    key: str
    size_bytes: int
    modified_ms: int


class Ready(Struct, frozen=True):
    """What a preparation decided: the key, the bytes or file to keep, and what it learned on the way."""

    key: str
    body: bytes | Path
    facts: Any = None


class Store(Protocol):
    """The port to a place that keeps files under keys such as `org/job/0.png`.

    Everything that reaches for the place may raise StoreError.
    """

    shared: bool
    """Whether the place may hold files of others, of another installation for one."""

    async def put(self, key: str, body: bytes | Path) -> Stored:
        """Keep the body; the same key again replaces it. A file from `temp_path` is moved, any other is copied."""
        ...

    async def put_prepared(self, prepare: Callable[[], Ready], *, large: bool = False) -> tuple[Stored, Any]:
        """Run `prepare` in the writing thread and keep what it returns; answers its `facts` too."""
        ...

    def temp_path(self) -> Path:
        """Return a fresh name for a file that is gathered before it is put; swept when left behind."""
        ...

    def path_of(self, key: str) -> Path | None:
        """Return the file of a key, None where files are not on this machine; it may not exist."""
        ...

    async def borrow(self, key: str) -> Path:
        """Return a file of this machine with the key's content, to be read only and given back after use."""
        ...

    async def give_back(self, path: Path) -> None:
        """Let go of what `borrow` returned; a copy that is never given back is swept."""
        ...

    async def presign(self, key: str, method: Literal["GET", "HEAD"], lifetime_s: int) -> str | None:
        """Return a URL at which anybody may fetch the file for that long, None where files are not served so."""
        ...

    async def open(self, key: str) -> bytes:
        """Return the whole file, at most 512 MiB; raises Problem(not_found)."""
        ...

    def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to `end` (exclusive), in bounded blocks; raises Problem(not_found)."""
        ...

    async def stat(self, key: str) -> Stat | None:
        """Return size and time, None when there is no such file."""
        ...

    async def exists(self, key: str) -> bool:
        """Say whether the key holds a file."""
        ...

    async def delete(self, keys: Iterable[str]) -> int:
        """Remove files and return how many; a missing one is no error, and a remote store counts it too."""
        ...

    def scan(self) -> AsyncIterator[list[Stat]]:
        """Yield every file, in pages of bounded size, in no order."""
        ...

    async def sweep_temp(self, older_than_ms: int) -> int:
        """Remove temporary files last touched before that instant; returns how many."""
        ...

    async def check(self) -> None:
        """Prove that something can be written and removed; raises StoreError with a sentence that says why not."""
        ...

    async def close(self) -> None:
        """Finish what is being written and end the threads."""
        ...


def check_key(key: str) -> str:
    """Return the key; raises ValueError unless it is 1 to 8 plain segments and at most 200 characters."""
    if not is_key(key):
        raise ValueError(f"not a storage key: {key[:80]!r}")
    return key


def is_key(text: str) -> bool:
    """Say whether a text has the form of our keys; other people's files in a shared place mostly have not."""
    return len(text) <= MAX_KEY_CHARS and _KEY.match(text) is not None


def designed(error: Exception) -> Exception:
    """Turn the system's error into ours, with a text that holds no path."""
    if not isinstance(error, OSError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull("The media store is full.")
    name = errno.errorcode.get(error.errno or 0, "unknown")
    return StoreError(f"The media store could not write ({name}).")
