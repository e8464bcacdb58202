"""SQLAlchemy's way to a database: for migrations, which nothing of the running server needs."""

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from calotype.db.connection import open_driver, store_of
from calotype.db.sql import Store


def open_engine(url: str) -> Engine:
    """Return an engine over the house's own connections, in autocommit: transactions are begun explicitly."""
    dialect = "sqlite://" if store_of(url) is Store.SQLITE else "postgresql+psycopg://"
    return create_engine(dialect, creator=lambda: open_driver(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)
