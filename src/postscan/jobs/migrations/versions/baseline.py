"""The first schema.

Written out, not taken from the tables of today: a step must do for ever what it did when it was published.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("token", sa.String(36), nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("process_id", sa.String(36), nullable=False),
        sa.Column("process_name", sa.Text, nullable=False),
        sa.Column("document_root_name", sa.Text, nullable=False),
        sa.Column("continue_on_error", sa.Boolean, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("timed_out", sa.Boolean, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("ended", sa.DateTime),
        sa.Column("completed", sa.DateTime),
        sa.Column("images_received", sa.Integer, nullable=False),
        sa.Column("bytes_received", sa.BigInteger, nullable=False),
        sa.Column("images_kept", sa.Boolean, nullable=False),
        sa.Column("kept_seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("token", name="uq_jobs_token"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_completed", "jobs", ["completed"])
    op.create_index("ix_jobs_created", "jobs", ["created"])
    op.create_table(
        "filters",
        sa.Column("job_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("dialect", sa.Text, nullable=False),
        sa.Column("instructions", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_filters"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_filters_job_id", ondelete="CASCADE"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("job_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt", sa.DateTime),
        sa.Column("last_error", sa.Text),
        sa.Column("reason", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("job_id", "position", "key", name="uq_deliveries_job_id"),
        sa.ForeignKeyConstraint(
            ["job_id", "position"],
            ["filters.job_id", "filters.position"],
            name="fk_deliveries_job_id",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "documents",
        sa.Column("job_id", sa.Integer, nullable=False),
        sa.Column("document_id", sa.Integer, nullable=False),
        sa.Column("format", sa.String(32), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("file_name", sa.Text, nullable=False),
        sa.Column("received", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "document_id", name="pk_documents"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_documents_job_id", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger",
        sa.Column("delivery_id", sa.Integer, nullable=False),
        sa.Column("document_id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("delivered", sa.DateTime),
        sa.PrimaryKeyConstraint("delivery_id", "document_id", name="pk_ledger"),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name="fk_ledger_delivery_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop every table."""
    for table in ("ledger", "documents", "deliveries", "filters", "jobs"):
        op.drop_table(table)
