"""Note what ended jobs delivered, when their payloads go, and who may read files."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ENDED = sa.text("finished_at_ms IS NOT NULL")
_FORGOTTEN = sa.text("forget_at_ms IS NOT NULL")


def upgrade() -> None:
    """Apply this step."""
    op.add_column("job", sa.Column("unit", sa.Text(), nullable=True))
    op.add_column("job", sa.Column("units", sa.BigInteger(), nullable=True))
    op.add_column("job", sa.Column("forget_at_ms", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_job_org_ended", "job",
        [
            "org_id", "finished_at_ms", "model", "state", "key_id", "unit", "units", "charged_micro", "created_at_ms",
            "started_at_ms",
        ],
        unique=False, sqlite_where=_ENDED, postgresql_where=_ENDED,
    )  # fmt: skip
    op.create_index(
        "ix_job_forget", "job", ["forget_at_ms"], unique=False, sqlite_where=_FORGOTTEN, postgresql_where=_FORGOTTEN
    )
    op.add_column("artifact", sa.Column("acl", sa.Text(), nullable=True))
    op.add_column("upload", sa.Column("acl", sa.Text(), nullable=True))
    op.create_table(
        "storage_setting",
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("lifetime_s", sa.BigInteger(), nullable=True),
        sa.Column("acl", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("org_id", name=op.f("pk_storage_setting")),
        sqlite_strict=True,
    )


def downgrade() -> None:
    """Undo this step."""
    op.drop_table("storage_setting")
    op.drop_column("upload", "acl")
    op.drop_column("artifact", "acl")
    op.drop_index("ix_job_forget", table_name="job")
    op.drop_index("ix_job_org_ended", table_name="job")
    op.drop_column("job", "forget_at_ms")
    op.drop_column("job", "units")
    op.drop_column("job", "unit")
