"""The camera move over a still: shape, colour, direction, smoothness, refusals."""

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from calotype.providers.local.ken_burns import LABEL, MOTIONS, Clip, render
from calotype.providers.local.messages import BadInput
from calotype.providers.local.models import MODELS

Frames = list[NDArray[np.uint8]]


@pytest.fixture
def ball(tmp_path: Path) -> str:
    """Return a picture with a bright disc in its middle."""
    x, y = np.meshgrid(np.arange(480), np.arange(320))
    spot = 230 * np.clip(40.5 - np.hypot(x - 240, y - 160), 0, 1)
    path = tmp_path / "ball.png"
    Image.fromarray(spot.astype(np.uint8)).convert("RGB").save(path)
    return str(path)


def film(image: str, **changes: Any) -> Clip:
    arguments = {"seconds": 1, "fps": 24, "width": 320, "height": 256, **changes}
    return render(image=image, progress=changes.pop("progress", None) or (lambda fraction: None), **arguments)


def frames_of(clip: Clip) -> Frames:
    with av.open(io.BytesIO(clip.mp4)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def spot(frame: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return where the bright spot is, and its size, all in pixels."""
    light = frame[:, :, 1].astype(float) ** 2
    y, x = np.indices(light.shape)
    return (
        float((light * x).sum() / light.sum()),
        float((light * y).sum() / light.sum()),
        float((light > 100.0**2).sum()),
    )


def test_the_film_plays_everywhere_and_starts_before_it_is_whole(ball: str) -> None:
    clip = film(ball, seconds=2, fps=25, motion="static")
    assert clip.mp4.index(b"moov") < clip.mp4.index(b"mdat")
    with av.open(io.BytesIO(clip.mp4)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height, video.frames, video.average_rate) == (320, 256, 50, 25)
        assert container.metadata["comment"] == LABEL


def test_labels_agree() -> None:
    assert MODELS["ken-burns"].label == LABEL


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_same_input_gives_the_same_bytes(ball: str, motion: str) -> None:
    assert film(ball, motion=motion).mp4 == film(ball, motion=motion).mp4


@pytest.mark.parametrize(("motion", "grows"), [("zoom-in", 1), ("zoom-out", -1)])
def test_a_zoom_grows_or_shrinks_without_a_step_back_and_stays_in_the_middle(
    ball: str, motion: str, grows: int
) -> None:
    seen = [spot(frame) for frame in frames_of(film(ball, motion=motion))]
    sizes = [grows * size for _, _, size in seen]
    assert sizes[-1] > sizes[0]
    assert all(after >= before - 10 for before, after in pairwise(sizes))
    for x, y, _ in seen:
        assert abs(x - 159.5) < 0.7
        assert abs(y - 127.5) < 0.7


@pytest.mark.parametrize(
    ("motion", "axis", "sign"), [("pan-left", 0, 1), ("pan-right", 0, -1), ("pan-up", 1, 1), ("pan-down", 1, -1)]
)
def test_a_pan_moves_one_way_in_fractions_of_a_pixel(ball: str, motion: str, axis: int, sign: int) -> None:
    seen = [spot(frame) for frame in frames_of(film(ball, motion=motion, seconds=2))]
    along = [sign * place[axis] for place in seen]
    steps = [after - before for before, after in pairwise(along)]
    assert min(steps) > -0.15
    assert along[-1] - along[0] > 5
    # moves of whole pixels would differ by one between neighbours
    assert max(abs(after - before) for before, after in pairwise(steps)) < 0.6
    assert abs(seen[0][1 - axis] - seen[-1][1 - axis]) < 0.3


def test_colours_survive(tmp_path: Path) -> None:
    path = tmp_path / "flat.png"
    Image.new("RGB", (400, 300), (200, 80, 40)).save(path)
    frame = frames_of(film(str(path), motion="static"))[0]
    assert np.abs(frame.reshape(-1, 3).mean(axis=0) - (200, 80, 40)).max() < 4


def test_without_a_size_the_picture_keeps_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "tall.jpg"
    Image.new("RGB", (400, 800), "teal").save(path)
    clip = film(str(path), width=None, height=None, motion="static")
    assert frames_of(clip)[0].shape == (1280, 640, 3)
    assert clip.warnings == ()
    small = film(str(path), width=1280, height=720, motion="zoom-in")
    assert small.warnings == ("the picture has 400x800 pixels and was enlarged to 1280x720",)


def test_rotation_and_transparency_are_taken_as_a_viewer_shows_them(tmp_path: Path) -> None:
    turned = tmp_path / "turned.jpg"
    picture = Image.new("RGB", (64, 32), "black")
    picture.paste("white", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    picture.save(turned, exif=exif)
    frame = frames_of(film(str(turned), width=256, height=512, motion="static"))[0]
    assert frame[64].mean() > 200 > 60 > frame[448].mean()
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(clear)
    assert frames_of(film(str(clear), motion="static"))[0].mean() > 245


def test_an_extreme_shape_stays_affordable(tmp_path: Path) -> None:
    path = tmp_path / "ribbon.png"
    Image.new("RGB", (8000, 20), "navy").save(path)
    for motion in ("pan-right", "zoom-in"):
        assert len(frames_of(film(str(path), motion=motion))) == 24


def test_progress_rises_to_the_end(ball: str) -> None:
    told: list[float] = []
    render(image=ball, seconds=1, fps=24, width=256, height=256, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "body",
    [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"cut"],
)
def test_what_is_not_a_picture_is_refused_by_field(tmp_path: Path, body: bytes, ball: str) -> None:
    path = tmp_path / "bad"
    path.write_bytes(Path(ball).read_bytes()[:200] if body == b"cut" else body)
    with pytest.raises(BadInput) as refusal:
        film(str(path))
    assert refusal.value.field == "image_url"


def test_pictures_that_are_too_large_or_too_small_are_refused(tmp_path: Path) -> None:
    for name, size in (("large", (20_000, 4_001)), ("small", (15, 300))):
        path = tmp_path / f"{name}.png"
        Image.new("1", size).save(path)
        with pytest.raises(BadInput, match="pixels"):
            film(str(path))


@pytest.mark.parametrize(("field", "value"), [("seconds", 21), ("seconds", 0), ("fps", 23), ("motion", "spin")])
def test_values_out_of_range_are_refused_by_field(ball: str, field: str, value: Any) -> None:
    with pytest.raises(BadInput) as refusal:
        film(ball, **{field: value})
    assert refusal.value.field == field
