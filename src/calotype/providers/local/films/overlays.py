"""Laying something over a film: a moving picture at a place, or captions."""

from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageSequence

from calotype.providers.local.films.captions import Cue, drawn, parse, unknown_letters
from calotype.providers.local.films.joining import just
from calotype.providers.local.films.reading import Film, frames_of, look
from calotype.providers.local.films.sounds import exact, sound_of
from calotype.providers.local.films.stamp import Stamp
from calotype.providers.local.films.writing import told, write_film
from calotype.providers.local.messages import BadInput, Made

MAX_PICTURES = 500
MAX_SIDE = 2048
At = Callable[[float], Stamp | None]


def overlay_gif(
    *,
    video: str,
    gif: str,
    x: int = 0,
    y: int = 0,
    start: float = 0.0,
    end: float | None = None,
    width: int | None = None,
    scratch: str,
    progress: Callable[[float], None],
) -> Made:
    """Return the film with an animated picture at (x, y) from `start` to `end` seconds, repeated as long as needed.

    Raises:
        BadInput: a value that does not fit the film, or a file that cannot be read.

    """
    film = look(video, "video_url")
    last = film.seconds if end is None else end
    if not 0 <= start < film.seconds:
        raise BadInput("start", f"start must be from 0 to less than the film's length, {film.seconds:.1f} seconds.")
    if last <= start:
        raise BadInput("end", "end must be later than start.")
    if abs(x) > 2 * MAX_SIDE or abs(y) > 2 * MAX_SIDE:
        raise BadInput("x", f"x and y must be from {-2 * MAX_SIDE} to {2 * MAX_SIDE}.")
    pictures = _pictures(gif, width)
    ends = list(accumulate(seconds for _, seconds in pictures))
    stamps: dict[int, Stamp | None] = {}

    def at(seconds: float) -> Stamp | None:
        if not start <= seconds < last:
            return None
        place = int(np.searchsorted(ends, (seconds - start) % ends[-1], side="right"))
        if place not in stamps:
            stamps[place] = Stamp.of(pictures[place][0], (x, y), film.size)
        return stamps[place]

    outside = Stamp.of(pictures[0][0], (x, y), film.size) is None
    warnings = ("the picture lies outside the film",) if outside else ()
    return _stamped(film, at, Path(scratch) / "overlaid.mp4", "a picture laid over by FFmpeg", warnings, progress)


def burn_captions(
    *,
    video: str,
    captions: str,
    position: str = "bottom",
    font_size: int | None = None,
    scratch: str,
    progress: Callable[[float], None],
) -> Made:
    """Return the film with captions, given as the text of an SRT or WebVTT file, drawn into its pictures.

    Raises:
        BadInput: captions that cannot be read, or a file that is not a film.

    """
    if position not in ("bottom", "top"):
        raise BadInput("position", "position must be bottom or top.")
    if font_size is not None and not 8 <= font_size <= 200:
        raise BadInput("font_size", "font_size must be from 8 to 200 pixels.")
    cues = parse(captions)
    film = look(video, "video_url")
    high = font_size or max(12, round(film.size[1] * 0.055))
    stamps: dict[Cue, Stamp | None] = {}

    def at(seconds: float) -> Stamp | None:
        cue = next((cue for cue in cues if cue.start_s <= seconds < cue.end_s), None)
        if cue is None:
            return None
        if cue not in stamps:
            stamps.clear()
            picture, place = drawn(cue.text, film.size, high, position)
            stamps[cue] = Stamp.of(picture, place, film.size)
        return stamps[cue]

    late = sum(cue.start_s >= film.seconds for cue in cues)
    warnings: tuple[str, ...] = ()
    if late:
        warnings = (f"{late} captions begin after the film's end",)
    if letters := unknown_letters(cues):
        warnings += (f"no font on this machine has these letters: {letters}",)
    return _stamped(film, at, Path(scratch) / "captioned.mp4", "captions drawn by Pillow", warnings, progress)


def _stamped(
    film: Film, at: At, out: Path, label: str, warnings: tuple[str, ...], progress: Callable[[float], None]
) -> Made:
    def frames() -> Iterator[av.VideoFrame]:
        for number, frame in enumerate(just(frames_of(film, film.size, film.fps), film.frames)):
            stamp = at(float(number / film.fps))
            if stamp is None:
                yield frame
                continue
            stamped = av.VideoFrame.from_ndarray(
                stamp.onto(frame.to_ndarray().astype(np.uint8, copy=False)), format="yuv420p"
            )
            stamped.colorspace, stamped.color_range = frame.colorspace, frame.color_range
            yield stamped

    sound = exact(sound_of(film.path, film.field), float(film.frames / film.fps)) if film.has_sound else None
    on_frame = told(progress, film.frames)
    write_film(out, frames(), film.size, film.fps, label=label, sound=sound, on_frame=on_frame)
    return Made(out, warnings)


def _pictures(path: str, width: int | None) -> list[tuple[Image.Image, float]]:
    """Return the pictures of an animation with their seconds."""
    if width is not None and not 2 <= width <= MAX_SIDE:
        raise BadInput("width", f"width must be from 2 to {MAX_SIDE} pixels.")
    found: list[tuple[Image.Image, float]] = []
    try:
        with Image.open(path, formats=("GIF", "WEBP", "PNG")) as file:
            if max(file.size) > MAX_SIDE:
                raise BadInput("gif_url", f"Each side of the picture may have {MAX_SIDE} pixels at most.")
            size = (width, max(1, round(file.height * width / file.width))) if width else file.size
            # what is kept in memory at once is bounded, whatever the file promises
            most = max(1, min(MAX_PICTURES, (256 << 20) // (4 * size[0] * size[1])))
            for picture in ImageSequence.Iterator(file):
                if len(found) == most:
                    raise BadInput("gif_url", f"At this size the animation may have {most} pictures at most.")
                shown = picture.convert("RGBA")
                seconds = max(0.02, float(picture.info.get("duration") or 100) / 1000)
                found.append((shown.resize(size, Image.Resampling.LANCZOS) if width else shown, seconds))
    except BadInput:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        raise BadInput("gif_url", "This is not a picture that can be read; send GIF, WebP or PNG.") from None
    return found
