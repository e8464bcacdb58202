"""What is refused, in which words, and that nothing was sent or charged for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from content_buyer import EDIT, GENERATE, IMAGE_FILM, LISTING, MOTION, PACK, PNG_URI, TEXT_FILM, WORKS, Buyer

from calotype.dialects.content import shapes
from calotype.dialects.content.entries import ENTRIES
from calotype.kernel.generation import KeyClass
from calotype.sandbox.fal import Fal as FalEmulator
from running import Account, House, running

WRONG: list[tuple[str, Any, str | None]] = [
    (GENERATE, {}, "prompt"),
    (GENERATE, {"prompt": ""}, "prompt"),
    (GENERATE, {"prompt": "x" * 2001}, "prompt"),
    (GENERATE, {"prompt": 5}, "prompt"),
    (GENERATE, {"prompt": "x", "aspectRatio": "2:1"}, "aspectRatio"),
    (GENERATE, {"prompt": "x", "imageSize": "huge"}, "imageSize"),
    (GENERATE, {"prompt": "x", "style": "product"}, "style"),
    (GENERATE, {"prompt": "x", "image_size": "square"}, "image_size"),
    (GENERATE, [], "body"),
    (PACK, {"prompt": "x", "style": "baroque"}, "style"),
    (EDIT, {"prompt": "x"}, "imageUrls"),
    (EDIT, {"imageUrls": [PNG_URI]}, "prompt"),
    (EDIT, {"prompt": "x", "imageUrls": []}, "imageUrls"),
    (EDIT, {"prompt": "x", "imageUrls": [PNG_URI] * 5}, "imageUrls"),
    (EDIT, {"prompt": "x", "imageUrls": PNG_URI}, "imageUrls"),
    (LISTING, {"productName": "Mug"}, "productImageUrl"),
    (LISTING, {"productImageUrl": PNG_URI, "productName": "x" * 121}, "productName"),
    (LISTING, {"productImageUrl": PNG_URI, "prompt": "x" * 1501}, "prompt"),
    (LISTING, {"productImageUrl": PNG_URI, "marketplace": "ebay"}, "marketplace"),
    (LISTING, {"productImageUrl": PNG_URI, "referenceImageUrls": [PNG_URI] * 10}, "referenceImageUrls"),
    (TEXT_FILM, {"prompt": "x", "duration": 6}, "duration"),
    (TEXT_FILM, {"prompt": "x", "duration": "5"}, "duration"),
    (TEXT_FILM, {"prompt": "x", "aspectRatio": "4:3"}, "aspectRatio"),
    (IMAGE_FILM, {"prompt": "x"}, "imageUrl"),
    (MOTION, {}, "imageUrl"),
    (MOTION, {"imageUrl": PNG_URI, "platform": "myspace"}, "platform"),
    (MOTION, {"imageUrl": PNG_URI, "motionStyle": "shake"}, "motionStyle"),
    (MOTION, {"imageUrl": PNG_URI, "aspectRatio": "1:1"}, "aspectRatio"),
    (MOTION, {"imageUrl": PNG_URI, "prompt": "x"}, "prompt"),
    (TEXT_FILM, {"prompt": "x", "webhook_url": 5}, "webhook_url"),
    (TEXT_FILM, {"prompt": "x", "webhook_url": "http://10.0.0.1/"}, "webhook_url"),
]


def error(answer: httpx2.Response) -> shapes.ContentErrorDetail:
    return msgspec.json.decode(answer.content, type=shapes.ContentError).error


@pytest.mark.parametrize(("route", "body", "field"), WRONG)
def test_a_wrong_body_is_refused_by_name_and_costs_nothing(
    route: str, body: Any, field: str | None, house: House, fal: FalEmulator
) -> None:
    account = house.account()
    with httpx2.Client(base_url=house.url, timeout=60) as client:
        answer = Buyer(client, account.key()).buy(route, body)
    told = error(answer)
    assert (answer.status_code, told.code, told.field) == (400, "invalid_input", field), answer.text
    assert answer.headers["x-phi-cost-micro"] == "0" and not fal.submits
    account.untouched()


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        (EDIT, {"prompt": "x", "imageUrls": ["ftp://example.com/a"]}, "imageUrls.0"),
        (EDIT, {"prompt": "x", "imageUrls": [PNG_URI, "http://127.0.0.1/a.png"]}, "imageUrls.1"),
        (LISTING, {"productImageUrl": "http://localhost/a.png"}, "productImageUrl"),
        (LISTING, {"productImageUrl": PNG_URI, "referenceImageUrls": ["nonsense"]}, "referenceImageUrls.0"),
        (MOTION, {"imageUrl": "http://10.0.0.1/a.png"}, "imageUrl"),
    ],
)
def test_an_address_that_may_not_be_fetched_is_refused_in_the_buyer_s_words(
    route: str, body: dict[str, Any], field: str, house: House
) -> None:
    account = house.account()
    with httpx2.Client(base_url=house.url, timeout=60) as client:
        told = error(Buyer(client, account.key()).buy(route, body))
    assert (told.code, told.field) == ("invalid_input", field)
    account.untouched()


@pytest.mark.parametrize("key", [None, "nonsense"])
def test_without_a_key_that_pays_nothing_is_made(key: str | None, buyer: Buyer, fal: FalEmulator) -> None:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = buyer.client.post(GENERATE, json=WORKS[GENERATE], headers=headers)
    assert (answer.status_code, error(answer).code) == (401, "invalid_api_key") and not fal.submits


def test_too_little_money_is_refused_before_anything_is_sent(buyer: Buyer, house: House, fal: FalEmulator) -> None:
    poor = house.account(micro=209_999)
    answer = Buyer(buyer.client, poor.key()).buy(GENERATE)
    assert (answer.status_code, error(answer).code) == (402, "insufficient_credits") and not fal.submits
    poor.untouched()


def test_phi_is_refused(buyer: Buyer, account: Account, fal: FalEmulator) -> None:
    answer = buyer.buy(GENERATE, x_phi="true")
    assert (answer.status_code, error(answer).code) == (403, "phi_blocked") and not fal.submits
    account.untouched()


def test_a_test_key_reaches_no_cloud(buyer: Buyer, account: Account) -> None:
    answer = Buyer(buyer.client, account.key(KeyClass.TEST)).buy(GENERATE)
    assert (answer.status_code, error(answer).code) == (403, "model_not_allowed")


def test_a_form_is_no_json(buyer: Buyer) -> None:
    answer = buyer.client.post(GENERATE, data={"prompt": "x"}, headers={"authorization": f"Bearer {buyer.key}"})
    assert (answer.status_code, error(answer).code) == (415, "unsupported_media_type")


def test_each_entry_has_a_rate_of_its_own_for_each_key(buyer: Buyer, house: House) -> None:
    account = house.account(micro=10_000_000)
    one, other = (Buyer(buyer.client, account.key()) for _ in range(2))
    answers = [one.buy(MOTION, {}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 429]
    assert error(answers[-1]).code == "rate_limited" and 0 < int(answers[-1].headers["retry-after"]) <= 20
    assert one.buy(TEXT_FILM, {}).status_code == 400 and other.buy(MOTION, {}).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", GENERATE, 405, "POST"), ("POST", "/v1/search", 405, "GET"), ("POST", "/catalog", 405, "GET"),
        ("DELETE", "/v1/content/jobs/x", 405, "GET"), ("GET", "/v1/content/nothing", 404, None),
        ("GET", "/v1/content/jobs/", 404, None), ("GET", "/catalog/nothing.json", 404, None),
    ],
)  # fmt: skip
def test_paths_and_methods_that_are_not_offered(
    method: str, path: str, status: int, allowed: str | None, buyer: Buyer
) -> None:
    answer = buyer.client.request(method, path)
    error(answer)
    assert (answer.status_code, answer.headers.get("allow")) == (status, allowed)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return a server without any provider."""
    folder: Path = tmp_path_factory.mktemp("bare")
    with running(folder) as house:
        yield house


def test_what_is_planned_is_listed_with_everything_and_cannot_be_bought(bare: House) -> None:
    account = bare.account()
    with httpx2.Client(base_url=bare.url, timeout=60) as client:
        buyer = Buyer(client, account.key())
        for entry in ENTRIES:
            page = client.get(f"/catalog/{entry.slug}.json").json()
            assert page["inputSchema"] == entry.input and page["outputSchema"] and page["exampleResponse"]
            if entry.method == "GET":
                assert page["status"] == "Live"
                continue
            assert page["status"] == "Planned"
            for answer in (buyer.buy(entry.route), client.post(entry.route, json={})):
                assert (answer.status_code, error(answer).code) == (501, "planned")
    account.untouched()


def test_a_handler_that_breaks_is_answered_in_this_dialect_s_words(
    buyer: Buyer, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(house.app.catalog, "get", broken)
    answer = buyer.client.get("/catalog.json")
    assert (answer.status_code, error(answer).code) == (500, "internal_error") and "secret" not in answer.text
