"""What no upstream should answer, put before every adapter: it is known for a failure, and our key stays at home."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hostile import ADAPTERS, KEY, PROMPT, WAYS, Way, adapter, answer, held, origins
from msgspec import json
from yarl import URL

from calotype.kernel.clock import ManualClock
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import NOT_ACCEPTED, Failed, FailedKind, Pending, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse
from calotype.providers.base import Call
from calotype.providers.registry import KINDS
from calotype.providers.workers.comfyui import ComfyUI, Item, items_of
from calotype.providers.workers.comfyui_failures import failure
from calotype.providers.workers.http_worker import HttpWorker

every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
HTML = b"<!doctype html><title>Just a moment...</title><p>Checking your browser"
NONSENSE: tuple[bytes, ...] = (
    HTML, b"", b"null", b"[]", b"{}", b'"done"', b"7", b"\xff\xfe{}", b"[" * 5_000, b'{"data": 7, "id": {}, "name": 1}',
    b'{"choices": 1, "candidates": [1], "predictions": {}, "steps": "x", "status": "completed"}', b"{" * 50,
)  # fmt: skip
EVIL = "https://evil.example"


def test_every_kind_of_provider_is_put_to_the_test() -> None:
    assert set(ADAPTERS) == {way.kind for way in WAYS} == set(KINDS)


@every_way
@pytest.mark.parametrize("kind", ["text/html", "application/json", "application/octet-stream"])
def test_a_good_status_without_a_result_is_never_sent_again_nor_elsewhere(way: Way, kind: str) -> None:
    for body in NONSENSE:
        if way.operation is Operation.TEXT_TO_SPEECH and body and kind == "application/octet-stream":
            continue  # bytes are a recording, until they are looked at
        if way.kind == "azure" and way.operation is Operation.TEXT_TO_SPEECH and body:
            continue
        _, end = held(
            adapter(way.kind).submit(way.call), lambda _, b=body: HttpResponse(200, {"content-type": kind}, b)
        )
        if isinstance(end, Succeeded):  # which the middle refuses for a card that makes files
            assert not end.outputs and way.operation is Operation.TEXT_TO_IMAGE, (body, end)
            continue
        assert isinstance(end, Failed), (body, end)
        assert end.kind not in NOT_ACCEPTED, (body, end)
        assert not end.requeue and PROMPT not in str(end)


@every_way
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_a_paid_request_is_not_followed(way: Way, status: int) -> None:
    asked, end = held(
        adapter(way.kind).submit(way.call), lambda _: HttpResponse(status, {"location": f"{EVIL}/x"}, HTML)
    )
    assert isinstance(end, Failed) and end.kind is FailedKind.GONE, end
    assert sum(one.commits for one in asked) == len(asked) == 1
    assert origins(asked) <= {str(URL(asked[0].url).origin())}


@every_way
def test_a_wait_that_is_asked_for_as_a_date_is_kept(way: Way) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    _, end = held(adapter(way.kind).submit(way.call), lambda _: answer({"error": "busy"}, 429, retry_after=date))
    assert isinstance(end, Failed) and end.kind is FailedKind.RETRY, end
    assert end.retry_after_s is not None and 30 < end.retry_after_s <= 41


@every_way
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529, 599])
def test_a_refusal_repeats_neither_the_key_nor_the_prompt(way: Way, status: int) -> None:
    words = f"Authorization {KEY} is wrong for: {PROMPT}"
    bodies: tuple[Any, ...] = (
        {"error": {"message": words, "type": words, "code": words, "status": words}}, {"detail": words}, words.encode(),
        {"code": status, "msg": words}, {"error": words}, {"detail": [{"loc": ["body", words], "msg": words}]},
        {"base_resp": {"status_code": 1, "status_msg": words}}, HTML * 20_000,
    )  # fmt: skip
    for body in bodies:
        _, end = held(adapter(way.kind).submit(way.call), lambda _, b=body: answer(b, status))
        assert isinstance(end, Failed), end
        assert KEY not in str(end) and (PROMPT not in str(way.call.input) or PROMPT not in str(end)), end
        assert end.detail is None or len(end.detail) < 500


ODD: tuple[Any, ...] = (
    {"detail": [{"loc": 7, "msg": 1, "type": []}]}, {"detail": [7]}, {"detail": {"a": 1}}, {"detail": 7}, {"error": 7},
    {"error": [1]}, {"error": {"message": {}, "code": [], "type": 7, "param": {}}}, {"error": {"metadata": 7}},
    {"error": {"details": [1, {"violations": 7}]}}, {"error": {"metadata": {"error_type": 7, "limit_source": 7}}},
    {"error": {"details": [{"@type": 7, "reason": 7, "retryDelay": 7, "violations": [{"quotaId": 7}]}]}},
    [{"error": 7}], [[]], [7], 7, "x", None, {"code": {}, "msg": 7, "data": 7}, {"code": 10**30}, {"code": -1},
    {"code": True}, {"base_resp": 7}, {"base_resp": {"status_code": "x", "status_msg": 7}}, {"error_type": 7},
    {"error": "", "message": ""},
)  # fmt: skip
READ: dict[int, set[FailedKind]] = {
    401: {FailedKind.AUTH}, 400: {FailedKind.INVALID}, 500: set(FailedKind), 200: set(FailedKind),
}  # fmt: skip


@every_way
def test_a_refusal_of_any_shape_is_read_by_its_status(way: Way) -> None:
    for body in ODD:
        for status, kinds in READ.items():
            headers = {"retry-after": "soon", "retry-after-ms": "-1", "content-type": "application/json"}
            reply = HttpResponse(status, headers, json.encode(body))
            _, end = held(adapter(way.kind).submit(way.call), lambda _, r=reply: r)
            if status == 200 and not isinstance(end, Failed):
                continue  # an odd answer may be a result in some shape: that it is none is another test's
            fronts = {FailedKind.RETRY} if way.kind == "kie" else set()  # without KIE's envelope it is not KIE's word
            assert isinstance(end, Failed) and end.kind in kinds | fronts, (body, status, end)


# -- what is built of an upstream's words -----------------------------------------------------------------------------

IDS: tuple[Any, ...] = (
    "..", ".", "../../admin", "a/../../b", "a/b", "a?key=1", "a#b", "a&status=done", "a b", "a%2f..%2fb", "a\nb",
    "a\\b", "", "x" * 5_000, "//evil.example/x", "@evil.example", "ü", 7, None, ["a"], {"a": 1}, True,
)  # fmt: skip
TAKING: dict[str, Any] = {
    "bfl": lambda i: {"id": i},
    "fal": lambda i: {"request_id": i},
    "kie": lambda i: {"code": 200, "msg": "success", "data": {"taskId": i}},
    "minimax": lambda i: {"task_id": i, "base_resp": {"status_code": 0}},
    "openrouter": lambda i: {"id": i, "status": "pending"},
    "google-veo": lambda i: {"name": f"models/veo/operations/{i}" if isinstance(i, str) else i},
    "google-omni": lambda i: {"id": i, "status": "in_progress"},
}
"""How an upstream says that it took a call, by the id it gives it."""
POLLED: dict[str, Way] = {
    name: next(
        way for way in WAYS
        if way.kind == name.partition("-")[0] and not way.stream and name.partition("-")[2] in way.upstream
        and (way.kind != "openrouter" or way.operation is Operation.TEXT_TO_VIDEO)
    )
    for name in TAKING
}  # fmt: skip


def polls(way: Way, body: Any) -> list[HttpRequest]:
    """Return what is asked after a call was answered like this: nothing where that was no acceptance."""
    provider = adapter(way.kind)
    _, end = held(provider.submit(way.call), lambda _: answer(body))
    if isinstance(end, Failed):
        assert end.kind not in NOT_ACCEPTED, end
        return []
    assert isinstance(end, Pending)
    handle = json.decode(json.encode(end.handle))
    asked = [
        held(provider.poll(handle), lambda _: answer(b"{}"))[0],
        held(provider.cancel(handle), lambda _: answer(b""))[0],
    ]
    return [request for some in asked for request in some]


@pytest.mark.parametrize("name", TAKING)
def test_an_upstreams_id_never_leads_to_another_address_than_that_of_its_job(name: str) -> None:
    way = POLLED[name]
    usual = polls(way, TAKING[name]("good"))
    assert usual
    for ident in IDS:
        for wanted, request in zip(usual, polls(way, TAKING[name](ident)), strict=False):
            good, found = URL(wanted.url), URL(request.url)
            assert found.origin() == good.origin(), ident
            assert set(found.query) == set(good.query), ident
            assert not found.fragment and len(found.parts) == len(good.parts), (ident, request.url)
            same = [part == theirs or theirs == "good" for part, theirs in zip(found.parts, good.parts, strict=True)]
            assert all(same), (ident, request.url)


@pytest.mark.parametrize("name", TAKING)
def test_an_address_at_another_host_is_not_asked_with_our_key(name: str) -> None:
    way = POLLED[name]
    places = (
        EVIL,
        f"http://{EVIL[8:]}",
        "https://api.bfl.ai.evil.example",
        "https://evil.example/@api.bfl.ai",
        "file:///x",
    )
    home = origins(polls(way, TAKING[name]("good")))
    for place in places:
        urls = dict.fromkeys(("polling_url", "status_url", "response_url", "cancel_url", "urls", "uri"), f"{place}/q")
        assert origins(polls(way, {**TAKING[name]("good"), **urls})) <= home


def test_a_document_is_asked_for_at_its_own_resource_only() -> None:
    (way,) = [way for way in WAYS if way.kind == "azure" and way.operation is Operation.OCR]
    provider = adapter("azure")
    for place in (
        f"{EVIL}/x",
        "http://resource.cognitiveservices.azure.com/x",
        "//evil.example/x",
        "/x",
        "",
        "x://",
        "\n",
    ):
        _, end = held(provider.submit(way.call), lambda _, p=place: HttpResponse(202, {"operation-location": p}))
        assert isinstance(end, Failed) and end.kind is FailedKind.UNKNOWN, place


@pytest.mark.parametrize("status", [500, 503])
def test_a_direct_call_to_fal_that_fails_late_may_have_been_worked_on_and_is_not_sent_again(status: int) -> None:
    (way, *_) = [way for way in WAYS if way.kind == "fal" and way.stream]
    for seconds, kind in ((1, FailedKind.RETRY), (60, FailedKind.UNKNOWN)):
        clock = ManualClock()

        def reply(_: HttpRequest, clock: ManualClock = clock, seconds: int = seconds) -> HttpResponse:
            clock.advance(seconds * 1000)
            return answer({"detail": "Internal"}, status, x_fal_error_type="internal_server_error")

        _, end = held(adapter("fal", clock).submit(way.call), reply)
        assert isinstance(end, Failed) and end.kind is kind, end


@pytest.mark.parametrize("name", [*TAKING, "azure"])
@pytest.mark.parametrize(
    "status", [200, 204, 301, 302, 307, 400, 401, 402, 403, 404, 405, 410, 408, 409, 425, 429, 500, 502, 503, 504, 529]
)
def test_a_look_that_tells_nothing_never_ends_a_job_that_was_paid_for(name: str, status: int) -> None:
    way = POLLED.get(name) or next(one for one in WAYS if one.kind == "azure" and one.operation is Operation.OCR)
    provider = adapter(way.kind)
    place = {"operation-location": f"{ADAPTERS['azure'][1]}/documentintelligence/documentModels/x/analyzeResults/1"}
    taken = HttpResponse(202, place) if name == "azure" else answer(TAKING[name]("good"))
    begun = held(provider.submit(way.call), lambda _: taken)[1]
    assert isinstance(begun, Pending)
    handle = json.decode(json.encode(begun.handle))
    for body in (
        HTML,
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"done"',
        b"\xff\xfe{}",
        b"[" * 5_000,
        b'{"status": 7, "data": 1, "code": "x"}',
    ):
        _, outcome = held(provider.poll(handle), lambda _, b=body: HttpResponse(status, {"location": EVIL}, b))
        if isinstance(outcome, Failed):
            assert outcome.kind in (FailedKind.RETRY, FailedKind.AUTH, FailedKind.QUOTA, FailedKind.UNKNOWN), (
                body,
                outcome,
            )
        else:
            assert isinstance(outcome, Pending), (body, outcome)


# -- workers ----------------------------------------------------------------------------------------------------------

PROMPT_ID = "0f3b5c1e-77aa"
STRANGE: tuple[Any, ...] = (
    *ODD, {"queue_running": 7, "queue_pending": [[1], ["a", "b"], [None, {}], 7]}, {PROMPT_ID: {"status": 7}},
    {"prompt_id": PROMPT_ID, "number": "x", "node_errors": {"1": 7}}, {"devices": [7], "system": 7, "exec_info": 7},
    {"error": {"type": 7}, "node_errors": {"1": {"errors": [7, {"extra_info": 7}]}}}, {"name": "x", "subfolder": 7},
    {"id": PROMPT_ID, "status": "weird"}, {"id": PROMPT_ID, "status": "succeeded", "outputs": [{"url": "http://["}]},
    {"models": [1]}, {"capacity": -1, "busy": -5}, {"capacity": "x"},
)  # fmt: skip


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 404, 500, 503])
def test_a_worker_may_answer_anything_and_nobody_else_is_asked_with_its_secret(status: int) -> None:
    comfy, own = ComfyUI("http://worker:8188", {"x-token": KEY}), HttpWorker("http://worker:8188", {"x-token": KEY})
    call = Call("job", 1, "job-1", Operation.TEXT_TO_IMAGE, "painter", {"prompt": PROMPT})
    entry = Item("../../etc/passwd?x=1#y", "/root", "output")
    for body in (*NONSENSE, *(json.encode(one) for one in STRANGE)):
        for steps in (
            comfy.probe(), comfy.has_classes(["A"]), comfy.files_in(["loras"]), comfy.prompt({}, PROMPT_ID, "c"),
            comfy.where(PROMPT_ID), comfy.unfinished(), comfy.cancel(PROMPT_ID), comfy.fetch(entry, None, 1),
            own.probe(), own.start(call, PROMPT_ID), own.look(PROMPT_ID), own.cancel(PROMPT_ID),
        ):  # fmt: skip
            asked, end = held(steps, lambda _, b=body: HttpResponse(status, {"location": f"{EVIL}/x"}, b))
            assert origins(asked) == {"http://worker:8188"}
            assert PROMPT not in str(end)


@pytest.mark.parametrize(
    "entry", [{}, {"outputs": 7}, {"outputs": {"1": 7}}, {"outputs": {"1": {"images": [7, {"filename": 7}]}}}]
)
def test_a_history_without_files_is_a_result_without_files(entry: dict[str, Any]) -> None:
    assert items_of(entry, ["1"]) == []
    for messages in (7, [7], [["execution_error"]], [["execution_error", 7]], [["execution_error", {"node_id": {}}]]):
        verdict = failure({"status": {"status_str": "error", "messages": messages}}, {})
        assert verdict.failed.kind is FailedKind.UPSTREAM
