"""Weather in front of the land: rain, snow, fog, lightning and wind."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from calotype.providers.local.sketch.chance import Chance, blotches
from calotype.providers.local.sketch.colour import eight_bit, mix
from calotype.providers.local.sketch.layers import Layer, Stage
from calotype.providers.local.sketch.palette import Palette
from calotype.providers.local.sketch.scene import Scene


def weather(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    """Paint the sheets of falling or drifting weather, in front of everything."""
    found = []
    if "fog" in scene.weather:
        found.append(_fog(palette, stage, chance))
    if scene.weather & {"rain", "storm"}:
        found.append(_rain(palette, stage, chance))
    if "snow" in scene.weather:
        found += [_snow(palette, stage, chance, size) for size in (0.5, 1.0)]
    if "wind" in scene.weather:
        found.append(_wind(palette, stage, chance))
    return found


def lightning(palette: Palette, stage: Stage, chance: Chance) -> Layer:
    """One forked bolt from the clouds to the horizon, with its glow."""
    rng = chance.stream("lightning")
    height, width = stage.horizon, max(40, int(stage.unit * 0.4))
    image = Image.new("RGBA", (width, height), (235, 232, 255, 0))
    draw = ImageDraw.Draw(image)

    def bolt(x: float, y: float, end: float, thick: float) -> None:
        while y < end:
            step_x, step_y = float(rng.uniform(-1, 1)) * width * 0.09, height * float(rng.uniform(0.04, 0.08))
            draw.line((x, y, x + step_x, y + step_y), fill=(250, 248, 255, 255), width=max(1, round(thick)))
            if thick > stage.unit * 0.003 and rng.random() < 0.22:
                bolt(x, y, min(end, y + height * 0.25), thick * 0.45)
            x, y = min(max(x + step_x, width * 0.1), width * 0.9), y + step_y

    bolt(width * 0.5, height * 0.08, height * 0.98, stage.unit * 0.0065)
    glow = image.filter(ImageFilter.GaussianBlur(stage.unit * 0.014))
    pixels = np.asarray(glow).copy()
    pixels[..., :3] = eight_bit(mix((0.75, 0.74, 1.0), palette.glow, 0.2))
    pixels[..., 3] = np.clip(pixels[..., 3].astype(np.float32) * 2.2, 0, 255)
    glow = Image.fromarray(pixels)
    glow.alpha_composite(image)
    side = float(rng.choice([0.2, 0.3, 0.68, 0.78]))
    return Layer(glow, int(stage.margin + (stage.width - 2 * stage.margin) * side - width / 2), 0, near=0.06)


def _rain(palette: Palette, stage: Stage, chance: Chance) -> Layer:
    rng = chance.stream("rain")
    image = Image.new("RGBA", (stage.width, stage.height), (*eight_bit(mix(palette.haze, (1, 1, 1), 0.5)), 0))
    draw = ImageDraw.Draw(image)
    tone = eight_bit(mix(palette.haze, (0.92, 0.96, 1.0), 0.65))
    for _ in range(int(430 * stage.width / stage.unit)):
        x, y = float(rng.uniform(-0.05, 1.05)) * stage.width, float(rng.uniform(-0.05, 1)) * stage.height
        long = stage.unit * float(rng.uniform(0.02, 0.055))
        draw.line((x, y, x - long * 0.22, y + long), fill=(*tone, int(rng.integers(70, 150))),
                  width=max(1, round(stage.unit * 0.0019)))  # fmt: skip
    return Layer(image, 0, 0, near=1.0, motion="glide", phase=1.6)


def _snow(palette: Palette, stage: Stage, chance: Chance, size: float) -> Layer:
    rng = chance.stream("snowfall", size)
    white = eight_bit(mix((1.0, 1.0, 1.0), (0.86, 0.91, 1.0), 0.5 if palette.dark else 0.0))
    image = Image.new("RGBA", (stage.width, stage.height), (*white, 0))
    draw = ImageDraw.Draw(image)
    for _ in range(int((320 if size < 1 else 110) * stage.width / stage.unit)):
        x, y = float(rng.uniform(0, 1)) * stage.width, float(rng.uniform(0, 1)) * stage.height
        r = stage.unit * 0.0062 * size * float(rng.uniform(0.5, 1.1))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(*white, int(rng.integers(150, 235))))
    image = image.filter(ImageFilter.BoxBlur(0.5))
    return Layer(image, 0, 0, near=0.8 + 0.2 * size, motion="glide", phase=0.12 + 0.1 * size)


def _fog(palette: Palette, stage: Stage, chance: Chance) -> Layer:
    rng = chance.stream("fog")
    small = (max(8, stage.width // 4), max(8, stage.height // 4))
    cloud = blotches(rng, *small, cells=4, octaves=3)
    y = np.linspace(0, 1, small[1], dtype=np.float32)[:, None]
    level = stage.horizon / stage.height
    bank = 0.30 + 0.62 * np.exp(-(((y - level) / 0.20) ** 2))
    alpha = np.clip(bank * (0.45 + 0.8 * cloud), 0, 0.88)
    mask = Image.fromarray((alpha * 255).astype(np.uint8)).resize((stage.width, stage.height), Image.Resampling.BICUBIC)
    image = Image.new("RGBA", mask.size, eight_bit(mix(palette.haze, (1, 1, 1), 0.1 if palette.dark else 0.25)))
    image.putalpha(mask)
    return Layer(image, 0, 0, near=0.7, motion="drift", phase=0.6)


def _wind(palette: Palette, stage: Stage, chance: Chance) -> Layer:
    rng = chance.stream("wind")
    height = max(8, int(stage.horizon * 0.9))
    image = Image.new("RGBA", (stage.width, height), (255, 255, 255, 0))
    draw = ImageDraw.Draw(image)
    tone = eight_bit(mix(palette.cloud, (1, 1, 1), 0.3))
    for _ in range(7):
        x, y = float(rng.uniform(0, 0.8)) * stage.width, float(rng.uniform(0.2, 0.95)) * height
        long, curl = stage.unit * float(rng.uniform(0.16, 0.34)), stage.unit * float(rng.uniform(0.02, 0.04))
        thick = max(1, round(stage.unit * 0.004))
        draw.line((x, y, x + long, y), fill=(*tone, 170), width=thick)
        draw.arc((x + long - curl, y - 2 * curl, x + long + curl, y), 270, 90, fill=(*tone, 170), width=thick)
        draw.arc((x + long - curl, y - 2 * curl, x + long + curl * 0.9, y), 180, 270, fill=(*tone, 120), width=thick)
    return Layer(image, 0, 0, near=0.5, motion="drift", phase=3.0)
