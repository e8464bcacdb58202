"""The ledger's tables.

A *customer account* has a guarded row: `posted - held` never goes below `-credit_limit`. *House accounts* (names that
begin with `house/`) have no row here: what they hold is the sum of their entries, so that no balance is shared, and
fought over, by every organisation.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text, text

from calotype.db.metadata import metadata

account = Table(
    "account",
    metadata,
    Column("id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("posted_micro", BigInteger, nullable=False),
    Column("held_micro", BigInteger, nullable=False),
    Column("credit_limit_micro", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("posted_micro - held_micro >= -credit_limit_micro", name="funded"),
    CheckConstraint("held_micro >= 0", name="held_not_negative"),
    CheckConstraint("credit_limit_micro >= 0", name="limit_not_negative"),
    sqlite_strict=True,
)

budget = Table(
    "budget",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("spent_micro", BigInteger, nullable=False),
    Column("held_micro", BigInteger, nullable=False),
    Column("open_jobs", Integer, nullable=False),
    CheckConstraint("held_micro >= 0", name="held_not_negative"),
    CheckConstraint("open_jobs >= 0", name="open_not_negative"),
    sqlite_strict=True,
)

journal = Table(
    "journal",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("job_id", Text),
    Column("idem_key", Text, unique=True),
    Column("memo", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    sqlite_strict=True,
)

entry = Table(
    "entry",
    metadata,
    Column("journal_id", Text, ForeignKey("journal.id"), primary_key=True),
    Column("account_id", Text, primary_key=True),
    Column("amount_micro", BigInteger, nullable=False),
    Column("account_version", BigInteger),
    Column("balance_after_micro", BigInteger),
    CheckConstraint("amount_micro <> 0", name="amount_not_zero"),
    Index("ix_entry_account_id_account_version", "account_id", "account_version"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

hold = Table(
    "hold",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("key_id", Text),
    Column("amount_micro", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("captured_micro", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("settled_at_ms", BigInteger),
    CheckConstraint("amount_micro >= 0", name="amount_not_negative"),
    CheckConstraint("state IN ('open', 'captured', 'voided')", name="state"),
    CheckConstraint("captured_micro BETWEEN 0 AND amount_micro", name="captured_within_amount"),
    Index(
        "ix_hold_open",
        "account_id",
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    sqlite_strict=True,
)
