"""A slope: the one shape hills, ground and islands are made of."""

import numpy as np

from calotype.providers.local.sketch.chance import Floats
from calotype.providers.local.sketch.colour import RGB
from calotype.providers.local.sketch.layers import Layer, Stage, sheet


def slope(stage: Stage, line: Floats, top: RGB, foot: RGB, *, rim: RGB | None = None, near: float = 1.0,
           bottom: int | None = None) -> Layer:  # fmt: skip
    """Paint a hill: everything below a line, graded top colour to foot colour, its crest catching light."""
    start = max(0, int(line.min()) - 2)
    end = bottom if bottom is not None else stage.height
    end = max(end, start + 4)
    y = np.arange(start, end, dtype=np.float32)[:, None]
    below = y - line[None, :]
    alpha = np.clip(below + 0.5, 0, 1)
    share = np.clip(below / max(1.0, end - float(line.mean())), 0, 1)[..., None] ** 0.8
    colours = np.array(top, np.float32) * (1 - share) + np.array(foot, np.float32) * share
    if rim is not None:
        crest = np.exp(-np.clip(below, 0, None) / (stage.unit * 0.012))[..., None] * 0.5
        colours += (np.array(rim, np.float32) - colours) * crest
    return Layer(sheet(colours, alpha), 0, start, near)
