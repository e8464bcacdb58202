"""Water: it mirrors what stands behind it, glitters under the light and laps at the shore."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from calotype.providers.local.sketch.chance import Chance, Floats, profile
from calotype.providers.local.sketch.colour import NAMED, eight_bit, hexed, mix, ramp
from calotype.providers.local.sketch.layers import Layer, Stage
from calotype.providers.local.sketch.palette import Palette
from calotype.providers.local.sketch.scene import Scene

_DEEP = {"lake": hexed("#2f7fae"), "sea": hexed("#1c78b8"), "river": hexed("#3a8fb5"), "waterfall": hexed("#3a8fb5")}
_SHALLOW = {"lake": hexed("#8fd0e0"), "sea": hexed("#63c9d8"), "river": hexed("#93d3df"),
            "waterfall": hexed("#a8dde6")}  # fmt: skip


def water(scene: Scene, palette: Palette, stage: Stage, chance: Chance, behind: Image.Image, bottom: int,
          sun: tuple[float, float]) -> Layer:  # fmt: skip
    """Paint the water from the horizon to `bottom`, mirroring the opaque picture painted `behind` it so far."""
    kind = scene.water or "lake"
    top = stage.horizon
    height = max(4, min(stage.height, bottom) - top)
    at = np.linspace(0, 1, height, dtype=np.float32)
    asked = scene.colour_of("water")
    deep, shallow = (NAMED[asked], mix(NAMED[asked], (1, 1, 1), 0.35)) if asked else (_DEEP[kind], _SHALLOW[kind])
    stops = (
        (0.0, mix(palette.lit(deep), palette.sky[2], 0.40)),
        (0.45, mix(palette.lit(deep), palette.sky[1], 0.12)),
        (1.0, palette.lit(mix(deep, shallow, 0.7 if scene.ground == "sand" else 0.15))),
    )
    body = np.broadcast_to(ramp(stops, at)[:, None, :], (height, stage.width, 3))
    mirror = _mirror(behind, top, height, stage, chance)
    share = (0.52 if kind != "sea" else 0.26) * (1 - 0.6 * at)[:, None, None]
    pixels = body * (1 - share) + mirror * share
    image = Image.fromarray(np.clip(pixels * 255 + 0.5, 0, 255).astype(np.uint8)).convert("RGBA")
    _glints(image, palette, stage, chance, sun, calm=kind != "sea")
    return Layer(image, 0, top, near=0.5, motion="shimmer")


def surf(palette: Palette, stage: Stage, chance: Chance, line: int) -> Layer:
    """Paint the foam where the sea meets the sand, around row `line`."""
    rng = chance.stream("surf")
    tall = max(8, int(stage.unit * 0.075))
    width = stage.width
    edge = tall * 0.5 + tall * 0.26 * profile(rng, width, waves=3, octaves=2)
    y = np.arange(tall, dtype=np.float32)[:, None]
    foam = np.exp(-(((y - edge[None, :]) / (tall * 0.075)) ** 2))
    second = (
        np.exp(-(((y - edge[None, :] + tall * 0.26 + tall * 0.06 * profile(rng, width, waves=9)) / (tall * 0.05)) ** 2))
        * 0.5
    )
    wash = np.clip((edge[None, :] - y) / (tall * 0.6), 0, 1) * np.clip((y / tall) * 3, 0, 1) * 0.35
    alpha = np.clip(foam * 0.95 + second + wash * (y < edge[None, :]), 0, 1)
    white = np.array(eight_bit(mix(palette.lit((1, 1, 1)), palette.glow, 0.25)), np.uint8)
    pixels = np.empty((tall, width, 4), np.uint8)
    pixels[..., :3] = white
    pixels[..., 3] = alpha * 235
    return Layer(Image.fromarray(pixels), 0, line - tall // 2, near=0.9, motion="sway")


def fall(palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    """Paint a waterfall between two rocks, dropping to the horizon line."""
    rng = chance.stream("waterfall")
    height, wide = int(stage.unit * 0.40), int(stage.unit * 0.17)
    height = min(height, int(stage.horizon * 0.85))
    x = int(stage.width * float(rng.uniform(0.42, 0.58)) - wide / 2)
    top = stage.horizon - height
    cliff = Image.new("RGBA", (wide * 5, height + 8), (0, 0, 0, 0))
    draw = ImageDraw.Draw(cliff)
    for tone, inset in ((hexed("#6f6a78"), 0.0), (hexed("#8a8494"), 0.05)):
        points = [(0.0, height + 8.0)]
        for step in range(13):
            t = step / 12
            rise = min(1.0, 3.2 * min(t, 1 - t)) * (0.9 + 0.1 * float(rng.uniform(-1, 1))) - inset
            points.append((t * cliff.width, height * (1 - max(0.0, rise)) + 4))
        points.append((float(cliff.width), height + 8.0))
        draw.polygon(points, fill=eight_bit(palette.lit(tone, 0.12)))
    stream = np.empty((height, wide, 4), np.float32)
    lines = 0.5 + 0.5 * profile(rng, wide, waves=12, octaves=3)
    across = np.linspace(-1, 1, wide, dtype=np.float32)
    stream[..., :3] = np.array(palette.lit(hexed("#8fc8e8")), np.float32) * 255
    bright = np.array(palette.lit((1, 1, 1)), np.float32) * 255
    stream[..., :3] += (bright - stream[..., :3]) * lines[None, :, None] * 0.9
    stream[..., 3] = 255 * np.clip((1 - np.abs(across)) * 6, 0, 1)[None, :]
    mist = Image.new("RGBA", (wide * 3, wide), (*eight_bit(palette.lit((1, 1, 1))), 0))
    mist_draw = ImageDraw.Draw(mist)
    for _ in range(14):
        cx, r = float(rng.uniform(0.25, 0.75)) * mist.width, wide * float(rng.uniform(0.12, 0.26))
        cy = wide * float(rng.uniform(0.45, 0.65))
        mist_draw.ellipse((cx - r, cy - r * 0.7, cx + r, cy + r * 0.7), fill=(*eight_bit(palette.lit((1, 1, 1))), 120))
    mist = mist.filter(ImageFilter.GaussianBlur(wide * 0.06))
    return [
        Layer(cliff, x + wide // 2 - cliff.width // 2, top, near=0.3),
        Layer(Image.fromarray(stream.astype(np.uint8)), x, top + int(height * 0.06), near=0.3, motion="still"),
        Layer(mist, x - wide, stage.horizon - int(wide * 0.6), near=0.3, motion="hover"),
    ]


def _mirror(behind: Image.Image, top: int, height: int, stage: Stage, chance: Chance) -> Floats:
    source = behind.crop((0, max(0, top - height), stage.width, top)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    small = source.resize((max(2, stage.width // 3), max(2, source.height // 6)), Image.Resampling.BOX)
    small = small.filter(ImageFilter.GaussianBlur(1.2))
    soft = np.asarray(small.resize((stage.width, height), Image.Resampling.BICUBIC), np.float32) / 255
    rng = chance.stream("mirror")
    phase = rng.uniform(0, 6.28, 3)
    y = np.arange(height, dtype=np.float32)
    reach = 1 + y / height * stage.unit * 0.012
    shift = reach * (np.sin(y * 0.35 + phase[0]) + 0.6 * np.sin(y * 0.83 + phase[1]))
    columns = (np.arange(stage.width)[None, :] + shift[:, None].astype(np.int32)) % stage.width
    mirrored: Floats = soft[np.arange(height)[:, None], columns]
    return mirrored


def _glints(image: Image.Image, palette: Palette, stage: Stage, chance: Chance, sun: tuple[float, float], *,
            calm: bool) -> None:  # fmt: skip
    rng = chance.stream("glints")
    draw = ImageDraw.Draw(image, "RGBA")
    height = image.height
    light = eight_bit(mix(palette.sky[2], (1, 1, 1), 0.35))
    dark = eight_bit(mix(palette.lit(hexed("#14507c")), palette.sky[0], 0.3))
    for index in range(90 if calm else 190):
        t = float(rng.uniform(0, 1)) ** 1.3
        y = t * height
        wide = stage.unit * (0.008 + 0.05 * t) * float(rng.uniform(0.4, 1.4))
        thick = max(1.0, stage.unit * 0.0042 * (0.3 + t))
        x = float(rng.uniform(0, image.width))
        tone, strength = (light, 52) if index % 3 else (dark, 38)
        draw.ellipse((x - wide, y - thick * 0.5, x + wide, y + thick * 0.5), fill=(*tone, strength))
    glow = eight_bit(mix(palette.glow, (1, 1, 1), 0.2))
    for _ in range(95):
        t = float(rng.uniform(0, 1))
        wide = stage.unit * (0.01 + 0.035 * t) * float(rng.uniform(0.5, 1.3))
        x = sun[0] + float(rng.normal(0, 1)) * stage.unit * (0.018 + 0.05 * t)
        thick = max(1.0, stage.unit * 0.0045 * (0.35 + t))
        strength = int(120 * (1 - 0.6 * t))
        draw.ellipse((x - wide, t * height - thick * 0.5, x + wide, t * height + thick * 0.5), fill=(*glow, strength))
