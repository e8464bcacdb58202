"""The media of a request: checked before anything is held, fetched when the job runs, in the form a provider wants.

Files of PHI come inside the request and stay in memory. Where a provider wants a file, it gets one that has a name in
`/proc` and no place on any disk.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pybase64
import structlog

from calotype.jobs.types import JobRow
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass
from calotype.kernel.ids import JobId
from calotype.kernel.steps import FileRef
from calotype.media.inputs import MAX_HEAD_CHARS, Inputs, StoredInput, parse_data_uri
from calotype.media.probe import HEAD_BYTES, sniff
from calotype.media.store import Store, StoreError
from calotype.media.uploads import Uploads
from calotype.providers.base import MediaInputs

log = structlog.get_logger(__name__)

MAX_SCHEME_CHARS = 24
MAX_FILES = 64
"""Media values in one request."""
MAX_PHI_BYTES = 32 * 1024 * 1024
"""What the files of a PHI request may come to, for they are held in memory."""


def media_values(fields: dict[str, Any], media_fields: dict[str, str]) -> list[tuple[str, str, int]]:
    """Return the media references of an input: path for messages, value, position in the field.

    Raises:
        Problem: `invalid_input` for something that is not text, or for too many files.

    """
    found: list[tuple[str, str, int]] = []
    for name in media_fields:
        value = fields.get(name)
        if value is None:
            continue
        for n, item in enumerate(value if isinstance(value, list) else [value]):
            path = f"{name}.{n}" if isinstance(value, list) else name
            if not isinstance(item, str):
                raise Problem(Code.INVALID_INPUT, f"{path} must be a URL, a data URI or a file id.", field=path)
            found.append((path, item, n))
    if len(found) > MAX_FILES:
        raise Problem(Code.INVALID_INPUT, f"At most {MAX_FILES} files may be given in one request.", field=found[-1][0])
    return found


def linked(messages: Any) -> Iterator[tuple[str, str]]:
    """Yield the addresses of files inside a conversation, each with its path: upstreams open them by themselves."""
    for n, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for m, part in enumerate(content if isinstance(content, list) else ()):
            for name, held in part.items() if isinstance(part, dict) else ():
                values = held.values() if isinstance(held, dict) else (held,) if name.endswith("_url") else ()
                for value in values:
                    if isinstance(value, str) and "://" in value[:MAX_SCHEME_CHARS]:
                        yield f"messages[{n}].content[{m}].{name}", value


def check_phi_files(fields: dict[str, Any], media_fields: dict[str, str]) -> None:
    """Refuse files of a PHI request that lie anywhere else, and more of them than memory is given.

    Raises:
        Problem: `phi_blocked` or `payload_too_large` that names the field.

    """
    left = MAX_PHI_BYTES
    for path, value, _ in media_values(fields, media_fields):
        if not value.startswith("data:"):
            sentence = "A file of a PHI request comes inside the request, in a form or as a data URI."
            raise Problem(Code.PHI_BLOCKED, sentence, field=path)
        left -= len(value) * 3 // 4
        if left < -MAX_HEAD_CHARS:
            sentence = f"The files of a PHI request come to {MAX_PHI_BYTES} bytes at most."
            raise Problem(Code.PAYLOAD_TOO_LARGE, sentence, field=path)


class InputFiles:
    """Brings a job's media to where its provider can read them."""

    def __init__(self, inputs: Inputs, uploads: Uploads, store: Store) -> None:
        self._inputs = inputs
        self._uploads = uploads
        self._store = store
        self._copies: dict[JobId, list[str]] = {}
        self._borrowed: dict[JobId, list[Path]] = {}
        self._held: dict[JobId, list[int]] = {}

    def check(self, fields: dict[str, Any], media_fields: dict[str, str]) -> None:
        """Refuse what can be refused without I/O.

        Raises:
            Problem: `invalid_input` that names the field.

        """
        for path, value, _ in media_values(fields, media_fields):
            self._inputs.check(value, path)
        for path, value in linked(fields.get("messages")):  # an upstream of the operator's may reach private places
            self._inputs.check(value, path)

    async def shelve(self, fields: dict[str, Any], media_fields: dict[str, str], org_id: str) -> dict[str, Any]:
        """Put files that came inside the request into storage and leave their ids, so that the job row stays small.

        Raises:
            Problem: `invalid_input` or `payload_too_large` that names the field.

        """
        shelved = dict(fields)
        for path, value, n in media_values(fields, media_fields):
            if not value.startswith("data:"):
                continue
            upload = await self._uploads.create(_decoded(value, path), org_id=org_id, filename="input", purpose="input")
            name = path.partition(".")[0]
            if isinstance(shelved[name], list):
                shelved[name] = [upload.id if i == n else item for i, item in enumerate(shelved[name])]
            else:
                shelved[name] = upload.id
        return shelved

    async def prepare(
        self, job: JobRow, fields: dict[str, Any], wanted: MediaInputs
    ) -> tuple[dict[str, Any], dict[str, tuple[FileRef, ...]]]:
        """Return the input, and the files of its media fields, as a provider of this kind takes them.

        Raises:
            Problem: `invalid_input` that names the field whose file cannot be had.

        """
        try:
            return await self._prepared(job, dict(fields), wanted)
        except BaseException:
            await self.release(job)
            raise

    async def _prepared(
        self, job: JobRow, fields: dict[str, Any], wanted: MediaInputs
    ) -> tuple[dict[str, Any], dict[str, tuple[FileRef, ...]]]:
        files: dict[str, tuple[FileRef, ...]] = {}
        for name in job.plan.media_fields:
            value = fields.get(name)
            if value is None:
                continue
            many = isinstance(value, list)
            items = value if many else [value]
            if wanted is MediaInputs.URL and all(item.startswith(("http://", "https://")) for item in items):
                continue
            if job.data_class is DataClass.PHI:
                if wanted is MediaInputs.FILE:
                    files[name] = tuple([await self._in_memory(job, name, item) for item in items])
                    del fields[name]
                else:
                    texts = [await _named(item, name) for item in items]
                    fields[name] = texts if many else texts[0]
                continue
            taken = [await self._take(job, name, n, item) for n, item in enumerate(items)]
            if wanted is MediaInputs.FILE:
                files[name] = tuple([await self._file(job, one) for one in taken])
                del fields[name]
            else:
                texts = [await self._data_uri(one) for one in taken]
                fields[name] = texts if many else texts[0]
        return fields, files

    async def release(self, job: JobRow) -> None:
        """Remove the copies that were fetched for this job; uploads and our own media stay."""
        for descriptor in self._held.pop(job.id, ()):
            os.close(descriptor)
        for path in self._borrowed.pop(job.id, ()):
            await self._store.give_back(path)
        if keys := self._copies.pop(job.id, None):
            try:
                await self._store.delete(keys)
            except StoreError as error:  # the sweep finds them; the job's outcome must not be lost over this
                log.warning("copies_left", job_id=job.id, error=str(error))

    async def _take(self, job: JobRow, name: str, n: int, value: str) -> StoredInput:
        base = f"{job.org_id}/{job.id}/in/{name}-{n}"
        stored = await self._inputs.take(value, org_id=job.org_id, key_base=base, field=name)
        if stored.key.startswith(base):
            self._copies.setdefault(job.id, []).append(stored.key)
        return stored

    async def _file(self, job: JobRow, stored: StoredInput) -> FileRef:
        path = await self._store.borrow(stored.key)
        self._borrowed.setdefault(job.id, []).append(path)
        return FileRef(path, stored.content_type, path.name)

    async def _in_memory(self, job: JobRow, name: str, value: str) -> FileRef:
        """Return a file that lies in memory; it can be opened by its name until the job lets go of it."""
        body = await _bytes_of(value, name)
        descriptor = os.memfd_create("input", os.MFD_CLOEXEC)
        self._held.setdefault(job.id, []).append(descriptor)
        await asyncio.to_thread(_write, descriptor, body)
        kind = sniff(body[:HEAD_BYTES])
        return FileRef(Path(f"/proc/{os.getpid()}/fd/{descriptor}"), kind, f"input.{kind.rpartition('/')[2]}")

    async def _data_uri(self, stored: StoredInput) -> str:
        body = await self._store.open(stored.key)
        return f"data:{stored.content_type};base64,{pybase64.b64encode(body).decode()}"


async def _decoded(value: str, field: str) -> AsyncIterator[bytes]:
    yield await _bytes_of(value, field)


async def _bytes_of(value: str, field: str) -> bytes:
    uri = parse_data_uri(value, max_bytes=len(value), field=field)
    try:
        return await asyncio.to_thread(uri.decode)
    except ValueError:
        raise Problem(Code.INVALID_INPUT, "The input is not valid Base64.", field=field) from None


async def _named(value: str, field: str) -> str:
    """Return a data URI that says what its bytes are."""
    body = await _bytes_of(value, field)
    return f"data:{sniff(body[:HEAD_BYTES])};base64,{pybase64.b64encode(body).decode()}"


def _write(descriptor: int, body: bytes) -> None:
    view = memoryview(body)
    while view:
        view = view[os.write(descriptor, view) :]
