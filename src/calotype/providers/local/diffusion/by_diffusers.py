"""Pipelines run by diffusers on PyTorch: on a GPU with half precision where there is one, else on the processor."""

import inspect
from typing import Any

from calotype.providers.local.diffusion.folders import Contents
from calotype.providers.local.diffusion.loading import Loading, Shelf, is_out_of_memory, made, wishes_of
from calotype.providers.local.extra import engine
from calotype.providers.local.messages import BadInput, Made, ProgressCallback, Unavailable

EXTRA = "diffusers"
LOADED, STEPPED = 0.05, 0.9
"""Shares of the progress that are shown once the pipeline is there, and once its last step is taken."""


def render(*, loading: dict[str, Any], progress: ProgressCallback, **fields: Any) -> Made:
    """Make one picture; the same seed, input and machine give the same picture.

    Raises:
        BadInput: a value out of range, or the pipeline's own safety check withheld the picture.
        Unavailable: the extra is not installed, or the folder cannot be used.
        MemoryError: the work does not fit.

    """
    wishes, load = wishes_of(fields), Loading(**loading)
    torch = engine("torch", EXTRA)
    pipeline = _shelf.get(load)
    progress(LOADED)
    accepted = inspect.signature(type(pipeline).__call__).parameters
    asked = {
        "num_inference_steps": wishes.steps,
        "guidance_scale": wishes.guidance_scale,
        "negative_prompt": wishes.negative_prompt,
        "width": wishes.width,
        "height": wishes.height,
    }
    given = {name: value for name, value in asked.items() if value is not None and name in accepted}
    names = {"num_inference_steps": "steps", "width": "size", "height": "size"}
    unused = dict.fromkeys(
        names.get(name, name) for name, value in asked.items() if value is not None and name not in given
    )
    if "callback_on_step_end" in accepted:
        given["callback_on_step_end"] = _teller(progress)
    seed = torch.Generator("cpu").manual_seed(wishes.seed)  # the same noise on every device
    try:
        result = pipeline(prompt=wishes.prompt, generator=seed, output_type="pil", **given)
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError from None
        raise
    if any(getattr(result, "nsfw_content_detected", None) or ()):
        raise BadInput("prompt", "The pipeline's own safety check withheld the picture.")
    warnings = [f"{load.name} does not use {name}" for name in unused]
    return made(result.images[0], load, wishes.output_format, warnings)


def _teller(progress: ProgressCallback) -> Any:
    def tell(pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps = max(1, int(getattr(pipeline, "num_timesteps", 0) or step + 1))
        progress(LOADED + (STEPPED - LOADED) * (step + 1) / steps)
        return tensors

    return tell


def _load(loading: Loading, contents: Contents) -> Any:
    torch, diffusers = engine("torch", EXTRA), engine("diffusers", EXTRA)
    for library in (engine("transformers", EXTRA), diffusers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    torch.set_num_threads(loading.processors)
    device = device_of(torch, loading.device)
    if device != "cpu":
        torch.cuda.empty_cache() if device == "cuda" else torch.mps.empty_cache()
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        loading.folder,
        dtype=precision_of(torch, device, loading, contents),
        variant=contents.variant,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    accepted = inspect.signature(type(pipeline).__call__).parameters
    if "prompt" not in accepted or "num_frames" in accepted or _is_required(accepted.get("image")):
        raise Unavailable(f"{loading.name} does not make pictures from text alone.")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _is_required(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and parameter.default is inspect.Parameter.empty


def device_of(torch: Any, wanted: str) -> str:
    """Return PyTorch's name of what computes.

    Raises:
        Unavailable: a GPU is wanted and there is none.

    """
    if wanted != "cpu" and torch.cuda.is_available():
        return "cuda"
    if wanted != "cpu" and torch.backends.mps.is_available():
        return "mps"
    if wanted == "gpu":
        raise Unavailable("This machine has no GPU that PyTorch can use.")
    return "cpu"


def precision_of(torch: Any, device: str, loading: Loading, contents: Contents) -> Any:
    """Return the type of numbers: on a GPU half precision, and there the one with the wider range for transformers."""
    if loading.precision != "auto":
        return getattr(torch, loading.precision)
    if device == "cpu":
        return torch.float32
    wide = device == "cuda" and contents.transformer and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if wide else torch.float16


_shelf = Shelf(_load)
