"""Tables of organisations and API keys. `account_change` counts changes, so that every process can see one cheaply."""

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, Table, Text

from calotype.db.metadata import metadata

organisation = Table(
    "organisation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("default_region", Text),
    Column("strict_residency", Integer, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    sqlite_strict=True,
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("org_id", Text, ForeignKey("organisation.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("key_class", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("models", Text),
    Column("spend_cap_micro", BigInteger),
    Column("requests_per_minute", Integer),
    Column("max_in_progress", Integer),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("disabled_at_ms", BigInteger),
    Column("budget_of", Text),
    sqlite_strict=True,
)

account_change = Table(
    "account_change",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("n", BigInteger, nullable=False),
    sqlite_strict=True,
)
