"""A camera move over a still: pan or zoom with eased, sub-pixel sampling, encoded as H.264.

The picture is turned into limited-range BT.709 planes once; each frame is then cut out of the planes with a window
whose edges are fractions of a pixel, so nothing jumps from frame to frame and no colour is converted twice.
"""

import io
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import repeat
from typing import Any

import av
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image

from calotype.providers.local.films.sounds import RATE_HZ, exact, faded, sound_of
from calotype.providers.local.films.writing import SoundTrack
from calotype.providers.local.ken_burns_moves import MOTIONS, Move, View, moved, zoomed
from calotype.providers.local.messages import BadInput
from calotype.providers.local.pictures import flat, open_picture
from calotype.providers.local.sound import Samples

__all__ = ["LABEL", "MOTIONS", "Clip", "render"]

LABEL = "camera move over a still, no generated motion"
FRAME_RATES = (24, 25, 30)
MAX_SECONDS = 20.0
LONG_SIDE = 1280
MAX_RATIO = 3.0
MAX_SLACK = 2.0
ENLARGED = 2.0
INDEX_BYTES = 8192
INDEX_BYTES_PER_FRAME = 32
FADE_S = 1.0
"""How long music takes to end."""
AHEAD = 4
"""Frames that are ready before the encoder takes them."""

Window = tuple[float, float, float, float]
"""Left, top, right and bottom of what the camera sees, as parts of the picture's width and height."""


class Clip(Struct, frozen=True):
    """The film, and what its maker should know."""

    mp4: bytes
    warnings: tuple[str, ...] = ()


def render(
    *,
    image: str,
    seconds: float = 5.0,
    fps: int = 24,
    motion: str = "zoom-in",
    zoom: Any = None,
    audio: str | None = None,
    width: int | None = None,
    height: int | None = None,
    progress: Callable[[float], None],
) -> Clip:
    """Film a still; the same input gives the same bytes. Without a size the picture's own shape is kept.

    `zoom` (`ken_burns_moves.zoomed`) takes the place of `motion`. `audio` is a recording to put under the film; it ends
    softly where the film is shorter.

    Raises:
        BadInput: a value out of range, or a file that is not a picture.

    """
    if not 1 <= seconds <= MAX_SECONDS:
        raise BadInput("seconds", f"seconds must be from 1 to {MAX_SECONDS:.0f}.")
    if fps not in FRAME_RATES:
        raise BadInput("fps", f"fps must be one of {', '.join(map(str, FRAME_RATES))}.")
    frames = round(seconds * fps)
    move = moved(motion, seconds, frames) if zoom is None else zoomed(zoom, frames)
    picture = flat(open_picture(image, draft_side=4 * LONG_SIDE))
    size = (width, height) if width and height else _own_size(picture)
    planes = _planes(_canvas(picture, size, move))
    progress(0.05)
    warnings: tuple[str, ...] = ()
    if max(size[0] / picture.width, size[1] / picture.height) * move.closest > ENLARGED:
        warnings = (f"the picture has {picture.width}x{picture.height} pixels and was enlarged to {size[0]}x{size[1]}",)
    windows = [_window(planes[0].size, size, move.closest, view) for view in move.views]
    sound = faded(exact(sound_of(audio, "audio_url"), seconds), seconds, FADE_S) if audio is not None else None
    return Clip(_encode(planes, windows, size, fps, sound, lambda share: progress(0.05 + 0.95 * share)), warnings)


def _own_size(picture: Image.Image) -> tuple[int, int]:
    """Return an even size of the picture's shape, its longer side `LONG_SIDE`."""
    ratio = min(max(picture.width / picture.height, 1 / MAX_RATIO), MAX_RATIO)
    width, height = (LONG_SIDE, LONG_SIDE / ratio) if ratio >= 1 else (LONG_SIDE * ratio, LONG_SIDE)
    return 2 * round(width / 2), 2 * round(height / 2)


def _canvas(picture: Image.Image, size: tuple[int, int], move: Move) -> Image.Image:
    """Scale the picture so that the closest view has one pixel for each of the film's, and cut what is never seen."""
    zoom = move.closest
    scale = max(size[0] / picture.width, size[1] / picture.height) * zoom
    # a pan travels over what the film's shape leaves out, within reason
    wide = min(picture.width * scale, size[0] * zoom * (MAX_SLACK if move.across else 1.0))
    high = min(picture.height * scale, size[1] * zoom * (MAX_SLACK if move.down else 1.0))
    left, top = (picture.width - wide / scale) / 2, (picture.height - high / scale) / 2
    box = (left, top, left + wide / scale, top + high / scale)
    return picture.resize((_even(wide), _even(high)), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def _even(length: float) -> int:
    return 2 * math.ceil(length / 2)


def _planes(canvas: Image.Image) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Return brightness and the two colour differences, limited range BT.709, the latter at half size."""
    red, green, blue = (np.asarray(channel, dtype=np.float32) for channel in canvas.split())
    bright = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    half = (canvas.width // 2, canvas.height // 2)
    chroma = ((blue - bright) / 1.8556, (red - bright) / 1.5748)
    cb, cr = (_plane(128.0 + part * (224 / 255)).resize(half, Image.Resampling.BOX) for part in chroma)
    return _plane(16.0 + bright * (219 / 255)), cb, cr


def _plane(values: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _window(canvas: tuple[int, int], size: tuple[int, int], closest: float, view: View) -> Window:
    """Return what the camera sees of the canvas."""
    near, across, down = view
    wide = min(1.0, size[0] * closest / near / canvas[0])
    high = min(1.0, size[1] * closest / near / canvas[1])
    left = (1.0 - wide) * across
    top = (1.0 - high) * down
    return left, top, min(1.0, left + wide), min(1.0, top + high)


def _frame(planes: tuple[Image.Image, ...], window: Window, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut one frame out of the planes, in the layout of yuv420p."""
    width, height = size
    parts = []
    for plane, wanted in zip(planes, (size, (width // 2, height // 2), (width // 2, height // 2)), strict=True):
        left, top, right, bottom = window
        box = (left * plane.width, top * plane.height, right * plane.width, bottom * plane.height)
        parts.append(np.asarray(plane.resize(wanted, Image.Resampling.BICUBIC, box=box)).reshape(-1))
    return np.concatenate(parts).reshape(height * 3 // 2, width)


def _frames(
    planes: tuple[Image.Image, ...], windows: list[Window], size: tuple[int, int]
) -> Iterator[NDArray[np.uint8]]:
    """Yield every frame in order; the next ones are cut while the encoder works."""
    if len(set(windows)) == 1:
        yield from repeat(_frame(planes, windows[0], size), len(windows))
        return
    with ThreadPoolExecutor(1) as ahead:
        cut = deque(ahead.submit(_frame, planes, window, size) for window in windows[:AHEAD])
        for window in windows[AHEAD:]:
            yield cut.popleft().result()
            cut.append(ahead.submit(_frame, planes, window, size))
        while cut:
            yield cut.popleft().result()


def _encode(
    planes: tuple[Image.Image, ...],
    windows: list[Window],
    size: tuple[int, int],
    fps: int,
    sound: Iterator[Samples] | None,
    progress: Callable[[float], None],
) -> bytes:
    # the index goes in front of the film, as +faststart would put it by way of a file: its room is set aside here
    parts = len(windows) if sound is None else len(windows) * 2 + len(windows) * RATE_HZ // (1024 * fps)
    options = {"moov_size": str(INDEX_BYTES + INDEX_BYTES_PER_FRAME * parts)}
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options=options) as film:
        film.metadata["comment"] = LABEL
        # no macroblock tree: its assembler reads beyond its rows, and the bytes would not always be the same
        stream = film.add_stream(
            "libx264", rate=fps, options={"preset": "veryfast", "crf": "19", "x264-params": "mbtree=0"}
        )
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1  # more threads would not always give the same bytes
        context.color_range, context.colorspace = 1, 1
        context.color_primaries, context.color_trc = 1, 1
        track = SoundTrack(film) if sound is not None else None
        for number, pixels in enumerate(_frames(planes, windows, size)):
            frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            frame.color_range, frame.colorspace = 1, 1
            film.mux(stream.encode(frame))
            if track is not None and sound is not None:
                track.write_until(sound, (number + 1) / fps)
            progress((number + 1) / len(windows))
        film.mux(stream.encode())
        if track is not None:
            track.finish()
    return out.getvalue()
