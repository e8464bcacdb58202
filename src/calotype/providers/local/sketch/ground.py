"""The ground in front: its colour under the hour's light, and the texture of what it is made of."""

from collections.abc import Callable

import msgspec
import numpy as np
from PIL import Image, ImageDraw

from calotype.providers.local.sketch.chance import Chance, blotches, profile
from calotype.providers.local.sketch.colour import NAMED, RGB, eight_bit, hexed, mix, times
from calotype.providers.local.sketch.layers import Layer, Stage
from calotype.providers.local.sketch.palette import Palette
from calotype.providers.local.sketch.scene import Scene
from calotype.providers.local.sketch.slope import slope

# Ground: its colour near the viewer and at its far edge.
GROUNDS: dict[str, tuple[RGB, RGB]] = {
    "grass": (hexed("#5fa548"), hexed("#a9d47c")),
    "savanna": (hexed("#c2a74e"), hexed("#ead88f")),
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
            near, far = mix(near, (0.66, 0.75, 0.93), 0.5), mix(far, (0.82, 0.88, 0.98), 0.5)
        return near, mix(far, palette.haze, 0.06)
    return palette.lit(near), palette.lit(far, 0.16)


def ground(scene: Scene, palette: Palette, stage: Stage, chance: Chance, top: int) -> Layer:
    """Paint the foreground from `top` (pixels) to the lower edge, softly rolling, with its own texture."""
    rng = chance.stream("ground")
    name = scene.ground or "grass"
    flat = name == "street" or scene.water is not None
    swell = stage.unit * (0.006 if name == "street" else 0.014 if flat else 0.03)
    line = top + swell * profile(rng, stage.width, waves=2.2, octaves=2)
    near, far = ground_colours(scene, palette)
    return _textured(
        name, slope(stage, line, far, near, rim=mix(far, palette.glow, 0.25)), stage, rng, (near, far), top
    )


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


_Texture = Callable[[_Patch], None]


def _spots(patch: _Patch, number: int) -> list[tuple[float, float, float]]:
    """Places on the ground, thicker towards the horizon: x, y, and the scale things have there."""
    found = []
    for _ in range(number):
        t = float(patch.rng.uniform(0, 1)) ** 1.4
        x = float(patch.rng.uniform(0, patch.width))
        found.append((x, patch.top + 6 + t * (patch.height - patch.top - 6), 0.25 + 0.75 * t))
    return sorted(found, key=lambda spot: spot[1])


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
    "grass": _grass, "savanna": _grass, "wheat": _wheat, "snow": _snow, "sand": _sand, "street": _street,
    "regolith": _craters, "mars": _stones, "rock": _stones,
}  # fmt: skip
