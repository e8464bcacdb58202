"""Let keys spend on the budget of the key that made them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    op.add_column("api_key", sa.Column("budget_of", sa.Text(), nullable=True))


def downgrade() -> None:
    """Undo this step."""
    op.drop_column("api_key", "budget_of")
