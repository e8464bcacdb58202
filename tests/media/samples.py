"""Real files of every kind, made on the spot."""

import io

import av
import numpy as np
from PIL import Image


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    """Make a picture with Pillow."""
    out = io.BytesIO()
    shade = np.add.outer(np.arange(size[1]), np.arange(size[0])).astype(np.uint8)
    Image.fromarray(shade).convert("RGB").save(out, kind, **options)
    return out.getvalue()


def film(container: str = "mp4", *, metadata: dict[str, str] | None = None, flags: str = "", seconds: int = 1) -> bytes:
    """Make a film of `seconds` with PyAV."""
    out = io.BytesIO()
    codec = "libvpx" if container == "webm" else "mpeg4"
    with av.open(out, "w", format=container, options={"movflags": flags} if flags else {}) as writer:
        stream = writer.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        writer.metadata.update(metadata or {})
        for number in range(10 * seconds):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 5, np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                writer.mux(packet)
        for packet in stream.encode():
            writer.mux(packet)
    return out.getvalue()


def sound(container: str, codec: str, *, metadata: dict[str, str] | None = None, seconds: int = 2) -> bytes:
    """Make `seconds` of a tone with PyAV."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as writer:
        stream = writer.add_stream(codec, rate=48_000, layout="mono")
        writer.metadata.update(metadata or {})
        tone = (np.sin(np.arange(48_000 * seconds) / 20) * 9000).astype(np.int16).reshape(1, -1)
        form = stream.codec_context.format.name
        resampler = av.AudioResampler(format=form, layout="mono", rate=48_000, frame_size=1024)
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate = 48_000
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            for packet in stream.encode(piece):
                writer.mux(packet)
        for packet in stream.encode():
            writer.mux(packet)
    return out.getvalue()


def pixels(data: bytes) -> bytes:
    """Decode a picture."""
    with Image.open(io.BytesIO(data)) as opened:
        return opened.convert("RGB").tobytes()


def frames(data: bytes) -> list[bytes]:
    """Decode every frame of a film."""
    with av.open(io.BytesIO(data)) as opened:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in opened.decode(video=0)]
