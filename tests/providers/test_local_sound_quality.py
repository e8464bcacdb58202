"""How the sound models sound, judged by numbers: words, pitch, noise, level, spectrum, harmony."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundbox
from numpy.typing import NDArray

from calotype.media.probe import probe
from calotype.providers.local import denoise, music, tts
from calotype.providers.local.messages import BadInput
from calotype.providers.local.music.brief import MOODS, SCALES, read
from calotype.providers.local.music.composing import HIGHEST_LEAD, LOWEST_LEAD, compose
from calotype.providers.local.music.instruments import KIT, RATE_HZ, TIMBRES, drum, tone
from calotype.providers.local.sound import FORMATS, blocks_of, encode, frame_of
from calotype.providers.local.transcribe import srt, transcribe, vtt

Wave = NDArray[np.float32]
HEARD = (
    "on the 3rd of march at half past 9 42 people bought tickets for the evening train to geneva"
    " the weather was cold and nobody spoke"
)
"""The sentence as the transcription model writes it, without stops and capitals."""


def spoken(folder: Path, name: str = "wav", **fields: Any) -> tuple[Wave, Any]:
    made = tts.speak(input=soundbox.SENTENCE, response_format=name, progress=soundbox.unmoved, **fields)
    path = folder / f"spoken.{name}"
    path.write_bytes(soundbox.body_of(made))
    return soundbox.samples_of(path, tts.RATE_HZ)[0], made


def pitch_of(wave: Wave, rate_hz: int) -> float:
    """Return the middle pitch of a voice, by the first strong repeat of short pieces of it."""
    found = []
    size = rate_hz // 25
    for start in range(0, len(wave) - 2 * size, size):
        piece = wave[start : start + 2 * size].astype(float)
        piece -= piece.mean()
        if np.sqrt((piece**2).mean()) < 0.03:
            continue
        likeness = np.correlate(piece, piece, "full")[len(piece) - 1 :]
        low, high = rate_hz // 400, rate_hz // 80
        best = low + int(np.argmax(likeness[low:high]))
        if likeness[best] > 0.5 * likeness[0]:
            found.append(rate_hz / best)
    return float(np.median(found))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_speech_comes_in_every_format_with_its_length(tmp_path: Path, name: str) -> None:
    made = tts.speak(input="Good morning.", response_format=name, progress=soundbox.unmoved)
    body = soundbox.body_of(made)
    assert made.content_type == FORMATS[name].content_type
    assert made.usage["duration_ms"] == round(made.data["duration_s"] * 1000)
    if name == "pcm":
        assert len(body) == 2 * round(made.data["duration_s"] * tts.RATE_HZ)
        assert body[:2] == b"\0\0"  # or it could be taken for something else
        return
    facts = probe(body)
    assert facts.content_type == made.content_type
    assert facts.duration_s == pytest.approx(made.data["duration_s"], abs=0.08)


def test_speech_is_level_and_never_clipped(tmp_path: Path) -> None:
    wave, made = spoken(tmp_path)
    assert 0.2 < np.abs(wave).max() <= tts.PEAK + 1e-3
    assert abs(wave[0]) < 1e-3 > abs(wave[-1])
    assert 0.02 < np.sqrt((wave**2).mean()) < 0.3
    assert made.warnings == ()


def test_a_voice_is_the_one_voice_at_its_own_pitch_and_says_so(tmp_path: Path) -> None:
    own = pitch_of(spoken(tmp_path)[0], tts.RATE_HZ)
    for voice in ("onyx", "nova"):
        wave, made = spoken(tmp_path, voice=voice)
        assert pitch_of(wave, tts.RATE_HZ) / own == pytest.approx(tts.PITCHES[voice], rel=0.06)
        (warning,) = made.warnings
        assert warning.startswith("this model has one voice, heart: ")
    assert min(tts.PITCHES.values()) > 0.8 and max(tts.PITCHES.values()) < 1.15


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_speed_changes_the_length_and_not_the_pitch(tmp_path: Path, speed: float) -> None:
    wave, made = spoken(tmp_path)
    other, quick = spoken(tmp_path, speed=speed)
    assert quick.data["duration_s"] * speed == pytest.approx(made.data["duration_s"], rel=0.12)
    assert pitch_of(other, tts.RATE_HZ) == pytest.approx(pitch_of(wave, tts.RATE_HZ), rel=0.08)


def test_a_seed_changes_the_breath_of_a_voice_and_nothing_else(tmp_path: Path) -> None:
    first, _ = spoken(tmp_path, seed=1)
    second, _ = spoken(tmp_path, seed=2)
    assert len(first) == len(second)
    assert 0 < np.abs(first - second).mean() < 0.02


def noise_like(count: int, colour: str) -> NDArray[np.float64]:
    noise = np.random.default_rng(1).standard_normal(count)
    if colour == "white":
        return noise
    spectrum = np.fft.rfft(noise)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), count)


def noise_db(heard: Wave, clean: Wave) -> float:
    """Return the ratio of the clean sound to what else is heard, in dB."""
    share = float((heard * clean).sum() / (clean * clean).sum())
    rest = heard - share * clean
    return float(10 * np.log10((share * clean).astype(float).var() / rest.astype(float).var()))


@pytest.mark.parametrize(("colour", "strength", "gain_db"), [("white", "medium", 3.5), ("white", "strong", 3.5)])
def test_noise_becomes_less_and_nothing_is_late(tmp_path: Path, colour: str, strength: str, gain_db: float) -> None:
    clean = soundbox.samples_of(soundbox.speech(tmp_path), denoise.RATE_HZ) * np.float32(0.5)
    noise = noise_like(clean.shape[1], colour)
    noisy = (clean + noise * np.sqrt(clean.var() / noise.var()) * 10 ** (-15 / 20)).astype(np.float32)
    path = tmp_path / "noisy.wav"
    path.write_bytes(encode(noisy, denoise.RATE_HZ, "wav", "a test"))
    made = denoise.denoise(audio=str(path), strength=strength, progress=soundbox.unmoved)
    path.write_bytes(soundbox.body_of(made))
    heard = soundbox.samples_of(path, denoise.RATE_HZ)
    assert heard.shape == clean.shape
    before, after = noise_db(noisy[0], clean[0]), noise_db(heard[0], clean[0])
    assert before == pytest.approx(15.0, abs=0.2)
    assert after > before + gain_db, (before, after)


def test_a_recording_that_is_too_long_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    path.write_bytes(encode(np.zeros((1, 16_000 * 70), np.float32), 16_000, "flac", "a test"))
    with pytest.raises(BadInput, match="at most 1 minutes"):
        next(blocks_of(str(path), "audio_url", rate_hz=16_000, channels=1, max_s=60))


@pytest.mark.parametrize("name", ["mp3", "opus", "aac", "flac", "wav"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    t = np.arange(48_000) / 48_000
    tune = np.vstack([np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 660 * t)]).astype(np.float32) * np.float32(0.5)
    path = tmp_path / f"tune.{name}"
    path.write_bytes(encode(tune, 48_000, name, "a test"))
    heard = soundbox.samples_of(path, 48_000, 2)
    for side, hz in ((0, 440), (1, 660)):
        spectrum = np.abs(np.fft.rfft(heard[side]))
        assert np.argmax(spectrum) * 48_000 / heard.shape[1] == pytest.approx(hz, abs=2)
    assert frame_of(tune[:, :100], 48_000).samples == 100


def piece(folder: Path, prompt: str, seconds: int, seed: int = 1) -> tuple[Wave, Any]:
    made = music.render(prompt=prompt, seconds=seconds, response_format="wav", seed=seed, progress=soundbox.unmoved)
    path = folder / "piece.wav"
    path.write_bytes(soundbox.body_of(made))
    return soundbox.samples_of(path, RATE_HZ, 2), made


@pytest.mark.parametrize("mood", sorted(MOODS))
def test_a_piece_is_level_broad_wide_and_fades(tmp_path: Path, mood: str) -> None:
    word = {"game": "arcade"}.get(mood, mood)
    track, made = piece(tmp_path, word, 8)
    assert made.data["mood"] == mood
    assert track.shape == (2, 8 * RATE_HZ)
    assert np.abs(track).max() < 0.9
    assert -20 < 20 * np.log10(np.sqrt((track**2).mean())) < -14
    second = track.reshape(2, 8, RATE_HZ).std(axis=2).mean(axis=0)
    assert second[1:6].min() > 0.03, "no hole in the middle"
    assert second[7] < 0.5 * second[3:6].mean() and np.abs(track[:, -50:]).max() < 0.01
    assert np.abs(track[:, 0]).max() < 1e-3
    assert 0.1 < np.corrcoef(track)[0, 1] < 0.98, "stereo, and not two different pieces"
    power = np.abs(np.fft.rfft(track[0])) ** 2
    hz = np.fft.rfftfreq(track.shape[1], 1 / RATE_HZ)
    share = {name: float(power[(hz >= a) & (hz < b)].sum() / power.sum()) for name, a, b in BANDS}
    assert share["rumble"] < 0.02 and share["low"] > 0.05 and share["middle"] > 0.15 and share["high"] > 0.002, share


BANDS = (("rumble", 0, 30), ("low", 30, 250), ("middle", 250, 2000), ("high", 2000, 20_000))


def test_the_words_of_a_prompt_are_followed(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    brief = read("Epic battle with flute and harp at 96 bpm in F# minor, no drums, zebra", random)
    assert (brief.name, brief.bpm, brief.key, brief.mood.drums) == ("epic", 96, "F# minor", "none")
    assert {"flute", "harp"} <= set(brief.instruments) and "drums" not in brief.instruments
    assert brief.unread == ("zebra",)
    assert read("slow jazz", random).bpm < MOODS["jazz"].bpm[0]
    assert read("very fast techno", random).bpm > MOODS["dance"].bpm[1]
    assert read("999 bpm polka", random).bpm == 200
    assert read("calm in minor", random).mood.scale == "minor"
    assert read("sad drums", random).mood.drums != "none"
    _, made = piece(tmp_path, "a lofi tune about zebras", 5)
    assert made.warnings == ("these words changed nothing: zebras",)


@pytest.mark.parametrize("mood", sorted(MOODS))
@pytest.mark.parametrize("seconds", [5, 61])
def test_every_note_is_in_the_key_and_the_melody_in_its_range(mood: str, seconds: int) -> None:
    random = np.random.default_rng(7)
    brief = read({"game": "arcade"}.get(mood, mood), random)
    scale = {(brief.root + step) % 12 for step in SCALES[brief.mood.scale]}
    notes = compose(brief, seconds, random)
    assert all(note.pitch % 12 in scale for note in notes if note.part != "drums")
    assert all(LOWEST_LEAD <= note.pitch <= HIGHEST_LEAD for note in notes if note.part == "lead")
    assert all(0 <= note.start_s < seconds and 0 < note.velocity <= 1.1 and note.length_s > 0 for note in notes)
    assert {"lead", "pad", "bass"} <= {note.part for note in notes}
    assert ("drums" in {note.part for note in notes}) is (brief.mood.drums != "none")
    assert (len(notes) / seconds) < 40


def test_seeds_differ_and_the_same_seed_is_the_same_piece(tmp_path: Path) -> None:
    first, again, other = (piece(tmp_path, "folk", 5, seed)[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert np.abs(first - other).mean() > 0.01


@pytest.mark.parametrize("instrument", sorted(TIMBRES))
def test_an_instrument_is_in_tune_and_its_note_ends(instrument: str) -> None:
    wave = tone(instrument, 69, 0.8)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 18))
    near = slice(int(400 * (1 << 18) / RATE_HZ), int(480 * (1 << 18) / RATE_HZ))
    peak_hz = (near.start + int(np.argmax(spectrum[near]))) * RATE_HZ / (1 << 18)
    assert abs(1200 * np.log2(peak_hz / 440)) < 12
    assert np.abs(wave).max() == pytest.approx(1.0, abs=1e-6)
    assert abs(wave[0]) < 0.02 > np.abs(wave[-20:]).max()


@pytest.mark.parametrize("name", sorted(KIT))
def test_a_stroke_is_short_and_ends_at_zero(name: str) -> None:
    wave = drum(name)
    assert len(wave) <= 0.7 * RATE_HZ and np.abs(wave).max() == pytest.approx(1.0) and wave[-1] == 0


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
    spoken(tmp_path, "mp3", voice=voice)
    made = transcribe(
        audio=str(tmp_path / "spoken.mp3"), models_dir=whisper, timestamp_granularities=["word"],
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
    spoken(tmp_path, "mp3", speed=speed)
    made = transcribe(audio=str(tmp_path / "spoken.mp3"), models_dir=whisper, progress=soundbox.unmoved)
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
