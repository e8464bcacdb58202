"""What was written about money is never rewritten."""

import pytest
from moves import Hold, Settle, raw
from sqlalchemy.exc import DatabaseError

from calotype.db import Database, Store
from calotype.kernel.ids import OrgId
from calotype.ledger.ledger import Ledger
from calotype.ledger.triggers import statements
from calotype.ledger.verify import verify

ACME = OrgId("acme")
REWRITES = (
    "UPDATE journal SET memo = 'x'",
    "UPDATE entry SET amount_micro = amount_micro + 1",
    "DELETE FROM entry",
    "DELETE FROM journal WHERE id = (SELECT MIN(id) FROM journal)",
    "TRUNCATE entry",
    "TRUNCATE journal CASCADE",
    "PRAGMA recursive_triggers=ON; INSERT OR REPLACE INTO journal (id, kind, org_id, created_at_ms)"
    " SELECT id, 'grant', 'thief', 1 FROM journal",
)


@pytest.mark.parametrize("rewrite", REWRITES)
async def test_a_written_row_cannot_be_changed(db: Database, ledger: Ledger, database_url: str, rewrite: str) -> None:
    if rewrite.startswith("TRUNCATE") and db.store is Store.SQLITE:
        pytest.skip("SQLite has no such statement")
    if rewrite.startswith("PRAGMA") and db.store is Store.POSTGRES:
        pytest.skip("PostgreSQL has no such statement")
    await ledger.credit(ACME, 100)
    await db.submit(Hold("j", ACME, 40))
    await db.submit(Settle("j", ACME, 40))
    with raw(database_url) as connection:
        *before, last = rewrite.split("; ")
        for statement in before:
            connection.exec_driver_sql(statement)
        with pytest.raises(DatabaseError, match="append-only"):
            connection.exec_driver_sql(last)
    assert (await db.read(verify)).ok


async def test_the_writers_own_connection_sees_replaced_rows(db: Database, ledger: Ledger) -> None:
    if db.store is Store.POSTGRES:
        pytest.skip("PostgreSQL has no such statement")
    from calotype.db import Sql

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
