"""Each rule of the money, one by one."""

import asyncio
from typing import Any

import pytest
from moves import NOW_MS, Hold, Settle, together

from calotype.db import Database, Tx
from calotype.kernel.errors import Code, Problem
from calotype.kernel.ids import OrgId
from calotype.kernel.money import MAX_MICRO
from calotype.ledger.book import Book
from calotype.ledger.ledger import Ledger
from calotype.ledger.types import COST, PAYABLE, Balance, JournalKind, Settled
from calotype.ledger.verify import verify

ACME, OTHER = OrgId("acme"), OrgId("other")


async def sound(db: Database) -> None:
    verdict = await db.read(verify, snapshot=True)
    assert verdict.ok, verdict.differences


def codes(answers: list[Any]) -> list[Any]:
    return [answer.code if isinstance(answer, Problem) else answer for answer in answers]


async def test_an_account_nobody_used_is_empty(ledger: Ledger) -> None:
    assert await ledger.balance(ACME) == Balance(0, 0, 0)
    assert await ledger.history(ACME) == ([], None)


async def test_a_hold_lowers_what_is_available_and_not_what_is_posted(db: Database, ledger: Ledger) -> None:
    await ledger.credit(ACME, 100)
    assert await db.submit(Hold("j", ACME, 40)) is True
    balance = await ledger.balance(ACME)
    assert (balance.posted_micro, balance.held_micro, balance.available_micro) == (100, 40, 60)
    await sound(db)


async def test_a_partial_capture_takes_what_was_delivered_and_lets_the_rest_go(db: Database, ledger: Ledger) -> None:
    await ledger.credit(ACME, 100)
    await db.submit(Hold("j", ACME, 40))
    assert await db.submit(Settle("j", ACME, 25)) == Settled(first=True, captured_micro=25)
    assert await ledger.balance(ACME) == Balance(75, 0, 0)
    movements, _ = await ledger.history(ACME)
    assert [(m.kind, m.amount_micro, m.balance_after_micro, m.job_id) for m in movements] == [
        (JournalKind.CAPTURE, -25, 75, "j"),
        (JournalKind.GRANT, 100, 100, None),
    ]
    await sound(db)


async def test_a_void_lets_everything_go_and_posts_nothing(db: Database, ledger: Ledger) -> None:
    await ledger.credit(ACME, 100)
    await db.submit(Hold("j", ACME, 40))
    assert await db.submit(Settle("j", ACME, 0)) == Settled(first=True, captured_micro=0)
    assert await ledger.balance(ACME) == Balance(100, 0, 0)
    assert len((await ledger.history(ACME))[0]) == 1
    await sound(db)


@pytest.mark.parametrize("apart", [True, False], ids=["two-batches", "one-batch"])
async def test_a_hold_is_settled_once_and_stays_as_it_was_first(db: Database, ledger: Ledger, apart: bool) -> None:
    await ledger.credit(ACME, 200)
    left = 200
    for first, second in ((25, 25), (25, 0), (0, 10), (40, 10)):
        job = f"{first}-{second}"
        await db.submit(Hold(job, ACME, 40))
        pair = [Settle(job, ACME, first), Settle(job, ACME, second)]
        answers = [await db.submit(one) for one in pair] if apart else await together(db, pair)
        assert answers == [Settled(first=True, captured_micro=first), Settled(first=False, captured_micro=first)]
        left -= first
        assert await ledger.balance(ACME) == Balance(left, 0, 0)
    await sound(db)


async def test_more_than_was_held_cannot_be_captured(db: Database, ledger: Ledger) -> None:
    await ledger.credit(ACME, 100)
    await db.submit(Hold("j", ACME, 40))
    for amount in (41, -1):
        with pytest.raises(ValueError, match="cannot capture"):
            await db.submit(Settle("j", ACME, amount))
    assert await ledger.balance(ACME) == Balance(100, 40, 0)
    with pytest.raises(ValueError, match="no hold"):
        await db.submit(Settle("nobody", ACME, 1))
    await sound(db)


async def test_one_unfunded_hold_does_not_sink_its_neighbours_and_the_check_is_cumulative(
    db: Database, ledger: Ledger
) -> None:
    await ledger.credit(ACME, 100)
    await ledger.credit(OTHER, 10)
    before = db.writer.batches
    answers = await together(
        db,
        [
            Hold("a", ACME, 60),
            Hold("b", ACME, 60),
            Hold("c", OTHER, 10),
            Hold("d", ACME, 40),
            Hold("e", ACME, 1),
            Hold("f", ACME, 0),
        ],
    )
    broke = Code.INSUFFICIENT_CREDITS
    assert codes(answers) == [True, broke, True, True, broke, True]
    assert answers[1].data == {"needed_micro": 60, "available_micro": 40}
    assert db.writer.batches - before == 2, "what holds the writer, and one for all: nothing was tried singly"
    assert await ledger.balance(ACME) == Balance(100, 100, 0)
    await sound(db)


async def test_the_same_hold_twice_is_one_hold_and_its_neighbours_stand(db: Database, ledger: Ledger) -> None:
    await ledger.credit(ACME, 100)
    answers = await together(db, [Hold("j", ACME, 40), Hold("j", ACME, 40), Hold("k", ACME, 5)])
    assert [answers[0], answers[2]] == [True, True]
    assert isinstance(answers[1], Exception)
    assert await ledger.balance(ACME) == Balance(100, 45, 0)
    await sound(db)


async def test_a_credit_limit_lets_the_balance_fall_so_far_and_no_further(db: Database, ledger: Ledger) -> None:
    assert (await ledger.set_credit_limit(ACME, 50)).available_micro == 50
    assert codes(await together(db, [Hold("a", ACME, 50), Hold("b", ACME, 1)])) == [True, Code.INSUFFICIENT_CREDITS]
    await db.submit(Settle("a", ACME, 30))
    assert await ledger.balance(ACME) == Balance(-30, 0, 50)
    for limit in (29, -1, MAX_MICRO + 1):
        with pytest.raises(Problem) as refused:
            await ledger.set_credit_limit(ACME, limit)
        assert (refused.value.code, refused.value.field) == (Code.INVALID_INPUT, "limit")
    assert await ledger.set_credit_limit(ACME, 30) == Balance(-30, 0, 30)
    await sound(db)


async def test_a_keys_spend_cap_counts_what_it_spent_and_what_it_holds(db: Database, ledger: Ledger) -> None:
    await ledger.credit(ACME, 1000)

    def hold(name: str, amount: int) -> Hold:
        return Hold(name, ACME, amount, key="k", cap_micro=100)

    assert codes(await together(db, [hold("a", 60), hold("b", 41), hold("c", 40), hold("d", 0)])) == [
        True,
        Code.SPEND_CAP_REACHED,
        True,
        True,
    ]
    await db.submit(Settle("a", ACME, 10, "k"))
    assert codes([*await together(db, [hold("e", 51), hold("f", 50)])]) == [Code.SPEND_CAP_REACHED, True]
    assert await db.submit(Hold("g", ACME, 500, key="k2")) is True, "another key without a cap"
    await sound(db)


async def test_a_key_has_only_so_many_jobs_in_progress(db: Database, ledger: Ledger) -> None:
    await ledger.credit(ACME, 100)
    three = [Hold(name, ACME, 0, key="k", max_open=2) for name in "abc"]
    answers = await together(db, three)
    assert codes(answers) == [True, True, Code.RATE_LIMITED]
    assert answers[2].retryable
    await db.submit(Settle("a", ACME, 0, "k"))
    assert await db.submit(Hold("d", ACME, 1, key="k", max_open=2)) is True
    await sound(db)


async def test_a_negative_credit_takes_money_back_but_never_what_is_held(db: Database, ledger: Ledger) -> None:
    await ledger.credit(ACME, 100, kind=JournalKind.TOPUP)
    await db.submit(Hold("j", ACME, 40))
    assert await ledger.credit(ACME, -60, kind=JournalKind.REFUND, memo="back") == Balance(40, 40, 0)
    with pytest.raises(Problem) as refused:
        await ledger.credit(ACME, -1, kind=JournalKind.REFUND)
    assert refused.value.code is Code.INSUFFICIENT_CREDITS
    assert (await ledger.history(ACME))[0][0].memo == "back"
    await db.submit(Settle("j", ACME, 40))
    assert await ledger.balance(ACME) == Balance(0, 0, 0)
    await sound(db)


async def test_an_amount_of_nothing_or_out_of_range_is_refused(ledger: Ledger) -> None:
    for amount in (0, MAX_MICRO + 1, -MAX_MICRO - 1):
        with pytest.raises(Problem) as refused:
            await ledger.credit(ACME, amount)
        assert (refused.value.code, refused.value.field) == (Code.INVALID_INPUT, "amount")
    assert await ledger.balance(ACME) == Balance(0, 0, 0)


async def test_the_same_key_moves_money_once(db: Database, ledger: Ledger) -> None:
    answers = await asyncio.gather(*(ledger.credit(ACME, 100, idem_key="once") for _ in range(10)))
    assert set(answers) == {Balance(100, 0, 0)}
    for org, amount in ((ACME, 99), (ACME, -100), (OTHER, 100)):
        with pytest.raises(Problem) as refused:
            await ledger.credit(org, amount, idem_key="once")
        assert refused.value.code is Code.IDEMPOTENCY_MISMATCH
    assert await ledger.balance(OTHER) == Balance(0, 0, 0)
    await sound(db)


async def test_an_operators_key_cannot_stand_in_the_way_of_a_capture(db: Database, ledger: Ledger) -> None:
    await ledger.credit(ACME, 100, idem_key="capture:j")
    await db.submit(Hold("j", ACME, 40))
    assert await db.submit(Settle("j", ACME, 40)) == Settled(first=True, captured_micro=40)
    await sound(db)


async def test_history_pages_from_new_to_old_and_ends(ledger: Ledger) -> None:
    for n in range(1, 8):
        await ledger.credit(ACME, n, memo=str(n))
    seen, cursor, pages = [], None, 0
    while True:
        page, cursor = await ledger.history(ACME, limit=3, before=cursor)
        seen += [int(m.memo or 0) for m in page]
        pages += 1
        if cursor is None:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert pages == 3


async def test_an_upstreams_bill_moves_between_house_accounts_only(db: Database, ledger: Ledger) -> None:
    await ledger.credit(ACME, 100)

    def bill(tx: Tx) -> None:
        book = Book.of(tx)
        book.post_house(JournalKind.PROVIDER_COST, PAYABLE, COST, 70, now_ms=NOW_MS, memo="bill")
        book.flush()

    await db.write(bill)
    assert await ledger.balance(ACME) == Balance(100, 0, 0)
    await sound(db)


async def test_money_moved_in_one_transaction_is_written_whole_or_not_at_all(db: Database, ledger: Ledger) -> None:
    await ledger.credit(ACME, 100)

    def half(tx: Tx) -> None:
        book = Book.of(tx)
        book.hold("j", ACME, 40, now_ms=NOW_MS)
        book.flush()
        book.settle("j", 40, now_ms=NOW_MS)
        book.flush()
        raise Problem(Code.CONFLICT, "after all, no")

    with pytest.raises(Problem):
        await db.write(half)
    assert await ledger.balance(ACME) == Balance(100, 0, 0)
    assert (await db.read(verify)).holds == 0
    await sound(db)
