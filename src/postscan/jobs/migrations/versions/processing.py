"""Jobs make documents out of documents, and filters keep notes, give warnings and count."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and tables. Every filter of before delivers, and no pause was longer than the policy's."""
    op.add_column("filters", sa.Column("processing", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("deliveries", sa.Column("pause", sa.Float))
    op.add_column("deliveries", sa.Column("advice", sa.Text))
    op.add_column("deliveries", sa.Column("warnings", sa.Text))
    op.create_table(
        "notes",
        sa.Column("delivery_id", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "key", name="pk_notes"),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name="fk_notes_delivery_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "products",
        sa.Column("job_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("document_id", sa.BigInteger, nullable=False),
        sa.Column("format", sa.String(32), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("file_name", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("sources", sa.Text, nullable=False),
        sa.Column("pages", sa.Integer),
        sa.PrimaryKeyConstraint("job_id", "position", "number", name="pk_products"),
        sa.ForeignKeyConstraint(
            ["job_id", "position"],
            ["filters.job_id", "filters.position"],
            name="fk_products_job_id",
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "counted",
        sa.Column("job_id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_counted"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_counted_job_id", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop them; a job whose documents were made already delivers its images then."""
    for table in ("counted", "counters", "products", "notes"):
        op.drop_table(table)
    with op.batch_alter_table("deliveries") as deliveries:
        for column in ("warnings", "advice", "pause"):
            deliveries.drop_column(column)
    with op.batch_alter_table("filters") as filters:
        filters.drop_column("processing")
