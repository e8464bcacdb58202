"""Models, prices, keys and the account in the Platform API, and how it refuses (`wire/products.md E1, E4`)."""

import csv
import io
from typing import Any

import httpx2
import pytest
from platform_caller import Platform

from calotype.kernel.generation import KeyClass
from running import House

MODEL = "test/picture"


def refused(answer: httpx2.Response, status: int, kind: str) -> str:
    """Check the shape of a refusal and return its sentence."""
    assert answer.status_code == status, answer.text
    (error,) = answer.json().values()
    assert error["type"] == kind and error["request_id"] == answer.headers["x-fal-request-id"]
    return str(error["message"])


def test_models_are_found_by_id_alias_words_category_and_status_without_a_key(platform: Platform) -> None:
    listed = platform.get("/models", key=None, limit=100)
    (card,) = [one for one in listed["models"] if one["endpoint_id"] == MODEL]
    assert card["metadata"]["status"] == "active" and card["metadata"]["category"] == "text-to-image"
    assert card["metadata"]["kind"] == "inference" and card["metadata"]["is_favorited"] is None
    assert "openapi" not in card
    for params in ({"endpoint_id": "picture"}, {"q": "TEST picture"}, {"category": "text-to-image", "q": MODEL}):
        found = platform.get("/models", key=None, **params)["models"]
        assert [one["endpoint_id"] for one in found if one["endpoint_id"] == MODEL] == [MODEL]
    assert platform.get("/models", key=None, q="no such thing anywhere")["models"] == []
    assert MODEL not in [one["endpoint_id"] for one in platform.get("/models", status="deprecated")["models"]]


def test_pages_of_models_lead_from_one_to_the_next_and_end(platform: Platform) -> None:
    whole = [one["endpoint_id"] for one in platform.get("/models", limit=100)["models"]]
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 3}
    while True:
        page = platform.get("/models", **params)
        seen += [one["endpoint_id"] for one in page["models"]]
        assert page["has_more"] is (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        params["cursor"] = page["next_cursor"]
    assert seen[: len(whole)] == whole and len(seen) == len(set(seen))


def test_a_models_own_document_is_the_same_on_all_its_addresses(platform: Platform, house: House) -> None:
    def get(path: str, **headers: str) -> Any:
        answer = platform.client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    found = get(f"/fal/queue/{MODEL}/openapi.json")
    assert found["openapi"] == "3.0.4" and found["info"]["title"] == f"Queue OpenAPI for {MODEL}"
    assert found["info"]["x-fal-metadata"]["endpointId"] == MODEL
    assert set(found["paths"]) == {
        f"/{MODEL}", f"/{MODEL}/requests/{{request_id}}", f"/{MODEL}/requests/{{request_id}}/status",
        f"/{MODEL}/requests/{{request_id}}/cancel",
    }  # fmt: skip
    schemas = found["components"]["schemas"]
    assert schemas["TestPictureInput"]["required"] == ["prompt"]
    assert schemas["TestPictureInput"]["x-fal-order-properties"][0] == "prompt"
    assert "images" in schemas["TestPictureOutput"]["properties"]
    assert get(f"/fal/api/openapi/queue/openapi.json?endpoint_id={MODEL}") == found
    target = f"https://fal.ai/api/openapi/queue/openapi.json?endpoint_id={MODEL}"
    assert get("/api/fal/proxy", **{"x-fal-target-url": target})["paths"] == found["paths"]
    expanded = platform.get("/models", endpoint_id=MODEL, expand="openapi-3.0")["models"][0]
    assert expanded["openapi"] == found


def test_prices_are_those_that_are_charged(platform: Platform) -> None:
    (price,) = platform.get("/models/pricing", endpoint_id=MODEL)["prices"]
    assert price == {"endpoint_id": MODEL, "unit_price": 0.04, "unit": "image", "currency": "USD"}
    platform.made()
    assert platform.account.spent_micro == 40_000


def test_an_estimate_rests_on_units_or_on_ones_own_history_and_before_that_on_the_example(platform: Platform) -> None:
    def estimate(kind: str, **quantity: Any) -> float:
        body = {"estimate_type": kind, "endpoints": {MODEL: quantity}}
        answer = platform.ask("POST", "/models/pricing/estimate", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json() | {"total_cost": 0} == {"estimate_type": kind, "total_cost": 0, "currency": "USD"}
        return float(answer.json()["total_cost"])

    assert estimate("unit_price", unit_quantity=50) == 2.0
    assert estimate("historical_api_price", call_quantity=100) == 4.0
    platform.made(json={"prompt": "x", "num_images": 2})
    platform.made()
    assert estimate("historical_api_price", call_quantity=100) == 6.0


def test_keys_are_made_listed_and_revoked_by_an_admin_key(platform: Platform, other: Platform) -> None:
    made = platform.ask("POST", "/keys", json={"alias": "ci"})
    assert made.status_code == 201
    key = made.json()
    assert key["key"] == f"{key['key_id']}:{key['key_secret']}"
    assert platform.ask("GET", "/models/pricing", key=key["key"], params={"endpoint_id": MODEL}).status_code == 200
    refused(platform.ask("GET", "/keys", key=key["key"]), 403, "authorization_error")
    listed = platform.get("/keys", expand="creator_info")["keys"]
    assert {one["key_id"]: one["scope"] for one in listed} == {
        platform.admin_id: "ADMIN", platform.plain_id: "API", key["key_id"]: "API"
    }  # fmt: skip
    assert key["key_secret"] not in str(listed)
    refused(other.ask("DELETE", f"/keys/{key['key_id']}"), 404, "not_found")
    assert platform.ask("DELETE", f"/keys/{key['key_id']}").status_code == 204
    refused(platform.ask("GET", "/models/pricing", key=key["key"]), 401, "authorization_error")
    assert key["key_id"] not in {one["key_id"] for one in platform.get("/keys")["keys"]}


def test_a_key_made_by_a_bounded_key_has_the_same_bounds_and_budget(platform: Platform, house: House) -> None:
    from calotype.kernel.generation import Scope

    maker, bounded = platform.account.keyed(scopes=(Scope.ADMIN,), models=["local/*"], spend_cap_micro=5)
    made = platform.ask("POST", "/keys", key=bounded, json={"alias": "x"}).json()
    key = made["key"]
    assert house.rows("SELECT budget_of FROM api_key WHERE id = :id", id=made["key_id"]) == [(maker,)]
    rows = platform.ask("GET", "/account/model-access-controls", key=key)
    table = {row["Endpoint ID"]: row["API Access"] for row in csv.DictReader(io.StringIO(rows.text))}
    assert table[MODEL] == "BLOCKED" and table["local/sketch"] == "ALLOWED"


def test_the_account_tells_its_name_and_what_may_still_be_spent(platform: Platform) -> None:
    name = platform.account.org.name
    assert platform.get("/account/billing") == {"username": name}
    platform.made()
    told = platform.get("/account/billing", expand="credits")
    assert told == {"username": name, "credits": {"current_balance": 99.96, "currency": "USD"}}


def test_no_network_is_made_up_for_webhooks(platform: Platform) -> None:
    assert platform.get("/meta", key=None) == {"webhook_ip_ranges": []}


@pytest.mark.parametrize(
    "path", ["/organization/teams", "/assets", "/workflows", "/serverless/apps", "/compute/instances"]
)
def test_what_has_no_meaning_here_says_so(platform: Platform, path: str) -> None:
    assert refused(platform.ask("GET", path), 501, "not_implemented").endswith(".")


@pytest.mark.parametrize(
    "path", ["/models/usage", "/models/billing-events", "/keys", "/account/billing", "/account/focus"]
)
def test_money_and_keys_need_an_admin_key(platform: Platform, path: str) -> None:
    assert "ADMIN" in refused(platform.ask("GET", path, key="plain"), 403, "authorization_error")
    refused(platform.ask("GET", path, key=None), 401, "authorization_error")
    refused(platform.ask("GET", path, key="no-key"), 401, "authorization_error")


def test_unknown_paths_and_methods_are_told_apart(platform: Platform) -> None:
    refused(platform.ask("GET", "/nothing"), 404, "not_found")
    refused(platform.ask("DELETE", "/models"), 405, "validation_error")
    refused(platform.client.get("/fal/api/models"), 404, "not_found")
    refused(platform.ask("GET", "/models", params={"endpoint_id": "no/such"}), 404, "not_found")
    refused(platform.client.get("/fal/queue/no/such/openapi.json"), 404, "not_found")


def test_the_host_name_leads_to_the_same_place(platform: Platform) -> None:
    for path, headers in (
        ("/v1/meta", {"host": "api.fal.ai"}),
        ("/api/fal/proxy", {"x-fal-target-url": "https://api.fal.ai/v1/meta"}),
    ):
        assert platform.client.get(path, headers=headers).json() == {"webhook_ip_ranges": []}


BAD: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/models", {"params": {"expand": "everything"}}),
    ("GET", "/models", {"params": {"status": "new"}}),
    ("GET", "/models", {"params": {"limit": "0"}}),
    ("GET", "/models", {"params": {"limit": "-1"}}),
    ("GET", "/models", {"params": {"cursor": "%%%"}}),
    ("GET", "/models", {"params": {"cursor": "WzFd"}}),
    ("GET", "/models", {"params": {"endpoint_id": ",".join(f"a/{n}" for n in range(51))}}),
    ("GET", "/models/pricing", {}),
    ("POST", "/models/pricing/estimate", {"content": b""}),
    ("POST", "/models/pricing/estimate", {"json": {"estimate_type": "guess", "endpoints": {}}}),
    ("POST", "/models/pricing/estimate", {"json": {"estimate_type": "unit_price", "endpoints": {}}}),
    ("POST", "/models/pricing/estimate",
     {"json": {"estimate_type": "unit_price", "endpoints": {MODEL: {"unit_quantity": 0}}}}),
    ("POST", "/models/pricing/estimate",
     {"json": {"estimate_type": "historical_api_price", "endpoints": {MODEL: {"call_quantity": 1.5}}}}),
    ("GET", "/models/usage", {"params": {"expand": "auth_method"}}),
    ("GET", "/models/usage", {"params": {"start": "yesterday"}}),
    ("GET", "/models/usage", {"params": {"start": "2026-11-20", "end": "2026-11-20"}}),
    ("GET", "/models/usage", {"params": {"start": "1999-01-01", "end": "2026-11-20"}}),
    ("GET", "/models/usage", {"params": {"start": "9999-12-31T23:59:59-14:00"}}),
    ("GET", "/models/usage", {"params": {"start": "2026-01-01", "end": "2026-06-01", "timeframe": "minute"}}),
    ("GET", "/models/usage", {"params": {"timezone": "../../etc/passwd"}}),
    ("GET", "/models/usage", {"params": {"timezone": "Middle/Earth"}}),
    ("GET", "/models/usage", {"params": {"timeframe": "year"}}),
    ("GET", "/models/usage", {"params": {"bound_to_timeframe": "maybe"}}),
    ("GET", "/models/usage", {"params": {"login_username": "alice"}}),
    ("GET", "/models/analytics", {}),
    ("GET", "/models/analytics", {"params": {"endpoint_id": MODEL, "expand": "time_series"}}),
    ("GET", "/models/analytics", {"params": {"endpoint_id": MODEL, "expand": "request_count"}}),
    ("GET", "/models/billing-events", {"params": {"start": "2026-01-01", "end": "2026-11-20"}}),
    ("GET", "/models/billing-events", {"params": {"cursor": "WzEsMl0"}}),
    ("GET", "/models/requests/by-endpoint", {}),
    ("GET", "/models/requests/by-endpoint", {"params": {"endpoint_id": MODEL, "status": "late"}}),
    ("GET", "/models/requests/by-endpoint", {"params": {"endpoint_id": MODEL, "sort_by": "price"}}),
    ("GET", "/models/requests/search", {"params": {"exclude_api_requests": "true", "only_api_requests": "true"}}),
    ("POST", "/keys", {"json": {"alias": ""}}),
    ("POST", "/keys", {"json": {"alias": "x" * 256}}),
    ("POST", "/keys", {"json": {}}),
    ("POST", "/keys", {"content": b"{"}),
    ("GET", "/account/focus", {}),
    ("GET", "/account/focus", {"params": {"source": "estimate", "billing_month": "2026-13"}}),
    ("GET", "/account/focus", {"params": {"source": "estimate", "charge_month": "last"}}),
    ("PUT", "/storage/settings", {"json": {"expiration_duration_seconds": 0}}),
    ("PUT", "/storage/settings", {"json": {"initial_acl": {"default": "perhaps"}}}),
    ("PUT", "/storage/settings", {"json": {"initial_acl": {"rules": [{"user": "", "decision": "allow"}]}}}),
    ("PUT", "/storage/settings", {"json": {"initial_acl": {"rules": [{"user": "x", "decision": "allow"}] * 11}}}),
    ("GET", "/storage/files/acl", {}),
    ("POST", "/storage/files/sign", {"json": {"expiration_seconds": 60}}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "given"), BAD)
def test_what_does_not_fit_is_400_and_says_what_would(
    platform: Platform, method: str, path: str, given: dict[str, Any]
) -> None:
    assert len(refused(platform.ask(method, path, **given), 400, "validation_error")) > 10


@pytest.mark.parametrize("name", ["query", "image_url", "video_url"])
def test_search_by_meaning_is_not_pretended(platform: Platform, name: str) -> None:
    refused(platform.ask("GET", "/models/requests/search", params={name: "sunset"}), 501, "not_implemented")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/models/requests/by-endpoint?endpoint_id={MODEL}&expand=payloads"),
        ("GET", "/models/requests/search"),
        ("GET", f"/models/analytics?endpoint_id={MODEL}&expand=summary&expand=request_count"),
        ("PUT", "/storage/settings"), ("PUT", "/storage/files/acl?url=https://fal.media/files/x"),
    ],
)  # fmt: skip
def test_the_key_that_strangers_share_shows_no_requests_of_theirs_and_sets_nothing_for_them(
    platform: Platform, method: str, path: str
) -> None:
    shared = platform.account.key(KeyClass.TEST)
    body = {"json": {"initial_acl": {"default": "hide"}}} if method == "PUT" else {}
    refused(platform.ask(method, path, key=shared, **body), 403, "authorization_error")
