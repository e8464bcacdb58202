"""A still face that seems to speak: the mouth opens with the loudness, the eyes blink, the head sways a little.

It is a preview. The lips form no sounds; only how far the mouth opens follows the recording.
"""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calotype.providers.local.avatar_warp import Eye, Mouth, Patch, Pixels
from calotype.providers.local.face import Face, find_face
from calotype.providers.local.films.sounds import exact, sound_of
from calotype.providers.local.films.writing import told, write_film
from calotype.providers.local.messages import BadInput, Made
from calotype.providers.local.pictures import flat, open_picture
from calotype.providers.local.sound import blocks_of
from calotype.providers.local.tts import speak

LABEL = "lip-flap preview, not lip-sync"
SIDE = 512
FPS = 25
MAX_SECONDS = 60.0
HEARD_HZ = 16_000
LEVELS = 24
"""How many openings of the mouth are told apart."""
FACE_SHARE = 0.42
"""How much of the film's side a face takes that is small in its picture."""
SWAY_DEGREES, SWAY_PIXELS, SWAY_ZOOM = 0.9, 3.0, 1.035
BLINK = (0.45, 1.0, 1.0, 0.6, 0.25)
Curve = NDArray[np.float64]


def render(
    *,
    image: str,
    audio: str | None = None,
    text: str | None = None,
    voice: str = "heart",
    seed: int = 0,
    scratch: str,
    progress: Callable[[float], None],
) -> Made:
    """Return the portrait speaking a recording, or a text that is read aloud first.

    Without a face in it the picture is filmed with the sound's waveform, and a warning says so.

    Raises:
        BadInput: neither or both of recording and text, one that is too long, or a file that cannot be read.
        Unavailable: the extra is not installed.

    """
    if (audio is None) == (text is None):
        raise BadInput("audio_url", "Give either audio_url or text.")
    field = "audio_url" if text is None else "text"
    picture = flat(open_picture(image))
    warnings: tuple[str, ...] = ()
    if audio is None:
        said = Path(scratch) / "said.wav"
        try:
            made = speak(input=text or "", voice=voice, response_format="wav", progress=lambda share: None)  # noqa: ARG005
        except BadInput as refusal:
            raise BadInput("text" if refusal.field == "input" else refusal.field, refusal.message) from None
        assert isinstance(made.file, bytes)
        said.write_bytes(made.file)
        audio, warnings = str(said), made.warnings
    progress(0.02)
    opening, seconds = opening_of(audio, field)
    progress(0.06)
    square, face = framed(picture)
    if face is None:
        warnings += ("no face was found; the picture is shown with the sound's waveform",)
    frames = _speaking(square, face, opening, seed) if face is not None else _waving(square, opening)
    out = Path(scratch) / "avatar.mp4"
    sound = exact(sound_of(audio, field, max_s=MAX_SECONDS), seconds)
    on_frame = told(lambda share: progress(0.06 + 0.94 * share), len(opening))
    write_film(out, frames, (SIDE, SIDE), Fraction(FPS), label=LABEL, sound=sound, on_frame=on_frame)
    return Made(out, warnings, data={"face_found": face is not None, "duration_s": round(seconds, 2)})


def opening_of(audio: str, field: str = "audio_url") -> tuple[Curve, float]:
    """Return how far the mouth is open in each frame, 0 to 1, and the length of the recording."""
    blocks = list(blocks_of(audio, field, rate_hz=HEARD_HZ, channels=1, max_s=MAX_SECONDS))
    wave = np.concatenate(blocks, axis=1)[0].astype(np.float64)
    step = HEARD_HZ // FPS
    frames = max(1, math.ceil(wave.size / step))
    parts = np.pad(wave, (0, frames * step - wave.size)).reshape(frames, step)
    loud = np.sqrt((parts**2).mean(axis=1))
    usual = max(1e-4, float(np.percentile(loud, 92)))
    power = np.abs(np.fft.rfft(parts * np.hanning(step), axis=1)) ** 2
    hiss = power[:, int(3500 * step / HEARD_HZ) :].sum(axis=1) / np.maximum(power.sum(axis=1), 1e-12)
    # s and sh are loud with nearly closed teeth
    opening = np.clip((loud / usual) ** 0.6, 0.0, 1.0) * (1.0 - 0.7 * np.clip(1.6 * hiss, 0.0, 1.0))
    opening[(loud < 0.06 * usual) | (loud < 0.002)] = 0.0
    padded = np.pad(opening, 1, mode="edge")
    smooth: Curve = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    return smooth, frames / FPS


def framed(picture: Image.Image) -> tuple[Image.Image, Face | None]:
    """Return the square of the picture that is filmed, and the face in it."""
    whole = min(picture.size)
    face = find_face(picture)
    side, middle = float(whole), (picture.width / 2, picture.height / 2)
    if face is not None:
        side = min(side, max(face.side / FACE_SHARE, SIDE / 4))
        middle = face.middle
    left = min(max(0.0, middle[0] - side / 2), picture.width - side)
    top = min(max(0.0, middle[1] - side * 0.46), picture.height - side)
    box = (left, top, left + side, top + side)
    square = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    if face is None:
        return square, None
    scale = SIDE / side
    points = (face.points - np.array((left, top))) * scale
    at = ((face.middle[0] - left) * scale, (face.middle[1] - top) * scale)
    return square, Face(at, face.side * scale, points)


def _speaking(square: Image.Image, face: Face, opening: Curve, seed: int) -> Iterator[av.VideoFrame]:
    still = np.asarray(square)
    mouth = Mouth(face.points, square.size)
    eyes = [Eye(face.points, number, square.size) for number in (0, 1)]
    lids = blinks(len(opening), seed)
    mouths: dict[int, Pixels] = {}
    for number, share in enumerate(opening):
        level = round(float(share) * LEVELS)
        if level not in mouths:
            mouths[level] = mouth.opened(still, level / LEVELS)
        shown = still.copy()
        _put(shown, mouth.patch, mouths[level])
        if lids[number] > 0:
            for eye in eyes:
                _put(shown, eye.patch, eye.closed(still, lids[number]))
        yield _frame(_swayed(Image.fromarray(shown), number))


def _waving(square: Image.Image, opening: Curve) -> Iterator[av.VideoFrame]:
    """Come slowly closer to the picture, the loudness around now along its lower edge."""
    bars = 64
    padded = np.pad(opening, (bars // 2, bars // 2))
    for number in range(len(opening)):
        margin = SIDE * 0.06 * number / max(1, len(opening) - 1)
        shown = np.asarray(
            square.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(margin, margin, SIDE - margin, SIDE - margin))
        ).copy()
        strip = shown[SIDE - 72 :]
        strip[:] = strip // 3
        for bar, height in enumerate(padded[number : number + bars]):
            high = max(2, round(56 * float(height)))
            part = strip[36 - high // 2 : 36 + (high + 1) // 2, bar * 8 + 2 : bar * 8 + 6]
            part[:] = 235 if bar == bars // 2 else 170
        yield _frame(Image.fromarray(shown))


def blinks(frames: int, seed: int) -> Curve:
    """Return how far the lids are down in each frame: a blink every three to five seconds."""
    chance = np.random.default_rng(seed)
    lids = np.zeros(frames)
    at = round(FPS * chance.uniform(1.0, 2.5))
    while at + len(BLINK) < frames:
        lids[at : at + len(BLINK)] = BLINK
        at += round(FPS * chance.uniform(2.8, 5.2))
    return lids


def _swayed(picture: Image.Image, number: int) -> Image.Image:
    seconds = number / FPS
    angle = math.radians(SWAY_DEGREES * math.sin(0.9 * seconds) * math.cos(0.31 * seconds))
    right = SWAY_PIXELS * math.sin(0.7 * seconds)
    down = SWAY_PIXELS * 0.6 * math.sin(1.1 * seconds)
    across, turn = math.cos(angle) / SWAY_ZOOM, math.sin(angle) / SWAY_ZOOM
    half = SIDE / 2
    matrix = (
        across, turn, half - across * (half + right) - turn * (half + down),
        -turn, across, half + turn * (half + right) - across * (half + down),
    )  # fmt: skip
    return picture.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def _put(picture: Pixels, patch: Patch, pixels: Pixels) -> None:
    picture[patch.top : patch.bottom, patch.left : patch.right] = pixels


def _frame(picture: Image.Image) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
    return frame.reformat(format="yuv420p")
