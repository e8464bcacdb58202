"""local/sketch: what a prompt promises is what the picture shows."""

import hashlib
import io
import subprocess
import sys
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from calotype.providers.local.sketch import LABEL, Sketch, render
from calotype.providers.local.sketch.colour import mean_hue, recolour
from calotype.providers.local.sketch.prompt import MAX_OF_A_KIND, read
from calotype.providers.local.sketch.subjects import drawing, rasterise
from calotype.providers.local.sketch.video import VIDEO_LABEL, SketchVideo, render_video
from calotype.providers.local.sketch.words import vocabulary


def small(prompt: str, seed: int = 1) -> Sketch:
    return render(prompt, seed=seed, width=320, height=256)


def pixels(sketch: Sketch) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(sketch.png)).convert("RGB"), np.float32)


def ground(sketch: Sketch) -> np.ndarray:
    """Mean colour of the lowest rows."""
    return pixels(sketch)[-24:].mean(axis=(0, 1))


def arts(prompt: str) -> list[str]:
    return [placement.art for placement in small(prompt).placed]


def test_the_same_prompt_and_seed_give_the_same_bytes_in_another_process() -> None:
    code = (
        "import hashlib\n"
        "from calotype.providers.local.sketch import render\n"
        "png = render('two owls in a forest at dusk', seed=7, width=320, height=256).png\n"
        "print(hashlib.sha256(png).hexdigest())\n"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    here = small("two owls in a forest at dusk", seed=7).png
    assert hashlib.sha256(here).hexdigest() == there
    assert small("two owls in a forest at dusk", seed=8).png != here


@pytest.mark.parametrize(("width", "height"), [(256, 256), (768, 256), (256, 768), (333, 517)])
def test_the_asked_size_is_the_size_given(width: int, height: int) -> None:
    sketch = render("a horse on a hill", seed=2, width=width, height=height)
    assert Image.open(io.BytesIO(sketch.png)).size == (sketch.width, sketch.height) == (width, height)


@pytest.mark.parametrize(("width", "height"), [(255, 300), (300, 2049), (1024, 256)])
def test_a_size_out_of_bounds_is_refused(width: int, height: int) -> None:
    with pytest.raises(ValueError, match="refused"):
        render("a horse", seed=1, width=width, height=height)


def test_the_png_says_what_it_is_and_keeps_the_prompt_to_itself() -> None:
    sketch = small("zebra secret")
    text = Image.open(io.BytesIO(sketch.png)).text
    assert text == {"Software": "Calotype local/sketch", "Description": LABEL, "Seed": "1"}
    assert b"zebra" not in sketch.png


@pytest.mark.parametrize(
    ("prompt", "art", "count"),
    [
        ("three penguins", "penguin", 3),
        ("a dozen balloons", "balloon", 12),
        ("7 fish underwater", "fish", 7),
        ("a pair of horses on a beach", "horse", 2),
        ("an elephant", "elephant", 1),
    ],
)
def test_as_many_are_drawn_as_were_asked_for(prompt: str, art: str, count: int) -> None:
    assert arts(prompt).count(art) == count


def test_more_than_can_be_drawn_is_clamped_and_said() -> None:
    sketch = small("40 cats on a hill")
    assert [placement.art for placement in sketch.placed].count("cat") == MAX_OF_A_KIND
    assert 'drew 12 of 40 "cats" (at most 12 of a kind)' in sketch.warnings


@pytest.mark.parametrize(
    "prompt", ["a dozen horses and five cats by a lake", "ten sailboats", "a giant elephant and a tiny mouse"]
)
def test_no_subject_is_cut_by_the_frame(prompt: str) -> None:
    sketch = small(prompt)
    assert sketch.placed
    for box in sketch.placed:
        assert box.x >= 0 and box.y >= 0 and box.x + box.width <= 320 and box.foot <= 256


def test_subjects_live_where_they_belong() -> None:
    homes = {box.art: box for box in small("an eagle, a sailboat and a dog at a lake").placed}
    assert homes["eagle"].foot < homes["sailboat"].foot < homes["dog"].foot


def test_relations_are_kept() -> None:
    on = {box.art: box for box in small("a cat on a table").placed}
    assert on["cat"].foot < on["table"].y + on["table"].height * 0.2
    assert on["table"].x < on["cat"].centre < on["table"].x + on["table"].width
    left = {box.art: box for box in small("a dog to the left of a house").placed}
    assert left["dog"].centre < left["house"].x
    above = {box.art: box for box in small("a balloon above a castle").placed}
    assert above["balloon"].foot <= above["castle"].y


def test_place_words_make_places_and_no_icons() -> None:
    scene = read("sunset over a mountain lake with snow, stars and clouds")
    assert scene.figures == ()
    assert (scene.time, scene.water, scene.backdrops) == ("sunset", "lake", ("mountains",))


def test_night_is_darker_than_day() -> None:
    assert pixels(small("a meadow at night")).mean() < 0.7 * pixels(small("a meadow at noon")).mean()


def test_snow_at_night_is_blue_white() -> None:
    red, green, blue = ground(small("snow under the moon at night"))
    assert blue > green > red and blue > 150 and blue - red > 25


def test_a_colour_word_recolours_its_subject() -> None:
    car = rasterise(drawing("automobile"), 96)
    blue, green = mean_hue(recolour(car, "blue")), mean_hue(recolour(car, "green"))
    assert 225 < blue < 290
    assert 115 < green < 185
    assert small("a green car").scene.figures[0].colour == "green"


def test_a_coloured_car_is_that_colour_in_the_picture() -> None:
    def car(prompt: str) -> np.ndarray:
        sketch = small(prompt)
        box = sketch.placed[0]
        inside = pixels(sketch)[int(box.y + box.height * 0.5) : int(box.y + box.height * 0.7)]
        return inside[:, int(box.x + box.width * 0.2) : int(box.x + box.width * 0.8)].mean(axis=(0, 1))

    red, blue = car("a red car in the desert"), car("a blue car in the desert")
    assert red[0] > red[2] + 40
    assert blue[2] > blue[0] + 40


def test_a_colour_given_to_the_sky_paints_the_sky() -> None:
    red, green, blue = pixels(small("purple sky over hills"))[:60].mean(axis=(0, 1))
    assert red > green + 15 and blue > green + 30


def test_what_is_not_drawn_is_said() -> None:
    sketch = small("watercolor of a fox with a flibbertigibbet")
    assert 'not drawn: "watercolor" (style words have no effect on local/sketch)' in sketch.warnings
    assert 'not drawn: "flibbertigibbet" (words local/sketch does not know)' in sketch.warnings
    assert small("a fox in the forest").warnings == ()


def test_many_unknown_words_are_named_up_to_twenty_and_counted() -> None:
    warning = read(" ".join(f"qx{number}z" for number in range(50))).warnings[-1]
    assert warning.count('"') == 40
    assert "and 30 more" in warning


def test_no_means_not_there() -> None:
    assert read("a hill without trees and no dogs").figures == ()


def test_reading_stops_at_its_bound() -> None:
    scene = read("cat " * 100_000)
    assert any("read the first 400 words" in warning for warning in scene.warnings)
    assert len(scene.figures) <= 8


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "   ",
        "🦊🌋👩‍🚀",
        "一只猫坐在山上",
        "\x00\ud800\u202e",
        "a" * 32_000,
        "ни слова",
        "<svg/>&'\"",
        "0 cats",
        "-1",
    ],
)
def test_every_prompt_gets_a_picture(prompt: str) -> None:
    sketch = small(prompt)
    assert pixels(sketch).std() > 8
    assert sketch.warnings


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(sorted(vocabulary().meanings)), max_size=14), st.integers(-(2**63), 2**64))
def test_any_mix_of_known_words_is_drawn(words: list[str], seed: int) -> None:
    sketch = small(" ".join(words).replace("_", " "), seed)
    assert len(sketch.placed) == sum(figure.count for figure in sketch.scene.figures)


def test_every_subject_of_the_tables_has_its_art() -> None:
    words = vocabulary()
    for name in words.arts:
        assert drawing(name).ratio > 0
    for table in (words.bodies, words.sink, words.native, words.perch, words.worn):
        assert set(table) <= set(words.arts), set(table) - set(words.arts)


@pytest.fixture(scope="module")
def film() -> SketchVideo:
    return render_video("two swans on a lake, snowing", seed=3, width=320, height=256, seconds=0.75, fps=8)


def test_a_film_has_the_asked_size_length_and_label(film: SketchVideo) -> None:
    with av.open(io.BytesIO(film.mp4)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (320, 256, 8)
        assert container.duration == 750_000
        assert container.metadata["comment"] == VIDEO_LABEL
        assert sum(1 for _ in container.decode(video=0)) == film.frames == 6


def test_a_film_moves(film: SketchVideo) -> None:
    with av.open(io.BytesIO(film.mp4)) as container:
        frames = [frame.to_ndarray(format="gray").astype(np.float32) for frame in container.decode(video=0)]
    assert all(np.abs(after - before).mean() > 0.5 for before, after in pairwise(frames))


def test_a_film_can_start_before_it_is_read_to_its_end(film: SketchVideo) -> None:
    assert 0 < film.mp4.index(b"moov") < film.mp4.index(b"mdat")


def test_the_longest_film_still_has_its_index_in_front() -> None:
    long = render_video("rain", seed=1, width=256, height=256, seconds=12, fps=60)
    assert long.frames == 720
    assert 0 < long.mp4.index(b"moov") < long.mp4.index(b"mdat")


def test_a_film_is_the_same_every_time(film: SketchVideo) -> None:
    again = render_video("two swans on a lake, snowing", seed=3, width=320, height=256, seconds=0.75, fps=8)
    assert again.mp4 == film.mp4


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"seconds": 31}, {"fps": 0}, {"fps": 61}, {"width": 321}])
def test_a_film_out_of_bounds_is_refused(wrong: dict[str, int]) -> None:
    asked = {"seed": 1, "width": 320, "height": 256, "seconds": 1, "fps": 8} | wrong
    with pytest.raises(ValueError, match="refused"):
        render_video("a hill", **asked)


def test_a_drawing_the_rasteriser_gives_up_on_at_one_size_is_drawn_all_the_same() -> None:
    made = render("a yellow bicycle beside a house in autumn", seed=8, width=840, height=600)
    assert {placement.art for placement in made.placed} >= {"bicycle", "house"}
