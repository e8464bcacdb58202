"""Real processes: one that dies after the POST leaves nothing unsent, and several share the work."""

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from postroom import Postroom
from receiver import NewReceiver, Receiver

from calotype.db import Database
from calotype.kernel.clock import SystemClock
from calotype.webhooks.verdict import EventState

COURIER = Path(__file__).with_name("courier.py")


@pytest.fixture
async def postroom(db: Database) -> AsyncIterator[Postroom]:
    made = Postroom(db, SystemClock())
    yield made
    await made.close()


@asynccontextmanager
async def courier(url: str, point: str = "") -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(COURIER), url, point, stdin=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise


@pytest.mark.crash
async def test_a_process_killed_after_the_post_delivers_again_with_the_same_id(
    postroom: Postroom, receiver: Receiver, database_url: str
) -> None:
    event_id = await postroom.announce(receiver.url)
    async with courier(database_url, "webhook.sent") as process:
        await receiver.wait_for(1)
        assert await asyncio.wait_for(process.wait(), 30) == -9
    event = await postroom.event(event_id)
    assert (event.state, event.attempts, event.deliveries) == (EventState.PENDING, 1, [])
    successor = postroom.deliverer()
    await successor.start(alone=True)
    await receiver.wait_for(2)
    await successor.stop()
    assert [got.id for got in receiver.got] == [event_id, event_id]
    assert (await postroom.event(event_id)).state is EventState.DELIVERED


async def test_two_processes_share_the_outbox_and_send_each_event_once(
    postroom: Postroom, new_receiver: NewReceiver, database_url: str
) -> None:
    receivers = [await new_receiver() for _ in range(4)]
    events = [await postroom.announce(receivers[n % 4].url, org=f"org-{n % 5}") for n in range(80)]
    async with courier(database_url), courier(database_url):
        for one in receivers:
            await one.wait_for(20)
    seen = Counter(got.id for one in receivers for got in one.got)
    assert seen == Counter(events)
    for event_id in events:
        assert (await postroom.event(event_id)).state is EventState.DELIVERED
