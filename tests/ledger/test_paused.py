"""A process that stops in the middle of a batch does not keep everybody else from the accounts it locked."""

import asyncio
import threading

import pytest
from moves import Hold

from calotype.db import Database, Store
from calotype.kernel import points
from calotype.kernel.ids import OrgId
from calotype.ledger.ledger import Ledger
from calotype.ledger.types import Balance
from calotype.ledger.verify import verify

ACME = OrgId("acme")


class Watched(Hold, frozen=True):
    point = "watched"


async def test_a_paused_owner_loses_its_batch_and_repeats_it_once(
    db: Database, ledger: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if db.store is Store.SQLITE:
        pytest.skip("SQLite is the store of one process")
    await ledger.credit(ACME, 100)
    reached, resume = threading.Event(), threading.Event()

    def pause(name: str) -> None:
        if name == "watched.before_commit" and not reached.is_set():
            reached.set()
            assert resume.wait(60)

    paused = Database(database_url, idle_s=0.3)
    paused.start()
    try:
        monkeypatch.setattr(points, "on_point", pause)
        late = paused.submit(Watched("late", ACME, 10))
        assert await asyncio.to_thread(reached.wait, 30)
        assert await asyncio.wait_for(db.submit(Hold("quick", ACME, 20)), 30) is True
        resume.set()
        assert await asyncio.wait_for(late, 30) is True
    finally:
        resume.set()
        await asyncio.to_thread(paused.close)
    assert await ledger.balance(ACME) == Balance(100, 30, 0)
    assert (await db.read(verify, snapshot=True)).ok
