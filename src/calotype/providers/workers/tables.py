"""Tables of workers, and of the places that jobs hold on them.

A run is written before anything is sent to its worker, so that a restarted server finds the very request again, and so
that all processes together give a worker no more jobs than it has places.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, Text

from calotype.db.metadata import metadata

worker = Table(
    "worker",
    metadata,
    Column("id", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("url", Text, nullable=False),
    Column("auth", Text, nullable=False),
    Column("min_jobs", Integer, nullable=False),
    Column("max_jobs", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("loras_dir", Text),
    Column("note", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("model_set", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("state IN ('active', 'draining')", name="state"),
    CheckConstraint("origin IN ('command', 'settings')", name="origin"),
    CheckConstraint("min_jobs >= 1 AND max_jobs >= min_jobs", name="jobs"),
    sqlite_strict=True,
)

worker_run = Table(
    "worker_run",
    metadata,
    Column("token", Text, primary_key=True),
    Column("worker_id", Text, nullable=False),
    Column("upstream_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("began_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),
    CheckConstraint("state IN ('open', 'ended')", name="state"),
    Index("ix_worker_run_worker_id_state", "worker_id", "state"),
    sqlite_strict=True,
)
