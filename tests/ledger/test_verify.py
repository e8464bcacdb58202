"""Whoever changes a row behind the ledger's back is found out, whichever row it is."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moves import Hold, Reverse, Settle, together

from calotype.db import Database, Sql, Store
from calotype.db.connection import Connection
from calotype.kernel.ids import OrgId
from calotype.ledger import verify as module
from calotype.ledger.ledger import Ledger
from calotype.ledger.types import JournalKind
from calotype.ledger.verify import Difference, verify

ACME, OTHER = OrgId("acme"), OrgId("other")
FIRST = "(SELECT id FROM journal WHERE memo = 'first')"
LAST = "(SELECT id FROM journal WHERE kind = 'capture' AND job_id = 'taken')"

TAMPERINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "journal does not sum to zero",
        (f"UPDATE entry SET amount_micro = amount_micro - 1 WHERE journal_id = {FIRST} AND account_id <> 'org/acme'",),
    ),
    ("journal does not sum to zero", (f"DELETE FROM entry WHERE journal_id = {LAST} AND account_id <> 'org/acme'",)),
    ("journal has no entries", (f"DELETE FROM entry WHERE journal_id = {FIRST}",)),
    ("posted differs from the sum of entries", ("UPDATE account SET posted_micro = 5000 WHERE id = 'org/acme'",)),
    (
        "posted differs from the sum of entries",
        (
            f"UPDATE entry SET amount_micro = 2 * amount_micro, balance_after_micro = 2 * balance_after_micro"
            f" WHERE journal_id = {FIRST}",
        ),
    ),
    ("held differs from the sum of open holds", ("UPDATE account SET held_micro = 1 WHERE id = 'org/acme'",)),
    ("held differs from the sum of open holds", ("DELETE FROM hold WHERE id = 'open'",)),
    ("held differs from the sum of open holds", ("UPDATE hold SET amount_micro = 51 WHERE id = 'open'",)),
    ("held differs from the sum of open holds", ("UPDATE hold SET state = 'voided' WHERE id = 'open'",)),
    ("balance is below its limit", ("UPDATE account SET posted_micro = -1, held_micro = 0 WHERE id = 'org/acme'",)),
    (
        "balance is below its limit",
        ("UPDATE account SET credit_limit_micro = credit_limit_micro - 1000000 WHERE id = 'org/acme'",),
    ),
    ("version differs from the number of entries", ("UPDATE account SET version = 9 WHERE id = 'org/acme'",)),
    (
        "balance after an entry differs from the running sum",
        (f"UPDATE entry SET balance_after_micro = 1 WHERE journal_id = {LAST} AND account_id = 'org/acme'",),
    ),
    (
        "entries of an account are not numbered one by one",
        (f"UPDATE entry SET account_version = 7 WHERE journal_id = {LAST} AND account_id = 'org/acme'",),
    ),
    (
        "entry on a customer account without its number or balance",
        (f"UPDATE entry SET account_version = NULL WHERE journal_id = {LAST} AND account_id = 'org/acme'",),
    ),
    (
        "entry on a customer account without its number or balance",
        (f"UPDATE entry SET balance_after_micro = NULL WHERE journal_id = {LAST} AND account_id = 'org/acme'",),
    ),
    ("entry without a journal", ("DELETE FROM journal WHERE memo = 'first'",)),
    (
        "journal on another organisation's account",
        ("UPDATE journal SET org_id = 'other' WHERE memo = 'first'",),
    ),
    (
        "journal on another organisation's account",
        (f"UPDATE entry SET account_id = 'org/other' WHERE journal_id = {FIRST} AND account_id = 'org/acme'",),
    ),
    ("entry on a customer account that does not exist", ("DELETE FROM account WHERE id = 'org/acme'",)),
    ("hold on an account that does not exist", ("UPDATE hold SET account_id = 'org/nobody' WHERE id = 'open'",)),
    ("hold of a key without a budget", ("DELETE FROM budget WHERE key_id = 'k'",)),
    ("captured differs from the posted captures", ("UPDATE hold SET captured_micro = 61 WHERE id = 'taken'",)),
    ("captured differs from the posted captures", ("UPDATE journal SET kind = 'refund' WHERE kind = 'capture'",)),
    ("captured differs from the posted captures", ("UPDATE journal SET job_id = 'void' WHERE kind = 'capture'",)),
    ("capture without a captured hold", ("UPDATE hold SET state = 'voided' WHERE id = 'taken'",)),
    ("capture without a captured hold", ("DELETE FROM hold WHERE id = 'taken'",)),
    (
        "reversals that are not the whole of a captured hold",
        ("UPDATE journal SET job_id = 'open' WHERE kind = 'reversal'",),
    ),
    (
        "reversals that are not the whole of a captured hold",
        ("UPDATE journal SET kind = 'reversal', job_id = 'given' WHERE memo = 'other'",),
    ),
    (
        "reversals that are not the whole of a captured hold",
        (
            "UPDATE entry SET amount_micro = amount_micro + 1 WHERE account_id = 'org/acme'"
            " AND journal_id = (SELECT id FROM journal WHERE kind = 'reversal')",
        ),
    ),
    ("a key's spend differs from its captured holds", ("UPDATE budget SET spent_micro = 0",)),
    ("a key's spend differs from its captured holds", ("UPDATE journal SET kind = 'refund' WHERE kind = 'reversal'",)),
    ("a key's held amount differs from its open holds", ("UPDATE budget SET held_micro = 0",)),
    ("a key's open jobs differ from its open holds", ("UPDATE budget SET open_jobs = 0",)),
    ("a key's open jobs differ from its open holds", ("UPDATE hold SET key_id = NULL WHERE id = 'open'",)),
)


@contextmanager
def owner(url: str) -> Iterator[Connection]:
    """Connect as somebody who owns the database: without triggers, foreign keys and checks."""
    connection = Connection(url)
    if connection.store is Store.SQLITE:
        unguarded = [
            f"DROP TRIGGER {table}_no_{verb}" for table in ("journal", "entry") for verb in ("update", "delete")
        ]
        unguarded.append("PRAGMA ignore_check_constraints = ON")
    else:
        unguarded = ["SET session_replication_role = replica"]
        unguarded += [
            f"ALTER TABLE account DROP CONSTRAINT ck_account_{name}" for name in ("funded", "limit_not_negative")
        ]
    for statement in unguarded:
        connection.reading().execute(Sql(statement))
    try:
        yield connection
    finally:
        connection.close()


def found_after(connection: Connection, statements: tuple[str, ...]) -> tuple[Difference, ...]:
    """Tamper, verify, and put everything back."""
    tx = connection.begin()
    try:
        for statement in statements:
            assert tx.execute(Sql(statement)) > 0, statement
        return verify(tx).differences
    finally:
        connection.rollback()


@pytest.fixture
async def used(db: Database, ledger: Ledger) -> Database:
    await ledger.credit(ACME, 1000, kind=JournalKind.TOPUP, memo="first")
    await ledger.credit(OTHER, 10, memo="other")
    assert await together(
        db,
        [
            Hold("taken", ACME, 100, "k"), Hold("open", ACME, 50, "k"), Hold("void", ACME, 30, "k"),
            Hold("given", ACME, 20, "k"),
        ],
    ) == [True, True, True, True]  # fmt: skip
    await together(db, [Settle("taken", ACME, 60, "k"), Settle("void", ACME, 0, "k"), Settle("given", ACME, 20, "k")])
    assert await together(db, [Reverse("given", ACME, "k")]) == [20]
    return db


async def test_an_honest_ledger_adds_up_and_is_counted(used: Database) -> None:
    verdict = await used.read(verify, snapshot=True)
    assert verdict.ok, verdict.differences
    assert (verdict.accounts, verdict.journals, verdict.entries, verdict.holds, verdict.open_holds) == (2, 5, 10, 4, 1)


async def test_every_row_changed_behind_the_ledgers_back_is_found(used: Database, database_url: str) -> None:
    with owner(database_url) as connection:
        for rule, statements in TAMPERINGS:
            assert rule in {difference.rule for difference in found_after(connection, statements)}, statements
    assert (await used.read(verify, snapshot=True)).ok, "each was put back, so each was found by itself"


def test_every_check_has_a_tampering_that_it_finds() -> None:
    assert {rule for rule, _ in TAMPERINGS} == {rule for rule, _ in module._CHECKS}


async def test_a_difference_names_the_row_and_both_amounts(used: Database, database_url: str) -> None:
    with owner(database_url) as connection:
        (difference,) = found_after(connection, ("UPDATE account SET posted_micro = 5000 WHERE id = 'org/acme'",))
    assert (difference.id, difference.expected, difference.found) == ("org/acme", 940, 5000)


async def test_a_verification_of_a_busy_ledger_is_not_confused(used: Database, ledger: Ledger) -> None:
    writing = asyncio.gather(*(ledger.credit(ACME, 1) for _ in range(200)))
    looked = 0
    while not writing.done():
        assert (await used.read(verify, snapshot=True)).ok
        looked += 1
    await writing
    assert looked
