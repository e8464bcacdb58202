"""Model servers that keep to `docs/workers.md`: the example of the repository behind the whole server, and answers."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from workshop import Workshop, bodies, uri, workshop

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Pending, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse
from calotype.providers.base import Call
from calotype.providers.workers import fleet, http_runtime
from calotype.providers.workers.http_worker import HttpWorker, Job, Told, Wrong, outcome_of
from calotype.sandbox import media

EXAMPLE = Path(__file__).parents[2] / "examples" / "http_worker.py"
TOKEN = "a-token-of-the-painter"


class Example:
    """The example as a process of its own."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, str(EXAMPLE)]
        environment = {**os.environ, "WORKER_TOKEN": TOKEN, "WORKER_PORT": str(self.port)}
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        end_s = time.monotonic() + 20
        while True:
            try:
                self.health()
            except httpx2.TransportError:
                assert time.monotonic() < end_s
                time.sleep(0.02)
            else:
                return

    def health(self) -> Any:
        return httpx2.get(f"{self.url}/health", headers={"Authorization": f"Bearer {TOKEN}"}).json()

    def kill(self) -> None:
        """Kill it; what it had is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def example() -> Iterator[Example]:
    one = Example()
    one.start()
    yield one
    one.kill()


@pytest.fixture(scope="module")
def _shop(tmp_path_factory: pytest.TempPathFactory, example: Example) -> Iterator[Workshop]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet, "PATIENCE_S", 0.3)
        workers = {"painter": {"url": example.url, "kind": "http", "token": TOKEN, "max_jobs": 8}}
        with workshop(tmp_path_factory.mktemp("painter"), workers=workers) as found:
            yield found


@pytest.fixture
def shop(_shop: Workshop) -> Workshop:
    _shop.renew()
    return _shop


def test_a_picture_of_a_server_of_ones_own_is_stored_and_charged_once(shop: Workshop) -> None:
    (body,) = bodies(shop.draw("a red wall", model="w/model"))
    assert body.startswith(b"\x89PNG")
    shop.charged(1)
    shop.until(lambda: not shop.runs(), "the place to be free")


def test_it_is_given_as_many_jobs_as_it_says_it_takes(shop: Workshop, example: Example) -> None:
    shop.until(lambda: shop.member("painter").places == 2, "the worker to say how many")
    drawings = [shop.drawing(f"wall {n}", model="w/model", seconds=0.4) for n in range(5)]
    most = 0
    while any(drawing.response is None for drawing in drawings):
        most = max(most, example.health()["busy"])
        time.sleep(0.02)
    assert most == 2
    assert [drawing.result().status_code for drawing in drawings] == [200] * 5


def test_what_it_refuses_is_the_callers_fault_with_the_field(shop: Workshop) -> None:
    answer = shop.draw("", model="w/model")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_input", "prompt")
    shop.charged(0)


def test_a_file_of_the_input_arrives_as_a_data_uri(shop: Workshop) -> None:
    bodies(shop.draw("x", model="w/model", image_url=uri(media.png(8, 8, "x"))))
    shop.charged(1)


def test_a_job_is_canceled_there(shop: Workshop, example: Example) -> None:
    drawing = shop.drawing("slow", model="w/model", seconds=20)
    shop.until(lambda: shop.jobs() and shop.jobs()[0][1] == "running", "the job to run")
    assert shop.cancel(shop.jobs()[0][0]) in ("canceled", "requested")
    assert drawing.result().status_code != 200
    shop.until(lambda: example.health()["busy"] == 0, "the worker to stop")
    shop.charged(0)


def test_a_job_of_a_server_that_restarted_is_done_again(shop: Workshop, example: Example) -> None:
    drawing = shop.drawing("slow", model="w/model", seconds=1)
    shop.until(lambda: example.health()["busy"], "the job to run")
    shop.until(lambda: shop.jobs()[0][1] == "running", "the job to be taken")
    example.kill()
    example.start()
    bodies(drawing.result())
    ((attempts,),) = shop.house.rows("SELECT attempt FROM job WHERE id = :id", id=shop.jobs()[0][0])
    assert attempts == 2
    shop.charged(1)


def test_a_model_that_it_does_not_list_is_named(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    member = shop.member("painter")
    monkeypatch.setattr(member, "heard", lambda probe=None: None)
    monkeypatch.setattr(member, "probe", http_runtime.Probe(models=frozenset({"sculptor"}), capacity=2))
    answer = shop.draw("x", model="w/model")
    assert "the model painter is missing" in answer.json()["error"]["message"]


def test_its_secret_is_nowhere(shop: Workshop) -> None:
    shop.draw("x", model="w/model")
    data = shop.house.app.settings.data_dir
    for path in data.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path


# -- the conversation alone -----------------------------------------------------------------------------------------


WORKER = HttpWorker("http://10.0.0.7:9000/base", {"Authorization": "Bearer x"})
CALL = Call("job", 1, "job-1", Operation.TEXT_TO_IMAGE, "painter", {"prompt": "x"}, callback_url="https://us/cb")


def talk(steps: Any, answer: Callable[[HttpRequest], HttpResponse]) -> tuple[Any, list[HttpRequest]]:
    """Drive a conversation with an answer for each request."""
    seen: list[HttpRequest] = []
    reply: Any = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as end:
            return end.value, seen
        seen.append(step)
        reply = answer(step)


def told(status: int, body: Any) -> Callable[[HttpRequest], HttpResponse]:
    return lambda _: HttpResponse(status, body=json.dumps(body).encode())


def test_a_job_is_sent_under_our_id_with_an_address_to_call() -> None:
    job, (request,) = talk(WORKER.start(CALL, "id-1"), told(202, {"id": "id-1", "status": "queued"}))
    assert isinstance(job, Job)
    assert (request.method, request.url, request.commits) == ("POST", "http://10.0.0.7:9000/base/v1/jobs", True)
    assert json.loads(request.body or b"") == {
        "id": "id-1", "model": "painter", "operation": "text-to-image", "input": {"prompt": "x"}, "outputs": 1,
        "callback": "https://us/cb",
    }  # fmt: skip
    assert request.headers["Idempotency-Key"] == "id-1"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {}, FailedKind.AUTH),
        (403, {}, FailedKind.AUTH),
        (404, {}, FailedKind.GONE),
        (400, {}, FailedKind.INVALID),
        (413, {}, FailedKind.INVALID),
        (422, {"error": {"kind": "moderated"}}, FailedKind.MODERATED),
        (422, {"error": {"kind": "invalid", "field": "prompt"}}, FailedKind.INVALID),
        (409, {}, FailedKind.RETRY),
        (429, {}, FailedKind.RETRY),
        (500, {}, FailedKind.RETRY),
        (503, {}, FailedKind.RETRY),
        (200, {"id": "another", "status": "running"}, FailedKind.RETRY),
    ],
)
def test_every_refusal_has_its_kind(status: int, body: Any, kind: FailedKind) -> None:
    failed, _ = talk(WORKER.start(CALL, "id-1"), told(status, body))
    assert isinstance(failed, Failed) and failed.kind is kind


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        ({"status": "queued"}, Pending),
        ({"status": "running", "progress": 0.5}, Pending),
        ({"status": "succeeded", "data": {"text": "x"}}, Succeeded),
        ({"status": "failed"}, FailedKind.UPSTREAM),
        ({"status": "failed", "error": {"kind": "invalid", "field": "prompt"}}, FailedKind.INVALID),
        ({"status": "failed", "error": {"kind": "moderated"}}, FailedKind.MODERATED),
        ({"status": "canceled"}, FailedKind.UPSTREAM),
    ],
)
def test_every_state_has_its_outcome(job: Any, kind: Any) -> None:
    found, _ = talk(WORKER.look("id-1"), told(200, {"id": "id-1", **job}))
    outcome = outcome_of(found, {}, ())
    assert outcome.kind is kind if isinstance(outcome, Failed) else isinstance(outcome, kind)


def test_a_job_that_the_worker_gives_back_is_queued_again() -> None:
    outcome = outcome_of(Job("1", "failed", error=Wrong("busy")), {}, ())
    assert isinstance(outcome, Failed) and outcome.requeue


def test_files_at_other_hosts_are_not_asked_with_our_secret() -> None:
    here, there = WORKER.output(Told(url="/v1/files/1")), WORKER.output(Told(url="https://elsewhere.example/1"))
    assert here is not None and here.url == "http://10.0.0.7:9000/v1/files/1" and WORKER.own(here.url)
    assert there is not None and there.url is not None and not WORKER.own(there.url) and there.url_headers == {}
    for wrong in ("data:image/png;base64,AAAA", "file:///etc/passwd", "mailto:a@b", "//[x/1"):
        assert WORKER.output(Told(url=wrong)) is None


def test_a_word_at_our_address_counts_only_when_it_names_the_job(shop: Workshop) -> None:
    runtime = shop.house.app.crew.runtimes["http"]
    assert runtime.callbacks
    for body, proven in ((b'{"id": "u1"}', True), (b'{"id": "u2"}', False), (b"[]", False), (b"", False)):
        assert shop.house.ask(runtime.callback({}, body, {}, "u1")) is proven
