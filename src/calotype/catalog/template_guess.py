"""A first manifest for a workflow that somebody made: which of its values are a prompt, a seed, a size, an input file.

A guess is written where its author can read and change it; what could not be told is a note.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from calotype.catalog.template_types import FOLDERS, Graph, Media

TEXTS = ("text", "prompt", "tags", "string", "value")
"""Inputs that hold words, in the order they are looked for."""
ENCODERS = ("clip_l", "clip_g", "t5xxl", "llama")
"""Inputs of one node that hold the same words for several encoders."""
SIDES = {"positive": ("positive", "conditioning", "cond1"), "negative": ("negative",)}
"""Inputs of a sampler or guider by which the words of a side come in."""
WAYS = ("conditioning", "conditioning_1", "conditioning_to", "text", "prompt", "string")
"""Inputs through which words reach a sampler, beside `positive` and `negative`."""
SEEDS = ("seed", "noise_seed")
LOADERS: dict[str, tuple[str, Media]] = {
    "LoadImage": ("image", "image"), "LoadImageMask": ("image", "image"), "LoadAudio": ("audio", "audio"),
    "LoadVideo": ("file", "video"), "VHS_LoadVideo": ("video", "video"), "VHS_LoadAudioUpload": ("audio", "audio"),
}  # fmt: skip
"""Class → the input that names an uploaded file, and its kind."""
SAVERS: dict[str, Media] = {
    "SaveImage": "image", "SaveAnimatedPNG": "image", "SaveAnimatedWEBP": "image", "SaveVideo": "video",
    "SaveWEBM": "video", "VHS_VideoCombine": "video", "SaveAudio": "audio", "SaveAudioMP3": "audio",
    "SaveAudioOpus": "audio", "SaveAudioAdvanced": "audio",
}  # fmt: skip
OF_INPUT: dict[str, Media] = {"video": "video", "audio": "audio", "images": "image"}
"""What an unknown node with a `filename_prefix` saves, by what it takes."""


class Guess(Struct, frozen=True):
    """The fields and outputs found, as they are written in a manifest, and what the author should look at."""

    fields: dict[str, dict[str, Any]]
    outputs: list[dict[str, Any]]
    notes: list[str]


def guess(graph: Graph) -> Guess:
    """Return what a graph's values most likely are."""
    outputs = list(_outputs(graph))
    kinds = {output["media"] for output in outputs}
    fields: dict[str, dict[str, Any]] = {}
    notes = [] if outputs else ["No node saves a file that can be delivered: name one under [[outputs]]."]
    positive, negative = _words(graph, "positive"), _words(graph, "negative")
    if positive:
        fields["prompt"] = {"type": "text", "to": positive, "required": True}
    else:
        notes.append("No prompt was found: add a field of type text.")
    if negative and negative != positive:
        fields["negative_prompt"] = {"type": "text", "to": negative}
    if lyrics := [f"{node}.lyrics" for node, body in graph.items() if isinstance(body["inputs"].get("lyrics"), str)]:
        fields["lyrics"] = {"type": "text", "to": lyrics}
    fields |= _files(graph)
    fields |= _shape(graph, image="image" in kinds)
    fields |= _sampling(graph)
    if previews := [node for node, body in graph.items() if body["class_type"].startswith("Preview")]:
        notes.append(f"Previews are never delivered; take them out of the graph: {', '.join(previews)}.")
    for node, body in graph.items():
        for name, value in body["inputs"].items():
            if _names_a_model(value) and (body["class_type"], name) not in FOLDERS:
                notes.append(f"{node}.{name} names {value!r}: say under [models] in which folder it lies.")
    return Guess(fields, outputs, notes)


def manifest_text(title: str, found: Guess) -> str:
    """Write a guess as `template.toml`."""
    lines = [*(f"# {note}" for note in found.notes), f"title = {_toml(title)}", 'description = ""', "timeout_s = 600"]
    lines += ["", "[fields]", *(f"{_key(name)} = {_toml(field)}" for name, field in found.fields.items())]
    for output in found.outputs:
        lines += ["", "[[outputs]]", *(f"{name} = {_toml(value)}" for name, value in output.items())]
    return "\n".join(lines) + "\n"


# -- words ------------------------------------------------------------------------------------------------------------


def _words(graph: Graph, side: str) -> list[str]:
    """Return the values that hold the words of a side, walking back from what samples."""
    found: dict[str, None] = {}
    for body in graph.values():
        if not re.search("Sampler|Guider", body["class_type"]):
            continue
        link = next((body["inputs"][name] for name in SIDES[side] if name in body["inputs"]), None)
        if isinstance(link, list):
            found |= dict.fromkeys(_behind(graph, link[0], side, set()))
    return list(found)


def _behind(graph: Graph, node: str, side: str, seen: set[str]) -> Iterator[str]:
    body = graph.get(node)
    if body is None or node in seen or (side == "negative" and body["class_type"] == "ConditioningZeroOut"):
        return
    seen.add(node)
    inputs = body["inputs"]
    if several := [f"{node}.{name}" for name in ENCODERS if isinstance(inputs.get(name), str)]:
        yield from several
        return
    if (held := next((name for name in TEXTS if isinstance(inputs.get(name), str)), None)) is not None:
        yield f"{node}.{held}"
        return
    ways = (side,) if isinstance(inputs.get(side), list) else WAYS
    for name in ways:
        if isinstance(inputs.get(name), list):
            yield from _behind(graph, inputs[name][0], side, seen)


# -- values -----------------------------------------------------------------------------------------------------------


def _files(graph: Graph) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for node, body in graph.items():
        name, media = LOADERS.get(body["class_type"], ("", "image"))
        if not isinstance(body["inputs"].get(name), str):
            continue
        base = "mask_url" if body["class_type"] == "LoadImageMask" else f"{media}_url"
        count = sum(field.startswith(base) for field in found)
        field = base if not count else f"{base}_{count + 1}"
        found[field] = {"type": "file", "to": [f"{node}.{name}"], "media": media, "required": True}
    return found


def _shape(graph: Graph, *, image: bool) -> dict[str, dict[str, Any]]:
    """Find the size, the number of pictures and the length, where something empty is made or a video begins."""
    makers = {
        node: body["inputs"] for node, body in graph.items() if re.search("^Empty|Latent|ToVideo", body["class_type"])
    }
    found: dict[str, dict[str, Any]] = {}
    sized = [node for node, inputs in makers.items() if _int(inputs, "width") and _int(inputs, "height")]
    if sized:
        sides = [makers[sized[0]]["width"], makers[sized[0]]["height"]]
        places = {side: [f"{node}.{side}" for node in sized] for side in ("width", "height")}
        found["size"] = {"type": "size", **places, "min": min(256, *sides), "max": max(2048, *sides)}
    batches = [f"{node}.batch_size" for node in sized if _int(makers[node], "batch_size")]
    if image and batches:
        found["n"] = {"type": "integer", "to": batches, "min": 1, "max": 4}
    lengths = [node for node, inputs in makers.items() if _int(inputs, "length")]
    rates = [body["inputs"].get("fps", body["inputs"].get("frame_rate")) for body in graph.values()]
    rate = next((rate for rate in rates if isinstance(rate, int | float)), None)
    if lengths and rate:
        frames = makers[lengths[0]]["length"]
        steps = {"step": 4, "plus": 1} if frames % 4 == 1 else {}
        to = [f"{node}.length" for node in lengths]
        found["seconds"] = {"type": "seconds", "to": to, "fps": rate, **steps, "max": max(10, -(-frames // int(rate)))}
    else:
        lasting = [
            f"{node}.seconds" for node, inputs in makers.items() if isinstance(inputs.get("seconds"), float | int)
        ]
        if lasting:
            found["seconds"] = {"type": "number", "to": lasting, "min": 1, "max": 600}
    return found


def _sampling(graph: Graph) -> dict[str, dict[str, Any]]:
    """Find steps, guidance and the seed; a second stage that adds no noise has no seed of its own."""
    steps: list[str] = []
    half: list[str] = []
    guidance: list[str] = []
    seeds: list[str] = []
    most = 50
    for node, body in graph.items():
        kind, inputs = body["class_type"], body["inputs"]
        if re.search("Sampler|Scheduler", kind) and _int(inputs, "steps"):
            steps.append(f"{node}.steps")
            most = max(most, inputs["steps"])
            for name in ("start_at_step", "end_at_step"):
                if _int(inputs, name) and inputs[name] * 2 == inputs["steps"]:
                    half.append(f"{node}.{name}")
        if isinstance(inputs.get("guidance"), int | float):
            guidance.append(f"{node}.guidance")
        if inputs.get("add_noise") != "disable":
            seeds += [f"{node}.{name}" for name in SEEDS if isinstance(inputs.get(name), int)]
    found: dict[str, dict[str, Any]] = {}
    if steps:
        field = {"type": "integer", "to": steps, "min": 1, "max": most}
        found["steps"] = {**field, "half": half, "min": 2, "multiple": 2} if half else field
    if guidance:
        found["guidance"] = {"type": "number", "to": guidance, "min": 0, "max": 20}
    if seeds:
        found["seed"] = {"type": "seed", "to": seeds}
    return found


def _outputs(graph: Graph) -> Iterator[dict[str, Any]]:
    for node, body in graph.items():
        media = SAVERS.get(body["class_type"])
        if media is None and "filename_prefix" in body["inputs"]:
            media = next((kind for name, kind in OF_INPUT.items() if name in body["inputs"]), None)
        if media is not None:
            yield {"node": node, "media": media}


def _int(inputs: dict[str, Any], name: str) -> bool:
    value = inputs.get(name)
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _names_a_model(value: Any) -> bool:
    return isinstance(value, str) and re.search(r"\.(safetensors|ckpt|pth?|gguf|bin|onnx)$", value) is not None


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_toml(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)
