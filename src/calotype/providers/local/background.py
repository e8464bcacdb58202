"""Removing the background: a saliency network says what belongs to the subject, the rest becomes transparent."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from calotype.providers.local.extra import onnx_session
from calotype.providers.local.messages import BadInput, Made
from calotype.providers.local.pictures import flat, open_picture, png_of
from calotype.providers.local.weights_data import carried

SEEN = 320
"""Side of the square that the network looks at."""
MAX_SIDE = 4096
_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_SPREAD = np.array((0.229, 0.224, 0.225), np.float32)
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
EMPTY = 0.005
"""Share of the picture below which nothing was found."""


def render(*, image: str, background: str | None = None, progress: Callable[[float], None]) -> Made:
    """Return the subject on transparency, or on the colour `background` (`#rrggbb`).

    Raises:
        BadInput: a value that cannot be used, or a file that is not a picture.
        Unavailable: the extra is not installed.

    """
    if background is not None and not _COLOUR.fullmatch(background):
        raise BadInput("background", "background must be a colour such as #ffffff.")
    picture = open_picture(image)
    if max(picture.size) > MAX_SIDE:
        raise BadInput("image_url", f"Each side may have {MAX_SIDE} pixels at most.")
    progress(0.1)
    mask = _mask(flat(picture))
    progress(0.7)
    found = float(np.asarray(mask, np.float32).mean()) / 255.0
    warnings = ("no subject stands out in this picture",) if found < EMPTY else ()
    if picture.mode == "RGBA":
        before = np.asarray(picture.getchannel("A"), np.uint16)
        mask = Image.fromarray((before * np.asarray(mask, np.uint16) // 255).astype(np.uint8))
    cut = picture.convert("RGB")
    cut.putalpha(mask)
    return Made(png_of(flat(cut, background) if background else cut), warnings, data={"subject_share": round(found, 4)})


def _mask(picture: Image.Image) -> Image.Image:
    """Return how much each pixel belongs to the subject, as a grey picture of the same size."""
    small = np.asarray(picture.resize((SEEN, SEEN), Image.Resampling.LANCZOS), np.float32)
    scaled = (small / max(1.0, float(small.max())) - _MEAN) / _SPREAD
    session = _session()
    (out, *_) = session.run(None, {session.get_inputs()[0].name: scaled.transpose(2, 0, 1)[None].astype(np.float32)})
    seen = np.asarray(out, np.float32)[0, 0]
    low, high = float(seen.min()), float(seen.max())
    # a flat answer is noise: stretching it would cut the picture at random
    seen = (seen - low) / (high - low) if high - low > 0.1 else np.zeros_like(seen)
    return Image.fromarray((seen * 255.0 + 0.5).astype(np.uint8)).resize(picture.size, Image.Resampling.LANCZOS)


@cache
def _session() -> Any:
    return onnx_session(str(carried("u2netp.onnx")))
