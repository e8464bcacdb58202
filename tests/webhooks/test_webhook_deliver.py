"""Events reach real receivers: signed, at least once, tried again, and never where they must not."""

import asyncio
from collections.abc import Callable
from socket import AddressFamily
from typing import Any, Literal

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from postroom import ORG, Postroom
from receiver import NewReceiver, Receiver

from calotype.kernel import points
from calotype.kernel.clock import ManualClock
from calotype.webhooks import Deliverer
from calotype.webhooks.sign import verify
from calotype.webhooks.verdict import EventState


async def test_an_event_arrives_once_signed_with_the_status_of_its_job(
    postroom: Postroom, receiver: Receiver, clock: ManualClock
) -> None:
    event_id = await postroom.announce(receiver.url)
    assert await postroom.deliverer().once() == 1
    (got,) = receiver.got
    secrets = postroom.signer.secrets_of(ORG)
    assert verify(secrets, got.headers, got.body, now_s=clock.now_ms() / 1000) == event_id
    event = await postroom.event(event_id)
    assert got.json == {
        "id": event_id, "type": "job.succeeded", "created_at": clock.now_ms() // 1000,
        "data": {"id": event.job_id, "status": "succeeded"},
    }  # fmt: skip
    assert (got.headers["content-type"], got.headers["user-agent"]) == ("application/json", "calotype")
    assert (event.state, event.attempts, event.delivered_at_ms) == (EventState.DELIVERED, 1, clock.now_ms())
    assert [(one.attempt, one.status, one.error) for one in event.deliveries] == [(1, 204, None)]
    clock.advance(10**9)
    assert await postroom.deliverer().once() == 0
    assert postroom.counted("delivered") == 1


async def test_failures_are_tried_again_with_growing_pauses_under_one_id_and_then_given_up(
    postroom: Postroom, receiver: Receiver, clock: ManualClock
) -> None:
    receiver.answers = [web.Response(status=status) for status in (500, 404, 400)]
    event_id = await postroom.announce(receiver.url)
    deliverer = postroom.deliverer(attempts=3, first_retry_s=10)
    pauses = []
    for _ in range(2):
        assert await deliverer.once() == 1
        event = await postroom.event(event_id)
        assert event.state is EventState.PENDING
        pauses.append(event.next_at_ms - clock.now_ms())
        clock.advance(pauses[-1] - 1)
        assert await deliverer.once() == 0
        clock.advance(1)
    assert 8_000 <= pauses[0] <= 12_000
    assert 16_000 <= pauses[1] <= 24_000
    assert await deliverer.once() == 1
    event = await postroom.event(event_id)
    assert (event.state, event.attempts, event.delivered_at_ms) == (EventState.DEAD, 3, None)
    assert [one.status for one in event.deliveries] == [500, 404, 400]
    assert {got.id for got in receiver.got} == {event_id}
    clock.advance(10**9)
    assert await deliverer.once() == 0
    assert (postroom.counted("failed"), postroom.counted("dead")) == (2, 1)


async def test_a_failure_is_followed_by_a_delivery_with_a_fresh_timestamp(
    postroom: Postroom, receiver: Receiver, clock: ManualClock
) -> None:
    receiver.answers = [web.Response(status=500)]
    event_id = await postroom.announce(receiver.url)
    deliverer = postroom.deliverer()
    await deliverer.once()
    clock.advance(3_600_000)
    await deliverer.once()
    first, second = receiver.got
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 3600
    verify(postroom.signer.secrets_of(ORG), second.headers, second.body, now_s=clock.now_ms() / 1000)
    assert (await postroom.event(event_id)).state is EventState.DELIVERED


async def test_a_receiver_that_names_a_pause_gets_it(
    postroom: Postroom, receiver: Receiver, clock: ManualClock
) -> None:
    receiver.answers = [web.Response(status=429, headers={"Retry-After": "120"})]
    event_id = await postroom.announce(receiver.url)
    await postroom.deliverer(first_retry_s=1).once()
    assert (await postroom.event(event_id)).next_at_ms == clock.now_ms() + 120_000


async def test_a_receiver_that_is_gone_is_never_asked_again(
    postroom: Postroom, receiver: Receiver, clock: ManualClock
) -> None:
    receiver.answers = [web.Response(status=410)]
    event_id = await postroom.announce(receiver.url)
    await postroom.deliverer().once()
    event = await postroom.event(event_id)
    assert (event.state, event.deliveries[0].status) == (EventState.DEAD, 410)
    clock.advance(10**9)
    assert await postroom.deliverer().once() == 0


async def test_a_receiver_that_does_not_answer_is_tried_again(postroom: Postroom, receiver: Receiver) -> None:
    receiver.gate.clear()
    event_id = await postroom.announce(receiver.url)
    await postroom.deliverer(timeout_s=0.2).once()
    event = await postroom.event(event_id)
    assert (event.state, event.deliveries[0].status) == (EventState.PENDING, None)
    assert len(receiver.got) == 1
    assert event.deliveries[0].error
    assert event.deliveries[0].duration_ms < 2_000


async def test_a_receiver_that_is_not_there_is_tried_again(postroom: Postroom, new_receiver: NewReceiver) -> None:
    gone = await new_receiver()
    await gone.stop()
    event_id = await postroom.announce(gone.url)
    await postroom.deliverer().once()
    event = await postroom.event(event_id)
    assert (event.state, event.deliveries[0].status) == (EventState.PENDING, None)
    assert "could not connect" in (event.deliveries[0].error or "")


async def test_a_redirect_is_not_followed(postroom: Postroom, receiver: Receiver, new_receiver: NewReceiver) -> None:
    other = await new_receiver()
    receiver.answers = [web.Response(status=307, headers={"Location": other.url})]
    event_id = await postroom.announce(receiver.url)
    await postroom.deliverer().once()
    event = await postroom.event(event_id)
    assert other.got == []
    assert (event.state, event.deliveries[0].status) == (EventState.PENDING, 307)
    assert "redirects are not followed" in (event.deliveries[0].error or "")


async def test_an_endless_answer_is_cut_and_its_status_counts(postroom: Postroom, receiver: Receiver) -> None:
    receiver.answers = [web.Response(body=b"x" * 50_000_000)]
    event_id = await postroom.announce(receiver.url)
    await postroom.deliverer().once()
    assert (await postroom.event(event_id)).state is EventState.DELIVERED


class OneAddress(AbstractResolver):
    """Answers every name with one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_UNSPEC
    ) -> list[ResolveResult]:
        family = AddressFamily.AF_INET
        return [ResolveResult(hostname=host, host=self._address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        return


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "hooks.example.com", "[::1]", "169.254.169.254"])
async def test_a_private_address_is_given_up_at_once_with_a_reason_and_nothing_is_sent(
    postroom: Postroom, receiver: Receiver, clock: ManualClock, host: str
) -> None:
    event_id = await postroom.announce(receiver.url.replace("127.0.0.1", host))
    await postroom.deliverer("allowed.example.com", resolver=OneAddress("127.0.0.1")).once()
    event = await postroom.event(event_id)
    assert receiver.got == []
    assert (event.state, event.attempts) == (EventState.DEAD, 1)
    assert "not on the public internet" in (event.deliveries[0].error or "")
    clock.advance(10**9)
    assert await postroom.deliverer().once() == 0


async def test_a_private_host_the_operator_allowed_is_reached_by_name(postroom: Postroom, receiver: Receiver) -> None:
    event_id = await postroom.announce(receiver.url.replace("127.0.0.1", "hooks.internal"))
    await postroom.deliverer("hooks.internal", resolver=OneAddress("127.0.0.1")).once()
    assert [got.id for got in receiver.got] == [event_id]


async def test_a_phi_job_is_never_announced_whatever_the_row_says(postroom: Postroom, receiver: Receiver) -> None:
    event_id = await postroom.announce(receiver.url, phi=True)
    await postroom.deliverer().once()
    assert receiver.got == []
    assert (await postroom.event(event_id)).state is EventState.DEAD


async def test_a_dialect_this_process_does_not_speak_is_left_for_another(
    postroom: Postroom, receiver: Receiver
) -> None:
    event_id = await postroom.announce(receiver.url, dialect="newer")
    await postroom.deliverer().once()
    assert receiver.got == []
    assert (await postroom.event(event_id)).state is EventState.PENDING


async def test_a_slow_receiver_does_not_hold_up_the_others(
    postroom: Postroom, receiver: Receiver, new_receiver: NewReceiver
) -> None:
    quick = await new_receiver()
    receiver.gate.clear()
    for _ in range(30):
        await postroom.announce(receiver.url)
    for n in range(12):
        await postroom.announce(quick.url, org=f"org-{n % 3}")
    deliverer = postroom.deliverer(concurrency=8)
    await deliverer.start(alone=False)
    await quick.wait_for(12)
    assert (receiver.inside, receiver.most) == (4, 4)
    receiver.gate.set()
    await receiver.wait_for(30)
    await deliverer.stop()
    assert receiver.most == 4
    assert len({got.id for got in receiver.got}) == 30


async def test_one_organisation_with_many_receivers_leaves_room_for_others(
    postroom: Postroom, receiver: Receiver, new_receiver: NewReceiver
) -> None:
    slow = [await new_receiver() for _ in range(4)]
    for one in slow:
        one.gate.clear()
        for _ in range(4):
            await postroom.announce(one.url)
    deliverer = postroom.deliverer(concurrency=4)
    await deliverer.start(alone=False)
    for one in slow[:1]:
        await one.wait_for(1)
    await postroom.announce(receiver.url, org="org-late")
    deliverer.wake()
    await receiver.wait_for(1)
    assert sum(one.inside for one in slow) == 2
    for one in slow:
        one.gate.set()
    await deliverer.stop()


class Watched(asyncio.Event):
    """A wake-up that tells when the loop has begun to wait for it with nothing under way."""

    def __init__(self, deliverer: Deliverer) -> None:
        super().__init__()
        self._deliverer = deliverer
        self.idle = asyncio.Event()

    async def wait(self) -> Literal[True]:
        if not self._deliverer._active:
            self.idle.set()
        return await super().wait()


async def test_a_wake_up_delivers_at_once_what_the_loop_did_not_know_of(
    postroom: Postroom, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calotype.webhooks.deliver.IDLE_S", 3600.0)
    deliverer = postroom.deliverer()
    deliverer._wake = watched = Watched(deliverer)
    await deliverer.start(alone=True)
    for n in range(3):
        await watched.idle.wait()
        watched.idle.clear()
        await postroom.announce(receiver.url)
        deliverer.wake()
        await receiver.wait_for(n + 1)
    await deliverer.stop()
    assert postroom.counted("delivered") == 3


@pytest.fixture
def at_point(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], None]], None]:
    return lambda listener: monkeypatch.setattr(points, "on_point", listener)


async def test_an_answer_that_was_not_written_down_is_followed_by_the_same_event_again(
    postroom: Postroom, receiver: Receiver, clock: ManualClock, at_point: Any
) -> None:
    def die(point: str) -> None:
        if point == "webhook.sent":
            raise SystemError("died here")

    event_id = await postroom.announce(receiver.url)
    at_point(die)
    first = postroom.deliverer()
    await first.once()
    assert (await postroom.event(event_id)).deliveries == []
    at_point(lambda _point: None)
    second = postroom.deliverer()
    assert await second.once() == 0
    clock.advance(first.lease_ms)
    assert await second.once() == 1
    assert [got.id for got in receiver.got] == [event_id, event_id]
    assert receiver.got[0].json == receiver.got[1].json
    event = await postroom.event(event_id)
    assert (event.state, len(event.deliveries)) == (EventState.DELIVERED, 1)


async def test_a_lone_process_does_not_wait_for_leases_of_its_predecessor(
    postroom: Postroom, receiver: Receiver, at_point: Any
) -> None:
    def die(_point: str) -> None:
        raise SystemError("died here")

    await postroom.announce(receiver.url)
    at_point(die)
    await postroom.deliverer().once()
    at_point(lambda _point: None)
    successor = postroom.deliverer()
    await successor.start(alone=True)
    await receiver.wait_for(2)
    await successor.stop()


async def test_who_lost_the_lease_changes_nothing(postroom: Postroom, receiver: Receiver, clock: ManualClock) -> None:
    """The first attempt fails after a second one, made when its lease had ended, was delivered."""
    receiver.answers = [web.Response(status=204), web.Response(status=410)]
    first_gate = receiver.gate
    first_gate.clear()
    event_id = await postroom.announce(receiver.url)
    slow, quick = postroom.deliverer(), postroom.deliverer()
    paused = asyncio.create_task(slow.once())
    await receiver.wait_for(1)
    clock.advance(slow.lease_ms)
    receiver.gate = asyncio.Event()
    receiver.gate.set()
    assert await quick.once() == 1
    first_gate.set()
    await paused
    event = await postroom.event(event_id)
    assert (event.state, [one.status for one in event.deliveries]) == (EventState.DELIVERED, [204])


async def test_stopping_gives_back_what_is_under_way_without_counting_it(
    postroom: Postroom, receiver: Receiver, clock: ManualClock
) -> None:
    receiver.gate.clear()
    event_id = await postroom.announce(receiver.url)
    deliverer = postroom.deliverer()
    await deliverer.start(alone=False)
    await receiver.wait_for(1)
    await deliverer.stop(grace_s=0)
    event = await postroom.event(event_id)
    assert (event.state, event.attempts, event.next_at_ms) == (EventState.PENDING, 0, clock.now_ms())
    receiver.gate.set()
    assert await postroom.deliverer().once() == 1
    assert [got.id for got in receiver.got] == [event_id, event_id]
