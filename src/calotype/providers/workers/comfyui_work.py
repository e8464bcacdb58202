"""A call as a ComfyUI worker runs it: the template it leads to, what that asks of a worker, and the graph."""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from calotype.catalog.template_check import paths_of
from calotype.catalog.template_render import SEEDS
from calotype.catalog.templates import RefusedField, Template, TemplateError, Templates, render, seed_in
from calotype.kernel.outcome import Failed, FailedKind
from calotype.kernel.steps import FileRef
from calotype.media.probe import probe
from calotype.providers.base import Call
from calotype.providers.workers.comfyui import FOLDER
from calotype.providers.workers.loras import is_url
from calotype.providers.workers.types import Order

LORAS = "loras"
_EXTENSIONS = {
    "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif", "audio/mpeg": "mp3",
    "audio/wav": "wav", "audio/flac": "flac", "audio/ogg": "ogg", "audio/mp4": "m4a", "video/mp4": "mp4",
    "video/webm": "webm", "video/quicktime": "mov",
}  # fmt: skip
_ASIDE = 0.2
"""The weight of a node that the template says nothing of, next to those it does."""


class Work(Struct, frozen=True):
    """What is to be run. `fields` are complete but for the names of files and of LoRAs given by URL."""

    template: Template
    fields: dict[str, Any]
    files: dict[str, FileRef]
    seed: int
    order: Order

    def graph(
        self, prompt_id: str, names: Mapping[str, str], loras: Mapping[str, str]
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the graph and its warnings, given what files and LoRAs are called at the worker.

        Results are saved under a folder of this very request, so that a cached graph still saves anew and nobody is
        handed another one's file (`wire/comfyui.md §4 T1`).

        Raises:
            RefusedField: a value that the template cannot take.

        """
        fields = {name: _with_loras(value, loras) for name, value in self.fields.items()} | dict(names)
        return render(self.template, fields, folder=f"{FOLDER}/{prompt_id}", draw=lambda: self.seed)


def work_of(call: Call, templates: Templates, *, seconds: Mapping[str, float]) -> Work | Failed:
    """Return the work of a call, or why it cannot be done. `seconds` are the lengths of its recordings by field."""
    try:
        template = templates.find(call.upstream_model)
    except TemplateError as error:
        return Failed(FailedKind.GONE, "This server has no template for this model.", detail=str(error))
    fields = dict(call.input)
    files: dict[str, FileRef] = {}
    for name, refs in call.files.items():
        media = template.file_fields.get(name)
        if media is None or not refs:
            continue
        if not refs[0].content_type.startswith(f"{media}/"):
            message = f"{name} must be {'an' if media[0] in 'ai' else 'a'} {media} file."
            return Failed(FailedKind.INVALID, message, field=name)
        files[name] = refs[0]
    for name, recording in template.recordings.items():  # what is asked is the most: a video ends with its recording
        asked = fields.get(name)
        if recording in seconds and (asked is None or (isinstance(asked, int | float) and asked > seconds[recording])):
            fields[name] = seconds[recording]
    urls = loras_by_url(template, fields)
    try:
        seed = int.from_bytes(hashlib.sha256(call.token.encode()).digest()[:8], "big") % SEEDS
        graph, _ = render(
            template, {name: _with_loras(value, dict.fromkeys(urls, "x.safetensors")) for name, value in fields.items()}
            | dict.fromkeys(files, "x"), draw=lambda: seed,
        )  # fmt: skip
    except RefusedField as error:
        return Failed(FailedKind.INVALID, error.message, field=error.field)
    used = seed_in(template, graph)
    return Work(template, fields, files, seed if used is None else used, order_of(template, fields, bool(urls)))


def order_of(template: Template, fields: Mapping[str, Any], shared_loras: bool = False) -> Order:
    """Return what a template asks of a worker, with the LoRAs that are given by name."""
    models = dict(template.models)
    named = frozenset(str(name) for _, name in _loras(template, fields) if not is_url(name))
    if named:
        models[LORAS] = models.get(LORAS, frozenset()) | named
    return Order(
        template.ref, template.model_set, template.classes, models, template.manifest.comfy,
        shared_loras=shared_loras, swap_s=template.manifest.swap_s, vram_gb=template.manifest.vram_gb,
    )  # fmt: skip


def unlisted_lora(work: Work) -> tuple[str, Order] | None:
    """Return the field that names a LoRA, and the order as it would be without; None where none is named."""
    named = [(field, name) for field, name in _loras(work.template, work.fields) if not is_url(name)]
    if not named:
        return None
    return named[0][0], replace(work.order, models=work.template.models)


def loras_by_url(template: Template, fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the LoRAs that are given by URL, each with the field that does."""
    return {url: field for field, url in _loras(template, fields) if is_url(url)}


def fields_by_path(template: Template) -> dict[str, str]:
    """Return which field of the caller sets which value of the graph, by `node.input`."""
    return {path: name for name, field in template.fields.items() for path in paths_of(field)}


def weights_of(template: Template, graph: Mapping[str, Any]) -> dict[str, float]:
    """Return how much of the progress each node of a graph stands for."""
    said = template.manifest.weights
    if not said:
        return dict.fromkeys(graph, 1.0)
    return {node: said.get(node, said.get(re.sub(r"\d+", "#", node), _ASIDE)) for node in graph}


def upload_name(file: FileRef, digest: str) -> str:
    """Return the name under which a file is put on a worker: nothing of the caller's own."""
    extension = _EXTENSIONS.get(file.content_type, file.path.suffix.lstrip(".") or "bin")
    return f"gw_{digest[:16]}.{extension}"


async def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""

    def read() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return await asyncio.to_thread(read)


async def lengths(call: Call) -> dict[str, float]:
    """Return the lengths in seconds of the call's recordings, by field."""
    found: dict[str, float] = {}
    for name, refs in call.files.items():
        if refs and refs[0].content_type.startswith(("audio/", "video/")):
            facts = await asyncio.to_thread(probe, refs[0].path)
            if facts.duration_s:
                found[name] = facts.duration_s
    return found


def _loras(template: Template, fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return field and name of every LoRA of an input, as the caller gave it."""
    found: list[tuple[str, Any]] = []
    for name in template.lora_fields:
        value = fields.get(name)
        items = value if isinstance(value, list) else [] if value is None else [value]
        found += [(name, one.get("name", one.get("path")) if isinstance(one, dict) else one) for one in items]
    return found


def _with_loras(value: Any, names: Mapping[str, str]) -> Any:
    """Return a value with the URLs of LoRAs replaced by names."""
    if isinstance(value, list):
        return [_with_loras(one, names) for one in value]
    if isinstance(value, dict):
        name = value.get("name", value.get("path"))
        return {**value, "name": names[name]} if isinstance(name, str) and name in names else value
    return names.get(value, value) if isinstance(value, str) else value
