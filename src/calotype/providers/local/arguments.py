"""From a call to the arguments of a local model's function: sizes, files, seeds; what cannot be used is refused."""

import hashlib
from typing import Any

from calotype.catalog.rules import parse_size
from calotype.providers.base import Call
from calotype.providers.local.messages import BadInput
from calotype.providers.local.models import LocalModel

MAX_OUTPUTS = 10
SEEDS = 1 << 32

ASPECTS: dict[str, str] = {
    "1:1": "1024x1024",
    "16:9": "1280x720",
    "9:16": "720x1280",
    "4:3": "1152x864",
    "3:4": "864x1152",
}
"""The size that an aspect ratio stands for."""


def calls_of(model: LocalModel, call: Call) -> tuple[dict[str, Any], ...]:
    """Return the function's arguments, once for each output; a further output takes the next seed.

    Raises:
        BadInput: a field that cannot be used.

    """
    if not 1 <= call.outputs <= MAX_OUTPUTS:
        raise BadInput("n", f"n must be from 1 to {MAX_OUTPUTS}.")
    given = {name: value for name, value in call.input.items() if value is not None}
    arguments = {**model.defaults, **{name: given[name] for name in model.fields if name in given}}
    if size := _size(model, given):
        arguments["width"], arguments["height"] = size
    for field, media in model.media.items():
        if files := call.files.get(field):
            paths = [str(file.path) for file in files]
            arguments[media.argument] = paths if media.many else paths[0]
        elif media.required:
            raise BadInput(field, f"{field} is required.")
    if not model.seeded:
        return (arguments,) * call.outputs
    first = seed_of(given)
    return tuple({**arguments, "seed": (first + index) % SEEDS} for index in range(call.outputs))


def seed_of(fields: dict[str, Any]) -> int:
    """Return the seed asked for, else one that follows from the prompt, so that a rerun makes the same picture."""
    seed = fields.get("seed")
    if seed is None:
        return int.from_bytes(hashlib.sha256(str(fields.get("prompt", "")).encode()).digest()[:4], "big")
    if not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise BadInput("seed", f"seed must be from 0 to {SEEDS - 1}.")
    return seed


def _size(model: LocalModel, given: dict[str, Any]) -> tuple[int, int] | None:
    field = "size" if "size" in given else "aspect_ratio"
    text = given.get("size")
    if text is None and "aspect_ratio" in given:
        text = ASPECTS.get(given["aspect_ratio"])
        if text is None:
            raise BadInput(field, f"aspect_ratio must be one of {', '.join(ASPECTS)}.")
    text = text or model.size
    if text is None:
        return None
    least, most = model.sides
    pair = parse_size(text) if isinstance(text, str) else None
    if (
        pair is None
        or min(pair) < least
        or max(pair) > most
        or max(pair) > model.max_ratio * min(pair)
        or (model.even and (pair[0] % 2 or pair[1] % 2))
    ):
        even = ", even" if model.even else ""
        rule = f"each side from {least} to {most} pixels{even}, at most {model.max_ratio}:1"
        raise BadInput(field, f"size must be WIDTHxHEIGHT, {rule}.")
    return pair
