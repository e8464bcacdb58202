"""Sound as an emulator makes it: short real recordings in every format, and always the same words heard in them."""

import io
import wave
from functools import lru_cache
from typing import Any

from calotype.sandbox import media

CONTENT_TYPES = {
    "mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav",
    "pcm": "audio/pcm",
}  # fmt: skip
_CODECS = {
    "mp3": ("mp3", "libmp3lame"), "opus": ("ogg", "libopus"), "aac": ("adts", "aac"), "flac": ("flac", "flac"),
}  # fmt: skip
RATE_HZ = 24_000
SECONDS_PER_WORD = 0.4
SPOKEN = "the evening train leaves at half past nine"


@lru_cache(maxsize=16)
def speech(text: str, shape: str) -> bytes:
    """Return a recording in this format, as long as the text takes; `pcm` is bare samples, 24 kHz, 16 bit."""
    sound = media.wav(SECONDS_PER_WORD * max(1, len(text.split())), text)
    if shape == "wav":
        return sound
    if shape == "pcm":
        with wave.open(io.BytesIO(sound)) as file:
            samples = file.readframes(file.getnframes())
            times = RATE_HZ // file.getframerate()
        return b"".join(samples[n : n + 2] * times for n in range(0, len(samples), 2))
    return _encoded(sound, *_CODECS[shape])


def _encoded(sound: bytes, container: str, codec: str) -> bytes:
    import av  # noqa: PLC0415  (heavy, and most runs make no sound)

    out = io.BytesIO()
    with av.open(io.BytesIO(sound), "r") as read, av.open(out, "w", format=container) as written:
        stream = written.add_stream(codec, rate=RATE_HZ)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=RATE_HZ, frame_size=stream.frame_size)
        for frame in read.decode(audio=0):
            for piece in resampler.resample(frame):
                written.mux(stream.encode(piece))
        for piece in resampler.resample(None):
            written.mux(stream.encode(piece))
        written.mux(stream.encode(None))
    return out.getvalue()


def transcript(body: bytes, *, words: bool, whole: bool) -> dict[str, Any]:
    """Return what is said in a recording: always the same words, over its length; `whole` tells the times too."""
    length_s = _length_s(body)
    said = SPOKEN.split()
    step_s = length_s / len(said)
    half = len(said) // 2
    found: dict[str, Any] = {"text": SPOKEN}
    if not whole:
        return found
    found |= {"task": "transcribe", "language": "en", "duration": round(length_s, 2)}
    found["segments"] = [
        {
            "id": n, "start": round(first * step_s, 2), "end": round(last * step_s, 2),
            "text": f" {' '.join(said[first:last])}", "avg_logprob": -0.2, "no_speech_prob": 0.01,
        }
        for n, (first, last) in enumerate(((0, half), (half, len(said))))
    ]  # fmt: skip
    if words:
        found["words"] = [
            {"word": word, "start": round(n * step_s, 2), "end": round((n + 1) * step_s, 2)}
            for n, word in enumerate(said)
        ]
    return found


def seconds_of(body: bytes) -> int:
    """Return the started seconds of a recording, as they are billed."""
    return max(1, -int(-_length_s(body) // 1))


def _length_s(body: bytes) -> float:
    import av  # noqa: PLC0415

    try:
        with av.open(io.BytesIO(body), "r") as container:
            return float(container.duration or 0) / 1_000_000 or 1.0
    except av.FFmpegError:
        return 1.0
