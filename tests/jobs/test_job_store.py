from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from postscan.core.errors import ConfigurationError
from postscan.jobs import migrate as migrate_module
from postscan.jobs.errors import OutOfDiskSpace, SchemaTooNew, StorageUnavailable
from postscan.jobs.migrate import migrate
from postscan.jobs.schema import metadata
from postscan.jobs.spool import LocalSpool
from postscan.jobs.store import JobStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[JobStore]:
    made = JobStore(tmp_path / "jobs.sqlite")
    await made.open(LocalSpool(tmp_path / "spool"))
    await made.write(lambda c: c.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)")) and None)
    yield made
    await made.close()


def put(number: int):
    def run(connection: Connection) -> int:
        connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})
        return number

    return run


async def numbers(store: JobStore) -> list[int]:
    return await store.read(lambda c: list(c.scalars(text("SELECT n FROM t ORDER BY n"))))


@pytest.mark.parametrize("first", [migrate, lambda connection: migrate_module._apply(connection, set())])
def test_the_migrations_make_exactly_the_tables_of_the_schema(
    tmp_path: Path, first: Callable[[Connection], None]
) -> None:
    """An empty database gets its tables at once, an older one by migrations: both must come out alike."""
    engine = create_engine(f"sqlite:///{tmp_path / 'x.sqlite'}")
    with engine.connect() as connection:
        first(connection)
        migrate(connection)
        revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
        assert revision == migrate_module.HEAD
        differences = compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), metadata
        )
    engine.dispose()
    assert differences == []


def test_the_newest_migration_is_the_one_a_server_looks_for() -> None:
    folder = Path(migrate_module.__file__).parent / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate_module.HEAD]


async def test_opening_twice_changes_nothing(store: JobStore, tmp_path: Path) -> None:
    await store.write(put(1))
    await store.close()
    again = JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    await again.open(LocalSpool(tmp_path / "spool"))
    assert await numbers(again) == [1]
    await again.close()


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(
    store: JobStore, tmp_path: Path
) -> None:
    await store.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")) and None)
    await store.close()
    with pytest.raises(SchemaTooNew):
        await JobStore(tmp_path / "jobs.sqlite").open(LocalSpool(tmp_path / "spool"))
    raw = sqlite3.connect(tmp_path / "jobs.sqlite")
    assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    raw.close()


async def test_a_file_that_is_no_database_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_text("this is not a database, by a long way" * 100)
    with pytest.raises(ConfigurationError):
        await JobStore(tmp_path / "jobs.sqlite").open(LocalSpool(tmp_path / "spool"))


@pytest.mark.parametrize("where", ["sqlite://", "sqlite:///:memory:", "postgresql://x/y", "jobs.sqlite"])
def test_an_address_that_is_no_sqlite_file_is_refused(where: str) -> None:
    with pytest.raises(ConfigurationError):
        JobStore(where)


async def test_every_connection_syncs_each_commit_and_waits_for_locks(store: JobStore) -> None:
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    wanted = ["wal", 2, 1, 10_000]
    assert await store.write(pragmas) == wanted
    assert await store.read(pragmas) == wanted


async def test_one_failing_operation_does_not_fail_the_others_of_its_group(store: JobStore) -> None:
    def half_done(connection: Connection) -> None:
        connection.execute(text("INSERT INTO t VALUES (100)"))
        raise ZeroDivisionError

    outcomes = await asyncio.gather(
        *(store.write(put(n)) for n in range(5)),
        store.write(half_done),
        store.write(put(3)),
        *(store.write(put(n)) for n in range(5, 9)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[5], ZeroDivisionError)
    assert isinstance(outcomes[6], StorageUnavailable)
    assert outcomes[:5] + outcomes[7:] == list(range(9))
    assert await numbers(store) == list(range(9))


async def test_changes_are_passed_on_in_the_order_of_the_commits_before_the_waiter_wakes(
    store: JobStore,
) -> None:
    heard: list[int] = []
    futures = [store.write(put(n), heard.append) for n in range(50)]
    await futures[-1]
    assert heard == list(range(50))


async def test_a_write_whose_waiter_went_away_is_committed_and_passed_on(store: JobStore) -> None:
    heard: list[int] = []
    store.write(put(1), heard.append).cancel()
    await store.write(put(2))
    assert heard == [1]
    assert await numbers(store) == [1, 2]


async def test_closing_commits_what_waits(store: JobStore, tmp_path: Path) -> None:
    futures = [store.write(put(n)) for n in range(20)]
    await store.close()
    assert [f.result() for f in futures] == list(range(20))


async def test_a_closed_store_says_so(store: JobStore) -> None:
    await store.close()
    with pytest.raises(StorageUnavailable):
        store.write(put(1))
    with pytest.raises(StorageUnavailable):
        await numbers(store)


async def test_a_full_disk_under_the_database_is_out_of_disk_space(store: JobStore) -> None:
    def limit(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    def much(connection: Connection) -> None:
        for n in range(10_000):
            connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": n})

    await store.write(limit)
    with pytest.raises(OutOfDiskSpace):
        await store.write(much)
    assert await numbers(store) == []
