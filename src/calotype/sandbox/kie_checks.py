"""What the emulated KIE takes: the inputs of its models and the refusals of those that are wrong (`§5.2` to `§5.4`)."""

from typing import Any

from msgspec import Struct

RATIOS = ("1:1", "4:3", "3:4", "16:9", "9:16")
LONG_RATIOS = ("1:4", "4:1", "1:8", "8:1")
SEEDREAM_RATIOS = (*RATIOS, "2:3", "3:2", "21:9")
NANO_RATIOS = (*SEEDREAM_RATIOS, "4:5", "5:4", "auto", *LONG_RATIOS)
SUNO_VERSIONS = ("V4", "V4_5", "V4_5PLUS", "V4_5ALL", "V5", "V5_5")
VEO_MODELS = ("veo3", "veo3_fast", "veo3_lite")
VEO_TYPES = ("TEXT_2_VIDEO", "FIRST_AND_LAST_FRAMES_2_VIDEO", "REFERENCE_2_VIDEO")


class Shape(Struct, frozen=True):
    """A model's input: fields it needs, choices by field, how long the prompt is, and how many addresses a list has."""

    needs: tuple[str, ...] = ("prompt",)
    choices: dict[str, tuple[Any, ...]] = {}
    prompt: tuple[int, int] = (1, 2500)
    lists: dict[str, tuple[int, int]] = {}


_SEEDREAM = {"aspect_ratio": SEEDREAM_RATIOS, "quality": ("basic", "high")}
_SORA = {"n_frames": ("5", "10", "15", "20"), "aspect_ratio": ("landscape", "portrait", "square")}

SHAPES: dict[str, Shape] = {
    "z-image": Shape(("prompt", "aspect_ratio"), {"aspect_ratio": RATIOS}, (1, 1000)),
    "nano-banana-2": Shape(
        choices={"aspect_ratio": NANO_RATIOS, "resolution": ("1K", "2K", "4K"), "output_format": ("jpg", "png")},
        prompt=(1, 20_000),
        lists={"image_input": (0, 14)},
    ),
    "seedream/5-lite-text-to-image": Shape(("prompt", "aspect_ratio", "quality"), _SEEDREAM, (3, 3000)),
    "seedream/5-lite-image-to-image": Shape(
        ("prompt", "aspect_ratio", "quality", "image_urls"), _SEEDREAM, (3, 3000), {"image_urls": (1, 10)}
    ),
    "bytedance/seedance-1.5-pro": Shape(
        ("prompt", "aspect_ratio"),
        {
            "aspect_ratio": (*RATIOS, "21:9"), "resolution": ("480p", "720p", "1080p"),
            "duration": (4, 8, 12, "4", "8", "12"),
        },
        (3, 2500),
        {"input_urls": (0, 2)},
    ),
    "kling-2.6/motion-control": Shape(
        ("input_urls", "video_urls", "mode"),
        {"mode": ("720p", "1080p"), "character_orientation": ("image", "video")},
        (0, 2500),
        {"input_urls": (1, 1), "video_urls": (1, 1)},
    ),
    "sora-2-text-to-video": Shape(("prompt",), _SORA, (1, 10_000)),
    "sora-2-image-to-video": Shape(("prompt", "image_urls"), _SORA, (1, 10_000), {"image_urls": (1, 5)}),
    "sora-2-characters": Shape(("character_file_url",), prompt=(0, 0)),
}  # fmt: skip
"""The unified jobs by model."""


def job_trouble(model: Any, fields: Any) -> str | None:
    """Say what is wrong with the input of a unified job; None when nothing is."""
    shape = SHAPES.get(str(model))
    if shape is None:
        return "The model name you specified is not supported. Please check the model name."
    if not isinstance(fields, dict):
        return "input is required"
    for name in shape.needs:
        if fields.get(name) in (None, "", []):
            return f"{name} is required"
    for name, choices in shape.choices.items():
        if name in fields and fields[name] not in choices:
            return f"{name} is not within the range of allowed options"
    for name, (least, most) in shape.lists.items():
        if name in fields and not (isinstance(fields[name], list) and least <= len(fields[name]) <= most):
            return f"{name} must hold from {least} to {most} files"
    if not _fits(fields.get("prompt", ""), shape.prompt) and "prompt" in fields:
        return f"prompt must have from {shape.prompt[0]} to {shape.prompt[1]} characters"
    if model == "nano-banana-2" and fields.get("aspect_ratio") in LONG_RATIOS and fields.get("resolution") != "1K":
        return "aspect_ratio is available at 1K only"
    return None


def veo_trouble(fields: dict[str, Any]) -> str | None:
    """Say what is wrong with a call to Veo."""
    images = fields.get("imageUrls", [])
    seeds = fields.get("seeds", 10_000)
    if not _fits(fields.get("prompt"), (1, 20_000)):
        return "prompt is required"
    if fields.get("model", "veo3_fast") not in VEO_MODELS:
        return "model is not supported"
    if not isinstance(images, list) or len(images) > 3:
        return "imageUrls must hold from 1 to 3 files"
    if fields.get("generationType", VEO_TYPES[0]) not in VEO_TYPES:
        return "generationType is not within the range of allowed options"
    if fields.get("aspect_ratio", "16:9") not in ("16:9", "9:16", "Auto"):
        return "aspect_ratio is not within the range of allowed options"
    if not isinstance(seeds, int) or not 10_000 <= seeds <= 99_999:
        return "seeds must be from 10000 to 99999"
    return None


def music_trouble(fields: dict[str, Any]) -> str | None:
    """Say what is wrong with a call to Suno."""
    for name in ("customMode", "instrumental"):
        if not isinstance(fields.get(name), bool):
            return f"{name} is required"
    if fields.get("model") not in SUNO_VERSIONS:
        return "model is not supported"
    if not fields.get("callBackUrl"):
        return "Please enter callBackUrl."
    if not fields["customMode"]:
        return None if _fits(fields.get("prompt"), (1, 500)) else "prompt must have from 1 to 500 characters"
    if not fields.get("style"):
        return "style is required in custom mode"
    if not _fits(fields.get("title"), (1, 80)):
        return "title must have from 1 to 80 characters"
    if not fields["instrumental"] and not fields.get("prompt"):
        return "prompt is required in custom mode with vocals"
    return None


def _fits(text: Any, span: tuple[int, int]) -> bool:
    return isinstance(text, str) and span[0] <= len(text) <= span[1]
