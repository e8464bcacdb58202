"""Mountains: peaks with a lit and a shaded face, snow on top and haze at the foot."""

import numpy as np
from PIL import Image, ImageDraw

from calotype.providers.local.sketch.chance import Chance
from calotype.providers.local.sketch.colour import NAMED, RGB, eight_bit, hexed, mix, times
from calotype.providers.local.sketch.layers import Layer, Stage
from calotype.providers.local.sketch.palette import Palette
from calotype.providers.local.sketch.scene import Scene


def mountains(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    """Paint two ranges, the far one higher and paler."""
    asked = scene.colour_of("backdrop")
    rock = NAMED[asked] if asked else hexed("#6d7fa6")
    found = []
    for index, (tall, depth, peaks) in enumerate(((0.46, 0.50, 5), (0.34, 0.22, 6))):
        found.append(_range(scene, palette, stage, chance, (index, tall, depth, peaks), rock))
    return found


def _range(scene: Scene, palette: Palette, stage: Stage, chance: Chance, row: tuple[int, float, float, int],
           rock: RGB) -> Layer:  # fmt: skip
    """One range of mountains: each peak a lit and a shaded face, snow on top, haze at the foot."""
    index, tall, depth, peaks = row
    rng = chance.stream("mountains", index)
    scale = 2
    height = int(min(stage.horizon * 0.86, stage.unit * tall * 1.25))
    image = Image.new("RGBA", (stage.width * scale, height * scale), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    from_right = bool(chance.stream("sun side").random() > 0.5)
    snowy = "snow" in (scene.ground or "") or scene.season != "summer"
    lit, shade = palette.lit(mix(rock, (1, 1, 1), 0.14), depth), palette.lit(times(rock, (0.70, 0.70, 0.80)), depth)
    white = mix(palette.lit((0.97, 0.98, 1.0), depth * 0.4), (0.75, 0.85, 1.0), 0.2 if palette.dark else 0.0)
    grey = mix(palette.lit((0.76, 0.83, 0.95), depth * 0.5), shade, 0.12)
    spread = stage.width * scale / peaks
    order = sorted(
        ((float(rng.uniform(0.45, 1.0)), (slot + float(rng.uniform(0.2, 0.8))) * spread) for slot in range(peaks)),
        reverse=True,
    )
    for rise, x in order:
        top = (1 - rise) * height * scale + 4
        foot = height * scale
        half = (foot - top) * float(rng.uniform(0.85, 1.15))
        left, right = (x - half, foot), (x + half, foot)
        spine = _zigzag(rng, (x, top), (x + half * float(rng.uniform(-0.25, 0.25)), foot), half * 0.10)
        left_edge = _zigzag(rng, left, (x, top), half * 0.045)
        right_edge = _zigzag(rng, (x, top), right, half * 0.045)
        bright, dull = (shade, lit) if from_right else (lit, shade)
        draw.polygon([*left_edge, *spine], fill=eight_bit(bright))
        draw.polygon([*right_edge, *reversed(spine)], fill=eight_bit(dull))
        if snowy and rise > 0.5:
            cap = (0.30 if scene.ground != "snow" else 0.55) * (foot - top)
            line_left = _cap(rng, [*left_edge], top + cap, left_side=True)
            line_right = _cap(rng, [*right_edge], top + cap, left_side=False)
            tip = (x, top)
            middle = next((point for point in spine if point[1] > top + cap * 1.1), spine[-1])
            inner = [point for point in spine if point[1] < middle[1]]
            draw.polygon([*line_left, tip, *inner[1:], middle], fill=eight_bit(grey if from_right else white))
            draw.polygon([*line_right, tip, *inner[1:], middle], fill=eight_bit(white if from_right else grey))
    image = image.reduce(scale)
    pixels = np.asarray(image, np.float32)
    down = np.linspace(0, 1, pixels.shape[0], dtype=np.float32)[:, None, None] ** 2.2 * 0.62
    pixels = np.concatenate(
        (pixels[..., :3] + (np.array(palette.haze, np.float32) * 255 - pixels[..., :3]) * down, pixels[..., 3:]), axis=2
    )
    sunk = int(stage.unit * 0.02)
    return Layer(Image.fromarray(pixels.astype(np.uint8)), 0, stage.horizon - height + sunk, 0.14 + 0.12 * index)


def _zigzag(rng: np.random.Generator, start: tuple[float, float], end: tuple[float, float],
            wobble: float) -> list[tuple[float, float]]:  # fmt: skip
    points, steps = [], 9
    for step in range(steps + 1):
        t = step / steps
        off = 0.0 if step in (0, steps) else float(rng.uniform(-1, 1)) * wobble
        points.append((start[0] + (end[0] - start[0]) * t + off, start[1] + (end[1] - start[1]) * t + off * 0.5))
    return points


def _cap(
    rng: np.random.Generator, edge: list[tuple[float, float]], level: float, *, left_side: bool
) -> list[tuple[float, float]]:
    """Paint the lower rim of a snow cap along one edge: in from the edge, down in two tongues, to the spine."""
    kept = [point for point in edge if point[1] <= level]
    if not kept:
        return []
    outer = kept[0] if left_side else kept[-1]
    tip = kept[-1] if left_side else kept[0]
    tongues = []
    for t, drop in ((0.28, 0.32), (0.5, -0.02), (0.75, 0.42)):
        x = outer[0] + (tip[0] - outer[0]) * t
        tongues.append((x, outer[1] + (level - tip[1]) * drop * float(rng.uniform(0.6, 1.2))))
    if left_side:
        return [*reversed(tongues), *kept]
    return [*reversed(tongues), *reversed(kept)]
