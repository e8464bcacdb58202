"""The gallery: the subjects of one picture, drawn to size, in their colours and in the scene's light."""

from PIL import Image, ImageDraw, ImageFilter

from calotype.providers.local.sketch.colour import RGB, eight_bit, mix
from calotype.providers.local.sketch.layers import Layer
from calotype.providers.local.sketch.palette import Palette
from calotype.providers.local.sketch.place import Placement
from calotype.providers.local.sketch.scene import Scene
from calotype.providers.local.sketch.subjects import coloured, drawing, illuminate, rasterise
from calotype.providers.local.sketch.words import vocabulary

# Vector art with soft shading is slow to rasterise; above this height it is enlarged instead, in pixels.
_LARGEST_RASTER = 640


class Gallery:
    """The subjects of one picture: each drawing is rasterised and recoloured once, at the largest size it has."""

    def __init__(self, scene: Scene, placed: tuple[Placement, ...]) -> None:
        self._scene = scene
        self._tallest: dict[tuple[str, str, str | None], int] = {}
        self._masters: dict[tuple[str, str, str | None], Image.Image] = {}
        for one in placed:
            key = self._key(one)
            self._tallest[key] = max(self._tallest.get(key, 4), round(one.height))

    def show(self, placed: Placement) -> Image.Image:
        """Draw a placed subject to size and in its colour, not yet lit."""
        key = self._key(placed)
        if key not in self._masters:
            raster = rasterise(drawing(placed.art, placed.tone), min(_LARGEST_RASTER, self._tallest[key]))
            self._masters[key] = coloured(raster, key[2], people=vocabulary().arts[placed.art].people)
        master = self._masters[key]
        size = max(2, round(placed.width)), max(4, round(placed.height))
        image = master if size == master.size else master.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if placed.flip else image

    def _key(self, placed: Placement) -> tuple[str, str, str | None]:
        figure = self._scene.figures[placed.figure]
        tone = placed.tone if vocabulary().arts[placed.art].people else ""
        return placed.art, tone, figure.colour or placed.colour


def painted(placed: Placement, gallery: Gallery, palette: Palette, *, from_right: bool) -> Image.Image:
    """Paint a placed subject as it looks there: drawn to size, recoloured, turned and lit."""
    image = gallery.show(placed)
    glowing = placed.art in vocabulary().glowing
    light = mix(palette.light, (1, 1, 1), 0.8 if glowing else 0.26 if palette.dark else 0.1)
    return illuminate(image, light, palette.haze, depth=placed.depth, rim=palette.glow, from_right=from_right,
                      dark=palette.dark)  # fmt: skip


def shadow(x: float, foot: float, width: float, shade: RGB, *, near: float) -> Layer:
    """Paint the soft shadow something `width` pixels wide casts where it touches the ground."""
    wide, tall = max(8, int(width * 1.25)), max(5, int(width * 0.20))
    small = Image.new("L", (64, 32), 0)
    ImageDraw.Draw(small).ellipse((10, 8, 54, 24), fill=255)
    mask = small.filter(ImageFilter.GaussianBlur(3.5)).resize((wide, tall), Image.Resampling.BICUBIC)
    image = Image.new("RGBA", (wide, tall), eight_bit(shade))
    image.putalpha(mask.point(lambda value: int(value * 0.5)))
    return Layer(image, int(x - wide / 2), int(foot - tall * 0.56), near)
