"""Folders of pipelines: which are found, under what name, and which are never loaded."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tiny_pipelines import outline, write_index

from calotype.catalog import Catalog
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass, KeyClass, Operation, Region
from calotype.providers.available import Available
from calotype.providers.local.diffusion import Pipeline, card_of, find_pipelines
from calotype.providers.local.diffusion.folders import MAX_FILES, Unusable, look
from calotype.routing.rules import Rules, day_of, eligible
from calotype.settings import LocalSettings, PipelineSettings, Settings


def found(models_dir: Path, **named: PipelineSettings) -> dict[str, Pipeline]:
    return {one.name: one for one in find_pipelines(models_dir, named)}


def refusal(folder: Path) -> str:
    with pytest.raises(Unusable) as caught:
        look(folder, folder)
    return str(caught.value)


def refused_route(pipeline: Pipeline, available: Any) -> str:
    card = Catalog.load(found=[card_of(pipeline, LocalSettings())]).find(pipeline.id)
    rules = Rules(
        data_class=DataClass.GENERAL, region=Region.WORLD, strict=False, key_class=KeyClass.PAID,
        operation=Operation.TEXT_TO_IMAGE, available=available, today=day_of(0),
    )  # fmt: skip
    with pytest.raises(Problem) as caught:
        eligible(card, rules)
    assert caught.value.code is Code.NO_ROUTE
    return caught.value.message


def cached(folder: Path, *, revision: str = "abc123") -> Path:
    """Lay a pipeline out as a hub's cache has it: the files are blobs, the snapshot is links to them."""
    plain = outline(folder.parent / "plain")
    blobs, snapshot = folder / "blobs", folder / "snapshots" / revision
    for number, path in enumerate(sorted(one for one in plain.rglob("*") if one.is_file())):
        place = snapshot / path.relative_to(plain)
        place.parent.mkdir(parents=True, exist_ok=True)
        blobs.mkdir(exist_ok=True)
        shutil.copy(path, blobs / str(number))
        place.symlink_to(blobs / str(number))
    shutil.rmtree(plain)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    return folder


def test_folders_of_pipelines_among_the_weights_are_models_and_other_folders_are_not(tmp_path: Path) -> None:
    outline(tmp_path / "house-style")
    outline(tmp_path / "someone" / "their-style")
    cached(tmp_path / "models--owner--sd-small")
    (tmp_path / "whisper-base").mkdir()
    outline(tmp_path / ".half-pulled")
    pipelines = found(tmp_path)
    assert sorted(pipelines) == ["house-style", "owner/sd-small", "someone/their-style"]
    assert [one.problem for one in pipelines.values()] == [None, None, None]
    assert pipelines["owner/sd-small"].id == "local/diffusers:owner/sd-small"


def test_an_export_for_openvino_is_a_model_of_that_engine(tmp_path: Path) -> None:
    write_index(tmp_path / "small")
    (tmp_path / "small" / "unet").mkdir()
    (tmp_path / "small" / "unet" / "openvino_model.xml").write_text("<net/>")
    assert found(tmp_path)["small"].id == "local/openvino:small"


def test_a_name_in_the_settings_comes_before_a_folder_and_brings_the_operators_defaults(tmp_path: Path) -> None:
    outline(tmp_path / "models" / "turbo")
    elsewhere = outline(tmp_path / "elsewhere")
    wishes = PipelineSettings(path=elsewhere, title="Turbo", steps=1, guidance_scale=0, size="512x512", licence="MIT")
    pipeline = found(tmp_path / "models", turbo=wishes)["turbo"]
    assert pipeline.folder == elsewhere
    card = Catalog.load(found=[card_of(pipeline, LocalSettings(deadline_s=600))]).find("local/diffusers:turbo")
    assert card.deadline_s == 6000, "for the ten pictures that one request may ask for"
    checked = card.check({"prompt": "a fox"}).input
    assert (checked["steps"], checked["guidance_scale"], checked["size"]) == (1, 0, "512x512")
    assert (card.title, card.licence, card.preview) == ("Turbo", "MIT", False)
    assert (
        card.label == "StableDiffusionPipeline with weights of the operator's choice, run by diffusers on this machine"
    )


def test_the_hubs_cache_is_read_at_the_revision_in_use(tmp_path: Path) -> None:
    folder = cached(tmp_path / "models--owner--sd-small")
    outline(folder / "snapshots" / "older")
    pipeline = found(tmp_path)["owner/sd-small"]
    assert pipeline.folder == folder.resolve() / "snapshots" / "abc123"


@pytest.mark.parametrize("name", ["../etc", "/etc", "a/b/c", ".hidden", "a b", ""])
def test_a_name_in_the_settings_is_a_plain_name(name: str) -> None:
    with pytest.raises(ValidationError, match="is not a name"):
        Settings(local={"pipelines": {name: "/models/sdxl"}})  # type: ignore[arg-type]


def test_weights_that_are_only_pickles_are_refused(tmp_path: Path) -> None:
    folder = outline(tmp_path / "old")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")
    assert refusal(folder).startswith("unet has its weights only as a pickle, which can run code")


def test_pickles_beside_safetensors_do_no_harm(tmp_path: Path) -> None:
    folder = outline(tmp_path / "both")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x02}")
    assert look(folder, folder).family == "StableDiffusionPipeline"


def test_a_file_that_only_says_it_is_safetensors_is_refused(tmp_path: Path) -> None:
    folder = outline(tmp_path / "false")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x80\x02}q\x00." * 9)
    assert refusal(folder) == "vae/diffusion_pytorch_model.safetensors is not a file of the format safetensors"


def test_weights_of_a_single_variant_are_asked_for_by_its_name(tmp_path: Path) -> None:
    folder = outline(tmp_path / "half")
    assert look(folder, folder).variant is None
    for path in folder.glob("*/*.safetensors"):
        path.rename(path.with_name(f"{path.stem}.fp16-00001-of-00001.safetensors"))
    assert look(folder, folder).variant == "fp16"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"_class_name": ["pipeline", "OwnPipeline"]}, "program code of a folder is never run"),
        ({"_class_name": "StableDiffusionInpaintPipeline"}, "does not make pictures from text alone"),
        ({"_class_name": "CogVideoXVideoToVideoPipeline"}, "does not make pictures from text alone"),
        ({"_class_name": None}, "names no pipeline class"),
    ],
)
def test_what_is_not_a_plain_text_to_image_pipeline_is_refused(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    assert sentence in refusal(outline(tmp_path / "other", **changes))


def test_a_component_that_brings_its_own_code_is_refused(tmp_path: Path) -> None:
    folder = outline(tmp_path / "coded", unet=["own_unet", "OwnUNet"])
    (folder / "unet" / "own_unet.py").write_text("raise SystemExit")
    assert refusal(folder) == "unet wants program code of the folder, which is never run"


def test_links_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    folder = outline(tmp_path / "leaky")
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (folder / "unet" / "config.json").symlink_to(secret)
    assert refusal(folder) == "unet/config.json is a link that leads out of the folder"
    (folder / "unet" / "config.json").unlink()
    (folder / "extra").symlink_to("/etc")
    assert refusal(folder) == "extra is a link that leads out of the folder"
    (folder / "extra").unlink()
    (folder / "extra").symlink_to(folder / "extra")
    assert look(folder, folder).family, "a circle leads nowhere"


def test_a_link_among_the_weights_that_leads_elsewhere_must_be_named_by_the_operator(tmp_path: Path) -> None:
    elsewhere = outline(tmp_path / "elsewhere")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "linked").symlink_to(elsewhere)
    assert "leads out of the folder of weights" in str(found(tmp_path / "models")["linked"].problem)
    assert found(tmp_path / "models", linked=PipelineSettings(path=elsewhere))["linked"].problem is None


def test_a_folder_with_too_much_in_it_is_refused(tmp_path: Path) -> None:
    folder = outline(tmp_path / "full")
    (folder / "pile").mkdir()
    for number in range(MAX_FILES):
        (folder / "pile" / str(number)).touch()
    assert refusal(folder) == f"it has more than {MAX_FILES:,} files"


def test_a_folder_that_cannot_be_used_is_a_model_that_does_not_run(tmp_path: Path) -> None:
    pipeline = found(tmp_path, gone=PipelineSettings(path=tmp_path / "nowhere"))["gone"]
    assert pipeline.problem == "the folder is not there"
    message = refused_route(pipeline, Available({"local"}, tmp_path))
    assert message == "local/diffusers:gone cannot run here yet: its folder cannot be used, calotype doctor says why."


@pytest.mark.parametrize(("engine", "extra"), [("diffusers", "diffusers"), ("openvino", "openvino")])
def test_without_the_extra_the_refusal_names_the_command_that_brings_it(
    tmp_path: Path, engine: str, extra: str
) -> None:
    folder = outline(tmp_path / "small")
    if engine == "openvino":
        (folder / "unet" / "openvino_model.xml").write_text("<net/>")
    assert f'pip install "calotype[{extra}]"' in refused_route(found(tmp_path)["small"], {"local"})
