"""The announcement of an end survives a death too: it goes out, and again under the same event id."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from crash.house import House, until

pytestmark = pytest.mark.crash

VIDEOS = "/v1/videos/generations"


class Hook:
    """A receiver of webhooks; keeps their event ids."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.ids.append(request.headers["webhook-id"])
        return web.Response()


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = Hook()
    app = web.Application()
    app.router.add_post("/hook", hook.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield hook
    await runner.cleanup()


@pytest.mark.parametrize(("point", "deliveries"), [("finish.committed", 1), ("webhook.sent", 2)])
async def test_an_end_is_announced_although_its_process_died(
    house: House, hook: Hook, point: str, deliveries: int
) -> None:
    patience = {"CALOTYPE_WEBHOOKS__TIMEOUT_S": "1"}
    first = await house.start(point, env=patience)
    body = {"model": "test/film-none", "prompt": f"{house.word} @work=0.1", "webhook_url": hook.url}
    status, _ = await first.post(VIDEOS, body)
    assert status == 202
    await until(lambda: not first.alive, f"the server to die at {point}")

    await house.start(env=patience)
    await until(lambda: len(hook.ids) == deliveries, "the webhook to arrive")
    await until(lambda: house.read("SELECT state FROM outbox") == [("delivered",)], "the delivery to be recorded")
    assert hook.ids == [house.read("SELECT id FROM outbox")[0][0]] * deliveries
    assert await house.ended() == ["succeeded"]
    house.check()
