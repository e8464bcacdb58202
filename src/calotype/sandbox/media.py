"""Small real media: pictures, recordings and videos that every decoder takes, made once and kept."""

import io
import wave
import zlib
from functools import lru_cache

from PIL import Image

FPS = 8
RATE_HZ = 8_000
MAX_SIDE = 4_096
MAX_SECONDS = 60


@lru_cache(maxsize=64)
def png(width: int, height: int, name: str = "") -> bytes:
    """Return a PNG of this size whose colour follows from the name."""
    out = io.BytesIO()
    side = (min(max(1, width), MAX_SIDE), min(max(1, height), MAX_SIDE))
    Image.new("RGB", side, _colour(name)).save(out, "PNG", compress_level=1)
    return out.getvalue()


@lru_cache(maxsize=16)
def wav(seconds: float, name: str = "") -> bytes:
    """Return a mono WAV of this length: a square wave whose pitch follows from the name."""
    count = int(RATE_HZ * min(max(0.1, seconds), MAX_SECONDS))
    half = 8 + _colour(name)[0] % 32
    period = b"\x00\x20" * half + b"\x00\xe0" * half
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((period * (count // (2 * half) + 1))[: count * 2])
    return out.getvalue()


@lru_cache(maxsize=16)
def mp4(seconds: float, width: int = 128, height: int = 72, name: str = "") -> bytes:
    """Return an H.264 MP4 of this length and size, a single colour that fades."""
    import av  # noqa: PLC0415  (heavy, and most runs make no video)
    import numpy as np  # noqa: PLC0415

    out = io.BytesIO()
    red, green, blue = _colour(name)
    count = max(1, round(FPS * min(max(0.1, seconds), MAX_SECONDS)))
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width & ~1, height & ~1, "yuv420p"
        for n in range(count):
            shade = 1 - n / (2 * count)
            picture = Image.new("RGB", (stream.width, stream.height), (int(red * shade), green, blue))
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


def _colour(name: str) -> tuple[int, int, int]:
    word = zlib.crc32(name.encode())
    return 64 + (word & 127), 64 + (word >> 8 & 127), 64 + (word >> 16 & 127)
