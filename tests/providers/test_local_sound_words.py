"""What the speech model says is what the transcription model writes down."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import soundbox

from calotype.providers.local import tts
from calotype.providers.local.transcribe import transcribe
from calotype.providers.subtitles import srt, vtt

HEARD = (
    "on the 3rd of march at half past 9 42 people bought tickets for the evening train to geneva"
    " the weather was cold and nobody spoke"
)
"""The sentence as the transcription model writes it, without stops and capitals."""


def spoken(folder: Path, **fields: Any) -> str:
    path = folder / "spoken.mp3"
    path.write_bytes(soundbox.body_of(tts.speak(input=soundbox.SENTENCE, progress=soundbox.unmoved, **fields)))
    return str(path)


def test_subtitles_have_their_clocks() -> None:
    segments = [{"start": 0.0, "end": 1.5, "text": "One."}, {"start": 3661.25, "end": 3662.0, "text": "Two."}]
    assert srt(segments) == "1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n2\n01:01:01,250 --> 01:01:02,000\nTwo.\n\n"
    assert vtt(segments).startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne.\n\n01:01:01.250 -->")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models")
    soundbox.pulled("whisper-base", folder)
    return str(folder)


@pytest.mark.full
@pytest.mark.parametrize("voice", sorted(tts.PITCHES))
def test_what_a_voice_says_is_understood_word_for_word(tmp_path: Path, whisper: str, voice: str) -> None:
    made = transcribe(
        audio=spoken(tmp_path, voice=voice), models_dir=whisper, timestamp_granularities=["word"],
        progress=soundbox.unmoved,
    )  # fmt: skip
    heard = [word.strip(".,").lower() for word in made.data["text"].split()]
    assert " ".join(heard) == HEARD
    assert made.data["language"] == "en"
    words = made.data["words"]
    assert [word["word"].strip(".,").lower() for word in words] == heard
    assert all(a["start"] <= b["start"] and a["end"] <= b["end"] for a, b in pairwise(words))
    assert words[-1]["end"] <= made.data["duration_s"] + 0.1


@pytest.mark.full
@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_speech_is_understood_at_other_speeds(tmp_path: Path, whisper: str, speed: float) -> None:
    made = transcribe(audio=spoken(tmp_path, speed=speed), models_dir=whisper, progress=soundbox.unmoved)
    assert "42 people bought tickets for the evening train" in made.data["text"]


@pytest.mark.full
def test_silence_is_no_speech(tmp_path: Path, whisper: str) -> None:
    made = transcribe(audio=str(soundbox.silence(tmp_path)), models_dir=whisper, progress=soundbox.unmoved)
    assert (made.data["text"], made.data["segments"]) == ("", [])
    assert made.usage == {"duration_ms": 1000}


@pytest.mark.full
def test_subtitles_come_when_they_are_asked_for(tmp_path: Path, whisper: str) -> None:
    for shape in ("srt", "vtt"):
        made = transcribe(
            audio=str(soundbox.speech(tmp_path)), models_dir=whisper, response_format=shape, progress=soundbox.unmoved
        )
        assert "Geneva" in made.data[shape]
