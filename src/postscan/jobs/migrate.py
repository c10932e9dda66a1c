"""Brings a database to the schema of this version, or refuses one that is newer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, text

from postscan.jobs.errors import SchemaTooNew
from postscan.jobs.schema import metadata

HEAD: Final = "0004"
"""The newest migration's revision: what a database of this version is at."""


def migrate(connection: Connection) -> None:
    """Apply the migrations that ``connection``'s database lacks, in one transaction.

    Alembic is loaded only for a database of an older version: a server that makes its first one, or merely
    starts again, is ready sooner, and 10 MB smaller.

    :raises SchemaTooNew: the database was written by a newer version; nothing is touched.
    """
    with connection.begin():
        if not inspect(connection).get_table_names():
            _create(connection)
        current = _revisions(connection)
    if current != {HEAD}:
        _apply(connection, current)


def _create(connection: Connection) -> None:
    """Make the tables of an empty database, marked as Alembic marks them."""
    metadata.create_all(connection)
    mark = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
    mark.create(connection)
    connection.execute(mark.insert().values(version_num=HEAD))


def _revisions(connection: Connection) -> set[str]:
    if not inspect(connection).has_table("alembic_version"):
        return set()
    return set(connection.scalars(text("SELECT version_num FROM alembic_version")))


def _apply(connection: Connection, current: set[str]) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if not current <= known:
        raise SchemaTooNew(f"the database has schema {', '.join(sorted(current))}, newer than {HEAD}")
    with connection.begin():
        command.upgrade(config, "head")
