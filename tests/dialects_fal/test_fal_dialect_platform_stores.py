"""The Platform API on both stores: sums, percentiles, pages, readers of files and forgotten payloads are SQL."""

from pathlib import Path
from typing import Any

import httpx2
from platform_caller import Platform, rewrite

from calotype.jobs.forget import forget_due
from house_fixtures import settings_for
from running import running
from upstream import Upstream, error

MODEL = "test/picture"


def test_figures_pages_and_files_are_the_same_on_both_stores(
    database_url: str, upstream: Upstream, cards_dir: Any, tmp_path: Path
) -> None:
    settings = settings_for(upstream, cards_dir=cards_dir, database_url=database_url)
    with running(tmp_path / "data", **settings) as house, httpx2.Client(base_url=house.url, timeout=60) as client:
        platform = Platform(client, house.account())
        idents = [platform.made() for _ in range(2)]
        upstream.answers = [error(400, "moderation_blocked")]
        assert platform.fal.run().status_code == 422
        told = platform.get("/models/usage", expand="time_series,summary,auth_method", timezone="Asia/Kathmandu")
        assert told["summary"][0] | {"quantity": 2, "cost": 0.08} == told["summary"][0]
        assert told["time_series"][0]["results"] == told["summary"]
        only = {"endpoint_id": MODEL, "api_key_id": [platform.plain_id, platform.admin_id]}
        assert platform.get("/models/usage", expand="summary", **only)["summary"][0]["quantity"] == 2
        events = platform.get("/models/billing-events", limit=1, request_id=idents)
        assert [one["request_id"] for one in events["billing_events"]] == idents[1:] and events["has_more"]
        metrics = platform.get("/models/analytics", endpoint_id=MODEL, expand="summary,request_count,p50_duration")
        assert metrics["summary"][0]["request_count"] == 3
        for sort_by in ("ended_at", "duration"):
            page = platform.get("/models/requests/by-endpoint", endpoint_id=MODEL, sort_by=sort_by, limit=2)
            rest = platform.get(
                "/models/requests/by-endpoint", endpoint_id=MODEL, sort_by=sort_by, cursor=page["next_cursor"]
            )
            assert len(page["items"] + rest["items"]) == 3 and not rest["has_more"]
        rows = platform.ask("GET", "/account/focus", params={"source": "estimate"}).text.splitlines()
        assert len(rows) == 2 and rows[1].startswith("0.080000,")

        setting = {"expiration_duration_seconds": 600, "initial_acl": {"default": "forbid", "rules": []}}
        assert platform.ask("PUT", "/storage/settings", json=setting).json() == setting
        shut = platform.made(headers={"x-fal-store-io": "0"})
        url = platform.fal.result(shut).json()["images"][0]["url"]
        assert httpx2.get(url).status_code == 403
        platform.ask("PUT", "/storage/files/acl", params={"url": url}, json={"default": "allow"})
        assert httpx2.get(url).status_code == 200
        rewrite(house, "UPDATE job SET forget_at_ms = 1 WHERE id = :id", id=shut)
        assert house.ask(forget_due(house.app.db, house.app.clock)) == 1
        assert platform.fal.result(shut).status_code == 410
