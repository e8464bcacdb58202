"""Errors in fal's words: bodies, statuses, headers (`wire/fal.md §8, §9`)."""

from typing import Any

import httpx2
import pytest
from fal_caller import MODEL, Fal

from calotype.dialects.fal.errors import TYPES, refused
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import KeyClass
from running import Account, House
from upstream import Upstream, error

RETRIED = {408, 409, 502, 504}
"""Statuses that fal's clients send again for; 429 and 503 are answered where that helps, 504 marked as final."""


def test_a_missing_field_is_a_validation_error_with_its_location(fal: Fal, account: Account) -> None:
    for call in (fal.submit, fal.run):
        answer = call(json={})
        body = answer.json()
        assert answer.status_code == 422
        (item,) = body["detail"]
        assert (item["loc"], item["type"]) == (["body", "prompt"], "missing")
        assert item["url"] == "https://docs.fal.ai/errors#missing" and "required" in item["msg"]
        assert body["error"]["code"] == "missing_parameter" and body["message"] == item["msg"]
        assert body["status"] == 422 and body["body"] == [{"msg": item["msg"], "type": "missing"}]
        assert "input" not in item, "what was sent is never repeated"
        assert answer.headers["x-fal-retryable"] == "false" and answer.headers["x-fal-needs-retry"] == "0"
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-phi-attempts"] == "0"
    account.untouched()


@pytest.mark.parametrize(
    ("field", "value", "kind", "ctx"),
    [
        ("num_images", 11, "less_than_equal", {"le": 10}),
        ("num_images", 0, "greater_than_equal", {"ge": 1}),
        ("guidance", -1, "greater_than_equal", {"ge": 0}),
        ("quality", "best", "one_of", None),
        ("prompt", 5, "type_error", None),
        ("prompt", "", "string_too_short", {"min_length": 1}),
        ("image_size", {"width": 0}, "value_error", None),
        ("image_size", "10x10", "value_error", None),
    ],
)
def test_each_rule_has_fals_name(fal: Fal, field: str, value: Any, kind: str, ctx: dict[str, Any] | None) -> None:
    answer = fal.submit(json={"prompt": "x", field: value})
    assert answer.status_code == 422
    (item,) = answer.json()["detail"]
    assert item["type"] == kind and item.get("ctx") == ctx, item


def test_a_refusal_names_the_field_as_it_was_sent(fal: Fal) -> None:
    (item,) = fal.submit(json={"prompt": "x", "num_images": 99}).json()["detail"]
    assert item["loc"] == ["body", "num_images"] and item["msg"].startswith("num_images must be")


def test_a_body_that_is_no_json_object_is_malformed(fal: Fal) -> None:
    for body in (b"{", b"[1]", b'"text"', b"\xff"):
        answer = fal.ask("POST", f"/fal/queue/{MODEL}", content=body)
        assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")
        assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("header", [{}, {"authorization": "Key nonsense"}, {"authorization": "Key a:b"}])
def test_a_bad_key_is_told_in_fals_sentence(http: httpx2.Client, header: dict[str, str]) -> None:
    for method, path in (("POST", f"/fal/queue/{MODEL}"), ("POST", f"/fal/run/{MODEL}"),
                         ("GET", f"/fal/queue/{MODEL}/requests/0190-x/status")):  # fmt: skip
        answer = http.request(method, path, headers=header, json={} if method == "POST" else None)
        assert answer.status_code == 401
        assert answer.json()["detail"] == "No user found for Key ID and Secret"
        assert answer.headers["x-fal-request-id"]


def test_both_forms_of_a_key_and_both_words_before_it_open_the_door(house: House, http: httpx2.Client) -> None:
    text = house.account().key()
    _, _, ident, secret = text.split("_")
    for given in (f"Key {text}", f"Key {ident}:{secret}", f"Bearer {text}", f"key {ident}:{secret}"):
        answer = http.post(f"/fal/run/{MODEL}", json={"prompt": "x"}, headers={"authorization": given})
        assert answer.status_code == 200, given


def test_no_credit_is_a_locked_user_and_403(house: House, http: httpx2.Client, upstream: Upstream) -> None:
    poor = house.account(micro=10)
    fal = Fal(http, poor.key())
    for answer in (fal.submit(), fal.run()):
        assert answer.status_code == 403
        detail = answer.json()["detail"]
        assert detail.startswith("User is locked. Reason: Exhausted balance.")
        assert "0.04 USD" in detail and "0.00001 USD" in detail, "it says what is needed and what there is"
        assert answer.json()["error_type"] == "insufficient_credits"
    poor.untouched()
    assert not upstream.seen


def test_an_unknown_application_names_its_neighbours(fal: Fal) -> None:
    answer = fal.submit("test/pictures")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("Application not found.") and MODEL in answer.json()["detail"]


def test_other_paths_and_methods_have_errors_of_fals(fal: Fal) -> None:
    for path in ("/fal/queue/", "/fal/nothing/x", "/fal/rest/storage/x"):
        answer = fal.ask("GET", path)
        assert answer.status_code == 404 and answer.json()["detail"].startswith("Path /")
    assert fal.ask("GET", f"/fal/queue/{MODEL}").status_code == 405
    assert fal.ask("DELETE", f"/fal/run/{MODEL}").status_code == 405
    assert fal.ask("POST", f"/fal/queue/{MODEL}/requests/x/cancel").status_code == 405


def test_a_bad_header_is_a_bad_request_and_phi_is_refused_unheld(fal: Fal, account: Account) -> None:
    answer = fal.submit(headers={"x-phi": "perhaps"})
    assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")
    answer = fal.submit(headers={"x-phi": "true"})
    assert (answer.status_code, answer.json()["error_type"]) == (403, "phi_blocked")
    assert answer.headers["x-phi-tier"] == "phi"
    account.untouched()


def test_a_test_key_that_asks_too_often_is_told_to_come_back_but_its_polls_never_are(house: House) -> None:
    key = house.account().key(KeyClass.PAID, requests_per_minute=6)
    with httpx2.Client(base_url=house.url) as client:
        fal = Fal(client, key)
        ident = fal.submit().json()["request_id"]
        refused_one = fal.submit()
        assert refused_one.status_code == 429
        assert refused_one.json()["type"] == "rate_limited" and refused_one.json()["data"] == {"limit": 6}
        assert refused_one.headers["x-fal-needs-retry"] == "1" and refused_one.headers["x-fal-retryable"] == "true"
        assert {fal.status(ident).status_code for _ in range(50)} <= {200, 202}


@pytest.mark.parametrize(
    ("said", "status", "kind"),
    [
        (error(400, "moderation_blocked", kind="image_generation_user_error"), 422, "content_policy_violation"),
        (error(400, "invalid_value"), 422, "value_error"),
    ],
)
def test_a_failed_request_says_the_same_in_status_result_and_direct_call(
    said: Any, status: int, kind: str, fal: Fal, upstream: Upstream, account: Account
) -> None:
    upstream.answers[:] = [said, said]
    ident = fal.submit().json()["request_id"]
    told = fal.wait(ident)
    assert told.status_code == 200
    assert (told.json()["status"], told.json()["error_type"]) == ("COMPLETED", kind)
    assert isinstance(told.json()["error"], str) and told.json()["error"]
    result = fal.result(ident)
    assert result.status_code == status and result.json()["detail"][0]["type"] == kind
    assert result.headers["x-fal-request-id"] == ident and result.headers["x-fal-billable-units"] == "0"
    direct = fal.run()
    assert direct.status_code == status and direct.json()["detail"][0]["type"] == kind
    assert direct.headers["x-fal-request-id"] not in ("", ident)
    assert account.spent_micro == account.held_micro == 0


def test_a_broken_upstream_is_a_runner_error_that_no_client_sends_again(fal: Fal, upstream: Upstream) -> None:
    upstream.answers[:] = [error(500, "server_error", kind="server_error")] * 8
    answer = fal.run()
    assert answer.status_code in (500, 503)
    assert answer.headers["x-fal-error-type"] == answer.json()["error_type"]
    assert answer.headers["x-fal-request-id"]


@pytest.mark.parametrize(("header", "tries"), [({}, 2), ({"x-fal-no-retry": "1"}, 1), ({"x-fal-no-retry": "yes"}, 1)])
def test_a_request_that_shall_not_be_tried_again_is_sent_once(
    header: dict[str, str], tries: int, fal: Fal, upstream: Upstream, account: Account
) -> None:
    upstream.answers[:] = [error(503, "overloaded", kind="server_error")] * 8
    assert fal.run(headers=header).status_code == 503
    assert len(upstream.seen) == tries and account.held_micro == account.spent_micro == 0


@pytest.mark.parametrize("code", list(Code))
def test_no_permanent_refusal_has_a_status_that_clients_send_again_for(code: Code) -> None:
    found = refused(Problem(code, "A sentence.", retryable=False))
    assert found.status not in RETRIED or (b"x-fal-request-timeout-type", b"user") in found.headers
    assert found.status != 402 and found.status != 503
    assert found.body["detail"] and found.body["message"]
    if found.status != 422:
        assert dict(found.headers)[b"x-fal-error-type"].decode() == found.body["error_type"]


def test_platform_errors_have_the_documented_statuses() -> None:
    assert {kind: status for status, kind in TYPES.values()} == {
        "insufficient_credits": 403, "bad_request": 400, "client_cancelled": 499, "rate_limited": 429,
        "runner_server_error": 500, "runner_scheduling_failure": 503, "request_timeout": 504, "internal_error": 500,
    }  # fmt: skip
