"""Films that go out: pictures and sound, interleaved by time."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from msgspec import Struct

from calotype.providers.local.films.sounds import RATE_HZ
from calotype.providers.local.sound import Samples, frame_of


class FilmFormat(Struct, frozen=True):
    """A kind of film file and FFmpeg's names of its parts."""

    content_type: str
    container: str
    video: str
    audio: str
    options: dict[str, str]
    sample: str = "fltp"
    bit_rate: int = 128_000


MP4 = FilmFormat("video/mp4", "mp4", "libx264", "aac", {"preset": "veryfast", "crf": "20"})
WEBM = FilmFormat(
    "video/webm", "webm", "libvpx-vp9", "libopus",
    {"deadline": "realtime", "cpu-used": "7", "crf": "34", "b": "0", "row-mt": "1"}, sample="flt",
)  # fmt: skip


class SoundTrack:
    """The sound of a film that is being written, stereo at `RATE_HZ`."""

    def __init__(self, film: OutputContainer, shape: FilmFormat = MP4) -> None:
        self._film = film
        stream = film.add_stream(shape.audio, rate=RATE_HZ, layout="stereo")
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        self._stream.bit_rate = shape.bit_rate
        self._stream.codec_context.format = shape.sample
        self._stream.codec_context.open()
        self._resampler = av.AudioResampler(shape.sample, "stereo", RATE_HZ, self._stream.frame_size or None)
        self.samples = 0

    def write(self, block: Samples) -> None:
        """Append a block."""
        frame = frame_of(block, RATE_HZ)
        frame.pts, frame.time_base = self.samples, Fraction(1, RATE_HZ)
        self.samples += block.shape[1]
        self._mux(self._resampler.resample(frame))

    def write_until(self, blocks: Iterator[Samples], seconds: float) -> None:
        """Append blocks until the sound is that long or ends."""
        while self.samples < seconds * RATE_HZ:
            block = next(blocks, None)
            if block is None:
                return
            if block.shape[1]:
                self.write(block)

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self.samples:
            self._mux(self._resampler.resample(None))
        self._film.mux(self._stream.encode(None))

    def _mux(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            self._film.mux(self._stream.encode(frame))


def write_film(
    path: Path,
    frames: Iterable[av.VideoFrame],
    size: tuple[int, int],
    fps: Fraction,
    *,
    label: str,
    sound: Iterator[Samples] | None = None,
    shape: FilmFormat = MP4,
    on_frame: Callable[[int], None] | None = None,
) -> int:
    """Write frames of that size one after the other, with sound as far as the pictures go; return their number."""
    number = 0
    options = {"movflags": "+faststart"} if shape.container == "mp4" else {}
    with av.open(str(path), "w", format=shape.container, options=options) as film:
        film.metadata["comment"] = label
        pictures = film.add_stream(shape.video, rate=fps, options=shape.options)
        assert isinstance(pictures, av.VideoStream)
        pictures.width, pictures.height = size
        pictures.pix_fmt = "yuv420p"
        pictures.codec_context.thread_count = 2
        track = SoundTrack(film, shape) if sound is not None else None
        for frame in frames:
            frame.pts, frame.time_base = number, 1 / fps
            frame.pict_type = av.video.frame.PictureType.NONE
            film.mux(pictures.encode(frame))
            number += 1
            if track is not None and sound is not None:
                track.write_until(sound, float(number / fps))
            if on_frame is not None:
                on_frame(number)
        film.mux(pictures.encode(None))
        if track is not None:
            track.finish()
    return number


def told(progress: Callable[[float], None], total: int) -> Callable[[int], None]:
    """Return a callback that turns numbers of frames into a share of about `total`."""
    return lambda number: progress(min(0.99, number / max(1, total)))
