"""The land at the horizon: what a backdrop word puts between the ground and the sky."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from calotype.providers.local.sketch.chance import Chance, profile
from calotype.providers.local.sketch.colour import NAMED, hexed, mix, times
from calotype.providers.local.sketch.ground import GROUNDS
from calotype.providers.local.sketch.layers import Layer, Stage, sheet
from calotype.providers.local.sketch.mountains import mountains
from calotype.providers.local.sketch.palette import Palette
from calotype.providers.local.sketch.scene import Scene
from calotype.providers.local.sketch.slope import slope
from calotype.providers.local.sketch.town import skyline


def backdrop(kind: str, scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    """Paint the sheets of one backdrop, far to near."""
    painter = _BACKDROPS.get(kind)
    return painter(scene, palette, stage, chance) if painter else []


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
        found.append(slope(stage, line, top, foot, rim=mix(top, palette.glow, 0.3), near=0.16 + 0.1 * index,
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
        layer = slope(stage, line, palette.lit(far, depth), palette.lit(near, depth), near=0.16 + 0.1 * index,
                       bottom=stage.horizon + int(stage.unit * 0.06))  # fmt: skip
        pixels = np.asarray(layer.image, np.float32).copy()
        y = np.arange(layer.y, layer.bottom, dtype=np.float32)[:, None]
        tilt = np.gradient(wave)
        tilt = tilt / (np.abs(tilt).max() + 1e-6)
        ridge = line + np.clip(-tilt, 0, 1) * stage.unit * 0.16
        fade = np.clip((ridge[None, :] - y) / np.maximum(ridge - line, 1)[None, :], 0, 1)
        shaded = (fade * np.clip(-tilt * 4, 0, 1)[None, :])[..., None]
        pixels[..., :3] *= 1 - shaded * np.array((0.20, 0.24, 0.20), np.float32)
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
        steep = np.gradient(line) < -0.15
        line = stage.horizon - line - stage.unit * 0.008 * profile(rng, stage.width, waves=30, octaves=2)
        layer = slope(stage, line, (1, 1, 1), (1, 1, 1), near=0.16 + 0.12 * index,
                       bottom=stage.horizon + int(stage.unit * 0.06))  # fmt: skip
        y = np.arange(layer.y, layer.bottom, dtype=np.float32)[:, None]
        bend = stage.unit * 0.006 * profile(rng, stage.width, waves=9, octaves=2)[None, :]
        level = ((stage.horizon - y + bend) / (stage.unit * 0.045)) % len(strata)
        table = np.array([palette.lit(tone, depth) for tone in strata], np.float32)
        colours = table[level.astype(np.int32)]
        side = np.where(steep, 0.84, 1.0).astype(np.float32)
        shade = 0.97 + 0.03 * profile(rng, stage.width, waves=40, octaves=1)
        colours = colours * (side * shade)[None, :, None]
        alpha = np.asarray(layer.image.getchannel("A"), np.float32) / 255
        found.append(Layer(sheet(colours, alpha), layer.x, layer.y, layer.near))
    return found


def _island(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    del scene
    rng = chance.stream("island")
    x = np.linspace(-1, 1, stage.width, dtype=np.float32) - float(rng.uniform(-0.3, 0.3))
    mound = np.clip(1 - (x / 0.42) ** 2, 0, 1) * (0.8 + 0.2 * profile(rng, stage.width, waves=6))
    near, far = GROUNDS["grass"]
    green = slope(stage, stage.horizon + 2 - stage.unit * 0.11 * mound, palette.lit(far, 0.2), palette.lit(near, 0.25),
                   near=0.3, bottom=stage.horizon + 3)  # fmt: skip
    strip = np.clip(1 - (x / 0.5) ** 2, 0, 1) ** 0.5
    sand = slope(stage, stage.horizon + 2 - stage.unit * 0.022 * strip, palette.lit(GROUNDS["sand"][1], 0.1),
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
    layer = slope(stage, line, palette.lit(times(rock, (0.9, 0.8, 0.85)), 0.1), palette.lit(rock, 0.35), near=0.2,
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


def _skyline(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    del scene
    return skyline(palette, stage, chance)


_BACKDROPS: dict[str, Callable[[Scene, Palette, Stage, Chance], list[Layer]]] = {
    "mountains": mountains, "hills": _hills, "dunes": _dunes, "mesa": _mesa, "skyline": _skyline, "island": _island,
    "volcano": _volcano, "forest": _hills,
}  # fmt: skip
