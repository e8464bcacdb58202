"""Serves a file of object storage through this server, whole or one range of it, without ever holding it whole."""

import re
from collections.abc import AsyncIterator

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from calotype.media.store import Stat, Store

_ONE_RANGE = re.compile(r"bytes=\s*(?:(\d+)-(\d*)|-(\d+))\s*\Z")


async def relay(
    store: Store, found: Stat, *, method: str, wanted: str, if_range: str, headers: dict[str, str], content_type: str
) -> Response:
    """Answer GET or HEAD for a file whose ETag is among the headers.

    `wanted` is the Range header; several ranges at once are answered with the whole file, as RFC 9110 §14.2 allows.
    Raises Problem when the storage cannot be read.
    """
    size = found.size_bytes
    match = _ONE_RANGE.match(wanted) if method == "GET" else None
    start, end, status = 0, size, 200
    if match is not None and if_range in ("", headers["ETag"]):
        start, end = _bounds(match, size)
        if start >= end:
            return PlainTextResponse(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        headers = {**headers, "Content-Range": f"bytes {start}-{end - 1}/{size}"}
        status = 206
    headers = {**headers, "Accept-Ranges": "bytes", "Content-Length": str(end - start)}
    if method == "HEAD" or start == end:
        return Response(status_code=status, headers=headers, media_type=content_type)
    blocks = store.read(found.key, start, end)
    first = await anext(blocks)  # before the status is sent, so that a storage that fails gets an answer in words
    return StreamingResponse(_all(first, blocks), status, headers=headers, media_type=content_type)


def _bounds(match: re.Match[str], size: int) -> tuple[int, int]:
    """Return first byte and end (exclusive); an empty range cannot be satisfied."""
    first, last, suffix = match.groups()
    if suffix is not None:
        return max(0, size - int(suffix)), size
    return int(first), min(int(last) + 1, size) if last else size


async def _all(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for block in rest:
        yield block
