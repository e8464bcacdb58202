"""What the sound models of this machine are tried with: recordings made here, and weights pulled once in a run."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calotype.providers.local.sound import blocks_of, encode
from calotype.providers.local.tts import speak
from calotype.providers.local.weights import pull

SENTENCE = (
    "On the third of March at half past nine, forty two people bought tickets for the evening train to Geneva. "
    "The weather was cold, and nobody spoke."
)
"""What the speech model says and the transcription model hears."""


class Sample(NamedTuple):
    """An input that works, inputs that do not with the field to name, and changes that make it slow enough to stop."""

    model: str
    fields: dict[str, Any]
    files: Callable[[Path], dict[str, Path]] = lambda folder: {}
    bad: tuple[tuple[dict[str, Any], dict[str, Path], str], ...] = ()
    content_type: str | None = None
    weights: str | None = None
    slow: tuple[dict[str, Any], Callable[[Path], dict[str, Path]]] = ({}, lambda folder: {})


def unmoved(fraction: float) -> None:
    """Progress that nobody looks at."""


def pulled(name: str, models_dir: Path) -> Path:
    """Have weights: from the registry, or from the folder in CALOTYPE_TEST_WEIGHTS where a run should not download."""
    source = os.environ.get("CALOTYPE_TEST_WEIGHTS")
    return pull(name, models_dir, folder=Path(source) if source else None)


def speech(folder: Path, times: int = 1) -> Path:
    """The sentence, spoken once or again and again."""
    path = folder / f"speech-{times}.wav"
    if not path.exists() and times == 1:
        path.write_bytes(body_of(speak(input=SENTENCE, response_format="wav", progress=unmoved)))
    if not path.exists():
        path.write_bytes(encode(np.tile(samples_of(speech(folder), 24_000), times), 24_000, "wav", "a test"))
    return path


def silence(folder: Path) -> Path:
    path = folder / "silence.wav"
    path.write_bytes(encode(np.zeros((1, 16_000), np.float32), 16_000, "wav", "a test"))
    return path


def broken(folder: Path) -> Path:
    path = folder / "broken.mp3"
    path.write_bytes(b"neither sound nor film")
    return path


def playlist(folder: Path) -> Path:
    """A list that would make a careless reader open something else."""
    path = folder / "list.m3u8"
    path.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n")
    return path


def empty(folder: Path) -> Path:
    path = folder / "empty.wav"
    path.write_bytes(encode(np.zeros((1, 0), np.float32), 16_000, "wav", "a test"))
    return path


def body_of(made: Any) -> bytes:
    assert isinstance(made.file, bytes)
    return made.file


def samples_of(path: Path, rate_hz: int, channels: int = 1) -> NDArray[np.float32]:
    blocks = blocks_of(str(path), "audio_url", rate_hz=rate_hz, channels=channels, max_s=600)
    return np.concatenate(list(blocks), axis=1)


def every(folder: Path) -> list[Sample]:
    no_sound = {"audio_url": broken(folder)}
    user = {"role": "user", "content": "Say hello."}
    return [
        Sample(
            "tts",
            {"input": "Good morning.", "voice": "onyx", "response_format": "opus"},
            bad=(
                ({"input": "…"}, {}, "input"),
                ({"input": "a" * 4097}, {}, "input"),
                ({"input": "你好"}, {}, "input"),
                ({"voice": "nobody"}, {}, "voice"),
                ({"speed": 5.0}, {}, "speed"),
                ({"response_format": "ogg"}, {}, "response_format"),
                ({"seed": -1}, {}, "seed"),
            ),
            content_type="audio/ogg",
            slow=({"input": f"{SENTENCE} " * 25}, lambda folder: {}),
        ),
        Sample(
            "music",
            {"prompt": "a happy waltz", "seconds": 5, "response_format": "wav"},
            bad=(
                ({"prompt": " "}, {}, "prompt"),
                ({"seconds": 4}, {}, "seconds"),
                ({"seconds": 121}, {}, "seconds"),
                ({"response_format": "pcm"}, {}, "response_format"),
            ),
            content_type="audio/wav",
            slow=({"seconds": 120}, lambda folder: {}),
        ),
        Sample(
            "denoise",
            {"strength": "light", "response_format": "mp3"},
            lambda folder: {"audio_url": speech(folder)},
            bad=(
                ({}, no_sound, "audio_url"),
                ({}, {"audio_url": playlist(folder)}, "audio_url"),
                ({}, {"audio_url": empty(folder)}, "audio_url"),
                ({"strength": "all"}, {}, "strength"),
                ({"response_format": "ogg"}, {}, "response_format"),
            ),
            content_type="audio/mpeg",
            slow=({}, lambda folder: {"audio_url": speech(folder, times=15)}),
        ),
        Sample(
            "smollm2-135m",
            {"messages": [user], "max_tokens": 8, "seed": 1},
            bad=(
                ({"messages": []}, {}, "messages"),
                ({"messages": [user, {"role": "ghost", "content": "boo"}]}, {}, "messages.1.role"),
                ({"messages": [{"role": "user", "content": 7}]}, {}, "messages.0.content"),
                ({"messages": [{"role": "user", "content": "so " * 5000}]}, {}, "messages"),
                ({"messages": [{"role": "user", "content": "x" * 40_000}]}, {}, "messages"),
                ({"max_tokens": 0}, {}, "max_tokens"),
                ({"temperature": 3.0}, {}, "temperature"),
                ({"top_p": 0.0}, {}, "top_p"),
                ({"stop": ["a", "b", "c", "d", "e"]}, {}, "stop"),
            ),
            weights="smollm2-135m",
            slow=(
                {"messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 500},
                lambda folder: {},
            ),
        ),
        Sample(
            "transcribe",
            {"response_format": "srt", "timestamp_granularities": ["segment", "word"]},
            lambda folder: {"audio_url": speech(folder)},
            bad=(
                ({}, no_sound, "audio_url"),
                ({}, {"audio_url": playlist(folder)}, "audio_url"),
                ({"language": "tlh"}, {}, "language"),
                ({"response_format": "doc"}, {}, "response_format"),
                ({"temperature": 2.0}, {}, "temperature"),
                ({"timestamp_granularities": ["letter"]}, {}, "timestamp_granularities"),
                ({"prompt": "x" * 1001}, {}, "prompt"),
            ),
            weights="whisper-base",
            slow=({}, lambda folder: {"audio_url": speech(folder, times=3)}),
        ),
    ]
