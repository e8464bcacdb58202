"""The house's own models on a worker, from end to end: a test key, a real server, and an emulated ComfyUI."""

import base64
import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx2
import pytest
from PIL import Image

from calotype.kernel.generation import KeyClass
from calotype.sandbox import media
from calotype.sandbox.comfyui import ComfyUI
from calotype.sandbox.comfyui_media import recording
from calotype.sandbox.serve import on_a_thread
from running import House, running

PORTRAIT = "data:image/png;base64," + base64.b64encode(media.png(320, 320, "face")).decode()
SPEECH = "data:audio/mpeg;base64," + base64.b64encode(recording(6.0, "speech", "mp3")).decode()


@pytest.fixture(scope="module")
def worker() -> Iterator[ComfyUI]:
    emulator = ComfyUI()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture(scope="module")
def house(worker: ComfyUI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("cards"), workers={"one": {"url": worker.url}}) as served:
        yield served


@pytest.fixture
def client(house: House) -> Iterator[httpx2.Client]:
    key = house.account(micro=0).key(KeyClass.TEST)
    with httpx2.Client(base_url=house.url, timeout=60, headers={"Authorization": f"Key {key}"}) as found:
        yield found


def made(client: httpx2.Client, model: str, **fields: Any) -> list[tuple[str, bytes]]:
    """Run a model and return content types and bytes of its files."""
    answer = client.post(f"/fal/run/{model}", json=fields)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    files = body.get("images") or [body.get("video") or body.get("audio") or body.get("audio_file")]
    fetched = [client.get(file["url"]) for file in files]
    return [(one.headers["content-type"], one.content) for one in fetched]


def length_s(body: bytes) -> float:
    with av.open(io.BytesIO(body)) as found:
        return (found.duration or 0) / 1_000_000


def test_the_worker_route_of_krea_2_draws_for_the_shared_test_key(client: httpx2.Client, worker: ComfyUI) -> None:
    pictures = made(client, "krea-2", prompt="a lighthouse, secretly", size="512x256", n=2, seed=0)
    for kind, body in pictures:
        picture = Image.open(io.BytesIO(body))
        assert (kind, picture.size, picture.info.get("prompt")) == ("image/png", (512, 256), None)
        assert b"secretly" not in body
    assert len(pictures) == 2
    graph = worker.submits[-1].json()["prompt"]
    assert graph["smp"]["inputs"]["seed"] == 0
    assert graph["lat"]["inputs"] == {"width": 512, "height": 256, "batch_size": 2}


def test_a_seed_of_nought_is_a_seed(client: httpx2.Client) -> None:
    assert client.post("/fal/run/krea-2", json={"prompt": "x", "seed": 0}).json()["seed"] == 0


def test_a_paying_caller_never_reaches_a_worker(house: House, worker: ComfyUI) -> None:
    before = len(worker.submits)
    key = house.account().key(KeyClass.PAID)
    answer = httpx2.post(
        f"{house.url}/fal/run/krea-2", json={"prompt": "x"}, headers={"Authorization": f"Key {key}"}, timeout=30
    )
    assert answer.status_code >= 400
    assert len(worker.submits) == before


@pytest.mark.parametrize("model", ["wan", "bernini"])
def test_a_video_from_words_or_from_a_picture_lasts_as_asked(
    client: httpx2.Client, worker: ComfyUI, model: str
) -> None:
    for more, kind in (({}, "EmptyHunyuanLatentVideo"), ({"image_url": PORTRAIT}, "WanImageToVideo")):
        ((content_type, body),) = made(client, model, prompt="waves", seconds=1, **more)
        assert (content_type, length_s(body)) == ("video/mp4", pytest.approx(17 / 16, abs=0.07))
        graph = worker.submits[-1].json()["prompt"]
        assert graph["lat"]["class_type"] == kind


def test_an_avatar_speaks_as_long_as_its_recording(client: httpx2.Client, worker: ComfyUI) -> None:
    ((_, body),) = made(client, "avatar", image_url=PORTRAIT, audio_url=SPEECH, seconds=20)
    assert length_s(body) == pytest.approx(6.0, abs=0.2), "what is asked is the most"
    ((_, body),) = made(client, "avatar", image_url=PORTRAIT, audio_url=SPEECH)
    assert length_s(body) == pytest.approx(6.0, abs=0.2)
    graph = worker.submits[-1].json()["prompt"]
    assert "smp2" in graph, "a second piece of 77 frames"
    with av.open(io.BytesIO(body)) as film:
        assert film.streams.audio


def test_an_avatar_runs_on_infinitetalk_where_the_worker_has_only_that(
    client: httpx2.Client, house: House, tmp_path: Path
) -> None:
    older = ComfyUI("older", without=("WanSoundImageToVideo",))
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_a_thread(older))
        served = stack.enter_context(running(tmp_path, workers={"one": {"url": older.url}}))
        key = served.account(micro=0).key(KeyClass.TEST)
        headers = {"Authorization": f"Key {key}"}
        with httpx2.Client(base_url=served.url, timeout=60, headers=headers) as other:
            ((_, body),) = made(other, "avatar", image_url=PORTRAIT, audio_url=SPEECH, seconds=2)
        assert length_s(body) == pytest.approx(2.0, abs=0.2)
        assert "talk" in older.submits[-1].json()["prompt"]


def test_music_and_the_test_card(client: httpx2.Client, worker: ComfyUI) -> None:
    ((kind, body),) = made(client, "ace-step", prompt="lofi", seconds=5)
    assert (kind, length_s(body)) == ("audio/mpeg", pytest.approx(5.0, abs=0.2))
    assert b"KSampler" not in body
    ((kind, body),) = made(client, "comfyui/test-card", colour=255)
    assert Image.open(io.BytesIO(body)).size == (512, 512)
    assert worker.submits[-1].json()["prompt"]["base"]["inputs"]["color"] == 255


def test_a_lora_is_named_and_one_by_url_is_refused_without_a_shared_folder(
    client: httpx2.Client, worker: ComfyUI
) -> None:
    model = "comfy/fal-ai/dynamic-lora-loading"
    assert made(client, model, prompt="x", lora_url="my_style.safetensors")
    assert worker.submits[-1].json()["prompt"]["lora1"]["inputs"]["lora_name"] == "my_style.safetensors"
    before = len(worker.submits)
    answer = client.post(f"/fal/run/{model}", json={"prompt": "x", "lora_url": "https://example.com/a.safetensors"})
    assert answer.status_code >= 400
    assert "folder" in json.dumps(answer.json()).lower()
    assert len(worker.submits) == before
