"""Composition: a scene becomes a base picture and a stack of sheets, placed, lit and in order."""

import msgspec
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from calotype.providers.local.sketch import ground, growth, place, sky, terrain, water, weather, worlds
from calotype.providers.local.sketch.chance import Chance
from calotype.providers.local.sketch.colour import eight_bit, hexed, mix, times
from calotype.providers.local.sketch.easel import Easel
from calotype.providers.local.sketch.gallery import Gallery, painted, shadow
from calotype.providers.local.sketch.layers import Layer, Motion, Stage, lay
from calotype.providers.local.sketch.palette import Palette, palette_of
from calotype.providers.local.sketch.place import Field, Placement
from calotype.providers.local.sketch.scene import Scene
from calotype.providers.local.sketch.words import vocabulary

_WILD = (("mountains",), ("hills",), ("mountains", "hills"), ("hills", "forest"))


class Composition(msgspec.Struct):
    """A picture before it is flattened: the opaque base and the sheets over it, back to front."""

    stage: Stage
    base: Image.Image
    layers: list[Layer]
    placed: tuple[Placement, ...]
    palette: Palette


def compose(
    scene: Scene, chance: Chance, width: int, height: int, margin: int = 0, easel: Easel | None = None
) -> Composition:
    """Paint every sheet of a scene for a frame of width x height pixels; the `easel` shows how it stands."""
    easel = easel or Easel()
    if scene.ground in ("regolith", "mars") and scene.time == "day" and not scene.colour_of("sky"):
        scene = _alien_sky(scene)
    palette = _airless(palette_of(scene)) if scene.ground == "regolith" else palette_of(scene)
    if scene.setting == "outdoors":
        return _Outdoors(scene, palette, chance, width, height, margin, easel).composition()
    return _world(scene, palette, chance, width, height, margin, easel)


def flatten(composition: Composition) -> Image.Image:
    """Lay all sheets over the base and grade the whole."""
    canvas = composition.base.copy()
    for layer in composition.layers:
        lay(canvas, layer.image, layer.x, layer.y)
    return Image.fromarray(grade(np.asarray(canvas), vignette(canvas.size)))


def vignette(size: tuple[int, int]) -> np.ndarray:
    """How much of its light each pixel keeps, as a uint16 share of 256."""
    width, height = size
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    share = 1.0 - 0.15 * np.clip(x * x * 0.55 + y * y * 0.55 - 0.25, 0, 1)
    return (share * 256).astype(np.uint16)[..., None]


def grade(pixels: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Darken the corners a little, which draws the eye inwards."""
    graded: np.ndarray = ((pixels.astype(np.uint16) * shares) >> 8).astype(np.uint8)
    return graded


class _Outdoors:
    """One landscape, painted from the sky forward."""

    def __init__(
        self, scene: Scene, palette: Palette, chance: Chance, width: int, height: int, margin: int, easel: Easel
    ) -> None:
        rng = chance.stream("composition")
        if (
            not scene.backdrops
            and scene.ground in (None, "grass", "snow")
            and scene.water in (None, "lake", "river", "waterfall")
        ):
            wild = ("hills",) if "rainbow" in scene.sky else _WILD[int(rng.integers(len(_WILD)))]
            scene = msgspec.structs.replace(scene, backdrops=wild)
        self.scene, self.palette, self.chance = scene, palette, chance
        homes = {figure.home for index, figure in enumerate(scene.figures) if not _aboard(index, scene)}
        self.standing = bool(homes & {"ground", "plant", "surface"})
        level = 0.54 if self.standing else 0.66
        if scene.water is not None:
            level = 0.47 if self.standing else 0.52
        if scene.figures and not self.standing and scene.water is None:
            level = 0.74
        level += float(rng.uniform(-0.02, 0.02))
        self.stage = Stage(width=width + 2 * margin, height=height, margin=margin, horizon=int(height * level))
        self.shore = self._shore(homes)
        self.from_right = sky.sun_place(scene, palette, self.stage, chance)[0] > self.stage.width / 2
        self.layers: list[Layer] = []
        self.base = sky.backdrop_sky(scene, palette, self.stage, chance)
        self.canvas = self.base.copy()
        self.easel = easel
        easel.at(0.15)
        easel.see(self.canvas)
        self.nursery = growth.Nursery(scene, palette, self.stage, from_right=self.from_right)

    def composition(self) -> Composition:
        scene, palette, stage, chance = self.scene, self.palette, self.stage, self.chance
        wet = (stage.horizon + stage.unit * 0.03, min(self.shore, stage.height * 0.97)) if scene.water else None
        dry = (self.shore + stage.unit * 0.05, stage.height * 0.965)
        field = Field(ground=dry, water=(wet[0], wet[1]) if wet else None)
        placed = place.place(scene, stage, field, chance)
        self.gallery = Gallery(scene, placed)
        self._add(sky.clouds(scene, palette, stage, chance))
        if "storm" in scene.weather:
            self._add([weather.lightning(palette, stage, chance)])
        for figure in (p for p in placed if p.home == "sky" and not p.anchored):
            self._subject(figure, shadow=False)
        order = sorted(scene.backdrops, key=_BACK_TO_FRONT.index)
        for number, kind in enumerate(order):
            self.easel.at(0.2 + 0.2 * number / len(order))
            self._add(terrain.backdrop(kind, scene, palette, stage, chance))
            if kind == "forest":
                self._add(growth.forest(scene, self.nursery, stage, chance))
        self.easel.at(0.4)
        if scene.water == "waterfall":
            self._add(water.fall(palette, stage, chance))
        if scene.water:
            sun = sky.sun_place(scene, palette, stage, chance)
            self._add(
                [water.water(scene, palette, stage, chance, self.canvas, int(self.shore + stage.unit * 0.05), sun)]
            )
        for figure in (p for p in placed if p.home in ("afloat", "swim")):
            self._afloat(figure)
        self.easel.at(0.5)
        if self.shore < stage.height:
            self._add([ground.ground(scene, palette, stage, chance, int(self.shore))])
            if scene.water == "sea":
                self._add([water.surf(palette, stage, chance, int(self.shore))])
        self._stand(placed, dry)
        self._add(weather.weather(scene, palette, stage, chance))
        return Composition(stage, self.base, self.layers, placed, palette)

    def _shore(self, homes: set[str]) -> float:
        """Give the row where the water ends and the near ground begins."""
        height = self.stage.height
        if self.scene.water is None:
            return float(self.stage.horizon)
        if self.standing:
            return self.stage.horizon + (height - self.stage.horizon) * 0.40
        if self.scene.ground is None and (self.scene.water == "sea" or homes & {"afloat", "swim"}):
            return height * 1.1
        return self.stage.horizon + (height - self.stage.horizon) * 0.72

    def _add(self, layers: list[Layer]) -> None:
        for layer in layers:
            self.layers.append(layer)
            lay(self.canvas, layer.image, layer.x, layer.y)
            self.easel.see(self.canvas)

    def _stand(self, placed: tuple[Placement, ...], rows: tuple[float, float]) -> None:
        here = [p for p in placed if p.home not in ("afloat", "swim") and (p.home != "sky" or p.anchored)]
        queue: list[tuple[float, int, Layer | Placement]] = []
        if self.shore < self.stage.height and self.scene.ground != "street":
            plants = growth.scattered(self.scene, self.nursery, self.stage, self.chance, rows, placed)
            queue += [(foot, 0, layer) for foot, layer in plants]
        if "forest" in self.scene.backdrops and self.scene.water is None:
            frame = growth.framing(self.scene, self.nursery, self.stage, self.chance, placed)
            queue += [
                (self.stage.horizon + (self.stage.height - self.stage.horizon) * 0.42, 0, layer) for layer in frame
            ]
        queue += [(p.order, 1 + n, p) for n, p in enumerate(here)]
        for number, (_, _, item) in enumerate(sorted(queue, key=lambda entry: entry[:2])):
            self.easel.at(0.55 + 0.2 * number / len(queue))
            if isinstance(item, Layer):
                self._shadow(item.x + item.image.width / 2, item.bottom, item.image.width * 0.7, item.near)
                self._add([item])
            else:
                self._subject(item, shadow=item.home not in ("air", "sky") and not item.anchored)

    def _subject(self, placed: Placement, *, shadow: bool) -> None:
        image = painted(placed, self.gallery, self.palette, from_right=self.from_right)
        near = 0.3 if placed.home in ("air", "sky") else 0.85
        if shadow or (
            placed.anchored and abs(placed.order - placed.foot) < self.stage.unit * 0.1 and placed.home != "air"
        ):
            self._shadow(placed.centre, placed.foot, placed.width * 0.92, near)
        motion: Motion = "sway"
        if placed.home in ("air", "sky"):
            motion = "hover"
        elif placed.home == "plant" or vocabulary().arts[placed.art].built:
            motion = "still"
        self._add([Layer(image, int(placed.x), int(placed.y), near, motion, phase=_phase(placed))])

    def _afloat(self, placed: Placement) -> None:
        """Paint a boat or a swimmer: its mirror image on the water, itself above, its keel a little under."""
        image = painted(placed, self.gallery, self.palette, from_right=self.from_right)
        swims = placed.home == "swim"
        keep = 0.74 if swims else 0.96
        cut = max(2, int(image.height * keep))
        image = image.crop((0, 0, image.width, cut))
        foot = int(placed.foot - (image.height * 0.0 if swims else 0))
        mirror = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((image.width, max(2, int(cut * 0.6))))
        pixels = np.asarray(mirror, np.float32).copy()
        fade = np.linspace(0.42, 0.0, pixels.shape[0], dtype=np.float32)[:, None]
        pixels[..., 3] *= fade
        tone = np.array(self.palette.lit(hexed("#2a6a96")), np.float32) * 255
        pixels[..., :3] += (tone - pixels[..., :3]) * 0.35
        mirrored = Image.fromarray(pixels.astype(np.uint8)).filter(ImageFilter.BoxBlur(max(1, self.stage.unit * 0.002)))
        phase = _phase(placed)
        motion: Motion = "still" if vocabulary().arts[placed.art].built else "bob"
        self._add([
            Layer(mirrored, int(placed.x), foot, 0.55, motion, phase),
            Layer(image, int(placed.x), foot - cut, 0.55, motion, phase),
            self._ripple(placed, foot),
        ])  # fmt: skip

    def _ripple(self, placed: Placement, foot: int) -> Layer:
        wide, tall = int(placed.width * 1.16), max(6, int(self.stage.unit * 0.022))
        scale = 2
        image = Image.new("RGBA", (wide * scale, tall * scale), (255, 255, 255, 0))
        draw = ImageDraw.Draw(image)
        tone = eight_bit(mix(self.palette.lit((0.92, 0.98, 1.0)), self.palette.sky[2], 0.3))
        for inset, strength in ((0.0, 90), (0.07, 150)):
            edge = wide * scale * inset
            mid = tall * scale * (0.5 + inset)
            draw.ellipse(
                (edge, mid - tall * scale * 0.18, wide * scale - edge, mid + tall * scale * 0.2), fill=(*tone, strength)
            )
        return Layer(image.reduce(scale), int(placed.centre - wide / 2), foot - tall // 2, 0.55)

    def _shadow(self, x: float, foot: float, width: float, near: float) -> None:
        shade = times(ground.ground_colours(self.scene, self.palette)[0], (0.28, 0.27, 0.42))
        lean = width * 0.07 * (-1 if self.from_right else 1)
        self._add([shadow(x + lean, foot, width, shade, near=near)])


def _aboard(index: int, scene: Scene) -> bool:
    """Tell whether a figure travels on a boat, so that it needs no ground."""
    return any(f.target == index and f.home == "afloat" and f.relation in ("in", "on", "riding") for f in scene.figures)


_INDOOR_SHADE = (0.15, 0.09, 0.12)
_BACK_TO_FRONT = ["volcano", "mountains", "mesa", "skyline", "island", "dunes", "hills", "forest"]


def _world(
    scene: Scene, palette: Palette, chance: Chance, width: int, height: int, margin: int, easel: Easel
) -> Composition:
    """Paint a setting without a landscape: under water, in space, in a room or on a table."""
    level = {"room": 0.66, "table": 0.62}.get(scene.setting, 0.84)
    stage = Stage(width=width + 2 * margin, height=height, margin=margin, horizon=int(height * level))
    layers: list[Layer] = []
    floating = scene.setting in ("underwater", "space")
    if scene.setting == "underwater":
        base, layers = worlds.underwater(scene, palette, stage, chance)
        rows = (height * 0.86, height * 0.965)
        palette = msgspec.structs.replace(
            palette, light=times(palette.light, (0.80, 0.96, 1.04)), haze=(0.15, 0.5, 0.75)
        )
    elif scene.setting == "space":
        base, rows = worlds.space(scene, palette, stage, chance), (height * 1.0, height * 1.0)
        palette = msgspec.structs.replace(
            palette, light=(0.94, 0.95, 1.05), glow=(0.8, 0.86, 1.0), haze=(0.1, 0.1, 0.3)
        )
    elif scene.setting == "room":
        base, rows = worlds.room(scene, palette, stage, chance), (height * 0.70, height * 0.955)
        palette = msgspec.structs.replace(palette, light=mix((1, 0.97, 0.93), palette.light, 0.35))
    else:
        base, rows = worlds.table(scene, palette, stage, chance), (height * 0.66, height * 0.93)
        palette = msgspec.structs.replace(palette, light=mix((1, 0.97, 0.93), palette.light, 0.35))
    placed = place.place(scene, stage, Field(ground=rows, water=None, floating=floating), chance)
    gallery = Gallery(scene, placed)
    front = [layer for layer in layers if layer.near >= 0.7 and layer.motion == "glide"]
    stack = [layer for layer in layers if layer not in front]
    canvas = base.copy()

    def seen(layer: Layer) -> Layer:
        if easel.wanted:
            lay(canvas, layer.image, layer.x, layer.y)
            easel.see(canvas)
        return layer

    for layer in stack:
        seen(layer)
    for number, item in enumerate(placed):
        easel.at(0.2 + 0.55 * number / len(placed))
        image = painted(item, gallery, palette, from_right=False)
        grounded = item.home in ("ground", "plant", "surface", "afloat") and scene.setting != "space"
        grounded = grounded and (not floating or item.home in ("ground", "plant"))
        if grounded and not item.anchored:
            stack.append(seen(shadow(item.centre, item.foot, item.width, _INDOOR_SHADE, near=0.6)))
        hovering = floating and not grounded
        motion: Motion = "hover" if hovering else "sway" if item.home == "ground" else "still"
        near = 0.6 + 0.02 * min(9, item.figure)
        stack.append(seen(Layer(image, int(item.x), int(item.y), near, motion, _phase(item))))
    return Composition(stage, base, stack + front, placed, palette)


def _phase(placed: Placement) -> float:
    return (placed.x * 0.013 + placed.figure * 1.7) % 6.28


def _alien_sky(scene: Scene) -> Scene:
    if scene.ground == "mars":
        return msgspec.structs.replace(scene, time="golden", colours=(*scene.colours, ("sky", "orange")))
    return msgspec.structs.replace(scene, sky=scene.sky | {"stars"})


def _airless(palette: Palette) -> Palette:
    black = (hexed("#05060f"), hexed("#0b0d20"), hexed("#191c3a"))
    return msgspec.structs.replace(
        palette, sky=black, haze=hexed("#4b4d66"), light=(0.9, 0.92, 1.0), dark=True, stars=1.0
    )
