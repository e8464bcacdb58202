"""The catalogue says the same as a page and as JSON, loads nothing, and the search finds what it holds."""

import json
from html.parser import HTMLParser
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from content_buyer import WORKS, Buyer

from calotype.dialects.content import pages, shapes
from calotype.dialects.content.answers import price_text
from calotype.dialects.content.entries import BY_SLUG, ENTRIES
from calotype.dialects.content.search import found


class Page(HTMLParser):
    """The text of a page, its links, and whether its tags close."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.pre: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [name for name, _ in attrs]
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag == "pre":
            self.pre.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "pre" in self.open:
            self.pre[-1] += data


def entry(buyer: Buyer, slug: str) -> dict[str, Any]:
    answer = buyer.client.get(f"/catalog/{slug}.json")
    assert answer.status_code == 200
    msgspec.json.decode(answer.content, type=shapes.ContentEntry)
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("slug", "price", "rate", "cache", "route"),
    [
        ("content-image-generate", "$0.21/request", "10/minute", "No cache", "/v1/content/images/generate"),
        ("content-image-fast-pack", "$0.998/request", "8/minute", "No cache", "/v1/content/images/fast-pack"),
        ("content-image-edit", "$0.398/request", "10/minute", "No cache", "/v1/content/images/edit"),
        ("content-image-listing-upgrade-pack", "$3.998/request", "6/minute", "No cache",
         "/v1/content/images/listing-upgrade-pack"),
        ("content-video-text-basic", "$7.998/request", "4/minute", "No cache",
         "/v1/content/videos/text-to-video/basic-5s"),
        ("content-video-image-basic", "$7.998/request", "4/minute", "No cache",
         "/v1/content/videos/image-to-video/basic-5s"),
        ("content-video-product-motion", "$19.98/request", "3/minute", "No cache",
         "/v1/content/videos/product-motion-5s"),
        ("meta-search", "$0.0/request", "60/minute", "60s public", "/v1/search"),
    ],
)  # fmt: skip
def test_an_entry_says_what_it_is_costs_and_bears(
    slug: str, price: str, rate: str, cache: str, route: str, buyer: Buyer
) -> None:
    one = entry(buyer, slug)
    assert (one["price"], one["rateLimit"], one["cache"], one["route"]) == (price, rate, cache, route)
    assert (one["status"], one["mimeType"]) == ("Live", "application/json")
    assert one["apiUrl"] == str(buyer.client.base_url).rstrip("/") + route
    jsonschema_rs.validate(one["inputSchema"], one["exampleRequest"])
    jsonschema_rs.validate(one["outputSchema"], one["exampleResponse"])


def test_the_list_names_every_entry_once(buyer: Buyer) -> None:
    listed = msgspec.json.decode(buyer.client.get("/catalog.json").content, type=shapes.ContentCatalogue)
    assert [one.slug for one in listed.entries] == [one.slug for one in ENTRIES] and listed.count == len(ENTRIES) == 8


@pytest.mark.parametrize("path", ["/catalog", *(f"/catalog/{one.slug}" for one in ENTRIES)])
def test_a_page_is_whole_loads_nothing_and_its_links_lead_somewhere(path: str, buyer: Buyer) -> None:
    answer = buyer.client.get(path)
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    page = Page(answer.text)
    assert page.open == [] and not {"src", "srcset", "onclick", "onload"} & set(page.attributes)
    assert "<script" not in answer.text and "@import" not in answer.text and "url(" not in answer.text
    for link in page.links:
        assert buyer.client.get(link).status_code == 200, link


def test_a_page_says_what_its_json_says(buyer: Buyer) -> None:
    for slug in BY_SLUG:
        one = entry(buyer, slug)
        page = Page(buyer.client.get(f"/catalog/{slug}").text)
        for name in ("title", "description", "price", "status", "category", "rateLimit", "cache", "mimeType", "apiUrl"):
            assert one[name] in page.text, name
        assert all(tag in page.text for tag in one["tags"])
        told = [json.loads(text) for text in page.pre[1:]]
        assert told[0] == one["exampleRequest"] and told[2:] == [one["inputSchema"], one["outputSchema"]]


def test_an_entry_that_is_none_has_a_page_that_says_so(buyer: Buyer) -> None:
    answer = buyer.client.get("/catalog/no-such-thing")
    assert answer.status_code == 404 and Page(answer.text).open == [] and "/catalog" in Page(answer.text).links


def test_what_an_entry_says_cannot_become_markup(buyer: Buyer) -> None:
    one = entry(buyer, "meta-search") | {"title": "<script>alert(1)</script>", "tags": ['"><b>'], "apiUrl": "<i>"}
    text = pages.entry_page(one).decode()
    assert "<script" not in text and "<b>" not in text and "<i>" not in text


def test_the_schemas_take_what_works(buyer: Buyer) -> None:
    for route, body in WORKS.items():
        slug = next(one.slug for one in ENTRIES if one.route == route)
        jsonschema_rs.validate(entry(buyer, slug)["inputSchema"], body)


@pytest.mark.parametrize(
    ("micro", "text"),
    [(0, "$0.0/request"), (198_000, "$0.198/request"), (19_980_000, "$19.98/request"), (1, "$0.000001/request"),
     (2_000_000, "$2.0/request")],
)  # fmt: skip
def test_a_price_loses_no_digit(micro: int, text: str) -> None:
    assert price_text(micro) == text


# -- search -----------------------------------------------------------------------------------------------------------


def test_a_search_answers_the_best_first_and_may_be_kept_a_minute(buyer: Buyer) -> None:
    answer = buyer.client.get("/v1/search", params={"q": "Product video of a shoe", "limit": 2})
    told = msgspec.json.decode(answer.content, type=shapes.ContentMatches)
    assert answer.headers["cache-control"] == "public, max-age=60"
    assert (told.query, told.count, len(told.matches)) == ("Product video of a shoe", 2, 2)
    best = told.matches[0]
    assert (best.slug, best.method, best.path) == (
        "content-video-product-motion", "POST", "/v1/content/videos/product-motion-5s",
    )  # fmt: skip
    assert best.matchedTerms == ["product", "video"] and best.score > told.matches[1].score


def test_a_search_finds_by_beginnings_and_nothing_by_nothing() -> None:
    assert {row["slug"] for row in found("vid")} == {one.slug for one in ENTRIES if "video" in one.slug}
    assert found("zebra") == [] and found("the of a") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "q"), ("?q=", "q"), ("?q=" + "x" * 501, "q"), ("?q=x&limit=0", "limit"), ("?q=x&limit=26", "limit"),
        ("?q=x&limit=many", "limit"), ("?q=x&page=2", "page"),
    ],
)  # fmt: skip
def test_a_search_that_is_none_is_refused_by_name(query: str, field: str, buyer: Buyer) -> None:
    answer = buyer.client.get("/v1/search" + query)
    assert (answer.status_code, answer.json()["error"].get("field")) == (400, field)
