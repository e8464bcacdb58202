"""Parts of a file that is uploaded in pieces: files in the temporary folder until the upload is complete.

A part that is sent again replaces the one before. What is never completed is swept with the temporary folder.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from calotype.http import FileSink
from calotype.kernel.errors import Code, Problem

MOST_PARTS = 10_000
SHARE = 4
"""How many times the largest upload the unfinished uploads of one organisation may hold together."""
READ_BYTES = 1 << 20


class Parts:
    """The parts of unfinished uploads; a part's name holds its organisation, file, number and digest."""

    def __init__(self, temp_path: Callable[[], Path], max_bytes: int) -> None:
        self._temp_path = temp_path
        self._folder = temp_path().parent
        self._max_bytes = max_bytes

    async def put(self, org_id: str, file_id: str, number: int, chunks: AsyncIterator[bytes]) -> str:
        """Keep a part and return its tag.

        Raises:
            Problem: `payload_too_large` when file or organisation hold too much, `invalid_input` for the number.

        """
        if not 1 <= number <= MOST_PARTS:
            raise Problem(Code.INVALID_INPUT, f"Parts are numbered from 1 to {MOST_PARTS}.", field="part_number")
        all_bytes, file_bytes = await asyncio.to_thread(self._held, org_id, file_id, number)
        path, digest, size = self._temp_path(), hashlib.sha256(), 0
        async with FileSink(path) as sink:
            async for chunk in chunks:
                size += len(chunk)
                if file_bytes + size > self._max_bytes or all_bytes + size > self._max_bytes * SHARE:
                    sentence = f"Uploads are limited to {self._max_bytes} bytes, unfinished ones to {SHARE} times that."
                    raise Problem(Code.PAYLOAD_TOO_LARGE, sentence, field="file")
                digest.update(chunk)
                await sink.write(chunk)
        tag = digest.hexdigest()[:32]
        await asyncio.to_thread(self._settle, path, org_id, file_id, number, tag)
        return tag

    async def chosen(self, org_id: str, file_id: str, tags: dict[int, str]) -> list[Path]:
        """Return the files of these parts in the order of their numbers.

        Raises:
            Problem: `invalid_input` for a part that is not there, or is another one than its tag says.

        """
        there = await asyncio.to_thread(self._tagged, org_id, file_id)
        paths: list[Path] = []
        for number in sorted(tags):
            tag, path = there.get(number, ("", None))
            if path is None or tag != tags[number]:
                sentence = f"Part {number} is missing or differs from its etag."
                raise Problem(Code.INVALID_INPUT, sentence, field="parts")
            paths.append(path)
        if not paths:
            raise Problem(Code.INVALID_INPUT, "parts lists the parts that were uploaded.", field="parts")
        return paths

    async def drop(self, org_id: str, file_id: str) -> None:
        """Remove the parts of a file."""
        await asyncio.to_thread(self._drop, org_id, file_id)

    def _settle(self, path: Path, org_id: str, file_id: str, number: int, tag: str) -> None:
        if not path.exists():  # an empty part was never written
            path.touch(mode=0o600)
        kept = path.rename(self._folder / f"{_base(org_id, file_id)}{number:05d}-{tag}")
        for other in self._folder.glob(f"{_base(org_id, file_id)}{number:05d}-*"):
            if other != kept:
                other.unlink(missing_ok=True)

    def _held(self, org_id: str, file_id: str, number: int) -> tuple[int, int]:
        """Return how many bytes the organisation's and the file's parts hold beside this one, which is replaced."""
        everything, ours = 0, 0
        replaced = f"{_base(org_id, file_id)}{number:05d}-"
        for path in self._folder.glob(f"{_base(org_id)}*"):
            if path.name.startswith(replaced):
                continue
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            everything += size
            ours += size if path.name.startswith(_base(org_id, file_id)) else 0
        return everything, ours

    def _tagged(self, org_id: str, file_id: str) -> dict[int, tuple[str, Path]]:
        found: dict[int, tuple[str, Path]] = {}
        for path in self._folder.glob(f"{_base(org_id, file_id)}*"):
            number, _, tag = path.name[len(_base(org_id, file_id)) :].partition("-")
            found[int(number)] = tag, path
        return found

    def _drop(self, org_id: str, file_id: str) -> None:
        for path in self._folder.glob(f"{_base(org_id, file_id)}*"):
            path.unlink(missing_ok=True)


async def chunks_of(paths: list[Path]) -> AsyncIterator[bytes]:
    """Yield the content of files, one after the other."""
    for path in paths:
        with await asyncio.to_thread(path.open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, READ_BYTES):
                yield chunk


def _base(org_id: str, file_id: str = "") -> str:
    return f"part-{org_id}-{file_id}-" if file_id else f"part-{org_id}-"
