"""Create the tables of the operator's own workers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "worker",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("auth", sa.Text(), nullable=False),
        sa.Column("min_jobs", sa.Integer(), nullable=False),
        sa.Column("max_jobs", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("loras_dir", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("model_set", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'draining')", name=op.f("ck_worker_state")),
        sa.CheckConstraint("origin IN ('command', 'settings')", name=op.f("ck_worker_origin")),
        sa.CheckConstraint("min_jobs >= 1 AND max_jobs >= min_jobs", name=op.f("ck_worker_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
        sa.UniqueConstraint("name", name=op.f("uq_worker_name")),
        sqlite_strict=True,
    )
    op.create_table(
        "worker_run",
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("upstream_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("began_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'ended')", name=op.f("ck_worker_run_state")),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_worker_run")),
        sqlite_strict=True,
    )
    op.create_index("ix_worker_run_worker_id_state", "worker_run", ["worker_id", "state"], unique=False)


def downgrade() -> None:
    """Undo this step."""
    op.drop_table("worker_run")
    op.drop_table("worker")
