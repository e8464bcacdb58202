"""LoRAs that a caller names by URL: fetched through the guard into a folder that the worker shares (§8 rule 3).

Only `.safetensors` files are taken: their header is read before a worker sees them, and they hold no code.
"""

import asyncio
import hashlib
import os
import struct
from pathlib import Path

import msgspec

from calotype.http import Blocked, DownloadError, FileSink, Guard, download
from calotype.kernel.outcome import Failed, FailedKind
from calotype.kernel.steps import NOT_JSON

SUBFOLDER = "calotype"
MAX_BYTES = 2 << 30
MAX_KEPT_BYTES = 100 << 30
"""What all LoRAs by URL in one folder may take; those that were wanted longest ago give way."""
MAX_HEADER_BYTES = 16 << 20
TIMEOUT_S = 600.0
_SUFFIX = ".safetensors"


def is_url(value: object) -> bool:
    """Say whether a LoRA is given by URL and not by a file's name."""
    return isinstance(value, str) and value.lower().startswith(("http://", "https://"))


def name_of(url: str) -> str:
    """Return the name by which workers know the LoRA behind a URL."""
    return f"{SUBFOLDER}/{hashlib.sha256(url.encode()).hexdigest()[:32]}{_SUFFIX}"


class Loras:
    """Brings LoRAs into shared folders, each file once."""

    def __init__(self, guard: Guard, *, max_bytes: int = MAX_BYTES, max_kept_bytes: int = MAX_KEPT_BYTES) -> None:
        self._guard = guard
        self._max_bytes = max_bytes
        self._max_kept_bytes = max_kept_bytes
        self._coming: dict[tuple[str, str], asyncio.Task[str | Failed]] = {}

    async def bring(self, url: str, folder: str, field: str) -> str | Failed:
        """Return the name by which workers know the LoRA behind a URL, having fetched it if it was not there."""
        key = (url, folder)
        task = self._coming.get(key)
        if task is None:
            task = self._coming[key] = asyncio.create_task(self._bring(url, Path(folder), field))
            task.add_done_callback(lambda _: self._coming.pop(key, None))
        return await asyncio.shield(task)

    async def _bring(self, url: str, folder: Path, field: str) -> str | Failed:
        name = name_of(url)
        target = folder / name
        if await asyncio.to_thread(_wanted_again, target):
            return name
        part = target.with_name(f".{target.name}.{os.urandom(6).hex()}.part")
        try:
            await asyncio.to_thread(_make, folder, target.parent)
            async with FileSink(part) as sink:
                await download(
                    url, to=sink, max_bytes=self._max_bytes, timeout_s=TIMEOUT_S, guard=self._guard, field=field
                )
            if not await asyncio.to_thread(is_safetensors, part):
                return Failed(FailedKind.INVALID, "The LoRA is not a .safetensors file.", field=field)
            await asyncio.to_thread(_make_room, part, self._max_kept_bytes)
            await asyncio.to_thread(part.chmod, 0o644)  # the worker runs as somebody else
            await asyncio.to_thread(part.replace, target)
        except Blocked as refusal:
            return Failed(FailedKind.INVALID, refusal.message, field=field)
        except DownloadError as error:
            kind = FailedKind.RETRY if error.retryable else FailedKind.INVALID
            return Failed(
                kind, f"The LoRA could not be fetched: {error}", field=field, retry_after_s=error.retry_after_s
            )
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return Failed(FailedKind.RETRY, "The LoRA could not be put into the workers' folder.", detail=reason)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
        return name


def is_safetensors(path: Path) -> bool:
    """Say whether a file has a header of tensors that fits its size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            return False
        (length,) = struct.unpack("<Q", start)
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            return False
        try:
            header = msgspec.json.decode(file.read(length))
        except NOT_JSON:
            return False
    tensors = [one for name, one in header.items() if name != "__metadata__"] if isinstance(header, dict) else []
    return bool(tensors) and all(_fits(one, size - 8 - length) for one in tensors)


def _fits(tensor: object, room: int) -> bool:
    offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2:
        return False
    begin, end = offsets
    return isinstance(begin, int) and isinstance(end, int) and 0 <= begin <= end <= room


def _wanted_again(target: Path) -> bool:
    """Say whether a file is there, and note that it was wanted now."""
    try:
        os.utime(target)
    except FileNotFoundError:
        return False
    except OSError:  # it is somebody else's, and only stays as old as it is
        return target.exists()
    return True


def _make_room(part: Path, most: int) -> None:
    """Remove those of our files that were wanted longest ago, until this one fits beside the others."""
    kept = sorted((file.stat().st_mtime_ns, file.stat().st_size, file) for file in part.parent.glob(f"*{_SUFFIX}"))
    left = part.stat().st_size + sum(taken for _, taken, _ in kept) - most
    for _, taken, file in kept:
        if left <= 0:
            break
        file.unlink(missing_ok=True)
        left -= taken


def _make(root: Path, folder: Path) -> None:
    """Make our folder inside the shared one, which must be there: a mount that is missing is not replaced."""
    if not root.is_dir():
        raise NotADirectoryError(20, "the shared folder is not there")
    folder.mkdir(exist_ok=True)
