"""Turns what a provider produced into a stored artifact: fetched or decoded, stripped, probed, durable."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from msgspec import Struct

from calotype.db.tx import Row
from calotype.http import Blocked, DownloadError, Guard, SpoolSink, download
from calotype.kernel.outcome import Output
from calotype.media import base64_text
from calotype.media.base64_text import Encoded
from calotype.media.probe import EXTENSIONS, Facts, is_quick, probe
from calotype.media.store import LARGE_BYTES, Ready, Store, Stored, StoreError, StoreFull
from calotype.media.strip import strip


class Artifact(Struct, frozen=True):
    """A produced file of a job.

    `stored` tells whether it is in our store under `key`; otherwise `url` is the upstream's own and `key` is empty.
    """

    n: int
    key: str
    stored: bool
    content_type: str
    name: str
    expires_at_ms: int
    url: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    acl: str | None = None


class KeepError(Exception):
    """An output that could not be kept; `retryable` says whether the same output may be kept later.

    `reason` is one of: status, too_large, redirects, timeout, connection, empty, blocked, encoding, missing, full,
    store.
    """

    def __init__(self, message: str, reason: str, *, retryable: bool, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class Kept(Struct, frozen=True):
    """What the store's thread learned: the file's facts and what was taken out of it."""

    facts: Facts
    removed: tuple[str, ...]
    malformed: bool


async def keep(
    output: Output | Encoded,
    *,
    key_base: str,
    n: int = 0,
    max_bytes: int,
    expires_at_ms: int,
    store: Store,
    guard: Guard,
    timeout_s: float = 120.0,
    rehost: bool = True,
    strip_prompts: bool = True,
) -> Artifact:
    """Keep one output under `<key_base>.<extension>`; keeping it again under the same base changes nothing.

    With `rehost` off an output that is a URL is passed on. Raises KeepError.
    """
    if isinstance(output, Output) and output.url is not None and not output.url.startswith("data:"):
        if not rehost:
            return _passed_on(output, n, expires_at_ms)
        spool = SpoolSink(store.temp_path)
        try:
            async with spool:
                await download(
                    output.url, to=spool, max_bytes=max_bytes, timeout_s=timeout_s, guard=guard,
                    headers=output.url_headers,
                )  # fmt: skip
        except Blocked as error:
            raise KeepError(error.message, "blocked", retryable=False) from None
        except DownloadError as error:
            raise KeepError(
                str(error), error.reason, retryable=error.retryable, retry_after_s=error.retry_after_s
            ) from None
        except OSError:
            raise KeepError("The media store could not write.", "store", retryable=True) from None
        stored, kept = await keep_gathered(
            spool.body, key_base=key_base, max_bytes=max_bytes, store=store, strip_prompts=strip_prompts
        )
    else:
        stored, kept = await keep_body(
            _held(output), key_base=key_base, max_bytes=max_bytes, store=store, strip_prompts=strip_prompts
        )
    facts = kept.facts
    return Artifact(
        n=n,
        key=stored.key,
        stored=True,
        content_type=facts.content_type,
        name=stored.key.rpartition("/")[2],
        expires_at_ms=expires_at_ms,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        width=facts.width,
        height=facts.height,
        duration_s=facts.duration_s,
    )


async def keep_gathered(
    body: bytes | Path | Encoded, *, key_base: str, max_bytes: int, store: Store, strip_prompts: bool = False
) -> tuple[Stored, Kept]:
    """Do what `keep_body` does for a body gathered for this one try: when it cannot be kept, its file goes too."""
    try:
        return await keep_body(body, key_base=key_base, max_bytes=max_bytes, store=store, strip_prompts=strip_prompts)
    except Exception:  # not a cancellation: the store may still be reading the file then
        if isinstance(body, Path):
            await asyncio.to_thread(body.unlink, missing_ok=True)
        raise


async def keep_body(
    body: bytes | Path | Encoded, *, key_base: str, max_bytes: int, store: Store, strip_prompts: bool = False
) -> tuple[Stored, Kept]:
    """Probe and store a body that is already here; raises KeepError.

    A file from `store.temp_path` is moved when it succeeds and stays where it is when it does not; any other file is
    copied. A temporary file nobody asks for again is swept.
    """
    if isinstance(body, Encoded) and base64_text.size_of(body.text) > max_bytes + 6:
        raise KeepError(f"The file is larger than {max_bytes} bytes.", "too_large", retryable=False)

    def prepare() -> Ready:
        plain = base64_text.decode(body.text) if isinstance(body, Encoded) else body
        if isinstance(plain, Path) and not plain.is_file():
            raise KeepError("The produced file is gone.", "missing", retryable=False)
        if isinstance(plain, Path) and strip_prompts and plain.parent != scratch.parent:
            plain = _copy(plain, scratch, max_bytes)  # somebody else's file is never changed
        size = plain.stat().st_size if isinstance(plain, Path) else len(plain)
        if size > max_bytes:
            raise KeepError(f"The file is larger than {max_bytes} bytes.", "too_large", retryable=False)
        if size == 0:
            raise KeepError("The file is empty.", "empty", retryable=True)
        facts = probe(plain)
        removed: tuple[str, ...] = ()
        malformed = False
        if strip_prompts:
            result = strip(plain, facts.content_type)
            plain, removed, malformed = result.body, result.removed, result.malformed
        return Ready(f"{key_base}.{facts.extension}", plain, Kept(facts, removed, malformed))

    scratch = store.temp_path()
    large = isinstance(body, Path)
    if isinstance(body, bytes):
        large = len(body) > LARGE_BYTES or not is_quick(body[:64])
    elif isinstance(body, Encoded):
        large = base64_text.size_of(body.text) > LARGE_BYTES
    try:
        return await store.put_prepared(prepare, large=large)
    except StoreFull as error:
        raise KeepError(str(error), "full", retryable=True, retry_after_s=error.retry_after_s) from None
    except StoreError as error:
        raise KeepError(str(error), "store", retryable=True, retry_after_s=error.retry_after_s) from None
    except KeepError as error:
        if error.reason == "missing" and (found := await _already_kept(store, key_base)) is not None:
            return found
        raise
    except ValueError:
        raise KeepError("The upstream's Base64 text cannot be decoded.", "encoding", retryable=False) from None


async def _already_kept(store: Store, key_base: str) -> tuple[Stored, Kept] | None:
    """Find what an earlier attempt moved into the store just before its process died."""
    keys = [f"{key_base}.{extension}" for extension in EXTENSIONS.values()]
    try:
        found = [one.key for one in await asyncio.gather(*map(store.stat, keys)) if one is not None]
        if not found:
            return None
        path = await store.borrow(found[0])
    except StoreError as error:
        raise KeepError(str(error), "store", retryable=True) from None
    try:
        return await asyncio.to_thread(_looked_at, found[0], path)
    finally:
        await store.give_back(path)


def _looked_at(key: str, path: Path) -> tuple[Stored, Kept]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Stored(key, path.stat().st_size, digest), Kept(probe(path), (), malformed=False)


def _held(output: Output | Encoded) -> bytes | Path | Encoded:
    if isinstance(output, Encoded):
        return output
    if output.base64 is not None:
        return Encoded(output.base64, output.content_type)
    if output.path is not None:
        return Path(output.path)
    if output.data is not None:
        return output.data
    if output.url is not None:
        head, comma, text = output.url.partition(",")
        if comma and head.endswith(";base64"):
            return Encoded(text, head[5:].partition(";")[0] or None)
    raise KeepError("The upstream answered with nothing that can be kept.", "empty", retryable=False)


def _passed_on(output: Output, n: int, expires_at_ms: int) -> Artifact:
    kind = (output.content_type or "application/octet-stream").partition(";")[0].strip().lower()
    return Artifact(
        n=n,
        key="",
        stored=False,
        content_type=kind,
        name=f"{n}.{EXTENSIONS.get(kind, 'bin')}",
        expires_at_ms=expires_at_ms,
        url=output.url,
        width=output.width,
        height=output.height,
        duration_s=output.duration_s,
    )


def _copy(source: Path, target: Path, max_bytes: int) -> Path:
    left = max_bytes + 1
    with source.open("rb") as file, target.open("xb") as copy:
        while left > 0 and (block := file.read(min(1 << 20, left))):
            copy.write(block)
            left -= len(block)
    return target


def as_params(artifact: Artifact, *, job_id: str, org_id: str, created_at_ms: int) -> dict[str, Any]:
    """Return the parameters of `tables.INSERT_ARTIFACT`."""
    return {
        "job_id": job_id,
        "n": artifact.n,
        "org_id": org_id,
        "key": artifact.key,
        "stored": int(artifact.stored),
        "url": artifact.url,
        "content_type": artifact.content_type,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "width": artifact.width,
        "height": artifact.height,
        "duration_ms": None if artifact.duration_s is None else round(artifact.duration_s * 1000),
        "name": artifact.name,
        "created_at_ms": created_at_ms,
        "expires_at_ms": artifact.expires_at_ms,
        "acl": artifact.acl,
    }


def from_row(row: Row) -> tuple[str, Artifact, int | None]:
    """Map a row of `tables.ARTIFACTS_OF_JOBS` to (job id, artifact, when it was deleted)."""
    job_id, n, key, stored, url, kind, size, sha256, width, height, duration_ms, name, expires_at_ms, deleted = row
    duration_s = None if duration_ms is None else duration_ms / 1000
    found = Artifact(
        n=n,
        key=key,
        stored=bool(stored),
        content_type=kind,
        name=name,
        expires_at_ms=expires_at_ms,
        url=url,
        size_bytes=size,
        sha256=sha256,
        width=width,
        height=height,
        duration_s=duration_s,
    )
    return job_id, found, deleted
