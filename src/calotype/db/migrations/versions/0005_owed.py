"""Note which process has a result that is stored nowhere."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_OWED = sa.text("owed_by IS NOT NULL")


def upgrade() -> None:
    """Apply this step."""
    op.add_column("job", sa.Column("owed_by", sa.Text(), nullable=True))
    op.create_index("ix_job_owed", "job", ["owed_by"], unique=False, sqlite_where=_OWED, postgresql_where=_OWED)


def downgrade() -> None:
    """Undo this step."""
    op.drop_index("ix_job_owed", table_name="job")
    op.drop_column("job", "owed_by")
