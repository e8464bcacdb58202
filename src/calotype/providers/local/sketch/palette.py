"""The palette of a scene: what the hour and the weather do to every colour in it."""

import colorsys

import msgspec

from calotype.providers.local.sketch.colour import NAMED, RGB, hexed, mix, times
from calotype.providers.local.sketch.scene import Scene


class Palette(msgspec.Struct, frozen=True):
    """The colours of one hour: the sky from top to horizon, its light, its haze and its sun."""

    sky: tuple[RGB, RGB, RGB]
    light: RGB
    haze: RGB
    glow: RGB
    cloud: RGB
    cloud_shade: RGB
    sun_height: float
    dark: bool = False
    stars: float = 0.0

    def lit(self, colour: RGB, depth: float = 0.0) -> RGB:
        """Give a colour of the day as this hour shows it; depth 0 is near, 1 dissolves in haze."""
        return mix(times(colour, self.light), self.haze, depth)


_HOURS = {
    "dawn": Palette(
        sky=(hexed("#5b74bd"), hexed("#c7a3cf"), hexed("#ffdcb8")), light=(0.98, 0.87, 0.88), haze=hexed("#eec9c4"),
        glow=hexed("#fff1d0"), cloud=hexed("#ffe6dc"), cloud_shade=hexed("#c9a5c4"), sun_height=0.30,
    ),
    "day": Palette(
        sky=(hexed("#3c8ee4"), hexed("#7cc1f4"), hexed("#d8effa")), light=(1.0, 1.0, 1.0), haze=hexed("#c9e4f4"),
        glow=hexed("#fff6d2"), cloud=hexed("#ffffff"), cloud_shade=hexed("#c8dcf0"), sun_height=0.74,
    ),
    "golden": Palette(
        sky=(hexed("#5f9bd0"), hexed("#f0cf9c"), hexed("#ffe3a4")), light=(1.06, 0.92, 0.74), haze=hexed("#f8d9a4"),
        glow=hexed("#fff2c0"), cloud=hexed("#fff0d6"), cloud_shade=hexed("#e3b58c"), sun_height=0.36,
    ),
    "sunset": Palette(
        sky=(hexed("#44407f"), hexed("#d9607c"), hexed("#ffb766")), light=(0.95, 0.72, 0.68), haze=hexed("#e98f78"),
        glow=hexed("#ffe9a8"), cloud=hexed("#ffb58a"), cloud_shade=hexed("#a2578a"), sun_height=0.29, dark=False,
    ),
    "dusk": Palette(
        sky=(hexed("#27306c"), hexed("#69579f"), hexed("#e79aa2")), light=(0.64, 0.60, 0.82), haze=hexed("#a07aa8"),
        glow=hexed("#ffd9c0"), cloud=hexed("#a884b8"), cloud_shade=hexed("#5c4f8c"), sun_height=0.4, dark=True,
        stars=0.35,
    ),
    "night": Palette(
        sky=(hexed("#0a1133"), hexed("#16275f"), hexed("#3a5797")), light=(0.46, 0.55, 0.84), haze=hexed("#2f4a8a"),
        glow=hexed("#f4f1dc"), cloud=hexed("#54689f"), cloud_shade=hexed("#24346c"), sun_height=0.62, dark=True,
        stars=1.0,
    ),
}  # fmt: skip

_GLOOM = {"overcast": 0.55, "rain": 0.62, "fog": 0.5, "snow": 0.45, "storm": 0.85}


def palette_of(scene: Scene) -> Palette:
    """Give the palette of a scene's hour, dimmed by its weather and turned by a colour given to its sky."""
    base = _HOURS[scene.time]
    gloom = max((_GLOOM[kind] for kind in scene.weather if kind in _GLOOM), default=0.0)
    if scene.sky:
        gloom *= 0.3
    if gloom:
        base = _overcast(base, gloom, storm="storm" in scene.weather, fog="fog" in scene.weather)
    colour = scene.colour_of("sky")
    return _painted(base, NAMED[colour]) if colour else base


def _overcast(base: Palette, gloom: float, *, storm: bool, fog: bool) -> Palette:
    dim = 0.62 if storm else 0.9
    tint: RGB = (0.86, 0.91, 1.0) if base.dark else (0.93, 0.96, 1.0)

    def grey(colour: RGB) -> RGB:
        level = (0.3 * colour[0] + 0.55 * colour[1] + 0.15 * colour[2]) * dim
        return mix(times(colour, (dim, dim, dim)), times((level, level, level), tint), gloom)

    sky = (grey(base.sky[0]), grey(base.sky[1]), grey(base.sky[2]))
    haze = mix(grey(base.haze), (1, 1, 1), 0.12) if fog and not base.dark else grey(base.haze)
    light = times(mix(base.light, grey(base.light), 0.6), (0.94, 0.95, 0.97))
    return msgspec.structs.replace(
        base, sky=sky, haze=haze, light=light, cloud=grey(base.cloud), cloud_shade=times(grey(base.cloud_shade),
        (0.88, 0.9, 0.94)), stars=base.stars * (1 - gloom),
    )  # fmt: skip


def _painted(base: Palette, colour: RGB) -> Palette:
    """Keep the hour's lightness from zenith to horizon and give it the asked hue."""
    hue, _, saturation = colorsys.rgb_to_hls(*colour)

    def turn(original: RGB, strength: float) -> RGB:
        level = colorsys.rgb_to_hls(*original)[1]
        level = level + (colorsys.rgb_to_hls(*colour)[1] - level) * 0.35
        return mix(original, colorsys.hls_to_rgb(hue, level, saturation * 0.8), strength)

    return msgspec.structs.replace(
        base,
        sky=(turn(base.sky[0], 0.95), turn(base.sky[1], 0.95), turn(base.sky[2], 0.8)),
        haze=turn(base.haze, 0.7),
        light=mix(base.light, times(base.light, mix(colour, (1, 1, 1), 0.6)), 0.5),
        cloud_shade=turn(base.cloud_shade, 0.5),
    )
