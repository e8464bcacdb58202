"""Subject art: vector drawings rasterised at the size they are needed, with bodies for those that are only a head."""

import functools
import io
import zipfile
from importlib import resources
from typing import Literal

import msgspec
import numpy as np
import resvg_py
from PIL import Image, ImageChops, ImageFilter

from calotype.providers.local.sketch.bodies import body, body_box
from calotype.providers.local.sketch.colour import RGB, recolour
from calotype.providers.local.sketch.words import vocabulary

Tone = Literal["medium-light", "medium", "medium-dark"]
TONES: tuple[Tone, ...] = ("medium-light", "medium", "medium-dark")

_BOXES = msgspec.json.Decoder(dict[str, tuple[float, float, float, float]])


class Drawing(msgspec.Struct, frozen=True):
    """A piece of vector art: its SVG and the box it fills, in the SVG's own units."""

    svg: str
    box: tuple[float, float, float, float]

    @property
    def ratio(self) -> float:
        """Width over height."""
        left, top, right, bottom = self.box
        return (right - left) / (bottom - top)


_LARGER = 24


def drawing(art: str, tone: Tone = "medium") -> Drawing:
    """Give the art of one subject, whole: a head gets its body, a boat loses the waves it was drawn with."""
    words = vocabulary()
    name = art if art in _boxes() else f"{art}-{tone}"
    svg = _archive().read(f"{name}.svg").decode()
    left, top, right, bottom = _boxes()[name]
    if art in words.bodies:
        chassis, *colours = words.bodies[art]
        return Drawing(body(chassis, tuple(colours), svg, tone), body_box(chassis, (left, top, right, bottom)))
    bottom -= (bottom - top) * words.sink.get(art, 0.0)
    return Drawing(svg, (left, top, right, bottom))


def rasterise(source: Drawing, height: int) -> Image.Image:
    """Draw vector art so that its box is `height` pixels tall.

    The rasteriser gives up on a few filters at single sizes; those are drawn a little larger and shrunk.
    """
    left, top, right, bottom = source.box
    wide, tall = right - left, bottom - top
    height = max(2, height)
    wanted = (max(2, round(height * wide / tall)), height)
    for more in range(_LARGER):
        size = (wanted[0] + more, wanted[1] + more)
        markup = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" '
            f'viewBox="{left:g} {top:g} {wide:g} {tall:g}" preserveAspectRatio="none">{source.svg}</svg>'
        )
        try:
            png = resvg_py.svg_to_bytes(svg_string=markup, skip_system_fonts=True)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # a panic is no Exception, and no name is exported for it
                raise
            continue
        image = Image.open(io.BytesIO(png)).convert("RGBA")
        return image if size == wanted else image.resize(wanted, Image.Resampling.LANCZOS)
    return Image.new("RGBA", wanted)


def illuminate(image: Image.Image, light: RGB, haze: RGB, *, depth: float, rim: RGB, from_right: bool,
               dark: bool) -> Image.Image:  # fmt: skip
    """Set a drawing into the scene's light: tint, haze by depth, a shaded far side, a lit edge, a darker foot."""
    pixels = np.asarray(image, np.float32) / 255
    height, width = pixels.shape[:2]
    alpha = image.getchannel("A")
    reach = max(1, round(height * 0.018))
    edge = ImageChops.subtract(alpha, ImageChops.offset(alpha, -reach if from_right else reach, reach))
    lit = np.asarray(edge.filter(ImageFilter.GaussianBlur(reach * 0.6)), np.float32)[..., None] / 255
    across = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    turned = across if from_right else 1 - across
    form = 0.90 + 0.13 * turned - 0.14 * np.clip(down - 0.6, 0, 1)
    colours = pixels[..., :3] * np.array(light, np.float32) * form
    colours += (np.array(rim, np.float32) - colours) * lit * (0.42 if dark else 0.3)
    colours += (np.array(haze, np.float32) - colours) * depth
    out = np.empty((height, width, 4), np.uint8)
    out[..., :3] = np.clip(colours * 255 + 0.5, 0, 255)
    out[..., 3] = np.asarray(alpha)
    return Image.fromarray(out)


def coloured(image: Image.Image, colour: str | None, *, people: bool) -> Image.Image:
    """Give the drawing in the asked colour, skin left alone on people."""
    return image if colour is None else recolour(image, colour, keep_skin=people)


@functools.cache
def _archive() -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(resources.files(__package__).joinpath("assets", "subjects.zip").read_bytes()))


@functools.cache
def _boxes() -> dict[str, tuple[float, float, float, float]]:
    return _BOXES.decode(_archive().read("boxes.json"))
