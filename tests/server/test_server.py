"""The one listener: request ids, CORS, health, metrics, connections, and what happens when a handler breaks."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from calotype.dialects.openai import app as dialect
from running import Account, House, running
from upstream import Upstream

IMAGES = "/v1/images/generations"
GOOD = {"model": "test/picture", "prompt": "a harbour"}


@pytest.fixture
def wire(house: House) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", house.port), timeout=10) as connection:
        yield connection


def bearer(account: Account) -> dict[str, str]:
    return {"authorization": f"Bearer {account.key()}"}


# -- request ids -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/v1/media/x/y", "/nothing", "/docs", "/metrics"])
def test_every_answer_names_its_request(path: str, http: httpx2.Client) -> None:
    made = [http.get(path).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1] and all(re.fullmatch(r"[0-9a-f-]{36}", one) for one in made)
    assert http.get(path, headers={"x-request-id": "order-7_B"}).headers["x-request-id"] == "order-7_B"


@pytest.mark.parametrize("given", ["a b", "x" * 101, "", "é", 'a"b', "--", "a;b"])
def test_a_request_id_that_could_do_harm_is_replaced(given: str, http: httpx2.Client) -> None:
    answer = http.get("/healthz", headers={"x-request-id": given.encode("latin-1")})
    assert answer.headers["x-request-id"] != given


def test_the_request_id_is_kept_with_the_job(http: httpx2.Client, account: Account, house: House) -> None:
    http.post(IMAGES, json=GOOD, headers={**bearer(account), "x-request-id": "order-8"})
    ((plan,),) = house.rows("SELECT plan FROM job WHERE org_id = :org", org=account.org.id)
    assert json.loads(plan)["request_id"] == "order-8"


# -- CORS --------------------------------------------------------------------------------------------------------------


def test_a_browser_may_ask_before_it_sends(http: httpx2.Client) -> None:
    asked = {"origin": "https://app.example", "access-control-request-method": "POST",
             "access-control-request-headers": "authorization,content-type,x-phi"}  # fmt: skip
    for path in (IMAGES, "/v1/videos", "/healthz", "/v1/media/x/y"):
        answer = http.options(path, headers=asked)
        assert answer.status_code == 204 and answer.content == b""
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert answer.headers["access-control-allow-headers"] == asked["access-control-request-headers"]
        assert int(answer.headers["access-control-max-age"]) > 0


def test_a_browser_may_read_answers_and_refusals(http: httpx2.Client, account: Account) -> None:
    for headers in (bearer(account), {}):
        answer = http.get("/v1/models", headers={**headers, "origin": "https://app.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
        exposed = answer.headers["access-control-expose-headers"]
        for name in ("x-request-id", "x-phi-cost-micro", "x-calotype-warnings", "retry-after"):
            assert name in exposed
    assert "access-control-allow-origin" not in http.get("/v1/models", headers=bearer(account)).headers


def test_only_the_origins_the_operator_names_are_let_in(tmp_path: Path) -> None:
    with (
        running(tmp_path, security={"cors_origins": ["https://app.example"]}) as house,
        httpx2.Client(base_url=house.url) as http,
    ):
        for method in ("GET", "OPTIONS"):
            good = http.request(method, "/healthz", headers={"origin": "https://app.example"})
            assert good.headers["access-control-allow-origin"] == "https://app.example"
            assert good.headers["vary"] == "origin"
            bad = http.request(method, "/healthz", headers={"origin": "https://evil.example"})
            assert "access-control-allow-origin" not in bad.headers


# -- health and metrics ------------------------------------------------------------------------------------------------


def test_who_opens_the_server_s_address_is_led_to_the_documentation(http: httpx2.Client) -> None:
    answer = http.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
    assert "/docs" in http.get("/nowhere").json()["detail"]


def test_health_is_answered_without_a_key(http: httpx2.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ok"}


def test_a_server_that_cannot_work_says_what_is_missing(
    house: House, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise OSError("the disk is at /srv/secret")

    monkeypatch.setattr(house.app.db, "read", broken)
    answer = http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "problems": {"database": "OSError"}}
    assert http.get("/healthz").status_code == 200


def test_metrics_are_prometheus_s_and_their_labels_are_bounded(
    http: httpx2.Client, account: Account, upstream: Upstream
) -> None:
    headers = bearer(account)

    def families() -> dict[str, Any]:
        answer = http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        return {family.name: family for family in text_string_to_metric_families(answer.text)}

    def label_sets() -> int:
        return sum(len({tuple(s.labels.items()) for s in family.samples}) for family in families().values())

    def visit(n: int) -> None:
        http.get(f"/v1/nothing-{n}", headers=headers)
        http.get(f"/nothing-{n}")
        http.get(f"/v1/videos/video_{n:032x}", headers=headers)
        http.request(f"METHOD{n}", "/v1/models")
        http.post(IMAGES, json={**GOOD, "model": f"unknown-{n}"}, headers=headers)
        http.post(IMAGES, json={**GOOD, "prompt": f"harbour {n}"}, headers=headers)

    visit(0)
    http.get("/metrics")
    before = label_sets()
    charged = _value(families()["calotype_charged_micro_usd"], provider="cloud")
    for n in range(1, 8):
        visit(n)
    assert label_sets() == before
    after = families()
    assert _value(after["calotype_charged_micro_usd"], provider="cloud") == charged + 7 * 40_000
    assert _value(after["calotype_jobs"], provider="cloud", operation="text-to-image", state="succeeded") >= 8
    assert after["calotype_http_in_flight"].samples[0].value == 1
    for family in after.values():
        assert family.documentation, family.name
    assert account.org.id not in http.get("/metrics").text


def _value(family: Any, **labels: str) -> float:
    return sum(s.value for s in family.samples if s.name.endswith("_total") and s.labels == labels)


# -- connections -------------------------------------------------------------------------------------------------------


def test_one_connection_carries_many_requests(wire: socket.socket, account: Account) -> None:
    key = account.key()
    reader = wire.makefile("rb")
    for path, token, wanted in (("/healthz", "", 200), ("/v1/models", key, 200), ("/v1/models", "x", 401)):
        wire.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n".encode())
        status, headers, _ = _answer(reader)
        assert status == wanted
        assert "server" not in headers
        assert headers.get("connection") != "close"


def test_head_answers_like_get_without_a_body(wire: socket.socket, account: Account) -> None:
    key = account.key()
    reader = wire.makefile("rb")
    for path in ("/healthz", "/docs", "/v1/models", "/v1/pricing", "/v1/nothing", "/readyz"):
        both = []
        for method in ("HEAD", "GET"):
            wire.sendall(f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n".encode())
            both.append(_answer(reader, body=method == "GET"))
        (status, headers, _), (get_status, get_headers, body) = both
        assert (status, headers["content-type"]) == (get_status, get_headers["content-type"])
        assert int(headers["content-length"]) > 0 and body


NOISE = [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nhost", b"GET /\x00 HTTP/1.1\r\n\r\n", b"\x16\x03"]


@pytest.mark.parametrize("raw", NOISE)
def test_bytes_that_are_no_http_do_not_hurt(raw: bytes, wire: socket.socket, http: httpx2.Client) -> None:
    wire.sendall(raw)
    wire.shutdown(socket.SHUT_WR)
    assert wire.recv(65536)[:12] in (b"", b"HTTP/1.1 400")
    assert http.get("/healthz").status_code == 200


def test_a_client_that_hangs_up_does_not_stop_its_job(
    wire: socket.socket, account: Account, upstream: Upstream, house: House
) -> None:
    upstream.gate.clear()
    body = json.dumps(GOOD)
    head = f"POST {IMAGES} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {account.key()}\r\ncontent-length: {len(body)}"
    wire.sendall(f"{head}\r\n\r\n{body}".encode())
    assert upstream.arrived.wait(10)
    wire.close()
    upstream.gate.set()
    _until(lambda: account.spent_micro == 40_000)
    assert (account.jobs, account.held_micro, len(upstream.seen)) == (1, 0, 1)


def test_a_body_that_stops_half_way_makes_nothing(wire: socket.socket, account: Account, http: httpx2.Client) -> None:
    head = f"POST {IMAGES} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {account.key()}\r\ncontent-length: 500"
    wire.sendall(f'{head}\r\n\r\n{{"model": "test/pic'.encode())
    wire.close()
    assert http.get("/healthz").status_code == 200
    account.untouched()


def test_many_requests_at_once_are_each_answered_and_charged_once(account: Account, house: House) -> None:
    key = account.key()
    statuses: list[int] = []

    def ask(n: int) -> None:
        with httpx2.Client(base_url=house.url, timeout=60, headers={"authorization": f"Bearer {key}"}) as client:
            statuses.extend(client.post(IMAGES, json={**GOOD, "prompt": f"{n}-{m}"}).status_code for m in range(5))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 50
    assert (account.jobs, account.spent_micro, account.held_micro) == (50, 50 * 40_000, 0)


# -- paths and broken handlers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/llms.txt"])
def test_own_pages_can_only_be_read(path: str, http: httpx2.Client) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = http.request(method, path)
        assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD"
    assert http.post("/nothing").status_code == 404


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/models"])
def test_a_handler_that_breaks_is_answered_in_openai_s_words(
    path: str, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch, house: House
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("secret words of the inside")

    monkeypatch.setitem(dialect.EXACT, ("GET", "/models"), broken)
    answer = http.get(path, headers={"x-request-id": "broken-1", "origin": "https://app.example"})
    assert answer.status_code == 500
    problem = answer.json()["error"]
    assert set(problem) == {"message", "type", "code", "param"}
    assert (problem["type"], problem["code"]) == ("server_error", "internal_error")
    assert "secret words" not in answer.text
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-request-id"] == "broken-1"
    assert answer.headers["access-control-allow-origin"] == "*"
    log = (house.app.settings.data_dir / "server.log").read_text()
    assert '"request_id": "broken-1"' in log and "request_broke" in log
    assert http.get("/healthz").status_code == 200


def test_an_answer_that_a_stop_cannot_wait_for_says_so(http: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stopped(*_: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setitem(dialect.EXACT, ("GET", "/models"), stopped)
    answer = http.get("/v1/models")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["error"]["code"] == "unavailable"
    assert "send the request again" in answer.json()["error"]["message"]


def test_an_answer_that_breaks_half_way_is_cut_off(
    wire: socket.socket, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_desk: Any, x: Any) -> None:
        await x.send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await x.send({"type": "http.response.body", "body": b"12345", "more_body": True})
        raise RuntimeError

    monkeypatch.setitem(dialect.EXACT, ("GET", "/models"), broken)
    wire.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    whole = b"".join(iter(lambda: wire.recv(65536), b""))
    assert whole.startswith(b"HTTP/1.1 200") and whole.endswith(b"\r\n\r\n12345")
    assert http.get("/healthz").status_code == 200


def _answer(reader: Any, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
    status = int(reader.readline().split()[1])
    headers = {}
    while (line := reader.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(": ")
        headers[name.lower()] = value
    return status, headers, reader.read(int(headers["content-length"])) if body else b""


def _until(true: Callable[[], bool], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
