"""From somebody's workflow to a template: fields are guessed, and UI format becomes API format with a worker's help."""

import json
from pathlib import Path
from typing import Any

import pytest

from calotype.catalog.template_convert import classes_in, is_ui_format, to_api
from calotype.catalog.template_guess import guess, manifest_text
from calotype.catalog.templates import TemplateError, Templates, read_template, render
from calotype.sandbox.comfyui_nodes import MODELS, classes

TEMPLATES = Templates.load()
INFO = {name: one.info(MODELS) for name, one in classes().items()}


def reread(folder: Path, graph: dict[str, Any]) -> Any:
    """Write what was guessed as the command does, and read it as a template."""
    place = folder / "mine" / "1"
    place.mkdir(parents=True)
    (place / "graph.json").write_text(json.dumps(graph))
    (place / "template.toml").write_text(manifest_text("Mine", guess(graph)))
    return read_template(place)


@pytest.mark.parametrize(
    ("ref", "fields"),
    [
        ("flux-krea-dev@1", {"prompt", "size", "n", "steps", "seed"}),
        ("wan22-t2v@1", {"prompt", "negative_prompt", "seconds", "size", "steps", "seed"}),
        ("wan22-i2v@1", {"prompt", "negative_prompt", "image_url", "seconds", "size", "steps", "seed"}),
        ("infinitetalk@1", {"prompt", "image_url", "audio_url", "seconds", "size", "steps", "seed"}),
        ("ace-step@1", {"prompt", "lyrics", "seconds", "steps", "seed"}),
    ],
)
def test_the_house_graphs_are_guessed_as_they_were_written(ref: str, fields: set[str], tmp_path: Path) -> None:
    own = TEMPLATES[ref]
    made = reread(tmp_path, own.graph)
    assert set(made.fields) == fields
    for name in fields - {"seconds"}:
        ours, theirs = own.fields[name], made.fields[name]
        assert type(ours) is type(theirs)
        assert theirs.to == tuple(path for path in ours.to if "#" not in path)
    assert made.manifest.outputs == own.manifest.outputs
    given = dict.fromkeys(made.file_fields, "in.bin")
    assert render(made, {"prompt": "x", **given})[1] == ()


def test_odd_graphs_are_guessed_with_notes() -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "b.png"}},
        "3": {"class_type": "MyLoader", "inputs": {"weights": "x.gguf", "picture": ["1", 0]}},
        "4": {"class_type": "MySaver", "inputs": {"video": ["3", 0], "filename_prefix": "x"}},
        "5": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    found = guess(graph)
    assert list(found.fields) == ["image_url", "image_url_2"]
    assert found.outputs == [{"node": "4", "media": "video"}]
    assert found.notes == [
        "No prompt was found: add a field of type text.",
        "Previews are never delivered; take them out of the graph: 5.",
        "3.weights names 'x.gguf': say under [models] in which folder it lies.",
    ]
    assert "No node saves a file" in guess({"1": graph["1"]}).notes[0]


def test_words_are_found_behind_guiders_and_in_nodes_for_several_encoders() -> None:
    graph = {
        "a": {"class_type": "CLIPTextEncodeFlux", "inputs": {"clip_l": "x", "t5xxl": "x", "guidance": 3.5}},
        "b": {"class_type": "CLIPTextEncode", "inputs": {"text": "blur"}},
        "c": {"class_type": "ReferenceLatent", "inputs": {"conditioning": ["a", 0]}},
        "d": {"class_type": "DualCFGGuider", "inputs": {"cond1": ["c", 0], "cond2": ["b", 0], "negative": ["b", 0]}},
    }
    fields = guess(graph).fields
    assert fields["prompt"]["to"] == ["a.clip_l", "a.t5xxl"]
    assert fields["negative_prompt"]["to"] == ["b.text"]


def test_a_manifest_is_toml_whatever_stands_in_it() -> None:
    text = manifest_text('a "quoted" \\ title\n\x7f', guess({"my node": {"class_type": "SaveImage", "inputs": {}}}))
    assert 'title = "a \\"quoted\\" \\\\ title\\n\\u007f"' in text
    assert 'node = "my node"' in text


# -- UI format --------------------------------------------------------------------------------------------------------


def workflow() -> dict[str, Any]:
    """A graph as the UI saves it: with a reroute, a primitive, a note, a muted and a bypassed node."""

    def node(
        ident: int, kind: str, values: Any = (), inputs: dict[str, int] | None = None, **more: Any
    ) -> dict[str, Any]:
        sockets = [{"name": name, "type": "*", "link": link} for name, link in (inputs or {}).items()]
        return {
            "id": ident,
            "type": kind,
            "widgets_values": values,
            "inputs": sockets,
            "outputs": [],
            "mode": 0,
            **more,
        }

    lora = node(7, "LoraLoaderModelOnly", ["my_style.safetensors", 1.0], mode=4)
    lora["inputs"] = [{"name": "model", "type": "MODEL", "link": 1}]
    lora["outputs"] = [{"name": "MODEL", "type": "MODEL"}]
    return {
        "nodes": [
            node(1, "CheckpointLoaderSimple", ["ace_step_v1_3.5b.safetensors"]),
            node(2, "CLIPTextEncode", ["a fox"], {"clip": 2}, title="Words"),
            node(3, "EmptyLatentImage", [640, 480, 1]),
            node(4, "KSampler", [5, "randomize", 8, 1.0, "euler", "simple", 1.0],
                 {"model": 3, "positive": 4, "negative": 4, "latent_image": 5, "steps": 9}),
            node(5, "VAEDecode", (), {"samples": 6, "vae": 7}),
            node(6, "SaveImage", ["mine"], {"images": 8}),
            lora,
            node(8, "Reroute", (), {"": 10}),
            node(9, "PrimitiveNode", [12, "fixed"]),
            node(10, "Note", ["hello"]),
            node(11, "PreviewImage", (), {"images": 8}, mode=2),
        ],
        "links": [
            [1, 1, 0, 7, 0, "MODEL"], [2, 1, 1, 2, 0, "CLIP"], [3, 7, 0, 4, 0, "MODEL"], [4, 2, 0, 4, 1, "*"],
            [5, 8, 0, 4, 3, "LATENT"], [6, 4, 0, 5, 0, "LATENT"], [7, 1, 2, 5, 1, "VAE"], [8, 5, 0, 6, 0, "IMAGE"],
            [9, 9, 0, 4, 4, "INT"], {"id": 10, "origin_id": 3, "origin_slot": 0},
        ],
    }  # fmt: skip


def test_ui_format_is_converted_by_the_classes_own_order_of_values() -> None:
    drawn = workflow()
    assert is_ui_format(drawn)
    assert "Note" not in classes_in(drawn)
    graph = to_api("w.json", drawn, INFO)
    assert set(graph) == {"1", "2", "3", "4", "5", "6"}
    assert graph["4"]["inputs"] == {
        "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0], "seed": 5, "steps": 12,
        "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0,
    }  # fmt: skip
    assert graph["3"]["inputs"] == {"width": 640, "height": 480, "batch_size": 1}
    assert graph["2"]["_meta"] == {"title": "Words"}
    assert set(guess(graph).fields) == {"prompt", "size", "n", "steps", "seed"}


def test_what_cannot_be_converted_says_why() -> None:
    def said(drawn: dict[str, Any], info: dict[str, Any] = INFO) -> str:
        with pytest.raises(TemplateError) as caught:
            to_api("w.json", drawn, info)
        return str(caught.value)

    drawn = workflow() | {"definitions": {"subgraphs": [{}]}}
    assert 'has subgraphs: unpack them, or use "Export (API)"' in said(drawn)
    assert "'KSampler' is a class that the worker does not have" in said(
        workflow(), {name: one for name, one in INFO.items() if name != "KSampler"}
    )
    drawn = workflow()
    drawn["nodes"][2]["mode"] = 2
    assert "nodes.4.latent_image: is linked to a node that is muted or missing" in said(drawn)
    drawn = workflow()
    drawn["nodes"][3]["inputs"] = [one for one in drawn["nodes"][3]["inputs"] if one["name"] != "steps"]
    drawn["nodes"].append({"id": 12, "type": "CreateVideo", "widgets_values": [8.0], "mode": 0, "inputs": [
        {"name": "images", "link": 8}, {"name": "audio", "link": 99}]})  # fmt: skip
    graph = to_api("w.json", drawn, INFO)
    assert graph["12"]["inputs"] == {"images": ["5", 0], "fps": 8.0}, "an optional input may lose its link"
    assert graph["4"]["inputs"]["steps"] == 8
    assert "holds no node that runs" in said({"nodes": [], "links": []})
