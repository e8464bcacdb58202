"""Tables of the event log and of the outbox."""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, text

from calotype.db.metadata import metadata

event = Table(
    "event",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", Text),
    Column("at_ms", BigInteger, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("lease_by", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("delivered_at_ms", BigInteger),
    Index(
        "ix_outbox_due",
        "next_at_ms",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "ix_outbox_org_due",
        "org_id",
        "next_at_ms",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index("ix_outbox_org_id_created_at_ms", "org_id", "created_at_ms"),
    Index("ix_outbox_job_id", "job_id"),
    sqlite_strict=True,
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("outbox_id", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("status", Integer),
    Column("error", Text),
    Column("duration_ms", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
