"""The node classes that the emulated ComfyUI has, as far as validation and a graph's media need them.

One line of `comfyui_nodes.txt` says a class: inputs with their types, then what it gives. `?` marks an optional input,
`a..b` bounds, `=` a default, `|` the words of a choice, `/folder` the files of a models folder, `@name` a list below,
`FILE` an uploaded file. `*` before the name marks an output node, `+` one that is written in the newer way, whose
choices `/object_info` shows as `["COMBO", {"options": …}]`.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

SAMPLERS = (
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2",
    "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp",
    "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu",
    "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "ipndm",
    "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "seeds_2",
    "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip
SCHEDULERS = (
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
)  # fmt: skip
NUMBERS: dict[str, type[int] | type[float]] = {"INT": int, "FLOAT": float}
LISTS = {"samplers": SAMPLERS, "schedulers": SCHEDULERS}
BIG_LIST = 20
"""Longer choices are not repeated in errors."""


_LINE = re.compile(r"(?P<flags>[*+]*)(?P<name>\w+): (?P<inputs>.*?) ->(?P<outputs>.*)")
_INPUT = re.compile(
    r"(?P<name>\w+)(?P<optional>\??) (?P<type>\S+)(?: (?P<low>-?[\d.]+)\.\.(?P<high>-?[\d.]+))?(?: =(?P<default>\S+))?"
)

Models = dict[str, list[str]]
"""Models folder → names of the files in it."""

MODELS: Models = {
    "checkpoints": ["ace_step_v1_3.5b.safetensors"],
    "diffusion_models": [
        "Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ.safetensors", "flux1-dev.safetensors",
        "flux1-krea-dev_fp8_scaled.safetensors", "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
        "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors", "wan2.2_s2v_14B_fp8_scaled.safetensors",
        "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors",
    ],
    "text_encoders": ["clip_l.safetensors", "t5xxl_fp16.safetensors", "umt5_xxl_fp8_e4m3fn_scaled.safetensors"],
    "vae": ["Wan2_1_VAE_bf16.safetensors", "ae.safetensors", "wan_2.1_vae.safetensors"],
    "loras": ["lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", "my_style.safetensors"],
    "audio_encoders": ["wav2vec2-chinese-base_fp16.safetensors", "wav2vec2_large_english_fp16.safetensors"],
    "model_patches": ["wan2.1_infiniteTalk_multi_fp16.safetensors"],
    "upscale_models": ["RealESRGAN_x4plus.pth"],
    "embeddings": ["easynegative.safetensors"],
    **{folder: [] for folder in (
        "clip_vision", "classifiers", "configs", "controlnet", "custom_nodes", "diffusers", "gligen", "hypernetworks",
        "latent_upscale_models", "photomaker", "style_models", "vae_approx",
    )},
}  # fmt: skip
"""What lies on a fresh worker: enough for the graphs of `wire/comfyui.md §9`."""


class Input(Struct, frozen=True):
    """One input of a class; `choices` are fixed words, `folder` names a models folder."""

    name: str
    type: str
    optional: bool = False
    low: float | None = None
    high: float | None = None
    default: Any = None
    choices: tuple[str, ...] = ()
    folder: str | None = None

    def options(self, models: Models) -> list[str] | None:
        """Return the words that it takes, None when it takes anything of its type."""
        if self.folder is not None:
            return sorted(models.get(self.folder, []))
        return list(self.choices) or None

    def config(self, models: Models, *, newer: bool) -> list[Any]:
        """Return the pair of type and facts, as `/object_info` and errors show it."""
        facts: dict[str, Any] = {}
        if self.default is not None:
            facts["default"] = self.default
        if self.low is not None:
            facts |= {"min": self.low, "max": self.high}
        if self.type == "FILE":
            return [[], {"image_upload": True}]
        options = self.options(models)
        if options is None:
            return [self.type, facts]
        return ["COMBO", {**facts, "options": options}] if newer else [options, facts]


class NodeClass(Struct, frozen=True):
    """One node class."""

    name: str
    inputs: dict[str, Input]
    outputs: tuple[str, ...]
    saves: bool = False
    newer: bool = False

    def info(self, models: Models) -> dict[str, Any]:
        """Return what `/object_info/{class}` says of it."""
        shown: dict[str, dict[str, Any]] = {"required": {}}
        flags = {"deprecated": False, "experimental": False, "api_node": False} if self.newer else {}
        for one in self.inputs.values():
            group = shown.setdefault("optional" if one.optional else "required", {})
            group[one.name] = one.config(models, newer=self.newer)
        if self.saves:
            shown["hidden"] = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
        return {
            **flags,
            "input": shown,
            "input_order": {group: list(inputs) for group, inputs in shown.items()},
            "output": list(self.outputs),
            "output_is_list": [False] * len(self.outputs),
            "output_name": list(self.outputs),
            "name": self.name,
            "display_name": self.name,
            "description": "",
            "python_module": "custom_nodes.videohelpersuite" if self.name.startswith("VHS_") else "nodes",
            "category": "sandbox",
            "output_node": self.saves,
        }


def classes(without: Iterable[str] = ()) -> dict[str, NodeClass]:
    """Return every class by name, `without` some (a worker that is older or lacks custom nodes)."""
    left_out = set(without)
    return {name: one for name, one in _CLASSES.items() if name not in left_out}


def _class(line: str) -> NodeClass:
    found = _LINE.fullmatch(line)
    assert found is not None, line
    inputs = [_input(text) for text in found["inputs"].split(", ")]
    flags = found["flags"]
    return NodeClass(
        found["name"], {one.name: one for one in inputs}, tuple(found["outputs"].split()), "*" in flags, "+" in flags
    )


def _input(text: str) -> Input:
    found = _INPUT.fullmatch(text)
    assert found is not None, text
    kind, default = found["type"], found["default"]
    choices: tuple[str, ...] = ()
    folder = None
    if kind.startswith("/"):
        kind, folder = "COMBO", kind[1:]
    elif kind.startswith("@"):
        kind, choices = "COMBO", LISTS[kind[1:]]
    elif "|" in kind:
        kind, choices = "COMBO", tuple(kind.split("|"))
    low, high, value = (_number(kind, found[key]) for key in ("low", "high", "default"))
    if kind == "BOOLEAN":
        value = default == "true"
    elif kind not in NUMBERS:
        value = default
    return Input(found["name"], kind, bool(found["optional"]), low, high, value, choices, folder)


def _number(kind: str, text: str | None) -> Any:
    return NUMBERS[kind](text) if text is not None and kind in NUMBERS else None


def _all() -> dict[str, NodeClass]:
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    return {one.name: one for one in (_class(line) for line in text.splitlines() if line[:1] != "#")}


_CLASSES = _all()
