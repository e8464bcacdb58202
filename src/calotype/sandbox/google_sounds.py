"""Recordings as Google's models give them: bare samples, or files (`wire/providers.md §3.4, §3.7, §3.8`)."""

import io
import wave
from base64 import b64encode
from functools import lru_cache

RATE_HZ = 24_000
SAMPLES = f"audio/L16;codec=pcm;rate={RATE_HZ}"
S_PER_WORD = 0.4
TOKENS_PER_S = 25
VOICES = (
    "Zephyr", "Puck", "Charon", "Kore", "Fenrir", "Leda", "Orus", "Aoede", "Callirrhoe", "Autonoe", "Enceladus",
    "Iapetus", "Umbriel", "Algieba", "Despina", "Erinome", "Algenib", "Rasalgethi", "Laomedeia", "Achernar", "Alnilam",
    "Schedar", "Gacrux", "Pulcherrima", "Achird", "Zubenelgenubi", "Vindemiatrix", "Sadachbia", "Sadaltager", "Sulafat",
)  # fmt: skip
_CODECS = {"audio/mp3": ("mp3", "libmp3lame", 44_100), "audio/ogg_opus": ("ogg", "libopus", 48_000)}


def length_s(text: str) -> float:
    """Return how long a text takes to say."""
    return max(0.4, round(len(text.split()) * S_PER_WORD, 3))


@lru_cache(maxsize=16)
def samples(seconds: float, pitch: int = 0) -> bytes:
    """Return signed 16-bit little-endian mono samples: a square wave."""
    half = 40 + pitch % 60
    period = b"\x00\x18" * half + b"\x00\xe8" * half
    count = int(RATE_HZ * seconds)
    return (period * (count // (2 * half) + 1))[: count * 2]


def recording(kind: str | None, seconds: float, pitch: int = 0) -> tuple[str, str]:
    """Return content type and base64 of a recording; samples where no kind is asked for."""
    if kind == "audio/wav":
        return kind, b64encode(_wav(samples(seconds, pitch))).decode()
    if kind in _CODECS:
        return kind, b64encode(_encoded(kind, seconds, pitch)).decode()
    return SAMPLES, b64encode(samples(seconds, pitch)).decode()


def _wav(body: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(body)
    return out.getvalue()


@lru_cache(maxsize=16)
def _encoded(kind: str, seconds: float, pitch: int) -> bytes:
    """Encode as a compressed file, in stereo."""
    import av  # noqa: PLC0415  (heavy, and most runs make none)
    import numpy as np  # noqa: PLC0415

    container, codec, rate = _CODECS[kind]
    half = rate // (200 + pitch % 200)
    wave_ = np.where(np.arange(int(rate * seconds)) // half % 2 == 0, 3_000, -3_000).astype(np.int16)
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "stereo"
        frame = av.AudioFrame.from_ndarray(np.repeat(wave_, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.rate = rate
        resampler = av.AudioResampler(format=stream.format, layout="stereo", rate=rate, frame_size=stream.frame_size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode())
    return out.getvalue()
