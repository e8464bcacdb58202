"""Which models this dialect was made for, and which parameters their makers take (`wire/products.md D2, D3`).

Any other model of the catalogue may be named too; what it takes is what its card says.
"""

from typing import Literal

from calotype.catalog import Card
from calotype.kernel.generation import Operation

Maker = Literal["google", "bfl", "fal"]
Verb = Literal["generate", "edit", "video"]

MAKERS: dict[str, Maker] = {
    "imagen-4": "google", "imagen-4-fast": "google", "imagen-4-ultra": "google",
    "flux-2-pro": "bfl", "flux-2-klein": "bfl", "flux-1.1-pro": "bfl",
    "recraft-v4": "fal", "recraft-v3": "fal", "ideogram-v3": "fal", "sd-3.5": "fal", "qwen-image": "fal",
    "flux-kontext": "bfl", "qwen-image-edit": "fal", "seedream-5": "fal",
    "veo-3.1": "google", "veo-3.1-fast": "google",
    "kling-3-pro": "fal", "kling-3-pro-i2v": "fal", "wan-2.6": "fal", "wan-2.6-i2v": "fal",
}  # fmt: skip
DEFAULTS: dict[Verb, str] = {"generate": "flux-2-pro", "edit": "qwen-image-edit", "video": "veo-3.1"}
FROM_PICTURE = {"kling-3-pro": "kling-3-pro-i2v", "wan-2.6": "wan-2.6-i2v"}
"""Models whose name changes by itself when a picture is given (`wire/products.md D3`)."""
FROM_PICTURES = (Operation.IMAGE_TO_IMAGE, Operation.UPSCALE, Operation.BACKGROUND_REMOVAL)
VIDEO_OPERATIONS = frozenset({Operation.TEXT_TO_VIDEO, Operation.IMAGE_TO_VIDEO})

TAKEN: dict[tuple[Verb, Maker], frozenset[str]] = {
    ("generate", "google"): frozenset({"aspect_ratio", "num_images", "image_size"}),
    ("generate", "bfl"): frozenset({"width", "height", "seed"}),
    ("generate", "fal"): frozenset({"width", "height", "aspect_ratio"}),
    ("edit", "bfl"): frozenset({"seed"}),
    ("edit", "fal"): frozenset(),
    ("video", "google"): frozenset({"image_url", "duration", "aspect_ratio", "resolution"}),
    ("video", "fal"): frozenset({"image_url", "aspect_ratio"}),
}
"""Parameters of this dialect that a maker takes; every other one is refused by its name."""
PARAMETERS: dict[Verb, frozenset[str]] = {
    "generate": frozenset({"width", "height", "aspect_ratio", "num_images", "image_size", "seed"}),
    "edit": frozenset({"width", "height", "aspect_ratio", "num_images", "image_size", "seed"}),
    "video": frozenset({"image_url", "duration", "aspect_ratio", "resolution"}),
}
WORDS: dict[Maker, str] = {"google": "Google", "bfl": "Flux", "fal": "fal.ai"}


def maker_of(card: Card) -> Maker | None:
    """Return whose model it is, None for a model this dialect was not made for."""
    return MAKERS.get(card.id)


def answers_base64(model: str) -> bool:
    """Say whether pictures of a model come as base64, whichever route made them."""
    return model.startswith("imagen-")


def verb_of(card: Card) -> Verb | None:
    """Return the call that a model belongs to, None where it has no place in this dialect."""
    if not VIDEO_OPERATIONS.isdisjoint(card.operations):
        return "video"
    first = card.operations[0]
    if first in FROM_PICTURES:
        return "edit"
    return "generate" if first is Operation.TEXT_TO_IMAGE else None
