"""Subscriptions outlive the server, and jobs are numbered in the order in which they end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of subscriptions; number no job that ended before: nobody is left to be told."""
    op.add_column("jobs", sa.Column("ending", sa.Integer))
    op.create_index("ix_jobs_ending", "jobs", ["ending"])
    op.create_table(
        "subscriptions",
        sa.Column("identifier", sa.String(64), nullable=False),
        sa.Column("service", sa.String(32), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("until", sa.DateTime, nullable=False),
        sa.Column("seconds_left", sa.Float, nullable=False),
        sa.Column("confirmed", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("identifier", name="pk_subscriptions"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_subscriptions_service", "subscriptions", ["service"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("subscriptions")
    op.drop_index("ix_jobs_ending", "jobs")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("ending")
