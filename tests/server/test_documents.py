"""`/openapi.json`, `/docs` and `/llms.txt`: one table, true to what the server does."""

from html import escape
from html.parser import HTMLParser
from typing import Any

import httpx2
import jsonschema_rs
import msgspec
import pytest

from calotype.dialects.content.endpoints import ENDPOINTS as CONTENT
from calotype.dialects.openai import shapes
from calotype.dialects.openai.app import BELOW, EXACT
from calotype.dialects.openai.not_offered import NOT_OFFERED
from calotype.openapi import ENDPOINTS
from running import Account, House
from upstream import PICTURE

NEED_MORE = ("local/smollm2-135m", "local/transcribe", "qwen3-embedding-8b", "mistral-ocr")
"""Models of examples that need weights or a provider."""

JOBS = ("Jobs", "Media tools", "Chat and vectors")
"""Groups of the jobs dialect, most of whose services need a provider."""


class Page(HTMLParser):
    """What a browser would fetch, and whether the tags close."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def spec(http: httpx2.Client) -> dict[str, Any]:
    answer = http.get("/openapi.json")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    return answer.json()


def test_every_route_of_the_dialect_is_documented_and_nothing_else(spec: dict[str, Any]) -> None:
    served = {(method, f"/v1{path}") for method, path in EXACT}
    served |= {(method, f"/v1{start}{{id}}{end}") for (start, end), calls in BELOW.items() for method in calls}
    served -= {("POST", f"/v1{path}") for path in NOT_OFFERED}
    written = {(one.method, one.path) for one in ENDPOINTS if one.path.startswith("/v1/")}
    others = {(one.method, one.path) for one in CONTENT}
    assert written - others == served | {("GET", "/v1/media/{token}/{name}")}
    assert {(method.upper(), path) for path, item in spec["paths"].items() for method in item} == {
        (one.method, one.path) for one in ENDPOINTS
    }


def test_the_document_is_openapi_3_1_and_its_references_lead_somewhere(spec: dict[str, Any]) -> None:
    assert spec["openapi"] == "3.1.0"
    schemas = spec["components"]["schemas"]
    for schema in schemas.values():
        jsonschema_rs.Draft202012Validator({"$defs": {}, **_local(schema)})
    names = {ref.rpartition("/")[2] for ref in _refs(spec)}
    assert names <= set(schemas)
    operations = [operation for item in spec["paths"].values() for operation in item.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    for path, item in spec["paths"].items():
        for operation in item.values():
            placed = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert all(f"{{{name}}}" in path for name in placed)
            assert len(placed) == path.count("{")


def test_the_examples_are_requests_that_work(spec: dict[str, Any], http: httpx2.Client, account: Account) -> None:
    headers = {"authorization": f"Bearer {account.key()}"}
    for path, item in spec["paths"].items():
        for operation in item.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None and "example" in content and "{" not in path:
                answer = http.post(path, json=content["example"], headers=headers)
                assert str(answer.status_code) in operation["responses"], answer.text
                if operation["tags"][0] in JOBS and answer.status_code in (404, 501):
                    assert set(answer.json()) == {"detail"}, answer.text
                    continue
                if content["example"].get("model") in NEED_MORE:
                    assert answer.json()["error"]["code"] in ("no_route", "planned"), answer.text
                    continue
                assert answer.status_code < 300, answer.text
                if path.startswith("/v1/videos"):
                    assert http.delete(f"/v1/videos/{answer.json()['id']}", headers=headers).status_code in (200, 409)


def test_real_answers_are_of_the_documented_types(http: httpx2.Client, account: Account) -> None:
    headers = {"authorization": f"Bearer {account.key()}"}

    def get(path: str, kind: type) -> Any:
        return msgspec.json.decode(http.get(path, headers=headers).content, type=kind)

    pictures = http.post(
        "/v1/images/generations", headers=headers, json={"model": "local/sketch", "prompt": "a fox", "size": "256x256"}
    )
    msgspec.json.decode(pictures.content, type=shapes.Images)
    film = {"model": "local/sketch-video", "prompt": "waves", "seconds": 1, "size": "256x256"}
    made = msgspec.json.decode(http.post("/v1/videos", json=film, headers=headers).content, type=shapes.Video)
    while (video := get(f"/v1/videos/{made.id}", shapes.Video)).status != "completed":
        assert video.status in ("queued", "in_progress")
    assert get("/v1/videos", shapes.Videos).data == [video]
    get("/v1/models", shapes.Models)
    get("/v1/models/local%2Fsketch", shapes.Model)
    assert get("/v1/pricing", shapes.Pricing).data
    file = http.post("/v1/files", files={"file": ("a.png", PICTURE)}, headers=headers)
    ident = msgspec.json.decode(file.content, type=shapes.FileObject).id
    get(f"/v1/files/{ident}", shapes.FileObject)
    get("/v1/files", shapes.Files)
    for path in (f"/v1/files/{ident}", f"/v1/videos/{made.id}"):
        msgspec.json.decode(http.delete(path, headers=headers).content, type=shapes.Deleted)
    msgspec.json.decode(http.get("/v1/nothing", headers=headers).content, type=shapes.Error)


def test_the_page_loads_nothing_and_its_links_lead_somewhere(http: httpx2.Client) -> None:
    answer = http.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = answer.text
    page = Page()
    page.feed(text)
    assert page.open == []
    assert "<script" not in text and "@import" not in text and "url(" not in text
    assert "prefers-color-scheme:dark" in text
    assert len(page.ids) == len(set(page.ids))
    for tag, name, value in page.attributes:
        assert name not in ("src", "srcset", "onclick"), (tag, name)
        if name == "href":
            assert value[1:] in page.ids if value.startswith("#") else http.get(value).status_code == 200
    for one in ENDPOINTS:
        assert one.path in text and escape(one.summary) in text
    for model in ("local/sketch", "test/picture", "gpt-image-2"):
        assert model in text


def test_what_a_card_says_cannot_become_markup(house: House) -> None:
    from msgspec.structs import replace

    from calotype.catalog import Catalog, Pricing
    from calotype.docs import documents

    card = replace(house.app.catalog.find("test/picture"), description="<script>alert(1)</script>", label="<b>")
    pages = documents(Catalog([card], Pricing()), version="1<2", url="http://x/<y>")
    assert b"<script" not in pages["/docs"][1] and b"<b>" not in pages["/docs"][1] and b"<y>" not in pages["/docs"][1]


def test_language_models_get_the_same_in_short(http: httpx2.Client) -> None:
    answer = http.get("/llms.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("# Calotype\n")
    for one in ENDPOINTS:
        assert f"`{one.method} {one.path}`" in answer.text


def _refs(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) and value["$ref"].startswith("#/comp") else []
        return own + [ref for item in value.values() for ref in _refs(item)]
    return [ref for item in value for ref in _refs(item)] if isinstance(value, list) else []


def _local(value: Any) -> Any:
    """Cut references off, so that each schema can be compiled by itself."""
    if isinstance(value, dict):
        return {name: _local(item) for name, item in value.items() if name != "$ref"}
    return [_local(item) for item in value] if isinstance(value, list) else value
