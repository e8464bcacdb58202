"""What every emulator can be told to do wrong, seen by a plain client and by our own."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import httpx2
import pytest

from calotype.http import Upstream
from calotype.kernel.steps import AnswerTooLarge, HttpRequest, MaybeSent
from calotype.sandbox import media
from calotype.sandbox.comfyui import ComfyUI
from calotype.sandbox.fal import Fal
from calotype.sandbox.faults import NONE, Fault, fault_in, words_in
from calotype.sandbox.openai import OpenAI

HEADERS = {"Authorization": "Key sandbox:key"}
PATH = "/queue/fal-ai/flux/dev"


@pytest.fixture
async def fal() -> AsyncIterator[Fal]:
    emulator = Fal()
    await emulator.start()
    yield emulator
    await emulator.stop()


@pytest.fixture
async def http(fal: Fal) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=fal.url, headers=HEADERS, timeout=20) as client:
        yield client


@pytest.fixture
async def ours() -> AsyncIterator[Upstream]:
    upstream = Upstream("fal")
    yield upstream
    await upstream.close()


async def perform(ours: Upstream, fal: Fal, prompt: str, max_bytes: int = 1 << 20) -> int:
    body = f'{{"prompt": "{prompt}"}}'.encode()
    request = HttpRequest("POST", fal.url + PATH, headers=HEADERS, body=body, max_bytes=max_bytes, read_timeout_s=0.3)
    return (await ours.perform(request)).status


def test_words_are_read_and_other_words_left_alone() -> None:
    assert words_in("a cat @status=429 @retry_after=2.5 @hang") == {
        "status": "429", "retry_after": "2.5", "hang": "true"
    }  # fmt: skip
    assert fault_in(words_in("mail me@home.example")) is NONE
    assert fault_in(words_in("@status=429 @times=1")) == Fault(status=429, times=1)
    assert fault_in(words_in("@expired")) == Fault(on="file", status=404)


async def test_an_error_is_worded_as_the_upstream_does_and_ends_after_so_many_times(http: httpx2.AsyncClient) -> None:
    body = {"prompt": "@status=429 @retry_after=7 @times=1"}
    first, second = await http.post(PATH, json=body), await http.post(PATH, json=body)
    assert (first.status_code, first.headers["retry-after"]) == (429, "7")
    assert first.json()["type"] == "concurrent_requests_limit"
    assert first.headers["x-fal-request-id"]
    assert second.status_code == 200


async def test_a_request_sent_again_is_the_same_one_whatever_differs_in_each_sending() -> None:
    comfy, openai = ComfyUI(), OpenAI()
    await asyncio.gather(comfy.start(), openai.start())
    headers = {"Authorization": "Bearer sk-sandbox"}
    async with httpx2.AsyncClient(timeout=20, headers=headers) as client:
        graph = {"1": {"class_type": "Note", "inputs": {"text": "@status=503 @times=1"}}}
        bodies = [{"prompt": graph, "prompt_id": str(uuid.uuid4()), "client_id": uuid.uuid4().hex} for _ in range(2)]
        graphs = [await client.post(f"{comfy.url}/prompt", json=body) for body in bodies]
        fields = {"model": "whisper-1", "prompt": "@status=503 @times=1"}
        place = f"{openai.url}/v1/audio/transcriptions"
        forms = [await client.post(place, data=fields, files={"file": ("a.wav", media.wav(0.1))}) for _ in range(2)]
    await asyncio.gather(comfy.stop(), openai.stop())
    assert [graph.status_code for graph in graphs] == [503, 400]
    assert [form.status_code for form in forms] == [503, 200]
    assert [submit.fault.status for submit in (*comfy.submits, *openai.submits)] == [503, 0, 503, 0]


async def test_a_header_and_a_model_name_ask_too(http: httpx2.AsyncClient) -> None:
    asked = await http.post(PATH, json={}, headers={"x-sandbox-fault": "status=503"})
    assert asked.status_code == 503
    assert (await http.post("/queue/fal-ai/flux@status=500", json={})).status_code == 500
    assert (await http.post(PATH, json={}, headers={"x-sandbox-fault": "on=status status=503"})).status_code == 200


@pytest.mark.parametrize(("cut", "taken"), [("before", 0), ("read", 0), ("after", 1), ("body", 1)])
async def test_a_cut_connection_is_an_unknown_end_and_only_a_late_one_left_work(
    fal: Fal, ours: Upstream, cut: str, taken: int
) -> None:
    with pytest.raises(MaybeSent):
        await perform(ours, fal, f"@cut={cut}")
    assert len(fal.works) == taken


async def test_a_cut_that_was_ordered_ahead_leaves_no_trace(fal: Fal, http: httpx2.AsyncClient) -> None:
    ordered = await http.post("/__control__", json={"faults": [{"cut": "before", "times": 1}]})
    assert ordered.json()["submits"] == []
    with pytest.raises(httpx2.TransportError):
        await http.post(PATH, json={"prompt": "x"})
    assert fal.submits == []
    assert (await http.post(PATH, json={"prompt": "x"})).status_code == 200


async def test_silence_huge_and_slow_answers_run_into_our_bounds(fal: Fal, ours: Upstream) -> None:
    for words, failure in (("@hang", MaybeSent), ("@drip=5", MaybeSent), ("@huge=3000000", AnswerTooLarge)):
        with pytest.raises(failure):
            await perform(ours, fal, words)
    assert await perform(ours, fal, "@drip=0.1") == 200
    assert await perform(ours, fal, "@huge=3000", 4_000) == 200


async def test_garbage_is_a_page(http: httpx2.AsyncClient) -> None:
    answer = await http.post(PATH, json={"prompt": "@garbage"})
    assert answer.headers["content-type"].startswith("text/html")


async def test_a_client_that_hangs_does_not_keep_the_emulator_from_stopping() -> None:
    emulator = Fal()
    url = await emulator.start()
    async with httpx2.AsyncClient(base_url=url, headers=HEADERS, timeout=20) as client:
        waiting = asyncio.create_task(client.post(PATH, json={"prompt": "@hang"}))
        while not emulator.submits:
            await asyncio.sleep(0.005)
        await asyncio.wait_for(emulator.stop(), 5)
        with pytest.raises(httpx2.TransportError):
            await waiting


async def test_the_report_shows_every_paid_request_without_its_key_and_forgets(
    fal: Fal, http: httpx2.AsyncClient
) -> None:
    await http.post(PATH, json={"prompt": "a cat"})
    report = (await http.get("/__control__")).json()
    (submit,) = report["submits"]
    assert (submit["method"], submit["path"]) == ("POST", PATH)
    assert "a cat" in submit["body"] and "authorization" not in submit["headers"]
    assert len(report["requests"]) == 1
    assert (await http.delete("/__control__")).json()["submits"] == []
    assert fal.works == {}


async def test_the_control_address_refuses_what_it_does_not_know(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/__control__", json={"faults": [{"smell": 1}]})).status_code == 400
    assert "polls" in (await http.post("/__control__", json={"settings": {"smell": 1}})).json()["error"]
