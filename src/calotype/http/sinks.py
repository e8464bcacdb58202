"""Where streamed bytes go: a file, memory, or memory first and a file when there are many."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

BLOCK_BYTES = 1 << 20
"""Bytes gathered before a thread writes them: one thread hop per mebibyte."""


class Sink(Protocol):
    """Takes the bytes of one body in order."""

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; raises OSError when they cannot be kept."""
        ...


class MemorySink:
    """Keeps everything in memory; the caller bounds the size."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._chunks.append(chunk)

    def value(self) -> bytes:
        """Return what was taken."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class FileSink:
    """Writes to a new file of mode 0600, a block at a time, off the event loop.

    Use as an async context manager; leaving it by an exception removes the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._descriptor: int | None = None
        self._chunks: list[bytes] = []
        self._waiting_bytes = 0

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; a full block goes to the disk before this returns."""
        self._chunks.append(chunk)
        self._waiting_bytes += len(chunk)
        self.size_bytes += len(chunk)
        if self._waiting_bytes >= BLOCK_BYTES:
            await self._flush()

    async def finish(self) -> None:
        """Write what is left and close the file."""
        await self._flush()
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    async def discard(self) -> None:
        """Close and remove the file."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)
        self._chunks.clear()
        await asyncio.to_thread(self.path.unlink, missing_ok=True)

    async def _flush(self) -> None:
        chunks, self._chunks, self._waiting_bytes = self._chunks, [], 0
        # shielded: a cancelled caller must not close a descriptor that a thread still writes to
        work = asyncio.ensure_future(asyncio.to_thread(self._append, chunks))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise

    def _append(self, chunks: list[bytes]) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        block = memoryview(b"".join(chunks))
        while block:
            block = block[os.write(self._descriptor, block) :]

    async def __aenter__(self) -> "FileSink":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.finish()
        else:
            await self.discard()


class SpoolSink:
    """Keeps up to `memory_bytes` in memory and moves to the file that `path` names when more comes.

    After `finish`, `body` is the bytes or the path. Leaving the context by an exception removes the file.
    """

    def __init__(self, path: Callable[[], Path], memory_bytes: int = BLOCK_BYTES) -> None:
        self.size_bytes = 0
        self.body: bytes | Path = b""
        self._name = path
        self._memory_bytes = memory_bytes
        self._memory: list[bytes] = []
        self._file: FileSink | None = None

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self.size_bytes += len(chunk)
        if self._file is not None:
            await self._file.write(chunk)
            return
        self._memory.append(chunk)
        if self.size_bytes > self._memory_bytes:
            self._path = self._name()
            self._file = FileSink(self._path)
            memory, self._memory = self._memory, []
            await self._file.write(b"".join(memory))

    async def finish(self) -> None:
        """Settle `body`."""
        if self._file is None:
            self.body = self._memory[0] if len(self._memory) == 1 else b"".join(self._memory)
        else:
            await self._file.finish()
            self.body = self._path

    async def __aenter__(self) -> "SpoolSink":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.finish()
        elif self._file is not None:
            await self._file.discard()
