"""`calotype webhooks`: the secret, the deliveries and a redelivery, beside the database of a data directory."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from postroom import Postroom
from typer.testing import CliRunner

from calotype.app import App
from calotype.cli import program
from calotype.cli.opened import with_settings
from calotype.db import Sql
from calotype.kernel.clock import SystemClock
from calotype.kernel.errors import Problem
from calotype.settings import Settings
from calotype.webhooks import WebhookSigner

DEAD = Sql("UPDATE outbox SET state = 'dead', attempts = 10 WHERE id = :id")


class Desk:
    """Runs commands, and work on the database between them."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def run(self, *words: str) -> str:
        result = CliRunner().invoke(program, ["--data-dir", str(self._data_dir), "webhooks", *words])
        if result.exception is not None:
            raise result.exception
        return result.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))

    def work(self, fn: Callable[[App], Awaitable[Any]]) -> Any:
        return with_settings(Settings(data_dir=self._data_dir), fn)

    def announce(self, org: str = "org-a") -> str:
        return self.work(lambda app: Postroom(app.db, SystemClock()).announce("https://example.com/hook", org=org))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("CALOTYPE_DATA_DIR", "CALOTYPE_DATABASE_URL", "CALOTYPE_SECURITY__WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return Desk(tmp_path / "data")


def test_the_secret_is_the_one_deliveries_are_signed_with_and_rotation_keeps_the_one_before(desk: Desk) -> None:
    async def made(app: App) -> tuple[str, str]:
        org = await app.accounts.create_org("acme")
        return org.id, WebhookSigner(app.secrets.get("webhook_signing")).secret_of(org.id)

    org_id, secret = desk.work(made)
    assert desk.json("secret", "--org", "acme") == {"org_id": org_id, "secret": secret, "previous": []}
    assert secret in desk.run("secret", "--org", org_id)

    async def rotated(app: App) -> None:
        await asyncio.to_thread(app.secrets.rotate, "webhook_signing")

    desk.work(rotated)
    shown = desk.json("secret", "--org", "acme")
    assert shown["secret"] != secret
    assert shown["previous"] == [secret]


def test_deliveries_are_listed_and_narrowed(desk: Desk) -> None:
    first, second = desk.announce(), desk.announce()
    listed = desk.json("deliveries")
    assert [event["id"] for event in listed] == [second, first]
    assert (listed[0]["state"], listed[0]["attempts"], listed[0]["deliveries"]) == ("pending", 0, [])
    job_id = listed[1]["job_id"]
    for name in (job_id, "video_" + job_id.replace("-", "")):
        assert [event["id"] for event in desk.json("deliveries", "--job", name)] == [first]
    lines = desk.run("deliveries", "--limit", "1").splitlines()
    assert lines[0].split("\t")[:3] == ["EVENT", "CREATED (UTC)", "TYPE"]
    assert [line.split("\t")[0] for line in lines[1:]] == [second]


def test_a_dead_event_becomes_due_again_under_its_id(desk: Desk) -> None:
    event_id = desk.announce()
    desk.work(lambda app: app.db.write(lambda tx: tx.execute(DEAD, {"id": event_id})))
    shown = desk.json("redeliver", event_id)
    assert (shown["id"], shown["state"], shown["attempts"]) == (event_id, "pending", 0)
    with pytest.raises(Problem, match="There is no event"):
        desk.run("redeliver", "evt_unknown")
