"""`POST /audio/speech`: a text read aloud; the answer is the recording itself (`wire/providers.md §7.4`)."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Literal

import pybase64

from calotype.dialects.door import Exchange
from calotype.dialects.headers import Headers
from calotype.dialects.openai.answers import JSON, job_headers, kept_once
from calotype.dialects.openai.desk import Desk
from calotype.dialects.openai.forms import json_body
from calotype.dialects.openai.options import Options, split
from calotype.dialects.openai.runs import Event, answer_job, send_blocks, stream_headers, stream_job
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Delta

FIELDS = frozenset({"input", "voice", "response_format", "speed", "instructions", "language", "seed"})
BLOCK_BYTES = 48 * 1024
"""How much of a recording one event holds; a multiple of three, so that the pieces' base64 joins to the whole's."""


class SpeechOptions(Options):
    """The fields of a request for speech that steer the answer."""

    stream_format: Literal["audio", "sse"] | None = None


class SpeechRequest(SpeechOptions, kw_only=True):
    """The body of a request for speech, as documented; a model may take further fields of its own."""

    input: str
    voice: str | dict[str, Any] | None = None
    response_format: str | None = None
    speed: float | None = None
    instructions: str | None = None


async def create_speech(desk: Desk, x: Exchange) -> None:
    """Read a text aloud."""
    caller = await desk.door.enter(x)
    raw, body = await json_body(desk, x)
    options, fields = split(body, SpeechOptions, FIELDS)
    if isinstance(voice := fields.get("voice"), dict):
        if not isinstance(voice.get("id"), str):
            raise Problem(Code.INVALID_INPUT, "voice is a name, or an object with the voice's id.", field="voice")
        fields["voice"] = voice["id"]
    ask = desk.ask(x, caller, raw, options, Operation.TEXT_TO_SPEECH, fields, FIELDS, wants={"inline": True})
    if options.stream_format == "sse":
        await stream_job(desk, x, ask, partial(SpeechWords, desk=desk))
    else:
        await answer_job(desk, x, ask, partial(_tell, desk, x))


async def _tell(desk: Desk, x: Exchange, view: JobView) -> bool:
    """Answer the recording, or lead to it where it lies elsewhere."""
    first = view.artifacts[0] if view.artifacts else None
    if first is not None and not first.stored:
        location = (b"location", (first.url or "").encode())
        return await x.answer(302, [*job_headers(view, JSON), location], b"{}")
    kind, size, blocks = await recording_of(desk, view)
    return await send_blocks(x, job_headers(view, (b"content-type", kind.encode())), size, blocks)


async def recording_of(desk: Desk, view: JobView) -> tuple[str, int, AsyncIterator[bytes]]:
    """Return type, size and bytes of the recording that a job made.

    Raises:
        Problem: `gone` for one that is kept nowhere, or is not kept any more.

    """
    if view.artifacts and view.artifacts[0].stored:
        first = view.artifacts[0]
        found = await desk.store.stat(first.key)
        if found is None:
            raise kept_once()
        return first.content_type, found.size_bytes, desk.store.read(first.key, 0, found.size_bytes)
    if not view.inline:
        raise kept_once()
    output = view.inline[0]
    body = output.data if output.data is not None else pybase64.b64decode(output.base64 or b"")
    return output.content_type, len(body), _one(body)


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body


class SpeechWords:
    """A recording in events: its pieces as base64, then that it is done."""

    last = b""

    def __init__(self, _view: JobView, *, desk: Desk) -> None:
        self._desk = desk

    def headers(self, view: JobView) -> Headers:
        """Return the headers of the answer."""
        return stream_headers(view)

    def opening(self) -> list[Event]:
        """Return nothing: the first event is sound."""
        return []

    def piece(self, _delta: Delta) -> list[Event]:
        """Return nothing: no provider sends a recording in pieces."""
        return []

    async def ending(self, view: JobView) -> list[Event]:
        """Return the recording in pieces."""
        if view.artifacts and not view.artifacts[0].stored:
            sentence = "This recording lies at its provider and cannot be sent in events; leave out stream_format."
            raise Problem(Code.INVALID_INPUT, sentence, field="stream_format")
        _, _, blocks = await recording_of(self._desk, view)
        body = b"".join([block async for block in blocks])
        pieces = [body[at : at + BLOCK_BYTES] for at in range(0, len(body), BLOCK_BYTES)]
        used = view.job.result.usage if view.job.result is not None else {}
        given, made = used.get("input_tokens", 0), used.get("output_tokens", 0)
        usage = {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}
        events: list[Event] = [("", {"type": "speech.audio.delta", "audio": piece}) for piece in pieces]
        return [*events, ("", {"type": "speech.audio.done", "usage": usage})]
