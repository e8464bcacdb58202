"""Frames of a realtime session: MessagePack or JSON in, the same out, and control messages (`wire/fal.md §6.3`)."""

import asyncio
import math
from typing import Any

import msgspec
import pybase64

from calotype.catalog import Card
from calotype.dialects.door import json_object
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.errors import refused
from calotype.dialects.fal.outputs import body_of, file_of, inline_file
from calotype.dialects.json_values import MOST_VALUES, too_many_values
from calotype.jobs.types import InlineOutput, JobView
from calotype.kernel.errors import Code, Problem
from calotype.media.probe import sniff

DEEPEST = 32
TIMED_OUT = "REQUEST_TIMEOUT"
"""How a frame's own timeout is called: `TIMEOUT` means the end of an idle session, and clients pass over it."""
UNAUTHORIZED = {"status": "error", "error": "Unauthorized"}
"""What makes the JavaScript client fetch a new token."""

_raw_map = msgspec.msgpack.Decoder(dict[Any, msgspec.Raw])
_raw_list = msgspec.msgpack.Decoder(list[msgspec.Raw])
_packed = msgspec.msgpack.Decoder(dict[str, Any])
_pack = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode


def decoded(message: bytes | str, card: Card) -> dict[str, Any]:
    """Read a frame; bytes in a field that takes a file become a data URI.

    Raises:
        Problem: `invalid_input` for anything that is no object of plain values, `payload_too_large` for too many.

    """
    if isinstance(message, str):
        return json_object(message.encode())
    try:
        if len(message) > MOST_VALUES:  # a value takes a byte at least
            _count(message)
        given = _packed.decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError):
        raise Problem(Code.INVALID_INPUT, "The frame is not a MessagePack map with text keys.", field="body") from None
    return {name: _plain(value, name, name in card.media_fields, 0) for name, value in given.items()}


def encoded(body: dict[str, Any], *, binary: bool) -> bytes | str:
    """Write a result in the form its input had."""
    return _pack(body) if binary else _json(body).decode()


async def result_of(desk: Desk, x: FalExchange, view: JobView, *, content: bool) -> dict[str, Any]:
    """Write a frame's result: its files are data URIs, with `content` also bytes."""
    held, rest = view.inline, view.artifacts
    if rest and not held:  # the caller had hung up before, and comes back for what was stored meanwhile
        if not all(artifact.stored for artifact in rest):
            urls = desk.urls(x.bases.media)
            return body_of(view, [file_of(artifact, urls) for artifact in rest])
        held = tuple([InlineOutput(one.content_type, await desk.store.open(one.key)) for one in rest])
    return body_of(view, await asyncio.to_thread(lambda: [inline_file(one, content=content) for one in held]))


def error_message(problem: Problem, request_id: str, media: list[str]) -> dict[str, Any]:
    """Write a frame's refusal or failure; `detail` is what an HTTP answer would hold."""
    found = refused(problem, media)
    word = TIMED_OUT if problem.code is Code.TIMEOUT else problem.code.value.upper()
    return {
        "type": "x-fal-error", "error": word, "reason": found.body["message"], "status": found.status,
        "detail": found.body["detail"], "request_id": request_id,
    }  # fmt: skip


def note(action: str, **facts: Any) -> dict[str, Any]:
    """Write a message that is no result and no error; every client passes over it."""
    return {"type": "x-fal-message", "action": action, **facts}


def _count(message: bytes) -> None:
    """Refuse a frame of too many values before they are made, by the lengths that its lists and maps begin with.

    Raises:
        Problem: `payload_too_large`.
        ValueError: a map that has a key twice, behind which values could hide.

    """
    count = 0
    waiting = [msgspec.Raw(message)]
    while waiting:
        raw = waiting.pop()
        head = memoryview(raw)[:5].tobytes()
        size, is_map = _size(head)
        count += size
        if count > MOST_VALUES:
            raise too_many_values()
        if is_map:
            found = list(_raw_map.decode(raw).values())
            if len(found) != size:
                raise ValueError("a key is there twice")
            waiting += found
        elif size:
            waiting += _raw_list.decode(raw)


def _size(head: bytes) -> tuple[int, bool]:
    """Return how many items a MessagePack value announces, and whether it is a map."""
    kind = head[0]
    if 0x80 <= kind <= 0x9F:
        return kind & 0x0F, kind <= 0x8F
    wide = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}.get(kind)
    return (0, False) if wide is None else (int.from_bytes(head[1 : 1 + wide], "big"), kind >= 0xDE)


def _plain(value: Any, field: str, file: bool, depth: int) -> Any:
    """Return a value of JSON's kinds only."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth < DEEPEST:
        if isinstance(value, list):
            return [_plain(item, field, file, depth + 1) for item in value]
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            return {name: _plain(item, field, file, depth + 1) for name, item in value.items()}
    if isinstance(value, bytes) and file:
        return f"data:{sniff(value)};base64,{pybase64.b64encode(value).decode()}"
    raise Problem(Code.INVALID_INPUT, f"{field[:100]} holds a value that JSON has no word for.", field=field[:100])
