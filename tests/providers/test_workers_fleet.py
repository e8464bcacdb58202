"""Jobs over several workers, through the whole server: who gets what, and what happens when a worker goes away."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from workshop import Workshop, bodies, graphs, uri, workshop

from calotype.kernel.generation import KeyClass
from calotype.providers.workers import choose, comfyui_runtime, fleet, member, runtime
from calotype.providers.workers.types import Worker, WorkerState
from calotype.sandbox import media
from calotype.sandbox.comfyui import ComfyUI
from calotype.sandbox.serve import on_a_thread


@pytest.fixture(scope="module")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A server with two workers, that looks again sooner than it would at work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfyui_runtime, "HINT_S", 0.2)
        patch.setattr(comfyui_runtime, "MISS_PAUSE_S", 0.05)
        patch.setattr(comfyui_runtime, "MISSING_MS", 100)
        patch.setattr(fleet, "PATIENCE_S", 0.3)
        patch.setattr(choose, "BUSY_S", 0.05)
        patch.setattr(choose, "AWAY_S", 0.05)
        patch.setattr(member, "KNOWN_S", 0.0)
        patch.setattr(member, "FIRST_REST_S", 0.01)
        patch.setattr(member, "LONGEST_REST_S", 0.02)
        patch.setattr(member, "QUARANTINE_S", 0.5)
        patch.setattr(runtime, "AGAIN_S", 0.1)
        patch.setattr(runtime, "LOST_REFUSED_S", 0.2)
        with workshop(tmp_path_factory.mktemp("fleet"), ComfyUI("one"), ComfyUI("two")) as found:
            yield found


@pytest.fixture
def shop(_shop: Workshop) -> Iterator[Workshop]:
    """The server as a new tenant finds it; its workers forget what they were sent."""
    _shop.renew()
    for emulator in _shop.emulators.values():
        emulator.submits.clear()
    yield _shop
    for name, emulator in _shop.emulators.items():
        emulator.settings.update(emulator.defaults)
        httpx2.delete(f"{emulator.url}/__control__")
        set_state(_shop, name, WorkerState.ACTIVE)
    _shop.until(lambda: not _shop.runs(), "every place to be free")


@pytest.fixture
def one(shop: Workshop) -> ComfyUI:
    return shop.emulators["one"]


@pytest.fixture
def two(shop: Workshop) -> ComfyUI:
    return shop.emulators["two"]


def drawn_by(emulator: ComfyUI) -> Counter[str]:
    return Counter("krea" if "smp" in body["prompt"] else "card" for body in graphs(emulator))


def films(shop: Workshop, prompts: list[str], key: str | None = None, **more: Any) -> list[str]:
    """Order moving pictures, which nobody waits for, and return their ids."""
    found = []
    for prompt in prompts:
        body = {"model": "w/move", "prompt": prompt, "image_url": uri(media.png(32, 32, "x")), "seconds": 1, **more}
        headers = {"Authorization": f"Bearer {key or shop.key}"}
        answer = shop.client.post("/v1/videos/generations", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        found.append(answer.headers["x-calotype-job-id"])
    return found


def set_state(shop: Workshop, name: str, state: WorkerState) -> None:
    shop.house.ask(shop.house.app.crew.roster.set_state(name, state))
    shop.until(lambda: shop.member(name).worker.state is state, "the server to see it", 3)


def test_a_worker_keeps_the_model_that_it_has_loaded(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    for n in range(3):
        bodies(shop.draw(f"picture {n}"))
        bodies(shop.draw(f"card {n}", model="w/card"))
    assert sorted([drawn_by(one), drawn_by(two)], key=str) == [Counter(card=3), Counter(krea=3)]


def test_a_worker_holds_two_jobs_and_the_queue_stays_here(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    set_state(shop, "two", WorkerState.DRAINING)
    depths: list[int] = []
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.01):
            depths.append(len(one.life.queue) + (one.life.running is not None))

    watcher = threading.Thread(target=watch)
    watcher.start()
    drawings = [shop.drawing(f"picture {n} @work=0.2") for n in range(6)]
    for drawing in drawings:
        bodies(drawing.result())
    watching.set()
    watcher.join()
    assert max(depths) == 2
    assert (len(one.submits), len(two.submits)) == (6, 0)
    shop.charged(6)


def test_both_workers_are_used_at_once(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    drawings = [shop.drawing(f"picture {n} @work=0.4") for n in range(4)]
    for drawing in drawings:
        bodies(drawing.result())
    assert (len(one.submits), len(two.submits)) == (2, 2)


def test_a_draining_worker_finishes_and_takes_nothing_new(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    set_state(shop, "two", WorkerState.DRAINING)
    slow = shop.drawing("slow @work=1")
    shop.until(lambda: one.life.running, "the job to run")
    set_state(shop, "one", WorkerState.DRAINING)
    set_state(shop, "two", WorkerState.ACTIVE)
    bodies(shop.draw("next"))
    bodies(slow.result())
    assert (len(one.submits), len(two.submits)) == (1, 1)


def test_jobs_wait_while_every_worker_drains(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    for name in ("one", "two"):
        set_state(shop, name, WorkerState.DRAINING)
    answer = shop.draw("now")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "take no new jobs" in answer.json()["error"]["message"]
    shop.charged(0)


def test_a_file_that_one_worker_lacks_is_found_at_the_other(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    shop.act(one, "remove_model vae/ae.safetensors")
    for n in range(2):
        bodies(shop.draw(f"picture {n}"))
    assert (len(one.submits), len(two.submits)) == (0, 2)


def test_a_file_that_is_gone_since_it_was_asked_for_costs_one_refused_submit(
    shop: Workshop, one: ComfyUI, two: ComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_state(shop, "one", WorkerState.DRAINING)
    bodies(shop.draw("elsewhere", model="w/card"))
    set_state(shop, "one", WorkerState.ACTIVE)
    set_state(shop, "two", WorkerState.DRAINING)
    bodies(shop.draw("before"))
    monkeypatch.setattr(member, "KNOWN_S", 60.0)
    set_state(shop, "two", WorkerState.ACTIVE)
    shop.act(one, "remove_model vae/ae.safetensors")
    bodies(shop.draw("after"))
    assert (len(one.submits), len(two.submits)) == (2, 2)
    shop.charged(3)


def test_what_no_worker_has_is_named(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    for emulator in (one, two):
        shop.act(emulator, "remove_model vae/ae.safetensors")
    answer = shop.draw("a picture")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert answer.json()["error"]["message"] == (
        "No worker here can run flux-krea-dev@1: vae/ae.safetensors is missing."
    )
    assert one.submits == two.submits == []
    shop.charged(0)
    shop.act(two, "add_model vae/ae.safetensors")
    bodies(shop.draw("a picture"))


@pytest.mark.parametrize(("word", "submits"), [("@oom", 2), ("@interrupted", 3)])
def test_a_workers_own_failure_is_tried_elsewhere_a_bounded_number_of_times(
    shop: Workshop, one: ComfyUI, two: ComfyUI, word: str, submits: int
) -> None:
    answer = shop.draw(f"heavy {word}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
    assert len(one.submits) + len(two.submits) == submits
    if word == "@oom":
        assert len(one.submits) == len(two.submits) == 1
    shop.charged(0)


def test_a_job_of_a_worker_that_dies_is_done_by_another(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    for name in ("one", "two"):
        set_state(shop, name, WorkerState.DRAINING)
    roster = shop.house.app.crew.roster
    with contextlib.ExitStack() as living:
        dying = ComfyUI("dying")
        living.enter_context(on_a_thread(dying))
        shop.house.ask(roster.add(worker("dying", dying.url)))
        shop.until(lambda: "dying" in names(shop), "the server to see it", 3)
        drawing = shop.drawing("slow @work=1")
        shop.until(lambda: dying.life.running, "the job to run")
        set_state(shop, "one", WorkerState.ACTIVE)
        living.close()
        bodies(drawing.result())
    assert [len(dying.submits), len(one.submits)] == [1, 1]
    states = shop.house.rows(
        "SELECT s.state FROM submission s WHERE s.job_id = :id ORDER BY s.attempt", id=shop.jobs()[0][0]
    )
    assert states == [("failed",), ("done",)]
    shop.charged(1)
    shop.house.ask(roster.remove("dying", force=True))


def test_a_worker_is_not_removed_while_it_works_unless_forced(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    for name in ("one", "two"):
        set_state(shop, name, WorkerState.DRAINING)
    roster = shop.house.app.crew.roster
    with on_a_thread(third := ComfyUI("third")):
        shop.house.ask(roster.add(worker("third", third.url)))
        shop.until(lambda: "third" in names(shop), "the server to see it", 3)
        drawing = shop.drawing("slow @work=2")
        shop.until(lambda: third.life.running, "the job to run")
        with pytest.raises(Exception, match="has 1 job in hand"):
            shop.house.ask(roster.remove("third"))
        shop.house.ask(roster.remove("third", force=True))
        set_state(shop, "two", WorkerState.ACTIVE)
        bodies(drawing.result())
    assert (len(third.submits), len(two.submits)) == (1, 1)
    shop.charged(1)


@pytest.mark.parametrize("modern", [0, 1])
def test_a_job_is_canceled_while_it_waits_there_and_while_it_runs(
    shop: Workshop, one: ComfyUI, two: ComfyUI, modern: int
) -> None:
    set_state(shop, "two", WorkerState.DRAINING)
    one.settings["jobs_api"] = modern
    running, waiting = films(shop, ["first @work=20", "second @work=20"])
    shop.until(lambda: one.life.running and len(one.life.queue) == 1, "one to run and one to wait")
    shop.until(lambda: [state for _, state in shop.jobs()] == ["running"] * 2, "both to be taken")
    for job in (waiting, running):
        assert shop.cancel(job) in ("canceled", "requested")
    shop.until(lambda: [state for _, state in shop.jobs()] == ["canceled"] * 2, "both to be canceled")
    assert one.life.running is None and not one.life.queue
    shop.charged(0)


def test_canceling_one_job_never_stops_another_even_where_ids_are_not_heeded(
    shop: Workshop, one: ComfyUI, two: ComfyUI
) -> None:
    set_state(shop, "two", WorkerState.DRAINING)
    one.settings["targeted"] = 0
    first, second = films(shop, ["first @work=1.5", "second @work=20"])
    shop.until(lambda: len(one.life.queue) == 1, "one to wait")
    shop.until(lambda: [state for _, state in shop.jobs()] == ["running"] * 2, "both to be taken")
    shop.cancel(second)
    shop.until(lambda: dict(shop.jobs())[second] == "canceled", "the one that waits to be canceled")
    shop.until(lambda: dict(shop.jobs())[first] == "succeeded", "the one that runs to end")
    assert len(one.submits) == 2


def test_a_flood_of_one_tenant_does_not_keep_another_waiting(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    set_state(shop, "two", WorkerState.DRAINING)
    flood = films(shop, [f"flood {n} @work=0.3" for n in range(8)])
    shop.until(lambda: one.life.running, "the flood to begin")
    other = shop.house.account()
    (late,) = films(shop, ["late @work=0.1"], key=other.key())
    ended = "SELECT id FROM job WHERE finished_at_ms IS NOT NULL AND id = :id"
    shop.until(lambda: shop.house.rows(ended, id=late), "the late one to end")
    before = shop.house.rows(
        "SELECT COUNT(*) FROM job WHERE org_id = :org AND finished_at_ms IS NOT NULL", org=shop.account.org.id
    )
    assert before[0][0] <= 5
    for job in flood:
        shop.cancel(job)


def test_jobs_of_others_in_a_workers_queue_take_places_too(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    body = graphs_of_a_stranger()
    for _ in range(2):
        httpx2.post(f"{one.url}/prompt", json=body).raise_for_status()
    one.submits.clear()
    shop.house.ask(shop.house.app.crew.runtimes["comfyui"].fleet.look())
    assert shop.member("one").free == 0
    bodies(shop.draw("elsewhere"))
    assert (len(one.submits), len(two.submits)) == (0, 1)
    shop.act(one, "restart")


def test_a_file_of_the_wrong_kind_is_the_callers_fault(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    (job,) = films(shop, ["x"], image_url=uri(media.wav(0.2), "audio/wav"))
    shop.until(lambda: dict(shop.jobs())[job] == "failed", "the job to fail")
    ((error,),) = shop.house.rows("SELECT error FROM job WHERE id = :id", id=job)
    assert '"invalid_input"' in error and '"image_url"' in error
    assert one.submits == two.submits == []


def test_files_are_uploaded_under_names_of_our_own(shop: Workshop, one: ComfyUI, two: ComfyUI) -> None:
    (job,) = films(shop, ["walks"])
    shop.until(lambda: dict(shop.jobs())[job] == "succeeded", "the film")
    (used,) = [emulator for emulator in (one, two) if emulator.submits]
    (body,) = graphs(used)
    name = body["prompt"]["img"]["inputs"]["image"]
    assert name.startswith(f"gw/{body['prompt_id']}/gw_") and name.endswith(".png")


def test_without_any_worker_there_is_no_route(tmp_path: Path) -> None:
    with workshop(tmp_path) as shop:
        answer = shop.draw("a picture")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_route")
        with on_a_thread(late := ComfyUI("late")):
            shop.house.ask(shop.house.app.crew.roster.add(worker("late", late.url)))
            shop.until(lambda: shop.draw("a picture", model="w/card").status_code == 200, "the worker to be seen", 3)


def test_a_planned_model_is_active_while_a_worker_is_there(tmp_path: Path) -> None:
    with workshop(tmp_path, ComfyUI("here"), providers={}) as shop:
        shop.client.headers["Authorization"] = f"Bearer {shop.account.key(KeyClass.UNLIMITED)}"
        path = "/v1/models/comfyui/test-card"
        assert shop.client.get(path).json()["status"] == "active"
        bodies(shop.draw("x", model="comfyui/test-card"))
        roster = shop.house.app.crew.roster
        shop.house.ask(roster.keep_to({}))
        shop.until(lambda: shop.client.get(path).json()["status"] == "planned", "the server to see it", 3)
        assert shop.draw("x", model="comfyui/test-card").json()["error"]["code"] == "planned"


def test_the_regions_of_the_instance_hold_for_its_workers(tmp_path: Path) -> None:
    providers = {"comfyui": {"regions": ["CH"], "key_classes": ["paid"]}}
    with workshop(tmp_path, ComfyUI("swiss"), providers=providers) as shop:
        shop.client.headers["X-Region"] = "US"
        assert shop.draw("a picture", model="w/card").json()["error"]["code"] == "no_route"
        shop.client.headers["X-Region"] = "CH"
        bodies(shop.draw("a picture", model="w/card"))


def test_keys_of_the_paid_class_have_no_way_to_workers_unless_opened(tmp_path: Path) -> None:
    painter = {"painter": {"url": "http://127.0.0.1:9", "kind": "http"}}
    with workshop(tmp_path, ComfyUI("closed"), workers=painter, providers={}) as shop:
        for model in ("w/card", "w/model"):
            answer = shop.draw("a picture", model=model)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_not_allowed")


def worker(name: str, url: str, **more: Any) -> Any:
    return Worker("", "comfyui", "comfyui", name, url, **more)


def names(shop: Workshop) -> set[str]:
    return {one.worker.name for one in shop.house.app.crew.runtimes["comfyui"].fleet.members.values()}


def graphs_of_a_stranger() -> dict[str, Any]:
    return {
        "prompt": {
            "ck": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "ace_step_v1_3.5b.safetensors"}},
            "pos": {"class_type": "CLIPTextEncode", "inputs": {"text": "@work=30", "clip": ["ck", 1]}},
            "lat": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
            "smp": {"class_type": "KSampler", "inputs": {
                "model": ["ck", 0], "positive": ["pos", 0], "negative": ["pos", 0], "latent_image": ["lat", 0],
                "seed": 1, "steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0,
            }},
            "dec": {"class_type": "VAEDecode", "inputs": {"samples": ["smp", 0], "vae": ["ck", 2]}},
            "out": {"class_type": "SaveImage", "inputs": {"images": ["dec", 0], "filename_prefix": "x"}},
        }
    }  # fmt: skip
