"""One film into another form: other formats and sizes, its sound alone, its last picture."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from calotype.providers.local.films.joining import just
from calotype.providers.local.films.reading import MAX_SECONDS, frames_of, look, opened
from calotype.providers.local.films.sounds import RATE_HZ, exact, sound_of
from calotype.providers.local.films.writing import MP4, WEBM, told, write_film
from calotype.providers.local.messages import BadInput, Made
from calotype.providers.local.pictures import png_of
from calotype.providers.local.sound import FORMATS, SoundWriter

LABEL = "transcoded by FFmpeg"
SHAPES = {"mp4": MP4, "webm": WEBM}
SOUNDS = ("mp3", "wav", "flac")
HEIGHTS = (240, 1080)
TAIL_S = 3.0


def transcode(
    *,
    media: str,
    format: str = "mp4",  # noqa: A002  (the field's own name)
    height: int | None = None,
    fps: int | None = None,
    mute: bool = False,
    scratch: str,
    progress: Callable[[float], None],
) -> Made:
    """Return a film as MP4 (H.264, AAC) or WebM (VP9, Opus), or the sound of a file as MP3, WAV or FLAC.

    Raises:
        BadInput: a value out of range, or a file that cannot be read.

    """
    out = Path(scratch) / f"converted.{format}"
    if format in SOUNDS:
        return sound_file(media, "media_url", format, out, progress)
    if format not in SHAPES:
        raise BadInput("format", f"format must be one of {', '.join((*SHAPES, *SOUNDS))}.")
    if height is not None and not HEIGHTS[0] <= height <= HEIGHTS[1]:
        raise BadInput("height", f"height must be from {HEIGHTS[0]} to {HEIGHTS[1]} pixels.")
    if fps is not None and not 1 <= fps <= 60:
        raise BadInput("fps", "fps must be from 1 to 60.")
    film = look(media, "media_url")
    size = film.size
    if height is not None:
        size = (2 * max(8, round(size[0] * height / size[1] / 2)), 2 * (height // 2))
    rate = film.fps if fps is None else Fraction(fps)
    count = max(1, round(film.seconds * rate))
    sound = exact(sound_of(media, "media_url"), float(count / rate)) if film.has_sound and not mute else None
    write_film(
        out, just(frames_of(film, size, rate), count), size, rate, label=LABEL, sound=sound, shape=SHAPES[format],
        on_frame=told(progress, count),
    )  # fmt: skip
    return Made(out, content_type=SHAPES[format].content_type)


def extract_last_frame(*, video: str, progress: Callable[[float], None]) -> Made:
    """Return the last picture of a film as PNG.

    Raises:
        BadInput: a file that is not a film.

    """
    film = look(video, "video_url")
    progress(0.1)
    picture = _last(video, film.seconds) or _last(video, None)
    if picture is None:
        raise BadInput("video_url", "The film has no pictures.")
    progress(0.9)
    return Made(png_of(picture))


def _last(path: str, seconds: float | None) -> Image.Image | None:
    """Decode to the end, from shortly before it where the length is known."""
    with opened(path, "video_url") as container:
        stream = container.streams.video[0]
        if seconds is not None and seconds > TAIL_S:
            container.seek(int((seconds - TAIL_S) * av.time_base), backward=True)
        last: av.VideoFrame | None = None
        for frame in container.decode(stream):
            last = frame
        if last is None:
            return None
        picture: Image.Image = last.to_image()  # type: ignore[no-untyped-call]
        return picture.rotate(last.rotation, expand=True) if last.rotation else picture


def sound_file(
    path: str, field: str, name: str, out: Path, progress: Callable[[float], None], *, max_s: float = MAX_SECONDS
) -> Made:
    """Write the sound of a film or recording as a file of its own.

    Raises:
        BadInput: a file without sound, or longer than `max_s`.

    """
    with opened(path, field) as source:
        seconds = source.duration / av.time_base if source.duration else 60.0
    done = 0
    with SoundWriter(name, RATE_HZ, 2, LABEL) as writer:
        for block in sound_of(path, field, max_s=max_s):
            writer.write(block)
            done += block.shape[1]
            progress(min(0.99, done / RATE_HZ / max(0.1, seconds)))
        out.write_bytes(writer.finish())
    return Made(out, content_type=FORMATS[name].content_type)
