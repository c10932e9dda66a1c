"""Run the migrations on the connection that ``postscan.jobs.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from postscan.jobs.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can roll back CREATE TABLE too; without this a kill midway would leave half a schema.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
