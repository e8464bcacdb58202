"""The conversation with a ComfyUI server, driven with answers as `wire/comfyui.md §2` shows them."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from calotype.catalog.templates import Templates
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Delta, Failed, FailedKind
from calotype.kernel.steps import FileRef, HttpRequest, HttpResponse, Parallel, Wait
from calotype.providers.base import Call
from calotype.providers.workers.comfyui import Accepted, ComfyUI, Item, Refused, Where, items_of
from calotype.providers.workers.comfyui_failures import Fault, failure, refusal
from calotype.providers.workers.comfyui_socket import Ear
from calotype.providers.workers.comfyui_work import Work, fields_by_path, loras_by_url, weights_of, work_of

PROMPT_ID = "3f0c8c8e-0f7e-4ab0-9d57-3a1c2b4d5e6f"
SERVER = ComfyUI("http://10.0.0.5:8188", {"Authorization": "Bearer x"})
Answer = Callable[[HttpRequest], tuple[int, Any]]


def talk(steps: Any, answer: Answer) -> tuple[Any, list[HttpRequest]]:
    """Drive a conversation with an answer for each request; pauses take no time."""
    seen: list[HttpRequest] = []

    def one(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        status, body = answer(request)
        return HttpResponse(status, body=json.dumps(body).encode())

    reply: Any = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as end:
            return end.value, seen
        if isinstance(step, Parallel):
            reply = tuple(one(request) for request in step.requests)
        else:
            reply = None if isinstance(step, Wait) else one(step)


def path(request: HttpRequest) -> str:
    return request.url.removeprefix("http://10.0.0.5:8188")


def server(queue: Any = None, history: Any = None, prompt: Any = (200, {}), cancel: int = 404) -> Answer:
    """Return a server that stands still."""

    def answer(request: HttpRequest) -> tuple[int, Any]:
        place = path(request)
        if place == "/prompt":
            return prompt
        if place.startswith("/api/jobs/"):
            return cancel, {}
        if place == "/queue" and request.method == "GET":
            return 200, queue or {"queue_running": [], "queue_pending": []}
        if place.startswith("/history/"):
            return 200, history or {}
        return 200, {}

    return answer


def item(number: int, ident: str) -> list[Any]:
    return [number, ident, {}, {}, ["out"]]


def test_a_prompt_is_sent_with_our_id_and_our_sockets_name() -> None:
    taken = {"prompt_id": PROMPT_ID, "number": 3, "node_errors": {}}
    found, (request,) = talk(SERVER.prompt({"a": {}}, PROMPT_ID, "calotype-1"), server(prompt=(200, taken)))
    assert found == Accepted(3)
    assert json.loads(request.body or b"") == {"prompt": {"a": {}}, "prompt_id": PROMPT_ID, "client_id": "calotype-1"}
    assert request.commits and request.headers["Authorization"] == "Bearer x"


def test_t2_a_prompt_that_is_taken_in_part_is_taken_back() -> None:
    errors = {"9": {"errors": [{"type": "value_not_in_list", "extra_info": {"input_name": "vae_name"}}],
                    "dependent_outputs": ["9"], "class_type": "VAELoader"}}  # fmt: skip
    taken = {"prompt_id": PROMPT_ID, "number": 3, "node_errors": errors}
    running = {"queue_running": [item(3, PROMPT_ID)], "queue_pending": []}
    found, requests = talk(SERVER.prompt({}, PROMPT_ID, "c"), server(prompt=(200, taken), queue=running))
    assert isinstance(found, Refused) and found.errors == (("9", "VAELoader", "vae_name", "value_not_in_list"),)
    interrupts = [json.loads(one.body or b"") for one in requests if path(one) == "/interrupt"]
    assert interrupts and all(one == {"prompt_id": PROMPT_ID} for one in interrupts)


@pytest.mark.parametrize(
    ("queue", "history", "found"),
    [
        ({}, {PROMPT_ID: {"outputs": {}}}, Where("ended", entry={"outputs": {}})),
        ({"queue_running": [item(1, PROMPT_ID)], "queue_pending": []}, {}, Where("running")),
        (
            {"queue_running": [item(1, "x")], "queue_pending": [item(9, "c"), item(4, PROMPT_ID), item(2, "a")]},
            {}, Where("pending", ahead=2),
        ),
        ({}, {}, Where("missing")),
    ],
)  # fmt: skip
def test_a_prompt_is_looked_for_in_the_queue_and_then_in_the_history(queue: Any, history: Any, found: Where) -> None:
    where, requests = talk(SERVER.where(PROMPT_ID), server(queue, history))
    assert where == found
    assert [path(one) for one in requests] == ["/queue", f"/history/{PROMPT_ID}"]


def test_what_waits_is_deleted_and_what_runs_is_interrupted_and_nothing_else() -> None:
    waiting = {"queue_running": [item(1, "x")], "queue_pending": [item(2, PROMPT_ID)]}
    stopped, requests = talk(SERVER.cancel(PROMPT_ID), server(waiting))
    assert stopped is False
    said = {path(one) for one in requests if one.method == "POST"}
    assert said == {f"/api/jobs/{PROMPT_ID}/cancel", "/queue"}
    assert not any(json.loads(one.body or b"{}").get("clear") for one in requests)


@pytest.mark.parametrize(
    ("history", "stopped"),
    [
        ({PROMPT_ID: {"status": {"status_str": "success"}}}, False),
        ({PROMPT_ID: {"status": {"status_str": "error"}}}, True),
        ({}, True),
    ],
)
def test_a_prompt_that_came_to_its_end_was_not_stopped(history: Any, stopped: bool) -> None:
    assert talk(SERVER.cancel(PROMPT_ID), server(history=history))[0] is stopped


def test_newer_servers_cancel_in_one_word() -> None:
    _, requests = talk(SERVER.cancel(PROMPT_ID), server(cancel=200))
    assert [path(one) for one in requests if one.method == "POST"] == [f"/api/jobs/{PROMPT_ID}/cancel"]


def test_uploads_are_referred_to_by_the_name_the_server_gave(tmp_path: Any) -> None:
    file = FileRef(tmp_path / "a.png", "image/png")
    told = {"name": "in (1).png", "subfolder": "gw/x", "type": "input"}
    found, (request,) = talk(SERVER.upload(file, "in.png", "gw/x"), lambda _: (200, told))
    assert found == "gw/x/in (1).png"
    values = {part.name: part.value for part in request.multipart or ()}
    assert (values["subfolder"], values["overwrite"], values["type"]) == ("gw/x", "true", "input")
    too_large, _ = talk(SERVER.upload(file, "in.png", "gw/x"), lambda _: (413, {}))
    assert isinstance(too_large, Failed) and too_large.kind is FailedKind.INVALID


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "auth"), (403, "auth"), (429, "retry"), (500, "retry"), (502, "retry")]
)
def test_every_refusal_of_a_prompt_has_its_kind(status: int, kind: str) -> None:
    failed, _ = talk(SERVER.prompt({}, PROMPT_ID, "c"), server(prompt=(status, {})))
    assert isinstance(failed, Failed) and failed.kind.value == kind


def test_classes_and_files_are_asked_for_one_by_one_never_all() -> None:
    def answer(request: HttpRequest) -> tuple[int, Any]:
        name = path(request).rpartition("/")[2]
        return (200, {name: {}} if name != "New" else {}) if "object_info" in request.url else (404, {})

    names = [f"Node{n}" for n in range(20)] + ["New"]
    has, _ = talk(SERVER.has_classes(names), answer)
    assert has == {**dict.fromkeys(names[:-1], True), "New": False}
    assert talk(SERVER.files_in(["vae"]), answer)[0] == {"vae": frozenset()}


# -- what a history entry is worth ------------------------------------------------------------------------------------


def test_results_are_found_under_every_key_of_the_chosen_nodes_and_temporary_files_are_none() -> None:
    saved = {"filename": "a.mp4", "subfolder": "gw", "type": "output"}
    entry = {"outputs": {
        "out": {"images": [saved, {**saved, "type": "temp"}], "animated": [True]},
        "vhs": {"gifs": [{**saved, "filename": "b.mp4", "fullpath": "/opt/secret"}]},
        "other": {"images": [{**saved, "filename": "c.png"}]}, "text": {"text": ["7"]},
    }}  # fmt: skip
    assert items_of(entry, ["out", "vhs", "text"]) == [Item("a.mp4", "gw"), Item("b.mp4", "gw")]
    assert Item("a b&.png", "gw/x").query == "filename=a+b%26.png&subfolder=gw%2Fx&type=output"


def entry(message: str, **told: Any) -> dict[str, Any]:
    return {
        "status": {"status_str": "error", "completed": False, "messages": [["execution_start", {}], [message, told]]}
    }


@pytest.mark.parametrize(
    ("given", "fault", "kind"),
    [
        (entry("execution_interrupted"), Fault.LOST, FailedKind.RETRY),
        (entry("execution_error", exception_type="torch.OutOfMemoryError"), Fault.MEMORY, FailedKind.UPSTREAM),
        (
            entry("execution_error", exception_type="RuntimeError", exception_message="can't allocate memory"),
            Fault.MEMORY, FailedKind.UPSTREAM,
        ),
        (entry("execution_error", node_type="LoadImage", node_id="img"), Fault.INPUT, FailedKind.INVALID),
        (entry("execution_error", node_type="UNETLoader"), Fault.WORKER, FailedKind.UPSTREAM),
        (entry("execution_error", node_type="KSampler"), Fault.OTHER, FailedKind.UPSTREAM),
        ({"status": None}, Fault.OTHER, FailedKind.UPSTREAM),
    ],
)  # fmt: skip
def test_every_failure_has_somebody_to_blame(given: Any, fault: Fault, kind: FailedKind) -> None:
    verdict = failure(given, {"img.image": "image_url"})
    assert (verdict.fault, verdict.failed.kind) == (fault, kind)
    if fault is Fault.INPUT:
        assert verdict.failed.field == "image_url"


def test_a_refused_value_is_blamed_on_the_field_that_set_it() -> None:
    fields = fields_by_path(Templates.load().find("flux-krea-dev"))
    refused = Refused("prompt_outputs_failed_validation", (("smp", "KSampler", "steps", "value_bigger_than_max"),))
    verdict = refusal(refused, fields)
    assert (verdict.fault, verdict.failed.field, verdict.failed.kind) == (Fault.INPUT, "steps", FailedKind.INVALID)
    lacking = Refused("x", (("vae", "VAELoader", "vae_name", "value_not_in_list"),))
    assert refusal(lacking, fields).fault is Fault.WORKER
    assert refusal(Refused("invalid_prompt", details="Node ID '#1'"), fields).failed.kind is FailedKind.GONE


def test_what_an_operator_reads_of_a_failure_holds_no_path_of_the_inputs() -> None:
    told = entry("execution_error", node_type="KSampler", exception_type="ValueError", exception_message="bad",
                 current_inputs={"text": ["a secret prompt"]}, traceback=["/opt/ComfyUI/x.py"])  # fmt: skip
    detail = failure(told, {}).failed.detail or ""
    assert "secret" not in detail and "/opt" not in detail and "ValueError: bad" in detail


# -- work -------------------------------------------------------------------------------------------------------------


def call(upstream: str, **fields: Any) -> Call:
    return Call("job", 1, "job-1", Operation.TEXT_TO_IMAGE, upstream, fields)


def work(upstream: str, **fields: Any) -> Work:
    found = work_of(call(upstream, **fields), Templates.load(), seconds={})
    assert isinstance(found, Work), found
    return found


def test_an_attempt_has_one_seed_however_often_it_is_sent() -> None:
    first, again = work("flux-krea-dev@1", prompt="x"), work("flux-krea-dev@1", prompt="x")
    assert first.graph("p", {}, {}) == again.graph("p", {}, {})
    assert first.seed == first.graph("p", {}, {})[0]["smp"]["inputs"]["seed"]
    assert work("flux-krea-dev@1", prompt="x", seed=5).seed == 5


def test_an_unknown_template_is_gone_and_a_bad_value_is_the_callers() -> None:
    gone = work_of(call("nothing@1"), Templates.load(), seconds={})
    bad = work_of(call("flux-krea-dev@1", prompt="x", n=9), Templates.load(), seconds={})
    assert isinstance(gone, Failed) and gone.kind is FailedKind.GONE
    assert isinstance(bad, Failed) and (bad.kind, bad.field) == (FailedKind.INVALID, "n")


def test_loras_by_url_are_replaced_by_names_wherever_they_stand() -> None:
    url = "https://example.com/a.safetensors"
    found = work("flux-dev-lora@1", prompt="x", loras=[{"path": url, "scale": 0.5}, "my_style.safetensors"])
    assert loras_by_url(found.template, found.fields) == {url: "loras"}
    assert found.order.shared_loras
    assert found.order.models["loras"] == frozenset({"my_style.safetensors"})
    graph, _ = found.graph("p", {}, {url: "calotype/a.safetensors"})
    assert graph["lora1"]["inputs"] | {"model": 0, "clip": 0} == {
        "model": 0, "clip": 0, "lora_name": "calotype/a.safetensors", "strength_model": 0.5, "strength_clip": 0.5,
    }  # fmt: skip


def test_progress_is_shared_as_the_template_says() -> None:
    found = work("flux-krea-dev@1", prompt="x")
    weights = weights_of(found.template, found.graph("p", {}, {})[0])
    assert (weights["smp"], weights["dec"]) == (20, 2)
    ear = Ear("ws://10.0.0.5", {}, "c")
    shown: list[Delta] = []
    watch = _watch(ear, weights, shown)
    ear._text(json.dumps({"type": "progress", "data": {"prompt_id": "p", "node": "smp", "value": 10, "max": 20}}))
    assert 0.4 < watch.fraction < 0.5
    ear._text(json.dumps({"type": "executing", "data": {"prompt_id": "p", "node": "smp"}}))
    ear._binary(b"\0\0\0\1\0\0\0\1JPEG")
    told = json.dumps({"prompt_id": "p", "image_type": "image/png"}).encode()
    ear._binary(b"\0\0\0\4" + len(told).to_bytes(4, "big") + told + b"PNG")
    assert [(one.kind, one.body, one.content_type) for one in shown] == [
        ("preview", b"JPEG", "image/jpeg"), ("preview", b"PNG", "image/png"),
    ]  # fmt: skip
    for noise in ("{", "[]", '{"type": "progress", "data": {"prompt_id": "x"}}', '{"type": "executing"}'):
        ear._text(noise)
    ear._binary(b"\0")
    assert not watch.ended
    ear._text(json.dumps({"type": "executing", "data": {"prompt_id": "p", "node": None}}))
    assert watch.ended


def _watch(ear: Ear, weights: dict[str, float], shown: list[Delta]) -> Any:
    async def begin() -> Any:
        watch = ear.watch("p", weights, shown.append)
        ear.drop("p")
        ear._watches["p"] = watch
        return watch

    return asyncio.run(begin())


async def test_the_credential_of_a_worker_is_not_taken_where_its_socket_is_redirected_to() -> None:
    elsewhere, asked = asyncio.Event(), asyncio.Event()

    async def moved(_request: web.Request) -> web.Response:
        asked.set()
        raise web.HTTPFound("/elsewhere")

    async def taken(_request: web.Request) -> web.Response:
        elsewhere.set()
        raise web.HTTPNotFound

    app = web.Application()
    app.add_routes([web.get("/ws", moved), web.get("/elsewhere", taken)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ear = Ear(f"ws://127.0.0.1:{runner.addresses[0][1]}", {"x-key": "secret"}, "c")
    try:
        ear.watch("p", {})
        for _ in range(2):  # a second try tells that the first one has ended
            await asyncio.wait_for(asked.wait(), 10)
            asked.clear()
        assert not elsewhere.is_set() and not ear.connected
    finally:
        await ear.close()
        await runner.cleanup()
