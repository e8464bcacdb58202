"""What was said in a recording, in each of OpenAI's forms: JSON short and long, text, subtitles, events."""

import zlib
from typing import Any

import msgspec

from calotype.dialects.headers import Headers
from calotype.dialects.openai.answers import JSON, kept_once
from calotype.dialects.openai.runs import Event, stream_headers
from calotype.jobs.types import JobView
from calotype.kernel.outcome import Delta
from calotype.providers.subtitles import srt, vtt

TEXT = (b"content-type", b"text/plain; charset=utf-8")
KINDS = {"text": TEXT, "srt": TEXT, "vtt": (b"content-type", b"text/vtt; charset=utf-8")}
"""The content types of the forms that are no JSON."""
_encode = msgspec.json.Encoder().encode


def encode(view: JobView, shape: str, *, segments: bool = True) -> tuple[tuple[bytes, bytes], bytes]:
    """Return content type and body of a transcription; `segments` is off where only times of words are wanted.

    Raises:
        Problem: `gone` for one that is kept nowhere.

    """
    data = heard_in(view)
    if shape == "text":
        return TEXT, f"{data['text']}\n".encode()
    if shape in ("srt", "vtt"):
        written = (srt if shape == "srt" else vtt)(cues(data))
        return KINDS[shape], written.encode()
    body: dict[str, Any] = {"text": data["text"], "usage": usage_of(view)}
    if shape == "verbose_json":
        body = _verbose(data, segments=segments) | body
    body["model"] = view.job.model
    if view.job.plan.label is not None:
        body["label"] = view.job.plan.label
    if view.warnings:
        body["warnings"] = view.warnings
    return JSON, _encode(body)


def heard_in(view: JobView) -> dict[str, Any]:
    """Return what a provider wrote down; raises Problem where it is kept nowhere."""
    data = view.job.result.data if view.job.result is not None else {}
    if not isinstance(data.get("text"), str):
        raise kept_once()
    return data


def cues(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the timed parts of a transcription; where the provider told no times it is one part."""
    found = [one for one in data.get("segments") or () if one.get("end") is not None]
    return found or [{"start": 0.0, "end": data.get("duration_s") or 0.0, "text": data["text"]}]


def usage_of(view: JobView) -> dict[str, Any]:
    """Write what was used: tokens where a provider counts them, else started seconds."""
    used = view.job.result.usage if view.job.result is not None else {}
    if "duration_ms" in used or "input_tokens" not in used:
        return {"type": "duration", "seconds": -(-used.get("duration_ms", 0) // 1000)}
    given, made = used["input_tokens"], used.get("output_tokens", 0)
    return {"type": "tokens", "input_tokens": given, "output_tokens": made, "total_tokens": given + made}


def _verbose(data: dict[str, Any], *, segments: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "task": "transcribe", "language": data.get("language") or "", "duration": data.get("duration_s") or 0.0
    }  # fmt: skip
    if segments:
        body["segments"] = [_segment(n, one) for n, one in enumerate(data.get("segments") or ())]
    if data.get("words"):
        body["words"] = [{name: one.get(name) for name in ("word", "start", "end")} for one in data["words"]]
    return body


def _segment(number: int, one: dict[str, Any]) -> dict[str, Any]:
    """Write a segment with every field that clients insist on; tokens are not told by anybody here."""
    text = str(one.get("text", ""))
    raw = text.encode()
    return {
        "id": number, "seek": 0, "start": one.get("start", 0.0), "end": one.get("end", 0.0), "text": text, "tokens": [],
        "temperature": 0.0, "avg_logprob": one.get("avg_logprob", 0.0),
        "compression_ratio": round(len(raw) / len(zlib.compress(raw)), 4) if raw else 0.0,
        "no_speech_prob": one.get("no_speech_prob", 0.0),
        **({"speaker": one["speaker"]} if one.get("speaker") is not None else {}),
    }  # fmt: skip


class TranscriptWords:
    """A transcription in events: its text, then the whole."""

    last = b""

    def __init__(self, _view: JobView) -> None:
        pass

    def headers(self, view: JobView) -> Headers:
        """Return the headers of the answer."""
        return stream_headers(view)

    def opening(self) -> list[Event]:
        """Return nothing: the first event is text."""
        return []

    def piece(self, _delta: Delta) -> list[Event]:
        """Return nothing: no provider shows a transcription while it grows."""
        return []

    async def ending(self, view: JobView) -> list[Event]:
        """Return the text, and the text again as the whole with what was used."""
        text = heard_in(view)["text"]
        done = {"type": "transcript.text.done", "text": text, "usage": usage_of(view)}
        return [("", {"type": "transcript.text.delta", "delta": text}), ("", done)]
