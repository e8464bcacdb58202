"""Pipelines of the operator's own through a running server, and what the commands say of them."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tiny_pipelines import for_diffusers, for_openvino, outline

from calotype.media.probe import probe
from calotype.providers.available import MODELS_FOLDER
from calotype.providers.local.runtime import LocalRuntime
from running import Account, House, running

PRICE_MICRO = 2_000
PICTURES = {"diffusers": "local/diffusers:owner/tiny", "openvino": "local/openvino:tiny-ov"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    data_dir, elsewhere = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("elsewhere")
    for_openvino(data_dir / MODELS_FOLDER / "tiny-ov")
    for_diffusers(elsewhere / "tiny")
    pickled = outline(data_dir / MODELS_FOLDER / "pickled")
    (pickled / "unet" / "diffusion_pytorch_model.safetensors").rename(pickled / "unet" / "weights.ckpt")
    pipelines = {"owner/tiny": str(elsewhere / "tiny"), "gone": str(elsewhere / "nowhere")}
    prices = {PICTURES["diffusers"]: PRICE_MICRO}
    with running(data_dir, local={"pipelines": pipelines, "device": "cpu"}, prices=prices) as house:
        yield house


@pytest.fixture
def account(served: House) -> Account:
    return served.account()


def ask(account: Account, model: str, **fields: Any) -> httpx2.Response:
    body = {"model": model, "prompt": "a fox", "size": "64x96", "steps": 2, "seed": 7, **fields}
    headers = {"Authorization": f"Bearer {account.key()}"}
    return httpx2.post(f"{account.house.url}/v1/images/generations", json=body, headers=headers, timeout=60)


@pytest.mark.parametrize("engine", PICTURES)
def test_a_picture_is_stored_marked_and_charged_once(account: Account, engine: str, tmp_path: Path) -> None:
    answer = ask(account, PICTURES[engine], n=2, output_format="webp")
    assert answer.status_code == 200, answer.text
    for one in answer.json()["data"]:
        body = httpx2.get(one["url"]).content
        facts = probe(body)
        assert (facts.content_type, facts.width, facts.height) == ("image/webp", 64, 96)
        assert b"trainedAlgorithmicMedia" in body
    assert account.spent_micro == (2 * PRICE_MICRO if engine == "diffusers" else 0)
    assert account.held_micro == 0


def test_what_fals_users_write_reaches_the_pipeline(account: Account) -> None:
    headers = {"Authorization": f"Key {account.key()}"}
    fields = {"prompt": "a fox", "image_size": {"width": 64, "height": 96}, "num_inference_steps": 2, "num_images": 1}
    url = f"{account.house.url}/fal/run/{PICTURES['openvino']}"
    answer = httpx2.post(url, json=fields, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    (image,) = answer.json()["images"]
    assert (image["width"], image["height"]) == (64, 96)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"steps": 0}, "steps"),
        ({"size": "60x64"}, "size"),
        ({"guidance_scale": 99}, "guidance_scale"),
        ({"folder": "/etc"}, "folder"),
    ],
)
def test_a_wrong_input_is_refused_and_costs_nothing(account: Account, fields: dict[str, Any], param: str) -> None:
    answer = ask(account, PICTURES["diffusers"], **fields)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    account.untouched()


@pytest.mark.parametrize("name", ["pickled", "gone"])
def test_a_folder_that_cannot_be_used_is_refused_before_anything_is_held(account: Account, name: str) -> None:
    answer = ask(account, f"local/diffusers:{name}")
    assert answer.status_code == 404, answer.text
    assert "its folder cannot be used, calotype doctor says why" in answer.json()["error"]["message"]
    account.untouched()


def test_no_request_can_name_a_path(account: Account) -> None:
    for model in ("local/diffusers:/etc", "local/diffusers:../elsewhere/tiny", "local/openvino:owner/tiny"):
        answer = ask(account, model)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    account.untouched()


def test_cancelling_a_job_ends_the_process_that_makes_the_picture_and_costs_nothing(account: Account) -> None:
    house = account.house
    headers = {"Authorization": f"Key {account.key()}"}
    fields = {"prompt": "a fox", "size": "1024x1024", "steps": 150}
    queue = f"{house.url}/fal/queue/{PICTURES['diffusers']}"
    job = httpx2.post(queue, json=fields, headers=headers).json()
    runtime = house.app.runtimes["local"]
    assert isinstance(runtime, LocalRuntime)
    pool = runtime.large_pool

    async def working() -> int:
        async with asyncio.timeout(60):
            while not house.app.stepper.progress.get(job["request_id"]):
                await asyncio.sleep(0.05)
        (pid,) = pool.pids
        return int(pid)

    pid = house.ask(working())
    answer = httpx2.put(job["cancel_url"], headers=headers)
    assert answer.status_code in (200, 202), answer.text

    async def ended() -> None:
        async with asyncio.timeout(30):
            while pid in pool.pids:
                await asyncio.sleep(0.05)

    house.ask(ended())
    assert (account.spent_micro, account.held_micro) == (0, 0)


def command(house: House, *arguments: str) -> Any:
    """Run a command with the settings that the server has."""
    settings = house.app.settings
    pipelines = {name: str(one.path) for name, one in settings.local.pipelines.items()}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CALOTYPE_")},
        "CALOTYPE_DATA_DIR": str(settings.data_dir),
        "CALOTYPE_LOCAL__PIPELINES": json.dumps(pipelines),
    }
    program = [sys.executable, "-m", "calotype", *arguments, "--json"]
    done = subprocess.run(
        program, check=False, env=environment, cwd=settings.data_dir, capture_output=True, text=True, timeout=60
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_the_list_of_models_says_which_run_here_and_what_is_missing(served: House) -> None:
    cards = {card["id"]: card for card in command(served, "models", "list", "--all")}
    assert all(cards[model]["available"] for model in PICTURES.values())
    assert not cards["local/diffusers:pickled"]["available"]
    assert cards["local/diffusers:pickled"]["routes"][0]["lacks"] == ["pipeline:pickled"]
    assert cards[PICTURES["openvino"]]["price"]["text"] == "free"


def test_the_doctor_looks_at_each_pipeline(served: House) -> None:
    report = command(served, "doctor")
    found = next(check for check in report["checks"] if check["name"] == "pipelines")
    assert not found["ok"], "the settings name one that is not there"
    assert f"{PICTURES['diffusers']} (ready)" in found["found"]
    assert "local/diffusers:gone (the folder is not there)" in found["found"]
    assert "local/diffusers:pickled (unet has its weights only as a pickle" in found["found"]
