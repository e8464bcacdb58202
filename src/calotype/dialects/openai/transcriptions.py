"""`POST /audio/transcriptions`: what is said in a recording (`wire/providers.md §7.4`)."""

from functools import partial
from typing import Any, Literal

from calotype.catalog import Card
from calotype.dialects.door import Exchange
from calotype.dialects.openai.answers import job_headers
from calotype.dialects.openai.desk import Desk
from calotype.dialects.openai.forms import any_body
from calotype.dialects.openai.options import Options, split
from calotype.dialects.openai.runs import answer_job, stream_job
from calotype.dialects.openai.transcripts import TranscriptWords, encode
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation

FIELDS = frozenset(
    {
        "audio_url", "language", "prompt", "response_format", "temperature", "timestamp_granularities", "include",
        "chunking_strategy", "languages", "keywords", "known_speaker_names", "known_speaker_references",
    }
)  # fmt: skip
PLAIN = ("json", "text")
"""The forms that need no times."""
Shape = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"]


class TranscriptionOptions(Options):
    """The fields of a request for a transcription that steer the answer."""

    stream: bool | None = None
    response_format: Shape | None = None


class TranscriptionRequest(TranscriptionOptions, kw_only=True):
    """The body of a request for a transcription as JSON; clients send a form with the file itself."""

    file: str
    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    timestamp_granularities: list[str] | None = None


async def create_transcription(desk: Desk, x: Exchange) -> None:
    """Write down what is said in a recording."""
    caller = await desk.door.enter(x)
    raw, body = await any_body(desk, x, caller.org.id, phi_files=True)
    options, fields = split(body, TranscriptionOptions, FIELDS | {"file"})
    if (file := fields.pop("file", None)) is not None:
        fields["audio_url"] = file
    if not isinstance(fields.get("audio_url"), str):
        raise Problem(Code.INVALID_INPUT, "file is required: a recording, or its URL or file id.", field="file")
    shape = options.response_format or "json"
    if options.stream and shape not in PLAIN:
        sentence = f"A stream tells the text alone; it takes the forms {' and '.join(PLAIN)}."
        raise Problem(Code.INVALID_INPUT, sentence, field="response_format")
    wants = _form(desk.catalog.get(options.model), shape)
    granular = fields.get("timestamp_granularities")
    ask = desk.ask(
        x, caller, raw, options, Operation.TRANSCRIPTION, fields | wants, FIELDS, wants={"inline": True}
    )  # fmt: skip
    segments = not isinstance(granular, list) or not granular or "segment" in granular
    try:
        if options.stream:
            await stream_job(desk, x, ask, TranscriptWords)
        else:
            await answer_job(desk, x, ask, partial(_tell, x, shape=shape, segments=segments))
    except Problem as problem:
        if file is not None and problem.field == "audio_url":  # the model's name of what clients call the file
            problem.field = "file"
        raise


def _form(card: Card | None, shape: str) -> dict[str, Any]:
    """Return what the model is told of the form; the answer is written here, so most need not know.

    Raises:
        Problem: `invalid_input` for a form with times from a model that tells none.

    """
    if card is None or "response_format" in card.fields:
        return {"response_format": shape}
    if shape not in PLAIN:
        sentence = f"{card.id} tells no times; response_format takes {' and '.join(PLAIN)} there."
        raise Problem(Code.INVALID_INPUT, sentence, field="response_format")
    return {}


async def _tell(x: Exchange, view: JobView, *, shape: str, segments: bool) -> bool:
    kind, body = encode(view, shape, segments=segments)
    return await x.answer(200, job_headers(view, kind), body)
