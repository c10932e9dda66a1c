"""Subscriptions in the job store, and the way of a database of the first version to them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from postscan.jobs import migrate as migrate_module
from postscan.jobs import queries
from postscan.jobs.errors import StorageUnavailable
from postscan.jobs.spool import LocalSpool
from postscan.jobs.store import JobStore
from postscan.jobs.subscriptions import SubscriptionRow, SubscriptionRows

UNTIL = datetime(2026, 3, 1, 13, 0, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[JobStore]:
    made = JobStore(tmp_path / "jobs.sqlite")
    await made.open(LocalSpool(tmp_path / "spool"))
    yield made
    await made.close()


def row(number: int, service: str = "dsp") -> SubscriptionRow:
    return SubscriptionRow(f"urn:uuid:{number}", service, b"content", UNTIL, 3_600.0, 0)


async def test_a_row_is_saved_replaced_and_removed(store: JobStore) -> None:
    rows = SubscriptionRows(store, "dsp")
    await rows.save(row(1))
    await rows.save(row(2))
    assert await rows.load() == [row(1), row(2)]
    later = replace(row(1), seconds_left=7_200.0, content=b"other", confirmed=3)
    await rows.save(later)
    await rows.remove(["urn:uuid:2", "urn:uuid:unknown"])
    assert await rows.load() == [later]


async def test_services_share_a_store_and_see_their_own_rows(store: JobStore) -> None:
    one, other = SubscriptionRows(store, "dsp"), SubscriptionRows(store, "dsc")
    await one.save(row(1))
    await other.save(row(2, "dsc"))
    assert await one.load() == [row(1)]
    assert await other.load() == [row(2, "dsc")]


async def test_marks_are_set_for_rows_that_are_there(store: JobStore) -> None:
    rows = SubscriptionRows(store, "dsp")
    await rows.save(row(1))
    await rows.save(row(2))
    await rows.confirm({"urn:uuid:1": 8, "urn:uuid:gone": 9})
    assert [one.confirmed for one in await rows.load()] == [8, 0]


async def test_writes_take_effect_in_the_order_of_the_calls(store: JobStore) -> None:
    rows = SubscriptionRows(store, "dsp")
    writes = [rows.save(row(1)), rows.remove(["urn:uuid:1"]), rows.save(row(1)), rows.remove(["urn:uuid:1"])]
    await asyncio.wait(writes)
    assert await rows.load() == []


async def test_thousands_are_removed_at_once(store: JobStore) -> None:
    rows = SubscriptionRows(store, "dsp")
    await asyncio.wait([rows.save(row(number)) for number in range(1_200)])
    await rows.remove([f"urn:uuid:{number}" for number in range(1_200)])
    assert await rows.load() == []


async def test_a_closed_store_says_so(store: JobStore) -> None:
    rows = SubscriptionRows(store, "dsp")
    await store.close()
    with pytest.raises(StorageUnavailable):
        await rows.save(row(1))
    with pytest.raises(StorageUnavailable):
        await rows.load()


async def test_a_database_of_the_first_version_gets_the_table_and_keeps_its_jobs(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    _make_first_version(path)
    store = JobStore(path)
    await store.open(LocalSpool(tmp_path / "spool"))
    try:
        rows = SubscriptionRows(store, "dsp")
        await rows.save(row(1))
        assert await rows.load() == [row(1)]
        (job,) = await store.read(lambda c: queries.list_jobs(c, active=None, limit=10))
        assert (job.token, job.ending) == ("t", None)
        # Nobody is told of what ended before.
        assert await store.read(queries.last_ending) == 0
        assert await store.read(lambda c: queries.jobs_ended_after(c, {"user:x": 0})) == []
    finally:
        await store.close()


def _make_first_version(path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate_module.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    user = (
        '{"sid": "S-1-5-1", "name": "x", "domain": "d", "upn": "x@d", "display_name": "x", "mail": null,'
        ' "groups": [], "enabled": true}'
    )
    raw = sqlite3.connect(path)
    with raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        raw.execute(
            "INSERT INTO jobs VALUES (1, 't', 'user:x', ?, '5f2c0c1e-1111-4222-8333-444455556666', 'p', 'r',"
            " 0, NULL, 'c', 'o', 'Completed', 'PostScanJobCompletedSuccessfully', 0, '2026-03-01 12:00:00',"
            " NULL, '2026-03-01 12:01:00', 1, 1, 0, 0.0)",
            (user,),
        )
    raw.close()
