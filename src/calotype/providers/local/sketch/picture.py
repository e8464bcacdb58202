"""From a prompt to a PNG."""

import io
from collections.abc import Callable

import msgspec
from PIL import Image, PngImagePlugin

from calotype.providers.local.messages import ShowCallback
from calotype.providers.local.sketch.chance import Chance
from calotype.providers.local.sketch.compose import compose, flatten
from calotype.providers.local.sketch.easel import Easel
from calotype.providers.local.sketch.place import Placement
from calotype.providers.local.sketch.prompt import read
from calotype.providers.local.sketch.scene import Scene

LABEL = "procedural illustration, not an AI model"
SOFTWARE = "Calotype local/sketch"
SMALLEST, LARGEST, WIDEST_RATIO = 256, 2048, 3.0


class Sketch(msgspec.Struct, frozen=True):
    """A finished picture: the PNG, what was drawn where, and what could not be drawn."""

    png: bytes
    width: int
    height: int
    seed: int
    warnings: tuple[str, ...]
    scene: Scene
    placed: tuple[Placement, ...]


def render(
    prompt: str,
    *,
    seed: int,
    width: int,
    height: int,
    progress: Callable[[float], None] | None = None,
    show: ShowCallback | None = None,
) -> Sketch:
    """Illustrate a prompt; the same prompt, seed and size always give the same bytes, whether or not they are `show`n.

    Sides are 256 to 2048 pixels and at most 3:1, else `ValueError`; no prompt is refused.
    """
    check_size(width, height)
    easel = Easel(progress, show)
    scene = read(prompt)
    easel.at(0.05)
    composition = compose(scene, picture_chance(prompt, seed), width, height, easel=easel)
    easel.at(0.8)
    png = _png(flatten(composition), seed)
    easel.at(1.0)
    return Sketch(png=png, width=width, height=height, seed=seed, warnings=scene.warnings, scene=scene,
                  placed=composition.placed)  # fmt: skip


def check_size(width: int, height: int) -> None:
    """Raise `ValueError` unless both sides are 256 to 2048 pixels and the ratio is at most 3:1."""
    if not (SMALLEST <= width <= LARGEST and SMALLEST <= height <= LARGEST):
        raise ValueError(f"size: {width}x{height} is refused; each side must be {SMALLEST} to {LARGEST} pixels")
    if max(width, height) > WIDEST_RATIO * min(width, height):
        raise ValueError(f"size: {width}x{height} is refused; the ratio must be at most 3:1")


def picture_chance(prompt: str, seed: int) -> Chance:
    """Give the random streams of one (prompt, seed)."""
    return Chance(prompt, seed)


def _png(image: Image.Image, seed: int) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", SOFTWARE)
    notes.add_text("Description", LABEL)
    notes.add_text("Seed", str(seed))
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=3, pnginfo=notes)
    return out.getvalue()
