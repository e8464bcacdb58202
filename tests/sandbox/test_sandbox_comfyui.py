"""The emulated ComfyUI over real sockets: what its jobs, queue, history and files answer (`wire/comfyui.md §2`)."""

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import av
import httpx2
import pytest
from PIL import Image

from calotype.sandbox.comfyui import ComfyUI

PIXEL = {"base": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 255}}}


def card(prefix: str = "gw/j/out", **inputs: Any) -> dict[str, Any]:
    """A graph that needs no model."""
    base = {"class_type": "EmptyImage", "inputs": {**PIXEL["base"]["inputs"], **inputs}}
    return {
        "base": base,
        "out": {"class_type": "SaveImage", "inputs": {"images": ["base", 0], "filename_prefix": prefix}},
    }


def picture(text: str = "x", prefix: str = "gw/j/out", **sampler: Any) -> dict[str, Any]:
    """A graph with a sampler."""
    return {
        "ck": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "ace_step_v1_3.5b.safetensors"}},
        "pos": {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["ck", 1]}},
        "lat": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 2}},
        "smp": {"class_type": "KSampler", "inputs": {
            "model": ["ck", 0], "positive": ["pos", 0], "negative": ["pos", 0], "latent_image": ["lat", 0], "seed": 1,
            "steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, **sampler}},
        "dec": {"class_type": "VAEDecode", "inputs": {"samples": ["smp", 0], "vae": ["ck", 2]}},
        "out": {"class_type": "SaveImage", "inputs": {"images": ["dec", 0], "filename_prefix": prefix}},
    }  # fmt: skip


@pytest.fixture
async def comfy() -> AsyncIterator[ComfyUI]:
    emulator = ComfyUI()
    await emulator.start()
    yield emulator
    await emulator.stop()


@pytest.fixture
async def http(comfy: ComfyUI) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=comfy.url, timeout=20) as client:
        yield client


async def submit(http: httpx2.AsyncClient, graph: dict[str, Any], **fields: Any) -> str:
    body = {"prompt": graph, "prompt_id": str(uuid.uuid4()), "client_id": "me", **fields}
    answer = await http.post("/prompt", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["prompt_id"])


async def entry(http: httpx2.AsyncClient, ident: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while not (found := (await http.get(f"/history/{ident}")).json()):
            await asyncio.sleep(0.01)
    return dict(found[ident])


async def order(http: httpx2.AsyncClient, **orders: Any) -> dict[str, Any]:
    answer = await http.post("/__control__", json=orders)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def running(http: httpx2.AsyncClient, ident: str) -> None:
    async with asyncio.timeout(20):
        while [item[1] for item in (await http.get("/queue")).json()["queue_running"]] != [ident]:
            await asyncio.sleep(0.01)


def wrong(answer: httpx2.Response, node: str) -> dict[str, Any]:
    assert answer.status_code == 400
    (error,) = answer.json()["node_errors"][node]["errors"]
    return dict(error)


# -- submit -----------------------------------------------------------------------------------------------------------


async def test_a_job_ends_in_the_history_with_files_that_can_be_viewed(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/prompt", json={"prompt": picture(), "client_id": "me", "extra_data": {
        "api_key_comfy_org": "secret", "note": 1}})  # fmt: skip
    body = answer.json()
    assert body == {"prompt_id": body["prompt_id"], "number": 0, "node_errors": {}}
    found = await entry(http, body["prompt_id"])
    number, ident, graph, extra, outputs = found["prompt"]
    assert (number, ident, graph, outputs) == (0, body["prompt_id"], picture(), ["out"])
    assert extra == {"note": 1, "client_id": "me", "create_time": extra["create_time"]}
    assert found["outputs"] == {"out": {"images": [
        {"filename": f"out_{n:05}_.png", "subfolder": "gw/j", "type": "output"} for n in (1, 2)]}}  # fmt: skip
    assert (found["status"]["status_str"], found["status"]["completed"]) == ("success", True)
    assert [name for name, _ in found["status"]["messages"]] == [
        "execution_start", "execution_cached", "execution_success"
    ]  # fmt: skip
    assert found["meta"]["out"]["real_node_id"] == "out"
    file = await http.get("/view", params={"filename": "out_00002_.png", "subfolder": "gw/j", "type": "output"})
    assert file.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(file.content)).size == (64, 64)


async def test_every_address_is_there_below_api_too(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/api/prompt")).json() == {"exec_info": {"queue_remaining": 0}}
    assert (await http.post("/api/prompt", json={})).json()["error"]["type"] == "no_prompt"


async def test_saved_files_carry_the_whole_graph_unless_told_not_to(http: httpx2.AsyncClient) -> None:
    async def text_of(graph: dict[str, Any]) -> dict[str, Any]:
        found = await entry(http, await submit(http, graph, extra_data={"extra_pnginfo": {"workflow": {"a": 1}}}))
        (item,) = found["outputs"]["out"]["images"]
        body = (await http.get("/view", params=item)).content
        return {name: json.loads(value) for name, value in Image.open(io.BytesIO(body)).text.items()}  # type: ignore[attr-defined]

    assert await text_of(card(color=1)) == {"prompt": card(color=1), "workflow": {"a": 1}}
    await order(http, settings={"metadata": 0})
    assert await text_of(card(color=2)) == {}


async def test_a_graph_without_class_or_output_is_refused_whole(http: httpx2.AsyncClient) -> None:
    for graph, kind, details in (
        ({"1": {"inputs": {}}}, "invalid_prompt", "Node ID '#1'"),
        ({"1": {"class_type": "Nobody", "inputs": {}}}, "invalid_prompt", "Node ID '#1'"),
        ({"nodes": [], "links": []}, "invalid_prompt", "Node ID '#nodes'"),
        (PIXEL, "prompt_no_outputs", ""),
        ({}, "prompt_no_outputs", ""),
    ):
        answer = await http.post("/prompt", json={"prompt": graph})
        assert (answer.status_code, answer.json()["node_errors"]) == (400, {})
        error = answer.json()["error"]
        assert (error["type"], error["details"]) == (kind, details)
    assert (await http.post("/prompt", content=b"{")).status_code == 500


@pytest.mark.parametrize(
    ("inputs", "kind", "details"),
    [
        ({"width": 0}, "value_smaller_than_min", "width"),
        ({"width": 99999}, "value_bigger_than_max", "width"),
        ({"width": "many"}, "invalid_input_type", "width, many, invalid literal for int() with base 10: 'many'"),
        ({"width": [1]}, "bad_linked_input", "width"),
    ],
)
async def test_a_wrong_value_is_named_with_its_node(
    http: httpx2.AsyncClient, inputs: dict[str, Any], kind: str, details: str
) -> None:
    answer = await http.post("/prompt", json={"prompt": card(**inputs)})
    error = wrong(answer, "base")
    assert (error["type"], error["details"], error["extra_info"]["input_name"]) == (kind, details, "width")
    assert answer.json()["node_errors"]["base"]["dependent_outputs"] == ["out"]
    assert answer.json()["error"]["type"] == "prompt_outputs_failed_validation"


async def test_a_missing_input_model_or_file_is_named(http: httpx2.AsyncClient) -> None:
    graph = picture()
    del graph["smp"]["inputs"]["steps"]
    assert wrong(await http.post("/prompt", json={"prompt": graph}), "smp")["type"] == "required_input_missing"
    graph = picture()
    graph["ck"]["inputs"]["ckpt_name"] = "gone.safetensors"
    error = wrong(await http.post("/prompt", json={"prompt": graph}), "ck")
    assert (error["type"], error["extra_info"]["received_value"]) == ("value_not_in_list", "gone.safetensors")
    graph = {"img": {"class_type": "LoadImage", "inputs": {"image": "no.png"}},
             "out": {"class_type": "PreviewImage", "inputs": {"images": ["img", 0]}}}  # fmt: skip
    error = wrong(await http.post("/prompt", json={"prompt": graph}), "img")
    assert (error["type"], error["details"]) == ("custom_validation_failed", "image - Invalid image file: no.png")


async def test_wrong_links_are_a_mismatch_or_an_exception_that_shows_paths(http: httpx2.AsyncClient) -> None:
    graph = picture()
    graph["dec"]["inputs"]["vae"] = ["ck", 0]
    assert wrong(await http.post("/prompt", json={"prompt": graph}), "dec")["type"] == "return_type_mismatch"
    for link in (["nobody", 0], ["ck", 9]):
        graph["dec"]["inputs"]["vae"] = link
        error = wrong(await http.post("/prompt", json={"prompt": graph}), "dec")
        assert (error["type"], error["extra_info"]["linked_node"]) == ("exception_during_inner_validation", ["dec", 0])
        assert "/opt/ComfyUI" in error["extra_info"]["traceback"][0]
    graph["out"]["inputs"]["images"] = ["nobody", 0]
    error = wrong(await http.post("/prompt", json={"prompt": graph}), "out")
    assert (error["type"], error["extra_info"]["exception_type"]) == ("exception_during_validation", "KeyError")


async def test_choices_of_newer_classes_are_only_seen_when_they_run(http: httpx2.AsyncClient) -> None:
    graph = {
        "enc": {"class_type": "AudioEncoderLoader", "inputs": {"audio_encoder_name": "gone.safetensors"}},
        "out": {"class_type": "PreviewAny", "inputs": {"source": ["enc", 0]}},
    }
    facts = (await entry(http, await submit(http, graph)))["status"]["messages"][-1][1]
    assert (facts["node_type"], facts["exception_type"]) == ("AudioEncoderLoader", "FileNotFoundError")
    assert facts["exception_message"] == "Model in folder 'audio_encoders' with filename 'gone.safetensors' not found."


async def test_numbers_may_be_texts_and_lists_are_wrapped(http: httpx2.AsyncClient) -> None:
    found = await entry(http, await submit(http, card(width="128", color={"__value__": 7})))
    assert found["prompt"][2]["base"]["inputs"]["width"] == 128
    assert found["prompt"][2]["base"]["inputs"]["color"] == 7


async def test_one_good_output_is_accepted_and_the_broken_one_told_beside_it(http: httpx2.AsyncClient) -> None:
    graph = {**card(), "bad": {"class_type": "SaveImage", "inputs": {"images": ["base", 0]}}}
    answer = await http.post("/prompt", json={"prompt": graph, "client_id": "me"})
    assert answer.status_code == 200
    assert set(answer.json()["node_errors"]) == {"bad"}
    assert set((await entry(http, answer.json()["prompt_id"]))["outputs"]) == {"out"}


async def test_a_caller_chooses_the_id_and_may_use_it_twice(http: httpx2.AsyncClient) -> None:
    assert await submit(http, card(), prompt_id=123) == "123"
    first = await entry(http, "123")
    await submit(http, card(prefix="gw/other"), prompt_id="123")
    async with asyncio.timeout(20):
        while (await entry(http, "123"))["prompt"][0] == first["prompt"][0]:
            await asyncio.sleep(0.01)


async def test_only_the_outputs_asked_for_run(http: httpx2.AsyncClient) -> None:
    graph = {**card(), "more": {"class_type": "PreviewImage", "inputs": {"images": ["base", 0]}}}
    found = await entry(http, await submit(http, graph, partial_execution_targets=["more"]))
    (item,) = found["outputs"]["more"]["images"]
    assert item["type"] == "temp"
    refused = await http.post("/prompt", json={"prompt": graph, "partial_execution_targets": ["no"]})
    assert refused.json()["error"]["type"] == "prompt_no_outputs"


# -- queue and cancel -------------------------------------------------------------------------------------------------


async def test_the_queue_is_ordered_by_number_and_front_jumps_it(http: httpx2.AsyncClient) -> None:
    first = await submit(http, picture("@work=30"))
    await running(http, first)
    second, third = await submit(http, picture("b")), await submit(http, picture("c"), front=True)
    queue = (await http.get("/queue")).json()
    assert sorted(queue["queue_pending"], key=lambda item: item[0])[0][1] == third
    assert (await http.get("/prompt")).json() == {"exec_info": {"queue_remaining": 3}}
    await http.post("/queue", json={"delete": [second, "unknown", first]})
    assert [item[1] for item in (await http.get("/queue")).json()["queue_pending"]] == [third]
    await http.post("/queue", json={"clear": True})
    queue = (await http.get("/queue")).json()
    assert (queue["queue_pending"], [item[1] for item in queue["queue_running"]]) == ([], [first])
    assert (await http.get(f"/history/{second}")).json() == {}


async def test_an_interrupt_heeds_the_id_and_ends_as_an_incomplete_error(http: httpx2.AsyncClient) -> None:
    ident = await submit(http, picture("@work=30"))
    await running(http, ident)
    assert (await http.post("/interrupt", json={"prompt_id": "another"})).status_code == 200
    assert (await http.get("/prompt")).json()["exec_info"]["queue_remaining"] == 1
    await http.post("/interrupt", json={"prompt_id": ident})
    found = await entry(http, ident)
    assert (found["status"]["status_str"], found["status"]["completed"]) == ("error", False)
    name, facts = found["status"]["messages"][-1]
    assert (name, facts["node_id"]) == ("execution_interrupted", "smp")
    await http.post("/interrupt")
    assert (await entry(http, await submit(http, card())))["status"]["completed"]


async def test_an_older_server_interrupts_whatever_runs(http: httpx2.AsyncClient) -> None:
    await order(http, settings={"targeted": 0})
    ident = await submit(http, picture("@work=30"))
    await running(http, ident)
    await http.post("/interrupt", json={"prompt_id": "another"})
    assert not (await entry(http, ident))["status"]["completed"]


async def test_the_newer_jobs_address_is_only_there_when_switched_on(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/api/jobs")).status_code == 404
    await order(http, settings={"jobs_api": 1})
    first = await submit(http, picture("@work=30"))
    await running(http, first)
    second = await submit(http, card())
    jobs = (await http.get("/api/jobs")).json()["jobs"]
    assert [(job["id"], job["status"]) for job in jobs] == [(first, "in_progress"), (second, "pending")]
    for _ in range(2):
        assert (await http.post("/api/jobs/cancel", json={"job_ids": [first, second]})).status_code == 200
    await entry(http, first)
    assert (await http.get(f"/api/jobs/{first}")).json()["status"] == "cancelled"
    assert (await http.get(f"/api/jobs/{second}")).status_code == 404
    third = await submit(http, card())
    await entry(http, third)
    job = (await http.get(f"/api/jobs/{third}")).json()
    assert (job["status"], job["outputs_count"], job["workflow"]["prompt"]) == ("completed", 1, card())


# -- history and caches -----------------------------------------------------------------------------------------------


async def test_the_history_pages_from_its_end_and_forgets(http: httpx2.AsyncClient) -> None:
    idents = [await submit(http, card(prefix=f"gw/{n}")) for n in range(3)]
    for ident in idents:
        await entry(http, ident)
    assert list((await http.get("/history", params={"max_items": 2})).json()) == idents[1:]
    assert list((await http.get("/history", params={"max_items": 1, "offset": 0})).json()) == idents[:1]
    await http.post("/history", json={"delete": [idents[0]]})
    assert list((await http.get("/history")).json()) == idents[1:]
    await http.post("/history", json={"clear": True})
    assert (await http.get("/history")).json() == {}


async def test_a_cached_rerun_shows_another_jobs_file_and_nothing_without_a_client(http: httpx2.AsyncClient) -> None:
    first = await entry(http, await submit(http, card()))
    again = await entry(http, await submit(http, card()))
    assert again["outputs"] == first["outputs"]
    assert again["status"]["messages"][1][1]["nodes"] == ["base", "out"]
    answer = await http.post("/prompt", json={"prompt": card()})
    silent = await entry(http, answer.json()["prompt_id"])
    assert (silent["outputs"], silent["status"]["status_str"]) == ({}, "success")
    fresh = await entry(http, await submit(http, card(prefix="gw/k/out")))
    assert fresh["status"]["messages"][1][1]["nodes"] == ["base"]
    assert fresh["outputs"]["out"]["images"][0]["subfolder"] == "gw/k"
    await http.post("/free", json={"free_memory": True})
    assert (await entry(http, await submit(http, card(prefix="gw/k/out"))))["status"]["messages"][1][1]["nodes"] == []


async def test_equal_graphs_give_equal_pictures_and_another_seed_another(http: httpx2.AsyncClient) -> None:
    async def bytes_of(prefix: str, **sampler: Any) -> bytes:
        found = await entry(http, await submit(http, picture(prefix=prefix, **sampler)))
        body = (await http.get("/view", params=found["outputs"]["out"]["images"][0])).content
        return Image.open(io.BytesIO(body)).tobytes()

    await order(http, settings={"cache": 0})
    assert await bytes_of("a") == await bytes_of("a")
    assert await bytes_of("a") != await bytes_of("a", seed=2)


async def test_models_are_loaded_once_until_the_worker_is_told_to_free_them(http: httpx2.AsyncClient) -> None:
    for prefix in ("a", "b"):
        await entry(http, await submit(http, picture(prefix, prefix=prefix)))
    assert (await order(http))["loads"] == ["ace_step_v1_3.5b.safetensors"]
    await http.post("/free", json={"unload_models": True, "free_memory": True})
    await entry(http, await submit(http, picture("c", prefix="c")))
    assert len((await order(http))["loads"]) == 2


# -- what other nodes save --------------------------------------------------------------------------------------------


async def test_each_kind_of_node_shows_its_files_under_its_own_key(http: httpx2.AsyncClient) -> None:
    def graph(kind: str, **inputs: Any) -> dict[str, Any]:
        return {**card(batch_size=3), "save": {"class_type": kind, "inputs": {"images": ["base", 0], **inputs}}}

    async def shown(kind: str, **inputs: Any) -> dict[str, Any]:
        found = await entry(http, await submit(http, graph(kind, **inputs), partial_execution_targets=["save"]))
        return dict(found["outputs"]["save"])

    webm = await shown("SaveWEBM", filename_prefix="v/a", codec="vp9", fps=8.0, crf=30.0)
    assert (webm["images"][0]["filename"], webm["animated"]) == ("a_00001_.webm", [True])
    webp = await shown("SaveAnimatedWEBP", filename_prefix="v/a", fps=8.0, lossless=True, quality=80, method="default")
    body = (await http.get("/view", params=webp["images"][0])).content
    assert Image.open(io.BytesIO(body)).n_frames == 3  # type: ignore[attr-defined]
    combined = await shown(
        "VHS_VideoCombine", filename_prefix="v/a", frame_rate=8.0, loop_count=0, format="video/h264-mp4",
        pingpong=False, save_output=True,
    )  # fmt: skip
    (item,) = combined["gifs"]
    assert item["fullpath"] == f"/opt/ComfyUI/output/v/{item['filename']}"
    text = {**card(), "text": {"class_type": "PreviewAny", "inputs": {"source": ["base", 0]}}}
    found = await entry(http, await submit(http, text, partial_execution_targets=["text"]))
    assert found["outputs"]["text"] == {"text": ["64"]}


async def test_video_and_sound_last_as_long_as_the_graph_says(http: httpx2.AsyncClient) -> None:
    graph = {
        "lat": {"class_type": "EmptyAceStepLatentAudio", "inputs": {"seconds": 2.0, "batch_size": 1}},
        "ck": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "ace_step_v1_3.5b.safetensors"}},
        "aud": {"class_type": "VAEDecodeAudio", "inputs": {"samples": ["lat", 0], "vae": ["ck", 2]}},
        "base": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 24, "color": 1}},
        "vid": {"class_type": "CreateVideo", "inputs": {"images": ["base", 0], "fps": 12.0, "audio": ["aud", 0]}},
        "film": {"class_type": "SaveVideo", "inputs": {
            "video": ["vid", 0], "filename_prefix": "a/film", "format": "mp4", "codec": "h264"}},
        "mp3": {"class_type": "SaveAudioMP3", "inputs": {
            "audio": ["aud", 0], "filename_prefix": "a/song", "quality": "V0"}},
    }  # fmt: skip
    outputs = (await entry(http, await submit(http, graph)))["outputs"]
    assert outputs["film"]["animated"] == [True]
    body = (await http.get("/view", params=outputs["film"]["images"][0])).content
    with av.open(io.BytesIO(body)) as film:
        assert (film.streams.video[0].frames, film.streams.video[0].width) == (24, 64)
        assert len(film.streams.audio) == 1
        assert json.loads(film.metadata["prompt"]) == graph
    answer = await http.get("/view", params=outputs["mp3"]["audio"][0])
    assert answer.headers["content-type"] == "audio/mpeg"
    with av.open(io.BytesIO(answer.content)) as song:
        assert song.duration == pytest.approx(2_000_000, rel=0.05)
