"""The queue and an upload on PostgreSQL, where positions and files are read by other SQL than on SQLite."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from fal_caller import Fal

from house_fixtures import settings_for
from running import running
from upstream import PICTURE, Upstream


async def _nothing() -> bool:
    return False


def test_requests_and_uploads_work_on_both_stores(
    database_url: str, upstream: Upstream, cards_dir: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(upstream, cards_dir=cards_dir, database_url=database_url)
    with running(tmp_path / "data", **settings) as house, httpx2.Client(base_url=house.url, timeout=60) as client:
        fal = Fal(client, house.account().key())
        ident = fal.submit().json()["request_id"]
        assert fal.wait(ident).json()["status"] == "COMPLETED"
        assert len(fal.result(ident).json()["images"]) == 1
        sent = fal.ask("POST", "/fal/cdn/files/upload", content=PICTURE).json()["access_url"]
        assert httpx2.get(sent).content == PICTURE
        with monkeypatch.context() as held:
            held.setattr(house.app.runner, "_claim", _nothing)
            waiting = [fal.submit().json()["request_id"] for _ in range(3)]
            house.app.asgi._fal._desk.positions._lines.clear()  # type: ignore[attr-defined]
            assert [fal.status(one).json()["queue_position"] for one in waiting] == [0, 1, 2]
            for one in waiting:
                assert fal.cancel(one).status_code == 202
