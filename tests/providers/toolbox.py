"""What the tools of this machine are tried with: small pictures, films and sounds, drawn and computed here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Files = dict[str, Any]


class Sample(NamedTuple):
    """An input that works; inputs that do not, with the field to name; and a look at the result."""

    model: str
    fields: dict[str, Any]
    files: Callable[[Path], Files]
    bad: tuple[tuple[dict[str, Any], Files, str], ...] = ()
    look: Callable[[Path], None] = lambda path: None


def once(path: Path, make: Callable[[Path], None]) -> Path:
    if not path.exists():
        make(path)
    return path


def picture(folder: Path, size: tuple[int, int] = (96, 64)) -> Path:
    """A ball before a soft sky."""

    def draw(path: Path) -> None:
        width, height = size
        ramp = np.linspace(90, 220, height, dtype=np.uint8)[:, None].repeat(width, 1)
        image = Image.fromarray(np.dstack([ramp // 2, ramp - 30, ramp]))
        side = min(size)
        box = (width // 2 - side // 3, height // 2 - side // 3, width // 2 + side // 3, height // 2 + side // 3)
        ImageDraw.Draw(image).ellipse(box, fill=(220, 60, 30), outline=(90, 20, 10), width=2)
        image.save(path)

    return once(folder / f"picture-{size[0]}x{size[1]}.png", draw)


def glass(folder: Path) -> Path:
    """A picture that is half transparent."""

    def draw(path: Path) -> None:
        image = Image.new("RGBA", (48, 40), (0, 120, 200, 255))
        image.paste((0, 0, 0, 0), (24, 0, 48, 40))
        image.save(path)

    return once(folder / "glass.png", draw)


def broken(folder: Path) -> Path:
    return once(folder / "broken.bin", lambda path: path.write_bytes(b"neither picture nor film") and None)


def playlist(folder: Path) -> Path:
    """A list that would make a careless reader open something else."""
    text = "#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
    return once(folder / "list.m3u8", lambda path: path.write_text(text) and None)


def _looks_like(size: tuple[int, int], mode: str) -> Callable[[Path], None]:
    def look(path: Path) -> None:
        with Image.open(path) as image:
            assert (image.size, image.mode, image.format) == (size, mode, "PNG")

    return look


def image_samples(folder: Path) -> list[Sample]:
    no_picture = {"image_url": broken(folder)}
    return [
        Sample(
            "upscale",
            {"factor": 2},
            lambda folder: {"image_url": glass(folder)},
            (({}, no_picture, "image_url"), ({"factor": 4}, {"image_url": picture(folder, (1100, 32))}, "image_url")),
            _looks_like((96, 80), "RGBA"),
        ),
        Sample(
            "remove-background",
            {},
            lambda folder: {"image_url": picture(folder)},
            (({}, no_picture, "image_url"), ({}, {"image_url": playlist(folder)}, "image_url")),
            _looks_like((96, 64), "RGBA"),
        ),
        Sample(
            "remove-background",
            {"background": "#ffffff"},
            lambda folder: {"image_url": glass(folder)},
            (({"background": "white"}, {}, "background"),),
            _looks_like((48, 40), "RGB"),
        ),
    ]
