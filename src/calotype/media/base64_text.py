"""Base64 as it comes in JSON answers and data URIs, decoded in a thread and never on the event loop.

msgspec's decoder is about twice as fast as `binascii` and refuses foreign characters; only texts it does not take
(missing padding, URL-safe alphabet, line breaks) go the slow way.
"""

import asyncio
import base64
import binascii

import msgspec
from msgspec import Struct

LOOP_CHARS = 64 * 1024
"""Up to here decoding costs less than the hop to a thread."""


class Encoded(Struct, frozen=True):
    """A produced file as Base64 text, still encoded; `content_type` is what the upstream claims."""

    text: bytes | str
    content_type: str | None = None


def decode(text: bytes | str) -> bytes:
    """Decode Base64; raises ValueError when it is none."""
    raw = text.encode("ascii") if isinstance(text, str) else text
    try:
        return msgspec.json.decode(b'"%b"' % raw, type=bytes)
    except msgspec.DecodeError:
        plain = b"".join(raw.split()).replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        try:
            return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
        except binascii.Error as error:
            raise ValueError("not Base64") from error


def size_of(text: bytes | str) -> int:
    """Return an upper bound of the decoded size without decoding."""
    return len(text) * 3 // 4 + 3


def pick(answer: bytes, field: tuple[str | int, ...]) -> bytes:
    """Return the decoded Base64 string at a place in a JSON document, without building the rest of it.

    `field` is a path such as `("data", 0, "b64_json")`. Raises ValueError when there is no such text.
    """
    raw = msgspec.Raw(answer)
    try:
        for step in field:
            if isinstance(step, int):
                raw = msgspec.json.decode(raw, type=list[msgspec.Raw])[step]
            else:
                raw = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])[step]
        text = bytes(memoryview(raw)).strip()
    except (msgspec.DecodeError, LookupError) as error:
        raise ValueError("the answer has no such field") from error
    if len(text) < 2 or text[:1] != b'"':
        raise ValueError("the field is no text")
    if b"\\" in text:
        text = b'"%b"' % msgspec.json.decode(text, type=str).encode()
    return decode(text[1:-1])


async def decode_base64_in_thread(answer: bytes, field: tuple[str | int, ...]) -> bytes:
    """Decode one Base64 field of a raw JSON answer off the event loop; raises ValueError."""
    return await asyncio.to_thread(pick, answer, field)
