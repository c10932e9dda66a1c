"""Jobs remember who vouched for their users."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Jobs that belong to a device were vouched for by it; of others nothing is known."""
    op.add_column("jobs", sa.Column("vouched_by", sa.Text))
    op.execute("UPDATE jobs SET vouched_by = owner WHERE owner LIKE 'device:%'")


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("vouched_by")
