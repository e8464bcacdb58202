"""The migrations make exactly the tables the code describes, on both stores."""

import importlib
import pkgutil

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

import calotype
from calotype.db import Store
from calotype.db.metadata import metadata
from calotype.db.migrate import current, head, upgrade
from calotype.ledger.triggers import statements


def migrated(url):
    upgrade(url)
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


def test_a_migrated_database_has_the_tables_the_code_describes(empty_url):
    for module in pkgutil.walk_packages(calotype.__path__, "calotype."):
        if module.name.endswith(".tables"):
            importlib.import_module(module.name)
    engine = migrated(empty_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        checks = {name: _checks(connection, name) for name in metadata.tables}
    assert checks == {name: _described(table) for name, table in metadata.tables.items()}
    assert current(empty_url) == head()


def _checks(connection, table):
    return {found["name"] for found in inspect(connection).get_check_constraints(table)}


def _described(table):
    return {
        str(constraint.name) for constraint in table.constraints if constraint.__class__.__name__ == "CheckConstraint"
    }


def test_the_migration_protects_the_ledger_as_its_own_module_says(empty_url, store):
    engine = migrated(empty_url)
    query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    if store == "postgresql":
        query = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
    with engine.begin() as connection:
        before = set(connection.execute(text(query)).scalars())
        for statement in statements(Store(store)):
            connection.execute(text(statement))
        after = set(connection.execute(text(query)).scalars())
    assert before == after
    assert before
