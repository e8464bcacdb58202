"""Speech and transcription over OpenAI's audio API (`wire/providers.md §7.4`)."""

from typing import Any

from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Output, Succeeded
from calotype.kernel.steps import HttpResponse, Part, Steps
from calotype.providers.base import Call
from calotype.providers.openai_account import Account, count, given
from calotype.providers.openai_errors import MALFORMED
from calotype.providers.openai_forms import form_fields
from calotype.providers.subtitles import srt, vtt

CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""Format as clients name it → content type; `pcm` is bare samples, 24 kHz, 16 bit, mono, little endian."""
SUBTITLES = {"srt": srt, "vtt": vtt}
CHARACTERS_PER_S = 15.0
"""How fast people speak, as far as an estimate needs it: about 150 words a minute."""
SEGMENT_FIELDS = ("avg_logprob", "no_speech_prob", "speaker")


def speech(account: Account, call: Call, extra: dict[str, Any] | None = None) -> Steps[Outcome]:
    """Have a text spoken; the answer is the recording."""
    body = {"model": call.upstream_model, **given(call.input), **(extra or {})}
    request = account.post("/audio/speech", call, body, accept="audio/*")
    answer = yield from account.ask(call, request)
    return answer if isinstance(answer, Failed) else recording(call, answer)


def recording(call: Call, answer: HttpResponse) -> Outcome:
    """Return the recording that a good answer holds."""
    said = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said == "application/json" or said.startswith("text/"):
        return Failed(FailedKind.UNKNOWN, MALFORMED, detail=f"HTTP {answer.status} {said}", status=answer.status)
    if not answer.body:
        return Failed(FailedKind.UPSTREAM, "The provider delivered no recording.", status=answer.status)
    asked = call.input.get("response_format")
    kind = CONTENT_TYPES.get(asked) if isinstance(asked, str) else said
    upstream_id = answer.headers.get("x-generation-id") or answer.headers.get("x-request-id")
    return Succeeded((Output(data=answer.body, content_type=kind or CONTENT_TYPES["mp3"]),), upstream_id=upstream_id)


def transcription(account: Account, call: Call) -> Steps[Outcome]:
    """Have a recording written down.

    The full form is asked for whatever the caller wants: it holds the length, by which this is priced, and the times,
    from which subtitles are written. OpenAI's `gpt-…` models answer the short form only.
    """
    recordings = [file for files in call.files.values() for file in files]
    if len(recordings) != 1:
        return Failed(FailedKind.INVALID, "One recording is required.", field="audio_url")
    short = call.upstream_model.startswith("gpt-")
    wanted = {**given(call.input), "response_format": "json" if short else "verbose_json"}
    if short:
        wanted.pop("timestamp_granularities", None)
    parts = [Part("model", call.upstream_model), Part("file", recordings[0], filename=recordings[0].name)]
    for name, value in wanted.items():
        parts += form_fields(name, value)
    answer = yield from account.ask(call, account.form("/audio/transcriptions", call, parts))
    if isinstance(answer, Failed):
        return answer
    body = answer.json()
    return written(call, answer, body, None)


def written(call: Call, answer: HttpResponse, body: Any, cost: Cost | None) -> Outcome:
    """Return the transcription in our form: `text`, `language`, `duration_s`, `segments`, `words`, subtitles."""
    if not isinstance(body, dict) or not isinstance(body.get("text"), str):
        return Failed(FailedKind.UNKNOWN, MALFORMED, detail=f"HTTP {answer.status}, no text", status=answer.status)
    data: dict[str, Any] = {"text": body["text"].strip()}
    if isinstance(body.get("language"), str):
        data["language"] = body["language"]
    segments = [_segment(n, one) for n, one in enumerate(_timed(body.get("segments"), "text"))]
    words = [{"word": one["word"].strip(), **_times(one)} for one in _timed(body.get("words"), "word")]
    length_s = _length_s(body, segments + words)
    if length_s is not None:
        data["duration_s"] = round(length_s, 3)
    if segments:
        data["segments"] = segments
    if words:
        data["words"] = words
    shape = call.input.get("response_format")
    if shape in SUBTITLES:
        data[shape] = SUBTITLES[shape](segments)
    upstream_id = answer.headers.get("x-generation-id") or answer.headers.get("x-request-id")
    warnings: tuple[str, ...] = ()
    estimated: dict[str, int] = {}
    if length_s is None:
        length_s = max(1.0, len(data["text"]) / CHARACTERS_PER_S)
        estimated["estimated"] = 1
        warnings = ("the provider did not say how long the recording is; its length is estimated from the text",)
    usage = _usage(body, length_s) | estimated
    return Succeeded(data=data, usage=usage, cost=cost, warnings=warnings, upstream_id=upstream_id)


def _segment(number: int, one: dict[str, Any]) -> dict[str, Any]:
    more = {name: one[name] for name in SEGMENT_FIELDS if isinstance(one.get(name), str | int | float)}
    return {"id": number, **_times(one), "text": one["text"].strip(), **more}


def _timed(items: Any, text: str) -> list[dict[str, Any]]:
    """Return the items that have a text and times."""
    return [
        one
        for one in (items if isinstance(items, list) else ())
        if isinstance(one, dict) and isinstance(one.get(text), str) and _number(one.get("start")) is not None
        and _number(one.get("end")) is not None
    ]  # fmt: skip


def _times(one: dict[str, Any]) -> dict[str, Any]:
    return {"start": round(float(one["start"]), 3), "end": round(float(one["end"]), 3)}


def _length_s(body: dict[str, Any], timed: list[dict[str, Any]]) -> float | None:
    """Return the length of the recording: as it is said, as it is billed, or to the end of the last word."""
    usage = body.get("usage")
    billed = _number(usage.get("seconds")) if isinstance(usage, dict) else None
    said = _number(body.get("duration"))
    last = max((one["end"] for one in timed), default=None)
    return said if said is not None else billed if billed is not None else last


def _usage(body: dict[str, Any], length_s: float) -> dict[str, int]:
    said = body.get("usage")
    counted = said if isinstance(said, dict) else {}
    counts = {
        "duration_ms": round(length_s * 1000),
        "input_tokens": count(counted.get("input_tokens")),
        "output_tokens": count(counted.get("output_tokens")),
    }
    return {name: number for name, number in counts.items() if number is not None}


def _number(value: Any) -> float | None:
    """Return a length; Whisper servers write it as a number or as text."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < 1e7 else None
