"""What the OpenAI dialect refuses, in which words, and that a refusal costs nothing."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from calotype.kernel.generation import KeyClass
from house_fixtures import PRICE_MICRO, UPSTREAM_KEY
from running import Account, House
from upstream import Upstream, error

IMAGES = "/v1/images/generations"
VIDEOS = "/v1/videos/generations"
GOOD = {"model": "test/picture", "prompt": "a harbour"}
FILM = {"model": "local/sketch-video", "prompt": "waves"}
STILL = {"model": "local/ken-burns", "image_url": "https://example.com/still.png"}


def bearer(key: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", **more}


def refused(answer: httpx2.Response, status: int, code: str, param: str | None, *words: str) -> dict[str, Any]:
    """Check a refusal in every part that clients and people rely on."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    problem = body["error"]
    assert set(problem) - {"data"} == {"message", "type", "code", "param"}
    assert (problem["code"], problem["param"]) == (code, param), problem
    assert isinstance(problem["type"], str) and problem["message"].endswith((".", "?")), problem
    for word in words:
        assert word in problem["message"], (word, problem["message"])
    assert answer.headers["x-request-id"]
    assert answer.headers["x-phi-cost-micro"] == "0"
    assert answer.headers["x-phi-attempts"] == "0"
    assert answer.headers["x-phi-tier"] in ("phi", "non_phi")
    return problem


BODIES: list[tuple[str, dict[str, Any], int, str, str | None, tuple[str, ...]]] = [
    (IMAGES, {**GOOD, "model": "local/sketsh"}, 404, "model_not_found", "model", ("local/sketch", "Did you mean")),
    (IMAGES, {**GOOD, "model": "zzzzzzzz"}, 404, "model_not_found", "model", ("/v1/models",)),
    (IMAGES, {**GOOD, "model": ""}, 404, "model_not_found", "model", ()),
    (IMAGES, {**GOOD, "model": 7}, 400, "invalid_input", "model", ("str",)),
    (IMAGES, {**GOOD, "model": "dall-e-3"}, 410, "model_retired", "model", ("gpt-image-2",)),
    (IMAGES, {**GOOD, "model": "krea-2"}, 501, "planned", "model", ("planned",)),
    (IMAGES, {**GOOD, "model": "local/sketch-video"}, 400, "invalid_input", "model", ("text-to-video",)),
    (IMAGES, {**GOOD, "n": 0}, 400, "invalid_input", "n", ("from 1 to 10", "not 0")),
    (IMAGES, {**GOOD, "n": 2.5}, 400, "invalid_input", "n", ("whole number",)),
    (IMAGES, {**GOOD, "n": "two"}, 400, "invalid_input", "n", ("whole number",)),
    (IMAGES, {**GOOD, "n": True}, 400, "invalid_input", "n", ("whole number",)),
    (IMAGES, {**GOOD, "size": "big"}, 400, "invalid_input", "size", ("WIDTHxHEIGHT",)),
    (IMAGES, {**GOOD, "size": "9999x9999"}, 400, "invalid_input", "size", ("256 to 2048",)),
    (IMAGES, {**GOOD, "quality": "ultra"}, 400, "invalid_input", "quality", ("low, high", "ultra")),
    (IMAGES, {**GOOD, "guidance": 99}, 400, "invalid_input", "guidance", ("from 0 to 20",)),
    (IMAGES, {**GOOD, "seed": -1}, 400, "invalid_input", "seed", ("from 0 to 4294967295",)),
    (IMAGES, {**GOOD, "prompt": ""}, 400, "invalid_input", "prompt", ("1 to 32000 characters",)),
    (IMAGES, {**GOOD, "prompt": "x" * 32001}, 400, "invalid_input", "prompt", ("1 to 32000 characters",)),
    (IMAGES, {**GOOD, "prompt": ["x"]}, 400, "invalid_input", "prompt", ("a text",)),
    (IMAGES, {"model": "test/picture"}, 400, "invalid_input", "prompt", ("required",)),
    (IMAGES, {**GOOD, "promt": "x"}, 400, "invalid_input", "promt", ("Did you mean prompt?", "guidance, n, prompt")),
    (IMAGES, {**GOOD, "y" * 500: 1}, 400, "invalid_input", "y" * 40 + "…", ("not a field",)),
    (IMAGES, {**GOOD, "response_format": "tiff"}, 400, "invalid_input", "response_format", ("'tiff'",)),
    (IMAGES, {**GOOD, "partial_images": 4}, 400, "invalid_input", "partial_images", ("<= 3",)),
    (IMAGES, {**GOOD, "stream": "yes"}, 400, "invalid_input", "stream", ("bool",)),
    (IMAGES, {**GOOD, "webhook_url": "http://127.0.0.1/x"}, 400, "invalid_input", "webhook_url", ("public",)),
    (IMAGES, {**GOOD, "webhook_url": "ftp://example.com"}, 400, "invalid_input", "webhook_url", ("http",)),
    (VIDEOS, {**FILM, "model": "auto"}, 404, "no_route", "model", ("allow_preview",)),
    (VIDEOS, {**FILM, "seconds": "soon"}, 400, "invalid_input", "seconds", ("a number",)),
    (VIDEOS, {**FILM, "seconds": 999}, 400, "invalid_input", "seconds", ("from 1 to 20",)),
    (VIDEOS, {**FILM, "seconds": "inf"}, 400, "invalid_input", "seconds", ()),
    (VIDEOS, {**FILM, "seconds": "nan"}, 400, "invalid_input", "seconds", ()),
    (VIDEOS, {**FILM, "seconds": "1e400"}, 400, "invalid_input", "seconds", ()),
    (VIDEOS, {**FILM, "input_reference": 7}, 400, "invalid_input", "input_reference", ("a file",)),
    (VIDEOS, {**FILM, "image_url": "https://example.com/x.png"}, 400, "invalid_input", "model", ("image-to-video",)),
    (VIDEOS, {**FILM, "audio_url": "https://example.com/x.mp3"}, 400, "invalid_input", "model", ("talking-avatar",)),
    (VIDEOS, {**FILM, "model": "wan"}, 501, "planned", "model", ()),
    (VIDEOS, {**STILL, "image_url": "http://10.0.0.7/x.png"}, 400, "invalid_input", "image_url", ("public",)),
    (VIDEOS, {**STILL, "image_url": "http://localhost/x.png"}, 400, "invalid_input", "image_url", ("public",)),
    (VIDEOS, {**STILL, "image_url": "http://[::1]/x.png"}, 400, "invalid_input", "image_url", ("public",)),
    (VIDEOS, {**STILL, "image_url": "http://0x7f000001/"}, 400, "invalid_input", "image_url", ("four decimal",)),
    (VIDEOS, {**STILL, "image_url": "http://u:p@example.com/"}, 400, "invalid_input", "image_url", ("password",)),
    (VIDEOS, {**STILL, "image_url": "file:///etc/passwd"}, 400, "invalid_input", "image_url", ("http",)),
    (VIDEOS, {**STILL, "image_url": "http://169.254.169.254/"}, 400, "invalid_input", "image_url", ("public",)),
    (VIDEOS, {**STILL, "image_url": "data:image/png;base64,!!"}, 400, "invalid_input", "image_url", ()),
    (VIDEOS, {**STILL, "motion": "spin"}, 400, "invalid_input", "motion", ("zoom-in",)),
]


@pytest.mark.parametrize(("path", "body", "status", "code", "param", "words"), BODIES)
def test_a_body_that_does_not_fit_is_refused_by_name(
    path: str, body: dict[str, Any], status: int, code: str, param: str | None, words: tuple[str, ...],
    http: httpx2.Client, account: Account, upstream: Upstream,
) -> None:  # fmt: skip
    answer = http.post(path, json=body, headers=bearer(account.key()))
    refused(answer, status, code, param, *words)
    if status >= 500:
        assert answer.headers["x-should-retry"] == "false"
    assert upstream.seen == []
    account.untouched()


RAW: list[tuple[bytes, str]] = [
    (b"", "JSON"),
    (b"{", "JSON"),
    (b"nonsense", "JSON"),
    (b'{"prompt": "x",}', "JSON"),
    (b'{"prompt": NaN}', "JSON"),
    (b"[1, 2]", "JSON object"),
    (b'"text"', "JSON object"),
    (b"7", "JSON object"),
    (b"null", "JSON object"),
    (b'{"prompt": "\xff\xfe"}', "JSON"),
    (b'{"prompt": "\\ud800"}', "JSON"),
    (b"[" * 100_000, "deep"),
    (b'{"prompt":' * 50_000 + b"1" + b"}" * 50_000, "deep"),
    (b'{"model": "test/picture", "prompt": "x", "seed": 1' + b"0" * 5000 + b"}", ""),
]


@pytest.mark.parametrize("path", [IMAGES, VIDEOS])
@pytest.mark.parametrize(("raw", "word"), RAW)
def test_a_body_that_is_no_json_object_is_refused(
    path: str, raw: bytes, word: str, http: httpx2.Client, account: Account
) -> None:
    answer = http.post(path, content=raw, headers=bearer(account.key(), **{"content-type": "application/json"}))
    assert answer.status_code == 400
    problem = answer.json()["error"]
    refused(answer, 400, "invalid_input", problem["param"], word)
    account.untouched()


def test_deep_nesting_that_is_still_json_is_refused_as_a_field(http: httpx2.Client, account: Account) -> None:
    deep = b'{"model":"test/picture","prompt":' + b"[" * 900 + b"]" * 900 + b"}"
    answer = http.post(IMAGES, content=deep, headers=bearer(account.key()))
    refused(answer, 400, "invalid_input", "prompt", "nested too deeply")


# -- size of a body ----------------------------------------------------------------------------------------------------


@pytest.fixture
def wire(house: House) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", house.port), timeout=10) as connection:
        yield connection


def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(wire: socket.socket, account: Account) -> None:
    head = f"POST {IMAGES} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {account.key()}\r\n"
    wire.sendall(f"{head}content-type: application/json\r\ncontent-length: 5000000\r\n\r\n".encode())
    answer = wire.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"payload_too_large"' in answer and b"1048576 bytes" in answer


def test_a_chunked_body_is_refused_once_it_is_too_large(http: httpx2.Client, account: Account) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    answer = http.post(IMAGES, content=chunks(), headers=bearer(account.key()))
    refused(answer, 413, "payload_too_large", "body", "1048576 bytes")
    account.untouched()


@pytest.mark.parametrize("path", ["/v1/files", "/v1/videos"])
def test_a_form_is_bounded_too(path: str, wire: socket.socket, account: Account) -> None:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {account.key()}\r\n"
    form = "content-type: multipart/form-data; boundary=b\r\ncontent-length: 9000000000\r\n\r\n"
    wire.sendall(f"{head}{form}".encode())
    answer = wire.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"payload_too_large" in answer


# -- who calls ---------------------------------------------------------------------------------------------------------


def test_every_key_that_is_no_good_gets_the_same_answer(http: httpx2.Client, house: House, account: Account) -> None:
    good = account.key()
    revoked_id, revoked = account.keyed()
    house.ask(house.app.accounts.revoke(revoked_id))
    expired = account.key(expires_at_ms=int(time.time() * 1000) - 1)
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    unknown = f"ct_live_{'0' * 16}_{'0' * 48}"
    tokens = [None, wrong, unknown, revoked, expired, "sk-proj-abc", good.replace("live", "test"), "ü", "x" * 3000]
    answers = []
    for token in tokens:
        headers = {} if token is None else {"authorization": f"Bearer {token}".encode()}
        answer = http.post(IMAGES, json=GOOD, headers=headers)
        refused(answer, 401, "invalid_api_key", None, "missing, wrong, expired or revoked")
        answers.append(answer.content)
    assert len(set(answers)) == 1
    for scheme in ("Basic", "Digest"):
        refused(
            http.post(IMAGES, json=GOOD, headers={"authorization": f"{scheme} {good}"}), 401, "invalid_api_key", None
        )
    account.untouched()


def test_a_key_is_taken_in_each_of_its_forms(http: httpx2.Client, account: Account) -> None:
    key_id, key = account.keyed()
    as_fal = f"{key_id}:{key.rpartition('_')[2]}"
    for headers in (
        {"authorization": f"Bearer {key}"}, {"authorization": f"bearer {key}"}, {"authorization": f"Key {as_fal}"},
        {"x-api-key": key},
    ):  # fmt: skip
        assert http.get("/v1/models", headers=headers).status_code == 200


def test_a_key_is_checked_before_its_body_is_looked_at(http: httpx2.Client) -> None:
    refused(http.post(IMAGES, content=b"{" * 100), 401, "invalid_api_key", None)


def test_a_key_without_the_model_is_refused(http: httpx2.Client, account: Account, upstream: Upstream) -> None:
    key = account.key(models=["local/*"])
    refused(http.post(IMAGES, json=GOOD, headers=bearer(key)), 403, "model_not_allowed", "model", "test/picture")
    assert upstream.seen == []
    account.untouched()


def test_a_test_key_does_not_reach_the_cloud(http: httpx2.Client, account: Account, upstream: Upstream) -> None:
    answer = http.post(IMAGES, json=GOOD, headers=bearer(account.key(KeyClass.TEST)))
    refused(answer, 403, "model_not_allowed", "model", "paid or unlimited")
    assert upstream.seen == []
    account.untouched()


def test_a_locked_organisation_is_refused(http: httpx2.Client, account: Account, house: House) -> None:
    key = account.key()
    house.ask(house.app.accounts.lock_org(account.org.id))
    refused(http.post(IMAGES, json=GOOD, headers=bearer(key)), 403, "account_locked", None)


# -- money and rates ---------------------------------------------------------------------------------------------------


def test_too_little_credit_says_what_is_needed_and_what_there_is(http: httpx2.Client, house: House) -> None:
    poor = house.account(micro=PRICE_MICRO)
    answer = http.post(IMAGES, json={**GOOD, "n": 2}, headers=bearer(poor.key()))
    problem = refused(answer, 402, "insufficient_credits", None)
    assert problem["type"] == "insufficient_quota"
    assert problem["data"]["needed_micro"] == 2 * PRICE_MICRO
    assert problem["data"]["available_micro"] == PRICE_MICRO
    poor.untouched()
    assert http.post(IMAGES, json=GOOD, headers=bearer(poor.key())).status_code == 200


def test_a_spend_cap_refuses_what_would_pass_it(http: httpx2.Client, account: Account) -> None:
    key = account.key(spend_cap_micro=2 * PRICE_MICRO)
    assert http.post(IMAGES, json=GOOD, headers=bearer(key)).status_code == 200
    refused(http.post(IMAGES, json={**GOOD, "n": 2}, headers=bearer(key)), 403, "spend_cap_reached", None)
    assert http.post(IMAGES, json={**GOOD, "prompt": "other"}, headers=bearer(key)).status_code == 200
    assert account.spent_micro == 2 * PRICE_MICRO and account.held_micro == 0


def test_a_rate_limit_says_when_to_come_back_and_spares_polls(http: httpx2.Client, account: Account) -> None:
    key = account.key(requests_per_minute=6)
    assert http.post(IMAGES, json=GOOD, headers=bearer(key)).status_code == 200
    answer = http.post(IMAGES, json=GOOD, headers=bearer(key))
    problem = refused(answer, 429, "rate_limited", None, "6 requests a minute")
    assert problem["type"] == "rate_limit_error"
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert 1 <= int(answer.headers["retry-after-ms"]) <= 10_000
    assert "x-should-retry" not in answer.headers
    for _ in range(5):
        assert http.get("/v1/videos", headers=bearer(key)).status_code == 200
    assert account.jobs == 1


# -- headers -----------------------------------------------------------------------------------------------------------

HEADERS: list[tuple[str, str, str, tuple[str, ...]]] = [
    ("X-PHI", "yes", "X-PHI", ("true, false",)),
    ("X-PHI", "", "X-PHI", ("true, false",)),
    ("X-PHI", "1", "X-PHI", ("true, false",)),
    ("X-Region", "Mars", "X-Region", ("CH, EU, US", "WORLD")),
    ("X-Region", "EU,US", "X-Region", ("CH, EU, US",)),
    ("X-Model-Tier", "best", "X-Model-Tier", ("fast, baseline, thinking",)),
    ("X-Calotype-Tags", "team", "X-Calotype-Tags", ("team=radiology",)),
    ("X-Calotype-Tags", "=x", "X-Calotype-Tags", ("team=radiology",)),
    ("X-Calotype-Tags", ",".join(f"k{n}=v" for n in range(21)), "X-Calotype-Tags", ("20 tags",)),
    ("X-Calotype-Tags", "k=" + "v" * 201, "X-Calotype-Tags", ("200 characters",)),
    ("X-Calotype-Customer", "c" * 201, "X-Calotype-Customer", ("200 characters",)),
    ("Idempotency-Key", "k" * 256, "Idempotency-Key", ("1 to 255",)),
    ("Idempotency-Key", "", "Idempotency-Key", ("1 to 255",)),
    ("X-Webhook-Url", "http://192.168.0.1/", "X-Webhook-Url", ("public",)),
]


@pytest.mark.parametrize(("name", "value", "param", "words"), HEADERS)
def test_a_header_that_does_not_fit_is_refused_by_name(
    name: str, value: str, param: str, words: tuple[str, ...], http: httpx2.Client, account: Account
) -> None:
    answer = http.post(IMAGES, json=GOOD, headers=bearer(account.key(), **{name: value}))
    refused(answer, 400, "invalid_input", param, *words)
    account.untouched()


@pytest.mark.parametrize(("name", "values"), [("X-PHI", ("true", "false")), ("X-Region", ("EU", "US"))])
def test_a_header_that_says_two_things_is_refused(
    name: str, values: tuple[str, str], http: httpx2.Client, account: Account
) -> None:
    for order in (values, values[::-1]):
        headers = [("authorization", f"Bearer {account.key()}"), *((name, value) for value in order)]
        refused(http.post(IMAGES, json=GOOD, headers=headers), 400, "invalid_input", name, "more than once")
    twice = [("authorization", f"Bearer {account.key()}"), ("X-Region", "WORLD"), ("x-region", "world")]
    assert http.post(IMAGES, json=GOOD, headers=twice).status_code == 200


def test_an_absurd_retry_count_is_no_accident(http: httpx2.Client, account: Account) -> None:
    for count in ("9" * 5000, "-1", "x", "0" * 50, ""):
        headers = bearer(account.key(), **{"x-stainless-retry-count": count})
        assert http.post(IMAGES, json=GOOD, headers=headers).status_code == 200


def test_files_of_a_phi_request_are_not_even_read(http: httpx2.Client, account: Account, house: House) -> None:
    headers = bearer(account.key(), **{"X-PHI": "true"})
    refused(http.post("/v1/files", files={"file": ("a.png", b"x")}, headers=headers), 403, "phi_blocked", "X-PHI")
    form = {"input_reference": ("a.png", b"x"), "prompt": (None, "x"), "model": (None, "local/ken-burns")}
    refused(http.post("/v1/videos", files=form, headers=headers), 403, "phi_blocked", "X-PHI")
    assert house.rows("SELECT COUNT(*) FROM upload WHERE org_id = :org", org=account.org.id) == [(0,)]
    account.untouched()


def test_headers_that_fit_are_kept_with_the_job(http: httpx2.Client, account: Account, house: House) -> None:
    more = {"X-Calotype-Tags": "team=radiology, project=42", "X-Calotype-Customer": "c-1", "X-Model-Tier": "FAST"}
    assert http.post(IMAGES, json=GOOD, headers=bearer(account.key(), **more)).status_code == 200
    ((tags, customer),) = house.rows("SELECT tags, customer FROM job WHERE org_id = :org", org=account.org.id)
    assert json.loads(tags) == {"team": "radiology", "project": "42"} and customer == "c-1"


# -- the same request twice --------------------------------------------------------------------------------------------


def test_an_idempotency_key_replays_its_answer_and_refuses_another_request(
    http: httpx2.Client, account: Account, upstream: Upstream
) -> None:
    headers = bearer(account.key(), **{"Idempotency-Key": "order-7"})
    first = http.post(IMAGES, json=GOOD, headers=headers)
    again = http.post(IMAGES, json=GOOD, headers=headers)
    assert first.status_code == again.status_code == 200
    assert first.headers["x-calotype-job-id"] == again.headers["x-calotype-job-id"]
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert len(first.json()["data"]) == len(again.json()["data"]) == 1
    assert len(upstream.seen) == 1
    other = http.post(IMAGES, json={**GOOD, "n": 2}, headers=headers)
    refused(other, 422, "idempotency_mismatch", "Idempotency-Key", "another request")
    assert (account.jobs, account.spent_micro) == (1, PRICE_MICRO)


def test_an_idempotency_key_replays_a_failure(http: httpx2.Client, account: Account, upstream: Upstream) -> None:
    upstream.answers = [error(400, "moderation_blocked")]
    headers = bearer(account.key(), **{"Idempotency-Key": "order-8"})
    for _ in range(2):
        assert http.post(IMAGES, json=GOOD, headers=headers).json()["error"]["code"] == "moderation_blocked"
    assert len(upstream.seen) == 1 and account.jobs == 1


def test_the_same_request_without_a_mark_is_a_new_one(http: httpx2.Client, account: Account) -> None:
    headers = bearer(account.key())
    jobs = {http.post(IMAGES, json=GOOD, headers=headers).headers["x-calotype-job-id"] for _ in range(2)}
    assert len(jobs) == 2 and account.spent_micro == 2 * PRICE_MICRO


def test_an_idempotency_key_belongs_to_its_organisation(http: httpx2.Client, house: House) -> None:
    jobs = set()
    for one in (house.account(), house.account()):
        headers = bearer(one.key(), **{"Idempotency-Key": "shared"})
        jobs.add(http.post(IMAGES, json=GOOD, headers=headers).headers["x-calotype-job-id"])
    assert len(jobs) == 2


# -- fields known here but not to the model ----------------------------------------------------------------------------


def test_a_field_the_model_does_not_take_is_a_warning(
    http: httpx2.Client, account: Account, upstream: Upstream
) -> None:
    body = {**GOOD, "background": "opaque", "style": "vivid", "user": "me"}
    answer = http.post(IMAGES, json=body, headers=bearer(account.key()))
    assert answer.status_code == 200
    warnings = answer.json()["warnings"]
    assert json.loads(answer.headers["x-calotype-warnings"]) == warnings
    assert len(warnings) == 2
    assert any("background" in one for one in warnings) and any("style" in one for one in warnings)
    assert set(upstream.seen[0].json) == {"model", "prompt", "n"}


# -- what goes wrong upstream ------------------------------------------------------------------------------------------


def test_an_upstream_failure_releases_the_hold_and_keeps_its_words_to_itself(
    http: httpx2.Client, account: Account, upstream: Upstream, house: House
) -> None:
    secret = f"key {UPSTREAM_KEY} of /srv/models/a.bin is bad"
    upstream.answers = [error(502, "bad_gateway", secret, "server_error")]
    answer = http.post(IMAGES, json=GOOD, headers=bearer(account.key()))
    assert answer.status_code == 502
    problem = answer.json()["error"]
    assert (problem["code"], problem["type"], problem["param"]) == ("upstream_failed", "server_error", None)
    assert answer.headers["x-should-retry"] == "false"
    assert (answer.headers["x-phi-cost-micro"], answer.headers["x-phi-attempts"]) == ("0", "1")
    assert (account.held_micro, account.spent_micro) == (0, 0)
    assert upstream.seen[0].headers["Authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert UPSTREAM_KEY not in answer.text and "/srv/models" not in answer.text
    assert "upstream_failed" in (house.app.settings.data_dir / "server.log").read_text()
    for path in house.app.settings.data_dir.rglob("*"):
        if path.is_file():
            assert UPSTREAM_KEY.encode() not in path.read_bytes(), path


def test_a_picture_the_upstream_refuses_to_make_is_the_caller_s_matter(
    http: httpx2.Client, account: Account, upstream: Upstream
) -> None:
    upstream.answers = [error(400, "content_policy_violation", "your harbour is wicked")]
    answer = http.post(IMAGES, json=GOOD, headers=bearer(account.key()))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "moderation_blocked"
    assert "wicked" not in answer.text
    assert answer.headers["x-phi-cost-micro"] == "0"
    assert (account.held_micro, account.spent_micro) == (0, 0)


def test_an_answer_that_cannot_be_read_is_not_a_picture(
    http: httpx2.Client, account: Account, upstream: Upstream
) -> None:
    from aiohttp import web

    for text in ("<html>", '{"data": []}', '{"data": [{}]}'):
        upstream.answers = [lambda _seen, text=text: web.Response(text=text, content_type="application/json")]
        answer = http.post(IMAGES, json=GOOD, headers=bearer(account.key()))
        assert answer.status_code == 502, (text, answer.text)
        assert answer.json()["error"]["code"] == "upstream_failed"
    assert (account.held_micro, account.spent_micro) == (0, 0)


# -- paths, methods and types ------------------------------------------------------------------------------------------

PATHS: list[tuple[str, str, int, str, str]] = [
    ("GET", "/v1/nothing", 404, "not_found", ""),
    ("GET", "/v1/", 404, "not_found", ""),
    ("POST", "/v1/images", 404, "not_found", ""),
    ("POST", "/api/v1/images/nothing", 404, "not_found", ""),
    ("GET", "/v1/images/generations", 405, "method_not_allowed", "POST"),
    ("PUT", "/v1/videos", 405, "method_not_allowed", "GET, POST"),
    ("PATCH", "/v1/videos/video_x", 405, "method_not_allowed", "DELETE, GET"),
    ("DELETE", "/v1/models/local%2Fsketch", 405, "method_not_allowed", "GET"),
    ("POST", "/v1/pricing", 405, "method_not_allowed", "GET"),
]


@pytest.mark.parametrize(("method", "path", "status", "code", "allow"), PATHS)
def test_a_path_or_method_that_is_not_there_is_refused_in_openai_s_words(
    method: str, path: str, status: int, code: str, allow: str, http: httpx2.Client, account: Account
) -> None:
    answer = http.request(method, path, headers=bearer(account.key()))
    refused(answer, status, code, None)
    assert answer.headers.get("allow", "") == allow


def test_ids_that_name_nothing_are_not_found(http: httpx2.Client, account: Account) -> None:
    headers = bearer(account.key())
    for ident in ("video_x", "video_" + "0" * 32, "x" * 500, "%00", "%ff", "..%2f..", "video_" + "g" * 32):
        for method in ("GET", "DELETE"):
            answer = http.request(method, f"/v1/videos/{ident}", headers=headers)
            refused(answer, 404, "job_not_found", answer.json()["error"]["param"])
        assert http.get(f"/v1/videos/{ident}/content", headers=headers).status_code == 404
        assert http.get(f"/v1/files/{ident}", headers=headers).json()["error"]["code"] == "not_found"
        assert http.delete(f"/v1/files/{ident}", headers=headers).json()["error"]["code"] == "not_found"
        assert http.get(f"/v1/models/{ident}", headers=headers).json()["error"]["code"] == "model_not_found"


def test_odd_queries_are_refused_by_name(http: httpx2.Client, account: Account) -> None:
    headers = bearer(account.key())
    for query, param in (
        ("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("limit=%C2%B2", "limit"),
        ("limit=", "limit"), ("order=up", "order"),
    ):  # fmt: skip
        refused(http.get(f"/v1/videos?{query}", headers=headers), 400, "invalid_input", param)
    refused(http.get("/v1/videos?after=nobody", headers=headers), 404, "job_not_found", "after")
    assert http.get("/v1/videos?after=video_" + "0" * 32, headers=headers).status_code in (200, 404)


TYPES: list[tuple[str, str, bytes, int, str]] = [
    (IMAGES, "multipart/form-data; boundary=b", b"--b--\r\n", 415, "unsupported_media_type"),
    (IMAGES, "application/x-www-form-urlencoded", b"prompt=x", 415, "unsupported_media_type"),
    ("/v1/files", "application/json", b"{}", 415, "unsupported_media_type"),
    ("/v1/files", "multipart/form-data", b"x", 400, "invalid_input"),
    ("/v1/files", "multipart/form-data; boundary=b", b"nonsense", 400, "invalid_input"),
    ("/v1/files", "multipart/form-data; boundary=b", b"--b--\r\n", 400, "invalid_input"),
    ("/v1/videos", "multipart/form-data", b"x", 400, "invalid_input"),
    ("/v1/videos", "multipart/form-data; boundary=b", b"--b\r\n\r\nx", 400, "invalid_input"),
    ("/v1/videos", "multipart/form-data; boundary=\xff", b"--b\r\n\r\nx", 400, "invalid_input"),
    ("/v1/videos", "text/plain", b"waves", 400, "invalid_input"),
]


@pytest.mark.parametrize(("path", "kind", "raw", "status", "code"), TYPES)
def test_a_body_of_another_type_is_refused(
    path: str, kind: str, raw: bytes, status: int, code: str, http: httpx2.Client, account: Account
) -> None:
    headers: dict[str, Any] = bearer(account.key())
    answer = http.post(path, content=raw, headers={**headers, "content-type": kind.encode("latin-1")})
    refused(answer, status, code, answer.json()["error"]["param"])
    account.untouched()


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "text/plain", "APPLICATION/JSON", None])
def test_json_is_taken_under_any_name(kind: str | None, http: httpx2.Client, account: Account) -> None:
    headers = bearer(account.key(), **({} if kind is None else {"content-type": kind}))
    assert http.post(IMAGES, content=json.dumps(GOOD).encode(), headers=headers).status_code == 200


def test_a_compressed_body_is_refused_by_name(http: httpx2.Client, account: Account) -> None:
    headers = bearer(account.key(), **{"content-encoding": "gzip"})
    refused(http.post(IMAGES, content=b"\x1f\x8b", headers=headers), 415, "unsupported_media_type", "Content-Encoding")


def test_a_form_field_that_does_not_fit_is_refused_by_name(http: httpx2.Client, account: Account) -> None:
    for fields, param in (
        ({"seconds": "99"}, "seconds"), ({"size": "1x1"}, "size"), ({"nonsense": "x"}, "nonsense"),
        ({"seed": "x"}, "seed"), ({"allow_preview": "maybe"}, "allow_preview"),
    ):  # fmt: skip
        files = {name: (None, value) for name, value in {**FILM, **fields}.items()}
        answer = http.post("/v1/videos", files=files, headers=bearer(account.key()))
        refused(answer, 400, "invalid_input", param)
    account.untouched()


def test_an_empty_upload_is_refused(http: httpx2.Client, account: Account) -> None:
    answer = http.post("/v1/files", files={"file": ("a.png", b"")}, headers=bearer(account.key()))
    refused(answer, 400, "invalid_input", "file", "empty")
    answer = http.post(
        "/v1/files", files={"file": ("a.png", b"x")}, data={"expires_after[seconds]": "soon"},
        headers=bearer(account.key()),
    )  # fmt: skip
    refused(answer, 400, "invalid_input", "expires_after[seconds]", "whole number")
