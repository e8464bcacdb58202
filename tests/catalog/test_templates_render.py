"""From an input to a worker's graph: values, sizes, lengths, LoRAs, long videos, and what is refused."""

import copy
from typing import Any

import pytest

from calotype.catalog.templates import RefusedField, Templates, render, seed_in
from calotype.sandbox.comfyui_checks import World, check
from calotype.sandbox.comfyui_nodes import MODELS, classes

TEMPLATES = Templates.load()
NEEDED: dict[str, dict[str, Any]] = {
    "wan22-i2v@1": {"image_url": "in.png"},
    "wan22-s2v@1": {"image_url": "in.png", "audio_url": "a.mp3"},
    "infinitetalk@1": {"image_url": "in.png", "audio_url": "a.mp3"},
}


def made(ref: str, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Render with the fields a template needs, and let an emulated worker check the graph."""
    template = TEMPLATES[ref]
    given = {"prompt": "a cat", **NEEDED.get(ref, {}), **fields} if "prompt" in template.fields else fields
    before = copy.deepcopy(template.graph)
    graph, warnings = render(template, given, folder="gw/job-1")
    assert template.graph == before, "the template is left alone"
    verdict = check(copy.deepcopy(graph), None, World(classes(), MODELS, lambda _: True))
    assert (verdict.error, verdict.node_errors) == (None, {})
    return graph, warnings


def refusal(ref: str, **fields: Any) -> tuple[str, str]:
    with pytest.raises(RefusedField) as caught:
        made(ref, **fields)
    return caught.value.field, caught.value.message


@pytest.mark.parametrize("ref", list(TEMPLATES))
def test_every_template_renders_what_a_worker_takes(ref: str) -> None:
    graph, warnings = made(ref)
    assert warnings == ()
    saved = [node["inputs"]["filename_prefix"] for node in graph.values() if "filename_prefix" in node["inputs"]]
    assert saved == ["gw/job-1/out"]


def test_values_go_to_their_places_and_the_rest_stays() -> None:
    graph, warnings = made("flux-krea-dev@1", prompt="a fox", size="1280x720", n=3, steps=8, seed=7)
    assert graph["pos"]["inputs"]["text"] == "a fox"
    assert graph["lat"]["inputs"] == {"width": 1280, "height": 720, "batch_size": 3}
    assert (graph["smp"]["inputs"]["steps"], graph["smp"]["inputs"]["seed"]) == (8, 7)
    assert graph["smp"]["inputs"]["cfg"] == 1.0
    assert warnings == ()


def test_a_seed_is_drawn_where_none_is_given_and_can_be_read_back() -> None:
    template = TEMPLATES["wan22-t2v@1"]
    graph, _ = render(template, {"prompt": "x"}, draw=lambda: 99)
    assert (seed_in(template, graph), graph["s1"]["inputs"]["noise_seed"]) == (99, 99)
    drawn = {seed_in(template, render(template, {"prompt": "x"})[0]) for _ in range(4)}
    assert len(drawn) > 1
    assert seed_in(TEMPLATES["test-card@1"], made("test-card@1")[0]) is None


def test_files_are_saved_under_a_placeholder_until_somebody_names_a_folder() -> None:
    graph, _ = render(TEMPLATES["ace-step@1"], {"prompt": "lofi"})
    assert graph["out"]["inputs"]["filename_prefix"] == "gw/{job}/out"


def test_null_counts_as_left_out_and_what_has_no_meaning_is_said() -> None:
    graph, warnings = made("flux-krea-dev@1", size=None, negative_prompt="blur", image="x")
    assert graph["lat"]["inputs"]["width"] == 1024
    assert warnings == (
        "negative_prompt was left out: FLUX.1 runs without one",
        "image has no meaning for this model here and was left out",
    )


@pytest.mark.parametrize(
    ("ref", "fields", "field", "message"),
    [
        ("flux-krea-dev@1", {"prompt": None}, "prompt", "prompt is required."),
        ("flux-krea-dev@1", {"prompt": 5}, "prompt", "prompt must be a text of at most 32000 characters."),
        ("flux-krea-dev@1", {"n": 5}, "n", "n must be a whole number from 1 to 4."),
        ("flux-krea-dev@1", {"n": True}, "n", "n must be a whole number from 1 to 4."),
        ("flux-krea-dev@1", {"seed": 2**32}, "seed", "seed must be a whole number from 0 to 4294967295."),
        ("flux-krea-dev@1", {"size": "big"}, "size", "size must be WIDTHxHEIGHT."),
        ("wan22-t2v@1", {"steps": 7}, "steps", "steps must be a multiple of 2."),
        ("wan22-t2v@1", {"seconds": 11}, "seconds", "seconds must be from 1 to 10."),
        ("wan22-t2v@1", {"seconds": float("nan")}, "seconds", "seconds must be from 1 to 10."),
        ("wan22-t2v@1", {"aspect_ratio": "wide"}, "aspect_ratio", "aspect_ratio must be WIDTH:HEIGHT such as 16:9."),
        ("wan22-t2v@1", {"resolution": "8k"}, "resolution", "resolution must be one of 480p, 720p."),
        ("wan22-i2v@1", {"image_url": None}, "image_url", "image_url is required."),
        ("flux-dev-lora@1", {"guidance": "x"}, "guidance", "guidance must be from 0 to 20."),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(
    ref: str, fields: dict[str, Any], field: str, message: str
) -> None:
    assert refusal(ref, **fields) == (field, message)


# -- sizes and lengths ------------------------------------------------------------------------------------------------


def test_sizes_become_multiples_and_say_so() -> None:
    graph, warnings = made("flux-krea-dev@1", size="1000x777")
    assert (graph["lat"]["inputs"]["width"], graph["lat"]["inputs"]["height"]) == (1008, 784)
    assert warnings == ("size became 1008x784: sides are multiples of 16",)
    field, message = refusal("flux-krea-dev@1", size="2048x2048")
    assert field == "size"
    assert message.startswith(
        "size leads to 2048x2048; this model takes sides from 256 to 2048 pixels, at most 2,359,296"
    )
    assert refusal("flux-krea-dev@1", size="100x1024")[0] == "size"


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (832, 480)),
        ({"aspect_ratio": "9:16"}, (480, 848)),
        ({"aspect_ratio": "1:1"}, (640, 640)),
        ({"resolution": "720p", "aspect_ratio": "16:9"}, (1280, 720)),
        ({"size": "640x480", "aspect_ratio": "1:1"}, (640, 480)),
    ],
)
def test_aspect_ratio_and_resolution_mean_a_size(fields: dict[str, Any], size: tuple[int, int]) -> None:
    graph, warnings = made("wan22-t2v@1", **fields)
    assert (graph["lat"]["inputs"]["width"], graph["lat"]["inputs"]["height"]) == size
    assert warnings == (("aspect_ratio was left out: size decides",) if "size" in fields else ())


def test_a_shape_beyond_the_model_is_refused_by_the_field_that_asks_for_it() -> None:
    assert refusal("wan22-t2v@1", resolution="720p", aspect_ratio="5:1")[0] == "aspect_ratio"


@pytest.mark.parametrize(("seconds", "frames"), [(1, 17), (2, 33), (5, 81), (5.01, 81), (5.1, 85), (10, 161)])
def test_seconds_become_frames_of_the_form_4k_plus_1(seconds: float, frames: int) -> None:
    assert made("wan22-t2v@1", seconds=seconds)[0]["lat"]["inputs"]["length"] == frames


def test_the_steps_are_shared_by_both_experts() -> None:
    graph, _ = made("wan22-i2v@1", steps=8)
    first, second = graph["s1"]["inputs"], graph["s2"]["inputs"]
    assert (first["steps"], first["end_at_step"], second["steps"], second["start_at_step"]) == (8, 4, 8, 4)


# -- LoRAs ------------------------------------------------------------------------------------------------------------


def test_one_lora_stands_between_the_loaders_and_all_that_use_them() -> None:
    graph, _ = made("flux-dev-lora@1", loras=[{"name": "my_style.safetensors", "strength": 0.9}])
    assert graph["lora1"] == {"class_type": "LoraLoader", "inputs": {
        "model": ["unet", 0], "clip": ["clip", 0], "lora_name": "my_style.safetensors", "strength_model": 0.9,
        "strength_clip": 0.9}}  # fmt: skip
    assert graph["smp"]["inputs"]["model"] == ["lora1", 0]
    assert graph["pos"]["inputs"]["clip"] == ["lora1", 1]


def test_none_changes_nothing_and_more_are_chained_in_order() -> None:
    template = TEMPLATES["flux-dev-lora@1"]
    plain, _ = render(template, {"prompt": "x"})
    assert plain["smp"]["inputs"]["model"] == ["unet", 0]
    assert set(plain) == set(template.graph)
    graph, _ = render(template, {"prompt": "x", "lora_url": "sub/a.safetensors", "loras": [
        "b.safetensors", {"path": "c.safetensors", "scale": -0.5}]})  # fmt: skip
    chain = [graph[f"lora{n}"]["inputs"] for n in (1, 2, 3)]
    assert [one["lora_name"] for one in chain] == ["sub/a.safetensors", "b.safetensors", "c.safetensors"]
    assert [one["strength_model"] for one in chain] == [1.0, 1.0, -0.5]
    assert [one["model"] for one in chain] == [["unet", 0], ["lora1", 0], ["lora2", 0]]
    assert [one["clip"] for one in chain] == [["clip", 0], ["lora1", 1], ["lora2", 1]]
    assert graph["smp"]["inputs"]["model"] == ["lora3", 0]


@pytest.mark.parametrize(
    "name",
    ["../up.safetensors", "a\\b.safetensors", "x.ckpt", "", "/etc/x.safetensors", ".hidden.safetensors", 5, None],
)
def test_a_lora_is_a_safe_file_name(name: Any) -> None:
    field, message = refusal("flux-dev-lora@1", loras=[{"name": name}])
    assert field == "loras.0"
    assert "must be the name of a .safetensors file" in message


def test_a_lora_by_url_needs_a_shared_folder() -> None:
    field, message = refusal("flux-dev-lora@1", lora_url="https://example.com/style.safetensors")
    assert field == "lora_url"
    assert message == (
        "lora_url cannot be a URL here: the workers take LoRAs by name, as no folder is shared with them."
    )
    assert refusal("flux-dev-lora@1", loras=["a.safetensors"] * 5)[1] == "loras must be a list of at most 4 LoRAs."


# -- long videos ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "pieces"), [(1, 1), (4.8, 1), (4.9, 2), (9.6, 2), (28, 6), (60, 13)])
def test_a_long_recording_repeats_the_block_of_77_frames(seconds: float, pieces: int) -> None:
    graph, _ = made("wan22-s2v@1", seconds=seconds, seed=5, steps=6)
    samplers = [node["inputs"] for node in graph.values() if node["class_type"] == "KSampler"]
    assert len(samplers) == pieces
    assert {(one["seed"], one["steps"]) for one in samplers} == {(5, 6)}
    last = f"cat{pieces}" if pieces > 1 else "smp"
    assert graph["head"]["inputs"]["samples"] == graph["full"]["inputs"]["samples2"] == [last, 0]
    assert graph["cut"]["inputs"]["length"] >= seconds * 16
    if pieces > 2:
        assert graph["cat3"]["inputs"] == {"samples1": ["cat2", 0], "samples2": ["smp3", 0], "dim": "t"}
        assert graph["ext3"]["inputs"]["video_latent"] == ["cat2", 0]


@pytest.mark.parametrize("seconds", [3.24, 3.25, 10, 28, 60])
def test_infinitetalk_needs_a_piece_for_every_72_frames_after_the_first_9(seconds: float) -> None:
    graph, _ = made("infinitetalk@1", seconds=seconds, aspect_ratio="1:1")
    pieces = [node["inputs"] for node in graph.values() if node["class_type"] == "WanInfiniteTalkToVideo"]
    frames = -(-seconds * 25 // 1)
    assert len(pieces) == max(1, -(-(frames - 9) // 72))
    assert {(one["width"], one["height"]) for one in pieces} == {(640, 640)}
    for n in range(2, len(pieces) + 1):
        before = ["dec", 0] if n == 2 else [f"join{n - 1}", 0]
        assert graph[f"talk{n}"]["inputs"]["previous_frames"] == before
        assert graph[f"new{n}"]["inputs"]["batch_index"] == [f"talk{n}", 4], "what repeats the piece before is cut"
        assert graph[f"join{n}"]["inputs"] == {"image1": before, "image2": [f"new{n}", 0]}


def test_a_recording_that_is_too_long_is_refused() -> None:
    assert refusal("wan22-s2v@1", seconds=61) == ("seconds", "seconds must be from 0.1 to 60.")
