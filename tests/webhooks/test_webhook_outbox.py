"""Claims: each due event to one owner, a share for everybody, and nobody hidden behind somebody else's backlog."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from postroom import Postroom

from calotype.db import Database
from calotype.kernel.clock import ManualClock
from calotype.webhooks.outbox import WINDOW, Claim, Due, Share, choose, origin_of


async def claim(db: Database, clock: ManualClock, lease: str = "a", **share: Any) -> tuple[Due, ...]:
    bounds = Share(**({"limit": 8, "per_org": 4, "per_origin": 2} | share))
    chosen = await db.read(lambda tx: choose(tx, bounds, clock.now_ms()))
    return await db.submit(Claim(lease=lease, ids=chosen, now_ms=clock.now_ms(), lease_ms=1000))


async def announced(postroom: Postroom, count: int, url: str, org: str) -> list[str]:
    return [await postroom.announce(url, org=org) for _ in range(count)]


def origins(claimed: tuple[Due, ...]) -> Counter[str]:
    return Counter(due.origin for due in claimed)


async def test_a_receiver_gets_its_share_and_no_more(postroom: Postroom, clock: ManualClock) -> None:
    for org in ("a", "b", "c"):
        await announced(postroom, 3, "https://slow.example.com/x", org)
    await announced(postroom, 3, "https://slow.example.com.other.com/x", "a")
    first = await claim(postroom.db, clock)
    assert origins(first) == {"https://slow.example.com": 2, "https://slow.example.com.other.com": 2}
    busy = {"https://slow.example.com": 2}
    assert origins(await claim(postroom.db, clock, "b", origins=busy)) == {"https://slow.example.com.other.com": 1}


async def test_organisations_with_nothing_under_way_come_first(postroom: Postroom, clock: ManualClock) -> None:
    for n in range(6):
        await postroom.announce(f"https://a{n}.example.com/", org="a")
    clock.advance(5)
    late = [await postroom.announce(f"https://{org}.example.com/", org=org) for org in ("b", "c")]
    claimed = await claim(postroom.db, clock, limit=3)
    assert Counter(due.org_id for due in claimed) == {"a": 1, "b": 1, "c": 1}
    assert set(late) < {due.id for due in claimed}
    rest = await claim(postroom.db, clock, "b", orgs={"a": 1})
    assert Counter(due.org_id for due in rest) == {"a": 3}


@pytest.mark.parametrize(
    "spelling", ["https://busy.example.com/x", "https://busy.example.com?x", "https://busy.example.com"]
)
async def test_a_backlog_beyond_the_window_hides_nobody(postroom: Postroom, clock: ManualClock, spelling: str) -> None:
    await asyncio.gather(*(postroom.announce(spelling, org="a") for _ in range(WINDOW + 20)))
    clock.advance(5)
    other = await postroom.announce("https://other.example.com/", org="b")
    busy: dict[str, Any] = {"orgs": {"a": 2, "b": 1}, "origins": {"https://busy.example.com": 2}}
    assert [due.id for due in await claim(postroom.db, clock, **busy)] == [other]


async def test_a_claim_counts_the_attempt_and_keeps_it_until_its_end(postroom: Postroom, clock: ManualClock) -> None:
    event_id = await postroom.announce("https://example.com/")
    (due,) = await claim(postroom.db, clock)
    assert (due.id, due.number, due.lease) == (event_id, 1, "a")
    assert await claim(postroom.db, clock, "b") == ()
    clock.advance(1000)
    (again,) = await claim(postroom.db, clock, "b")
    assert (again.id, again.number, again.lease) == (event_id, 2, "b")


async def test_two_claimers_never_get_the_same_event(postroom: Postroom, clock: ManualClock, database_url: str) -> None:
    await asyncio.gather(*(postroom.announce(f"https://r{n}.example.com/", org=f"o{n % 7}") for n in range(120)))
    other = Database(database_url)
    other.start()
    try:
        got: list[Due] = []
        for n in range(1000):
            both = await asyncio.gather(claim(postroom.db, clock, f"a{n}"), claim(other, clock, f"b{n}"))
            got += [due for claimed in both for due in claimed]
            if len(got) >= 120:
                break
        assert await claim(other, clock) == ()
    finally:
        await asyncio.to_thread(other.close)
    assert len(got) == 120
    assert len({due.id for due in got}) == 120


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://example.com:8443/a?b#c", "https://example.com:8443"), ("http://example.com", "http://example.com"),
        ("http://example.com?a/b", "http://example.com"), ("http://[::1]:80/x", "http://[::1]:80"),
    ],
)  # fmt: skip
def test_an_origin_is_scheme_and_authority(url: str, origin: str) -> None:
    assert origin_of(url) == origin
