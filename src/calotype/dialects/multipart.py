"""Forms with files, as any dialect may be sent them: read up to a bound, the files spooled to disk."""

from collections.abc import AsyncIterator

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from calotype.dialects.door import Exchange, Message, refuse_encoded, too_large
from calotype.kernel.errors import Code, Problem

CHUNK_BYTES = 1 << 20
FORM_BYTES = 1 << 20
"""What a form may hold beside its files."""
MAX_FIELDS = 100


async def form_of(x: Exchange, *, max_files: int, max_bytes: int) -> FormData:
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
        return await request.form(max_files=max_files, max_fields=MAX_FIELDS, max_part_size=CHUNK_BYTES)
    except MultiPartException as error:
        raise Problem(Code.INVALID_INPUT, f"The form cannot be read: {error.message[:200]}", field="body") from None
    except Exception as error:
        if type(error).__name__ == "HTTPException":
            raise Problem(Code.INVALID_INPUT, "The form cannot be read.", field="body") from None
        raise


async def chunks_of(file: UploadFile) -> AsyncIterator[bytes]:
    """Yield an uploaded file in pieces."""
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk
