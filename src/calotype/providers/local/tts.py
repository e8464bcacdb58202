"""Speech: a small neural model reads English text aloud on this machine."""

from functools import cache
from typing import Any

import av
import av.filter
import numpy as np

from calotype.providers.local.extra import engine
from calotype.providers.local.messages import BadInput, Made, ProgressCallback
from calotype.providers.local.sound import Samples, check_format, encode, frame_of, resampled

LABEL = "synthetic speech by a small neural model, one English voice"
RATE_HZ = 24_000
MAX_CHARS = 4096
MIN_SPEED, MAX_SPEED = 0.25, 4.0
MODEL_SPEEDS = (0.5, 1.2)
"""What the model speaks clearly by itself; beyond, its speech is stretched."""
OWN_VOICE = "heart"

PITCHES: dict[str, float] = {
    "heart": 1.0, "alloy": 1.0, "ash": 0.88, "ballad": 0.92, "cedar": 0.86, "coral": 1.04, "echo": 0.87,
    "fable": 0.95, "marin": 1.02, "nova": 1.07, "onyx": 0.83, "sage": 0.98, "shimmer": 1.1, "verse": 0.9,
}  # fmt: skip
"""Voice as clients name it → how much higher the one voice is spoken; the pace stays."""

FADE_S = 0.004
PEAK = 0.97


def speak(
    *,
    input: str,  # noqa: A002  (the card's field)
    voice: str = OWN_VOICE,
    response_format: str = "mp3",
    speed: float = 1.0,
    seed: int = 0,
    progress: ProgressCallback,
) -> Made:
    """Read a text aloud; the same input gives the same bytes.

    Raises:
        BadInput: a value out of range, or nothing that can be spoken.
        Unavailable: the speech package is not installed.

    """
    shape = check_format(response_format)
    if not isinstance(input, str) or not any(char.isalnum() for char in input):
        raise BadInput("input", "input must be a text with something to speak.")
    if len(input) > MAX_CHARS:
        raise BadInput("input", f"input may have at most {MAX_CHARS} characters.")
    if voice not in PITCHES:
        raise BadInput("voice", f"voice must be one of {', '.join(PITCHES)}.")
    if not MIN_SPEED <= speed <= MAX_SPEED:
        raise BadInput("speed", f"speed must be from {MIN_SPEED} to {MAX_SPEED:.0f}.")
    samples = _spoken(input, PITCHES[voice], float(speed), seed, progress)
    progress(0.9)
    body = encode(samples, RATE_HZ, response_format, LABEL)
    duration_s = samples.shape[1] / RATE_HZ
    return Made(
        body,
        warnings=_warnings(voice),
        content_type=shape.content_type,
        data={"duration_s": round(duration_s, 3), "voice": OWN_VOICE, "sample_rate_hz": RATE_HZ},
        usage={"duration_ms": round(duration_s * 1000)},
    )


def _warnings(voice: str) -> tuple[str, ...]:
    if voice == OWN_VOICE:
        return ()
    change = round((PITCHES[voice] - 1) * 100)
    spoken = f"spoken {abs(change)} % {'higher' if change > 0 else 'lower'}" if change else "as it is"
    return (f"this model has one voice, {OWN_VOICE}: {voice} is that voice {spoken}",)


@cache
def _model() -> Any:
    # its own voice is inside the package; any other would be fetched, and is never asked for
    return engine("hibari").Hibari(voice=OWN_VOICE, threads=1)


def _spoken(text: str, pitch: float, speed: float, seed: int, progress: ProgressCallback) -> Samples:
    """Return the speech, one channel at `RATE_HZ`."""
    model = _model()
    progress(0.05)
    # played faster a voice is higher: it is spoken slower by as much before
    pace = speed / pitch
    own = min(max(pace, MODEL_SPEEDS[0]), MODEL_SPEEDS[1])
    sentences = model.phonemize(text)
    random = np.random.default_rng(seed)
    parts: list[Any] = []
    for number, phonemes in enumerate(sentences, start=1):
        parts.append(model.from_ids(model.ids(phonemes), own, random))
        progress(0.05 + 0.75 * number / len(sentences))
    samples = np.concatenate(parts)[np.newaxis] if parts else np.zeros((1, 0), np.float32)
    if samples.shape[1] < RATE_HZ // 50:
        raise BadInput("input", "input has nothing that can be spoken; this model reads English.")
    if pitch != 1.0:
        samples = resampled(samples, round(RATE_HZ * pitch), RATE_HZ)
    if abs(pace / own - 1) > 1e-6:
        samples = _stretched(samples, pace / own)
    return _finished(samples)


def _stretched(samples: Samples, tempo: float) -> Samples:
    """Change the pace and keep the pitch."""
    steps = [tempo] if tempo >= 0.5 else [0.5, tempo / 0.5]
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_abuffer(sample_rate=RATE_HZ, format="fltp", layout="mono"),
        *(graph.add("atempo", f"{step:.6f}") for step in steps),
        graph.add("abuffersink"),
    ).configure()
    graph.push(frame_of(samples, RATE_HZ))
    graph.push(None)
    parts = []
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            break
        parts.append(frame.to_ndarray())
    return np.concatenate(parts, axis=1)


def _finished(samples: Samples) -> Samples:
    """Start and end at zero, and keep the peak below the top."""
    fade = int(FADE_S * RATE_HZ)
    slope = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    finished = samples.astype(np.float32)
    finished[:, :fade] *= slope
    finished[:, -fade:] *= slope[::-1]
    peak = float(np.abs(finished).max())
    return finished * np.float32(PEAK / peak) if peak > PEAK else finished
