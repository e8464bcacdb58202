"""Subtitles for a film: from a script, or from what is heard in it, drawn into its pictures."""

import re

from msgspec.structs import replace

from calotype.providers.local.films.captions import Cue
from calotype.providers.local.films.overlays import burn_captions
from calotype.providers.local.films.reading import look
from calotype.providers.local.messages import BadInput, Made, ProgressCallback
from calotype.providers.local.transcribe import transcribe
from calotype.providers.subtitles import srt

LANGUAGE = "th"
MAX_CHARS = 10_000
MAX_OFFSET_MS = 300
HEARD = 0.5
"""The share of the work that listening is, where it is part of it."""


def subtitle(
    *,
    video: str,
    script: str | None = None,
    animation: str = "none",
    timing_offset_ms: int = 0,
    models_dir: str | None,
    scratch: str,
    progress: ProgressCallback,
) -> Made:
    """Return the film with Thai subtitles: the script's, or without one what Whisper hears.

    In a script `|` breaks a line and an empty line begins the next subtitle (`wire/products.md B3`). Each is shown for
    a share of the film that goes by its letters.

    Raises:
        BadInput: a script without text, a value out of range, or a file that is not a film.
        Unavailable: no script, and what recognises speech is not here.

    """
    if not -MAX_OFFSET_MS <= timing_offset_ms <= MAX_OFFSET_MS:
        raise BadInput("timing_offset_ms", f"timing_offset_ms must be from {-MAX_OFFSET_MS} to {MAX_OFFSET_MS}.")
    seconds = look(video, "media_url").seconds
    if script is None:
        cues = heard(video, models_dir, lambda fraction: progress(HEARD * fraction))
        before = HEARD
    else:
        cues, before = spread(script, seconds), 0.0
    shifted = moved(cues, timing_offset_ms / 1000)
    if not shifted:
        raise BadInput("script", "Nothing was heard in this film; send the script of what is said.")
    captions = srt([{"start": cue.start_s, "end": cue.end_s, "text": cue.text} for cue in shifted])
    made = burn_captions(
        video=video,
        captions=captions,
        scratch=scratch,
        progress=lambda fraction: progress(before + (1 - before) * fraction),
    )
    if animation == "none":
        return made
    return replace(made, warnings=(*made.warnings, f"{animation} is not drawn here: subtitles come and go whole"))


def spread(script: str, seconds: float) -> tuple[Cue, ...]:
    """Return a script's subtitles over a film of that length, each as long as its share of the letters.

    Raises:
        BadInput: too long, or no text in it.

    """
    if len(script) > MAX_CHARS:
        raise BadInput("script", f"The script may have {MAX_CHARS:,} characters at most.")
    blocks = re.split(r"\n[ \t]*\n", script.replace("\r\n", "\n").replace("\r", "\n"))
    texts = [text for block in blocks if (text := _lines(block))]
    letters = [sum(not letter.isspace() for letter in text) for text in texts]
    if not texts:
        raise BadInput("script", "The script holds no text.")
    cues, passed = [], 0
    for text, count in zip(texts, letters, strict=True):
        start_s, end_s = (seconds * at / sum(letters) for at in (passed, passed + count))
        cues.append(Cue(start_s, end_s, text))
        passed += count
    return tuple(cues)


def heard(video: str, models_dir: str | None, progress: ProgressCallback) -> tuple[Cue, ...]:
    """Return what is said in a film.

    Raises:
        BadInput: no sound that can be read.
        Unavailable: the weights or the package are not here.

    """
    made = transcribe(audio=video, models_dir=models_dir, language=LANGUAGE, progress=progress)
    segments = made.data["segments"]
    return tuple(Cue(one["start"], one["end"], one["text"]) for one in segments if one["end"] > one["start"])


def moved(cues: tuple[Cue, ...], by_s: float) -> tuple[Cue, ...]:
    """Return subtitles shown so much later; none begins before the film."""
    found = (Cue(max(0.0, cue.start_s + by_s), cue.end_s + by_s, cue.text) for cue in cues)
    return tuple(cue for cue in found if cue.end_s > cue.start_s)


def _lines(block: str) -> str:
    return "\n".join(line for part in re.split(r"[|\n]", block) if (line := part.strip()))
