"""What has cost others their bugs with ComfyUI (`wire/comfyui.md §4`), through the whole server: each trap, sprung."""

import functools
import hashlib
import http.server
import io
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from workshop import Workshop, bodies, graphs, uri, workshop

from calotype.catalog.templates import BUILTIN
from calotype.kernel.generation import Operation
from calotype.kernel.ids import uuid7
from calotype.kernel.job import JobState
from calotype.kernel.outcome import Delta, Pending, Succeeded
from calotype.providers.base import Call
from calotype.providers.workers import comfyui_runtime, comfyui_submit, fleet
from calotype.sandbox import media
from calotype.sandbox.comfyui import ComfyUI
from calotype.sandbox.comfyui_nodes import MODELS

SECRET_PROMPT = "a lighthouse that nobody may read of"


@pytest.fixture(scope="module")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A server with one worker, that looks again sooner than it would at work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfyui_submit, "LOOK_PAUSE_S", 0.05)
        patch.setattr(comfyui_runtime, "MISS_PAUSE_S", 0.05)
        patch.setattr(comfyui_runtime, "MISSING_MS", 100)
        patch.setattr(comfyui_runtime, "HINT_S", 0.3)
        with workshop(tmp_path_factory.mktemp("traps"), ComfyUI("one")) as found:
            yield found


@pytest.fixture
def shop(_shop: Workshop) -> Workshop:
    """The server as a new tenant finds it."""
    _shop.renew()
    return _shop


@pytest.fixture
def one(shop: Workshop) -> Iterator[ComfyUI]:
    """The worker, with an empty memory."""
    emulator = shop.emulators["one"]
    emulator.submits.clear()
    emulator.files.bodies.clear()
    before = dict(emulator.settings)
    yield emulator
    emulator.settings.update(before)


def test_t1_equal_requests_of_two_tenants_never_share_a_file(shop: Workshop, one: ComfyUI) -> None:
    (first,) = bodies(shop.draw("the same", seed=7))
    one.files.bodies.clear()  # the first one's file is gone, as a clean-up would have it
    other = shop.house.account().key()
    (second,) = bodies(shop.drawing("the same", key=other, seed=7).result())
    assert Image.open(io.BytesIO(first)).size == Image.open(io.BytesIO(second)).size
    folders = [body["prompt"]["out"]["inputs"]["filename_prefix"] for body in graphs(one)]
    assert [f"gw/{body['prompt_id']}/out" for body in graphs(one)] == folders
    assert len(set(folders)) == 2
    assert all(body["client_id"].startswith("calotype-") for body in graphs(one))


def test_t1_a_success_without_outputs_is_a_failure_and_a_refund(shop: Workshop) -> None:
    answer = shop.draw("nothing @empty")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
    shop.charged(0)


def test_t3_a_submit_whose_answer_is_lost_is_found_and_not_sent_again(shop: Workshop, one: ComfyUI) -> None:
    assert len(bodies(shop.draw("a cat @cut=after @times=1"))) == 1
    assert len(one.submits) == 1
    shop.charged(1)


def test_t3_a_submit_that_never_arrived_is_sent_again_under_the_same_id(shop: Workshop, one: ComfyUI) -> None:
    assert len(bodies(shop.draw("a cat @cut=read @times=1"))) == 1
    first, second = graphs(one)
    assert first == second
    shop.charged(1)


def test_t4_a_failed_run_is_a_failure_whatever_it_saved_before(shop: Workshop) -> None:
    answer = shop.draw(f"{SECRET_PROMPT} @fails")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
    assert "/opt/ComfyUI" not in answer.text and "shapes" not in answer.text
    assert shop.house.rows("SELECT COUNT(*) FROM artifact WHERE job_id = :id", id=shop.jobs()[0][0]) == [(0,)]
    shop.charged(0)


def test_t5_a_core_video_is_found_under_images(shop: Workshop) -> None:
    portrait = uri(media.png(64, 64, "portrait"))
    made = shop.client.post(
        "/v1/videos/generations", json={"model": "w/move", "prompt": SECRET_PROMPT, "image_url": portrait, "seconds": 1}
    )
    assert made.status_code == 202, made.text
    shop.until(shop.state(JobState.SUCCEEDED, JobState.FAILED), "the video")
    assert shop.jobs()[-1][1] == "succeeded"
    ((kind,),) = shop.house.rows("SELECT content_type FROM artifact WHERE job_id = :id", id=shop.jobs()[-1][0])
    assert kind == "video/mp4"
    path = f"/v1/videos/{made.json()['id']}/content"
    film = shop.client.get(path, follow_redirects=True).raise_for_status().content
    assert film[4:8] == b"ftyp" and b"lighthouse" not in film
    shop.charged(1)


def test_t6_a_job_that_a_worker_forgets_is_done_again_and_then_given_up(shop: Workshop, one: ComfyUI) -> None:
    answer = shop.draw("gone @lost")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
    assert len(one.submits) == 3
    shop.charged(0)


def test_t6_a_restarted_worker_is_known_by_its_numbers(shop: Workshop, one: ComfyUI) -> None:
    for n in range(3):
        bodies(shop.draw(f"warm {n}"))
    slow = shop.drawing("long @work=20")
    shop.until(lambda: one.life.running, "the job to run")
    one.submits.clear()
    shop.act(one, "restart")
    quick = shop.drawing("quick")  # its number is lower than that of the job before the restart
    shop.until(lambda: len(one.submits) == 2, "the lost job to be sent again")
    assert shop.cancel(shop.jobs()[3][0]) in ("canceled", "requested")
    bodies(quick.result())
    assert slow.result().status_code in (409, 499)
    shop.charged(4)


def test_t7_a_worker_that_will_not_let_go_is_given_no_more_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comfyui_runtime, "STUCK_S", 0.0)
    monkeypatch.setattr(fleet, "PATIENCE_S", 0.2)
    monkeypatch.setattr(comfyui_runtime, "HINT_S", 0.1)
    impatient(tmp_path)
    stuck = ComfyUI("stuck")
    with workshop(tmp_path, stuck) as shop:
        answer = shop.draw("x @stuck", model="w/impatient")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed"), answer.text
        assert shop.member("stuck").stuck is not None
        assert not shop.member("stuck").usable
        shop.charged(0)


def test_t8_a_cancel_that_comes_too_late_harms_nobody_else(shop: Workshop, one: ComfyUI) -> None:
    bodies(shop.draw("done"))
    assert shop.cancel(shop.jobs()[0][0]) == "ended"
    bodies(shop.draw("next"))
    shop.charged(2)


def test_t9_a_seed_is_drawn_recorded_and_small_enough_for_json(shop: Workshop, one: ComfyUI) -> None:
    bodies(shop.draw("no seed"))
    seed = graphs(one)[0]["prompt"]["smp"]["inputs"]["seed"]
    ((result,),) = shop.house.rows("SELECT result FROM job WHERE id = :id", id=shop.jobs()[0][0])
    assert json.loads(result)["data"]["seed"] == seed
    assert 0 <= seed < 2**53


def test_the_end_may_be_announced_before_the_history_has_it(shop: Workshop, one: ComfyUI) -> None:
    one.settings["history_lag_s"] = 0.4
    assert len(bodies(shop.draw("late"))) == 1
    shop.charged(1)


@pytest.mark.parametrize("act", ["silence_sockets", "drop_sockets"])
def test_a_socket_that_falls_silent_delays_and_nothing_more(shop: Workshop, one: ComfyUI, act: str) -> None:
    waiting = shop.drawing("slow @work=1")
    shop.until(lambda: one.life.running, "the job to run")
    shop.act(one, act)
    assert len(bodies(waiting.result())) == 1
    shop.charged(1)


def test_previews_and_progress_are_passed_on_while_somebody_listens(shop: Workshop, one: ComfyUI) -> None:
    runtime = shop.house.app.crew.runtimes["comfyui"]
    one.settings.update(previews=1)
    shown: list[Delta] = []
    seen: list[float] = []

    async def commit() -> None:
        return None

    async def draw(stream: bool) -> None:
        call = Call(
            uuid7(), 1, uuid7(), Operation.TEXT_TO_IMAGE, "flux-krea-dev@1", {"prompt": "@work=1"}, stream=stream
        )
        outcome = await runtime.submit(call, commit, lambda _: None, shown.append)
        while isinstance(outcome, Pending):
            seen.append(outcome.progress or 0)
            outcome = await runtime.poll(outcome.handle)
        assert isinstance(outcome, Succeeded)
        Path(outcome.outputs[0].path or "").unlink()

    shop.house.ask(draw(stream=True))
    assert shown and all(one.kind == "preview" and one.body.startswith(b"\x89PNG") for one in shown)
    assert seen == sorted(seen) and 0.1 < max(seen) < 1
    shown.clear()
    shop.house.ask(draw(stream=False))
    assert shown == []


def test_a_lora_by_url_needs_a_folder_that_the_worker_shares(shop: Workshop) -> None:
    answer = shop.draw("x", model="w/lora", lora_url="https://example.com/style.safetensors")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "lora_url")
    assert "share no folder" in answer.json()["error"]["message"]
    unknown = shop.draw("x", model="w/lora", lora_url="nobody_has.safetensors")
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "lora_url")
    bodies(shop.draw("x", model="w/lora", lora_url="my_style.safetensors"))
    shop.charged(1)


def test_a_lora_by_url_is_brought_to_the_worker(tmp_path: Path) -> None:
    head = json.dumps({"a": {"dtype": "F16", "shape": [8], "data_offsets": [0, 16]}}).encode()
    (tmp_path / "style.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(16))
    (tmp_path / "loras").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{files.server_address[1]}"
        url = f"http://{host}/style.safetensors"
        name = f"calotype/{hashlib.sha256(url.encode()).hexdigest()[:32]}.safetensors"
        models = {**MODELS, "loras": [name]}
        with workshop(
            tmp_path, ComfyUI("sharing", models=models), workers={"sharing": {"loras_dir": str(tmp_path / "loras")}},
            security={"allowed_private_hosts": [host]},
        ) as shop:  # fmt: skip
            bodies(shop.draw("x", model="w/lora", lora_url=url))
            (graph,) = graphs(shop.emulators["sharing"])
            assert graph["prompt"]["lora1"]["inputs"]["lora_name"] == name
            assert (tmp_path / "loras" / name).exists()
        files.shutdown()


def test_partial_outputs_and_graphs_stay_on_the_worker(shop: Workshop, one: ComfyUI) -> None:
    (body,) = bodies(shop.draw(SECRET_PROMPT))
    assert b"lighthouse" not in body and b"class_type" not in body
    saved = next(body for key, body in one.files.bodies.items() if key[0] == "output")
    assert b"lighthouse" in saved  # it was there to be stripped


def test_a_worker_forgets_what_was_fetched(shop: Workshop, one: ComfyUI, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies(shop.draw("once"))
    assert one.life.history
    monkeypatch.setattr(fleet, "KEPT_MS", -1000)
    shop.house.ask(shop.house.app.crew.runtimes["comfyui"].fleet.tidy())
    assert one.life.history == {}
    assert shop.runs("ended") == []


def test_a_worker_forgets_a_canceled_job_and_its_words_at_once(shop: Workshop, one: ComfyUI) -> None:
    waiting = shop.drawing(f"{SECRET_PROMPT} @work=20")
    shop.until(lambda: one.life.running, "the job to run")
    assert shop.cancel(shop.jobs()[0][0]) in ("canceled", "requested")
    assert waiting.result().status_code in (409, 499)
    assert SECRET_PROMPT not in json.dumps(list(one.life.history.values()))
    shop.charged(0)


def impatient(folder: Path) -> None:
    """Put a template there that has half a second, and a card that leads to it."""
    template = folder / "cards" / "templates" / "impatient" / "1"
    template.mkdir(parents=True)
    for name in ("graph.json", "template.toml"):
        text = (BUILTIN / "flux-krea-dev" / "1" / name).read_text()
        (template / name).write_text(text.replace("timeout_s = 300", "timeout_s = 0.5"))
    card = (
        '[[cards]]\nid = "w/impatient"\ntitle = "x"\noperation = "text-to-image"\noutput = "image"\n'
        'price = { unit = "image", micro = 10_000 }\n[cards.input]\nrequired = ["prompt"]\n'
        'properties = { prompt = { type = "string" } }\n[cards.example]\nprompt = "x"\n'
        '[[cards.routes]]\nprovider = "comfyui"\nupstream = "impatient@1"\n'
    )
    (folder / "cards" / "impatient.toml").write_text(card)
