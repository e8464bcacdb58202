"""How the music of this machine sounds, judged by numbers: level, spectrum, stereo, harmony, the prompt's words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundbox
from numpy.typing import NDArray

from calotype.providers.local import music
from calotype.providers.local.music.brief import MOODS, SCALES, read
from calotype.providers.local.music.composing import HIGHEST_LEAD, LOWEST_LEAD, compose
from calotype.providers.local.music.instruments import KIT, RATE_HZ, TIMBRES, drum, tone

Wave = NDArray[np.float32]


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
