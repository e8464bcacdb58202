"""From a template and an input to the graph that a worker runs. No I/O, no text substitution, no expressions.

Values are set on a copy of the graph; links are never overwritten. Beside values there are three fixed changes: LoRAs
are chained in, a block is repeated for long videos, and files are saved under a folder of the job's own.
"""

import copy
import math
import re
import secrets
from collections.abc import Callable
from typing import Any

from calotype.catalog.rules import parse_size
from calotype.catalog.template_types import (
    CARRY,
    AnyField,
    Aspect,
    Choice,
    File,
    Graph,
    Integer,
    Link,
    Lora,
    Loras,
    Number,
    RefusedField,
    Repeat,
    Resolution,
    Seconds,
    Seed,
    Size,
    Template,
    Text,
)

FOLDER = "gw/{job}"
"""Stands for the job's folder where `render` is given none; who runs the graph must put a folder of its own there."""
SEEDS = 1 << 32
"""Public seeds are below this; a worker takes up to 2^64 (`wire/comfyui.md §4 T9`)."""
MAX_STRENGTH = 10.0

_LORA_NAME = re.compile(r"(?:[\w+-][\w.+ -]*/){0,4}[\w+-][\w.+ -]*\.safetensors")
_RATIO = re.compile(r"(\d{1,4}):(\d{1,4})")


def draw_seed() -> int:
    """Return a seed by chance."""
    return secrets.randbelow(SEEDS)


def render(
    template: Template, fields: dict[str, Any], *, folder: str = FOLDER, draw: Callable[[], int] = draw_seed
) -> tuple[Graph, tuple[str, ...]]:
    """Return the graph for an input, and what the caller should know about it.

    Files are given by the name under which they were uploaded to the worker, LoRAs by their name in its `loras`
    folder. Every file is saved under `<folder>/<node>`. `draw` gives the seed where the caller gives none; `seed_in`
    reads which it was.

    Raises:
        RefusedField: a value that this template cannot take.

    """
    graph = copy.deepcopy(template.graph)
    warnings: list[str] = []
    given = {name: value for name, value in fields.items() if value is not None}
    for name in given:
        if name in template.manifest.ignored:
            warnings.append(template.manifest.ignored[name])
        elif name not in template.fields:
            warnings.append(f"{name} has no meaning for this model here and was left out")
    if template.manifest.repeat is not None:
        _repeat(template, template.manifest.repeat, given, graph)
    for name, field in template.fields.items():
        if name in given:
            _set(graph, name, field, given[name])
        elif isinstance(field, Seed):
            _put(graph, field.to, draw())
        elif field.required:
            raise RefusedField(name, f"{name} is required.")
    _size(template, given, graph, warnings)
    _chain(template, _loras(template, given), graph)
    for node, body in graph.items():
        if isinstance(body["inputs"].get("filename_prefix"), str):
            body["inputs"]["filename_prefix"] = f"{folder}/{node}"
    return graph, tuple(warnings)


def seed_in(template: Template, graph: Graph) -> int | None:
    """Return the seed of a rendered graph; None for a template without one."""
    field = next((field for field in template.fields.values() if isinstance(field, Seed)), None)
    if field is None:
        return None
    node, _, name = _numbered(field.to[0], 2).partition(".")
    return int(graph[node]["inputs"][name])


# -- values -----------------------------------------------------------------------------------------------------------


def _set(graph: Graph, name: str, field: AnyField, value: Any) -> None:
    match field:
        case Text():
            if not isinstance(value, str) or len(value) > field.max_length:
                raise RefusedField(name, f"{name} must be a text of at most {field.max_length} characters.")
            _put(graph, field.to, value)
        case File():
            if not isinstance(value, str) or not value:
                raise RefusedField(name, f"{name} must be a file.")
            _put(graph, field.to, value)
        case Integer():
            number = _whole(name, value, field.min, field.max)
            if number % field.multiple:
                raise RefusedField(name, f"{name} must be a multiple of {field.multiple}.")
            _put(graph, field.to, number)
            _put(graph, field.half, max(1, number // 2))
        case Number():
            _put(graph, field.to, _real(name, value, field.min, field.max))
        case Choice():
            if value not in field.options:
                raise RefusedField(name, f"{name} must be one of {', '.join(field.options)}.")
            _put(graph, field.to, field.options[value])
        case Seed():
            _put(graph, field.to, _whole(name, value, 0, SEEDS - 1))
        case Seconds():
            _put(graph, field.to, frames_of(field, _real(name, value, field.min, field.max)))
        case _:  # sizes and LoRAs are set together, below
            return


def frames_of(field: Seconds, seconds: float) -> int:
    """Return the least number of frames of the form `step`*k + `plus` that lasts so many seconds."""
    wanted = max(1, math.ceil(seconds * field.fps - 1e-6))
    return field.plus + field.step * max(0, math.ceil((wanted - field.plus) / field.step))


def _put(graph: Graph, paths: tuple[str, ...], value: Any) -> None:
    for path in paths:
        for node, name in _places(graph, path):
            assert not isinstance(graph[node]["inputs"][name], list), "checked when the template was read"
            graph[node]["inputs"][name] = value


def _places(graph: Graph, path: str) -> list[tuple[str, str]]:
    node, _, name = path.partition(".")
    if "#" not in node:
        return [(node, name)]
    before, _, after = node.partition("#")
    numbered = re.compile(re.escape(before) + r"\d+" + re.escape(after))
    return [(known, name) for known in graph if numbered.fullmatch(known)]


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise RefusedField(name, f"{name} must be a whole number from {least} to {most}.")
    return value


def _real(name: str, value: Any, least: float, most: float) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not least <= value <= most:
        raise RefusedField(name, f"{name} must be from {least:g} to {most:g}.")
    return float(value)


# -- sizes ------------------------------------------------------------------------------------------------------------


def _size(template: Template, given: dict[str, Any], graph: Graph, warnings: list[str]) -> None:
    name, field = next(((name, f) for name, f in template.fields.items() if isinstance(f, Size)), ("", None))
    if field is None:
        return
    pair: tuple[int, int] | None = None
    if name in given:
        pair = parse_size(given[name]) if isinstance(given[name], str) else None
        if pair is None:
            raise RefusedField(name, f"{name} must be WIDTHxHEIGHT.")
        for other, kind in template.fields.items():
            if isinstance(kind, Aspect | Resolution) and other in given:
                warnings.append(f"{other} was left out: {name} decides")
    else:
        pair = _shaped(template, field, given)
    if pair is None:
        return
    blame = name if name in given else next(n for n, f in template.fields.items() if isinstance(f, Aspect | Resolution))
    width, height = (_snapped(side, field.multiple) for side in pair)
    if min(width, height) < field.min or max(width, height) > field.max or width * height > field.max_pixels:
        rule = f"sides from {field.min} to {field.max} pixels, at most {field.max_pixels:,} pixels in all"
        raise RefusedField(blame, f"{blame} leads to {width}x{height}; this model takes {rule}.")
    if name in given and (width, height) != pair:
        warnings.append(f"{name} became {width}x{height}: sides are multiples of {field.multiple}")
    _put(graph, field.width, width)
    _put(graph, field.height, height)


def _shaped(template: Template, size: Size, given: dict[str, Any]) -> tuple[int, int] | None:
    """Return the size that an aspect ratio and a resolution mean; None when neither is given."""
    own = (int(template.value_at(size.width[0])), int(template.value_at(size.height[0])))
    ratio, area, asked = own[0] / own[1], own[0] * own[1], False
    for name, field in template.fields.items():
        if isinstance(field, Aspect) and name in given:
            found = _RATIO.fullmatch(str(given[name]))
            if found is None or not int(found[1]) or not int(found[2]):
                raise RefusedField(name, f"{name} must be WIDTH:HEIGHT such as 16:9.")
            ratio, asked = int(found[1]) / int(found[2]), True
        elif isinstance(field, Resolution) and name in given:
            if given[name] not in field.pixels:
                raise RefusedField(name, f"{name} must be one of {', '.join(field.pixels)}.")
            area, asked = field.pixels[given[name]], True
    return (round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))) if asked else None


def _snapped(side: int, multiple: int) -> int:
    return max(multiple, (side + multiple // 2) // multiple * multiple)


# -- LoRAs ------------------------------------------------------------------------------------------------------------


def _loras(template: Template, given: dict[str, Any]) -> list[tuple[str, float]]:
    """Return names and strengths of the LoRAs asked for, in order."""
    found: list[tuple[str, float]] = []
    for name, field in template.fields.items():
        if name not in given:
            continue
        if isinstance(field, Lora):
            found.append((_lora_name(name, given[name]), field.strength))
        elif isinstance(field, Loras):
            items = given[name]
            if not isinstance(items, list) or len(items) > field.most:
                raise RefusedField(name, f"{name} must be a list of at most {field.most} LoRAs.")
            for n, item in enumerate(items):
                one = item if isinstance(item, dict) else {"name": item}
                strength = one.get("strength", one.get("scale", field.strength))
                at = f"{name}.{n}"
                found.append(
                    (_lora_name(at, one.get("name", one.get("path"))), _real(at, strength, -MAX_STRENGTH, MAX_STRENGTH))
                )
    return found


def _lora_name(field: str, value: Any) -> str:
    if isinstance(value, str) and re.match(r"[a-z]+://", value, re.IGNORECASE):
        raise RefusedField(
            field, f"{field} cannot be a URL here: the workers take LoRAs by name, as no folder is shared with them."
        )
    if not isinstance(value, str) or len(value) > 200 or not _LORA_NAME.fullmatch(value):
        raise RefusedField(field, f"{field} must be the name of a .safetensors file in the workers' loras folder.")
    return value


def _chain(template: Template, loras: list[tuple[str, float]], graph: Graph) -> None:
    """Insert the LoRAs and let everything that used the chain's beginning use its end."""
    chain = template.manifest.chain
    if chain is None or not loras:
        return
    users: list[tuple[dict[str, Any], str, int]] = []
    for body in graph.values():
        for name, value in body["inputs"].items():
            for slot, link in enumerate((chain.model, chain.clip)):
                if link is not None and value == list(link):
                    users.append((body["inputs"], name, slot))
    model: Link = chain.model
    clip = chain.clip
    for n, (lora, strength) in enumerate(loras, 1):
        inputs: dict[str, Any] = {"model": list(model)}
        if clip is not None:
            inputs["clip"] = list(clip)
        inputs |= {"lora_name": lora, "strength_model": strength}
        if clip is not None:
            inputs["strength_clip"] = strength
            clip = (f"lora{n}", 1)
        graph[f"lora{n}"] = {"class_type": chain.node, "inputs": inputs}
        model = (f"lora{n}", 0)
    for place, name, slot in users:
        place[name] = [model[0], slot]


# -- long videos ------------------------------------------------------------------------------------------------------


def _repeat(template: Template, repeat: Repeat, given: dict[str, Any], graph: Graph) -> None:
    """Add the block as often as the length needs; each takes what the one before it made."""
    field = template.fields[repeat.seconds]
    assert isinstance(field, Seconds)
    if repeat.seconds not in given:
        return
    frames = frames_of(field, _real(repeat.seconds, given[repeat.seconds], field.min, field.max))
    more = max(0, math.ceil((frames - repeat.first) / repeat.more))
    if more > repeat.most:
        longest = (repeat.first + repeat.more * repeat.most) / field.fps
        raise RefusedField(repeat.seconds, f"{repeat.seconds} must be at most {longest:g}.")
    carry = list(repeat.start)
    for number in range(2, more + 2):
        for node, body in copy.deepcopy(template.block).items():
            body["inputs"] = {name: _linked(value, carry, number) for name, value in body["inputs"].items()}
            graph[_numbered(node, number)] = body
        carry = [_numbered(repeat.result[0], number), repeat.result[1]]
    for path in repeat.consumers:
        node, _, name = path.partition(".")
        graph[node]["inputs"][name] = carry


def _linked(value: Any, carry: list[Any], number: int) -> Any:
    if not isinstance(value, list):
        return value
    return list(carry) if value[0] == CARRY else [_numbered(value[0], number), value[1]]


def _numbered(node: str, number: int) -> str:
    return node.replace("#", str(number))
