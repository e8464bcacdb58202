"""The tables of media: produced files and uploads.

`acl` says in JSON who may read a file by its URL (`media/acl.py`); without one everybody who has the URL. An
organisation's `storage_setting` holds for the files of its coming jobs that say nothing else.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from calotype.db.metadata import metadata

artifact = Table(
    "artifact",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("stored", Integer, nullable=False),
    Column("url", Text),
    Column("content_type", Text, nullable=False),
    Column("size_bytes", BigInteger),
    Column("sha256", Text),
    Column("width", Integer),
    Column("height", Integer),
    Column("duration_ms", BigInteger),
    Column("name", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("deleted_at_ms", BigInteger),
    Column("acl", Text),
    Index("ix_artifact_expires_at_ms", "expires_at_ms"),
    Index("ix_artifact_key", "key"),
)

upload = Table(
    "upload",
    metadata,
    Column("id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("acl", Text),
    Index("ix_upload_expires_at_ms", "expires_at_ms"),
    Index("ix_upload_key", "key"),
    Index("ix_upload_org_id", "org_id", "created_at_ms"),
)

storage_setting = Table(
    "storage_setting",
    metadata,
    Column("org_id", Text, primary_key=True),
    Column("lifetime_s", BigInteger),
    Column("acl", Text),
    sqlite_strict=True,
)
