"""What is refused, in which words, and that nothing was sent or charged for it (`wire/products.md D2, D5`)."""

from typing import Any

import httpx2
import msgspec
import pytest
from image_caller import PNG_URI, Caller

from calotype.dialects.image import shapes
from calotype.kernel.generation import KeyClass
from calotype.sandbox.base import Emulator
from running import Account, House

GENERATE, EDIT, FILM = "/api/v1/image/generate", "/api/v1/image/edit", "/api/v1/video/generate"
P = {"prompt": "a fox"}
E = {"prompt": "winter", "image_url": PNG_URI}
WRONG: list[tuple[str, Any, int, str, str | None]] = [
    (GENERATE, {}, 400, "MISSING_REQUIRED_FIELD", "prompt"),
    (GENERATE, {"prompt": None}, 400, "MISSING_REQUIRED_FIELD", "prompt"),
    (GENERATE, {"prompt": ""}, 400, "BAD_REQUEST", "prompt"),
    (GENERATE, {"prompt": 5}, 400, "BAD_REQUEST", "prompt"),
    (GENERATE, [], 400, "BAD_REQUEST", "body"),
    (GENERATE, P | {"model": "nothing-like-it"}, 400, "INVALID_MODEL", "model"),
    (GENERATE, P | {"model": 7}, 400, "INVALID_MODEL", "model"),
    (GENERATE, P | {"model": "qwen-image-edit"}, 400, "INVALID_MODEL", "model"),
    (GENERATE, P | {"width": 255}, 400, "BAD_REQUEST", "width"),
    (GENERATE, P | {"width": 2049}, 400, "BAD_REQUEST", "width"),
    (GENERATE, P | {"height": "512"}, 400, "BAD_REQUEST", "height"),
    (GENERATE, P | {"width": True}, 400, "BAD_REQUEST", "width"),
    (GENERATE, P | {"model": "imagen-4", "num_images": 5}, 400, "BAD_REQUEST", "num_images"),
    (GENERATE, P | {"model": "imagen-4", "num_images": 0}, 400, "BAD_REQUEST", "num_images"),
    (GENERATE, P | {"model": "imagen-4", "image_size": "4K"}, 400, "BAD_REQUEST", "image_size"),
    (GENERATE, P | {"model": "imagen-4", "aspect_ratio": "2:1"}, 400, "BAD_REQUEST", "aspect_ratio"),
    (GENERATE, P | {"model": "imagen-4", "width": 512}, 400, "BAD_REQUEST", "width"),
    (GENERATE, P | {"model": "imagen-4", "height": 512}, 400, "BAD_REQUEST", "height"),
    (GENERATE, P | {"model": "imagen-4", "seed": 1}, 400, "BAD_REQUEST", "seed"),
    (GENERATE, P | {"aspect_ratio": "1:1"}, 400, "BAD_REQUEST", "aspect_ratio"),
    (GENERATE, P | {"num_images": 2}, 400, "BAD_REQUEST", "num_images"),
    (GENERATE, P | {"image_size": "1K"}, 400, "BAD_REQUEST", "image_size"),
    (GENERATE, P | {"model": "recraft-v4", "seed": 1}, 400, "BAD_REQUEST", "seed"),
    (GENERATE, P | {"model": "ideogram-v3", "num_images": 2}, 400, "BAD_REQUEST", "num_images"),
    (GENERATE, P | {"model": "sd-3.5", "image_size": "1K"}, 400, "BAD_REQUEST", "image_size"),
    (GENERATE, P | {"model": "qwen-image", "width": 512, "aspect_ratio": "1:1"}, 400, "BAD_REQUEST", "aspect_ratio"),
    (GENERATE, P | {"model": "flux-1.1-pro", "width": 2048, "height": 512}, 400, "BAD_REQUEST", "width"),
    (GENERATE, P | {"seed": -1}, 400, "BAD_REQUEST", "seed"),
    (GENERATE, P | {"colour": "red"}, 400, "BAD_REQUEST", "colour"),
    (GENERATE, P | {"image_url": PNG_URI}, 400, "BAD_REQUEST", "image_url"),
    (GENERATE, P | {"strict": "no"}, 400, "BAD_REQUEST", "strict"),
    (GENERATE, P | {"retries": 6}, 400, "BAD_REQUEST", "retries"),
    (GENERATE, P | {"timeout": 300_001}, 400, "BAD_REQUEST", "timeout"),
    (GENERATE, P | {"fallback": "imagen-4"}, 400, "BAD_REQUEST", "fallback"),
    (GENERATE, P | {"fallback": ["imagen-4", "no-such-model"]}, 400, "INVALID_MODEL", "fallback.1"),
    (GENERATE, P | {"guardrails": ["pii"]}, 400, "BAD_REQUEST", "guardrails"),
    (GENERATE, P | {"prompt_id": "p1"}, 400, "BAD_REQUEST", "prompt_id"),
    (GENERATE, P | {"webhook_url": "http://127.0.0.1/x"}, 400, "BAD_REQUEST", "webhook_url"),
    (EDIT, P, 400, "MISSING_REQUIRED_FIELD", "image_url"),
    (EDIT, {"image_url": PNG_URI}, 400, "MISSING_REQUIRED_FIELD", "prompt"),
    (EDIT, E | {"image_url": [PNG_URI]}, 400, "BAD_REQUEST", "image_url"),
    (EDIT, E | {"image_url": "ftp://example.com/a.png"}, 400, "BAD_REQUEST", "image_url"),
    (EDIT, E | {"image_url": "http://127.0.0.1:9/a.png"}, 400, "BAD_REQUEST", "image_url"),
    (EDIT, E | {"seed": 1}, 400, "BAD_REQUEST", "seed"),
    (EDIT, E | {"model": "seedream-5", "seed": 1}, 400, "BAD_REQUEST", "seed"),
    (EDIT, E | {"model": "flux-kontext", "width": 512}, 400, "BAD_REQUEST", "width"),
    (EDIT, E | {"model": "imagen-4"}, 400, "INVALID_MODEL", "model"),
    (FILM, {}, 400, "MISSING_REQUIRED_FIELD", "prompt"),
    (FILM, P | {"duration": "5"}, 400, "BAD_REQUEST", "duration"),
    (FILM, P | {"resolution": "480p"}, 400, "BAD_REQUEST", "resolution"),
    (FILM, P | {"model": "kling-3-pro", "duration": "4"}, 400, "BAD_REQUEST", "duration"),
    (FILM, P | {"model": "wan-2.6", "resolution": "720p"}, 400, "BAD_REQUEST", "resolution"),
    (FILM, P | {"model": "imagen-4"}, 400, "INVALID_MODEL", "model"),
]


def error(answer: httpx2.Response) -> shapes.ImageErrorDetail:
    return msgspec.json.decode(answer.content, type=shapes.ImageError).error


@pytest.mark.parametrize(("path", "body", "status", "code", "field"), WRONG)
def test_a_wrong_body_is_refused_by_name_and_costs_nothing(
    path: str, body: Any, status: int, code: str, field: str | None, caller: Caller, account: Account,
    upstreams: dict[str, Emulator],
) -> None:  # fmt: skip
    answer = caller.post(path, body)
    told = error(answer)
    assert (answer.status_code, told.code, told.details.get("field")) == (status, code, field), answer.text
    assert answer.headers["x-ratelimit-limit"] == "60" and answer.headers["x-phi-cost-micro"] == "0"
    assert not any(one.submits for one in upstreams.values())
    account.untouched()


def test_a_refused_parameter_says_whose_model_it_is_and_what_it_takes(caller: Caller) -> None:
    told = error(caller.generate(model="imagen-4", width=512)).message
    assert told == (
        "imagen-4 (Google) does not take width; it takes aspect_ratio, image_size, num_images."
        " strict: false leaves it out."
    )


def test_what_a_model_does_not_take_is_left_out_when_that_is_asked_for(
    caller: Caller, upstreams: dict[str, Emulator]
) -> None:
    answer = caller.generate(model="recraft-v4", seed=5, num_images=2, width=512, aspect_ratio="1:1", strict=False)
    assert answer.status_code == 200
    assert "seed" not in upstreams["fal"].submits[0].json()
    assert len(answer.json()["data"]["images"]) == 1
    warnings = answer.json()["warnings"]
    assert [one.split()[0] for one in warnings] == ["num_images", "seed", "aspect_ratio"]
    assert answer.headers["x-calotype-warnings"]


def test_load_balance_is_known_and_changes_nothing(caller: Caller) -> None:
    answer = caller.generate(width=512, height=512, load_balance=True)
    assert answer.status_code == 200 and "load_balance" in answer.json()["warnings"][0]


def test_a_body_that_is_no_json_is_refused(caller: Caller, account: Account) -> None:
    headers = {"authorization": f"Bearer {caller.key}", "content-type": "application/json"}
    answer = caller.client.post(GENERATE, content=b"{", headers=headers)
    assert (answer.status_code, error(answer).code) == (400, "BAD_REQUEST")
    form = caller.client.post(GENERATE, data={"prompt": "x"}, headers={"authorization": f"Bearer {caller.key}"})
    assert (form.status_code, error(form).code) == (415, "BAD_REQUEST")
    account.untouched()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "UNAUTHORIZED"),
        ({"authorization": "Bearer nonsense"}, "INVALID_API_KEY"),
        ({"x-api-key": "ct_live_0000000000000000_" + "0" * 48}, "INVALID_API_KEY"),
    ],
)
def test_a_missing_key_and_a_wrong_one_are_told_apart(headers: dict[str, str], code: str, caller: Caller) -> None:
    answer = caller.client.post(GENERATE, json=P, headers=headers)
    assert (answer.status_code, error(answer).code) == (401, code)


def test_both_headers_carry_a_key(caller: Caller) -> None:
    answer = caller.client.get("/api/v1/image/models", headers={"x-api-key": caller.key})
    assert answer.status_code == 200


def test_too_little_money_is_told_with_the_figures(house: House, caller: Caller) -> None:
    poor = house.account(micro=32_999)
    answer = Caller(caller.client, poor.key()).generate(width=512, height=512)
    told = error(answer)
    assert (answer.status_code, told.code) == (402, "INSUFFICIENT_CREDITS")
    assert (told.details["needed_micro"], told.details["available_micro"]) == (33_000, 32_999)
    poor.untouched()


def test_phi_is_refused_before_a_byte_leaves(caller: Caller, account: Account, upstreams: dict[str, Emulator]) -> None:
    answer = caller.post(GENERATE, P, x_phi="true")
    assert (answer.status_code, error(answer).code) == (403, "FORBIDDEN")
    assert error(answer).details["code"] == "phi_blocked" and answer.headers["x-phi-tier"] == "phi"
    assert not any(one.submits for one in upstreams.values())
    account.untouched()


def test_a_region_that_no_route_names_is_unavailable_and_not_to_be_tried_again(caller: Caller) -> None:
    answer = caller.post(GENERATE, P, x_region="MARS")
    assert (answer.status_code, error(answer).details["field"]) == (400, "X-Region")


def test_a_test_key_reaches_no_cloud(account: Account, caller: Caller) -> None:
    answer = Caller(caller.client, account.key(KeyClass.TEST)).generate()
    assert (answer.status_code, error(answer).code) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("words", "status", "code", "details"),
    [
        ("@moderated", 400, "GUARDRAIL_BLOCKED", "moderation_blocked"),
        ("@status=503", 503, "MODEL_UNAVAILABLE", "unavailable"),
        ("@error", 502, "MODEL_UNAVAILABLE", "upstream_failed"),
        ("@cut=after", 502, "MODEL_UNAVAILABLE", "upstream_failed"),
    ],
)
def test_a_failure_of_the_maker_is_told_and_refunded(
    words: str, status: int, code: str, details: str, caller: Caller, account: Account
) -> None:
    answer = caller.generate(model="flux-kontext", prompt=f"a fox {words}", retries=0)
    told = error(answer)
    assert (answer.status_code, told.code, told.details["code"]) == (status, code, details)
    assert answer.headers["x-phi-cost-micro"] == "0" and "bfl" in answer.headers["x-phi-routed"]
    assert (account.spent_micro, account.held_micro) == (0, 0)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", GENERATE, 405, "METHOD_NOT_ALLOWED"), ("POST", "/api/v1/image/models", 405, "METHOD_NOT_ALLOWED"),
        ("PUT", "/api/v1/keys/abc", 405, "METHOD_NOT_ALLOWED"), ("GET", "/api/v1/image/nothing", 404, "NOT_FOUND"),
        ("POST", "/api/v1/video/nothing", 404, "NOT_FOUND"),
    ],
)  # fmt: skip
def test_paths_and_methods_that_are_not_offered(method: str, path: str, status: int, code: str, caller: Caller) -> None:
    answer = caller.request(method, path)
    assert (answer.status_code, error(answer).code) == (status, code)
    assert ("allow" in answer.headers) is (status == 405)


def test_a_handler_that_breaks_is_answered_in_this_dialect_s_words(
    caller: Caller, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(house.app.catalog, "find", broken)
    answer = caller.generate()
    assert (answer.status_code, error(answer).code) == (500, "INTERNAL_ERROR") and "secret" not in answer.text
    assert answer.headers["x-should-retry"] == "false"
