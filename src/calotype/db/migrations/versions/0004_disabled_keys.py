"""Let API keys be switched off for a while."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    op.add_column("api_key", sa.Column("disabled_at_ms", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Undo this step."""
    op.drop_column("api_key", "disabled_at_ms")
