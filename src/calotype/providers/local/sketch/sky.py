"""The sky: its gradient, the sun or the moon, stars, aurora, rainbow and clouds."""

import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from calotype.providers.local.sketch.chance import Chance, Floats, blotches, profile
from calotype.providers.local.sketch.colour import RGB, eight_bit, mix, ramp
from calotype.providers.local.sketch.layers import Layer, Stage, sheet
from calotype.providers.local.sketch.palette import Palette
from calotype.providers.local.sketch.scene import Scene


def backdrop_sky(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> Image.Image:
    """Paint the opaque sky with everything that does not move in it."""
    rng = chance.stream("sky")
    height, width = stage.height, stage.width
    at = np.linspace(0, 1, height, dtype=np.float32) * (height / max(1, stage.horizon))
    column = ramp(((0.0, palette.sky[0]), (0.55, palette.sky[1]), (1.0, palette.sky[2])), np.minimum(at, 1.0))
    canvas = np.broadcast_to(column[:, None, :], (height, width, 3)).copy()
    sun = sun_place(scene, palette, stage, chance)
    visible_sun = "fog" not in scene.weather and not scene.weather & {"storm", "overcast", "rain"}
    if visible_sun:
        _glow(canvas, sun, stage.unit * (0.62 if palette.dark else 0.75), palette.glow, 0.34 if palette.dark else 0.5)
    if "milky_way" in scene.sky:
        _milky_way(canvas, chance)
    image = Image.fromarray(np.clip(canvas * 255 + rng.uniform(0, 1, (height, 1, 1)), 0, 255).astype(np.uint8))
    starry = max(palette.stars, 1.0 if scene.sky & {"stars", "milky_way"} and palette.dark else 0.0)
    if starry:
        _stars(image, stage, chance, starry, many=bool(scene.sky & {"stars", "milky_way"}))
    if "aurora" in scene.sky:
        _aurora(image, stage, chance)
    if "rainbow" in scene.sky:
        _rainbow(image, stage, chance)
    if "fireworks" in scene.sky:
        _fireworks(image, stage, chance)
    if "shooting_star" in scene.sky:
        _shooting_stars(image, stage, chance)
    if visible_sun or "moon" in scene.sky or "sun" in scene.sky:
        _sun_or_moon(image, scene, palette, stage, sun)
    return image


def sun_place(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> tuple[float, float]:
    """Where the sun or the moon stands, in pixels."""
    rng = chance.stream("sun")
    side = float(rng.choice([0.2, 0.28, 0.72, 0.8]))
    if scene.time in ("sunset", "dawn"):
        side = float(rng.choice([0.36, 0.5, 0.64]))
    x = stage.margin + (stage.width - 2 * stage.margin) * side
    high = 0.76 if scene.sky & {"moon", "crescent"} else palette.sun_height
    return x, stage.horizon * (1.0 - high)


def clouds(scene: Scene, palette: Palette, stage: Stage, chance: Chance) -> list[Layer]:
    """Puffy clouds as drifting sheets; more and heavier ones in bad weather."""
    rng = chance.stream("clouds")
    heavy = bool(scene.weather & {"overcast", "rain", "storm", "snow", "fog"}) and not scene.sky
    if "clear" in scene.weather or scene.ground in ("regolith",):
        return []
    number = 9 if heavy else 8 if "clouds" in scene.weather else int(rng.integers(2, 5))
    if scene.sky & {"aurora", "milky_way", "stars"} and "clouds" not in scene.weather:
        return []
    if "rainbow" in scene.sky:
        number = 2
    elif palette.dark and not heavy:
        number = 7 if "clouds" in scene.weather else int(rng.integers(1, 4))
    found = []
    sun = sun_place(scene, palette, stage, chance)
    for index in range(number):
        depth = float(rng.uniform(0.0, 1.0))
        span = stage.unit * (0.16 + 0.34 * depth) * (1.5 if heavy else 1.0)
        image = _cloud(rng, max(24, int(span)), palette, far=1 - depth)
        lane = (index + float(rng.uniform(0.15, 0.85))) / number
        x = int(lane * stage.width * 1.1 - image.width * 0.5 - stage.width * 0.05)
        top = stage.horizon * ((0.0 if heavy else 0.06) + 0.62 * (1 - depth) ** 1.2 * float(rng.uniform(0.7, 1.1)))
        if heavy:
            top -= image.height * 0.3
        hides = x < sun[0] < x + image.width and top < sun[1] < top + image.height
        if hides and not heavy and (palette.dark or scene.sky & {"sun", "moon", "crescent"}):
            continue
        found.append(Layer(image, x, int(top), near=0.04 + 0.1 * depth, motion="drift", phase=0.4 + depth))
    return sorted(found, key=lambda layer: layer.near)


def _cloud(rng: np.random.Generator, span: int, palette: Palette, far: float) -> Image.Image:
    """One cloud: round puffs on a flat base, bright above and shaded below."""
    scale = 2
    width, height = span, max(10, int(span * float(rng.uniform(0.38, 0.52))))
    mask = Image.new("L", (width * scale, height * scale), 0)
    draw = ImageDraw.Draw(mask)
    puffs = int(rng.integers(5, 9))
    base = height * scale * 0.92
    crown = float(rng.uniform(0.36, 0.64))
    for index in range(puffs):
        t = (index + 0.5) / puffs
        hump = math.exp(-(((t - crown) / 0.26) ** 2))
        radius = height * scale * (0.15 + 0.16 * hump) * float(rng.uniform(0.85, 1.1))
        x = width * scale * (0.13 + 0.74 * t)
        y = base - radius - height * scale * 0.22 * hump * float(rng.uniform(0.5, 1.0))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        draw.polygon(
            [(x - radius, y), (x + radius, y), (x + radius * 1.1, base - 2), (x - radius * 1.1, base - 2)], fill=255
        )
    pad = height * scale * 0.12
    draw.rounded_rectangle((width * scale * 0.04, base - 2 * pad, width * scale * 0.96, base), radius=pad, fill=255)
    mask = mask.resize((width, height), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(max(0.6, span / 260)))
    alpha = np.asarray(mask, np.float32) / 255
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(height * 0.13)), np.float32) / 255
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    shifted = np.roll(soft, max(1, int(height * 0.1)), axis=0)
    shade = np.clip(0.18 + 0.75 * down + (shifted - 0.8) * 0.7, 0, 1)[..., None]
    bright = np.array(mix(palette.cloud, palette.haze, far * 0.3), np.float32)
    dull = np.array(mix(palette.cloud_shade, palette.haze, far * 0.45), np.float32)
    fade = np.clip((1 - down) * 5.0, 0.35, 1.0)
    return sheet(bright * (1 - shade) + dull * shade, alpha * (0.95 - 0.25 * far) * fade)


def _glow(canvas: Floats, centre: tuple[float, float], radius: float, colour: RGB, strength: float) -> None:
    height, width = canvas.shape[:2]
    y = ((np.arange(height, dtype=np.float32) - centre[1]) / radius)[:, None]
    x = ((np.arange(width, dtype=np.float32) - centre[0]) / radius)[None, :]
    share = (strength * np.exp(-2.6 * np.sqrt(x * x + y * y)))[..., None]
    canvas += (np.array(colour, np.float32) - canvas) * share


def _sun_or_moon(image: Image.Image, scene: Scene, palette: Palette, stage: Stage, at: tuple[float, float]) -> None:
    moonlit = palette.dark or bool(scene.sky & {"moon", "crescent"})
    if scene.time == "dusk" and not scene.sky & {"moon", "crescent"}:
        return
    radius = stage.unit * (0.055 if not moonlit else 0.062)
    if scene.time in ("sunset", "dawn", "golden") and not moonlit:
        radius = stage.unit * 0.085
    if moonlit and scene.sky & {"moon", "crescent"}:
        radius *= 1.35
    scale = 3
    size = int(radius * 2 * scale) + 2 * scale
    mask = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((scale, scale, size - scale, size - scale), fill=255)
    if "crescent" in scene.sky:
        shift = size * 0.28
        draw.ellipse((scale + shift, scale - shift * 0.3, size + shift, size - scale - shift * 0.3), fill=0)
    disc = Image.new("RGB", (size, size), eight_bit(mix(palette.glow, (1, 1, 1), 0.35)))
    if moonlit:
        spots = ImageDraw.Draw(disc)
        for cx, cy, r in ((0.36, 0.34, 0.13), (0.62, 0.55, 0.16), (0.38, 0.68, 0.09), (0.64, 0.26, 0.06)):
            spots.ellipse(
                ((cx - r) * size, (cy - r) * size, (cx + r) * size, (cy + r) * size),
                fill=eight_bit(mix(palette.glow, palette.sky[2], 0.16)),
            )
    small = (size // scale, size // scale)
    image.paste(
        disc.resize(small, Image.Resampling.BOX),
        (int(at[0] - radius), int(at[1] - radius)),
        mask.resize(small, Image.Resampling.BOX),
    )


def _stars(image: Image.Image, stage: Stage, chance: Chance, strength: float, *, many: bool) -> None:
    rng = chance.stream("stars")
    count = int((420 if many else 190) * min(2.0, stage.width * stage.height / 1_000_000) * strength) + 20
    draw = ImageDraw.Draw(image, "RGBA")
    unit = stage.unit / 1000
    for _ in range(count):
        x, y = float(rng.uniform(0, stage.width)), float(rng.uniform(0, 1)) ** 1.35 * stage.height * 0.98
        size = float(rng.uniform(0.5, 1.0)) ** 2 * (2.2 if rng.random() > 0.08 else 4.4) * unit
        light = int(255 * float(rng.uniform(0.3, 1.0)) * max(0.15, 1 - y / stage.height) * min(1.0, strength + 0.2))
        tone = (255, 250, 235) if rng.random() > 0.3 else (205, 222, 255)
        draw.ellipse((x - size, y - size, x + size, y + size), fill=(*tone, light))
        if size > 3.4 * unit:
            arm = size * 2.6
            draw.line((x - arm, y, x + arm, y), fill=(*tone, light // 3), width=max(1, round(unit)))
            draw.line((x, y - arm, x, y + arm), fill=(*tone, light // 3), width=max(1, round(unit)))


def _milky_way(canvas: Floats, chance: Chance) -> None:
    rng = chance.stream("milky way")
    height, width = canvas.shape[:2]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    cloud = blotches(rng, width, height, cells=9, octaves=4)
    away = (y - (0.75 - 0.85 * x)) + (cloud - 0.5) * 0.3
    band = np.exp(-((away / 0.13) ** 2)) * (0.35 + 0.9 * cloud)
    canvas += (np.array((0.66, 0.60, 0.86), np.float32) - canvas) * (band * 0.5)[..., None]


def _aurora(image: Image.Image, stage: Stage, chance: Chance) -> None:
    rng = chance.stream("aurora")
    width, height = image.width // 2, stage.height // 2
    glow = np.zeros((height, width, 3), np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    for index, colour in enumerate(((0.15, 0.92, 0.62), (0.25, 0.80, 0.78), (0.55, 0.38, 0.92))):
        foot = stage.horizon / 2 * (0.72 - 0.13 * index + 0.2 * profile(rng, width, waves=2.5, octaves=3))
        tall = stage.horizon / 2 * (0.5 + 0.18 * profile(rng, width, waves=5.0, octaves=2))
        folds = 0.55 + 0.45 * profile(rng, width, waves=26.0, octaves=2)
        above = (foot[None, :] - y) / tall[None, :]
        shape = np.where(above > 0, np.exp(-2.6 * above) * np.clip(above * 14, 0, 1), 0.0) * folds[None, :]
        glow += shape[..., None].astype(np.float32) * np.array(colour, np.float32) * (0.95 - 0.18 * index)
    light = Image.fromarray(np.clip(glow * 255, 0, 255).astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    both = 255 - (255 - np.asarray(image, np.uint16)) * (255 - np.asarray(light, np.uint16)) // 255
    image.paste(Image.fromarray(both.astype(np.uint8)))


def _rainbow(image: Image.Image, stage: Stage, chance: Chance) -> None:
    rng = chance.stream("rainbow")
    cx = stage.margin + (stage.width - 2 * stage.margin) * float(rng.uniform(0.4, 0.6))
    outer = min((stage.width - 2 * stage.margin) * 0.54, stage.horizon * 1.02)
    cy = stage.horizon * 1.14
    y = (np.arange(stage.height, dtype=np.float32) - cy)[:, None]
    x = (np.arange(stage.width, dtype=np.float32) - cx)[None, :]
    across = (outer - np.sqrt(x * x + y * y)) / (outer * 0.2)
    stops: tuple[tuple[float, RGB], ...] = (
        (0.0, (0.95, 0.25, 0.28)), (0.2, (0.98, 0.58, 0.2)), (0.4, (0.99, 0.88, 0.3)), (0.6, (0.35, 0.8, 0.42)),
        (0.8, (0.28, 0.55, 0.95)), (1.0, (0.55, 0.35, 0.85)),
    )  # fmt: skip
    rows = ramp(stops, np.linspace(0, 1, 256, dtype=np.float32))
    colours = rows[np.clip(across * 255, 0, 255).astype(np.int32)]
    share = np.clip(np.minimum(across, 1 - across) * 6, 0, 1) * 0.5
    base = np.asarray(image, np.float32) / 255
    base = base + (colours - base) * share[..., None]
    image.paste(Image.fromarray(np.clip(base * 255, 0, 255).astype(np.uint8)))


def _fireworks(image: Image.Image, stage: Stage, chance: Chance) -> None:
    rng = chance.stream("fireworks")
    glow = Image.new("RGB", image.size)
    draw = ImageDraw.Draw(glow)
    tones = ((255, 196, 84), (255, 92, 120), (110, 200, 255), (190, 130, 255), (130, 240, 150))
    for burst in range(6):
        x = stage.margin + (stage.width - 2 * stage.margin) * (burst + float(rng.uniform(0.2, 0.8))) / 6
        y = stage.horizon * float(rng.uniform(0.14, 0.5))
        radius = stage.unit * float(rng.uniform(0.07, 0.15))
        tone = tones[int(rng.integers(len(tones)))]
        for ray in range(26):
            angle = 2 * math.pi * ray / 26 + float(rng.uniform(-0.05, 0.05))
            reach = radius * (1.0 if ray % 2 else 0.66) * float(rng.uniform(0.9, 1.08))
            for step in range(4, 15):
                t = step / 14
                px = x + math.cos(angle) * reach * t
                py = y + math.sin(angle) * reach * t + radius * 0.16 * t * t
                r = stage.unit * 0.0019 * (0.4 + t)
                level = 0.35 + 0.65 * t
                draw.ellipse((px - r, py - r, px + r, py + r), fill=tuple(int(part * level) for part in tone))
    soft = glow.filter(ImageFilter.GaussianBlur(stage.unit * 0.008)).point(lambda value: min(255, value * 2))
    image.paste(ImageChops.screen(ImageChops.screen(image, soft), glow))


def _shooting_stars(image: Image.Image, stage: Stage, chance: Chance) -> None:
    rng = chance.stream("shooting stars")
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(3):
        x = float(rng.uniform(0.2, 0.95)) * stage.width
        y = float(rng.uniform(0.06, 0.4)) * stage.horizon
        length = stage.unit * float(rng.uniform(0.14, 0.24))
        for step in range(24):
            t = step / 24
            wide = stage.unit * 0.0042 * (1 - t)
            px, py = x + length * t, y - length * 0.45 * t
            draw.ellipse((px - wide, py - wide, px + wide, py + wide), fill=(255, 250, 230, int(220 * (1 - t))))
            tail = (x + length * (t + 1 / 24), y - length * 0.45 * (t + 1 / 24))
            draw.line((px, py, *tail), fill=(255, 250, 230, int(150 * (1 - t))), width=max(1, round(wide)))
