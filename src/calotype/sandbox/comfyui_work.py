"""What the emulated ComfyUI's nodes do: no model runs, but every file has the size, length and kind its graph says.

A node hands on facts (`width`, `batch_size`, `length` in frames, `seconds`, `fps`, `steps`) from its links and its
own values. Its signature, a digest of everything that led to it, is the key of the result cache and the colour of its
media.
"""

import hashlib
import io
import json
import posixpath
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from PIL import Image

from calotype.sandbox.comfyui_files import Escape, Files
from calotype.sandbox.comfyui_media import Texts, film, length_s, moving_picture, picture, recording
from calotype.sandbox.comfyui_nodes import NodeClass

Graph = dict[str, Any]
Facts = dict[str, float]
SAMPLERS = frozenset({"KSampler", "KSamplerAdvanced", "SamplerCustomAdvanced"})
CARRIED = ("width", "height", "batch_size", "length", "seconds", "fps", "steps")
DECIDING = frozenset({"destination", "latent_image", "video_latent", "samples", "image", "images", "video"})
"""Inputs whose facts win over those of other links: what is worked on, not what it is compared with."""
SEAM = 3
"""A video latent decodes to four frames, the first of a video to one: n of them are 4n - 3 frames."""
FPS = 16.0
ROOT = "/opt/ComfyUI"


class NodeError(Exception):
    """A node that raised: the exception's type and message, as the server words them."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Made(Struct, frozen=True):
    """What a node gave: facts for those behind it and, for an output node, what its history entry shows."""

    facts: Facts = {}
    shown: dict[str, Any] | None = None


def order_of(graph: Graph, outputs: list[str]) -> list[str]:
    """Return the nodes that these outputs need, each after those it depends on."""
    done: dict[str, None] = {}

    def visit(ident: str) -> None:
        if ident in done:
            return
        for value in graph[ident]["inputs"].values():
            if isinstance(value, list):
                visit(value[0])
        done[ident] = None

    for output in outputs:
        visit(output)
    return list(done)


def signatures(graph: Graph, order: list[str], classes: Mapping[str, NodeClass], files: Files) -> dict[str, str]:
    """Return a digest for each node of its class, its values, the files it reads and the nodes before it."""
    found: dict[str, str] = {}
    for ident in order:
        node = graph[ident]
        kind = classes[node["class_type"]]
        parts: list[Any] = [kind.name]
        for name, value in sorted(node["inputs"].items()):
            if isinstance(value, list):
                parts.append([name, found[value[0]], value[1]])
                continue
            spec = kind.inputs.get(name)
            reads = spec is not None and spec.type == "FILE"
            body = files.read(value) if reads else None
            parts.append([name, value, hashlib.sha256(body).hexdigest() if body is not None else None])
        found[ident] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return found


def facts_of(graph: Graph, ident: str, made: Mapping[str, Made]) -> Facts:
    """Return what a node knows before it runs: the facts of its links, then its own values."""
    inputs = graph[ident]["inputs"]
    links = {name: made[value[0]].facts for name, value in inputs.items() if isinstance(value, list)}
    own = {name: inputs[name] for name in CARRIED if isinstance(inputs.get(name), int | float)}
    merged: Facts = {}
    for name in sorted(links, key=lambda name: name in DECIDING):
        merged |= links[name]
    match graph[ident]["class_type"]:
        case "LatentConcat" | "ImageBatch" as kind:
            frames = sum(facts.get("length", facts.get("batch_size", 1)) for facts in links.values())
            return merged | {"length": frames + (SEAM if kind == "LatentConcat" else 0)}
        case "LatentCut":
            return merged | {"length": 4 * inputs["amount"] - SEAM}
        case "ImageFromBatch":
            start = inputs["batch_index"] if isinstance(inputs["batch_index"], int) else 0
            there = merged.get("length", merged.get("batch_size", 1))
            return merged | {"length": max(1, min(inputs["length"], there - start))}
        case "WanInfiniteTalkToVideo":
            return merged | own | {"batch_size": 1}
        case _:
            return merged | own


def steps_of(graph: Graph, ident: str, facts: Facts) -> int:
    """Return how many steps a sampler takes."""
    inputs = graph[ident]["inputs"]
    steps = int(facts.get("steps", 20))
    if graph[ident]["class_type"] == "KSamplerAdvanced":
        return max(1, min(int(inputs["end_at_step"]), steps) - int(inputs["start_at_step"]))
    return steps


def perform(
    graph: Graph, ident: str, facts: Facts, signature: str, files: Files, texts: Texts
) -> Made:  # the slow part: call it on a thread
    """Do what a node does beside sampling: read its file, or save its media.

    Raises:
        NodeError: a file that cannot be decoded, or a prefix that leads out of the output folder.

    """
    kind, inputs = graph[ident]["class_type"], graph[ident]["inputs"]
    if kind in ("LoadImage", "LoadAudio", "LoadVideo"):
        return Made(facts | _loaded(kind, str(next(iter(inputs.values()))), files))
    if kind == "PreviewAny":
        return Made(facts, {"text": [str(facts.get("seconds", facts.get("width", "")))]})
    if (save := _SAVERS.get(kind)) is None:
        return Made(facts)
    try:
        return Made(facts, save(inputs, facts, signature, files, texts))
    except Escape as error:
        message = (
            "**** ERROR: Saving image outside the output folder is not allowed."
            f"\n full_output_folder: {posixpath.normpath(f'{ROOT}/output/{error}')}\n         output_dir: {ROOT}/output"
        )
        raise NodeError("Exception", message) from None


def _loaded(kind: str, name: str, files: Files) -> Facts:
    """Decode an input file, as the loader nodes do."""
    body = files.read(name) or b""
    if kind == "LoadImage":
        try:
            with Image.open(io.BytesIO(body)) as found:
                found.load()
                return {"width": found.width, "height": found.height, "batch_size": 1}
        except (OSError, SyntaxError, ValueError):
            message = f"cannot identify image file '{ROOT}/input/{name}'"
            raise NodeError("PIL.UnidentifiedImageError", message) from None
    try:
        seconds = length_s(body)
    except (OSError, ValueError):
        message = f"[Errno 1094995529] Invalid data found when processing input: '{ROOT}/input/{name}'"
        raise NodeError("av.error.InvalidDataError", message) from None
    return {"seconds": seconds, "length": round(seconds * FPS)} if kind == "LoadVideo" else {"seconds": seconds}


# -- output nodes: class → what they save ------------------------------------------------------------------------------


def _size(facts: Facts) -> tuple[int, int]:
    return int(facts.get("width", 512)) or 512, int(facts.get("height", 512)) or 512


def _frames(facts: Facts) -> int:
    return int(facts.get("length", facts.get("batch_size", 1)))


def _images(inputs: Graph, facts: Facts, signature: str, files: Files, texts: Texts) -> dict[str, Any]:
    count = int(facts.get("batch_size", 1)) * int(facts.get("length", 1))
    bodies = [picture(*_size(facts), f"{signature}{n}", texts) for n in range(count)]
    if "filename_prefix" not in inputs:
        return {"images": files.save("temp", "ComfyUI_temp_sandb", "png", bodies)}
    return {"images": files.save("output", inputs["filename_prefix"], "png", bodies)}


def _video(inputs: Graph, facts: Facts, signature: str, files: Files, texts: Texts) -> dict[str, Any]:
    fps = float(facts.get("fps", FPS))
    body = film(_frames(facts), fps, _size(facts), signature, texts, sound="seconds" in facts)
    return {"images": files.save("output", inputs["filename_prefix"], "mp4", [body]), "animated": [True]}


def _webm(inputs: Graph, facts: Facts, signature: str, files: Files, texts: Texts) -> dict[str, Any]:
    body = film(_frames(facts), float(inputs["fps"]), _size(facts), signature, texts, kind="webm")
    return {"images": files.save("output", inputs["filename_prefix"], "webm", [body]), "animated": [True]}


def _moving(inputs: Graph, facts: Facts, signature: str, files: Files, extension: str) -> dict[str, Any]:
    body = moving_picture(_frames(facts), float(inputs["fps"]), _size(facts), signature, extension)
    return {"images": files.save("output", inputs["filename_prefix"], extension, [body]), "animated": [True]}


def _sound(inputs: Graph, facts: Facts, signature: str, files: Files, texts: Texts, extension: str) -> dict[str, Any]:
    body = recording(float(facts.get("seconds", 1.0)), signature, extension, texts)
    if "filename_prefix" not in inputs:
        return {"audio": files.save("temp", "ComfyUI_temp_sandb", extension, [body])}
    return {"audio": files.save("output", inputs["filename_prefix"], extension, [body])}


def _combined(inputs: Graph, facts: Facts, signature: str, files: Files, texts: Texts) -> dict[str, Any]:
    """Save as VideoHelperSuite does: under `gifs`, with a server path beside it."""
    form = str(inputs["format"])
    fps = float(inputs["frame_rate"])
    if form == "video/h264-mp4":
        extension, body = "mp4", film(_frames(facts), fps, _size(facts), signature, texts)
    else:
        extension = form.partition("/")[2]
        body = moving_picture(_frames(facts), fps, _size(facts), signature, extension)
    folder = "output" if inputs["save_output"] else "temp"
    (item,) = files.save(folder, inputs["filename_prefix"], extension, [body])
    path = "/".join(part for part in (ROOT, folder, item["subfolder"], item["filename"]) if part)
    return {"gifs": [{**item, "format": form, "frame_rate": fps, "workflow": "", "fullpath": path}]}


_SAVERS = {
    "SaveImage": _images,
    "PreviewImage": _images,
    "SaveVideo": _video,
    "SaveWEBM": _webm,
    "SaveAnimatedWEBP": lambda i, f, s, files, _: _moving(i, f, s, files, "webp"),
    "SaveAnimatedPNG": lambda i, f, s, files, _: _moving(i, f, s, files, "png"),
    "SaveAudio": lambda i, f, s, files, texts: _sound(i, f, s, files, texts, "flac"),
    "SaveAudioMP3": lambda i, f, s, files, texts: _sound(i, f, s, files, texts, "mp3"),
    "SaveAudioOpus": lambda i, f, s, files, texts: _sound(i, f, s, files, texts, "opus"),
    "PreviewAudio": lambda i, f, s, files, texts: _sound(i, f, s, files, texts, "flac"),
    "VHS_VideoCombine": _combined,
}
