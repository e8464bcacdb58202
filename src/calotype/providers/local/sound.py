"""Sound in and out: reading a recording as samples, and writing samples in the formats that speech clients ask for."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from calotype.media.probe import HEAD_BYTES, container_of
from calotype.providers.local.messages import BadInput

Samples = NDArray[np.float32]
"""Channels by time, from -1 to 1."""

MAX_FRAME_SAMPLES = 8192


class SoundFormat(Struct, frozen=True):
    """A file format: FFmpeg's names of container and codec, and its bit rate where the codec has one."""

    content_type: str
    container: str
    codec: str
    bit_rate: int | None = None
    rates: tuple[int, ...] = ()
    sample: str = "s16"


FORMATS: dict[str, SoundFormat] = {
    "mp3": SoundFormat("audio/mpeg", "mp3", "libmp3lame", 128_000, sample="fltp"),
    "opus": SoundFormat("audio/ogg", "ogg", "libopus", 64_000, (48_000, 24_000, 16_000), sample="flt"),
    "aac": SoundFormat("audio/aac", "adts", "aac", 128_000, sample="fltp"),
    "flac": SoundFormat("audio/flac", "flac", "flac"),
    "wav": SoundFormat("audio/wav", "wav", "pcm_s16le"),
    "pcm": SoundFormat("audio/pcm", "s16le", "pcm_s16le"),
}
"""Format as clients name it. `pcm` is bare samples, 16 bit, little endian."""


class SoundWriter:
    """Encodes blocks of samples into one file in memory; the same samples give the same bytes."""

    def __init__(self, name: str, rate_hz: int, channels: int, label: str) -> None:
        shape = FORMATS[name]
        self._out = io.BytesIO()
        # without the flag an Ogg stream gets a random number
        self._file = av.open(self._out, "w", format=shape.container, options={"fflags": "+bitexact"})
        self._file.metadata["comment"] = label
        self.rate_hz = rate_hz
        self._layout = "stereo" if channels == 2 else "mono"
        target = rate_hz if not shape.rates or rate_hz in shape.rates else shape.rates[0]
        stream = self._file.add_stream(shape.codec, rate=target, layout=self._layout)
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        if shape.bit_rate is not None:
            self._stream.bit_rate = shape.bit_rate
        self._stream.codec_context.format = av.AudioFormat(shape.sample)
        self._resampler = av.AudioResampler(shape.sample, self._layout, target, self._stream.frame_size or None)
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._file.close()

    def write(self, samples: Samples) -> None:
        """Append a block."""
        for start in range(0, samples.shape[1], MAX_FRAME_SAMPLES):
            block = np.ascontiguousarray(np.clip(samples[:, start : start + MAX_FRAME_SAMPLES], -1.0, 1.0))
            frame = frame_of(block, self.rate_hz)
            frame.pts = self._written
            self._written += block.shape[1]
            self._mux(self._resampler.resample(frame))

    def finish(self) -> bytes:
        """Return the file."""
        self._mux(self._resampler.resample(None))
        self._file.mux(self._stream.encode(None))
        self._file.close()
        return self._out.getvalue()

    def _mux(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            self._file.mux(self._stream.encode(frame))


def encode(samples: Samples, rate_hz: int, name: str, label: str) -> bytes:
    """Return samples as a file of one of `FORMATS`."""
    with SoundWriter(name, rate_hz, samples.shape[0], label) as writer:
        writer.write(samples)
        return writer.finish()


def frame_of(samples: Samples, rate_hz: int) -> av.AudioFrame:
    """Return samples as one frame of FFmpeg's."""
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples, np.float32), format="fltp", layout="stereo" if samples.shape[0] == 2 else "mono"
    )
    frame.sample_rate = rate_hz
    return frame


def resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Return one channel at another rate."""
    resampler = av.AudioResampler("fltp", "mono", to_hz)
    frames = [*resampler.resample(frame_of(samples, from_hz)), *resampler.resample(None)]
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


def check_format(name: Any, field: str = "response_format") -> SoundFormat:
    """Return the format that a caller names.

    Raises:
        BadInput: there is none of this name.

    """
    if not isinstance(name, str) or name not in FORMATS:
        raise BadInput(field, f"{field} must be one of {', '.join(FORMATS)}.")
    return FORMATS[name]


def blocks_of(
    path: str, field: str, *, rate_hz: int, channels: int, max_s: float, on_share: Callable[[float], None] | None = None
) -> Iterator[Samples]:
    """Yield a recording block by block, as so many channels at a rate; the sound of a film is taken too.

    Only a container known by its first bytes is opened, from the file itself. `on_share` is told how far it is.

    Raises:
        BadInput: not a recording, without sound, or longer than `max_s`.

    """
    unreadable = BadInput(
        field, "This is not a recording that can be read; send MP3, WAV, FLAC, Ogg, M4A, MP4 or WebM."
    )
    done, most = 0, int(max_s * rate_hz)
    with Path(path).open("rb") as file:
        container = container_of(file.read(HEAD_BYTES))
        file.seek(0)
        if container is None:
            raise unreadable
        try:
            with av.open(file, "r", format=container, metadata_errors="ignore") as recording:
                if not recording.streams.audio:
                    raise BadInput(field, "This file has no sound.")
                total = recording.duration / av.time_base * rate_hz if recording.duration else 0.0
                if total > most * 1.01:
                    raise _too_long(field, max_s)
                resampler = av.AudioResampler("fltp", "stereo" if channels == 2 else "mono", rate_hz)
                for frame in _frames(recording, resampler):
                    done += frame.samples
                    if done > most:
                        raise _too_long(field, max_s)
                    yield frame.to_ndarray().astype(np.float32, copy=False)
                    if on_share is not None and total:
                        on_share(min(1.0, done / total))
        except (av.FFmpegError, ValueError, OSError) as error:
            if isinstance(error, BadInput):
                raise
            raise unreadable from None
    if not done:
        raise BadInput(field, "This recording is empty.")


def _frames(recording: Any, resampler: av.AudioResampler) -> Iterator[av.AudioFrame]:
    for frame in recording.decode(audio=0):
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _too_long(field: str, max_s: float) -> BadInput:
    return BadInput(field, f"A recording may last at most {max_s / 60:.0f} minutes.")
