"""A model's input as fal's users write it, fitted to the card that serves it (`wire/fal.md §13`).

What has another name here is renamed, what has another form is converted, and what the model does not take is left
out with a warning: in this dialect an unknown field is never an error.
"""

import math
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from calotype.catalog import Card
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation

PRESETS: dict[str, tuple[int, int]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
"""fal's `image_size` presets, width and height in pixels."""
DEFAULT_SIDE = 512
MOST_SIDE = 14_142
MAX_NAMED = 10
NAME_CHARS = 40

NAMES: dict[str, tuple[str, ...]] = {
    "num_images": ("n",),
    "image_size": ("size",),
    "duration": ("seconds",),
    "prompt": ("text",),
    "text": ("prompt",),
    "image_urls": ("image_url",),
    "image_url": ("image_urls",),
    "start_image_url": ("image_url",),
}
"""fal's field → what a card may call the same thing."""

NEEDS: dict[Operation, frozenset[str]] = {
    Operation.IMAGE_TO_IMAGE: frozenset({"image"}),
    Operation.IMAGE_TO_VIDEO: frozenset({"image"}),
    Operation.VIDEO_TO_VIDEO: frozenset({"video"}),
    Operation.TALKING_AVATAR: frozenset({"image", "audio"}),
    Operation.LIP_SYNC: frozenset({"video", "audio"}),
    Operation.TRANSCRIPTION: frozenset({"audio"}),
    Operation.AUDIO_TO_AUDIO: frozenset({"audio"}),
    Operation.SPEECH_TO_SPEECH: frozenset({"audio"}),
    Operation.VOICE_CLONING: frozenset({"audio"}),
    Operation.UPSCALE: frozenset({"image"}),
    Operation.BACKGROUND_REMOVAL: frozenset({"image"}),
}
"""The media an operation works on; one that is not here works on words."""


class Fitted(Struct, frozen=True):
    """An input in the card's own fields, and what the caller should know about the fitting.

    `names` tells the caller's name of each field that was renamed.
    """

    fields: dict[str, Any]
    names: dict[str, str]
    operation: Operation
    sync_mode: bool
    warnings: tuple[str, ...]


def fit(card: Card, given: dict[str, Any]) -> Fitted:
    """Fit an input to a card.

    Raises:
        Problem: `invalid_input` for a size or a part of a conversation that is none.

    """
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    unknown: list[str] = []
    warnings: list[str] = []
    given = _conversation(card, given)
    sync_mode = given.get("sync_mode") is True and "sync_mode" not in card.fields
    for name, value in given.items():
        if value is None or (name == "sync_mode" and "sync_mode" not in card.fields):
            continue
        ours = _name(card, name, given)
        if ours is None:
            unknown.append(name)
        else:
            if ours != name:
                names[ours] = name
            fields[ours] = _CONVERT.get(ours, _as_is)(_media(card, ours, value))
    if "image_size" in given and not {"image_size", "size"} & card.fields:
        fields |= _spread(card, given["image_size"])
        if not _spread(card, given["image_size"]):
            warnings.append(f"image_size has no effect on {card.id} and was ignored")
    if (folded := _folded_seed(card, fields.get("seed"))) is not None:
        warnings.append(f"seed was folded into the range of {card.id}: {folded}")
        fields["seed"] = folded
    for name in unknown[:MAX_NAMED]:
        warnings.append(f"{name[:NAME_CHARS]} has no effect on {card.id} and was ignored")
    if len(unknown) > MAX_NAMED:
        warnings.append(f"{len(unknown) - MAX_NAMED} more fields were ignored")
    return Fitted(fields, names, operation_of(card, fields), sync_mode, tuple(warnings))


def _conversation(card: Card, given: dict[str, Any]) -> dict[str, Any]:
    """Write a prompt, what guides it and pictures as the messages that a model of conversations takes.

    Raises:
        Problem: `invalid_input` for a field that is of another type.

    """
    prompt = given.get("prompt")
    takes = "messages" in card.fields and "prompt" not in card.fields
    if not takes or "messages" in given or not isinstance(prompt, str):
        return given
    rest = {name: value for name, value in given.items() if name not in ("prompt", "system_prompt", "image_urls")}
    messages: list[dict[str, Any]] = []
    guidance = given.get("system_prompt")
    if guidance is not None and not isinstance(guidance, str):
        raise _of_type("system_prompt", "a text")
    if guidance:
        messages.append({"role": "system", "content": guidance})
    urls = given.get("image_urls") or []
    urls = [_url(one) for one in (urls if isinstance(urls, list) else [urls])]
    if not all(isinstance(url, str) for url in urls):
        raise _of_type("image_urls", "a list of URLs")
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    words: Any = [{"type": "text", "text": prompt}, *pictures] if pictures else prompt
    return {**rest, "messages": [*messages, {"role": "user", "content": words}]}


def _of_type(field: str, wanted: str) -> Problem:
    return Problem(Code.INVALID_INPUT, f"{field} must be {wanted}.", field=field, data={"rule": "type"})


def operation_of(card: Card, fields: dict[str, Any]) -> Operation:
    """Return the operation of a card that works on most of the media that were given."""
    given = {kind for name, kind in card.media_fields.items() if fields.get(name) is not None}
    able = [operation for operation in card.operations if NEEDS.get(operation, frozenset()) <= given]
    return max(able or card.operations[:1], key=lambda operation: len(NEEDS.get(operation, frozenset())))


def size_text(value: Any) -> Any:
    """Write an `image_size` as `WIDTHxHEIGHT`; another text stays for the card to judge.

    Raises:
        Problem: `invalid_input` for an object without usable sides.

    """
    if isinstance(value, dict):
        sides = value.get("width", DEFAULT_SIDE), value.get("height", DEFAULT_SIDE)
        if not all(type(side) is int and 0 < side <= MOST_SIDE for side in sides):
            sentence = f"image_size takes width and height from 1 to {MOST_SIDE}, or one of {', '.join(PRESETS)}."
            raise Problem(Code.INVALID_INPUT, sentence, field="image_size")
        return f"{sides[0]}x{sides[1]}"
    if isinstance(value, str) and value in PRESETS:
        return "{}x{}".format(*PRESETS[value])
    return value


def _name(card: Card, name: str, given: dict[str, Any]) -> str | None:
    if name in card.fields:
        return name
    for other in NAMES.get(name, ()):
        if other in card.fields and other not in given:
            return other
    return name if name == "image_size" and {"width", "height", "aspect_ratio"} & card.fields else None


def _media(card: Card, name: str, value: Any) -> Any:
    """Take the URL out of a File object, and one out of a list or a list out of one, as the card wants it."""
    if name not in card.media_fields:
        return value
    many = card.schema.properties[name].get("type") == "array"
    if isinstance(value, list):
        urls = [_url(item) for item in value]
        return urls if many or len(urls) != 1 else urls[0]
    return [_url(value)] if many else _url(value)


def _url(value: Any) -> Any:
    return value["url"] if isinstance(value, dict) and isinstance(value.get("url"), str) else value


def _spread(card: Card, value: Any) -> dict[str, Any]:
    """Say an `image_size` in the card's own fields: width and height, or the nearest aspect ratio."""
    pair = _pair(size_text(value))
    if pair is None:
        return {}
    if {"width", "height"} <= card.fields:
        return {"width": pair[0], "height": pair[1]}
    ratios = card.schema.properties.get("aspect_ratio", {}).get("enum", [])
    known = {text: _ratio(text) for text in ratios if isinstance(text, str) and _ratio(text)}
    if not known:
        return {}
    wanted = math.log(pair[0] / pair[1])
    return {"aspect_ratio": min(known, key=lambda text: abs(math.log(known[text]) - wanted))}


def _pair(text: Any) -> tuple[int, int] | None:
    width, cross, height = text.partition("x") if isinstance(text, str) else ("", "", "")
    if not cross or not all(side.isascii() and side.isdigit() and int(side) > 0 for side in (width, height)):
        return None
    return int(width), int(height)


def _ratio(text: str) -> float:
    width, _, height = text.partition(":")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit() and int(height)):
        return 0.0
    return int(width) / int(height)


def _folded_seed(card: Card, seed: Any) -> int | None:
    """Return a seed in the card's range for one that is too large: fal's may pass 2^53."""
    most = card.schema.properties.get("seed", {}).get("maximum")
    if type(seed) is int and isinstance(most, int) and seed > most:
        return seed % (most + 1)
    return None


def _seconds(value: Any) -> Any:
    """Read a length written as text: `"5"` and `"8s"`."""
    if isinstance(value, str):
        digits = value.strip().removesuffix("s")
        if digits.isascii() and digits.isdigit() and len(digits) < 6:
            return int(digits)
    return value


def _as_is(value: Any) -> Any:
    return value


_CONVERT: dict[str, Callable[[Any], Any]] = {"size": size_text, "seconds": _seconds}
