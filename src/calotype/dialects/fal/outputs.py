"""A finished request's output as fal's models answer it (`wire/fal.md §13`)."""

import asyncio
from typing import Any

import pybase64

from calotype.dialects.fal.desk import Desk, UrlOf
from calotype.jobs.types import InlineOutput, JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass, Operation
from calotype.media.artifacts import Artifact
from calotype.media.probe import probe

File = dict[str, Any]

SINGLE: dict[Operation, str] = {
    Operation.UPSCALE: "image",
    Operation.BACKGROUND_REMOVAL: "image",
}
"""Operations whose models answer one picture and not a list."""
KINDS = {"video": "video", "audio": "audio"}
FILES = frozenset({"audio_url"})
"""Fields that hold a File although their name says URL; every other `…_url` is a text."""
OWN = frozenset({"engine", "is_ai_model", "files", "file_facts"})
"""What providers note for us beside the output."""


async def output_of(desk: Desk, view: JobView, base: str) -> dict[str, Any]:
    """Write the output of a request that succeeded; with `sync_mode` its files are data URIs.

    Raises:
        Problem: `gone` for an output that was removed on its caller's wish.

    """
    if forgotten(view):
        raise Problem(Code.GONE, "The output of this request is not kept any more.")
    if view.inline and not view.artifacts:
        return body_of(view, await asyncio.to_thread(lambda: [inline_file(one) for one in view.inline]))
    urls = desk.urls(base)
    files = [file_of(artifact, urls) for artifact in view.artifacts]
    if view.job.plan.wants.get("sync_mode"):
        for file, artifact in zip(files, view.artifacts, strict=True):
            if artifact.stored:
                file["url"] = _data_uri(artifact.content_type, await desk.store.open(artifact.key))
    return body_of(view, files)


def forgotten(view: JobView) -> bool:
    """Say whether the output was removed."""
    return view.job.result is not None and view.job.result.forgotten


def body_of(view: JobView, files: list[File]) -> dict[str, Any]:
    """Put files and facts together: where the provider said how, as it did, else as models of the kind do."""
    job = view.job
    data = job.result.data if job.result is not None else {}
    facts = {name: value for name, value in data.items() if name not in OWN}
    if job.operation is Operation.CHAT:
        return _said(facts)
    paths = data.get("files")
    numbers = [artifact.n for artifact in view.artifacts] or list(range(len(files)))
    if isinstance(paths, list) and all(number < len(paths) for number in numbers):
        said = data.get("file_facts") or {}
        for number, file in zip(numbers, files, strict=True):
            _put(facts, str(paths[number]), {**said.get(paths[number], {}), **file})
        return facts
    return _laid_out(view, files, facts)


def _said(facts: dict[str, Any]) -> dict[str, Any]:
    """Write the answer of a language model as fal's do (`wire/fal.md §13`)."""
    choices = facts.get("choices") or [{}]
    message = choices[0].get("message") or {}
    body = {
        "output": message.get("content") or "", "reasoning": message.get("reasoning"),
        "partial": choices[0].get("finish_reason") == "length", "error": None,
    }  # fmt: skip
    return body | ({"tool_calls": message["tool_calls"]} if message.get("tool_calls") else {})


def file_of(artifact: Artifact, url_of: UrlOf) -> File:
    """Write fal's File, with the sides of a picture; Swift's client wants content type, width and height."""
    file: File = {
        "url": url_of(artifact), "content_type": artifact.content_type, "file_name": artifact.name,
        "file_size": artifact.size_bytes,
    }  # fmt: skip
    if artifact.width is not None and artifact.height is not None:
        file |= {"width": artifact.width, "height": artifact.height}
    if artifact.duration_s is not None:
        file["duration"] = artifact.duration_s
    return file


def _laid_out(view: JobView, files: list[File], facts: dict[str, Any]) -> dict[str, Any]:
    job = view.job
    kind = str(files[0]["content_type"]).partition("/")[0] if files else ""
    if (single := SINGLE.get(job.operation)) is not None and files:
        return {single: files[0], **facts}
    if kind == "image":
        prompt = (job.input or {}).get("prompt", "") if job.data_class is DataClass.GENERAL else ""
        body = {
            "images": files, "timings": _timings(view), "seed": None, "has_nsfw_concepts": [False] * len(files),
            "prompt": prompt, **facts,
        }  # fmt: skip
        return body if body["seed"] is not None else {name: value for name, value in body.items() if name != "seed"}
    if kind in KINDS:
        return {KINDS[kind]: files[0], **facts} if len(files) == 1 else {f"{KINDS[kind]}s": files, **facts}
    return {"file": files[0], **facts} if files else facts


def _timings(view: JobView) -> dict[str, float]:
    job = view.job
    if job.started_at_ms is None or job.finished_at_ms is None:
        return {}
    return {"inference": (job.finished_at_ms - job.started_at_ms) / 1000}


def _put(body: dict[str, Any], path: str, file: File) -> None:
    """Put a file where a path such as `images.0` or `output.video` says, in order of the numbers."""
    first, *afters = path.split(".")
    *way, last = first, *afters
    value: Any = file["url"] if last.endswith("_url") and last not in FILES else file
    here: Any = body
    for part, after in zip(way, afters, strict=True):
        fresh: Any = [] if after.isdigit() else {}
        if isinstance(here, list):
            if int(part) >= len(here):
                here.append(fresh)
            here = here[min(int(part), len(here) - 1)]
        else:
            if not isinstance(here.get(part), type(fresh)):
                here[part] = fresh
            here = here[part]
    if isinstance(here, list):
        here.append(value)
    else:
        here[last] = value


def inline_file(output: InlineOutput, *, content: bool = False) -> File:
    """Write an output that is in memory only, with `content` its bytes too; what it is they tell themselves."""
    body = output.data if output.data is not None else pybase64.b64decode(output.base64 or b"")
    facts = probe(body)
    file: File = {"url": _data_uri(facts.content_type, body), "content_type": facts.content_type}
    if content:
        file["content"] = body
    if facts.width is not None and facts.height is not None:
        file |= {"width": facts.width, "height": facts.height}
    return file


def _data_uri(content_type: str, body: bytes) -> str:
    return f"data:{content_type};base64,{pybase64.b64encode(body).decode()}"
