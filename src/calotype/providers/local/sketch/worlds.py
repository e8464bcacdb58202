"""Worlds of their own: under water, in space, in a room, on a table."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from calotype.providers.local.sketch.chance import Chance, blotches, profile
from calotype.providers.local.sketch.colour import NAMED, RGB, eight_bit, hexed, mix, ramp, times
from calotype.providers.local.sketch.layers import Layer, Stage
from calotype.providers.local.sketch.palette import Palette
from calotype.providers.local.sketch.scene import Scene
from calotype.providers.local.sketch.sky import backdrop_sky


def underwater(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> tuple[Image.Image, list[Layer]]:
    """Blue depth with shafts of light, a sandy bed, weeds and bubbles."""
    rng = chance.stream("underwater")
    height, width = stage.height, stage.width
    asked = scene.colour_of("water")
    tone = NAMED[asked] if asked else hexed("#1f86c8")
    dim = 0.5 if palette.dark else 1.0
    stops = (
        (0.0, times(mix(tone, (0.75, 0.98, 1.0), 0.62), (dim, dim, dim))),
        (0.4, times(mix(tone, (0.3, 0.75, 0.9), 0.25), (dim, dim, dim))),
        (1.0, times(mix(tone, (0.03, 0.12, 0.36), 0.62), (dim, dim, dim))),
    )
    canvas = np.broadcast_to(
        ramp(stops, np.linspace(0, 1, height, dtype=np.float32))[:, None], (height, width, 3)
    ).copy()
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    slant = (x + y * 0.35 - width * 0.1) / stage.unit
    rays = np.zeros((height, width), np.float32)
    for _ in range(6):
        centre, wide = float(rng.uniform(-0.1, 1.5)) * width / stage.unit, float(rng.uniform(0.02, 0.07))
        rays += np.exp(-(((slant - centre) / (wide * (0.7 + 0.9 * y / height))) ** 2))
    rays *= np.clip(1 - y / (height * 0.9), 0, 1) * 0.26 * dim
    canvas += (np.array((0.92, 1.0, 0.98), np.float32) - canvas) * np.clip(rays, 0, 0.6)[..., None]
    base = Image.fromarray(np.clip(canvas * 255, 0, 255).astype(np.uint8))
    layers = []
    for index, (top, depth) in enumerate(((0.78, 0.55), (0.84, 0.15))):
        line = height * top + stage.unit * 0.035 * profile(rng, width, waves=2.4 + index, octaves=2)
        start = int(line.min()) - 1
        below = np.arange(start, height, dtype=np.float32)[:, None] - line[None, :]
        share = np.clip(below / (height * 0.2), 0, 1)[..., None]
        sand, dark = hexed("#e9d6a6"), hexed("#7d9a9c")
        light = np.array(times(mix(sand, stops[1][1], 0.25 + depth * 0.6), (dim, dim, dim)), np.float32)
        deep = np.array(times(mix(dark, stops[2][1], depth * 0.7), (dim, dim, dim)), np.float32)
        pixels = np.empty((*below.shape, 4), np.uint8)
        pixels[..., :3] = (light * (1 - share) + deep * share) * 255
        pixels[..., 3] = np.clip(below + 0.5, 0, 1) * 255
        layers.append(Layer(Image.fromarray(pixels), 0, start, near=0.4 + 0.5 * index))
        layers += [
            _weed(rng, stage, line, index, times(mix(hexed("#2f9f78"), stops[1][1], depth), (dim,) * 3))
            for _ in range(7)
        ]
    layers.append(_bubbles(rng, stage))
    return base, layers


def _weed(rng: np.random.Generator, stage: Stage, line: np.ndarray, row: int, tone: RGB) -> Layer:
    scale = 2
    tall, wide = int(stage.unit * float(rng.uniform(0.10, 0.24))), int(stage.unit * 0.10)
    image = Image.new("RGBA", (wide * scale, tall * scale), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 5))):
        foot, rise, bend = (
            wide * scale * float(rng.uniform(0.3, 0.7)),
            float(rng.uniform(0.6, 1)),
            float(rng.uniform(3, 5)),
        )
        colour = eight_bit(mix(tone, (0.75, 0.95, 0.5), float(rng.uniform(0, 0.25))))
        for step in range(40):
            t = step / 39
            x = foot + np.sin(t * bend + foot) * wide * 0.16 * scale * t
            y = tall * scale * (1 - t * rise)
            r = stage.unit * 0.0085 * scale * (1 - t * 0.75)
            draw.ellipse((x - r, y - r * 1.4, x + r, y + r * 1.4), fill=(*colour, 255))
    column = int(rng.integers(0, stage.width - 1))
    return Layer(image.reduce(scale), column - wide // 2, int(line[column]) - tall + int(stage.unit * 0.02),
                 near=0.4 + 0.5 * row, motion="sway", phase=float(rng.uniform(0, 6)))  # fmt: skip


def _bubbles(rng: np.random.Generator, stage: Stage) -> Layer:
    image = Image.new("RGBA", (stage.width, stage.height), (255, 255, 255, 0))
    draw = ImageDraw.Draw(image)
    for _ in range(46):
        x, y, r = (
            rng.uniform(0, stage.width),
            rng.uniform(0, stage.height * 0.9),
            stage.unit * rng.uniform(0.003, 0.012),
        )
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(235, 250, 255, 46), outline=(255, 255, 255, 120))
        draw.ellipse((x - r * 0.5, y - r * 0.6, x - r * 0.1, y - r * 0.2), fill=(255, 255, 255, 190))
    return Layer(image, 0, 0, near=0.7, motion="glide", phase=-0.12)


def space(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> Image.Image:
    """Deep space: a nebula in two hues, stars, and a far planet."""
    rng = chance.stream("space")
    height, width = stage.height, stage.width
    asked = scene.colour_of("sky") or scene.colour_of("backdrop")
    pairs = (
        ((0.48, 0.22, 0.78), (0.12, 0.42, 0.85)),
        ((0.85, 0.28, 0.55), (0.28, 0.25, 0.8)),
        ((0.1, 0.55, 0.65), (0.5, 0.25, 0.7)),
    )
    first, second = pairs[int(rng.integers(3))]
    if asked:
        first = NAMED[asked]
    canvas = np.full((height, width, 3), (0.030, 0.032, 0.10), np.float32)
    for tone, cells in ((first, 3), (second, 4)):
        cloud = np.clip(blotches(rng, width, height, cells=cells, octaves=4) * 2.6 - 1.0, 0, 1) ** 1.6
        canvas += (np.array(tone, np.float32) - canvas) * (cloud * 0.6)[..., None]
    image = Image.fromarray(np.clip(canvas * 255, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(int(520 * min(2.0, width * height / 1_000_000)) + 60):
        x, y = float(rng.uniform(0, width)), float(rng.uniform(0, height))
        r = stage.unit * 0.0022 * float(rng.uniform(0.3, 1.0)) ** 2 * (2.0 if rng.random() < 0.06 else 1.0)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 252, 240, int(rng.integers(90, 255))))
    side = float(rng.choice([0.14, 0.86]))
    if not any(figure.home == "sky" for figure in scene.figures):
        _planet(
            image,
            rng,
            stage,
            (stage.margin + (stage.width - 2 * stage.margin) * side, height * float(rng.uniform(0.14, 0.24))),
        )
    del palette
    return image


def _planet(image: Image.Image, rng: np.random.Generator, stage: Stage, at: tuple[float, float]) -> None:
    radius = int(stage.unit * float(rng.uniform(0.07, 0.12)))
    size = radius * 2
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) - radius + 0.5) / radius
    tones = [hexed(code) for code in ("#e8a26a", "#7fb6d8", "#d88aa0", "#b8c07a")]
    tone = tones[int(rng.integers(len(tones)))]
    bands = 0.5 + 0.5 * np.sin(y * float(rng.uniform(7, 13)) + 1.6 * profile(rng, size, waves=2)[None, :])
    shade = np.clip(0.25 + 0.85 * (0.75 - 0.55 * (x + y)), 0.12, 1.1)
    colours = np.array(tone, np.float32) * (0.84 + 0.22 * bands[..., None]) * shade[..., None]
    alpha = np.clip((1 - np.hypot(x, y)) * radius, 0, 1)
    pixels = np.concatenate((np.clip(colours, 0, 1), alpha[..., None]), axis=2)
    disc = Image.fromarray((pixels * 255).astype(np.uint8))
    image.paste(disc, (int(at[0] - radius), int(at[1] - radius)), disc)


def room(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> Image.Image:
    """Paint a plain room: a wall with a window onto the hour outside, a skirting, a wooden floor and a rug."""
    rng = chance.stream("room")
    width, height = stage.width, stage.height
    frame = width - 2 * stage.margin
    indoor = mix((1.0, 0.95, 0.88), palette.light, 0.35)
    walls = [hexed(code) for code in ("#e9d8c4", "#c9d8d3", "#e3cfd0", "#d3d4e6", "#dfe0c8")]
    asked = scene.colour_of("backdrop")
    wall = times(mix(NAMED[asked], (1, 1, 1), 0.35) if asked else walls[int(rng.integers(len(walls)))], indoor)
    edge = int(height * 0.66)
    y = np.linspace(0, 1, edge, dtype=np.float32)
    column = ramp(((0.0, times(wall, (0.90, 0.90, 0.92))), (0.7, wall), (1.0, times(wall, (0.95, 0.94, 0.94)))), y)
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:edge] = column[:, None]
    asked_floor = scene.colour_of("ground")
    wood = times(NAMED[asked_floor] if asked_floor else hexed("#b98658"), indoor)
    floor = ramp(((0.0, times(wood, (0.82, 0.80, 0.80))), (1.0, mix(wood, (1, 0.92, 0.8), 0.12))),
                 np.linspace(0, 1, height - edge, dtype=np.float32))  # fmt: skip
    canvas[edge:] = floor[:, None]
    image = Image.fromarray(np.clip(canvas * 255, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image, "RGBA")
    deep, centre = height - edge, stage.margin + frame / 2
    seam = (*eight_bit(times(wood, (0.66, 0.62, 0.62))), 90)
    for plank in range(-14, 15):
        near = centre + plank * frame * 0.16
        draw.line(
            (centre + (near - centre) * 0.55, edge, near, height), fill=seam, width=max(1, int(stage.unit * 0.002))
        )
    skirt = max(3, int(stage.unit * 0.022))
    draw.rectangle((0, edge - skirt, width, edge), fill=eight_bit(mix(wall, (1, 1, 1), 0.55)))
    draw.rectangle((0, edge, width, edge + max(2, skirt // 4)), fill=(40, 20, 20, 60))
    side = float(rng.choice([0.24, 0.76]))
    _window(image, scene, palette, stage, chance, (int(stage.margin + frame * side), int(height * 0.30)))
    _picture(draw, rng, stage, (int(stage.margin + frame * (1.02 - side)), int(height * 0.25)))
    rug = eight_bit(times(hexed(("#b5525c", "#4f7a8c", "#8a6a9c")[int(rng.integers(3))]), indoor))
    rx, ry, cy = min(frame * 0.40, stage.unit * 0.5), deep * 0.27, edge + deep * 0.58
    draw.ellipse((centre - rx, cy - ry, centre + rx, cy + ry), fill=(*rug, 255))
    ring = max(2, int(stage.unit * 0.006))
    draw.ellipse(
        (centre - rx * 0.9, cy - ry * 0.86, centre + rx * 0.9, cy + ry * 0.86), outline=(255, 240, 220, 150), width=ring
    )
    return image


def _window(
    image: Image.Image, scene: Scene, palette: Palette, stage: Stage, chance: Chance, at: tuple[int, int]
) -> None:
    wide, tall = int(stage.unit * 0.30), int(stage.unit * 0.36)
    view = Stage(width=wide, height=tall, margin=0, horizon=int(tall * 0.8))
    pane = backdrop_sky(scene, palette, view, chance)
    draw = ImageDraw.Draw(pane)
    line = tall * 0.84 - profile(chance.stream("window hill"), wide, waves=1.5) * tall * 0.08
    hill = eight_bit(palette.lit(hexed("#7db065"), 0.2))
    draw.polygon([(0, tall), *[(x, float(line[x])) for x in range(0, wide, 2)], (wide, tall)], fill=hill)
    x, y = at[0] - wide // 2, at[1] - tall // 2
    image.paste(pane, (x, y))
    draw = ImageDraw.Draw(image)
    bar, white = max(3, int(stage.unit * 0.016)), eight_bit(mix((0.98, 0.96, 0.93), palette.light, 0.2))
    draw.rectangle((x - bar, y - bar, x + wide + bar, y + tall + bar), outline=white, width=bar)
    draw.rectangle((x + wide // 2 - bar // 3, y, x + wide // 2 + bar // 3, y + tall), fill=white)
    draw.rectangle((x, y + tall // 2 - bar // 3, x + wide, y + tall // 2 + bar // 3), fill=white)
    draw.rectangle((x - 2 * bar, y + tall + bar, x + wide + 2 * bar, y + tall + 2 * bar), fill=white)


def _picture(draw: ImageDraw.ImageDraw, rng: np.random.Generator, stage: Stage, at: tuple[int, int]) -> None:
    wide, tall = stage.unit * 0.17, stage.unit * 0.13
    x, y, rim = at[0] - wide / 2, at[1] - tall / 2, stage.unit * 0.012
    draw.rectangle((x - rim, y - rim, x + wide + rim, y + tall + rim), fill=(140, 96, 66, 255))
    tones = ((236, 214, 178, 255), (206, 222, 226, 255), (232, 206, 206, 255))
    draw.rectangle((x, y, x + wide, y + tall), fill=tones[int(rng.integers(3))])
    draw.ellipse(
        (x + wide * 0.6, y + tall * 0.16, x + wide * 0.8, y + tall * 0.16 + wide * 0.2), fill=(240, 180, 96, 255)
    )
    draw.polygon(
        [(x, y + tall), (x + wide * 0.35, y + tall * 0.4), (x + wide * 0.7, y + tall)], fill=(112, 146, 140, 255)
    )
    draw.polygon(
        [(x + wide * 0.4, y + tall), (x + wide * 0.75, y + tall * 0.55), (x + wide, y + tall)], fill=(88, 118, 126, 255)
    )


def table(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> Image.Image:
    """Paint a still life's stage: a soft backdrop and a wooden table top."""
    rng = chance.stream("table")
    width, height = stage.width, stage.height
    indoor = mix((1.0, 0.96, 0.90), palette.light, 0.4)
    walls = [hexed(code) for code in ("#8fb0ae", "#c9a9a0", "#9aa6c4", "#b9b48f", "#a99bb8")]
    asked = scene.colour_of("backdrop") or scene.colour_of("sky")
    wall = np.array(times(NAMED[asked] if asked else walls[int(rng.integers(len(walls)))], indoor), np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] + 0.35
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    pool = np.exp(-(x * x + y * y * 1.3) * 1.1)[..., None]
    canvas = wall * (0.78 + 0.34 * pool) + 0.08 * pool
    edge = int(height * 0.62)
    wood = np.array(times(hexed("#b98052"), indoor), np.float32)
    grain = blotches(rng, max(8, width // 24), height - edge, cells=44, octaves=2)
    grain = np.asarray(Image.fromarray(grain).resize((width, height - edge), Image.Resampling.BICUBIC))
    deep = np.linspace(0, 1, height - edge, dtype=np.float32)[:, None, None]
    canvas[edge:] = wood * (1.10 - 0.22 * deep) * (0.93 + 0.14 * grain[..., None]) * (0.84 + 0.22 * pool[edge:])
    image = Image.fromarray(np.clip(canvas * 255, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image, "RGBA")
    draw.rectangle((0, edge, width, edge + max(2, int(stage.unit * 0.006))), fill=(255, 236, 205, 110))
    soft = image.crop((0, max(0, edge - 30), width, edge)).filter(ImageFilter.GaussianBlur(2))
    image.paste(soft, (0, max(0, edge - 30)))
    return image
