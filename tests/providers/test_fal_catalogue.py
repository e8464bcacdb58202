"""Every model that runs at fal, from a request in fal's own words to what comes back, all queued at one server."""

import io
import time
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from msgspec import Struct

from calotype.catalog import Card, Catalog
from calotype.providers.base import PollSchedule
from calotype.providers.fal import Fal
from calotype.sandbox import media
from calotype.sandbox.fal import Fal as FalEmulator
from calotype.sandbox.fal_endpoints import ENDPOINTS
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

CARDS = [card for card in Catalog.load().cards() if any(route.provider == "fal" for route in card.routes)]
WITH_PICTURE = [card for card in CARDS if {"text-to-video", "image-to-video"} <= set(card.operations)]
PATIENCE_S = 50.0
KINDS = {"image": ("images", "image"), "video": ("video",), "audio": ("audio",), "text": ("output",),
         "file": ("diffusers_lora_file",), "data": ("finetune_id",)}  # fmt: skip


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for n in range(4):
            file.writestr(f"{n}.png", media.png(8, 8, str(n)))
    return packed.getvalue()


FILES = {
    "image": f"data:image/png;base64,{b64encode(media.png(64, 64)).decode()}",
    "audio": f"data:audio/wav;base64,{b64encode(media.wav(0.5)).decode()}",
    "video": f"data:video/mp4;base64,{b64encode(media.mp4(0.5)).decode()}",
    "archive": f"data:application/zip;base64,{b64encode(archive()).decode()}",
}


class Run(Struct):
    """One request and what became of it."""

    card: Card
    fields: dict[str, Any]
    id: str = ""
    status_url: str = ""
    response_url: str = ""
    status: int = 0
    body: dict[str, Any] = {}


def asked(card: Card, **more: Any) -> Run:
    fields = {**card.example, **more}
    for name, kind in card.media_fields.items():
        if name in fields:
            fields[name] = [FILES[kind]] if isinstance(fields[name], list) else FILES[kind]
    return Run(card, fields)


class World(Struct):
    """The server after everything has run."""

    house: House
    account: Account
    fal: FalEmulator
    runs: dict[str, Run]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Submit everything, then wait for all of it."""
    emulator = FalEmulator()
    with on_a_thread(emulator), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fal, "schedule", PollSchedule(first_s=0.05, factor=1.2, max_s=0.5))
        settings = {"fal": {"api_key": "sandbox:key", "base_url": f"{emulator.url}/queue"}}
        with running(tmp_path_factory.mktemp("house"), providers=settings) as house:
            account = house.account(micro=1_000_000_000)
            runs = {card.id: asked(card) for card in CARDS}
            runs |= {f"{card.id} of a picture": asked(card, image_url="") for card in WITH_PICTURE}
            headers = {"Authorization": f"Key {account.key()}"}
            with httpx2.Client(base_url=house.url, headers=headers, timeout=60) as http:
                for run in runs.values():
                    answer = http.post(f"/fal/queue/{run.card.id}", json=run.fields)
                    assert answer.status_code == 200, (run.card.id, answer.text)
                    body = answer.json()
                    run.id, run.status_url, run.response_url = (
                        body[name] for name in ("request_id", "status_url", "response_url")
                    )
                until = time.monotonic() + PATIENCE_S
                for run in runs.values():
                    while http.get(run.status_url).status_code == 202 and time.monotonic() < until:
                        time.sleep(0.05)
                    answer = http.get(run.response_url)
                    run.status, run.body = answer.status_code, answer.json()
            yield World(house, account, emulator, runs)


names = pytest.mark.parametrize("name", [card.id for card in CARDS] + [f"{c.id} of a picture" for c in WITH_PICTURE])


@names
def test_it_comes_back_in_the_shape_of_its_kind(world: World, name: str) -> None:
    run = world.runs[name]
    assert run.status == 200, run.body
    found = next((run.body[field] for field in KINDS[run.card.output] if field in run.body), None)
    if name == "fal-ai/minimax/voice-clone":
        found = run.body["custom_voice_id"]
    assert found, run.body
    if run.card.output == "image":
        pictures = found if isinstance(found, list) else [found]
        assert len(pictures) == run.card.outputs_of(run.card.check(run.card.example).input)
        assert all(picture["content_type"].startswith("image/") for picture in pictures)


@names
def test_it_is_submitted_once_with_what_fal_wants(world: World, name: str) -> None:
    run = world.runs[name]
    ((upstream, ident),) = world.house.rows(
        "SELECT upstream_model, upstream_id FROM submission WHERE job_id = :job", job=run.id
    )
    work = world.fal.works[ident]
    assert work.endpoint == upstream
    assert upstream in ENDPOINTS, "an endpoint that the emulator knows by name"
    assert not any("@" in field for field in work.fields)
    uploads = [str(value) for field, value in work.fields.items() if field.endswith(("_url", "_urls"))]
    assert all("/cdn/files/" in value for value in uploads if "example.com" not in value)


@names
def test_it_is_charged_what_it_costs_or_nothing_where_nobody_says(world: World, name: str) -> None:
    run = world.runs[name]
    ((charged, quoted),) = world.house.rows("SELECT charged_micro, quote_micro FROM job WHERE id = :job", job=run.id)
    card = world.house.app.catalog.find(run.card.id)
    if card.price is not None or any(route.cost.micro for route in card.routes if route.provider == "fal"):
        assert 0 < charged <= quoted
    else:
        assert (charged, quoted) == (0, 0)


def test_nothing_is_held_when_all_is_over(world: World) -> None:
    assert world.account.held_micro == 0
    assert len(world.fal.submits) == len(world.runs)


def test_a_pack_is_four_pictures_for_one_price(world: World) -> None:
    run = world.runs["content-image-fast-pack"]
    assert len(run.body["images"]) == 4
    ((charged,),) = world.house.rows("SELECT charged_micro FROM job WHERE id = :job", job=run.id)
    assert charged == 998_000


def test_a_picture_leads_to_the_endpoint_for_pictures(world: World) -> None:
    ends = {name: world.house.rows("SELECT upstream_model FROM submission WHERE job_id = :job", job=world.runs[name].id)
            for name in ("kling-3-pro", "kling-3-pro of a picture", "wan", "wan of a picture")}  # fmt: skip
    assert [rows[0][0] for rows in ends.values()] == [
        "fal-ai/kling-video/v3/pro/text-to-video", "fal-ai/kling-video/v3/pro/image-to-video",
        "fal-ai/krea-wan-14b/text-to-video", "fal-ai/wan-i2v",
    ]  # fmt: skip


def test_a_training_may_take_longer_than_other_jobs(world: World) -> None:
    ((created, deadline),) = world.house.rows(
        "SELECT created_at_ms, deadline_at_ms FROM job WHERE id = :job",
        job=world.runs["fal-ai/flux-lora-fast-training"].id,
    )
    assert deadline - created == 6 * 3_600_000


def test_weights_and_their_configuration_are_both_delivered(world: World) -> None:
    body = world.runs["fal-ai/flux-lora-fast-training"].body
    assert httpx2.get(body["diffusers_lora_file"]["url"]).content == b"weights"
    assert httpx2.get(body["config_file"]["url"]).json() == {}


def test_a_client_of_openai_asks_for_size_and_number_in_its_own_words(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.account.key()}"}
    body = {"model": "fal-ai/flux/dev", "prompt": "a lighthouse", "size": "256x320", "n": 2}
    with httpx2.Client(base_url=world.house.url, headers=headers, timeout=60) as http:
        answer = http.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == 2 and "warnings" not in answer.json()
    sent = world.fal.submits[-1].json()
    assert (sent["image_size"], sent["num_images"]) == ({"width": 256, "height": 320}, 2)
    assert "size" not in sent and "n" not in sent
