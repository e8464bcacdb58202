"""Tiny text-to-image pipelines with random weights, in the layouts that diffusers and OpenVINO really load."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calotype.providers.local.diffusion.by_openvino import without_telemetry

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WIDTH = 32
"""Of the text encoder's states."""
TOKENS = 77
SCHEDULER = {
    "_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
    "prediction_type": "epsilon", "timestep_spacing": "leading",
}  # fmt: skip


def tokenizer() -> Any:
    """A tokenizer that knows the letters, made on the spot."""
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    transformers = pytest.importorskip("transformers")
    vocab = {word: number for number, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocab, merges=[], model_max_length=TOKENS)


def for_diffusers(folder: Path, *, safe: bool = True) -> Path:
    """Save a StableDiffusionPipeline; without `safe` its weights are pickles."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: scripts/install says how")
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    pipeline = diffusers.StableDiffusionPipeline(
        vae=_vae(), text_encoder=transformers.CLIPTextModel(_text()), tokenizer=tokenizer(), unet=_unet(),
        scheduler=diffusers.DDIMScheduler.from_config(SCHEDULER),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=safe)
    return folder


def for_diffusers_xl(folder: Path) -> Path:
    """Save a StableDiffusionXLPipeline, whose weights are all of the variant fp16."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: scripts/install says how")
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    unet = _unet(
        cross_attention_dim=2 * WIDTH, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH, transformer_layers_per_block=(1, 1),
    )  # fmt: skip
    pipeline = diffusers.StableDiffusionXLPipeline(
        vae=_vae(), text_encoder=transformers.CLIPTextModel(_text()), tokenizer=tokenizer(), tokenizer_2=tokenizer(),
        text_encoder_2=transformers.CLIPTextModelWithProjection(_text(projection_dim=WIDTH)), unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler.from_config(SCHEDULER), add_watermarker=False,
    )  # fmt: skip
    pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True, variant="fp16")
    return folder


def _vae() -> Any:
    return pytest.importorskip("diffusers").AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=4,
    )  # fmt: skip


def _unet(**changes: Any) -> Any:
    plan: dict[str, Any] = {
        "sample_size": 16, "block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": WIDTH,
        "attention_head_dim": 8, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return pytest.importorskip("diffusers").UNet2DConditionModel(**{**plan, **changes})


def _text(**changes: Any) -> Any:
    return pytest.importorskip("transformers").CLIPTextConfig(
        hidden_size=WIDTH, intermediate_size=37, num_attention_heads=4, num_hidden_layers=2,
        vocab_size=2 * len(LETTERS) + 2, bos_token_id=52, eos_token_id=53, pad_token_id=53, **changes,
    )  # fmt: skip


def for_openvino(folder: Path) -> Path:
    """Save the graphs of a pipeline as an export has them, drawn operator by operator."""
    without_telemetry()
    ov = pytest.importorskip("openvino", reason="openvino-genai is not installed: scripts/install dev brings it")
    ops = pytest.importorskip("openvino.opset13")
    convert = pytest.importorskip("openvino_tokenizers").convert_tokenizer
    chance = np.random.default_rng(0)

    def number(values: Any, kind: type = np.float32) -> Any:
        return ops.constant(np.asarray(values, dtype=kind))

    def given(shape: list[int], kind: type, name: str) -> Any:
        node = ops.parameter(shape, kind)
        node.output(0).set_names({name})
        return node

    def blend(node: Any, into: int) -> Any:
        kernel = number(chance.normal(0, 0.3, (into, 4, 3, 3)))
        return ops.convolution(node, kernel, [1, 1], [1, 1], [1, 1], [1, 1])

    def save(name: str, node: Any, inputs: list[Any], output: str, config: dict[str, Any]) -> None:
        node.output(0).set_names({output})
        place = folder / name
        place.mkdir(parents=True)
        ov.save_model(ov.Model([ops.result(node)], inputs), place / "openvino_model.xml", compress_to_fp16=False)
        (place / "config.json").write_text(json.dumps(config))

    ids = given([-1, TOKENS], np.int64, "input_ids")
    table = number(chance.normal(0, 1, (2 * len(LETTERS) + 2, WIDTH)))
    states = ops.gather(table, ids, number(0, np.int64))
    save("text_encoder", states, [ids], "last_hidden_state", {"max_position_embeddings": TOKENS})

    sample = given([-1, 4, -1, -1], np.float32, "sample")
    time = given([-1], np.int64, "timestep")
    words = given([-1, TOKENS, WIDTH], np.float32, "encoder_hidden_states")
    meaning = ops.matmul(
        ops.reduce_mean(words, number([1], np.int64), False), number(chance.normal(0, 1, (WIDTH, 4))), False, False
    )
    bias = ops.reshape(meaning, number([-1, 4, 1, 1], np.int64), False)
    moment = ops.multiply(ops.convert(time, "f32"), number(0.001))
    noise = ops.tanh(ops.add(ops.add(blend(sample, 4), bias), moment))
    config: dict[str, Any] = {"in_channels": 4, "sample_size": 16, "time_cond_proj_dim": None}
    save("unet", noise, [sample, time, words], "out_sample", config)

    latent = given([-1, 4, -1, -1], np.float32, "latent_sample")
    pixels = ops.interpolate(
        ops.tanh(blend(latent, 3)), number([8, 8]), "nearest", "scales", axes=number([2, 3], np.int64)
    )
    config = {
        "block_out_channels": [8, 8, 8, 8], "latent_channels": 4, "out_channels": 3, "in_channels": 3,
        "scaling_factor": 0.18215, "sample_size": 128,
    }  # fmt: skip
    save("vae_decoder", pixels, [latent], "sample", config)

    (folder / "tokenizer").mkdir()
    ov.save_model(convert(tokenizer(), with_detokenizer=False), folder / "tokenizer" / "openvino_tokenizer.xml")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    write_index(folder)
    return folder


def write_index(folder: Path, **changes: Any) -> None:
    """Write the index of a StableDiffusionPipeline."""
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps({**index, **changes}))


def outline(folder: Path, **changes: Any) -> Path:
    """Write a folder that looks like a pipeline and holds no numbers."""
    write_index(folder, **changes)
    header = b"{}"
    for name, file in (
        ("unet", "diffusion_pytorch_model.safetensors"),
        ("vae", "diffusion_pytorch_model.safetensors"),
        ("text_encoder", "model.safetensors"),
    ):
        (folder / name).mkdir()
        (folder / name / file).write_bytes(len(header).to_bytes(8, "little") + header)
    return folder
