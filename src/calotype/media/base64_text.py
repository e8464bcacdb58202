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
    """A produced file as Base64 text, still encoded; `content_type` is what the upstream claims.

    Cheapest as a `msgspec.Raw`, the JSON string where it stands in the answer: nothing is copied before the thread
    decodes it.
    """

    text: bytes | str | msgspec.Raw
    content_type: str | None = None


def decode(text: bytes | str | msgspec.Raw) -> bytes:
    """Decode Base64, plain or as a raw JSON string; raises ValueError when it is none."""
    if isinstance(text, msgspec.Raw):
        quoted: bytes | str | msgspec.Raw = text
    else:
        quoted = b'"' + text + b'"' if isinstance(text, bytes) else f'"{text}"'
    try:
        return msgspec.json.decode(quoted, type=bytes)
    except msgspec.DecodeError:
        return _decode_loose(text)


def _decode_loose(text: bytes | str | msgspec.Raw) -> bytes:
    try:
        if isinstance(text, msgspec.Raw):
            text = msgspec.json.decode(text, type=str)
        raw = text.encode("ascii") if isinstance(text, str) else text
        plain = b"".join(raw.split()).replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, msgspec.DecodeError) as error:
        raise ValueError("not Base64") from error


def size_of(text: bytes | str | msgspec.Raw) -> int:
    """Return an upper bound of the decoded size without decoding."""
    return len(memoryview(text) if isinstance(text, msgspec.Raw) else text) * 3 // 4 + 3


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
    except (msgspec.DecodeError, LookupError) as error:
        raise ValueError("the answer has no such field") from error
    return decode(raw)


async def decode_base64_in_thread(answer: bytes, field: tuple[str | int, ...]) -> bytes:
    """Decode one Base64 field of a raw JSON answer off the event loop; raises ValueError."""
    return await asyncio.to_thread(pick, answer, field)
