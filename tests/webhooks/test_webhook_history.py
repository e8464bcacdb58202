"""What became of events can be read, sent once more under the same id, and is forgotten after thirty days."""

import asyncio

import pytest
from aiohttp import web
from postroom import Postroom
from receiver import Receiver

from calotype.db import Sql
from calotype.kernel.clock import ManualClock
from calotype.kernel.errors import Code, Problem
from calotype.webhooks.history import KEPT_MS, list_events, redeliver, sweep
from calotype.webhooks.verdict import EventState


async def test_a_dead_event_is_sent_again_under_its_id_with_all_attempts_before_it(
    postroom: Postroom, receiver: Receiver, clock: ManualClock
) -> None:
    receiver.answers = [web.Response(status=status) for status in (500, 500, 503, 204)]
    event_id = await postroom.announce(receiver.url)
    deliverer = postroom.deliverer(attempts=2)
    for _ in range(2):
        await deliverer.once()
        clock.advance(60_000)
    assert (await postroom.event(event_id)).state is EventState.DEAD
    await postroom.db.write(lambda tx: redeliver(tx, event_id, clock.now_ms()))
    event = await postroom.event(event_id)
    assert (event.state, event.attempts, event.next_at_ms) == (EventState.PENDING, 0, clock.now_ms())
    assert await deliverer.once() == 1
    clock.advance(60_000)
    assert await deliverer.once() == 1
    event = await postroom.event(event_id)
    assert (event.state, event.attempts) == (EventState.DELIVERED, 2)
    assert [(one.attempt, one.status) for one in event.deliveries] == [(1, 500), (2, 500), (3, 503), (4, 204)]
    assert {got.id for got in receiver.got} == {event_id}


async def test_a_delivered_event_can_be_sent_once_more(
    postroom: Postroom, receiver: Receiver, clock: ManualClock
) -> None:
    event_id = await postroom.announce(receiver.url)
    await postroom.deliverer().once()
    await postroom.db.write(lambda tx: redeliver(tx, event_id, clock.now_ms()))
    assert (await postroom.event(event_id)).delivered_at_ms is None
    await postroom.deliverer().once()
    assert [got.id for got in receiver.got] == [event_id, event_id]


async def test_redelivery_is_refused_for_the_unknown_and_while_an_attempt_is_under_way(
    postroom: Postroom, receiver: Receiver, clock: ManualClock
) -> None:
    with pytest.raises(Problem) as refused:
        await postroom.db.write(lambda tx: redeliver(tx, "evt_none", clock.now_ms()))
    assert refused.value.code is Code.NOT_FOUND
    receiver.gate.clear()
    event_id = await postroom.announce(receiver.url)
    work = asyncio.create_task(postroom.deliverer().once())
    await receiver.wait_for(1)
    with pytest.raises(Problem) as refused:
        await postroom.db.write(lambda tx: redeliver(tx, event_id, clock.now_ms()))
    assert refused.value.code is Code.CONFLICT
    receiver.gate.set()
    await work
    assert len(receiver.got) == 1


async def test_events_are_listed_newest_first_by_organisation_and_job(
    postroom: Postroom, receiver: Receiver, clock: ManualClock
) -> None:
    ids = []
    for n in range(4):
        ids.append(await postroom.announce(receiver.url, org=f"org-{n % 2}"))
        clock.advance(1)
    await postroom.deliverer().once()

    async def listed(**where: str) -> list[str]:
        return [event.id for event in await postroom.db.read(lambda tx: list_events(tx, **where))]

    assert await listed() == ids[::-1]
    assert await listed(org_id="org-1") == [ids[3], ids[1]]
    job_id = (await postroom.event(ids[2])).job_id
    assert await listed(job_id=job_id) == [ids[2]]
    assert await listed(org_id="org-1", job_id=job_id) == []
    assert len(await postroom.db.read(lambda tx: list_events(tx, limit=2))) == 2


async def test_what_ended_is_forgotten_after_thirty_days_and_what_waits_is_not(
    postroom: Postroom, receiver: Receiver, clock: ManualClock
) -> None:
    receiver.answers = [web.Response(status=204), web.Response(status=410), web.Response(status=500)]
    old = [await postroom.announce(receiver.url, org=f"org-{n}") for n in range(3)]
    await postroom.deliverer(concurrency=1).once()
    clock.advance(KEPT_MS)
    new = await postroom.announce(receiver.url)
    assert await sweep(postroom.db, clock.now_ms()) == 0
    clock.advance(1)
    assert await sweep(postroom.db, clock.now_ms()) == 2
    left = {event.id for event in await postroom.db.read(list_events)}
    assert left == {old[2], new}
    rows = await postroom.db.read(lambda tx: tx.rows(Sql("SELECT DISTINCT outbox_id FROM webhook_delivery")))
    assert rows == [(old[2],)]
