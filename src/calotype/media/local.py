"""Our own small durable store on the local disk.

A file is durable when `put` returns: temporary file, fsync, rename, fsync of the directory. Whatever waits at one
moment is written together by one thread, so that a burst of pictures costs one hop and shares its directory syncs.
"""

import asyncio
import hashlib
import os
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from calotype.kernel import points
from calotype.kernel.errors import Code, Problem
from calotype.media.lane import Lane
from calotype.media.spool import Spool
from calotype.media.store import LARGE_BYTES, Ready, Stat, Stored, check_key, designed

MAX_BATCH = 64
SHARDS = 256
BLOCK_BYTES = 1 << 20
_JOINER = "~"  # stands for "/" in file names; not in the alphabet of keys


class LocalStore:
    """Keeps files under `root`: `objects/<two hex digits>/<key>` and `tmp/`."""

    shared = False

    def __init__(self, root: Path, *, threads: int = 2) -> None:
        self._objects = root / "objects"
        self._spool = Spool(root / "tmp")
        self._shards = [self._objects / f"{number:02x}" for number in range(SHARDS)]
        missing = [folder for folder in (self._spool.folder, *self._shards) if not folder.is_dir()]
        for folder in missing:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if missing:
            for folder in (self._objects, root, root.parent):
                _sync_folder(folder)
        self._small = Lane(self._write_all, threads, "calotype-store", MAX_BATCH)
        self._large = Lane(self._write_all, threads, "calotype-store-large", 1)

    async def put(self, key: str, body: bytes | Path) -> Stored:
        """Keep the body under the key."""
        ready = Ready(check_key(key), body)
        large = isinstance(body, Path) or len(body) > LARGE_BYTES
        stored, _ = await self.put_prepared(lambda: ready, large=large)
        return stored

    async def put_prepared(self, prepare: Callable[[], Ready], *, large: bool = False) -> tuple[Stored, Any]:
        """Run `prepare` in a writing thread and keep what it returns."""
        return await (self._large if large else self._small).submit(prepare)

    def temp_path(self) -> Path:
        """Return a fresh name in the temporary folder."""
        return self._spool.path()

    def path_of(self, key: str) -> Path:
        """Return where the key's file is, or would be."""
        return self._shards[zlib.crc32(key.encode()) % SHARDS] / check_key(key).replace("/", _JOINER)

    async def borrow(self, key: str) -> Path:
        """Return the key's own file."""
        return self.path_of(key)

    async def give_back(self, path: Path) -> None:
        """Do nothing: what was lent is the stored file itself."""

    async def presign(self, key: str, method: Literal["GET", "HEAD"], lifetime_s: int) -> str | None:  # noqa: ARG002
        """Return None: the server itself serves these files."""
        return None

    async def open(self, key: str) -> bytes:
        """Return the whole file."""
        try:
            return await asyncio.to_thread(self.path_of(key).read_bytes)
        except FileNotFoundError:
            raise Problem(Code.NOT_FOUND, "There is no such file.") from None

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield a range of the file."""
        try:
            with await asyncio.to_thread(self.path_of(key).open, "rb") as file:
                file.seek(start)
                while start < end and (block := await asyncio.to_thread(file.read, min(BLOCK_BYTES, end - start))):
                    start += len(block)
                    yield block
        except FileNotFoundError:
            raise Problem(Code.NOT_FOUND, "There is no such file.") from None

    async def stat(self, key: str) -> Stat | None:
        """Return size and time of a file."""
        try:
            found = await asyncio.to_thread(self.path_of(key).stat)
        except FileNotFoundError:
            return None
        return Stat(key, found.st_size, found.st_mtime_ns // 1_000_000)

    async def exists(self, key: str) -> bool:
        """Say whether the key holds a file."""
        return await self.stat(key) is not None

    async def delete(self, keys: Iterable[str]) -> int:
        """Remove files; their folders are synced before this returns."""
        return await asyncio.to_thread(self._delete, [self.path_of(key) for key in keys])

    async def scan(self) -> AsyncIterator[list[Stat]]:
        """Yield one page per shard."""
        for shard in self._shards:
            page = await asyncio.to_thread(_list, shard)
            if page:
                yield page

    async def sweep_temp(self, older_than_ms: int) -> int:
        """Remove what writers that died left in the temporary folder."""
        return await asyncio.to_thread(self._spool.sweep, older_than_ms)

    async def check(self) -> None:
        """Write a file and remove it."""
        try:
            await asyncio.to_thread(self._spool.probe)
        except OSError as error:
            raise designed(error) from None

    async def close(self) -> None:
        """Finish what is being written and end the threads."""
        await asyncio.gather(self._small.close(), self._large.close())

    def _write_all(self, batch: list[Callable[[], Ready]]) -> list[tuple[Stored, Any] | Exception]:
        """Write everything, sync everything, rename everything, sync each folder once; one failure is one failure."""
        writes: list[_Write | Exception] = []
        for prepare in batch:
            temp = self.temp_path()
            write: _Write | None = None
            try:
                ready = prepare()
                write = _Write(ready, temp, self.path_of(ready.key))
                write.fill(moves=isinstance(ready.body, Path) and self._spool.holds(ready.body))
                writes.append(write)
            except Exception as error:
                if write is not None:
                    write.undo()
                writes.append(designed(error))
        _each(writes, _Write.sync)
        points.reach("store.partial")
        _each(writes, _Write.rename)
        failed: dict[Path, Exception] = {}
        for folder in {write.target.parent for write in writes if isinstance(write, _Write)}:
            try:
                _sync_folder(folder)
            except OSError as error:
                failed[folder] = designed(error)
        points.reach("store.written")
        return [
            write if isinstance(write, Exception) else failed.get(write.target.parent) or (write.stored, write.facts)
            for write in writes
        ]

    def _delete(self, paths: list[Path]) -> int:
        gone, folders = 0, set()
        for path in paths:
            try:
                path.unlink()
            except FileNotFoundError:
                continue
            gone += 1
            folders.add(path.parent)
        for folder in folders:
            _sync_folder(folder)
        return gone


class _Write:
    """One file on its way from a temporary name to its own."""

    __slots__ = ("_descriptor", "_moves", "_ready", "facts", "stored", "target", "temp")

    def __init__(self, ready: Ready, temp: Path, target: Path) -> None:
        self._ready = ready
        self._descriptor = -1
        self._moves = False
        self.temp = temp
        self.target = target
        self.facts = ready.facts
        self.stored: Stored

    def fill(self, *, moves: bool) -> None:
        body = self._ready.body
        if isinstance(body, bytes):
            self._create()
            _write(self._descriptor, body)
            size, digest = len(body), hashlib.sha256(body).hexdigest()
        elif moves:
            self._moves, self.temp = True, body
            self._descriptor = os.open(body, os.O_RDWR | os.O_CLOEXEC)
            size, digest = _digest(self._descriptor, None)
        else:
            self._create()
            source = os.open(body, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size, digest = _digest(source, self._descriptor)
            finally:
                os.close(source)
        self.stored = Stored(self._ready.key, size, digest)

    def _create(self) -> None:
        self._descriptor = os.open(self.temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def sync(self) -> None:
        _sync(self._descriptor)
        self._close()

    def rename(self) -> None:
        os.rename(self.temp, self.target)  # noqa: PTH104  (a Path method costs an object per file here)

    def undo(self) -> None:
        self._close()
        if not self._moves:  # a file that was gathered for us stays, so that storing it can be tried again
            self.temp.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def _each(writes: list["_Write | Exception"], step: Callable[["_Write"], None]) -> None:
    for index, write in enumerate(writes):
        if isinstance(write, Exception):
            continue
        try:
            step(write)
        except OSError as error:
            write.undo()
            writes[index] = designed(error)


_sync = getattr(os, "fdatasync", os.fsync)  # a new file's size is part of what fdatasync makes durable


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, block: bytes) -> None:
    written = os.write(descriptor, block)
    while written < len(block):
        written += os.write(descriptor, memoryview(block)[written:])


def _digest(source: int, copy_to: int | None) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while block := os.read(source, BLOCK_BYTES):
        digest.update(block)
        size += len(block)
        if copy_to is not None:
            _write(copy_to, block)
    return size, digest.hexdigest()


def _list(shard: Path) -> list[Stat]:
    page = []
    with os.scandir(shard) as entries:
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            page.append(Stat(entry.name.replace(_JOINER, "/"), found.st_size, found.st_mtime_ns // 1_000_000))
    return page
