"""The town: rows of houses against the sky, their windows lit after dark."""

import numpy as np
from PIL import Image, ImageDraw

from calotype.providers.local.sketch.chance import Chance
from calotype.providers.local.sketch.colour import RGB, eight_bit, hexed, mix, times
from calotype.providers.local.sketch.layers import Layer, Stage
from calotype.providers.local.sketch.palette import Palette

# Each row, far to near: its height, its depth in haze, and how many houses it has.
_ROWS = ((0, 0.46, 0.55, 22), (1, 0.34, 0.30, 14), (2, 0.22, 0.08, 11))


def skyline(palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    """Paint three rows of houses, the far ones tall and pale."""
    return [_street_front(palette, stage, chance, row) for row in _ROWS]


def _street_front(palette: Palette, stage: Stage, chance: Chance, row: tuple[int, float, float, int]) -> Layer:
    """One row of houses, windows lit after dark."""
    index, tall, depth, number = row
    rng = chance.stream("skyline", index)
    height = int(min(stage.unit * tall * 1.15, stage.horizon * 0.9))
    image = Image.new("RGBA", (stage.width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    walls = [hexed(code) for code in ("#c98f7a", "#8fa3c4", "#d8b98c", "#9c86b0", "#7fa8a0", "#c4a5a8", "#7886a8")]
    number = max(4, round(number * stage.width / max(1.0, stage.unit) / 1.1))
    x, step = -0.02 * stage.width, stage.width / number
    while x < stage.width:
        wide = step * float(rng.uniform(0.75, 1.45))
        rise = height * float(rng.uniform(0.38, 1.0)) ** (1.2 if index < 2 else 0.7)
        top = height - rise
        wall = palette.lit(walls[int(rng.integers(len(walls)))], depth)
        side = times(wall, (0.80, 0.80, 0.86))
        draw.rectangle((x, top, x + wide, height), fill=eight_bit(wall))
        draw.rectangle((x + wide * 0.78, top, x + wide, height), fill=eight_bit(side))
        draw.rectangle(
            (x - wide * 0.02, top, x + wide * 1.02, top + max(2, stage.unit * 0.008)),
            fill=eight_bit(mix(wall, (1, 1, 1), 0.2)),
        )
        if index < 2 and rng.random() < 0.3:
            draw.rectangle((x + wide * 0.47, top - height * 0.09, x + wide * 0.51, top), fill=eight_bit(side))
        _windows(draw, rng, palette, (x, top, wide, height), stage.unit * (0.016 + 0.006 * index), wall)
        x += wide * 1.01
    return Layer(image, 0, stage.horizon - height + int(stage.unit * 0.03), 0.14 + 0.12 * index)


def _windows(draw: ImageDraw.ImageDraw, rng: np.random.Generator, palette: Palette,
             house: tuple[float, float, float, int], pane: float, wall: RGB) -> None:  # fmt: skip
    x, top, wide, height = house
    lamp = 0.5 if palette.dark else 0.12 if palette.light[2] < 0.8 else 0.0
    columns = max(1, int(wide * 0.7 / (pane * 1.9)))
    gap = wide * 0.74 / columns
    y = top + pane * 1.4
    while y < height - pane * 1.2:
        for column in range(columns):
            left = x + wide * 0.04 + gap * (column + 0.5) - pane * 0.5
            on = rng.random() < lamp
            tone = (
                mix((1.0, 0.84, 0.45), wall, 0.08) if on else mix(times(wall, (0.62, 0.70, 0.86)), palette.sky[1], 0.25)
            )
            draw.rectangle((left, y, left + pane, y + pane * 1.25), fill=eight_bit(tone))
        y += pane * 2.3
