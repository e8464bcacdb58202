"""How the sound models sound, judged by numbers: words, pitch, noise, level, spectrum, harmony."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundbox
from numpy.typing import NDArray

from calotype.media.probe import probe
from calotype.providers.local import denoise, tts
from calotype.providers.local.messages import BadInput
from calotype.providers.local.sound import FORMATS, blocks_of, encode, frame_of

Wave = NDArray[np.float32]


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
    if colour == "hum":
        return 0.1 * noise + np.sin(np.arange(count) * 2 * np.pi * 120 / denoise.RATE_HZ)
    spectrum = np.fft.rfft(noise)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), count)


def noise_db(heard: Wave, clean: Wave) -> float:
    """Return the ratio of the clean sound to what else is heard, in dB."""
    share = float((heard * clean).sum() / (clean * clean).sum())
    rest = heard - share * clean
    return float(10 * np.log10((share * clean).astype(float).var() / rest.astype(float).var()))


@pytest.mark.parametrize(
    ("colour", "strength", "gain_db"),
    [
        ("white", "light", 4),
        ("white", "medium", 6),
        ("white", "strong", 6),
        ("pink", "medium", 2.5),
        ("hum", "strong", 4),
    ],
)
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


def test_a_recording_without_noise_stays_as_it_is_and_one_without_a_pause_says_so(tmp_path: Path) -> None:
    clean = soundbox.samples_of(soundbox.speech(tmp_path), denoise.RATE_HZ)
    made = denoise.denoise(audio=str(soundbox.speech(tmp_path)), progress=soundbox.unmoved)
    path = tmp_path / "made.wav"
    path.write_bytes(soundbox.body_of(made))
    assert noise_db(soundbox.samples_of(path, denoise.RATE_HZ)[0], clean[0]) > 25
    assert made.warnings == ()
    path.write_bytes(encode(noise_like(96_000, "white")[np.newaxis].astype(np.float32) / 8, 48_000, "wav", "a test"))
    made = denoise.denoise(audio=str(path), progress=soundbox.unmoved)
    assert made.warnings == ("no passage with noise alone was found; the noise was guessed",)


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
