"""The writer's own table, by which it finds out whether a COMMIT that got no answer was kept.

Each writer has one row on PostgreSQL and numbers it in every transaction. A transaction id would not do: after a crash
PostgreSQL gives out again the ids whose records never reached the disk, and says "committed" of a stranger's work.
SQLite answers every COMMIT and leaves the table empty.
"""

from sqlalchemy import BigInteger, Column, Table, Text

from calotype.db.metadata import metadata

write_mark = Table(
    "write_mark",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("batch", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    sqlite_strict=True,
)
