"""Pipelines exported for OpenVINO, run by OpenVINO GenAI without PyTorch."""

import sys
from typing import Any

from PIL import Image

from calotype.providers.local.diffusion.folders import Contents
from calotype.providers.local.diffusion.loading import Loading, Shelf, is_out_of_memory, made, wishes_of
from calotype.providers.local.extra import engine
from calotype.providers.local.messages import Made, ProgressCallback, Unavailable

EXTRA = "openvino"
LOADED, STEPPED = 0.05, 0.9
_ONE_PROMPT = ("FluxPipeline", "LatentConsistencyModelPipeline")
"""Classes that take no negative prompt; the engine refuses one."""


def render(*, loading: dict[str, Any], progress: ProgressCallback, **fields: Any) -> Made:
    """Make one picture; the same seed, input and machine give the same picture.

    Raises:
        BadInput: a value out of range.
        Unavailable: the extra is not installed, or the folder cannot be used.
        MemoryError: the work does not fit.

    """
    wishes, load = wishes_of(fields), Loading(**loading)
    pipeline, family = _shelf.get(load)
    progress(LOADED)
    given: dict[str, Any] = {
        "num_inference_steps": wishes.steps,
        "guidance_scale": wishes.guidance_scale,
        "width": wishes.width,
        "height": wishes.height,
    }
    guidance = wishes.guidance_scale
    if guidance is None:
        guidance = pipeline.get_generation_config().guidance_scale
    warnings = []
    if wishes.negative_prompt:
        if guidance > 1 and family not in _ONE_PROMPT:
            given["negative_prompt"] = wishes.negative_prompt
        else:
            warnings.append(f"{load.name} does not use negative_prompt with this guidance_scale")

    def tell(step: int, steps: int, _latent: Any) -> bool:
        progress(LOADED + (STEPPED - LOADED) * (step + 1) / max(1, steps))
        return False

    try:
        pictures = pipeline.generate(
            wishes.prompt, rng_seed=wishes.seed, num_images_per_prompt=1, callback=tell,
            **{name: value for name, value in given.items() if value is not None},
        )  # fmt: skip
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError from None
        raise
    return made(Image.fromarray(pictures.data[0].copy()), load, wishes.output_format, warnings)


def without_telemetry() -> None:
    """Keep OpenVINO from reporting its use: it starts processes for that. Call this before importing."""
    modules: dict[str, Any] = sys.modules
    modules["openvino_telemetry"] = None


def _load(loading: Loading, contents: Contents) -> Any:
    without_telemetry()
    genai = engine("openvino_genai", EXTRA)
    device = device_of(engine("openvino", EXTRA), loading.device)
    bounds = {"INFERENCE_NUM_THREADS": loading.processors} if device == "CPU" else {}
    return genai.Text2ImagePipeline(loading.folder, device, **bounds), contents.family


def device_of(openvino: Any, wanted: str) -> str:
    """Return OpenVINO's name of what computes.

    Raises:
        Unavailable: a GPU is wanted and there is none.

    """
    has_gpu = wanted != "cpu" and any(name.startswith("GPU") for name in openvino.Core().available_devices)
    if wanted == "gpu" and not has_gpu:
        raise Unavailable("This machine has no GPU that OpenVINO can use.")
    return "GPU" if has_gpu else "CPU"


_shelf = Shelf(_load)
