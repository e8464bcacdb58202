"""What the emulated ComfyUI saves: real media whose colour and pitch follow from everything that led to them.

As the real server does, files carry the whole graph, prompt included, unless it is told to leave it out
(`wire/comfyui.md §2`, outputs by node).
"""

import io
import struct
import zlib
from fractions import Fraction
from functools import lru_cache
from typing import Any

from PIL import Image

from calotype.sandbox import media

Texts = tuple[tuple[str, str], ...]
"""Names and values that are embedded: `prompt`, and what the submitter asked for beside it."""

MAX_FRAMES = 1_500
RATE_HZ = 48_000
CODECS = {"mp3": ("mp3", "libmp3lame", "fltp"), "flac": ("flac", "flac", "s16"), "opus": ("ogg", "libopus", "flt")}
"""File extension → container, codec, form of samples."""


def picture(width: int, height: int, name: str, texts: Texts) -> bytes:
    """Return a PNG of this size with texts in it."""
    plain = media.png(width, height, name)
    after_head = 8 + 12 + 13
    chunks = b"".join(_chunk(b"tEXt", key.encode("latin-1") + b"\0" + value.encode("latin-1", "replace"))
                      for key, value in texts)  # fmt: skip
    return plain[:after_head] + chunks + plain[after_head:]


def moving_picture(frames: int, fps: float, size: tuple[int, int], name: str, kind: str) -> bytes:
    """Return an animated WebP, PNG or GIF (`kind` is the extension)."""
    pictures = [Image.open(io.BytesIO(media.png(*size, f"{name}{n}"))) for n in range(min(max(1, frames), 8))]
    out = io.BytesIO()
    pictures[0].save(
        out, kind.upper(), save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0
    )  # fmt: skip
    return out.getvalue()


@lru_cache(maxsize=16)
def film(
    frames: int, fps: float, size: tuple[int, int], name: str, texts: Texts = (), *, sound: bool = False,
    kind: str = "mp4",
) -> bytes:  # fmt: skip
    """Return an MP4 (or WebM) of so many frames: a single colour that fades, and a tone where `sound` is true."""
    import av  # noqa: PLC0415  (heavy, and most runs make no video)
    import numpy as np  # noqa: PLC0415

    count = min(max(1, frames), MAX_FRAMES)
    width, height = size[0] & ~1, size[1] & ~1
    head = np.asarray(Image.open(io.BytesIO(media.png(width, height, name))))
    out = io.BytesIO()
    options = {"movflags": "use_metadata_tags"} if kind == "mp4" else {}
    with av.open(out, "w", format=kind, options=options) as container:
        for key, value in texts:
            container.metadata[key] = value
        codec = ("libx264", {"preset": "ultrafast"}) if kind == "mp4" else ("libvpx-vp9", {"cpu-used": "8"})
        stream: Any = container.add_stream(codec[0], rate=Fraction(fps).limit_denominator(1000), options=codec[1])
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        tone: Any = container.add_stream("aac", rate=RATE_HZ, layout="mono") if sound else None
        for n in range(count):
            faded = head if n % 8 == 0 else (head * (1 - n / (2 * count))).astype("uint8")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(faded, format="rgb24")))
        container.mux(stream.encode())
        if tone is not None:
            _play(av, container, tone, count / fps, name, "fltp")
    return out.getvalue()


@lru_cache(maxsize=16)
def recording(seconds: float, name: str, kind: str, texts: Texts = ()) -> bytes:
    """Return a tone as MP3, FLAC or Opus (`kind` is the extension)."""
    import av  # noqa: PLC0415

    container_kind, codec, form = CODECS[kind]
    out = io.BytesIO()
    with av.open(out, "w", format=container_kind) as container:
        for key, value in texts:
            container.metadata[key] = value
        stream: Any = container.add_stream(codec, rate=RATE_HZ, layout="mono")
        _play(av, container, stream, seconds, name, form)
    return out.getvalue()


def length_s(body: bytes) -> float:
    """Return how long a recording or video lasts.

    Raises:
        OSError: it cannot be decoded.

    """
    import av  # noqa: PLC0415

    with av.open(io.BytesIO(body), "r") as container:
        return (container.duration or 0) / 1_000_000


def _play(av: Any, container: Any, stream: Any, seconds: float, name: str, form: str) -> None:
    """Encode a tone whose pitch follows from the name."""
    import numpy as np  # noqa: PLC0415

    count = int(RATE_HZ * min(max(0.1, seconds), 300))
    pitch_hz = 200 + zlib.crc32(name.encode()) % 600
    wave = 0.2 * np.sin(2 * np.pi * pitch_hz * np.arange(count) / RATE_HZ)
    samples = (wave * 32_767).astype("int16") if form == "s16" else wave.astype("float32")
    step = RATE_HZ
    for at in range(0, count, step):
        frame = av.AudioFrame.from_ndarray(samples[at : at + step].reshape(1, -1), format=form, layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, at
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
