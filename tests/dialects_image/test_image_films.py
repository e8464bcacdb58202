"""Films are made in the background and polled (`wire/products.md D3`, the surface contract §10)."""

import json
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest
from image_caller import PNG_URI, Caller

from calotype.dialects.image import shapes
from calotype.sandbox.base import Emulator
from postbox import Postbox
from running import Account, House

FILM = "/api/v1/video/generate"


def told(answer: httpx2.Response, status: int = 200) -> shapes.ImageFilm:
    assert answer.status_code == status, answer.text
    return msgspec.json.decode(answer.content, type=shapes.ImageFilmAnswer).data


def begun(caller: Caller, **body: Any) -> shapes.ImageFilm:
    return told(caller.post(FILM, {"prompt": "waves", **body}), 202)


def ended(caller: Caller, film: shapes.ImageFilm) -> shapes.ImageFilm:
    while film.status == "processing":
        film = told(caller.get(film.poll_url))
    return film


def test_a_film_is_begun_polled_by_its_url_and_charged_once(caller: Caller, account: Account) -> None:
    film = begun(caller, duration="4", aspect_ratio="9:16", resolution="1080p")
    assert (film.model, film.provider, film.status) == ("veo-3.1", "google", "processing")
    assert film.operation_id.startswith("operations/")
    assert film.poll_url == f"/api/v1/video/status?provider=google&operation_id={film.operation_id}"
    done = ended(caller, film)
    assert done.status == "completed" and done.cost_usd == 1.76
    assert httpx2.get(str(done.url)).content[4:8] == b"ftyp"
    for _ in range(3):
        assert told(caller.get(film.poll_url)).status == "completed"
    assert (account.spent_micro, account.held_micro) == (1_760_000, 0)


def test_veo_gets_what_was_asked_for(caller: Caller, upstreams: dict[str, Emulator]) -> None:
    ended(caller, begun(caller, model="veo-3.1-fast", duration=6, image_url=PNG_URI))
    (submit,) = upstreams["google"].submits
    assert submit.path.endswith("veo-3.1-fast-generate-preview:predictLongRunning")
    sent = submit.json()
    assert sent["parameters"]["durationSeconds"] in (6, "6") and "image" in sent["instances"][0]


@pytest.mark.parametrize(
    ("model", "picture", "became", "path"),
    [
        ("kling-3-pro", False, "kling-3-pro", "/queue/fal-ai/kling-video/v3/pro/text-to-video"),
        ("kling-3-pro", True, "kling-3-pro-i2v", "/queue/fal-ai/kling-video/v3/pro/image-to-video"),
        ("kling-3-pro-i2v", True, "kling-3-pro-i2v", "/queue/fal-ai/kling-video/v3/pro/image-to-video"),
        ("wan-2.6", False, "wan-2.6", "/queue/wan/v2.6/text-to-video"),
        ("wan-2.6", True, "wan-2.6-i2v", "/queue/wan/v2.6/image-to-video"),
        ("wan-2.6-i2v", True, "wan-2.6-i2v", "/queue/wan/v2.6/image-to-video"),
    ],
)
def test_a_picture_switches_the_model_by_itself(
    model: str, picture: bool, became: str, path: str, caller: Caller, upstreams: dict[str, Emulator]
) -> None:
    film = begun(caller, model=model, **({"image_url": PNG_URI} if picture else {}))
    assert (film.model, film.provider) == (became, "fal")
    assert ended(caller, film).status == "completed"
    assert [one.path for one in upstreams["fal"].submits] == [path]


def test_proportions_that_the_switched_model_does_not_take_are_a_warning(caller: Caller) -> None:
    answer = caller.post(FILM, {"prompt": "x", "model": "wan-2.6", "image_url": PNG_URI, "aspect_ratio": "16:9"})
    told(answer, 202)
    assert "aspect_ratio has no effect on wan-2.6-i2v" in answer.json()["warnings"][0]


def test_a_film_that_fails_says_why_and_is_refunded(caller: Caller, account: Account) -> None:
    done = ended(caller, begun(caller, model="wan-2.6", prompt="@type=runner_server_error"))
    assert done.status == "failed" and isinstance(done.error, shapes.ImageErrorDetail)
    assert (done.error.code, done.error.details["code"]) == ("MODEL_UNAVAILABLE", "upstream_failed")
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_nobody_else_sees_an_operation(caller: Caller, house: House) -> None:
    film = begun(caller, model="wan-2.6")
    stranger = Caller(caller.client, house.account().key())
    for poll in (film.poll_url, f"/api/v1/video/status?operation_id={film.operation_id}"):
        answer = stranger.get(poll)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert caller.client.get(film.poll_url).status_code == 401


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "MISSING_REQUIRED_FIELD"), ("?provider=google", 400, "MISSING_REQUIRED_FIELD"),
        ("?operation_id=operations/nothing", 404, "NOT_FOUND"),
        ("?operation_id=operations/019a9c1e-7a5c-7d0e-8a4f-2b6c1d3e5f70", 404, "NOT_FOUND"),
    ],
)  # fmt: skip
def test_an_operation_that_is_none(query: str, status: int, code: str, caller: Caller) -> None:
    answer = caller.get("/api/v1/video/status" + query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_another_provider_s_operation_is_not_found(caller: Caller) -> None:
    film = begun(caller, model="wan-2.6")
    assert caller.get(film.poll_url.replace("provider=fal", "provider=google")).status_code == 404
    assert caller.get(film.poll_url.replace("operations/", "")).status_code == 200


def test_a_picture_is_no_film(caller: Caller) -> None:
    ident = caller.generate(model="local/sketch", width=256, height=256).json()["data"]["id"]
    assert caller.get(f"/api/v1/video/status?operation_id={ident}").status_code == 404


def test_wishes_that_do_nothing_for_films_are_warnings(caller: Caller) -> None:
    answer = caller.post(FILM, {"prompt": "x", "model": "wan-2.6", "fallback": ["veo-3.1"], "timeout": 5000})
    assert [one.split()[0] for one in answer.json()["warnings"]] == ["fallback", "timeout"]
    headers = {"x_fallback": "veo-3.1", "x_timeout": "5000", "x_cache_ttl": "9"}
    answer = caller.post(FILM, {"prompt": "x", "model": "wan-2.6"}, **headers)
    assert [one.split()[0] for one in answer.json()["warnings"]] == ["fallback", "timeout", "X-Cache-TTL"]
    assert len(json.loads(answer.headers["x-calotype-warnings"])) == 3


@pytest.mark.parametrize("where", ["body", "header"])
def test_no_further_rounds_are_walked_where_none_are_wished(
    where: str, caller: Caller, upstreams: dict[str, Emulator]
) -> None:
    body = {"prompt": "x @status=503 @retry_after=0", "model": "wan-2.6"}
    answer = caller.post(FILM, body | {"retries": 0}) if where == "body" else caller.post(FILM, body, x_retries="0")
    assert ended(caller, told(answer, 202)).status == "failed"
    assert len([one for one in upstreams["fal"].submits if b"x @status" in one.body]) == 1


def test_a_webhook_tells_the_film_s_status_object(caller: Caller, postbox: Postbox) -> None:
    film = begun(caller, model="wan-2.6", webhook_url=postbox.url)
    letter = postbox.next()
    assert letter["type"] == "job.succeeded"
    done = msgspec.convert(letter["data"], shapes.ImageFilm)
    assert (done.operation_id, done.status) == (film.operation_id, "completed")
    assert caller.get(urlsplit(str(done.url)).path).content[4:8] == b"ftyp"


def test_a_webhook_tells_of_pictures_and_of_failures_too(caller: Caller, postbox: Postbox) -> None:
    caller.generate(model="imagen-4-fast", webhook_url=postbox.url)
    data = postbox.next()["data"]
    assert (data["model"], data["status"], data["cost_usd"]) == ("imagen-4-fast", "completed", 0.02)
    assert caller.get(urlsplit(data["images"][0]["url"]).path).status_code == 200
    caller.generate(model="flux-kontext", prompt="@moderated", webhook_url=postbox.url)
    letter = postbox.next()
    assert (letter["type"], letter["data"]["error"]["code"]) == ("job.failed", "GUARDRAIL_BLOCKED")
