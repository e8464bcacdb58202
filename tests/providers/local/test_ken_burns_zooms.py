"""Every zoom and pan that a caller can choose by its numbers, seen in the film itself."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from calotype.providers.local.ken_burns import render
from calotype.providers.local.ken_burns_moves import MODES

FRAMES = 24
GOES = {
    "center": (0, 0), "top_left": (1, 1), "top_right": (-1, 1), "bottom_left": (1, -1), "bottom_right": (-1, -1),
    "pan_left": (1, 0), "pan_right": (-1, 0), "pan_up": (0, 1), "pan_down": (0, -1), "none": (0, 0),
}  # fmt: skip
"""Where what is in the middle of the picture goes: away from where the camera goes."""
CLOSES_IN = {"center", "top_left", "top_right", "bottom_left", "bottom_right"}

Spot = tuple[float, float, float]


@pytest.fixture
def disc(tmp_path: Path) -> str:
    """Return a picture with a bright disc in its middle."""
    x, y = np.meshgrid(np.arange(480), np.arange(384))
    light = 230 * np.clip(40.5 - np.hypot(x - 239.5, y - 191.5), 0, 1)
    path = tmp_path / "disc.png"
    Image.fromarray(light.astype(np.uint8)).convert("RGB").save(path)
    return str(path)


def seen(image: str, zoom: dict[str, Any]) -> list[Spot]:
    """Film the picture; return where the disc is in each frame, as x, y and size in pixels."""
    clip = render(image=image, seconds=1, fps=FRAMES, width=320, height=256, zoom=zoom, progress=lambda fraction: None)
    with av.open(io.BytesIO(clip.mp4)) as film:
        lights = [frame.to_ndarray(format="rgb24")[:, :, 1].astype(float) ** 2 for frame in film.decode(video=0)]
    y, x = np.indices(lights[0].shape)
    return [
        (float((one * x).sum() / one.sum()), float((one * y).sum() / one.sum()), float((one > 100.0**2).sum()))
        for one in lights
    ]


def test_every_mode_is_in_the_table() -> None:
    assert set(GOES) == set(MODES)


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_moves_the_camera_where_its_name_says(disc: str, mode: str) -> None:
    spots = seen(disc, {"mode": mode, "speed": 0.02})
    assert len(spots) == FRAMES
    first, last = spots[0], spots[-1]
    for axis in (0, 1):
        went = last[axis] - first[axis]
        assert went * GOES[mode][axis] > 5 if GOES[mode][axis] else abs(went) < 0.7, (mode, axis, went)
    grown = last[2] / first[2]
    assert 1.9 < grown < 2.3 if mode in CLOSES_IN else abs(grown - 1) < 0.02  # 1.46 times as near


def test_a_zoom_stops_at_its_largest_scale(disc: str) -> None:
    sizes = [size for _, _, size in seen(disc, {"mode": "center", "speed": 0.05, "max_scale": 1.3})]
    assert sizes[-1] / sizes[0] == pytest.approx(1.69, rel=0.05)
    assert sizes[8] == pytest.approx(sizes[-1], rel=0.02)


def test_a_pan_that_is_twice_as_fast_has_arrived_half_way(disc: str) -> None:
    places = [x for x, _, _ in seen(disc, {"mode": "pan_left", "pan_speed": 2.0})]
    assert places[12] == pytest.approx(places[-1], abs=0.5)
    assert places[12] - places[0] > 5
