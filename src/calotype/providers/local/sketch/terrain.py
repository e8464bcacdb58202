"""The land: what stands at the horizon, and the ground in front of it."""

from collections.abc import Callable

import msgspec
import numpy as np
from PIL import Image, ImageDraw

from calotype.providers.local.sketch.chance import Chance, Floats, blotches, profile
from calotype.providers.local.sketch.colour import NAMED, RGB, eight_bit, hexed, mix, times
from calotype.providers.local.sketch.layers import Layer, Stage, sheet
from calotype.providers.local.sketch.palette import Palette
from calotype.providers.local.sketch.prompt import Scene

# Ground: its colour near the viewer and at its far edge.
GROUNDS: dict[str, tuple[RGB, RGB]] = {
    "grass": (hexed("#5fa548"), hexed("#a9d47c")),
    "snow": (hexed("#dfe9fb"), hexed("#fbfdff")),
    "sand": (hexed("#e6bd7c"), hexed("#f8e2b2")),
    "wheat": (hexed("#d6a23c"), hexed("#f2d579")),
    "street": (hexed("#6f7488"), hexed("#a5a9b8")),
    "rock": (hexed("#8b7a70"), hexed("#b8a898")),
    "regolith": (hexed("#8c8b98"), hexed("#c6c5cf")),
    "mars": (hexed("#b5562f"), hexed("#e59a62")),
    "autumn": (hexed("#a98a3e"), hexed("#dcbf6e")),
}


def ground_colours(scene: Scene, palette: Palette) -> tuple[RGB, RGB]:
    """Give the lit colours of the ground, near and far."""
    name = scene.ground or "grass"
    if name == "grass" and scene.season == "autumn":
        name = "autumn"
    near, far = GROUNDS[name]
    asked = scene.colour_of("ground")
    if asked:
        near, far = mix(NAMED[asked], (0.1, 0.1, 0.15), 0.12), mix(NAMED[asked], (1, 1, 1), 0.3)
    if name == "snow" and not asked:
        light = mix(palette.light, (0.70, 0.80, 1.0), 0.45) if palette.dark else palette.light
        near, far = times(near, light), times(far, light)
        if palette.dark:
            near, far = mix(near, (0.56, 0.68, 0.94), 0.2), mix(far, (0.72, 0.82, 1.0), 0.22)
        return near, mix(far, palette.haze, 0.06)
    return palette.lit(near), palette.lit(far, 0.16)


def backdrop(kind: str, scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    """Paint the sheets of one backdrop, far to near."""
    painter = _BACKDROPS.get(kind)
    return painter(scene, palette, stage, chance) if painter else []


def ground(scene: Scene, palette: Palette, stage: Stage, chance: Chance, top: int) -> Layer:
    """Paint the foreground from `top` (pixels) to the lower edge, softly rolling, with its own texture."""
    rng = chance.stream("ground")
    name = scene.ground or "grass"
    flat = name == "street" or scene.water is not None
    swell = stage.unit * (0.006 if name == "street" else 0.014 if flat else 0.03)
    line = top + swell * profile(rng, stage.width, waves=2.2, octaves=2)
    near, far = ground_colours(scene, palette)
    return _textured(
        name, _slope(stage, line, far, near, rim=mix(far, palette.glow, 0.25)), stage, rng, (near, far), top
    )


def _slope(stage: Stage, line: Floats, top: RGB, foot: RGB, *, rim: RGB | None = None, near: float = 1.0,
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


def _textured(name: str, layer: Layer, stage: Stage, rng: np.random.Generator, colours: tuple[RGB, RGB],
              top: int) -> Layer:  # fmt: skip
    image, near, far = layer.image, *colours
    pixels = np.asarray(image).copy()
    height, width = pixels.shape[:2]
    deep = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    bands = blotches(rng, max(2, width // 4), height, cells=6, octaves=2)
    bands = np.asarray(Image.fromarray(bands).resize((width, height), Image.Resampling.BICUBIC))
    strength = {"snow": 0.10, "street": 0.03, "sand": 0.09}.get(name, 0.16)
    shade = 1.0 + (bands - 0.5)[..., None] * strength * (0.5 + deep[..., None])
    pixels[..., :3] = np.clip(pixels[..., :3] * shade, 0, 255)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image, "RGBA")
    texture = _TEXTURES.get(name)
    if texture:
        texture(_Patch(draw, rng, stage, near, far, width, height, top - layer.y))
    clean = np.asarray(image).copy()
    clean[..., 3] = np.asarray(layer.image)[..., 3]
    return Layer(Image.fromarray(clean), layer.x, layer.y, layer.near)


class _Patch(msgspec.Struct, frozen=True):
    """The piece of ground a texture is drawn on; `top` is the row its far edge has."""

    draw: ImageDraw.ImageDraw
    rng: np.random.Generator
    stage: Stage
    near: RGB
    far: RGB
    width: int
    height: int
    top: int


def _spots(patch: _Patch, number: int) -> list[tuple[float, float, float]]:
    """Places on the ground, thicker towards the horizon: x, y, and the scale things have there."""
    found = []
    for _ in range(number):
        t = float(patch.rng.uniform(0, 1)) ** 1.4
        x = float(patch.rng.uniform(0, patch.width))
        found.append((x, patch.top + 6 + t * (patch.height - patch.top - 6), 0.25 + 0.75 * t))
    return sorted(found, key=lambda spot: spot[1])


_Texture = Callable[[_Patch], None]


def _grass(patch: _Patch) -> None:
    draw, rng, stage, near, far = patch.draw, patch.rng, patch.stage, patch.near, patch.far
    petals = [mix(near, tone, 0.75) for tone in ((1, 0.97, 0.9), (0.99, 0.82, 0.3), (0.96, 0.5, 0.62))]
    for x, y, scale in _spots(patch, 300):
        tall = stage.unit * 0.02 * scale * float(rng.uniform(0.6, 1.2))
        tone = eight_bit(
            mix(near, far, float(rng.uniform(0.2, 1.0))) if rng.random() > 0.45 else times(near, (0.82,) * 3)
        )
        for lean in (-0.45, 0.0, 0.45):
            tip = (x + lean * tall, y - tall * (1 - abs(lean) * 0.5))
            draw.polygon([(x - tall * 0.09, y), tip, (x + tall * 0.09, y)], fill=(*tone, 150))
        if rng.random() < 0.12:
            r = tall * 0.17
            draw.ellipse(
                (x - r, y - tall - r, x + r, y - tall + r), fill=(*eight_bit(petals[int(rng.integers(3))]), 255)
            )


def _wheat(patch: _Patch) -> None:
    draw, rng, stage, near, far = patch.draw, patch.rng, patch.stage, patch.near, patch.far
    for x, y, scale in _spots(patch, 900):
        tall = stage.unit * 0.05 * scale * float(rng.uniform(0.7, 1.2))
        tone = eight_bit(mix(times(near, (0.85, 0.82, 0.8)), far, float(rng.uniform(0, 1.0))))
        lean = tall * float(rng.uniform(-0.15, 0.3))
        draw.line((x, y, x + lean, y - tall), fill=(*tone, 190), width=max(1, round(tall * 0.06)))
        draw.ellipse(
            (x + lean - tall * 0.06, y - tall * 1.3, x + lean + tall * 0.06, y - tall * 0.9), fill=(*tone, 230)
        )


def _snow(patch: _Patch) -> None:
    draw, rng, stage, near, far = patch.draw, patch.rng, patch.stage, patch.near, patch.far
    for x, y, scale in _spots(patch, 26):
        wide = stage.unit * 0.22 * scale * float(rng.uniform(0.5, 1.2))
        dull = mix(near, times(near, (0.80, 0.86, 0.98)), 0.8)
        draw.chord((x - wide, y - wide * 0.10, x + wide, y + wide * 0.10), 180, 360, fill=(*eight_bit(far), 130))
        draw.chord((x - wide, y - wide * 0.07, x + wide, y + wide * 0.07), 0, 180, fill=(*eight_bit(dull), 90))
    for x, y, scale in _spots(patch, 90):
        r = stage.unit * 0.0017 * scale
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255, 190))


def _sand(patch: _Patch) -> None:
    draw, rng, stage, near, far = patch.draw, patch.rng, patch.stage, patch.near, patch.far
    for x, y, scale in _spots(patch, 60):
        wide = stage.unit * 0.12 * scale * float(rng.uniform(0.4, 1.2))
        tone = eight_bit(times(near, (0.88, 0.86, 0.84)) if rng.random() > 0.5 else far)
        draw.arc((x - wide, y - wide * 0.14, x + wide, y + wide * 0.14), 190, 350, fill=(*tone, 150),
                 width=max(1, round(stage.unit * 0.003 * scale)))  # fmt: skip
    for x, y, scale in _spots(patch, 60):
        r = stage.unit * 0.004 * scale * float(rng.uniform(0.4, 1))
        draw.ellipse((x - r, y - r * 0.6, x + r, y + r * 0.6), fill=(*eight_bit(times(near, (0.8, 0.78, 0.78))), 150))


def _street(patch: _Patch) -> None:
    draw, stage, near, far = patch.draw, patch.stage, patch.near, patch.far
    width, height, top = patch.width, patch.height, patch.top
    deep = height - top
    kerb = top + deep * 0.20
    draw.rectangle((0, 0, width, kerb), fill=(*eight_bit(mix(far, (0.85, 0.82, 0.86), 0.25)), 255))
    draw.rectangle((0, kerb, width, kerb + max(2, deep * 0.03)), fill=(*eight_bit(times(near, (0.7, 0.7, 0.74))), 255))
    draw.rectangle((0, kerb, width, kerb + max(1, deep * 0.012)), fill=(*eight_bit(mix(far, (1, 1, 1), 0.35)), 255))
    lane, thick = top + deep * 0.66, deep * 0.028
    step = stage.unit * 0.2
    for index in range(int(width / step) + 2):
        x = index * step
        corners = [(x, lane), (x + step * 0.55, lane), (x + step * 0.51, lane + thick), (x - step * 0.04, lane + thick)]
        draw.polygon(corners, fill=(*eight_bit(mix(near, (1, 0.97, 0.86), 0.72)), 255))


def _craters(patch: _Patch) -> None:
    draw, rng, stage, near, far = patch.draw, patch.rng, patch.stage, patch.near, patch.far
    for x, y, scale in _spots(patch, 30):
        r = stage.unit * 0.055 * scale * float(rng.uniform(0.25, 1.2))
        rim, bowl = eight_bit(mix(far, (1, 1, 1), 0.15)), eight_bit(times(near, (0.80, 0.80, 0.84)))
        draw.ellipse((x - r, y - r * 0.34, x + r, y + r * 0.34), fill=(*rim, 200))
        draw.ellipse((x - r * 0.9, y - r * 0.26, x + r * 0.86, y + r * 0.30), fill=(*bowl, 255))


def _stones(patch: _Patch) -> None:
    draw, rng, stage, near, far = patch.draw, patch.rng, patch.stage, patch.near, patch.far
    for x, y, scale in _spots(patch, 70):
        r = stage.unit * 0.016 * scale * float(rng.uniform(0.3, 1.3))
        draw.chord(
            (x - r * 1.3, y - r, x + r * 1.3, y + r), 180, 360, fill=(*eight_bit(times(near, (0.8, 0.8, 0.82))), 255)
        )
        draw.chord(
            (x - r * 1.2, y - r, x + r * 0.5, y + r * 0.7), 180, 320, fill=(*eight_bit(mix(near, far, 0.7)), 255)
        )


_TEXTURES: dict[str, _Texture] = {
    "grass": _grass, "wheat": _wheat, "snow": _snow, "sand": _sand, "street": _street, "regolith": _craters,
    "mars": _stones, "rock": _stones,
}  # fmt: skip


def _mountains(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
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


def _hills(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    found = []
    asked = scene.colour_of("backdrop")
    near, far = (
        GROUNDS["snow"] if scene.ground == "snow" else GROUNDS["autumn" if scene.season == "autumn" else "grass"]
    )
    if asked:
        near, far = NAMED[asked], mix(NAMED[asked], (1, 1, 1), 0.3)
    for index, (tall, depth) in enumerate(((0.17, 0.52), (0.115, 0.32), (0.06, 0.16))):
        rng = chance.stream("hills", index)
        line = stage.horizon - stage.unit * (
            tall + tall * 0.55 * profile(rng, stage.width, waves=2.0 + index, octaves=2)
        )
        top, foot = palette.lit(mix(far, near, 0.2 * index), depth), palette.lit(near, depth * 0.8)
        found.append(_slope(stage, line, top, foot, rim=mix(top, palette.glow, 0.3), near=0.16 + 0.1 * index,
                            bottom=stage.horizon + int(stage.unit * 0.06)))  # fmt: skip
    return found


def _dunes(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    del scene
    found = []
    near, far = GROUNDS["sand"]
    for index, (tall, depth) in enumerate(((0.16, 0.38), (0.10, 0.2), (0.045, 0.06))):
        rng = chance.stream("dunes", index)
        wave = profile(rng, stage.width, waves=1.6 + index * 0.7, octaves=1)
        line = stage.horizon - stage.unit * tall * (0.75 + 0.75 * wave)
        layer = _slope(stage, line, palette.lit(far, depth), palette.lit(near, depth), near=0.16 + 0.1 * index,
                       bottom=stage.horizon + int(stage.unit * 0.06))  # fmt: skip
        pixels = np.asarray(layer.image, np.float32).copy()
        y = np.arange(layer.y, layer.bottom, dtype=np.float32)[:, None]
        tilt = np.gradient(wave)
        tilt = tilt / (np.abs(tilt).max() + 1e-6)
        ridge = line + np.clip(-tilt, 0, 1) * stage.unit * 0.16
        shaded = (np.clip((ridge[None, :] - y) / 3, 0, 1) * np.clip(-tilt * 4, 0, 1)[None, :])[..., None]
        pixels[..., :3] *= 1 - shaded * np.array((0.13, 0.15, 0.12), np.float32)
        found.append(Layer(Image.fromarray(pixels.astype(np.uint8)), layer.x, layer.y, layer.near))
    return found


def _mesa(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    del scene
    found = []
    strata = [hexed(code) for code in ("#d9824f", "#c4653c", "#e29b66", "#b45735", "#d37847", "#a84f33")]
    for index, (tall, depth, number) in enumerate(((0.34, 0.42, 4), (0.24, 0.14, 3))):
        rng = chance.stream("mesa", index)
        line = np.full(stage.width, stage.unit * 0.02, np.float32)
        x = np.arange(stage.width, dtype=np.float32)
        for slot in range(number):
            centre = (slot + float(rng.uniform(0.1, 0.9))) * stage.width / number
            half = stage.width / number * float(rng.uniform(0.22, 0.5))
            rise = stage.unit * tall * float(rng.uniform(0.55, 1.0))
            edge = np.clip((half - np.abs(x - centre)) / (stage.unit * 0.05), 0, 1)
            talus = np.clip((half + stage.unit * 0.1 - np.abs(x - centre)) / (stage.unit * 0.12), 0, 1) * 0.38
            line = np.maximum(line, rise * np.maximum(np.minimum(1, edge * 1.4), talus))
        line = stage.horizon - line - stage.unit * 0.008 * profile(rng, stage.width, waves=30, octaves=2)
        layer = _slope(stage, line, (1, 1, 1), (1, 1, 1), near=0.16 + 0.12 * index,
                       bottom=stage.horizon + int(stage.unit * 0.06))  # fmt: skip
        y = np.arange(layer.y, layer.bottom, dtype=np.float32)[:, None]
        bend = stage.unit * 0.006 * profile(rng, stage.width, waves=9, octaves=2)[None, :]
        level = ((stage.horizon - y + bend) / (stage.unit * 0.045)) % len(strata)
        table = np.array([palette.lit(tone, depth) for tone in strata], np.float32)
        colours = table[level.astype(np.int32)]
        side = np.where(np.gradient(line) > 0.15, 0.8, 1.0).astype(np.float32)
        shade = 0.92 + 0.10 * profile(rng, stage.width, waves=40, octaves=1)
        colours = colours * (side * shade)[None, :, None]
        alpha = np.asarray(layer.image.getchannel("A"), np.float32) / 255
        found.append(Layer(sheet(colours, alpha), layer.x, layer.y, layer.near))
    return found


def _skyline(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    del scene
    return [
        _street_front(palette, stage, chance, row)
        for row in ((0, 0.46, 0.55, 22), (1, 0.34, 0.30, 14), (2, 0.22, 0.08, 11))
    ]


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


def _island(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    del scene
    rng = chance.stream("island")
    x = np.linspace(-1, 1, stage.width, dtype=np.float32) - float(rng.uniform(-0.3, 0.3))
    mound = np.clip(1 - (x / 0.42) ** 2, 0, 1) * (0.8 + 0.2 * profile(rng, stage.width, waves=6))
    near, far = GROUNDS["grass"]
    green = _slope(stage, stage.horizon + 2 - stage.unit * 0.11 * mound, palette.lit(far, 0.2), palette.lit(near, 0.25),
                   near=0.3, bottom=stage.horizon + 3)  # fmt: skip
    strip = np.clip(1 - (x / 0.5) ** 2, 0, 1) ** 0.5
    sand = _slope(stage, stage.horizon + 2 - stage.unit * 0.022 * strip, palette.lit(GROUNDS["sand"][1], 0.1),
                  palette.lit(GROUNDS["sand"][0], 0.1), near=0.3, bottom=stage.horizon + 3)  # fmt: skip
    return [green, sand]


def _volcano(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    del scene
    rng = chance.stream("volcano")
    x = np.linspace(0, 1, stage.width, dtype=np.float32) - float(rng.uniform(0.4, 0.6))
    away = np.abs(x) * stage.width / stage.unit
    cone = np.clip(0.5 * np.exp(-away * 2.6), 0, 0.36)
    line = stage.horizon - stage.unit * (cone + 0.012 * profile(rng, stage.width, waves=14))
    rock = hexed("#6b5560")
    layer = _slope(stage, line, palette.lit(times(rock, (0.9, 0.8, 0.85)), 0.1), palette.lit(rock, 0.35), near=0.2,
                   bottom=stage.horizon + int(stage.unit * 0.05))  # fmt: skip
    pixels = np.asarray(layer.image, np.float32).copy()
    y = np.arange(layer.y, layer.bottom, dtype=np.float32)[:, None]
    streams = np.clip(profile(rng, stage.width, waves=60, octaves=2) * 3 - 0.4, 0, 1)[None, :]
    hot = (
        np.exp(-(y - line[None, :]) / (stage.unit * 0.09)) * np.clip(1.2 - away * 3.4, 0, 1)[None, :] * (0.35 + streams)
    )
    hot = np.clip(hot, 0, 1)[..., None]
    pixels[..., :3] += (np.array((255, 110, 40), np.float32) - pixels[..., :3]) * hot
    return [Layer(Image.fromarray(pixels.astype(np.uint8)), layer.x, layer.y, layer.near)]


_BACKDROPS: dict[str, Callable[[Scene, Palette, Stage, Chance], list[Layer]]] = {
    "mountains": _mountains, "hills": _hills, "dunes": _dunes, "mesa": _mesa, "skyline": _skyline, "island": _island,
    "volcano": _volcano, "forest": _hills,
}  # fmt: skip
