"""What the emulated Black Forest Labs takes, what it costs, and what becomes of it (`wire/providers.md §4, §9`)."""

import binascii
import io
import math
from base64 import b64decode
from functools import lru_cache
from typing import Any

from msgspec import Struct
from PIL import Image

from calotype.sandbox import media

MEGAPIXEL = 1_048_576
ASPECT_PIXELS = {"flux-pro-1.1-ultra": 4 * MEGAPIXEL}


class Endpoint(Struct, frozen=True):
    """One endpoint: its fields beside those of all, and its price in credits.

    `first` is for the first megapixel, `extra` for each further one and each one of an input; without `extra` the price
    is for the picture. `images` is how many numbered input pictures it takes.
    """

    fields: frozenset[str]
    first: float
    extra: float = 0.0
    images: int = 0
    required: tuple[str, ...] = ("prompt",)
    multiple: int = 1
    least: int = 64
    most: int = 1 << 14
    tolerance: int = 6


_ALL = frozenset({"prompt", "seed", "safety_tolerance", "output_format", "webhook_url", "webhook_secret"})
_TWO = _ALL | {"width", "height"}
_KONTEXT = _ALL | {"aspect_ratio", "prompt_upsampling"}
_TOOL = _ALL | {"steps", "guidance", "prompt_upsampling", "image"}

ENDPOINTS: dict[str, Endpoint] = {
    "flux-2-pro": Endpoint(_TWO, 3, 1.5, 8, tolerance=5),
    "flux-2-pro-preview": Endpoint(_TWO, 3, 1.5, 8, tolerance=5),
    "flux-2-max": Endpoint(_TWO, 7, 3, 8, tolerance=5),
    "flux-2-flex": Endpoint(_TWO | {"prompt_upsampling", "steps", "guidance"}, 5, 5, 8, tolerance=5),
    "flux-2-klein-9b": Endpoint(_TWO, 1.5, 0.2, 4, tolerance=5),
    "flux-2-klein-9b-preview": Endpoint(_TWO, 1.5, 0.2, 4, tolerance=5),
    "flux-2-klein-4b": Endpoint(_TWO, 1.4, 0.1, 4, tolerance=5),
    "flux-kontext-pro": Endpoint(_KONTEXT, 4, images=4),
    "flux-kontext-max": Endpoint(_KONTEXT, 8, images=4),
    "flux-pro-1.1": Endpoint(_TWO | {"image_prompt", "prompt_upsampling"}, 4, multiple=32, least=256, most=1440),
    "flux-pro-1.1-ultra": Endpoint(
        _ALL | {"image_prompt", "image_prompt_strength", "aspect_ratio", "raw", "prompt_upsampling"}, 6
    ),
    "flux-dev": Endpoint(_TWO | {"prompt_upsampling", "steps", "guidance"}, 2.5, multiple=32, least=256, most=1440),
    "flux-pro-1.0-fill": Endpoint(_TOOL | {"mask"}, 5, required=("image",)),
    "flux-pro-1.0-expand": Endpoint(_TOOL | {"top", "bottom", "left", "right"}, 5, required=("image",)),
}
"""Every endpoint by name."""


class Task(Struct):
    """One accepted request and how far it is."""

    id: str
    endpoint: str
    host: str
    prompt: str
    text: str
    words: dict[str, str]
    width: int
    height: int
    format: str
    seed: int
    cost: float
    input_mp: float
    polls: int
    made_s: float
    looks: int = 0

    @property
    def end(self) -> str:
        """The status it comes to."""
        if "moderated" in self.words:
            return "Request Moderated"
        if "moderated_output" in self.words:
            return "Content Moderated"
        return "Error" if "error" in self.words else "Ready"

    @property
    def over(self) -> bool:
        """Whether it holds no place any more."""
        return self.looks >= self.polls


def wrong(name: str, fields: dict[str, Any]) -> tuple[str, str] | None:
    """Return field and reason where a body is not what an endpoint takes."""
    endpoint = ENDPOINTS[name]
    numbered = {f"input_image{'' if n == 1 else f'_{n}'}" for n in range(1, endpoint.images + 1)}
    for field in endpoint.required:
        if not fields.get(field):
            return field, "Field required"
    for field in fields:
        if field not in endpoint.fields | numbered:
            return field, "Extra inputs are not permitted"
    for field in ("width", "height"):
        side = fields.get(field)
        if side in (None, 0):
            continue
        if not isinstance(side, int) or not endpoint.least <= side <= endpoint.most or side % endpoint.multiple:
            bounds = f"{endpoint.least} to {endpoint.most}, a multiple of {endpoint.multiple}"
            return field, f"Input should be {bounds}"
    tolerance = fields.get("safety_tolerance", 2)
    if not isinstance(tolerance, int) or not 0 <= tolerance <= endpoint.tolerance:
        return "safety_tolerance", f"Input should be less than or equal to {endpoint.tolerance}"
    for field in (*sorted(numbered), "image", "mask", "image_prompt"):
        if field in fields and size_of(fields[field]) is None:
            return field, "Not an image"
    return None


def measured(name: str, fields: dict[str, Any]) -> tuple[int, int, float]:
    """Return width, height and the megapixels of the inputs."""
    inputs = [size for key, value in fields.items() if key.startswith(("input_image", "image", "mask"))
              if (size := size_of(value)) is not None]  # fmt: skip
    input_mp = sum(width * height for width, height in inputs) / 1_000_000
    width, height = fields.get("width") or 0, fields.get("height") or 0
    if not (width and height):
        if ratio := fields.get("aspect_ratio") or (None if inputs else "1:1"):
            across, _, down = str(ratio).partition(":")
            pixels = ASPECT_PIXELS.get(name, MEGAPIXEL)
            width = round(math.sqrt(pixels * int(across) / int(down)) / 16) * 16
            height = round(width * int(down) / int(across) / 16) * 16
        else:
            width, height = inputs[0]
    width += fields.get("left", 0) + fields.get("right", 0)
    height += fields.get("top", 0) + fields.get("bottom", 0)
    return width, height, input_mp


def credits_for(name: str, width: int, height: int, input_mp: float) -> float:
    """Return the price in credits: so much for the first megapixel, so much for each further and each given one."""
    endpoint = ENDPOINTS[name]
    further = math.ceil(width * height / MEGAPIXEL) - 1
    given = math.ceil(input_mp * 1_000_000 / MEGAPIXEL)
    return round(endpoint.first + (further + given) * endpoint.extra, 4)


def size_of(value: Any) -> tuple[int, int] | None:
    """Return the size of an input: of bare Base64 what it decodes to; an address is taken on trust."""
    if not isinstance(value, str):
        return None
    if value.startswith(("http://", "https://")):
        return 1024, 1024
    try:
        with Image.open(io.BytesIO(b64decode(value, validate=True))) as picture:
            return picture.size
    except (binascii.Error, OSError, ValueError):
        return None


@lru_cache(maxsize=32)
def picture(width: int, height: int, name: str, kind: str) -> bytes:
    """Return a picture of this size in the format asked for."""
    drawn = media.png(width, height, name)
    if kind == "png":
        return drawn
    out = io.BytesIO()
    Image.open(io.BytesIO(drawn)).save(out, kind.upper())
    return out.getvalue()
