"""`/files`: uploads that requests can name instead of a URL (`wire/providers.md §7.4`)."""

import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from calotype.dialects.door import Exchange, Message, refuse_encoded, refuse_phi_files, too_large
from calotype.dialects.openai.answers import JSON
from calotype.dialects.openai.desk import Desk
from calotype.kernel.errors import Code, Problem
from calotype.media.uploads import Upload, is_upload_id

CHUNK_BYTES = 1 << 20
FORM_BYTES = 1 << 20
"""What a form may hold beside its files."""
MAX_FIELDS = 100
PAGE = 100
_WHOLE = re.compile(r"[0-9]{1,12}\Z")
_encode = msgspec.json.Encoder().encode


async def form_of(x: Exchange, *, max_files: int, max_bytes: int) -> dict[str, Any]:
    """Read a multipart or url-encoded body of up to `max_bytes`; files are spooled to disk by the parser.

    Raises:
        Problem: `invalid_input` for a body that is no form, `payload_too_large`, before the body is read where its
            length is announced.

    """
    refuse_encoded(x)
    announced = x.headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > max_bytes:
        raise too_large(max_bytes)
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await x.receive()
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise too_large(max_bytes)
        return message

    request = Request(x.scope, receive)
    try:
        form = await request.form(max_files=max_files, max_fields=MAX_FIELDS, max_part_size=CHUNK_BYTES)
    except MultiPartException as error:
        raise Problem(Code.INVALID_INPUT, f"The form cannot be read: {error.message[:200]}", field="body") from None
    except Exception as error:
        if type(error).__name__ == "HTTPException":
            raise Problem(Code.INVALID_INPUT, "The form cannot be read.", field="body") from None
        raise
    return dict(form)


async def create_file(desk: Desk, x: Exchange) -> None:
    """Store an uploaded file."""
    caller = await desk.door.enter(x)
    refuse_phi_files(x)
    if not x.headers.get(b"content-type", b"").lower().startswith(b"multipart/"):
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "Send the file as multipart/form-data.", field="Content-Type")
    form = await form_of(x, max_files=1, max_bytes=desk.uploads.max_bytes + FORM_BYTES)
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
        purpose = form.get("purpose", "")
        if not isinstance(purpose, str) or not (purpose.isprintable() and len(purpose) <= 100):
            raise Problem(Code.INVALID_INPUT, "purpose is a word of at most 100 characters.", field="purpose")
        upload = await desk.uploads.create(
            chunks_of(file), org_id=caller.org.id, filename=file.filename or "file",
            purpose=purpose, lifetime_s=lifetime_s,
        )  # fmt: skip
    finally:
        for part in form.values():
            if isinstance(part, UploadFile):
                await part.close()
    await x.answer(200, [JSON], _encode(file_object(upload)))


async def list_files(desk: Desk, x: Exchange) -> None:
    """Answer an organisation's uploads, newest first."""
    caller = await desk.door.enter(x, counted=False)
    after = x.query.get("after", "")
    if after and not is_upload_id(after):
        raise Problem(Code.NOT_FOUND, "There is no such file.", field="after")
    found = await desk.uploads.list(caller.org.id, before=after, limit=PAGE)
    data = [file_object(upload) for upload in found]
    await x.answer(200, [JSON], _encode({"object": "list", "data": data, "has_more": len(data) == PAGE}))


async def get_file(desk: Desk, x: Exchange) -> None:
    """Answer one upload, or redirect to its content."""
    caller = await desk.door.enter(x, counted=False)
    ident, slash, tail = x.rest.partition("/")
    upload = await desk.uploads.get(ident, caller.org.id)
    if upload is None or (slash and tail != "content"):
        raise Problem(Code.NOT_FOUND, "There is no such file.", field="id")
    if slash:
        await x.answer(302, [JSON, (b"location", desk.upload_url(x, upload).encode())], b"{}")
    else:
        await x.answer(200, [JSON], _encode(file_object(upload)))


async def delete_file(desk: Desk, x: Exchange) -> None:
    """Remove an upload."""
    caller = await desk.door.enter(x)
    if not await desk.uploads.delete(x.rest, caller.org.id):
        raise Problem(Code.NOT_FOUND, "There is no such file.", field="id")
    await x.answer(200, [JSON], _encode({"id": x.rest, "object": "file", "deleted": True}))


async def chunks_of(file: UploadFile) -> AsyncIterator[bytes]:
    """Yield an uploaded file in pieces."""
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk


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
