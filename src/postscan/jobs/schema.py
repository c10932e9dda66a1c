"""The tables of the job store. What lies in a database is made by the migrations; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment, kept as UTC without zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Drop the zone after turning the moment into UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Put the zone back."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("token", String(36), nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("user", Text, nullable=False),  # the directory's User as JSON, as it was at Create
    Column("process_id", String(36), nullable=False),
    Column("process_name", Text, nullable=False),
    Column("document_root_name", Text, nullable=False),
    Column("continue_on_error", Boolean, nullable=False),
    Column("request_id", Text),
    Column("correlation_id", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("state", String(32), nullable=False),
    Column("reasons", Text, nullable=False),  # keywords, separated by a space
    Column("timed_out", Boolean, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("ended", UtcDateTime),
    Column("completed", UtcDateTime),
    Column("images_received", Integer, nullable=False),
    Column("bytes_received", BigInteger, nullable=False),
    Column("images_kept", Boolean, nullable=False),
    Column("kept_seconds", Float, nullable=False),  # running time since completion, deaf to clock jumps
    Column("vouched_by", Text),  # NULL for jobs of before it was recorded
    Column("ending", Integer),  # grows with every job that ends, whatever the clock does; NULL before that
    Index("ix_jobs_completed", "completed"),
    Index("ix_jobs_created", "created"),
    Index("ix_jobs_ending", "ending"),
    sqlite_autoincrement=True,
)

filters = Table(
    "filters",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("dialect", Text, nullable=False),
    Column("instructions", LargeBinary, nullable=False),
    Column("state", String(32), nullable=False),
    Column("reasons", Text, nullable=False),
    Column("processing", Boolean, nullable=False, server_default=false()),  # it makes documents
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt", UtcDateTime),
    Column("last_error", Text),
    Column("reason", String(64)),
    Column("pause", Float),  # seconds between the last attempt and the next one, deaf to clock jumps
    Column("advice", Text),
    Column("warnings", Text),  # a JSON list of texts; NULL for none
    ForeignKeyConstraint(["job_id", "position"], ["filters.job_id", "filters.position"], ondelete="CASCADE"),
    UniqueConstraint("job_id", "position", "key"),
)

documents = Table(
    "documents",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("document_id", Integer, primary_key=True),
    Column("format", String(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("file_name", Text, nullable=False),
    Column("received", UtcDateTime, nullable=False),
    sqlite_with_rowid=False,
)

# One row a document and destination: planned when ``delivered`` is NULL, there when it is not.
ledger = Table(
    "ledger",
    metadata,
    Column("delivery_id", ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("document_id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("size", BigInteger),
    Column("delivered", UtcDateTime),
    sqlite_with_rowid=False,
)

# What a filter wrote down for itself, at one destination.
notes = Table(
    "notes",
    metadata,
    Column("delivery_id", ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

# The documents a processing filter handed on. The rows of a filter are there from the end of its work on, all
# of them or none. ``file_name`` is NULL for one that it got itself: its file is that document's.
products = Table(
    "products",
    metadata,
    Column("job_id", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("document_id", BigInteger, nullable=False),
    Column("format", String(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("file_name", Text),
    Column("name", Text),
    Column("sources", Text, nullable=False),  # ids of accepted images, separated by a space
    Column("pages", Integer),
    ForeignKeyConstraint(["job_id", "position"], ["filters.job_id", "filters.position"], ondelete="CASCADE"),
    sqlite_with_rowid=False,
)

# The last number that each counter gave, and the one that each job got of it.
counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
counted = Table(
    "counted",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Who is to be told of events. What a subscription says is its event source's own business: ``content``.
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("identifier", String(64), primary_key=True),
    Column("service", String(32), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("until", UtcDateTime, nullable=False),
    Column("seconds_left", Float, nullable=False),  # when the row was written, deaf to clock jumps
    Column("confirmed", Integer, nullable=False),  # the highest jobs.ending that its subscriber heard of
    Index("ix_subscriptions_service", "service"),
    sqlite_with_rowid=False,
)
