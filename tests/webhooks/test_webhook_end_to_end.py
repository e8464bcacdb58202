"""A job through the whole house is announced once, signed, with the object its own dialect would answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from receiver import Received, Receiver

from calotype.app import App
from calotype.settings import Settings
from calotype.webhooks import WebhookSigner
from calotype.webhooks.history import Event, list_events
from calotype.webhooks.verdict import EventState

BASE = "http://house.test"


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    security: Any = {"allowed_private_hosts": ["127.0.0.1"]}
    app = App(Settings(data_dir=tmp_path / "data", security=security))
    await app.start()
    app.announce(BASE)
    yield app
    await app.stop()


class Caller:
    """An organisation with money, its key and a client."""

    def __init__(self, app: App, http: httpx2.AsyncClient, org_id: str) -> None:
        self.app = app
        self.http = http
        self.org_id = org_id
        secret = WebhookSigner(app.secrets.get("webhook_signing")).secret_of(org_id)
        self._openai = openai.OpenAI(api_key="x", webhook_secret=secret)

    def opened(self, got: Received) -> dict[str, Any]:
        """Verify a delivery as a user of the `openai` package does."""
        assert self._openai.webhooks.unwrap(got.body, got.headers).id == got.id
        return got.json

    async def events(self) -> list[Event]:
        return await self.app.db.read(lambda tx: list_events(tx, org_id=self.org_id))


@pytest.fixture
async def caller(app: App) -> AsyncIterator[Caller]:
    org = await app.accounts.create_org("acme")
    await app.ledger.credit(org.id, 10_000_000)
    _, key = await app.accounts.create_key(org.id, name="test")
    headers = {"Authorization": f"Bearer {key}"}
    transport = httpx2.ASGITransport(app=app.asgi)
    async with httpx2.AsyncClient(transport=transport, base_url=BASE, headers=headers, timeout=120) as http:
        yield Caller(app, http, org.id)


async def test_a_picture_is_announced_once_with_urls_that_open(app: App, caller: Caller, receiver: Receiver) -> None:
    body = {"model": "local/sketch", "prompt": "a quiet lake", "size": "256x256", "webhook_url": receiver.url}
    answer = await caller.http.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    await receiver.wait_for(1)
    event = caller.opened(receiver.got[0])
    assert event["type"] == "job.succeeded"
    assert abs(event["created_at"] - time.time()) < 60
    shown = event["data"]
    assert (shown["id"], shown["object"]) == (answer.headers["x-calotype-job-id"], "image.generation")
    assert (shown["status"], shown["error"], shown["model"]) == ("completed", None, "local/sketch")
    assert shown["created"] == answer.json()["created"]
    url = shown["data"][0]["url"]
    assert url.startswith(BASE)
    picture = await caller.http.get(url, headers={"Authorization": ""})
    assert (picture.status_code, picture.headers["content-type"]) == (200, shown["data"][0]["content_type"])
    await app.webhooks.stop()
    (event_row,) = await caller.events()
    assert (event_row.state, event_row.id) == (EventState.DELIVERED, event["id"])
    assert len(receiver.got) == 1
    assert b'calotype_webhook_attempts_total{result="delivered"} 1.0' in app.metrics.text()


async def test_a_video_is_announced_as_its_poll_would_answer(caller: Caller, receiver: Receiver) -> None:
    body = {"model": "local/sketch-video", "prompt": "a quiet lake", "seconds": 1}
    answer = await caller.http.post("/v1/videos", json=body, headers={"X-Webhook-Url": receiver.url})
    assert answer.status_code == 202, answer.text
    await receiver.wait_for(1)
    event = caller.opened(receiver.got[0])
    polled = (await caller.http.get(f"/v1/videos/{answer.json()['id']}")).json()
    assert event["type"] == "job.succeeded"
    for shown in (polled, event["data"]):
        assert shown["data"][0].pop("url").startswith(BASE + "/v1/media/")
    assert event["data"] == polled


async def test_a_canceled_video_is_announced_as_canceled(caller: Caller, receiver: Receiver) -> None:
    body = {"model": "local/sketch-video", "prompt": "a quiet lake", "webhook_url": receiver.url}
    made = (await caller.http.post("/v1/videos", json=body)).json()
    deleted = await caller.http.delete(f"/v1/videos/{made['id']}")
    assert deleted.status_code == 200, deleted.text
    await receiver.wait_for(1)
    event = caller.opened(receiver.got[0])
    assert (event["type"], event["data"]["id"]) == ("job.canceled", made["id"])
    assert (event["data"]["status"], event["data"]["error"]["code"]) == ("failed", "canceled")


async def test_without_an_address_nothing_is_announced(caller: Caller, receiver: Receiver) -> None:
    answer = await caller.http.post("/v1/images/generations", json={"model": "local/sketch", "prompt": "a lake"})
    assert answer.status_code == 200
    assert await caller.events() == []
    assert receiver.got == []


@pytest.mark.parametrize("url", ["http://10.0.0.1/hook", "http://localhost/hook", "ftp://example.com/", "no url"])
async def test_an_address_that_may_not_be_called_is_refused_before_anything_runs(caller: Caller, url: str) -> None:
    body = {"model": "local/sketch", "prompt": "a lake", "webhook_url": url}
    answer = await caller.http.post("/v1/images/generations", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "webhook_url")
    assert await caller.events() == []


async def test_phi_requests_may_not_ask_for_webhooks(caller: Caller, receiver: Receiver) -> None:
    body = {"model": "local/sketch", "prompt": "a lake", "response_format": "b64_json", "webhook_url": receiver.url}
    answer = await caller.http.post("/v1/images/generations", json=body, headers={"X-PHI": "true"})
    assert answer.status_code == 403, answer.text
    assert await asyncio.wait_for(caller.events(), 10) == []
    assert receiver.got == []
