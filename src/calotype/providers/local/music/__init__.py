"""Music by rules: a prompt becomes a brief, the brief notes, the notes a stereo track. No model is involved."""

import numpy as np

from calotype.providers.local.messages import BadInput, Made, ProgressCallback
from calotype.providers.local.music.brief import read
from calotype.providers.local.music.composing import compose
from calotype.providers.local.music.instruments import RATE_HZ
from calotype.providers.local.music.mixing import mix
from calotype.providers.local.sound import check_format, encode

LABEL = "procedural composition, not a neural model"
FORMATS = ("mp3", "wav", "flac", "opus")
MIN_SECONDS, MAX_SECONDS = 5, 120
MAX_SHOWN = 8

__all__ = ["FORMATS", "LABEL", "render"]


def render(
    *, prompt: str, seconds: float = 30, response_format: str = "mp3", seed: int = 0, progress: ProgressCallback
) -> Made:
    """Compose and play a piece; the same input gives the same bytes.

    Raises:
        BadInput: a value out of range.

    """
    if response_format not in FORMATS:
        raise BadInput("response_format", f"response_format must be one of {', '.join(FORMATS)}.")
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise BadInput("seconds", f"seconds must be from {MIN_SECONDS} to {MAX_SECONDS}.")
    if not isinstance(prompt, str) or not prompt.strip():
        raise BadInput("prompt", "prompt must be a text.")
    random = np.random.default_rng(seed)
    brief = read(prompt, random)
    notes = compose(brief, seconds, random)
    progress(0.03)
    track = mix(notes, seconds, random, lambda share: progress(0.03 + 0.87 * share))
    body = encode(track, RATE_HZ, response_format, LABEL)
    shown = ", ".join(brief.unread[:MAX_SHOWN])
    return Made(
        body,
        warnings=(f"these words changed nothing: {shown}",) if shown else (),
        content_type=check_format(response_format).content_type,
        data={
            "mood": brief.name,
            "tempo_bpm": brief.bpm,
            "key": brief.key,
            "instruments": list(brief.instruments),
            "duration_s": float(seconds),
        },
    )
