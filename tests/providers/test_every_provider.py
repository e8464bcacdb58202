"""What adapters say of their upstreams is true: what is sent again, what is called back, what can be stopped."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from rank_and_file import Ranks, line_of, ranks

from calotype.jobs.callbacks import PATH
from calotype.kernel.ids import JobId
from calotype.providers import azure, bfl, fal, google, kie, minimax, openrouter
from calotype.providers.base import Idempotency, PollSchedule, Runtime
from calotype.providers.kie_rate import Turnstile
from calotype.providers.registry import KINDS, LOCAL
from calotype.providers.workers import comfyui_runtime, comfyui_submit, http_runtime
from calotype.providers.workers.crew import FLEETS
from calotype.sandbox.kie_callbacks import signed
from soak.lineup import LINES, Line
from soak.soak_house import SECRETS

QUICK = PollSchedule(first_s=0.03, factor=1.1, max_s=0.1)
NEVER = PollSchedule(first_s=600.0, factor=1.0, max_s=600.0)
POLLED = (azure.Azure, bfl.Bfl, fal.Fal, google.Google, kie.Kie, minimax.MiniMax, openrouter.OpenRouter)
FIRM = tuple(line for line in LINES if not line.phi and line.ways[0].provider != LOCAL)
CALLED = ("fal-film", "kie-film", "google-told", "openrouter-film", "painter")
"""A model of each upstream that is given an address to call."""


@pytest.fixture(scope="module")
def _everyone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    with pytest.MonkeyPatch.context() as patch:
        for adapter in (*POLLED, http_runtime.HttpRuntime, comfyui_runtime.ComfyRuntime):
            patch.setattr(adapter, "schedule", QUICK)
        patch.setattr(kie.Kie, "slow_schedule", QUICK)
        patch.setattr(kie, "Turnstile", lambda: Turnstile(most=1_000_000))
        patch.setattr(comfyui_submit, "LOOK_PAUSE_S", 0.05)
        with ranks(tmp_path_factory.mktemp("ranks")) as found:
            yield found


@pytest.fixture
def everyone(_everyone: Ranks) -> Ranks:
    _everyone.renew()
    return _everyone


def named(line: Line) -> str:
    return line.name


def test_every_kind_of_provider_is_put_to_the_test() -> None:
    assert {way.kind for line in LINES for way in line.ways} == {*KINDS, *FLEETS, LOCAL}


@pytest.mark.parametrize("line", FIRM, ids=named)
def test_what_may_have_been_taken_is_sent_again_only_where_the_same_call_is_done_once(
    everyone: Ranks, line: Line
) -> None:
    promised = everyone.house.app.runtimes[line.ways[0].provider].idempotency
    assert promised is (Idempotency.KEY if line.keyed else Idempotency.NONE)
    job = everyone.send(line, "@cut=after @times=1")
    state = everyone.ended(job)
    submits = everyone.submits()
    names = {submit.headers.get("idempotency-key") or (submit.json() or {}).get("prompt_id") for submit in submits}
    submission = everyone.one("SELECT state FROM submission WHERE job_id = :id", id=job)
    if line.keyed:
        assert (state, submission, len(names)) == ("succeeded", "done", 1)
        everyone.charged(line, 1)
    else:
        assert (state, submission, len(submits)) == ("failed", "ambiguous", 1)
        everyone.charged(line, 0)


# -- callbacks --------------------------------------------------------------------------------------------------------


Word = tuple[dict[str, str], bytes]


def genuine(everyone: Ranks, line: Line, ident: str) -> Word:
    """Return the word by which this upstream says that a call is over."""
    upstreams: Any = everyone.upstreams
    provider = line.ways[0].provider
    if provider == "fal":
        raw = msgspec.json.encode({"request_id": ident, "status": "OK", "payload": {}})
        return upstreams["fal"].webhooks.headers(ident, raw), raw
    if provider == "kie":
        raw = msgspec.json.encode({"code": 200, "data": {"taskId": ident}})
        return signed(ident, SECRETS["kie-callbacks"]), raw
    body = {"data": {"id": ident}} if provider == "google" else {"id": ident}
    return {"content-type": "application/json"}, msgspec.json.encode(body)


def forged(everyone: Ranks, line: Line, ident: str) -> list[Word]:
    """Return words that prove nothing: none, one about another call, and unsigned ones where signatures exist."""
    nothing: list[Word] = [({}, b""), ({}, b"{}"), ({}, b"\xff\x00"), genuine(everyone, line, "another")]
    if line.ways[0].provider == "kie":
        nothing += [({}, genuine(everyone, line, ident)[1]), (signed(ident, "forged"), b'{"data":{"taskId":"x"}}')]
        nothing.append((signed(ident, "forged"), genuine(everyone, line, ident)[1]))
        nothing.append((signed(ident, SECRETS["kie-callbacks"], at_s=1), genuine(everyone, line, ident)[1]))
    if line.ways[0].provider == "fal":
        headers, raw = genuine(everyone, line, ident)
        nothing += [({}, raw), (headers, raw + b" "), ({**headers, "X-Fal-Webhook-Request-Id": "another"}, raw)]
        upstreams: Any = everyone.upstreams
        nothing.append((upstreams["fal"].webhooks.headers(ident, raw, at_s=1), raw))
    return nothing


def test_every_adapter_that_takes_callbacks_is_put_to_the_test(everyone: Ranks) -> None:
    taking = {name for name, runtime in everyone.house.app.runtimes.items() if runtime.callbacks}
    assert taking == {line_of(name).ways[0].provider for name in CALLED}


@pytest.mark.parametrize("name", CALLED)
def test_a_genuine_word_brings_the_poll_forward_and_a_forged_one_does_not(
    everyone: Ranks, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_of(name)
    runtime = patient(everyone, line, monkeypatch)
    polls = int(runtime.name == "google")  # an interaction that is over at once is not looked at
    everyone.upstreams["painter" if runtime.name == "http" else runtime.name].settings |= {
        "polls": polls, "nulls": 0, "looks": 0,
    }  # fmt: skip
    job = sent_and_running(everyone, line)
    ident = everyone.one("SELECT upstream_id FROM submission WHERE job_id = :id", id=job)
    url = everyone.house.app.callbacks.url(runtime, JobId(job), 1)
    assert url is not None
    due_ms = everyone.one("SELECT next_at_ms FROM job WHERE id = :id", id=job)
    assert due_ms > time.time() * 1000 + 60_000
    for headers, body in forged(everyone, line, ident):
        assert everyone.http.post(url, content=body, headers=headers).status_code == 401, body
    assert everyone.one("SELECT next_at_ms FROM job WHERE id = :id", id=job) == due_ms
    wrong = url.replace(f"{PATH}/", f"{PATH}/A")[:-1]
    headers, body = genuine(everyone, line, ident)
    assert everyone.http.post(wrong, content=body, headers=headers).status_code == 404
    assert everyone.http.post(url, content=body, headers=headers).status_code == 200
    assert everyone.ended(job) == "succeeded"
    everyone.charged(line, 1)


def patient(everyone: Ranks, line: Line, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Let an upstream be looked at only after ten minutes, and give it an address to call wherever it is."""
    runtime: Runtime = everyone.house.app.runtimes[line.ways[0].provider]
    monkeypatch.setattr(runtime, "schedule", NEVER)
    monkeypatch.setattr(kie.Kie, "slow_schedule", NEVER)
    monkeypatch.setattr(everyone.house.app.callbacks, "_public_url", everyone.house.url)
    return runtime


def sent_and_running(everyone: Ranks, line: Line, words: str = "") -> str:
    """Send without waiting for the end and return the job once it runs at its upstream."""
    path, body, headers = line.ask(f"job 00000: {words}")
    path = f"/fal/queue/{line.model}" if line.waits else path
    job = str(everyone.http.post(path, json=body, headers=headers).raise_for_status().json()["request_id"])
    everyone.until(lambda: everyone.state(job) == "running", "the job to run")
    return job


@pytest.mark.parametrize("name", [name for name in CALLED if not name.startswith("openrouter")])
def test_an_upstream_calls_the_address_that_it_was_given(
    everyone: Ranks, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_of(name)
    patient(everyone, line, monkeypatch)
    job = sent_and_running(everyone, line, "@work=0.3" if name == "fal-film" else "@work=0.3 @polls=0 @nulls=0")
    assert everyone.ended(job) == "succeeded"
    everyone.charged(line, 1)


# -- cancel -----------------------------------------------------------------------------------------------------------

STOPPED = ("fal-film", "google-told", "painter", "worker-film")
"""Models of upstreams that can be stopped; the others work on, and what they deliver is delivered."""


@pytest.mark.parametrize("name", STOPPED)
def test_what_can_be_stopped_is_stopped_and_costs_nothing(everyone: Ranks, name: str) -> None:
    line = line_of(name)
    job = sent_and_running(everyone, line, "@work=60 @polls=100")
    everyone.house.ask(everyone.house.app.engine.cancel(JobId(job), everyone.account.org.id))
    assert everyone.ended(job) == "canceled"
    everyone.charged(line, 0)
    assert len(everyone.submits()) == 1


@pytest.mark.parametrize("name", ["google-film", "openrouter-film", "bfl", "kie-film", "minimax-film"])
def test_what_cannot_be_stopped_is_delivered_and_paid(
    everyone: Ranks, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_of(name)
    runtime = everyone.house.app.runtimes[line.ways[0].provider]
    monkeypatch.setattr(runtime, "schedule", PollSchedule(first_s=0.5, factor=1.1, max_s=0.5))
    job = sent_and_running(everyone, line)
    outcome = everyone.house.ask(everyone.house.app.engine.cancel(JobId(job), everyone.account.org.id))
    assert outcome.word == "requested"
    assert everyone.ended(job) == "succeeded"
    everyone.charged(line, 1)


# -- PHI --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["phi-worker", "phi-painter", "phi-picture"])
def test_phi_comes_from_its_upstream_without_touching_the_disk(everyone: Ranks, name: str) -> None:
    line = line_of(name)
    before = set(everyone.temporary())
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(everyone.send, line, "@on=file @drip=0.5")
        seen: set[str] = set()
        while not sending.done():
            seen |= set(everyone.temporary())
            time.sleep(0.002)
    assert everyone.ended(sending.result()) == "succeeded"
    assert seen <= before
    everyone.charged(line, 1)
