"""Layers: the sheets a picture is stacked from, and how they are laid on each other."""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

Motion = Literal["still", "drift", "bob", "sway", "hover", "glide", "shimmer"]


class Stage(msgspec.Struct, frozen=True):
    """The sheet being painted: `width` is the frame's plus a `margin` of pixels on either side for a moving camera."""

    width: int
    height: int
    margin: int
    horizon: int

    @property
    def unit(self) -> float:
        """The length everything is measured against, in pixels: the shorter side, softened for odd ratios."""
        return min(float(self.height), (self.width - 2 * self.margin) * 1.15)


class Layer(msgspec.Struct):
    """One sheet: an RGBA image at (x, y), how near it is (0 sky, 1 front) and how it moves in a film."""

    image: Image.Image
    x: int
    y: int
    near: float
    motion: Motion = "still"
    phase: float = 0.0

    @property
    def right(self) -> int:
        """The first column past the sheet."""
        return self.x + self.image.width

    @property
    def bottom(self) -> int:
        """The first row past the sheet."""
        return self.y + self.image.height


def lay(canvas: Image.Image, image: Image.Image, x: int, y: int) -> None:
    """Lay an RGBA image onto the canvas at any place, cutting off what falls outside."""
    left, top = max(0, -x), max(0, -y)
    right, bottom = min(image.width, canvas.width - x), min(image.height, canvas.height - y)
    if right <= left or bottom <= top:
        return
    if (left, top, right, bottom) != (0, 0, image.width, image.height):
        image = image.crop((left, top, right, bottom))
    if canvas.mode == "RGB":
        canvas.paste(image, (x + left, y + top), image)
    else:
        canvas.alpha_composite(image, (x + left, y + top))


def sheet(colours: npt.NDArray[np.floating], alpha: npt.NDArray[np.floating]) -> Image.Image:
    """Give an RGBA image from colours (h, w, 3) or (h, 1, 3) and alpha (h, w), both in [0, 1]."""
    height, width = alpha.shape
    pixels = np.empty((height, width, 4), np.uint8)
    pixels[..., :3] = np.clip(colours * 255 + 0.5, 0, 255)
    pixels[..., 3] = np.clip(alpha * 255 + 0.5, 0, 255)
    return Image.fromarray(pixels)
