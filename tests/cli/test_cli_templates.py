"""`calotype templates`: listed, checked against a worker, and made from workflows."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from program import Done

from calotype.catalog.templates import BUILTIN, read_template
from calotype.sandbox.base import Emulator
from calotype.sandbox.comfyui import ComfyUI
from calotype.sandbox.serve import on_a_thread

GRAPH = BUILTIN / "flux-krea-dev" / "1" / "graph.json"
UI: dict[str, Any] = {
    "nodes": [
        {"id": 1, "type": "EmptyImage", "widgets_values": [64, 64, 1, 9], "inputs": [], "mode": 0},
        {"id": 2, "type": "SaveImage", "widgets_values": ["x"], "inputs": [{"name": "images", "link": 1}], "mode": 0},
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
}


@pytest.fixture
def worker() -> Iterator[Emulator]:
    models = {"vae": ["ae.safetensors"], "text_encoders": [], "diffusion_models": []}
    with on_a_thread(ComfyUI(token="secret", without=("WanInfiniteTalkToVideo",), models=models)) as running:
        yield running


def test_the_list_says_what_each_makes_and_needs(cli: Callable[..., Done]) -> None:
    done = cli("templates", "list")
    assert done.returncode == 0
    assert "flux-krea-dev@1\tFLUX.1 Krea [dev]\timage\tprompt, size, n, steps, seed\t4" in done.stdout
    found = json.loads(cli("templates", "list", "--json").stdout)
    card = next(one for one in found if one["ref"] == "test-card@1")
    assert (card["classes"], card["models"]) == (["EmptyImage", "ImageCompositeMasked", "SaveImage"], {})


def test_a_check_says_what_a_worker_lacks(cli: Callable[..., Done], worker: Emulator) -> None:
    at = ("--worker", worker.url, "--token", "secret")
    assert "whole" in cli("templates", "check").stdout
    found = {one["template"]: one["lacks"] for one in json.loads(cli("templates", "check", *at, "--json").stdout)}
    assert found["test-card@1"] == []
    assert found["flux-krea-dev@1"] == [
        "diffusion_models/flux1-krea-dev_fp8_scaled.safetensors", "text_encoders/clip_l.safetensors",
        "text_encoders/t5xxl_fp16.safetensors",
    ]  # fmt: skip
    assert found["infinitetalk@1"][0] == "node WanInfiniteTalkToVideo"
    assert cli("templates", "check", "test-card@1", *at).returncode == 0
    done = cli("templates", "check", "ace-step", *at)
    assert (done.returncode, done.stdout.splitlines()[1]) == (
        1, "ace-step@1\tlacks checkpoints/ace_step_v1_3.5b.safetensors"
    )  # fmt: skip
    done = cli("templates", "check", "--worker", worker.url)
    assert (done.returncode, "answered HTTP 401" in done.stderr) == (1, True)
    assert "'ace' is not a template" in cli("templates", "check", "ace").stderr


def test_an_import_writes_a_template_that_is_in_force_at_once(
    cli: Callable[..., Done], data_dir: Path, tmp_path: Path
) -> None:
    refused = cli("templates", "import", str(GRAPH))
    assert "Say where to write it: -o FOLDER, or set CALOTYPE_CARDS_DIR" in refused.stderr
    done = cli("templates", "import", str(GRAPH), "--id", "my-flux", "-o", str(tmp_path / "templates"), "--json")
    made = json.loads(done.stdout)
    assert (made["ref"], set(made["fields"])) == ("my-flux@1", {"prompt", "size", "n", "steps", "seed"})
    assert read_template(Path(made["folder"])).graph == json.loads(GRAPH.read_text())
    again = cli("templates", "import", str(GRAPH), "--id", "my-flux", "-o", str(tmp_path / "templates"))
    assert "my-flux@2" in again.stdout


def test_ui_format_needs_a_worker_to_be_converted(cli: Callable[..., Done], tmp_path: Path, worker: Emulator) -> None:
    drawn = tmp_path / "My Drawing!.json"
    drawn.write_text(json.dumps(UI))
    refused = cli("templates", "import", str(drawn), "-o", str(tmp_path))
    assert refused.returncode == 1
    assert 'is in UI format: use "Export (API)" in ComfyUI, or give --worker' in refused.stderr
    done = cli("templates", "import", str(drawn), "-o", str(tmp_path), "--worker", worker.url, "--token", "secret")
    assert done.returncode == 0, done.stderr
    assert "my-drawing@1" in done.stdout
    assert "No prompt was found" in done.stderr
    graph = read_template(tmp_path / "my-drawing" / "1").graph
    assert graph["1"]["inputs"] == {"width": 64, "height": 64, "batch_size": 1, "color": 9}
    drawn.write_text('{"1": {"a": 1}}')
    assert "is no workflow in API format: '1'" in cli("templates", "import", str(drawn), "-o", str(tmp_path)).stderr
