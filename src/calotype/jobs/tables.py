"""The job, its submissions, what joins a re-sent request to its job, and the processes that run jobs.

The job row is the queue: a row is due when `next_at_ms` has come. Claiming a row moves `next_at_ms` to the end of the
lease, so a row whose owner died becomes due by itself; `lease_n` counts the claims and fences late writes.

`unit` and `units` are what was delivered, in the words of the price; usage is read from `ix_job_org_ended` alone,
without a look at the rows. At `forget_at_ms` what a job answered is removed. `owed_by` has the only
copy of a result that was charged (`jobs/owed.py`).
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, Text, text

from calotype.db.metadata import metadata

OPEN = text("state IN ('queued', 'submitting', 'running', 'storing')")
STARTED = text("state IN ('submitting', 'running', 'storing')")
ENDED = text("finished_at_ms IS NOT NULL")
FORGOTTEN = text("forget_at_ms IS NOT NULL")
OWED = text("owed_by IS NOT NULL")

job = Table(
    "job",
    metadata,
    Column("id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("data_class", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("plan", Text, nullable=False),
    Column("input", Text),
    Column("provider", Text, nullable=False),
    Column("route", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("outcome", Text),
    Column("result", Text),
    Column("error", Text),
    Column("progress", Integer, nullable=False),
    Column("cancel_requested", Integer, nullable=False),
    Column("events", Integer, nullable=False),
    Column("lease_by", Text),
    Column("lease_n", Integer, nullable=False),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("deadline_at_ms", BigInteger, nullable=False),
    Column("webhook_url", Text),
    Column("customer", Text),
    Column("tags", Text),
    Column("quote_micro", BigInteger, nullable=False),
    Column("charged_micro", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("started_at_ms", BigInteger),
    Column("finished_at_ms", BigInteger),
    Column("unit", Text),
    Column("units", BigInteger),
    Column("forget_at_ms", BigInteger),
    Column("owed_by", Text),
    CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
    CheckConstraint("priority BETWEEN -1 AND 1", name="priority"),
    Index("ix_job_due", "priority", "next_at_ms", sqlite_where=OPEN, postgresql_where=OPEN),
    Index("ix_job_org_due", "org_id", "priority", "next_at_ms", sqlite_where=OPEN, postgresql_where=OPEN),
    Index("ix_job_provider_started", "provider", sqlite_where=STARTED, postgresql_where=STARTED),
    Index("ix_job_org_id_id", "org_id", "id"),
    Index(
        "ix_job_org_ended", "org_id", "finished_at_ms", "model", "state", "key_id", "unit", "units", "charged_micro",
        "created_at_ms", "started_at_ms", sqlite_where=ENDED, postgresql_where=ENDED,
    ),
    Index("ix_job_forget", "forget_at_ms", sqlite_where=FORGOTTEN, postgresql_where=FORGOTTEN),
    Index("ix_job_owed", "owed_by", sqlite_where=OWED, postgresql_where=OWED),
    sqlite_strict=True,
)  # fmt: skip

submission = Table(
    "submission",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("upstream_model", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("handle", Text),
    Column("upstream_id", Text),
    Column("error", Text),
    Column("cost_micro", BigInteger),
    Column("cost_amount", Text),
    Column("cost_unit", Text),
    Column("cost_source", Text),
    Column("cost_posted", Integer, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("answered_at_ms", BigInteger),
    CheckConstraint("state IN ('intent', 'accepted', 'rejected', 'done', 'failed', 'ambiguous')", name="state"),
    Index(
        "ix_submission_unposted",
        "provider",
        sqlite_where=text("cost_posted = 0 AND cost_micro > 0"),
        postgresql_where=text("cost_posted = 0 AND cost_micro > 0"),
    ),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("id", Text, primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("answer_by", Text),
    Column("answer_ended_ms", BigInteger),
    Column("expires_at_ms", BigInteger, nullable=False),
    CheckConstraint("answer IN ('open', 'delivered', 'broken')", name="answer"),
    Index("ix_idempotency_expires_at_ms", "expires_at_ms"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

instance = Table(
    "instance",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at_ms", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
    sqlite_strict=True,
)
