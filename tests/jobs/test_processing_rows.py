"""A database of before jobs were processed goes on with all it holds."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, inspect

from postscan.contracts.keywords import FilterState, JobState
from postscan.filters.contract import Delivered
from postscan.jobs import migrate as migrate_module
from postscan.jobs import queries
from postscan.jobs.migrate import migrate
from postscan.jobs.model import DeliveryState
from postscan.jobs.schema import metadata
from postscan.jobs.settings import JobSettings
from support.filters import DIALECT, RecordingFilter, instructions
from support.jobs import ANNA, Workshop, page

TOKEN = "6f9619ff-8b86-4011-b42d-00c04fc964ff"


def to_version(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate_module.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    if revision == "0003":
        command.upgrade(config, revision)
    else:
        command.downgrade(config, "0003")


@pytest.fixture
def shop_of_before(tmp_path: Path) -> Workshop:
    """Return a workshop whose database is of the version before, with a job that is half delivered."""
    shop = Workshop(tmp_path, JobSettings(min_free_bytes=0))
    engine = create_engine(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    with engine.connect() as connection, connection.begin():
        to_version(connection, "0003")
    engine.dispose()
    shop.spool.prepare()
    shop.spool.folder(TOKEN).mkdir(mode=0o700)
    for number in (1, 2):
        shop.spool.path(TOKEN, f"{number}.a").write_bytes(page(number))
    shop.spool.close()
    now, later = "2026-03-01 12:00:00", "2026-03-01 12:10:00"
    raw = sqlite3.connect(tmp_path / "jobs.sqlite")
    with raw:
        raw.execute(
            "INSERT INTO jobs (id, token, owner, user, process_id, process_name, document_root_name,"
            " continue_on_error, correlation_id, origin, state, reasons, timed_out, created, ended,"
            " images_received, bytes_received, images_kept, kept_seconds, vouched_by) VALUES (1, ?, 'o', ?,"
            " '5f2c0c1e-1111-4222-8333-444455556666', 'p', 'r', 0, 'c', 'o', 'Processing', 'None', 0, ?, ?,"
            " 2, 2000, 1, 0.0, NULL)",
            (TOKEN, queries.user_to_text(ANNA), now, now),
        )
        raw.execute(
            "INSERT INTO filters (job_id, position, dialect, instructions, state, reasons)"
            " VALUES (1, 0, ?, ?, 'Processing', '')",
            (DIALECT, instructions("a", "b")),
        )
        raw.execute(
            "INSERT INTO deliveries (id, job_id, position, key, label, state, attempts, next_attempt,"
            " last_error, reason) VALUES (1, 1, 0, 'a', 'a', 'Delivered', 0, NULL, NULL, NULL),"
            " (2, 1, 0, 'b', 'b', 'Waiting', 3, ?, 'share away', 'FileShareAccessDenied')",
            (later,),
        )
        for number in (1, 2):
            raw.execute(
                "INSERT INTO documents (job_id, document_id, format, size, sha256, file_name, received)"
                " VALUES (1, ?, 'jfif', 1000, 'x', ?, ?)",
                (number, f"{number}.a", now),
            )
            raw.execute(
                "INSERT INTO ledger (delivery_id, document_id, name, size, delivered)"
                " VALUES (1, ?, ?, 1000, ?)",
                (number, f"page {number}", now),
            )
    raw.close()
    return shop


async def test_a_job_of_before_is_as_it_was_and_goes_on(shop_of_before: Workshop) -> None:
    shop = shop_of_before
    await shop.start()
    try:
        job = await shop.engine.job(TOKEN, None)
        (run,) = job.filters
        first, second = run.deliveries
        assert (run.processing, run.state, job.state) == (False, FilterState.PROCESSING, JobState.PROCESSING)
        assert first.delivered == (Delivered(1, "page 1", 1000), Delivered(2, "page 2", 1000))
        assert (second.state, second.attempts) == (DeliveryState.WAITING, 3)
        assert (second.last_error, second.advice, second.warnings) == ("share away", "", ())
        assert await shop.engine.products(TOKEN, None) == []
        await shop.sleepers(3)
        shop.clock.advance(3600)
        done = await shop.until_state(TOKEN, JobState.COMPLETED)
        assert shop.filter.arrived == {(TOKEN, "b"): {1: page(1), 2: page(2)}}
        assert done.filters[0].deliveries[0].delivered == first.delivered
    finally:
        await shop.close()


async def test_a_pause_that_an_older_version_began_is_at_most_the_policys(shop_of_before: Workshop) -> None:
    shop = shop_of_before
    shop.clock.jump(-1000)
    await shop.start()
    try:
        await shop.sleepers(3)
        shop.clock.advance(119)
        assert isinstance(shop.filter, RecordingFilter)
        assert shop.filter.attempts == {}
        shop.clock.advance(1)
        await shop.until_state(TOKEN, JobState.COMPLETED)
    finally:
        await shop.close()


def test_an_upgrade_and_the_way_back_make_the_schema_that_was(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.sqlite'}")

    def tables() -> dict[str, list[str]]:
        found = inspect(engine)
        return {name: [c["name"] for c in found.get_columns(name)] for name in found.get_table_names()}

    def upgrade() -> None:
        with engine.connect() as connection:
            migrate(connection)

    with engine.connect() as connection, connection.begin():
        to_version(connection, "0003")
    before = tables()
    upgrade()
    assert set(tables()) >= set(metadata.tables) > set(before) - {"alembic_version"}
    with engine.connect() as connection, connection.begin():
        to_version(connection, "down")
    assert tables() == before
    upgrade()
    assert set(tables()) >= set(metadata.tables)
    engine.dispose()
