"""Films, captions and camera moves in detail: what is seen, what is heard, and that nothing else is opened."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import toolbox
from numpy.typing import NDArray
from PIL import Image

from calotype.providers.local import ken_burns
from calotype.providers.local.films import joining, overlays, reading
from calotype.providers.local.films.captions import Cue, parse
from calotype.providers.local.films.sounds import RATE_HZ, exact, faded, mixed, sound_of
from calotype.providers.local.films.stamp import Stamp
from calotype.providers.local.ken_burns_moves import FOCUSES, MODES, zoomed
from calotype.providers.local.messages import BadInput, Made

Pixels = NDArray[np.uint8]


def quiet(fraction: float) -> None:
    return None


def pictures(made: Made) -> list[Pixels]:
    assert isinstance(made.file, Path)
    with av.open(str(made.file)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def loudness(path: Path) -> list[float]:
    """Return how loud each tenth of a second is."""
    samples = np.concatenate(list(sound_of(str(path), "audio_url")), axis=1)
    tenth = RATE_HZ // 10
    return [float(np.abs(samples[:, at : at + tenth]).max()) for at in range(0, samples.shape[1] - tenth, tenth)]


def test_joined_films_come_in_order_and_a_silent_one_is_silent(tmp_path: Path) -> None:
    silent, loud = toolbox.film(tmp_path, sound=False), toolbox.film(tmp_path)
    made = joining.merge_videos(videos=[str(silent), str(loud)], scratch=str(tmp_path), progress=quiet)
    light = [frame.mean() for frame in pictures(made)]
    assert len(light) == 24
    assert light[11] > light[0] + 100
    assert light[12] < light[11] - 100
    assert isinstance(made.file, Path)
    heard = loudness(made.file)
    assert max(heard[:10]) < 0.01
    assert min(heard[14:22]) > 0.2


def test_a_film_of_another_shape_gets_bars_and_the_caller_is_told(tmp_path: Path) -> None:
    wide, tall = toolbox.film(tmp_path), toolbox.film(tmp_path, size=(48, 64), frames=6)
    made = joining.merge_videos(videos=[str(wide), str(tall)], scratch=str(tmp_path), progress=quiet)
    last = pictures(made)[-1]
    assert last[20, 32].mean() > 100
    assert last[20, 2].mean() < 12
    assert made.warnings == ("video_urls.1 has another shape than the first and was fitted into it",)


def test_copied_pictures_are_the_very_same_and_a_long_recording_is_cut(tmp_path: Path) -> None:
    film = toolbox.film(tmp_path)
    before = pictures(Made(film))
    made = joining.merge_audio_video(
        video=str(film), audio=str(toolbox.tone(tmp_path, 3.0)), scratch=str(tmp_path), progress=quiet
    )
    after = pictures(made)
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    assert made.warnings == ("the recording is longer than the film; its end was cut off",)


def test_a_gif_is_where_and_when_it_was_asked_for(tmp_path: Path) -> None:
    made = overlays.overlay_gif(
        video=str(toolbox.film(tmp_path)), gif=str(toolbox.animation(tmp_path)), x=20, y=10, start=0.3, end=0.9,
        scratch=str(tmp_path), progress=quiet,
    )  # fmt: skip
    seen = [tuple(int(part) > 150 for part in frame[16, 28]) for frame in pictures(made)[3:6]]
    assert seen == [(True, False, False), (False, True, False), (False, False, True)]
    assert np.ptp(pictures(made)[1][16, 28].astype(int)) < 12
    assert np.ptp(pictures(made)[10][16, 28].astype(int)) < 12
    outside = overlays.overlay_gif(
        video=str(toolbox.film(tmp_path)), gif=str(toolbox.animation(tmp_path)), x=900, scratch=str(tmp_path),
        progress=quiet,
    )  # fmt: skip
    assert outside.warnings == ("the picture lies outside the film",)


def test_captions_are_shown_while_they_last(tmp_path: Path) -> None:
    made = overlays.burn_captions(
        video=str(toolbox.film(tmp_path, size=(320, 180))), scratch=str(tmp_path), progress=quiet,
        captions="WEBVTT\n\nintro\n00:00.200 --> 00:00.600 align:center\n<b>Hello</b> &amp; you\n",
    )  # fmt: skip
    spread = [float(np.ptp(frame[120:].astype(int))) for frame in pictures(made)]
    assert max(spread[:2]) < 20
    assert min(spread[2:6]) > 100
    assert max(spread[7:]) < 20


def test_captions_are_read_as_srt_and_as_webvtt() -> None:
    srt = "\ufeff1\r\n00:00:01,000 --> 00:00:02,500\r\nOne\r\nTwo\r\n\r\n"
    srt += "2\r\n01:00:00,000 --> 01:00:01,000\r\n{\\an8}Three\r\n"
    assert parse(srt) == (Cue(1.0, 2.5, "One\nTwo"), Cue(3600.0, 3601.0, "Three"))
    assert parse("WEBVTT\n\n00:03.000 --> 00:04.000\n<c.x>A</c> &lt;b\n") == (Cue(3.0, 4.0, "A <b"),)
    for bad in ("", "WEBVTT", "1\n00:00:02,000 --> 00:00:01,000\nback", "1\nsoon --> later\nx", "x" * 200_001):
        with pytest.raises(BadInput):
            parse(bad)


def test_letters_without_a_font_are_named(tmp_path: Path) -> None:
    made = overlays.burn_captions(
        video=str(toolbox.film(tmp_path)), captions="1\n00:00:00,100 --> 00:00:00,900\n\U00013000\n",
        scratch=str(tmp_path), progress=quiet,
    )  # fmt: skip
    assert made.warnings == ("no font on this machine has these letters: \U00013000",)


@pytest.mark.parametrize("place", [(10, 20), (-7, -5), (60, 40)])
def test_a_stamp_covers_what_it_lies_on(place: tuple[int, int]) -> None:
    grey = np.full((48 * 3 // 2, 64), 128, np.uint8)
    stamp = Stamp.of(Image.new("RGBA", (15, 11), (255, 255, 255, 255)), place, (64, 48))
    assert stamp is not None
    bright = stamp.onto(grey.copy())[:48] > 200
    rows, columns = np.nonzero(bright)
    assert rows.min() == max(0, place[1] // 2 * 2)
    assert columns.max() == min(63, place[0] // 2 * 2 + 14)


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    """Also under the name of a film."""
    for name in ("list.mp4", "list.m3u8"):
        path = tmp_path / name
        path.write_bytes(toolbox.playlist(tmp_path).read_bytes())
        with pytest.raises(BadInput) as refusal:
            reading.look(str(path), "video_url")
        assert refusal.value.field == "video_url"


def test_a_film_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_SECONDS", 1.0)
    with pytest.raises(BadInput, match="1 seconds"):
        reading.look(str(toolbox.film(tmp_path)))


def test_sound_is_cut_filled_mixed_and_faded() -> None:
    def ones(length: int) -> Any:
        return iter([np.ones((2, length), np.float32)])

    def joined(blocks: Any) -> NDArray[np.float32]:
        whole: NDArray[np.float32] = np.concatenate(list(blocks), axis=1)
        return whole

    assert joined(exact(ones(100), 50 / RATE_HZ)).shape == (2, 50)
    filled = joined(exact(ones(100), 1.0))
    assert (filled.shape, filled.sum()) == ((2, RATE_HZ), 200)
    both = joined(mixed([ones(5000), ones(9000)]))
    assert both.shape == (2, 9000)
    assert both[0, 0] == pytest.approx(1.0)
    assert both[0, -1] == pytest.approx(0.5**0.5)
    soft = joined(faded(ones(RATE_HZ), 1.0, 0.5))
    assert soft[0, RATE_HZ // 4] == 1.0
    assert soft[0, -1] < 0.001


def views(mode: str, **numbers: float) -> list[tuple[float, float, float]]:
    return list(zoomed({"mode": mode, **numbers}, 25).views)


@pytest.mark.parametrize("mode", MODES)
def test_every_zoom_mode_moves_as_its_name_says(mode: str) -> None:
    seen = views(mode, speed=0.01, max_scale=1.2)
    first, last = seen[0], seen[-1]
    if mode in FOCUSES:
        assert (first[0], last[0]) == (1.0, 1.2)
        assert last[1:] == FOCUSES[mode]
    elif mode == "none":
        assert set(seen) == {(1.0, 0.5, 0.5)}
    else:
        across, down = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}[mode.removeprefix("pan_")]
        assert (last[1] - first[1], last[2] - first[2]) == (across, down)
        assert {view[0] for view in seen} == {1.2}


def test_pan_speed_two_arrives_in_half_the_time() -> None:
    assert views("pan_right", pan_speed=2.0)[12] == views("pan_right", pan_speed=2.0)[24]


def test_music_lies_under_the_film_and_ends_softly(tmp_path: Path) -> None:
    def filmed(**more: Any) -> bytes:
        return ken_burns.render(
            image=str(toolbox.picture(tmp_path, (300, 200))), seconds=2, width=256, height=256, progress=quiet, **more
        ).mp4

    path = tmp_path / "film.mp4"
    path.write_bytes(filmed(audio=str(toolbox.tone(tmp_path, 3.0))))
    heard = loudness(path)
    assert heard[5] > 0.3
    assert heard[-1] < 0.1
    with av.open(io.BytesIO(filmed())) as silent:
        assert not silent.streams.audio
