"""Subtitles from a script: when each is shown, how they are drawn, and what is said of what is not offered."""

from pathlib import Path

import av
import numpy as np
import pytest
import toolbox

from calotype.providers.local.films.captions import Cue
from calotype.providers.local.films.subtitling import moved, spread, subtitle
from calotype.providers.local.messages import BadInput, Made, Unavailable


def quiet(fraction: float) -> None:
    return None


def made(film: Path, folder: Path, script: str | None = "HELLO", **more: object) -> Made:
    return subtitle(video=str(film), script=script, models_dir=None, scratch=str(folder), progress=quiet, **more)


def brightest(file: Path) -> list[int]:
    """Return the lightest value in the lower third of each picture."""
    with av.open(str(file)) as film:
        pictures = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    return [int(picture[picture.shape[0] * 2 // 3 :].max()) for picture in pictures]


def test_each_part_of_a_script_is_shown_for_its_share_of_the_letters() -> None:
    assert spread("ab|cd\n\nefgh\n \nij", 10.0) == (
        Cue(0.0, 4.0, "ab\ncd"), Cue(4.0, 8.0, "efgh"), Cue(8.0, 10.0, "ij"),
    )  # fmt: skip


def test_an_offset_moves_everything_and_nothing_begins_before_the_film() -> None:
    cues = (Cue(0.0, 0.2, "a"), Cue(0.2, 2.0, "b"))
    assert moved(cues, -0.3) == (Cue(0.0, 1.7, "b"),)
    assert moved(cues, 0.3) == (Cue(0.3, 0.5, "a"), Cue(0.5, 2.3, "b"))


@pytest.mark.parametrize(
    ("script", "offset", "field"),
    [("| \n\n |", 0, "script"), ("x" * 10_001, 0, "script"), ("fine", 301, "timing_offset_ms")],
)
def test_what_cannot_be_used_is_refused_by_its_field(tmp_path: Path, script: str, offset: int, field: str) -> None:
    with pytest.raises(BadInput) as refused:
        made(toolbox.film(tmp_path), tmp_path, script, timing_offset_ms=offset)
    assert refused.value.field == field


def test_a_script_is_drawn_into_the_film_and_an_animation_is_said_not_to_be(tmp_path: Path) -> None:
    film = toolbox.film(tmp_path, size=(160, 96))
    before = brightest(film)
    done = made(film, tmp_path, animation="word_pop_fade")
    assert isinstance(done.file, Path)
    assert brightest(done.file)[0] > before[0] + 50
    assert len(brightest(done.file)) == len(before)
    assert any("word_pop_fade is not drawn" in warning for warning in done.warnings)


def test_without_a_script_speech_is_recognised_which_needs_weights(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="calotype models pull whisper-base"):
        made(toolbox.film(tmp_path), tmp_path, None)


def test_what_is_heard_becomes_subtitles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = [{"start": 0.0, "end": 0.5, "text": "HELLO"}]

    def heard(*, audio: str, models_dir: str | None, language: str, progress: object) -> Made:
        assert language == "th"
        return Made(None, data={"segments": segments if Path(audio).exists() else []})

    monkeypatch.setattr("calotype.providers.local.films.subtitling.transcribe", heard)
    film = toolbox.film(tmp_path, size=(160, 96))
    done = made(film, tmp_path, None)
    assert isinstance(done.file, Path)
    light = brightest(done.file)
    assert light[0] > light[-1] or np.ptp(light) > 0
    segments.clear()
    with pytest.raises(BadInput, match="Nothing was heard"):
        made(film, tmp_path, None)
