"""Price lists of upstreams, with recorded answers (`wire/fal.md §11`, `wire/providers.md §6.5`)."""

from collections.abc import Generator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from pydantic import SecretStr

from calotype.kernel.outcome import Failed, FailedKind
from calotype.kernel.steps import HttpRequest, HttpResponse
from calotype.providers.price_lists import PriceList, fal, openrouter
from calotype.settings import ProviderSettings

KEY = "0c2ad1f0-test:5f0c2ad1beef"
ON = "2026-11-20"


def settings(base_url: str | None = None) -> ProviderSettings:
    return ProviderSettings(api_key=SecretStr(KEY), base_url=base_url)


def answer(body: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {}, body if isinstance(body, bytes) else msgspec.json.encode(body))


def told(steps: Generator[Any, Any, Any], *answers: HttpResponse) -> tuple[list[HttpRequest], Any]:
    asked = [next(steps)]
    for one in answers:
        try:
            asked.append(steps.send(one))
        except StopIteration as end:
            return asked, end.value
    raise AssertionError("the conversation goes on")


def row(name: str, price: Any = 0.025, unit: str = "image", currency: str = "USD") -> dict[str, Any]:
    return {"endpoint_id": name, "unit_price": price, "unit": unit, "currency": currency}


def page(*rows: dict[str, Any], cursor: str | None = None) -> HttpResponse:
    return answer({"prices": rows, "next_cursor": cursor, "has_more": cursor is not None})


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        (None, "https://api.fal.ai/v1/models/pricing"),
        ("http://127.0.0.1:8750/queue", "http://127.0.0.1:8750/platform/v1/models/pricing"),
        ("https://queue.gw.example.com", "https://api.gw.example.com/v1/models/pricing"),
    ],
)
def test_fal_is_asked_at_its_platform_api_with_the_key(base_url: str | None, address: str) -> None:
    asked, found = told(fal("fal", settings(base_url), ["a/b", "c/d"], ON), page(row("a/b"), row("c/d")))
    (request,) = asked
    assert request.url.partition("?")[0] == address
    assert parse_qs(urlsplit(request.url).query) == {"endpoint_id": ["a/b", "c/d"]}
    assert (request.method, request.headers["Authorization"], request.commits) == ("GET", f"Key {KEY}", False)
    assert [(one.upstream, one.micro, one.base_url) for one in found.prices] == [
        ("a/b", 25_000, base_url or ""), ("c/d", 25_000, base_url or ""),
    ]  # fmt: skip


def test_fals_list_is_read_to_its_last_page() -> None:
    steps = fal("fal", settings(), ["a/b", "c/d"], ON)
    asked, found = told(steps, page(row("a/b"), cursor="n2"), page(row("c/d", 0.1, "1000 characters")))
    assert parse_qs(urlsplit(asked[1].url).query)["cursor"] == ["n2"]
    assert [(one.unit, one.micro, one.per) for one in found.prices] == [
        ("image", 25_000, 1),
        ("character", 100_000, 1000),
    ]


def test_what_fal_does_not_list_or_cannot_be_counted_has_a_reason() -> None:
    rows = [row("a/b", 0.5, "compute second"), row("c/d", currency="EUR"), row("never/asked"), row("e/f", -1)]
    _, found = told(fal("fal", settings(), ["a/b", "c/d", "e/f", "g/h"], ON), page(*rows))
    assert isinstance(found, PriceList) and found.prices == ()
    assert set(found.unread) == {"a/b", "c/d", "e/f", "g/h"}
    assert "compute second" in found.unread["a/b"] and "EUR" in found.unread["c/d"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, FailedKind.INVALID), (404, FailedKind.INVALID), (401, FailedKind.AUTH), (403, FailedKind.AUTH),
     (429, FailedKind.RETRY), (500, FailedKind.RETRY)],
)  # fmt: skip
def test_a_refusal_says_its_status_and_never_the_key(status: int, kind: FailedKind) -> None:
    body = {"error": {"type": "x", "message": f"bad key {KEY}"}}
    for ask in (fal, openrouter):
        _, found = told(ask("fal", settings(), ["a/b"], ON), answer(body, status))
        assert isinstance(found, Failed) and found.kind is kind
        assert str(status) in found.message and KEY not in (found.detail or "")


def test_a_page_of_html_is_no_list() -> None:
    for ask in (fal, openrouter):
        _, found = told(ask("fal", settings(), ["a/b"], ON), answer(b"<!doctype html>"))
        assert isinstance(found, Failed) and found.kind is FailedKind.UPSTREAM


def test_openrouters_prices_of_a_token_become_prices_of_a_million() -> None:
    models = [
        {"id": "a/b", "pricing": {"prompt": "0.0000005", "completion": "0.000003", "request": "0", "image": "0.001"}},
        {"id": "c/d", "pricing": {"prompt": "0.00000005", "completion": "0"}},
        {"id": "fine", "pricing": {"prompt": "0.0000000000025", "completion": "0.000001"}},
        {"id": "auto", "pricing": {"prompt": "-1", "completion": "-1"}},
        {"id": "each", "pricing": {"prompt": "0", "completion": "0", "request": "0.01"}},
        {"id": "word", "pricing": {"prompt": "much"}},
        {"id": "none"},
    ]
    names = ["a/b", "c/d", "fine", "auto", "each", "word", "none", "gone"]
    asked, found = told(openrouter("openrouter", settings(), names, ON), answer({"data": models}))
    assert asked[0].url == "https://openrouter.ai/api/v1/models"
    assert asked[0].headers["Authorization"] == f"Bearer {KEY}"
    amounts = {one.upstream: (one.micro, one.input_micro, one.per) for one in found.prices}
    assert amounts == {
        "a/b": (3_000_000, 500_000, 1_000_000), "c/d": (0, 50_000, 1_000_000), "fine": (10_000_000, 25, 10_000_000),
    }  # fmt: skip
    assert set(found.unread) == {"auto", "each", "word", "none", "gone"}
