"""Triggers that make journal and entry append-only: what was written about money is never rewritten.

The migration that creates the tables executes them. They stop mistakes of our own code and of somebody at a database
prompt; whoever may drop triggers is found out by `verify`.
"""

from calotype.db.sql import Store

_TABLES = ("journal", "entry")
_MESSAGE = "the ledger is append-only: write a new journal that corrects the old one"


def statements(store: Store) -> tuple[str, ...]:
    """Return the statements that protect the tables, to be executed in order; twice does no harm."""
    if store is Store.SQLITE:
        return tuple(
            f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END"
            for table in _TABLES
            for verb in ("UPDATE", "DELETE")
        )
    return (
        "CREATE OR REPLACE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{_MESSAGE}' USING ERRCODE = 'restrict_violation'; END $$",
        *(
            f"CREATE OR REPLACE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()"
            for table in _TABLES
        ),
    )
