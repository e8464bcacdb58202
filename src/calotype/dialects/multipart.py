"""Forms with files, as any dialect may be sent them: read up to a bound, the files spooled to disk."""

import sys
from collections.abc import AsyncIterator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from calotype.dialects.door import Exchange, Message, refuse_encoded, too_large
from calotype.kernel.errors import Code, Problem

CHUNK_BYTES = 1 << 20
FORM_BYTES = 1 << 20
"""What a form may hold beside its files."""
MAX_FIELDS = 100
EPILOGUE_BYTES = 1024
"""What may follow a form's last boundary."""


class _InMemory(MultiPartParser):
    """Keeps files in memory, whatever their size; the form is bounded."""

    spool_max_size = sys.maxsize


async def form_of(x: Exchange, *, max_files: int, max_bytes: int, in_memory: bool = False) -> FormData:
    """Read a multipart or url-encoded body of up to `max_bytes`; files are spooled to disk unless `in_memory`.

    Raises:
        Problem: `invalid_input` for a body that is no form, `payload_too_large`, before the body is read where its
            length is announced.

    """
    refuse_encoded(x)
    announced = x.headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > max_bytes:
        raise too_large(max_bytes)
    size, tail, last = 0, b"", _last_boundary(x)

    async def receive() -> Message:
        nonlocal size, tail
        message = await x.receive()
        body: bytes = message.get("body", b"")
        size += len(body)
        if size > max_bytes:
            raise too_large(max_bytes)
        tail = (tail + body[-len(last) - EPILOGUE_BYTES :])[-len(last) - EPILOGUE_BYTES :]
        return message

    request = Request(x.scope, receive)
    try:
        if in_memory and last:
            parser = _InMemory(
                request.headers, request.stream(), max_files=max_files, max_fields=MAX_FIELDS, max_part_size=CHUNK_BYTES
            )
            form = await parser.parse()
        else:
            form = await request.form(max_files=max_files, max_fields=MAX_FIELDS, max_part_size=CHUNK_BYTES)
    except ClientDisconnect:
        raise Problem(Code.INVALID_INPUT, "The request ended before its body did.", field="body") from None
    except MultiPartException as error:
        raise Problem(Code.INVALID_INPUT, f"The form cannot be read: {error.message[:200]}", field="body") from None
    except Exception as error:
        if type(error).__name__ == "HTTPException":
            raise Problem(Code.INVALID_INPUT, "The form cannot be read.", field="body") from None
        raise
    if last not in tail:  # the parser leaves out what is not whole, and says nothing
        await form.close()
        raise Problem(Code.INVALID_INPUT, "The form ends before its last boundary.", field="body")
    return form


def _last_boundary(x: Exchange) -> bytes:
    """Return what a multipart body ends with; nothing for another form."""
    kind, options = parse_options_header(x.headers.get(b"content-type", b""))
    return b"--" + options.get(b"boundary", b"") + b"--" if kind == b"multipart/form-data" else b""


async def chunks_of(file: UploadFile) -> AsyncIterator[bytes]:
    """Yield an uploaded file in pieces."""
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk
