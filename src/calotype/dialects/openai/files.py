"""`/files`: uploads that requests can name instead of a URL (`wire/providers.md §7.4`)."""

import re
from typing import Any

import msgspec
from starlette.datastructures import UploadFile

from calotype.dialects.door import Exchange, refuse_phi_files
from calotype.dialects.multipart import FORM_BYTES, chunks_of, form_of
from calotype.dialects.openai.answers import JSON
from calotype.dialects.openai.desk import Desk
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import KeyClass
from calotype.media.uploads import Upload, is_upload_id

PAGE = 10_000
"""Files in one answer at most, and where the request does not say."""
_WHOLE = re.compile(r"[0-9]{1,12}\Z")
_encode = msgspec.json.Encoder().encode


async def create_file(desk: Desk, x: Exchange) -> None:
    """Store an uploaded file."""
    caller = await desk.door.enter(x)
    refuse_phi_files(x)
    if not x.headers.get(b"content-type", b"").lower().startswith(b"multipart/"):
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "Send the file as multipart/form-data.", field="Content-Type")
    parts = await form_of(x, max_files=1, max_bytes=desk.uploads.max_bytes + FORM_BYTES)
    form: dict[str, Any] = dict(parts)
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Problem(Code.INVALID_INPUT, "file is required: a multipart part with a file name.", field="file")
        lifetime = form.get("expires_after[seconds]")
        lifetime_s: int | None = None
        if lifetime is not None:
            if not isinstance(lifetime, str) or not _WHOLE.match(lifetime) or int(lifetime) < 1:
                raise Problem(
                    Code.INVALID_INPUT, "expires_after[seconds] is a whole number of at least 1.",
                    field="expires_after[seconds]",
                )  # fmt: skip
            lifetime_s = int(lifetime)
        purpose = _purpose(form.get("purpose", ""))
        upload = await desk.uploads.create(
            chunks_of(file), org_id=caller.org.id, filename=file.filename or "file",
            purpose=purpose, lifetime_s=lifetime_s,
        )  # fmt: skip
    finally:
        await parts.close()
    await x.answer(200, [JSON], _encode(file_object(upload)))


async def list_files(desk: Desk, x: Exchange) -> None:
    """Answer a page of an organisation's uploads; the shared test key lists nothing."""
    caller = await desk.door.enter(x, counted=False)
    if caller.key.key_class is KeyClass.TEST:
        raise Problem(Code.FORBIDDEN, "A test key lists no files; fetch a file by its id.")
    query = x.query
    after, order = query.get("after", ""), query.get("order", "desc")
    if after and not is_upload_id(after):
        raise Problem(Code.NOT_FOUND, "There is no such file.", field="after")
    if order not in ("asc", "desc"):
        raise Problem(Code.INVALID_INPUT, "order is asc or desc.", field="order")
    limit = query.get("limit", str(PAGE))
    if not _WHOLE.match(limit) or not 1 <= int(limit) <= PAGE:
        raise Problem(Code.INVALID_INPUT, f"limit is a whole number from 1 to {PAGE}.", field="limit")
    found = await desk.uploads.list(
        caller.org.id, beyond=after, limit=int(limit) + 1, oldest_first=order == "asc",
        purpose=_purpose(query.get("purpose", "")),
    )  # fmt: skip
    data = [file_object(upload) for upload in found[: int(limit)]]
    body = {
        "object": "list", "data": data, "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None, "has_more": len(found) > len(data),
    }  # fmt: skip
    await x.answer(200, [JSON], _encode(body))


def _purpose(given: Any) -> str:
    if not isinstance(given, str) or not (given.isprintable() and len(given) <= 100):
        raise Problem(Code.INVALID_INPUT, "purpose is a word of at most 100 characters.", field="purpose")
    return given


async def get_file(desk: Desk, x: Exchange) -> None:
    """Answer one upload."""
    await x.answer(200, [JSON], _encode(file_object(await _found(desk, x))))


async def get_file_content(desk: Desk, x: Exchange) -> None:
    """Redirect to the content of an upload."""
    upload = await _found(desk, x)
    await x.answer(302, [JSON, (b"location", desk.upload_url(x, upload).encode())], b"{}")


async def _found(desk: Desk, x: Exchange) -> Upload:
    caller = await desk.door.enter(x, counted=False)
    upload = await desk.uploads.get(x.rest, caller.org.id)
    if upload is None:
        raise Problem(Code.NOT_FOUND, "There is no such file.", field="id")
    return upload


async def delete_file(desk: Desk, x: Exchange) -> None:
    """Remove an upload."""
    caller = await desk.door.enter(x)
    if not await desk.uploads.delete(x.rest, caller.org.id):
        raise Problem(Code.NOT_FOUND, "There is no such file.", field="id")
    await x.answer(200, [JSON], _encode({"id": x.rest, "object": "file", "deleted": True}))


def file_object(upload: Upload) -> dict[str, Any]:
    """Encode an upload as OpenAI's file object."""
    return {
        "id": upload.id,
        "object": "file",
        "bytes": upload.size_bytes,
        "created_at": upload.created_at_ms // 1000,
        "expires_at": upload.expires_at_ms // 1000,
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": "processed",
        "content_type": upload.content_type,
    }
