"""What was written about money is never rewritten."""

import pytest
from moves import Hold, Settle, raw
from sqlalchemy.exc import DatabaseError

from calotype.db import Database, Sql, Store
from calotype.kernel.ids import OrgId
from calotype.ledger.ledger import Ledger
from calotype.ledger.triggers import statements
from calotype.ledger.verify import verify

ACME = OrgId("acme")
EVERYWHERE = (
    "UPDATE journal SET memo = 'x'",
    "UPDATE entry SET amount_micro = amount_micro + 1",
    "DELETE FROM entry",
    "DELETE FROM journal WHERE id = (SELECT MIN(id) FROM journal)",
)
REWRITES = {
    Store.POSTGRES: (*EVERYWHERE, "TRUNCATE entry", "TRUNCATE journal CASCADE"),
    Store.SQLITE: (
        *EVERYWHERE,
        "INSERT OR REPLACE INTO journal (id, kind, org_id, created_at_ms) SELECT id, 'grant', 'me', 1 FROM journal",
    ),
}


async def test_a_written_row_cannot_be_changed(db: Database, ledger: Ledger, database_url: str) -> None:
    await ledger.credit(ACME, 100)
    await db.submit(Hold("j", ACME, 40))
    await db.submit(Settle("j", ACME, 40))
    with raw(database_url) as connection:
        if db.store is Store.SQLITE:
            connection.exec_driver_sql("PRAGMA recursive_triggers = ON")
        for rewrite in REWRITES[db.store]:
            with pytest.raises(DatabaseError, match="append-only"):
                connection.exec_driver_sql(rewrite)
    verdict = await db.read(verify)
    assert verdict.ok
    assert verdict.journals == 2


async def test_the_writers_own_connection_sees_replaced_rows(db: Database, ledger: Ledger) -> None:
    if db.store is Store.POSTGRES:
        pytest.skip("PostgreSQL has no such statement")
    await ledger.credit(ACME, 100)
    replace = Sql(
        "INSERT OR REPLACE INTO journal (id, kind, org_id, created_at_ms) SELECT id, 'x', 'y', 1 FROM journal"
    )
    with pytest.raises(Exception, match="append-only"):
        await db.write(lambda tx: tx.execute(replace))


@pytest.mark.parametrize("kind", Store)
def test_every_table_of_the_ledgers_history_is_protected(kind: Store) -> None:
    text = " ".join(statements(kind))
    for table in ("journal", "entry"):
        assert f" ON {table}" in text
