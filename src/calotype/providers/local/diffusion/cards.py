"""A pipeline as the catalogue and the runtime know it: a card as its file would be written, and a local model."""

import math
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from calotype.kernel.generation import Operation
from calotype.providers.local.arguments import MAX_OUTPUTS
from calotype.providers.local.diffusion.finding import Pipeline, find_pipelines
from calotype.providers.local.diffusion.loading import Loading
from calotype.providers.local.models import LocalModel
from calotype.settings import LocalSettings

NEEDS = {
    "diffusers": ("package:torch", "package:transformers", "package:diffusers"),
    "openvino": ("package:openvino_genai",),
}
"""What each engine's routes need on this machine."""

MAX_DEADLINE_S = 7 * 24 * 3600

_TEMPLATE = Path(__file__).with_name("card.toml")
_WISHES = ("size", "steps", "guidance_scale")


def pipeline_cards(models_dir: Path, settings: LocalSettings) -> list[tuple[str, dict[str, Any]]]:
    """Return the card of every pipeline of this machine, each with where it comes from."""
    return [card_of(pipeline, settings) for pipeline in find_pipelines(models_dir, settings.pipelines)]


def card_of(pipeline: Pipeline, settings: LocalSettings) -> tuple[str, dict[str, Any]]:
    """Return where a card comes from and the card, its defaults being the operator's."""
    card, wishes = _template(), pipeline.wishes
    properties = dict(card["input"]["properties"])
    for name in _WISHES:
        value = None if wishes is None else getattr(wishes, name)
        if value is not None:
            properties[name] = {**properties[name], "default": value}
    (route,) = card["routes"]
    needs = [f"pipeline:{pipeline.name}"] if pipeline.problem is not None else list(NEEDS[pipeline.engine])
    written = {
        **card,
        "id": pipeline.id,
        "title": (wishes and wishes.title) or pipeline.name,
        "description": "A text-to-image pipeline that the operator keeps on this machine.",
        "label": label_of(pipeline),
        "deadline_s": min(MAX_DEADLINE_S, math.ceil(settings.deadline_s * MAX_OUTPUTS)),
        "input": {**card["input"], "properties": properties},
        "routes": [{**route, "upstream": pipeline.upstream, "needs": needs}],
    }
    if wishes is not None and wishes.licence is not None:
        written["licence"] = wishes.licence
    return f"pipeline {pipeline.name}", written


def model_of(pipeline: Pipeline, settings: LocalSettings) -> LocalModel:
    """Return how a pipeline is run."""
    loading = Loading(
        name=pipeline.id,
        folder=str(pipeline.folder),
        root=str(pipeline.root),
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
    )
    return LocalModel(
        function=f"calotype.providers.local.diffusion.by_{pipeline.engine}:render",
        operation=Operation.TEXT_TO_IMAGE,
        label=label_of(pipeline),
        content_type="image/png",
        extension="png",
        deadline_s=settings.deadline_s,
        fields=("prompt", "negative_prompt", "steps", "guidance_scale", "output_format"),
        defaults={"loading": asdict(loading)},
        sides=(64, 2048),
        max_ratio=4,
        seeded=True,
        ai=True,
        own_pool=True,
    )


def label_of(pipeline: Pipeline) -> str:
    """Say what makes the picture, and that nobody vouches for it."""
    family = pipeline.contents.family if pipeline.contents is not None else "pipeline"
    return f"{family} with weights of the operator's choice, run by {pipeline.engine} on this machine"


@cache
def _template() -> dict[str, Any]:
    return tomllib.loads(_TEMPLATE.read_text("utf-8"))
