"""Subtitles from the segments of a transcription: SubRip and WebVTT."""

from collections.abc import Sequence
from typing import Any


def srt(segments: Sequence[dict[str, Any]]) -> str:
    """Write segments as SubRip subtitles."""
    return "".join(
        f"{number}\n{_clock(one['start'], ',')} --> {_clock(one['end'], ',')}\n{one['text']}\n\n"
        for number, one in enumerate(segments, start=1)
    )


def vtt(segments: Sequence[dict[str, Any]]) -> str:
    """Write segments as WebVTT subtitles."""
    cues = (f"{_clock(one['start'], '.')} --> {_clock(one['end'], '.')}\n{one['text']}\n\n" for one in segments)
    return "WEBVTT\n\n" + "".join(cues)


def _clock(at_s: float, point: str) -> str:
    at_ms = round(at_s * 1000)
    return f"{at_ms // 3_600_000:02}:{at_ms // 60_000 % 60:02}:{at_ms // 1000 % 60:02}{point}{at_ms % 1000:03}"
