"""What is sold is made, once, at the price that the catalogue, the quote and the answer all name."""

import base64
import io
import json
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest
from content_buyer import EDIT, GENERATE, IMAGE_FILM, LISTING, MOTION, PACK, PNG_URI, TEXT_FILM, WORKS, Buyer
from PIL import Image

from calotype.dialects.content import shapes
from calotype.dialects.content.entries import BY_ROUTE
from calotype.kernel.ids import uuid7
from calotype.sandbox.fal import Fal as FalEmulator
from postbox import Postbox
from running import Account, House

IMAGES = {GENERATE: ("fast-image", "content-img-", 1), PACK: ("fast-image-pack", "content-imgpack-", 4),
          EDIT: ("standard-image-edit", "content-edit-", 1),
          LISTING: ("listing-image-pack", "content-listing-", 4)}  # fmt: skip
FILMS = {TEXT_FILM: "basic-video", IMAGE_FILM: "basic-video", MOTION: "product-motion-video"}
PRICES = {GENERATE: 210_000, PACK: 998_000, EDIT: 398_000, LISTING: 3_998_000, TEXT_FILM: 7_998_000,
          IMAGE_FILM: 7_998_000, MOTION: 19_980_000}  # fmt: skip


def assets(answer: httpx2.Response) -> shapes.ContentAssets:
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=shapes.ContentAssets)


def job(answer: httpx2.Response, status: int = 202) -> shapes.ContentJob:
    assert answer.status_code == status, answer.text
    return msgspec.json.decode(answer.content, type=shapes.ContentJob)


@pytest.mark.parametrize("route", IMAGES)
def test_pictures_are_answered_at_once_and_packs_hold_several(route: str, buyer: Buyer, account: Account) -> None:
    model_class, prefix, count = IMAGES[route]
    made = assets(buyer.buy(route))
    assert (made.modelClass, made.provider, len(made.assets)) == (model_class, "fal", count)
    assert made.requestId.startswith(prefix)
    milliseconds, random = made.requestId.removeprefix(prefix).split("-")
    assert milliseconds.isdigit() and len(milliseconds) == 13 and len(random) == 6
    assert made.requestedCount == (count if count > 1 else msgspec.UNSET)
    for one in made.assets:
        shown = Image.open(io.BytesIO(httpx2.get(one.url).raise_for_status().content))
        assert shown.size == (one.width, one.height) and one.contentType == Image.MIME[str(shown.format)]
    assert (account.spent_micro, account.held_micro) == (PRICES[route], 0)


@pytest.mark.parametrize("route", FILMS)
def test_films_are_jobs_that_are_polled_without_a_key(route: str, buyer: Buyer, account: Account) -> None:
    begun = buyer.buy(route)
    told = job(begun)
    assert (told.status, told.modelClass, told.provider) == ("IN_QUEUE", FILMS[route], "fal")
    assert told.statusUrl == f"/v1/content/jobs/{told.jobId}" and told.resultUrl == f"{told.statusUrl}/result"
    made = assets(buyer.result(begun.json()))
    assert made.modelClass == FILMS[route] and made.assets[0].contentType == "video/mp4"
    assert httpx2.get(made.assets[0].url).content[4:8] == b"ftyp"
    assert job(buyer.client.get(told.statusUrl), 200).status == "COMPLETED"
    for _ in range(3):
        assert assets(buyer.client.get(told.resultUrl)).requestId == made.requestId
    assert (account.spent_micro, account.held_micro) == (PRICES[route], 0)


@pytest.mark.parametrize("route", WORKS)
def test_one_price_is_on_the_page_in_the_quote_in_the_answer_and_in_the_ledger(
    route: str, buyer: Buyer, account: Account, house: House
) -> None:
    entry = buyer.client.get(f"/catalog/{BY_ROUTE[route].slug}.json").json()
    answer = buyer.buy(route)
    quoted = house.rows("SELECT quote_micro FROM job WHERE org_id = :org", org=account.org.id)[0][0]
    body = answer.json()
    assert body["retailPrice"] == entry["price"] == entry["exampleResponse"]["retailPrice"]
    assert quoted == entry["priceMicro"] == PRICES[route] == int(answer.headers["x-phi-cost-micro"])
    assert entry["price"] == f"${PRICES[route] / 1_000_000:g}/request"
    if answer.status_code == 202:
        buyer.result(body)
    assert account.spent_micro == quoted


def test_what_is_asked_for_reaches_the_model(buyer: Buyer, fal: FalEmulator) -> None:
    def sent(route: str, **more: Any) -> dict[str, Any]:
        answer = buyer.buy(route, WORKS[route] | more)
        assert answer.status_code in (200, 202), answer.text
        if answer.status_code == 202:
            buyer.result(answer.json())
        found: dict[str, Any] = fal.submits[-1].json()
        return found

    assert sent(GENERATE)["image_size"] == "square_hd"
    assert sent(GENERATE, aspectRatio="3:4")["image_size"] == "portrait_4_3"
    assert sent(GENERATE, aspectRatio="16:9", imageSize="square")["image_size"] == "square"
    pack = sent(PACK, style="product", prompt="x" * 2000)
    assert pack["prompt"].startswith("xxx") and "product photography" in pack["prompt"] and pack["num_images"] == 4
    assert sent(PACK)["prompt"] == "a mug"
    listing = sent(LISTING, productName="Mug", marketplace="etsy", prompt="On wood.", referenceImageUrls=[PNG_URI] * 2)
    assert "Mug on etsy" in listing["prompt"] and listing["prompt"].endswith("On wood.")
    assert len(listing["image_urls"]) == 3
    film = sent(TEXT_FILM, duration=5)
    assert (film["aspect_ratio"], film["duration"]) == ("9:16", "5")
    assert sent(MOTION, motionStyle="fast-orbit")["template"] == "orbit_dolly_fast"


def test_a_pack_that_comes_short_is_charged_for_what_came(buyer: Buyer, account: Account, fal: FalEmulator) -> None:
    made = assets(buyer.buy(PACK, {"prompt": "a mug @on=file @status=404 @times=1"}))
    assert len(made.assets) == 3 and made.requestedCount == 4 and made.retailPrice == "$0.998/request"
    assert account.spent_micro == 748_500 and len(fal.submits) == 1


def test_a_request_sent_again_with_its_key_is_the_same_purchase(buyer: Buyer, account: Account) -> None:
    for route in (GENERATE, TEXT_FILM):
        first, second = (buyer.buy(route, idempotency_key=route) for _ in range(2))
        name = "requestId" if route == GENERATE else "jobId"
        assert first.json()[name] == second.json()[name]
        if route == TEXT_FILM:
            buyer.result(first.json())
    assert (account.jobs, account.spent_micro) == (2, 210_000 + 7_998_000)


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        ("@moderated", 400, "moderation_blocked"), ("@type=runner_server_error", 502, "upstream_failed"),
        ("@cut=after", 502, "upstream_failed"),
    ],
)  # fmt: skip
def test_a_failure_is_told_and_refunded(
    words: str, status: int, code: str, buyer: Buyer, account: Account, fal: FalEmulator
) -> None:
    answer = buyer.buy(GENERATE, {"prompt": f"a mug {words}"})
    error = msgspec.json.decode(answer.content, type=shapes.ContentError).error
    assert (answer.status_code, error.code) == (status, code)
    begun = buyer.buy(TEXT_FILM, {"prompt": f"waves {words}"}).json()
    result = buyer.result(begun)
    assert (result.status_code, result.json()["error"]["code"]) == (status, code)
    told = job(buyer.client.get(begun["statusUrl"]), 200)
    assert told.status == "FAILED" and isinstance(told.error, shapes.ContentErrorDetail) and told.error.code == code
    assert (account.spent_micro, account.held_micro, len(fal.submits)) == (0, 0, 2)


# -- signed ids -------------------------------------------------------------------------------------------------------


def test_a_job_id_is_a_claim_and_a_signature_and_no_other_opens_the_job(buyer: Buyer) -> None:
    handle = buyer.buy(TEXT_FILM).json()["jobId"]
    claim, signature = handle.split(".")
    opened = json.loads(base64.urlsafe_b64decode(claim + "=" * (-len(claim) % 4)))
    assert opened.keys() == {"v", "requestId"} and opened["v"] == 1
    other = base64.urlsafe_b64encode(json.dumps({"v": 1, "requestId": uuid7()}).encode()).rstrip(b"=").decode()
    last = "A" if signature[-5] != "A" else "B"
    forged = [
        opened["requestId"], claim, f"{claim}.", f".{signature}", f"{other}.{signature}",
        f"{claim}.{signature[:-5]}{last}{signature[-4:]}", f"{claim}.{signature}x", "x" * 5000, f"{claim}.é",
    ]  # fmt: skip
    for text in forged:
        for tail in ("", "/result"):
            answer = buyer.client.get(f"/v1/content/jobs/{text}{tail}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found"), text
    assert buyer.client.get(f"/v1/content/jobs/{handle}").status_code == 200


def test_a_job_of_another_dialect_has_no_handle_here(buyer: Buyer, house: House, account: Account) -> None:
    from calotype.dialects.content.handles import Handles

    headers = {"authorization": f"Bearer {buyer.key}"}
    body = {"model": "local/sketch", "prompt": "x", "size": "256x256"}
    made = buyer.client.post("/v1/images/generations", json=body, headers=headers)
    handle = Handles(house.app.secrets.get("content_jobs")).of(made.headers["x-calotype-job-id"])  # type: ignore[arg-type]
    assert buyer.client.get(f"/v1/content/jobs/{handle}").status_code == 404
    assert account.jobs == 1


def test_an_old_secret_still_opens_what_it_signed() -> None:
    from calotype.dialects.content.handles import Handles
    from calotype.kernel.ids import new_job_id

    job_id, old, new = new_job_id(), b"o" * 32, b"n" * 32
    handle = Handles([old]).of(job_id)
    assert Handles([new, old]).read(handle) == job_id and Handles([new]).read(handle) is None


@pytest.mark.parametrize("where", ["header", "body"])
def test_a_webhook_carries_the_status_and_what_was_made(where: str, buyer: Buyer, postbox: Postbox) -> None:
    if where == "header":
        begun = buyer.buy(TEXT_FILM, x_webhook_url=postbox.url).json()
    else:
        begun = buyer.buy(TEXT_FILM, WORKS[TEXT_FILM] | {"webhook_url": postbox.url}).json()
    letter = postbox.next()
    data = letter["data"]
    assert (letter["type"], data["jobId"], data["status"]) == ("job.succeeded", begun["jobId"], "COMPLETED")
    assert buyer.client.get(urlsplit(data["assets"][0]["url"]).path).status_code == 200
    buyer.buy(TEXT_FILM, {"prompt": "@moderated"}, x_webhook_url=postbox.url)
    data = postbox.next()["data"]
    assert (data["status"], data["error"]["code"]) == ("FAILED", "moderation_blocked")
