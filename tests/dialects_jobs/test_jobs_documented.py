"""What is documented is what is served, and answers are of the documented types."""

from collections.abc import Iterator
from typing import Any

import httpx2
import jsonschema_rs
import msgspec
import pytest
from jobs_kit import PORTRAIT, SHORT_FILM, Emulated, JobsUser

from calotype.dialects.jobs.app import BELOW, EXACT
from calotype.dialects.jobs.endpoints import ENDPOINTS, EXAMPLES
from calotype.dialects.jobs.service_calls import FIELDS
from calotype.dialects.jobs.services import SERVICES
from running import House

UUID = "01a1f9fb-51fa-704e-b50f-57f37d5c9d4e"


@pytest.fixture
def spec(user: JobsUser) -> dict[str, Any]:
    document: dict[str, Any] = httpx2.get(f"{user.house.url}/openapi.json").json()
    return document


def test_every_call_is_documented_and_nothing_else() -> None:
    served = {(method, f"/api/v1{path}") for method, path in EXACT}
    served |= {(method, f"/api/v1{path}{{id}}") for path, (method, _) in BELOW.items()}
    assert {(one.method, one.path) for one in ENDPOINTS} == served


def test_the_bodies_are_those_of_the_cards(spec: dict[str, Any], jobs_house: House) -> None:
    for service in SERVICES:
        content = spec["paths"][f"/api/v1{service.create}"]["post"]["requestBody"]["content"]["application/json"]
        card = jobs_house.app.catalog.find(service.models[0])
        if not service.names:
            assert set(content["schema"]["properties"]) >= card.fields | {"webhook_url"}
            assert content["schema"].get("required", []) == list(card.schema.document.get("required", []))
        if service.chosen_by is not None:
            assert content["schema"]["properties"][service.chosen_by]["enum"] == list(service.models)
        if service.create in EXAMPLES:
            jsonschema_rs.Draft202012Validator(content["schema"]).validate(content["example"])


def test_every_field_of_a_service_is_known_to_all(jobs_house: House) -> None:
    for service in SERVICES:
        if not service.create.startswith("/media/"):
            card = jobs_house.app.catalog.find(service.models[0])
            assert card.fields <= FIELDS, service.create


def test_answers_are_of_the_documented_types(user: JobsUser, upstreams: Emulated) -> None:
    types = {(one.method, one.path.removeprefix("/api/v1")): one for one in ENDPOINTS}

    def checked(method: str, path: str, answer: httpx2.Response) -> Any:
        assert answer.status_code == 200, answer.text
        answered = types[method, path].answer
        assert answered is not None
        told = msgspec.json.decode(answer.content, type=answered, strict=False)
        known = set(answered.__struct_fields__)
        assert set(answer.json()) <= known, path
        return told

    for path in [path for method, path in types if method == "GET" and "{" not in path]:
        checked("GET", path, user.get(path))
    made = {
        "/text-to-image": {"prompt": "a cat"}, "/text-to-music": {"prompt": "calm"},
        "/nano-banana": {"prompt": "a cat"}, "/veo31-video": {"prompt": "waves @origin"},
        "/seedance-video": {"prompt": "waves", "duration": "4", "resolution": "480p"},
        "/sora2-character": {"character_file_url": "https://example.com/a.mp4"},
    }  # fmt: skip
    for path, fields in made.items():
        create = next(one.create for one in SERVICES if one.create.startswith(path + "/"))
        ident = checked("POST", create, user.post(create, fields)).job_id
        checked("GET", f"{path}/status/{{id}}", user.get(f"{path}/status/{ident}"))
        user.ended(f"{path}/status", ident)
        checked("GET", f"{path}/status/{{id}}", user.get(f"{path}/status/{ident}"))
    for tool, fields in (("extract-last-frame", {"video_url": SHORT_FILM}),):
        ident = checked("POST", f"/media/{tool}", user.post(f"/media/{tool}", fields)).job_id
        user.ended("/media/status", ident)
        checked("GET", "/media/status/{id}", user.get(f"/media/status/{ident}"))
    for path in ("/text-to-image/history", "/text-to-music/history", "/sora2-character/list", "/user/credits/history"):
        checked("GET", path, user.get(path))
    chat = {"messages": [{"role": "user", "content": "hello"}]}
    checked("POST", "/phaya-gpt/chat/completions", user.post("/phaya-gpt/chat/completions", chat))
    checked("POST", "/embedding/create", user.post("/embedding/create", {"input": "hello"}))
    checked("POST", "/media/upload", user.http.post("/media/upload", files={"file": ("a.png", b"some bytes")}))
    checked("POST", "/user/credits/invalidate-cache", user.post("/user/credits/invalidate-cache"))
    cancelled = user.post(f"/veo31-video/cancel/{user.made('/veo31-video/create', prompt='x')}")
    checked("POST", "/veo31-video/cancel/{id}", cancelled)


def refusals(user: JobsUser) -> Iterator[httpx2.Response]:
    yield user.post("/text-to-image/generate", {})
    yield user.post("/image-to-video/create", {"image_url": PORTRAIT, "zoom": {"mode": "up"}})
    yield user.get(f"/text-to-image/status/{UUID}")
    yield user.get("/nothing")
    yield user.http.put("/user/credits")


def test_refusals_are_of_the_documented_type(user: JobsUser) -> None:
    from calotype.dialects.jobs.shapes import JobsError

    for answer in refusals(user):
        assert answer.status_code >= 400
        msgspec.json.decode(answer.content, type=JobsError)
