"""Growth: the trees, cacti and palms that stand about a landscape, and whole forests of them."""

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from calotype.providers.local.sketch.chance import Chance
from calotype.providers.local.sketch.layers import Layer, Stage
from calotype.providers.local.sketch.palette import Palette
from calotype.providers.local.sketch.place import Placement
from calotype.providers.local.sketch.scene import Scene
from calotype.providers.local.sketch.subjects import coloured, drawing, illuminate, rasterise
from calotype.providers.local.sketch.words import vocabulary

_LARGEST_RASTER = 480
_CONIFERS = frozenset({"evergreen-tree"})
_AUTUMN = ("rust", "ochre", "russet", "ochre")


class Nursery:
    """Trees of one picture: each species is rasterised once and lit once per depth."""

    def __init__(self, scene: Scene, palette: Palette, stage: Stage, *, from_right: bool) -> None:
        self._palette, self._from_right = palette, from_right
        self._snowy = scene.ground == "snow"
        share = 0.46 if "forest" in scene.backdrops else 0.34
        self._height = min(_LARGEST_RASTER, max(96, round(stage.unit * share)))
        self._rasters: dict[str, Image.Image] = {}
        self._lit: dict[tuple[str, float, str | None], Image.Image] = {}

    def tree(self, art: str, height: int, depth: float, tint: str | None = None) -> Image.Image:
        """Draw a tree of a height in pixels at a depth of haze."""
        key = art, round(depth, 1), tint
        if key not in self._lit:
            self._lit[key] = self._light(*key)
        master = self._lit[key]
        size = max(2, round(master.width * height / master.height)), max(2, height)
        return master.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.5)

    def _light(self, art: str, depth: float, tint: str | None) -> Image.Image:
        if art not in self._rasters:
            raster = rasterise(drawing(art), self._height)
            self._rasters[art] = _snowed(raster) if self._snowy and art in _CONIFERS else raster
        palette = self._palette
        return illuminate(
            coloured(self._rasters[art], tint, people=False),
            palette.light,
            palette.haze,
            depth=depth,
            rim=palette.glow,
            from_right=self._from_right,
            dark=palette.dark,
        )


def _snowed(tree: Image.Image) -> Image.Image:
    """Lay snow on a tree: on its upper edges, and in patches on its boughs."""
    alpha = tree.getchannel("A")
    deep = max(2, round(tree.height * 0.085))
    top = ImageChops.subtract(alpha, ImageChops.offset(alpha, 0, deep)).filter(ImageFilter.GaussianBlur(deep * 0.3))
    pixels = np.asarray(tree, np.float32).copy()
    bright = pixels[..., :3].mean(axis=2)
    boughs = np.clip((bright - np.percentile(bright[pixels[..., 3] > 128], 50)) / 40, 0, 1) * 0.8
    trunk = np.clip((np.linspace(1, 0, tree.height)[:, None] - 0.15) * 6, 0, 1)
    share = np.clip(np.asarray(top, np.float32) / 255 * 1.7 + boughs, 0, 0.94)[..., None] * trunk[..., None]
    pixels[..., :3] += (np.array((243, 247, 255), np.float32) - pixels[..., :3]) * share
    return Image.fromarray(pixels.astype(np.uint8))


def forest(scene: Scene, nursery: Nursery, stage: Stage, chance: Chance) -> list[Layer]:
    """Rows of trees along the horizon, the far ones small and pale, with great ones framing the picture."""
    found = []
    kinds = _species(scene)
    for row, (tall, depth, step, down) in enumerate(
        ((0.20, 0.6, 0.042, -0.005), (0.27, 0.4, 0.06, 0.008), (0.34, 0.2, 0.11, 0.024))
    ):
        rng = chance.stream("forest", row)
        height = int(stage.unit * tall * 1.3)
        strip = Image.new("RGBA", (stage.width, height + 4), (0, 0, 0, 0))
        x = -0.03 * stage.width
        while x < stage.width - 1:
            rise = int(stage.unit * tall * float(rng.uniform(0.72, 1.25)))
            art, tint = kinds[int(rng.integers(len(kinds)))]
            tree = nursery.tree(art, rise, depth, tint)
            left = int(x)
            visible = tree.crop((max(0, -left), 0, min(tree.width, stage.width - left), tree.height))
            if visible.width > 0:
                strip.alpha_composite(visible, (max(0, left), height - rise))
            x += stage.unit * step * float(rng.uniform(0.6, 1.4))
        found.append(Layer(strip, 0, stage.horizon - height + int(stage.unit * down), near=0.22 + 0.1 * row))
    return found


def framing(scene: Scene, nursery: Nursery, stage: Stage, chance: Chance, taken: tuple[Placement, ...]) -> list[Layer]:
    """Two great trees at the sides of a forest clearing, left out where they would hide a subject."""
    rng = chance.stream("framing")
    kinds = _species(scene)
    found = []
    frame = stage.width - 2 * stage.margin
    for side in (0.0, 1.0):
        height = int(stage.unit * float(rng.uniform(0.5, 0.62)))
        art, tint = kinds[int(rng.integers(len(kinds)))]
        tree = nursery.tree(art, height, 0.0, tint)
        x = int(stage.margin + frame * side - tree.width * 0.5)
        foot = int(stage.horizon + (stage.height - stage.horizon) * 0.42)
        if not any(p.x < x + tree.width and p.x + p.width > x and p.y < foot for p in taken):
            found.append(Layer(tree, x, foot - height, near=0.8))
    return found


def scattered(scene: Scene, nursery: Nursery, stage: Stage, chance: Chance, rows: tuple[float, float],
              taken: tuple[Placement, ...]) -> list[tuple[float, Layer]]:  # fmt: skip
    """Grow what grows or lies about on the ground: (row it stands on, sheet), kept clear of the subjects."""
    rng = chance.stream("scattered")
    words = vocabulary()
    key = "dunes" if "dunes" in scene.backdrops else scene.ground or "grass"
    found: list[tuple[float, Layer]] = []
    top, bottom = rows
    deep = bottom - top
    for art, number, metres in words.scatter.get(key, ()):
        for _ in range(int(rng.integers(max(1, number - 2), number + 1))):
            t = float(rng.uniform(0.0, 0.32)) ** 1.2
            foot = top + deep * (0.02 + t)
            height = int(stage.unit * 0.055 * metres * (0.45 + 1.6 * t) * float(rng.uniform(0.8, 1.2)))
            x = float(rng.uniform(-0.02, 1.02)) * stage.width
            tints = _species(scene)
            tint = tints[int(rng.integers(len(tints)))][1] if art == "deciduous-tree" else None
            tree = nursery.tree(art, max(8, height), max(0.0, 0.35 - t), tint)
            box = (x - tree.width * 0.6, foot - height * 1.05, x + tree.width * 0.6, foot)
            if any(p.x < box[2] and p.x + p.width > box[0] and p.y < box[3] and p.foot > box[1] for p in taken):
                continue
            found.append((foot, Layer(tree, int(x - tree.width / 2), int(foot - height), near=0.4 + 0.4 * t)))
    return found


def _species(scene: Scene) -> list[tuple[str, str | None]]:
    if scene.ground == "snow":
        return [("evergreen-tree", None)]
    if scene.ground == "sand":
        return [("palm-tree", None), ("palm-tree", None), ("deciduous-tree", None)]
    if scene.season == "autumn":
        return [("deciduous-tree", tint) for tint in _AUTUMN] + [("evergreen-tree", None)]
    if scene.season == "spring":
        return [("deciduous-tree", None), ("deciduous-tree", "blush"), ("evergreen-tree", None)]
    return [("deciduous-tree", None), ("evergreen-tree", None), ("evergreen-tree", None)]
