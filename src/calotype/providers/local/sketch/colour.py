"""Colours: mixing, and recolouring a drawing the way an eye would (in OKLab)."""

import functools

import numpy as np
import numpy.typing as npt
from PIL import Image

from calotype.providers.local.sketch.chance import Floats

RGB = tuple[float, float, float]

# What a colour word means: an sRGB colour in [0, 1].
NAMED: dict[str, RGB] = {
    "red": (0.87, 0.16, 0.19),
    "orange": (0.97, 0.53, 0.13),
    "yellow": (0.98, 0.81, 0.20),
    "green": (0.27, 0.66, 0.30),
    "teal": (0.12, 0.68, 0.68),
    "blue": (0.16, 0.44, 0.88),
    "purple": (0.53, 0.29, 0.78),
    "pink": (0.97, 0.51, 0.70),
    "brown": (0.48, 0.31, 0.20),
    "black": (0.14, 0.13, 0.17),
    "white": (0.96, 0.95, 0.97),
    "grey": (0.57, 0.57, 0.60),
    "rust": (0.76, 0.38, 0.18),
    "ochre": (0.86, 0.65, 0.25),
    "russet": (0.66, 0.28, 0.20),
    "blush": (0.95, 0.68, 0.76),
}

_GREY_CHROMA = 0.045


def hexed(code: str) -> RGB:
    """`#rrggbb` as a colour in [0, 1]."""
    return int(code[1:3], 16) / 255, int(code[3:5], 16) / 255, int(code[5:7], 16) / 255


def to_hex(colour: RGB) -> str:
    """Give a colour as `#rrggbb`."""
    return "#" + "".join(f"{round(min(1.0, max(0.0, part)) * 255):02x}" for part in colour)


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """`share` of b in a."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def times(a: RGB, b: RGB) -> RGB:
    """Give the colour a under the light b, kept in range."""
    return min(1.0, a[0] * b[0]), min(1.0, a[1] * b[1]), min(1.0, a[2] * b[2])


def eight_bit(colour: RGB) -> tuple[int, int, int]:
    """Give a colour as three bytes."""
    red, green, blue = (round(min(1.0, max(0.0, part)) * 255) for part in colour)
    return red, green, blue


def ramp(stops: tuple[tuple[float, RGB], ...], at: Floats) -> Floats:
    """Colours along a gradient: `at` of shape (n,) gives (n, 3)."""
    places = [place for place, _ in stops]
    return np.stack([np.interp(at, places, [c[channel] for _, c in stops]) for channel in range(3)], axis=-1).astype(
        np.float32
    )


def recolour(image: Image.Image, name: str, *, keep_skin: bool = False) -> Image.Image:
    """Turn the dominant hue of a drawing into the named colour; eyes, whites and accents stay.

    A drawing that is mostly grey or white takes the colour on its greys instead. With `keep_skin` the hues of
    skin are left alone.
    """
    pixels = np.asarray(image)
    shown = pixels[..., 3] > 16
    if not shown.any():
        return image
    lab = _to_lab(pixels[..., :3][shown])
    light, a, b = lab[:, 0], lab[:, 1], lab[:, 2]
    chroma, hue = np.hypot(a, b).astype(np.float32), np.arctan2(b, a).astype(np.float32)
    weight = np.where(chroma > _GREY_CHROMA, chroma, 0.0)
    if keep_skin:
        skin = (np.abs(_turn(hue - 0.95)) < 0.42) & (chroma < 0.15) & (light > 0.35)
        weight = np.where(skin, 0.0, weight)
    coloured = float((weight > 0).mean())
    target = _to_lab((np.array([NAMED[name]]) * 255).astype(np.uint8))[0]
    target_chroma, target_hue = float(np.hypot(target[1], target[2])), float(np.arctan2(target[2], target[1]))
    if coloured > 0.22:
        tally, edges = np.histogram(hue, bins=36, range=(-np.pi, np.pi), weights=weight)
        smoothed = tally + 0.7 * (np.roll(tally, 1) + np.roll(tally, -1))
        dominant = float(edges[int(smoothed.argmax())] + np.pi / 36)
        near = np.clip(1.9 - np.abs(_turn(hue - dominant)) / 0.55, 0.0, 1.0)
        share = near * np.clip(chroma / 0.05 - 0.5, 0.0, 1.0)
        if keep_skin:
            share = np.where(skin, 0.0, share)
    else:
        share = np.clip((light - 0.2) / 0.15, 0.0, 1.0) * np.clip(1.5 - chroma / 0.08, 0.0, 1.0)
    level = float(np.average(light, weights=share + 1e-6))
    typical = max(0.02, float(np.average(chroma, weights=share + 1e-6)))
    new_light = np.clip(float(target[0]) + (light - level) * 0.8, 0.04, 0.985)
    vivid = np.clip(chroma / typical, 0.55, 1.25) if coloured > 0.22 else np.ones_like(chroma)
    new_chroma = target_chroma * vivid
    out = np.empty_like(lab)
    out[:, 0] = light + (new_light - light) * share
    out[:, 1] = a + (np.cos(target_hue) * new_chroma - a) * share
    out[:, 2] = b + (np.sin(target_hue) * new_chroma - b) * share
    result = pixels.copy()
    result[..., :3][shown] = _from_lab(out)
    return Image.fromarray(result)


def mean_hue(image: Image.Image) -> float:
    """Give the chroma-weighted mean hue of what a drawing shows, in degrees of OKLab's hue circle."""
    pixels = np.asarray(image)
    lab = _to_lab(pixels[..., :3][pixels[..., 3] > 128])
    return float(np.degrees(np.arctan2(lab[:, 2].sum(), lab[:, 1].sum())) % 360)


def _turn(angle: npt.NDArray[np.floating]) -> Floats:
    return (angle + np.float32(np.pi)) % np.float32(2 * np.pi) - np.float32(np.pi)


@functools.cache
def _linear() -> Floats:
    value = np.arange(256, dtype=np.float32) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _to_lab(rgb: npt.NDArray[np.uint8]) -> Floats:
    red, green, blue = (_linear()[rgb[:, channel]] for channel in range(3))
    long = np.cbrt(0.41222147 * red + 0.53633254 * green + 0.05144599 * blue)
    middle = np.cbrt(0.21190350 * red + 0.68069955 * green + 0.10739696 * blue)
    short = np.cbrt(0.08830246 * red + 0.28171884 * green + 0.62997870 * blue)
    return np.stack(
        (
            0.21045426 * long + 0.79361779 * middle - 0.00407205 * short,
            1.97799850 * long - 2.42859221 * middle + 0.45059371 * short,
            0.02590404 * long + 0.78277177 * middle - 0.80867577 * short,
        ),
        axis=-1,
    ).astype(np.float32)


def _from_lab(lab: Floats) -> npt.NDArray[np.uint8]:
    light, a, b = lab[:, 0], lab[:, 1], lab[:, 2]
    long = (light + 0.39633778 * a + 0.21580376 * b) ** 3
    middle = (light - 0.10556135 * a - 0.06385417 * b) ** 3
    short = (light - 0.08948418 * a - 1.29148555 * b) ** 3
    linear = np.clip(
        np.stack(
            (
                4.07674166 * long - 3.30771159 * middle + 0.23096993 * short,
                -1.26843800 * long + 2.60975740 * middle - 0.34131940 * short,
                -0.00419609 * long - 0.70341861 * middle + 1.70761470 * short,
            ),
            axis=-1,
        ),
        0.0,
        1.0,
    )
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    result: npt.NDArray[np.uint8] = np.rint(encoded * 255).astype(np.uint8)
    return result
