"""Templates of ComfyUI graphs: those of the house are whole, and what is wrong with one is said with its key."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from calotype.catalog import Catalog
from calotype.catalog.templates import BUILTIN, Template, TemplateError, Templates, read_template
from calotype.sandbox.comfyui_checks import World, check
from calotype.sandbox.comfyui_nodes import MODELS, classes

TEMPLATES = Templates.load()
every_template = pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda template: template.ref)


@every_template
def test_the_house_templates_say_what_they_are_and_what_they_ask_of_a_worker(template: Template) -> None:
    manifest = template.manifest
    assert manifest.title
    assert manifest.description.endswith(".")
    assert template.classes >= {"SaveImage"} or "Save" in str(template.classes)
    assert manifest.licence is not None or not template.models
    assert template.model_set
    assert set(manifest.weights) <= set(template.graph) | set(template.block)


@every_template
def test_an_emulated_worker_has_all_that_they_need_and_takes_their_graphs(template: Template) -> None:
    assert template.classes <= set(classes())
    for folder, names in template.models.items():
        assert names <= set(MODELS[folder])
    verdict = check(json.loads(json.dumps(template.graph)), None, World(classes(), MODELS, lambda _: True))
    assert (verdict.error, verdict.node_errors) == (None, {})


def test_every_route_of_a_worker_leads_to_a_template_that_makes_what_the_card_says() -> None:
    catalog = Catalog.load()
    seen = set()
    for card in catalog.cards(everything=True):
        for route in card.routes:
            if route.kind != "comfyui":
                continue
            template = TEMPLATES.find(route.upstream)
            seen.add(template.ref)
            assert {output.media for output in template.manifest.outputs} == {card.output}
            known = set(template.fields) | set(template.manifest.ignored)
            for operation in route.operations or card.operations:
                without = {"image_url"} if operation == "text-to-video" else set()
                assert set(route.upstream_fields(dict.fromkeys(card.fields))) - without <= known, route.upstream
            required = {name for name, field in template.fields.items() if field.required}
            assert required <= set(card.fields)
            assert set(template.file_fields) == {name for name in card.media_fields if name in template.fields}, (
                "files are uploaded exactly where the card says media"
            )
    assert seen == set(TEMPLATES)


def test_a_template_is_found_by_version_or_the_newest_and_refused_with_near_matches(tmp_path: Path) -> None:
    own = tmp_path / "templates"
    for version in (2, 10):
        shutil.copytree(BUILTIN / "test-card" / "1", own / "test-card" / str(version))
    shutil.copytree(BUILTIN / "test-card" / "1", own / "flux-krea-dev" / "1")
    templates = Templates.load(tmp_path)
    assert templates.find("test-card").version == 10
    assert templates.find("test-card@2").origin == "test-card/2"
    assert templates["flux-krea-dev@1"].manifest.title == "Test card", "the operator's wins"
    with pytest.raises(TemplateError, match="'test-card@3' is not a template; there are test-card@"):
        templates.find("test-card@3")


def test_what_a_worker_must_have_follows_from_the_graph() -> None:
    flux = TEMPLATES["flux-dev-lora@1"]
    assert flux.models == {
        "diffusion_models": {"flux1-dev.safetensors"},
        "text_encoders": {"clip_l.safetensors", "t5xxl_fp16.safetensors"},
        "vae": {"ae.safetensors"},
    }
    assert "LoraLoader" in flux.classes
    assert flux.lora_fields == {"lora_url", "loras"}
    talk = TEMPLATES["infinitetalk@1"]
    assert "ImageBatch" in talk.classes, "the repeated block counts"
    assert talk.recordings == {"seconds": "audio_url"}
    assert talk.file_fields == {"image_url": "image", "audio_url": "audio"}
    assert TEMPLATES["test-card@1"].models == {}


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A template of the operator's own, to break."""
    return Path(shutil.copytree(BUILTIN / "flux-dev-lora" / "1", tmp_path / "mine" / "1"))


def refused(folder: Path) -> str:
    with pytest.raises(TemplateError) as caught:
        read_template(folder)
    assert str(caught.value).startswith(f"{folder.parent.name}/{folder.name}: ")
    return str(caught.value)


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "template.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"pos.text"', '"pos.words"', "fields.prompt.to: 'pos.words' is not a value of the graph"),
        ('"pos.text"', '"nobody.text"', "fields.prompt.to: 'nobody.text' is not a value of the graph"),
        ('"pos.text"', '"pos.clip"', "fields.prompt.to: 'pos.clip' is a link in the graph; only values can be set"),
        ('"pos.text"', '"smp.seed"', "fields.prompt.to: 'smp.seed' holds int in the graph, not what a text is"),
        ("max = 50", "max = 10", "fields.steps.to: 'smp.steps' holds 20, outside 1 to 10"),
        ('node = "out"', 'node = "dec2"', "outputs[0].node: 'dec2' is not in the graph; use unet, clip"),
        ('[chain]\nnode = "LoraLoader"', '[chain]\nnode = "LoraLoaderModelOnly"', "chain.clip: goes with LoraLoader"),
        ('model = ["unet", 0]', 'model = ["none", 0]', "chain.model: 'none' is not in the graph"),
        ("weights = { smp", "weights = { nobody", "weights.nobody: is not a node"),
        ('type = "text"', 'type = "txt"', "fields.prompt.type: Invalid value 'txt'; accepted: text, integer"),
        ('title = "', 'tittle = "', "Object contains unknown field `tittle`"),
        ('{ type = "seed"', '{ type = "aspect"', "fields.seed.to: is not for this type"),
        ('to = ["smp.seed"]', "to = []", "fields.seed.to: is empty"),
    ],
)
def test_a_template_that_is_not_whole_is_refused_with_its_key(own: Path, old: str, new: str, said: str) -> None:
    edit(own, old, new)
    assert said in refused(own)


def test_a_graph_that_is_none_is_refused(own: Path) -> None:
    def graph(value: Any) -> None:
        (own / "graph.json").write_text(value if isinstance(value, str) else json.dumps(value))

    graph("{")
    assert "graph.json: is not JSON" in refused(own)
    graph({"nodes": [], "links": []})
    assert "is in UI format; export it in API format" in refused(own)
    graph({"1": {"inputs": {}}})
    assert "graph.json.1: is not a node" in refused(own)
    graph({"1": {"class_type": "X", "inputs": {"a": ["2", 0]}}})
    assert "graph.json.1.a: ['2', 0] is not a link to a node of the graph" in refused(own)
    (own / "graph.json").unlink()
    assert "graph.json: cannot be read: No such file" in refused(own)


def test_a_repeated_block_must_fit_its_graph(tmp_path: Path) -> None:
    def broken(old: str, new: str, name: str) -> str:
        folder = Path(shutil.copytree(BUILTIN / "wan22-s2v" / "1", tmp_path / name / "1"))
        edit(folder, old, new)
        return refused(folder)

    assert "repeat.consumers: 'cut.image' does not take repeat.start" in broken('"head.samples"', '"cut.image"', "a")
    assert "repeat.seconds: 'steps' is not a field of type seconds" in broken(
        'seconds = "seconds"', 'seconds = "steps"', "b"
    )
    assert "repeat.result: 'cat' is not in the block" in broken('"cat#"', '"cat"', "c")
    assert "fields.seconds.recording: 'prompt' is not a field of type file" in broken(
        'recording = "audio_url"', 'recording = "prompt"', "d"
    )
    folder = Path(shutil.copytree(BUILTIN / "wan22-s2v" / "1", tmp_path / "e" / "1"))
    (folder / "repeat.json").unlink()
    assert "repeat: and repeat.json go together" in refused(folder)
