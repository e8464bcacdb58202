"""Joining: films one after the other, a film with a recording, recordings one after the other or at once."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path

import av

from calotype.providers.local.films.reading import MAX_SECONDS, Film, frames_of, look, opened
from calotype.providers.local.films.sounds import RATE_HZ, exact, mixed, sound_of
from calotype.providers.local.films.writing import MP4, SoundTrack, told, write_film
from calotype.providers.local.messages import BadInput, Made
from calotype.providers.local.sound import FORMATS, Samples, SoundWriter

LABEL = "joined by FFmpeg"
MAX_FILES = 20
COPIED = frozenset({"h264", "hevc"})
"""Codecs whose pictures go into an MP4 as they are."""


def merge_videos(*, videos: list[str], scratch: str, progress: Callable[[float], None]) -> Made:
    """Return films one after the other, in the shape and rate of the first; others get bars.

    Raises:
        BadInput: a file that is not a film, or too much of them.

    """
    _count(videos, "video_urls")
    films = [look(path, f"video_urls.{n}") for n, path in enumerate(videos)]
    if sum(film.seconds for film in films) > MAX_SECONDS:
        raise BadInput("video_urls", f"Together the films may be {MAX_SECONDS:.0f} seconds long at most.")
    first = films[0]
    warnings = tuple(
        f"video_urls.{n} has another shape than the first and was fitted into it"
        for n, film in enumerate(films)
        if film.width * first.height != film.height * first.width
    )
    counts = [max(1, round(film.seconds * first.fps)) for film in films]
    pictures = chain.from_iterable(
        just(frames_of(film, first.size, first.fps), count) for film, count in zip(films, counts, strict=True)
    )
    sound = chain.from_iterable(
        exact(_sound(film), float(count / first.fps)) for film, count in zip(films, counts, strict=True)
    )
    out = Path(scratch) / "joined.mp4"
    write_film(
        out, pictures, first.size, first.fps, label=LABEL, on_frame=told(progress, sum(counts)),
        sound=sound if any(film.has_sound for film in films) else None,
    )  # fmt: skip
    return Made(out, warnings)


def merge_audio_video(
    *, video: str, audio: str, scratch: str, keep_sound: bool = False, progress: Callable[[float], None]
) -> Made:
    """Return the film with the recording as its sound, or, with `keep_sound`, mixed with what it has.

    The film decides the length: silence is added, or the rest of the recording cut off.

    Raises:
        BadInput: a file that is not a film, or not a recording.

    """
    film = look(video, "video_url")
    with opened(audio, "audio_url") as recording:
        longer = recording.duration is not None and recording.duration / av.time_base > film.seconds + 0.5
    sound = sound_of(audio, "audio_url")
    if keep_sound and film.has_sound:
        sound = mixed([exact(sound, film.seconds), exact(_sound(film), film.seconds)])
    out = Path(scratch) / "muxed.mp4"
    if film.codec in COPIED:
        _copied(film, exact(sound, film.seconds), out, progress)
    else:
        frames = just(frames_of(film, film.size, film.fps), film.frames)
        sound = exact(sound, float(film.frames / film.fps))
        on_frame = told(progress, film.frames)
        write_film(out, frames, film.size, film.fps, label=LABEL, sound=sound, on_frame=on_frame)
    return Made(out, ("the recording is longer than the film; its end was cut off",) if longer else ())


def merge_audio(
    *,
    audios: list[str],
    mode: str = "sequence",
    format: str = "mp3",  # noqa: A002  (the field's own name)
    scratch: str,
    progress: Callable[[float], None],
) -> Made:
    """Return recordings one after the other (`sequence`) or at once (`mix`).

    Raises:
        BadInput: a file that is not a recording, or too much of them.

    """
    _count(audios, "audio_urls")
    if mode not in ("sequence", "mix"):
        raise BadInput("mode", "mode must be sequence or mix.")
    if format not in ("mp3", "wav", "flac"):
        raise BadInput("format", "format must be one of mp3, wav, flac.")
    seconds = [_length(path, f"audio_urls.{n}") for n, path in enumerate(audios)]
    whole = max(seconds) if mode == "mix" else sum(seconds)
    sources = [sound_of(path, f"audio_urls.{n}") for n, path in enumerate(audios)]
    sound = mixed(sources) if mode == "mix" else chain.from_iterable(sources)
    done = 0
    with SoundWriter(format, RATE_HZ, 2, LABEL) as writer:
        for block in sound:
            done += block.shape[1]
            if done > MAX_SECONDS * RATE_HZ:
                raise BadInput("audio_urls", f"The result may be {MAX_SECONDS:.0f} seconds long at most.")
            writer.write(block)
            progress(min(0.99, done / RATE_HZ / max(whole, 0.1)))
        out = Path(scratch) / f"joined.{format}"
        out.write_bytes(writer.finish())
    return Made(out, content_type=FORMATS[format].content_type)


def just(frames: Iterable[av.VideoFrame], count: int) -> Iterator[av.VideoFrame]:
    """Yield exactly so many frames: the rest is left out, or the last one stands still."""
    last: av.VideoFrame | None = None
    number = 0
    for frame in islice(frames, count):
        number += 1
        last = frame
        yield frame
    while last is not None and number < count:
        number += 1
        yield last


def _sound(film: Film) -> Iterator[Samples]:
    return sound_of(film.path, film.field) if film.has_sound else iter(())


def _copied(film: Film, sound: Iterator[Samples], out: Path, progress: Callable[[float], None]) -> None:
    """Write the film's own packets and new sound beside them."""
    with ExitStack() as stack:
        source = stack.enter_context(opened(film.path, film.field))
        target = stack.enter_context(av.open(str(out), "w", format="mp4", options={"movflags": "+faststart"}))
        target.metadata["comment"] = LABEL
        pictures = source.streams.video[0]
        copy = target.add_stream_from_template(pictures)
        track = SoundTrack(target, MP4)
        start = pictures.start_time or 0
        for packet in source.demux(pictures):
            if packet.dts is None or packet.pts is None:
                continue
            at = float((packet.pts - start) * packet.time_base)
            packet.pts, packet.dts = packet.pts - start, packet.dts - start
            packet.stream = copy
            target.mux(packet)
            track.write_until(sound, at)
            progress(min(0.99, at / film.seconds))
        track.write_until(sound, film.seconds + 1.0)
        track.finish()


def _length(path: str, field: str) -> float:
    with opened(path, field) as recording:
        if not recording.streams.audio:
            raise BadInput(field, "This file has no sound.")
        return recording.duration / av.time_base if recording.duration else 0.0


def _count(paths: list[str], field: str) -> None:
    if not 2 <= len(paths) <= MAX_FILES:
        raise BadInput(field, f"{field} must have from 2 to {MAX_FILES} files.")
