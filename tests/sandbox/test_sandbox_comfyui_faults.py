"""The emulated ComfyUI when things go wrong: sockets, restarts, files, and errors (`wire/comfyui.md §3`, §4)."""

import asyncio
import io
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from PIL import Image
from test_sandbox_comfyui import card, entry, order, picture, running, submit
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from calotype.sandbox.comfyui import ComfyUI

FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})


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


def listen(comfy: ComfyUI, client_id: str = "me", path: str = "/ws", **headers: str) -> connect:
    url = comfy.url.replace("http", "ws", 1)
    return connect(f"{url}{path}?clientId={client_id}", additional_headers=headers, proxy=None)


async def heard(socket: ClientConnection, last: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the messages up to the first of this kind; a binary one is kind `preview`."""
    found: list[tuple[str, dict[str, Any]]] = []
    async with asyncio.timeout(20):
        while not found or found[-1][0] != last:
            raw = await socket.recv()
            if isinstance(raw, bytes):
                found.append(("preview", {"body": raw}))
            else:
                message = json.loads(raw)
                found.append((message["type"], message["data"]))
    return found


async def end_of(socket: ClientConnection) -> list[tuple[str, dict[str, Any]]]:
    """Return the messages of a job up to `executing` without a node."""
    found = await heard(socket, "executing")
    while found[-1][1].get("node") is not None:
        found += await heard(socket, "executing")
    return found


# -- sockets ----------------------------------------------------------------------------------------------------------


async def test_a_job_is_told_in_order_to_its_own_client_only(comfy: ComfyUI, http: httpx2.AsyncClient) -> None:
    async with listen(comfy) as mine, listen(comfy, "other") as other:
        first = (await heard(mine, "status"))[0][1]
        assert first == {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"}
        ident = await submit(http, picture(steps=2))
        told = await end_of(mine)
        kinds = [kind for kind, _ in told]
        assert kinds[:4] == ["status", "status", "execution_start", "execution_cached"]
        assert kinds[-3:] == ["execution_success", "status", "executing"]
        assert told[-1][1] == {"node": None, "prompt_id": ident}
        steps = [(facts["value"], facts["max"]) for kind, facts in told if kind == "progress"]
        assert steps == [(1, 2), (2, 2)]
        shown = [facts for kind, facts in told if kind == "executed"]
        assert [(facts["node"], len(facts["output"]["images"])) for facts in shown] == [("out", 2)]
        states = [facts["nodes"]["smp"] for kind, facts in told if kind == "progress_state" and "smp" in facts["nodes"]]
        assert (states[0]["state"], states[-1]["state"]) == ("running", "finished")
        assert states[0]["real_node_id"] == states[0]["display_node_id"] == "smp"
        await heard(other, "status")
        while True:
            try:
                async with asyncio.timeout(0.2):
                    assert json.loads(await other.recv())["type"] == "status"
            except TimeoutError:
                break


async def test_a_job_without_a_client_tells_nobody(comfy: ComfyUI, http: httpx2.AsyncClient) -> None:
    async with listen(comfy) as mine:
        answer = await http.post("/prompt", json={"prompt": card()})
        await entry(http, answer.json()["prompt_id"])
        await submit(http, card(prefix="gw/k"))
        kinds = [kind for kind, _ in await heard(mine, "execution_start")]
        assert set(kinds) == {"status", "execution_start"}


async def test_previews_carry_their_job_only_for_clients_that_ask(comfy: ComfyUI, http: httpx2.AsyncClient) -> None:
    await order(http, settings={"previews": 1})
    async with listen(comfy) as mine:
        await submit(http, picture(steps=1))
        body = (await heard(mine, "preview"))[-1][1]["body"]
        assert struct.unpack(">II", body[:8]) == (1, 2)
        assert Image.open(io.BytesIO(body[8:])).size == (64, 64)
        await end_of(mine)
        await mine.send(FLAGS)
        flags = (await heard(mine, "feature_flags"))[-1][1]
        assert flags["supports_preview_metadata"] is True
        ident = await submit(http, picture(steps=1, prefix="gw/k"), prompt_id="second")
        await submit(http, picture(steps=1, seed=9))
        body = (await heard(mine, "preview"))[-1][1]["body"]
        kind, length = struct.unpack(">II", body[:8])
        facts = json.loads(body[8 : 8 + length])
        assert (kind, facts["node_id"], facts["image_type"]) == (4, "smp", "image/png")
        assert facts["prompt_id"] != ident, "the second one was answered from the cache, without a preview"


async def test_a_second_socket_takes_over_and_a_late_one_hears_only_the_node(
    comfy: ComfyUI, http: httpx2.AsyncClient
) -> None:
    ident = await submit(http, picture("@work=30"))
    await running(http, ident)
    async with listen(comfy) as old:
        assert (await heard(old, "executing"))[-1][1] == {"node": "smp"}
        async with listen(comfy) as new:
            await heard(new, "executing")
            await http.post("/interrupt", json={"prompt_id": ident})
            assert "execution_interrupted" in [kind for kind, _ in await end_of(new)]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    while json.loads(await old.recv())["type"] != "execution_interrupted":
                        pass


async def test_sockets_fall_silent_or_are_closed_while_jobs_go_on(comfy: ComfyUI, http: httpx2.AsyncClient) -> None:
    async with listen(comfy) as mine:
        await heard(mine, "status")
        await order(http, do=["silence_sockets"])
        assert (await entry(http, await submit(http, card())))["status"]["completed"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await mine.recv()
        await order(http, do=["drop_sockets"])
        with pytest.raises(ConnectionClosed):
            await mine.recv()
    assert (await order(http))["sockets"] == 0


async def test_the_history_may_come_after_the_word_of_success(comfy: ComfyUI, http: httpx2.AsyncClient) -> None:
    async with listen(comfy) as mine:
        ident = await submit(http, card(prefix="gw/@late=0.3/out"))
        await heard(mine, "execution_success")
        assert (await http.get(f"/history/{ident}")).json() == {}
        await end_of(mine)
        assert ident in (await http.get(f"/history/{ident}")).json()


# -- errors and lives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind", "node"),
    [("@oom", "torch.OutOfMemoryError", "smp"), ("@fails", "RuntimeError", "smp"), ("x", None, None)],
)
async def test_an_error_leaks_paths_and_prompts(
    http: httpx2.AsyncClient, words: str, kind: str | None, node: str | None
) -> None:
    found = await entry(http, await submit(http, picture(words)))
    name, facts = found["status"]["messages"][-1]
    if kind is None:
        assert name == "execution_success"
        return
    assert (name, facts["exception_type"], facts["node_id"]) == ("execution_error", kind, node)
    assert (found["status"]["status_str"], found["status"]["completed"]) == ("error", False)
    assert ("TIPS" in facts["exception_message"]) == (kind == "torch.OutOfMemoryError")
    assert "/opt/ComfyUI" in facts["traceback"][0]
    assert facts["current_inputs"]["seed"] == [1]
    assert (await entry(http, await submit(http, card())))["status"]["completed"]


async def test_outputs_before_an_error_are_there(http: httpx2.AsyncClient) -> None:
    graph = {**card(), "up": {"class_type": "SaveImage", "inputs": {
        "images": ["base", 0], "filename_prefix": "../escape"}}}  # fmt: skip
    for n in range(20):
        graph["base"]["inputs"]["color"] = n
        found = await entry(http, await submit(http, graph))
        facts = found["status"]["messages"][-1][1]
        assert (facts["node_id"], facts["exception_type"]) == ("up", "Exception")
        if found["outputs"]:
            return
    raise AssertionError("the branches never ran in the other order")


async def test_memory_ends_at_the_pixels_of_the_setting(http: httpx2.AsyncClient) -> None:
    await order(http, settings={"oom_pixels": 64 * 64 * 2 - 1})
    assert not (await entry(http, await submit(http, picture())))["status"]["completed"]
    await order(http, settings={"oom_pixels": 64 * 64 * 2})
    assert (await entry(http, await submit(http, picture(seed=2))))["status"]["completed"]


async def test_a_file_that_is_no_picture_fails_in_its_loader(http: httpx2.AsyncClient) -> None:
    await http.post("/upload/image", files={"image": ("in.png", b"no picture")})
    graph = {"img": {"class_type": "LoadImage", "inputs": {"image": "in.png"}},
             "out": {"class_type": "SaveImage", "inputs": {"images": ["img", 0], "filename_prefix": "a"}}}  # fmt: skip
    facts = (await entry(http, await submit(http, graph)))["status"]["messages"][-1][1]
    assert (facts["node_type"], facts["exception_type"]) == ("LoadImage", "PIL.UnidentifiedImageError")


async def test_a_restart_loses_jobs_and_temp_files_counts_from_zero_and_keeps_outputs(
    comfy: ComfyUI, http: httpx2.AsyncClient
) -> None:
    graph = {**card(), "more": {"class_type": "PreviewImage", "inputs": {"images": ["base", 0]}}}
    done = await submit(http, graph)
    outputs = (await entry(http, done))["outputs"]
    held = await submit(http, picture("@work=30"))
    await running(http, held)
    async with listen(comfy) as mine:
        await order(http, do=["restart"])
        with pytest.raises(ConnectionClosed):
            while True:
                await mine.recv()
    assert (await http.get("/history")).json() == {}
    assert (await http.get("/queue")).json() == {"queue_running": [], "queue_pending": []}
    for node, status in (("out", 200), ("more", 404)):
        assert (await http.get("/view", params=outputs[node]["images"][0])).status_code == status
    assert (await http.post("/prompt", json={"prompt": card()})).json()["number"] == 0
    assert (await order(http))["restarts"] == 1


async def test_a_crash_in_a_run_and_a_worker_that_is_down(http: httpx2.AsyncClient) -> None:
    await order(http, settings={"down_s": 0.3})
    await submit(http, picture("@crash"))
    with pytest.raises(httpx2.TransportError):
        async with asyncio.timeout(20):
            while True:
                await http.get("/prompt")
    async with asyncio.timeout(20):
        while True:
            try:
                assert (await http.get("/prompt")).json() == {"exec_info": {"queue_remaining": 0}}
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
            else:
                break


async def test_a_stuck_job_sees_no_interrupt_and_a_lost_one_leaves_no_trace(http: httpx2.AsyncClient) -> None:
    lost = await submit(http, picture("@lost"))
    stuck = await submit(http, picture("@stuck"))
    await running(http, stuck)
    await http.post("/interrupt", json={"prompt_id": stuck})
    assert [item[1] for item in (await http.get("/queue")).json()["queue_running"]] == [stuck]
    assert (await http.get("/history")).json() == {}
    assert lost not in json.dumps((await http.get("/queue")).json())
    await order(http, do=["lose_history", "restart"])
    assert (await http.get("/prompt")).json() == {"exec_info": {"queue_remaining": 0}}


async def test_success_may_show_nothing(http: httpx2.AsyncClient) -> None:
    found = await entry(http, await submit(http, picture("@empty")))
    assert (found["outputs"], found["status"]["status_str"]) == ({}, "success")


async def test_a_worker_that_hangs_answers_when_it_wakes(http: httpx2.AsyncClient) -> None:
    await order(http, do=["hang"])
    with pytest.raises(httpx2.TimeoutException):
        await http.get("/prompt", timeout=0.2)
    await order(http, do=["wake"])
    assert (await http.get("/prompt")).status_code == 200


async def test_usual_faults_and_the_bound_of_a_proxy(comfy: ComfyUI, http: httpx2.AsyncClient) -> None:
    assert (await http.post("/prompt", json={"prompt": picture("@status=502 @times=1")})).status_code == 502
    found = await submit(http, picture("@expired"))
    item = (await entry(http, found))["outputs"]["out"]["images"][0]
    assert (await http.get("/view", params=item)).status_code == 200, "words in a prompt are for files under the id"
    ident = "0b6e7d0e-4a3b-4b7c-9f3e-1f2d3c4b5a69"
    await submit(http, picture("@expired", prefix=f"gw/{ident}/out"), prompt_id=ident)
    item = (await entry(http, ident))["outputs"]["out"]["images"][0]
    assert (await http.get("/view", params=item)).status_code == 404
    await order(http, settings={"max_queue": 1})
    await running(http, await submit(http, picture("@work=30")))
    answer = await http.post("/prompt", json={"prompt": card()})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert len(comfy.submits) == 5
    assert (await http.post("/__control__", json={"do": ["dance"]})).status_code == 400


# -- what the worker has ----------------------------------------------------------------------------------------------


async def test_models_classes_and_facts_are_told_and_models_change(http: httpx2.AsyncClient) -> None:
    assert "loras" in (await http.get("/models")).json()
    assert (await http.get("/models/nowhere")).status_code == 404
    await order(http, do=["add_model loras/new.safetensors", "remove_model loras/my_style.safetensors"])
    loras = (await http.get("/models/loras")).json()
    assert ("new.safetensors" in loras, "my_style.safetensors" in loras) == (True, False)
    info = (await http.get("/object_info/LoraLoader")).json()["LoraLoader"]
    assert info["input"]["required"]["lora_name"][0] == loras
    assert info["input_order"]["required"][:2] == ["model", "clip"]
    newer = (await http.get("/object_info/SaveVideo")).json()["SaveVideo"]
    assert newer["input"]["required"]["codec"] == ["COMBO", {"options": ["auto", "h264"]}]
    assert newer["output_node"] is True
    assert (await http.get("/object_info/Nobody")).json() == {}
    assert len((await http.get("/object_info")).json()) > 50
    stats = (await http.get("/system_stats")).json()
    assert stats["system"]["comfyui_version"] == "0.3.75"
    assert stats["devices"][0]["vram_total"] == 24 << 30
    assert (await http.get("/embeddings")).json() == ["easynegative"]
    assert (await http.get("/features")).json()["supports_preview_metadata"] is True


async def test_a_worker_behind_a_proxy_wants_its_token_on_http_and_sockets() -> None:
    comfy = ComfyUI("comfyui2", token="secret", without=("SaveVideo",))
    await comfy.start()
    try:
        let_in = {"Authorization": "Bearer secret"}
        async with httpx2.AsyncClient(base_url=comfy.url) as http:
            assert (await http.get("/prompt")).status_code == 401
            assert (await http.get("/prompt", headers=let_in)).status_code == 200
            assert (await http.get("/object_info/SaveVideo", headers=let_in)).json() == {}
        with pytest.raises(InvalidStatus):
            await listen(comfy)
        async with listen(comfy, path="/api/ws", **let_in) as socket:
            assert (await heard(socket, "status"))[0][1]["sid"] == "me"
        assert comfy.environment() == {
            "CALOTYPE_WORKERS__COMFYUI2__URL": comfy.url, "CALOTYPE_WORKERS__COMFYUI2__TOKEN": "secret"
        }  # fmt: skip
    finally:
        await comfy.stop()


# -- files ------------------------------------------------------------------------------------------------------------


async def test_an_upload_keeps_its_name_unless_other_bytes_have_it(http: httpx2.AsyncClient) -> None:
    async def name(body: bytes, **fields: str) -> Any:
        return (await http.post("/upload/image", files={"image": ("in.png", body)}, data=fields)).json()

    assert await name(b"a") == {"name": "in.png", "subfolder": "", "type": "input"}
    assert (await name(b"a"))["name"] == "in.png"
    assert (await name(b"b"))["name"] == "in (1).png"
    assert (await name(b"b", overwrite="true"))["name"] == "in.png"
    assert await name(b"c", subfolder="gw/j", type="temp") == {"name": "in.png", "subfolder": "gw/j", "type": "temp"}
    view = await http.get("/view", params={"filename": "in.png", "subfolder": "gw/j", "type": "temp"})
    assert view.content == b"c"
    files = {"image": ("in.png", b"a")}
    assert (await http.post("/upload/image", files=files, data={"subfolder": "../x"})).status_code == 400
    assert (await http.post("/upload/image", files=files, data={"type": "nowhere"})).status_code == 500
    assert (await http.post("/upload/image", data={"type": "input"})).status_code == 500, "no multipart"
    assert (await http.post("/upload/image", files={"other": ("in.png", b"a")})).status_code == 400


async def test_a_graph_reads_files_of_each_folder(http: httpx2.AsyncClient) -> None:
    found = await entry(http, await submit(http, card()))
    item = found["outputs"]["out"]["images"][0]
    graph = {
        "img": {"class_type": "LoadImage", "inputs": {"image": f"gw/j/{item['filename']} [output]"}},
        "out": {"class_type": "SaveImage", "inputs": {"images": ["img", 0], "filename_prefix": "again"}},
    }
    (item,) = (await entry(http, await submit(http, graph)))["outputs"]["out"]["images"]
    body = (await http.get("/view", params=item)).content
    assert Image.open(io.BytesIO(body)).size == (64, 32)


async def test_a_mask_gives_its_alpha_to_the_picture_it_is_for(http: httpx2.AsyncClient) -> None:
    item = (await entry(http, await submit(http, card())))["outputs"]["out"]["images"][0]
    out = io.BytesIO()
    Image.new("RGBA", (64, 32), (0, 0, 0, 7)).save(out, "PNG")
    made = await http.post(
        "/upload/mask", files={"image": ("mask.png", out.getvalue())}, data={"original_ref": json.dumps(item)}
    )
    body = (await http.get("/view", params={"filename": made.json()["name"], "type": "input"})).content
    assert Image.open(io.BytesIO(body)).getchannel("A").getextrema() == (7, 7)


async def test_view_refuses_what_leads_away_and_serves_parts_and_other_forms(http: httpx2.AsyncClient) -> None:
    item = (await entry(http, await submit(http, card())))["outputs"]["out"]["images"][0]

    async def view(**query: str) -> httpx2.Response:
        return await http.get("/view", params={**item, **query})

    whole = await view()
    assert whole.headers["accept-ranges"] == "bytes"
    part = await http.get("/view", params=item, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")
    assert part.headers["content-range"] == f"bytes 1-3/{len(whole.content)}"
    assert (await http.head("/view", params=item)).headers["content-length"] == str(len(whole.content))
    assert (await view(filename="no.png")).status_code == 404
    assert (await view(subfolder="../..")).status_code == 403
    for wrong in ({"type": "secrets"}, {"filename": "../x"}, {"filename": "/x"}):
        assert (await view(**wrong)).status_code == 400
    assert (await view(preview="webp;50")).headers["content-type"] == "image/webp"
    assert (await view(channel="rgb")).headers["content-type"] == "image/png"
    await http.post("/upload/image", files={"image": ("x.html", b"<script>")})
    page = await http.get("/view", params={"filename": "x.html", "type": "input"})
    assert page.headers["content-type"] == "application/octet-stream"
