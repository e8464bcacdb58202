"""Two processes move money on the same accounts at once: nothing is lost, nothing is done twice."""

import asyncio
import json
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from moves import NOW_MS, Hold, Settle, Unsorted, together

from calotype.db import Database, Sql, Store, Tx
from calotype.kernel.ids import OrgId
from calotype.ledger.book import Book
from calotype.ledger.ledger import Ledger
from calotype.ledger.types import Settled
from calotype.ledger.verify import verify

ACCOUNTS = 6
WORKER = Path(__file__).parent / "worker.py"


async def worker(url: str, name: str, rounds: int) -> dict[str, int]:
    """Run the worker and return what it was told: hold id to captured amount, -1 where it was refused."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WORKER), url, name, str(rounds), str(ACCOUNTS), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 240)
    assert process.returncode == 0
    told: dict[str, int] = json.loads(output.splitlines()[-1])
    return told


async def many(db: Database, ledger: Ledger, url: str, rounds: int) -> None:
    funds = 40 * rounds
    for n in range(ACCOUNTS):
        await ledger.credit(OrgId(f"o{n}"), funds)
    one, two = await asyncio.gather(worker(url, "one", rounds), worker(url, "two", rounds))
    assert not set(one) & set(two)
    told = one | two
    rows = await db.read(lambda tx: tx.rows(Sql("SELECT id, state, captured_micro, org_id FROM hold")))
    assert {row[0]: row[2] for row in rows} == {ident: amount for ident, amount in told.items() if amount >= 0}
    assert all(state != "open" for _, state, _, _ in rows)
    spent: Counter[str] = Counter()
    for _, _, captured, org in rows:
        spent[org] += captured
    for n in range(ACCOUNTS):
        balance = await ledger.balance(OrgId(f"o{n}"))
        assert (balance.posted_micro, balance.held_micro) == (funds - spent[f"o{n}"], 0)
    assert any(amount < 0 for amount in told.values()), "the accounts ran dry, so the funds check was fought over"
    verdict = await db.read(verify, snapshot=True)
    assert verdict.ok, verdict.differences


async def test_two_processes_on_the_same_accounts(db: Database, ledger: Ledger, database_url: str) -> None:
    await many(db, ledger, database_url, 12)


@pytest.mark.full
async def test_two_processes_on_the_same_accounts_for_long(db: Database, ledger: Ledger, database_url: str) -> None:
    await many(db, ledger, database_url, 400)


async def test_two_writers_that_lock_in_opposite_order_both_get_their_answers(
    db: Database, ledger: Ledger, database_url: str
) -> None:
    if db.store is Store.SQLITE:
        pytest.skip("one writer at a time: there is nothing to deadlock")
    orgs = [OrgId(f"o{n}") for n in range(10)]
    for org in orgs:
        await ledger.credit(org, 1000)
    other = Database(database_url)
    other.start()
    try:
        rounds = 0
        while not db.writer.retries + other.writer.retries:
            assert rounds < 50, "no deadlock in fifty rounds"
            answers = await asyncio.gather(
                together(db, [Unsorted(f"a{rounds}-{org}", org, 1) for org in orgs]),
                together(other, [Unsorted(f"b{rounds}-{org}", org, 1) for org in reversed(orgs)]),
            )
            assert answers == [[True] * 10, [True] * 10]
            rounds += 1
    finally:
        await asyncio.to_thread(other.close)
    assert [(await ledger.balance(org)).held_micro for org in orgs] == [2 * rounds] * 10
    assert (await db.read(verify, snapshot=True)).ok


async def test_a_hold_settled_by_two_writers_at_once_is_settled_once(
    db: Database, ledger: Ledger, database_url: str
) -> None:
    org = OrgId("acme")
    await ledger.credit(org, 10_000)
    names = [f"j{n}" for n in range(50)]
    await together(db, [Hold(name, org, 10, "k") for name in names])
    other = Database(database_url)
    other.start()
    try:
        mine, theirs = await asyncio.gather(
            together(db, [Settle(name, org, 7, "k") for name in names]),
            together(other, [Settle(name, org, 3, "k") for name in reversed(names)]),
        )
    finally:
        await asyncio.to_thread(other.close)
    captured = 0
    for one, two in zip(mine, reversed(theirs), strict=True):
        assert one.first != two.first
        assert one.captured_micro == two.captured_micro == (7 if one.first else 3)
        captured += one.captured_micro
    balance = await ledger.balance(org)
    assert (balance.posted_micro, balance.held_micro) == (10_000 - captured, 0)
    assert (await db.read(verify, snapshot=True)).ok


async def test_a_settlement_waits_for_another_that_is_not_committed_yet(
    db: Database, ledger: Ledger, database_url: str
) -> None:
    org = OrgId("acme")
    await ledger.credit(org, 100)
    await db.submit(Hold("j", org, 10))
    settled, release = threading.Event(), threading.Event()

    def settle(tx: Tx, captured: int, *, slowly: bool) -> Settled:
        book = Book(tx)  # no lock was asked for beforehand
        answer = book.settle("j", captured, now_ms=NOW_MS)
        book.flush()
        if slowly:
            settled.set()
            assert release.wait(30)
        return answer

    waiting = Sql("SELECT COUNT(*) FROM pg_locks WHERE NOT granted")
    other = Database(database_url)
    other.start()
    try:
        first = db.write(lambda tx: settle(tx, 7, slowly=True))
        assert await asyncio.to_thread(settled.wait, 30)
        second = other.write(lambda tx: settle(tx, 3, slowly=False))
        while db.store is Store.POSTGRES and not second.done() and await db.read(lambda tx: tx.row(waiting)) == (0,):
            await asyncio.sleep(0)
        release.set()
        assert await first == Settled(first=True, captured_micro=7)
        assert await second == Settled(first=False, captured_micro=7)
    finally:
        release.set()
        await asyncio.to_thread(other.close)
    assert (await ledger.balance(org)).posted_micro == 93
    assert (await db.read(verify, snapshot=True)).ok
