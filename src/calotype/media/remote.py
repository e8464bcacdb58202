"""Keeps files in object storage: S3 and what speaks it, Google Cloud Storage, Azure.

A file is decided on, stripped and hashed in our own threads, from memory or from the spool on the local disk, and then
sent by the client's. An object appears whole or not at all. The same key again is overwritten with the same bytes.
"""

import asyncio
import hashlib
import io
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from obstore import delete_async, get_range_async, head_async, put_async, sign_async
from obstore import list as list_objects
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from calotype.kernel import points
from calotype.kernel.errors import Code, Problem
from calotype.media.lane import MAX_WAITING, Lane
from calotype.media.probe import EXTENSIONS
from calotype.media.refusals import explained, is_missing
from calotype.media.spool import Spool
from calotype.media.store import (
    ACTIVE,
    LARGE_BYTES,
    Ready,
    Stat,
    Stored,
    StoreError,
    check_key,
    designed,
    is_key,
)  # fmt: skip

PART_BYTES = 8 << 20
"""A larger file is sent in parts of this size, `PARTS` of them at a time."""
PARTS = 2
SMALL_UPLOADS = 64
LARGE_UPLOADS = 4
"""Bounds the memory of uploads: 64 bodies of up to 4 MiB and 4 times 3 parts of 8 MiB."""
MAX_BATCH = 8
BLOCK_BYTES = 4 << 20
MAX_OPEN_BYTES = 512 << 20
PAGE = 1000
HEALTHY_S = 10.0
"""A check that went well stands for this long, so that asking often costs little."""

_TYPE_OF = {extension: kind for kind, extension in EXTENSIONS.items()}
_Result = TypeVar("_Result")


class RemoteStore:
    """Keeps files as objects named by their keys, below the prefix that the backend was opened with."""

    shared = True

    def __init__(self, backend: ObjectStore, spool: Path, *, threads: int = 2) -> None:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._backend = backend
        self._spool = Spool(spool)
        self._small = Lane(_decide, threads, "calotype-store", MAX_BATCH)
        self._large = Lane(_decide, threads, "calotype-store-large", 1)
        self._small_slots = asyncio.Semaphore(SMALL_UPLOADS)
        self._large_slots = asyncio.Semaphore(LARGE_UPLOADS)
        self._writes: set[asyncio.Future[tuple[Stored, Any]]] = set()
        self._check_key = f".calotype/check-{os.urandom(6).hex()}"  # not one of our keys: no scan shows it
        self._healthy_until_s = 0.0

    async def put(self, key: str, body: bytes | Path) -> Stored:
        """Keep the body under the key."""
        ready = Ready(check_key(key), body)
        large = isinstance(body, Path) or len(body) > LARGE_BYTES
        stored, _ = await self.put_prepared(lambda: ready, large=large)
        return stored

    async def put_prepared(self, prepare: Callable[[], Ready], *, large: bool = False) -> tuple[Stored, Any]:
        """Run `prepare` in one of our threads and send what it returns; a cancelled caller does not stop that."""
        if len(self._writes) >= MAX_WAITING:
            raise Problem(Code.UNAVAILABLE, "The media store is overloaded.", retry_after_s=1)
        write = asyncio.ensure_future(self._keep(prepare, large))
        self._writes.add(write)
        write.add_done_callback(self._written)
        return await asyncio.shield(write)

    def temp_path(self) -> Path:
        """Return a fresh name in the spool."""
        return self._spool.path()

    def path_of(self, key: str) -> None:
        """Return None: no file is on this machine."""
        check_key(key)

    async def borrow(self, key: str) -> Path:
        """Copy the file into the spool, under a name with the key's extension."""
        found = await self._found(key)
        path = self._spool.path(Path(key).suffix)
        descriptor = await asyncio.to_thread(os.open, path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                async for block in self.read(key, 0, found.size_bytes):
                    await asyncio.to_thread(_write, file.fileno(), block)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise designed(error) from None
            raise
        return path

    async def give_back(self, path: Path) -> None:
        """Remove the copy."""
        if self._spool.holds(path):
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def presign(self, key: str, method: Literal["GET", "HEAD"], lifetime_s: int) -> str | None:
        """Return a signed URL; None where these credentials cannot sign."""
        if not isinstance(self._backend, S3Store | GCSStore | AzureStore):
            return None
        try:
            return await sign_async(self._backend, method, check_key(key), timedelta(seconds=lifetime_s))
        except Exception:
            return None

    async def open(self, key: str) -> bytes:
        """Return the whole file."""
        found = await self._found(key)
        if found.size_bytes > MAX_OPEN_BYTES:
            raise Problem(Code.PAYLOAD_TOO_LARGE, f"The file is larger than {MAX_OPEN_BYTES} bytes.")
        return b"".join([block async for block in self.read(key, 0, found.size_bytes)])

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield a range, one request a block, so that a slow reader holds no connection open."""
        while start < end:
            stop = min(start + BLOCK_BYTES, end)
            block = await self._asked(get_range_async(self._backend, check_key(key), start=start, end=stop))
            if block is None:
                raise Problem(Code.NOT_FOUND, "There is no such file.")
            yield block.to_bytes()
            start = stop

    async def stat(self, key: str) -> Stat | None:
        """Return size and time of an object."""
        meta = await self._asked(head_async(self._backend, check_key(key)))
        return None if meta is None else Stat(key, meta["size"], int(meta["last_modified"].timestamp() * 1000))

    async def exists(self, key: str) -> bool:
        """Say whether the key holds an object."""
        return await self.stat(key) is not None

    async def delete(self, keys: Iterable[str]) -> int:
        """Remove objects, a thousand a request where the storage can; returns how many were asked for."""
        given = [check_key(key) for key in keys]
        for start in range(0, len(given), PAGE):
            page = given[start : start + PAGE]
            try:
                await delete_async(self._backend, page)
            except Exception as error:
                if not is_missing(error):
                    raise self._refused(error) from None
                for key in page:  # one of them was missing, and some storages leave it unclear what that stopped
                    await self._asked(delete_async(self._backend, key))
        return len(given)

    async def scan(self) -> AsyncIterator[list[Stat]]:
        """Yield pages of a thousand; objects whose names are not of our form are not ours and are left out."""
        pages = list_objects(self._backend, chunk_size=PAGE)
        while True:
            try:
                page = await anext(pages)
            except StopAsyncIteration:
                return
            except Exception as error:
                raise self._refused(error) from None
            yield [
                Stat(one["path"], one["size"], int(one["last_modified"].timestamp() * 1000))
                for one in page
                if is_key(one["path"])
            ]

    async def sweep_temp(self, older_than_ms: int) -> int:
        """Remove what was left in the spool."""
        return await asyncio.to_thread(self._spool.sweep, older_than_ms)

    async def check(self) -> None:
        """Write and delete a small object, unless that went well a moment ago and nothing has failed since."""
        if time.monotonic() < self._healthy_until_s:
            return
        try:
            await asyncio.to_thread(self._spool.probe)
        except OSError as error:
            raise designed(error) from None
        try:
            await put_async(self._backend, self._check_key, b"ok", use_multipart=False)
            await delete_async(self._backend, self._check_key)
        except Exception as error:
            raise self._refused(error) from None
        self._healthy_until_s = time.monotonic() + HEALTHY_S

    async def close(self) -> None:
        """Finish what is being sent and end the threads."""
        while self._writes:
            await asyncio.wait(self._writes)
        await asyncio.gather(self._small.close(), self._large.close())

    async def _keep(self, prepare: Callable[[], Ready], large: bool) -> tuple[Stored, Any]:
        async with self._large_slots if large else self._small_slots:
            stored, ready = await (self._large if large else self._small).submit(prepare)
            try:
                await self._send(stored, ready.body)
            except Exception as error:
                raise self._refused(error) from None
        if isinstance(ready.body, Path):
            await self.give_back(ready.body)
        return stored, ready.facts

    async def _send(self, stored: Stored, body: bytes | Path) -> None:
        attributes = headers_of(stored.key)
        if stored.size_bytes > PART_BYTES:
            parts = _parts(body, stored.size_bytes)
            await put_async(
                self._backend, stored.key, parts, attributes=attributes, chunk_size=PART_BYTES, max_concurrency=PARTS
            )
        else:
            whole = body if isinstance(body, bytes) else await asyncio.to_thread(body.read_bytes)
            points.reach("store.partial")
            await put_async(self._backend, stored.key, whole, attributes=attributes, use_multipart=False)
        points.reach("store.written")

    def _written(self, write: asyncio.Future[tuple[Stored, Any]]) -> None:
        self._writes.discard(write)
        if not write.cancelled():
            write.exception()  # whoever waited has heard of it; when nobody waits any more nobody has to

    async def _found(self, key: str) -> Stat:
        found = await self.stat(key)
        if found is None:
            raise Problem(Code.NOT_FOUND, "There is no such file.")
        return found

    async def _asked(self, answer: Awaitable[_Result]) -> _Result | None:
        """Return what the storage answers, None for an object that is missing."""
        try:
            return await answer
        except Exception as error:
            if is_missing(error):
                return None
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> StoreError:
        self._healthy_until_s = 0.0
        return explained(error)


def headers_of(key: str) -> dict[str, str]:
    """Return what the storage answers with the file; what a browser would run scripts of is only ever saved."""
    name = key.rpartition("/")[2]
    kind = _TYPE_OF.get(name.rpartition(".")[2], "application/octet-stream")
    return {
        "Content-Type": kind,
        "Content-Disposition": f'{"attachment" if kind in ACTIVE else "inline"}; filename="{name}"',
        "Cache-Control": "private, max-age=3600, immutable",
    }


def _decide(batch: list[Callable[[], Ready]]) -> list[tuple[Stored, Ready] | Exception]:
    """Prepare and hash each; one failure is one failure."""
    decided: list[tuple[Stored, Ready] | Exception] = []
    for prepare in batch:
        try:
            ready = prepare()
            decided.append((_stored(check_key(ready.key), ready.body), ready))
        except Exception as error:
            decided.append(designed(error))
    return decided


def _stored(key: str, body: bytes | Path) -> Stored:
    if isinstance(body, bytes):
        return Stored(key, len(body), hashlib.sha256(body).hexdigest())
    with body.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Stored(key, file.tell(), digest)


def _parts(body: bytes | Path, size_bytes: int) -> Iterator[bytes]:
    """Yield the parts in order; the object is still partial when the last one is about to go."""
    with io.BytesIO(body) if isinstance(body, bytes) else body.open("rb") as file:
        for start in range(0, size_bytes, PART_BYTES):
            if start + PART_BYTES >= size_bytes:
                points.reach("store.partial")
            yield file.read(PART_BYTES)


def _write(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
