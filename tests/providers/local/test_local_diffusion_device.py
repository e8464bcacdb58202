"""On what pipelines run, and with which numbers, on machines that are not at hand."""

from types import SimpleNamespace
from typing import Any

import pytest

from calotype.providers.local.diffusion import by_diffusers, by_openvino
from calotype.providers.local.diffusion.folders import Contents
from calotype.providers.local.diffusion.loading import Loading
from calotype.providers.local.messages import Unavailable

UNET = Contents("diffusers", "StableDiffusionPipeline")
TRANSFORMER = Contents("diffusers", "FluxPipeline", transformer=True)


def torch(*, cuda: bool = False, mps: bool = False, wide: bool = True) -> Any:
    return SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: cuda, is_bf16_supported=lambda: wide),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
        float32="float32", float16="float16", bfloat16="bfloat16",
    )  # fmt: skip


def openvino(*devices: str) -> Any:
    return SimpleNamespace(Core=lambda: SimpleNamespace(available_devices=list(devices)))


def loading(precision: Any = "auto") -> Loading:
    return Loading("local/diffusers:x", "/x", "/x", precision=precision)


def test_a_gpu_is_used_where_there_is_one_unless_the_operator_wants_the_processor() -> None:
    assert by_diffusers.device_of(torch(cuda=True), "auto") == "cuda"
    assert by_diffusers.device_of(torch(mps=True), "auto") == "mps"
    assert by_diffusers.device_of(torch(), "auto") == "cpu"
    assert by_diffusers.device_of(torch(cuda=True, mps=True), "cpu") == "cpu"
    assert by_openvino.device_of(openvino("CPU", "GPU.0", "GPU.1"), "auto") == "GPU"
    assert by_openvino.device_of(openvino("CPU"), "auto") == "CPU"
    assert by_openvino.device_of(openvino("CPU", "GPU"), "cpu") == "CPU"


def test_a_gpu_that_is_wanted_and_not_there_is_said() -> None:
    with pytest.raises(Unavailable, match="no GPU that PyTorch can use"):
        by_diffusers.device_of(torch(), "gpu")
    with pytest.raises(Unavailable, match="no GPU that OpenVINO can use"):
        by_openvino.device_of(openvino("CPU"), "gpu")


def test_a_gpu_computes_with_half_precision_and_transformers_with_the_wider_one_where_it_can() -> None:
    gpu = torch(cuda=True)
    assert by_diffusers.precision_of(gpu, "cuda", loading(), UNET) == "float16"
    assert by_diffusers.precision_of(gpu, "cuda", loading(), TRANSFORMER) == "bfloat16"
    assert by_diffusers.precision_of(torch(cuda=True, wide=False), "cuda", loading(), TRANSFORMER) == "float16"
    assert by_diffusers.precision_of(gpu, "mps", loading(), TRANSFORMER) == "float16"
    assert by_diffusers.precision_of(gpu, "cpu", loading(), TRANSFORMER) == "float32"
    assert by_diffusers.precision_of(gpu, "cpu", loading("bfloat16"), UNET) == "bfloat16"
