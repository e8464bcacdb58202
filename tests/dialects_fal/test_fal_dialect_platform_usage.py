"""Usage, billing events, analytics and requests in the Platform API: every figure is that of jobs and the ledger."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from platform_caller import Platform, rewrite

from calotype.media.store import StoreError
from running import House
from upstream import Upstream, error

MODEL = "test/picture"
PRICE = 0.04


def test_usage_adds_up_to_what_the_ledger_captured(platform: Platform, other: Platform) -> None:
    platform.made(json={"prompt": "x", "num_images": 3})
    platform.made()
    other.made()
    told = platform.get("/models/usage", expand="time_series,summary")
    (bucket,) = told["time_series"]
    assert bucket["bucket"].endswith(":00:00Z"), "a day is told in hours"
    expected = {
        "endpoint_id": MODEL, "unit": "image", "quantity": 4, "unit_price": PRICE, "percent_discount": None,
        "cost_subtotal": 0.16, "cost_discount": 0.0, "cost_total": 0.16, "cost": 0.16, "currency": "USD",
    }  # fmt: skip
    assert bucket["results"] == told["summary"] == [expected]
    assert platform.account.spent_micro == 160_000
    assert (told["next_cursor"], told["has_more"]) == (None, False)


def test_usage_can_be_told_by_key_and_for_one_key_or_model(platform: Platform) -> None:
    platform.made()
    (one,) = platform.get("/models/usage", expand=["summary", "auth_method_structured", "auth_method"])["summary"]
    assert one["auth_method_structured"] == {"detail": "api_key", "api_key_id": platform.plain_id}
    assert one["auth_method"] == "API key: test"
    assert platform.get("/models/usage", expand="summary", api_key_id=platform.admin_id)["summary"] == []
    assert len(platform.get("/models/usage", expand="summary", endpoint_id="picture")["summary"]) == 1
    assert platform.get("/models/usage", expand="summary", endpoint_id="local/sketch")["summary"] == []


def test_buckets_follow_the_zone_and_pages_lead_through_them(platform: Platform, house: House) -> None:
    """Jobs around midnight in Tokyo (15:00 in UTC) fall on two days there and on one in UTC."""
    for at in ("2026-03-10 14:30", "2026-03-10 15:30", "2026-03-11 15:30"):
        _moved(house, platform.made(), at)
    span = {"start": "2026-03-01", "end": "2026-03-31", "timeframe": "day"}

    def days(**params: Any) -> list[tuple[str, int]]:
        told = platform.get("/models/usage", **span, **params)["time_series"]
        return [(one["bucket"], one["results"][0]["quantity"]) for one in told]

    assert days() == [("2026-03-10T00:00:00Z", 2), ("2026-03-11T00:00:00Z", 1)]
    tokyo = [("2026-03-09T15:00:00Z", 1), ("2026-03-10T15:00:00Z", 1), ("2026-03-11T15:00:00Z", 1)]
    assert days(timezone="Asia/Tokyo") == tokyo
    first = platform.get("/models/usage", **span, timezone="Asia/Tokyo", limit=2)
    assert first["has_more"] and [one["bucket"] for one in first["time_series"]] == [at for at, _ in tokyo[:2]]
    assert days(timezone="Asia/Tokyo", limit=2, cursor=first["next_cursor"]) == tokyo[2:]
    weeks = platform.get("/models/usage", start="2026-03-01", end="2026-03-31", timeframe="week")["time_series"]
    assert [one["bucket"] for one in weeks] == ["2026-03-09T00:00:00Z"], "weeks begin on Mondays"
    months = platform.get("/models/usage", start="2026-03-01", end="2026-03-31", timeframe="month")["time_series"]
    assert [one["bucket"] for one in months] == ["2026-03-01T00:00:00Z"]


def test_an_end_is_exclusive_and_bounds_can_be_taken_as_they_are(platform: Platform, house: House) -> None:
    _moved(house, platform.made(), "2026-03-10 12:30")
    window = {"start": "2026-03-10T12:40:00Z", "end": "2026-03-10T13:00:00Z", "timeframe": "hour", "expand": "summary"}
    assert len(platform.get("/models/usage", **window)["summary"]) == 1, "bounds are moved to whole hours"
    assert platform.get("/models/usage", **window, bound_to_timeframe="false")["summary"] == []
    exact = {"start": "2026-03-10T12:00:00Z", "end": "2026-03-10T12:30:00Z", "expand": "summary"}
    assert platform.get("/models/usage", **exact, bound_to_timeframe="false")["summary"] == []


def test_billing_events_tell_each_request_newest_first(platform: Platform, other: Platform) -> None:
    idents = [platform.made() for _ in range(3)]
    told = platform.get("/models/billing-events", limit=2)
    assert [one["request_id"] for one in told["billing_events"]] == idents[:0:-1]
    rest = platform.get("/models/billing-events", limit=2, cursor=told["next_cursor"])
    assert [one["request_id"] for one in rest["billing_events"]] == idents[:1] and not rest["has_more"]
    event = told["billing_events"][0]
    assert (event["output_units"], event["unit_price"], event["cost_total"]) == (1, PRICE, PRICE)
    assert event["cost_estimate_nano_usd"] == 40_000_000
    (named,) = platform.get("/models/billing-events", request_id=idents[1])["billing_events"]
    assert named["request_id"] == idents[1]
    assert other.get("/models/billing-events", request_id=idents[1])["billing_events"] == []
    assert other.get("/models/billing-events")["billing_events"] == []


def test_requests_that_failed_cost_nothing_and_are_counted_by_whose_fault_it_was(
    platform: Platform, upstream: Upstream
) -> None:
    platform.made()
    upstream.answers = [error(400, "moderation_blocked")]
    assert platform.fal.run().status_code == 422
    upstream.answers = [error(500, "server_error", kind="server_error")] * 10
    assert platform.fal.run(json={"prompt": "y"}).status_code >= 500
    upstream.answers = []
    assert len(platform.get("/models/billing-events")["billing_events"]) == 1
    metrics = "request_count,success_count,user_error_count,error_count,p50_duration,p99_prepare_duration"
    told = platform.get("/models/analytics", key="plain", endpoint_id=MODEL, expand=f"summary,time_series,{metrics}")
    (summary,) = told["summary"]
    assert {name: summary[name] for name in metrics.split(",")[:4]} == {
        "request_count": 3, "success_count": 1, "user_error_count": 1, "error_count": 1
    }  # fmt: skip
    assert summary["p50_duration"] >= 0 and summary["p99_prepare_duration"] >= 0
    assert told["time_series"][0]["results"] == [summary]
    assert "p25_duration" not in summary and "cold_boot_count" not in summary

    def idents(**params: Any) -> list[int]:
        found = platform.get("/models/requests/by-endpoint", key="plain", endpoint_id=MODEL, **params)["items"]
        return [one["status_code"] for one in found]

    assert sorted(idents()) == [200, 422, 503] and idents(status="success") == [200]
    assert idents(status="user_error") == [422] and idents(status="error") == [503]


def test_percentiles_are_values_that_occurred(platform: Platform, house: House) -> None:
    for seconds in (1, 2, 3, 10):
        ident = platform.made()
        rewrite(
            house,
            "UPDATE job SET started_at_ms = finished_at_ms - :took, created_at_ms = finished_at_ms - :took - 500"
            " WHERE id = :id",
            id=ident,
            took=seconds * 1000,
        )
    names = "p25_duration,p50_duration,p75_duration,p90_duration,p50_prepare_duration,total_billable_duration"
    (told,) = platform.get("/models/analytics", endpoint_id=MODEL, expand=f"summary,{names}")["summary"]
    assert [told[name] for name in names.split(",")] == [1.0, 2.0, 3.0, 10.0, 0.5, 16.0]


def test_payloads_of_a_request_are_told_on_demand(platform: Platform, other: Platform) -> None:
    ident = platform.made(json={"prompt": "a harbour"})
    (plain,) = platform.get("/models/requests/by-endpoint", endpoint_id=MODEL)["items"]
    assert plain["request_id"] == ident and "json_input" not in plain
    (full,) = platform.get("/models/requests/by-endpoint", endpoint_id=MODEL, expand="payloads")["items"]
    assert full["json_input"]["prompt"] == "a harbour" and len(full["json_output"]["images"]) == 1
    assert full["status_code"] == 200 and full["ended_at"] >= full["started_at"] >= full["sent_at"]
    assert platform.client.get(full["json_output"]["images"][0]["url"]).status_code == 200
    params = {"endpoint_id": MODEL, "request_id": ident, "expand": "payloads"}
    assert len(platform.get("/models/requests/by-endpoint", **params)["items"]) == 1
    assert other.get("/models/requests/by-endpoint", **params)["items"] == []
    assert other.get("/models/requests/search")["results"] == []
    assert [one["request_id"] for one in platform.get("/models/requests/search")["results"]] == [ident]
    assert platform.get("/models/requests/search", exclude_api_requests="true")["results"] == []


@pytest.mark.parametrize("sort_by", ["ended_at", "duration"])
def test_pages_of_requests_neither_repeat_nor_leave_out(platform: Platform, sort_by: str) -> None:
    idents = {platform.made() for _ in range(5)}
    seen: list[str] = []
    params: dict[str, Any] = {"endpoint_id": MODEL, "sort_by": sort_by, "limit": 2}
    for _ in range(3):
        page = platform.get("/models/requests/by-endpoint", **params)
        seen += [one["request_id"] for one in page["items"]]
        params["cursor"] = page["next_cursor"]
    assert page["next_cursor"] is None and len(seen) == 5 and set(seen) == idents


def test_removed_payloads_are_gone_everywhere_and_the_charge_stays(
    platform: Platform, other: Platform, house: House
) -> None:
    ident = platform.made(json={"prompt": "a secret"})
    image = platform.fal.result(ident).json()["images"][0]["url"]
    path = f"/models/requests/{ident}/payloads"
    assert platform.ask("DELETE", path, key="plain").status_code == 403
    assert other.ask("DELETE", path).status_code == 404
    first = platform.ask("DELETE", path, headers={"idempotency-key": "k1"})
    assert first.status_code == 200
    (gone,) = first.json()["cdn_delete_results"]
    assert gone["exception"] is None and "/v1/media/" in gone["link"]
    assert platform.ask("DELETE", path, headers={"idempotency-key": "k1"}).json() == first.json()
    assert platform.ask("DELETE", path).json() == {"cdn_delete_results": []}
    assert platform.client.get(image).status_code == 410
    assert platform.fal.status(ident).json()["status"] == "COMPLETED"
    assert platform.fal.result(ident).status_code == 410
    (item,) = platform.get("/models/requests/by-endpoint", endpoint_id=MODEL, expand="payloads")["items"]
    assert (item["json_input"], item["json_output"]) == (None, None)
    assert platform.get("/models/usage", expand="summary")["summary"][0]["cost"] == PRICE
    ((stored,),) = house.rows("SELECT COALESCE(input, '') || COALESCE(result, '') FROM job WHERE id = :id", id=ident)
    assert "secret" not in stored


def test_payloads_of_a_request_in_progress_stay(platform: Platform, gated: Upstream) -> None:
    ident = platform.fal.submit().json()["request_id"]
    answer = platform.ask("DELETE", f"/models/requests/{ident}/payloads")
    assert answer.status_code == 400 and "in progress" in answer.json()["error"]["message"]
    gated.gate.set()
    assert platform.fal.wait(ident).json()["status"] == "COMPLETED"


def test_the_focus_report_has_a_line_for_each_day_model_and_key(platform: Platform, house: House) -> None:
    for at in ("2026-03-10 14:30", "2026-03-10 15:30", "2026-04-01 00:30"):
        _moved(house, platform.made(), at)
    answer = platform.ask("GET", "/account/focus", params={"source": "estimate", "billing_month": "2026-03"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["BilledCost"], row["ConsumedQuantity"], row["ConsumedUnit"]) == ("0.080000", "2", "image")
    assert row["ChargePeriodStart"] == "2026-03-10T00:00:00Z" and row["ChargePeriodEnd"] == "2026-03-11T00:00:00Z"
    assert row["SubAccountId"] == platform.plain_id and row["ResourceId"] == MODEL
    refused = platform.ask("GET", "/account/focus", params={"source": "invoice"})
    assert refused.status_code == 501 and refused.json()["error"]["type"] == "not_implemented"


def _moved(house: House, ident: str, at: str) -> None:
    """Let a job have ended at another time."""
    at_ms = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1000)
    rewrite(house, "UPDATE job SET finished_at_ms = :at_ms WHERE id = :id", id=ident, at_ms=at_ms)


def test_a_file_that_the_storage_cannot_remove_is_told_and_the_removal_can_be_asked_again(
    platform: Platform, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ident = platform.made()

    async def broken(_keys: list[str]) -> int:
        raise StoreError("The media store could not delete.")

    path, again = f"/models/requests/{ident}/payloads", {"idempotency-key": "k2"}
    with monkeypatch.context() as held:
        held.setattr(house.app.store, "delete", broken)
        (told,) = platform.ask("DELETE", path, headers=again).json()["cdn_delete_results"]
    assert told["exception"] == "The media store could not delete."
    assert platform.fal.result(ident).status_code == 410, "the payloads are gone all the same"
    (told,) = platform.ask("DELETE", path, headers=again).json()["cdn_delete_results"]
    assert told["exception"] is None
