"""A job remembers who vouched for its user, through restarts and new versions."""

import sqlite3
from dataclasses import replace
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from postscan.directory.model import User
from postscan.jobs import migrate as migrate_module
from postscan.jobs import queries
from postscan.jobs.spool import LocalSpool
from postscan.jobs.store import JobStore
from support.jobs import ANNA, OWNER, Workshop, new_job

CERTIFICATE = f"certificate:sha256:{'ab' * 32}"


async def test_who_vouched_is_known_after_a_crash(shop: Workshop) -> None:
    job = await shop.engine.create(new_job(vouched_by=CERTIFICATE))
    await shop.crash()
    assert (await shop.engine.job(job.token, OWNER)).vouched_by == CERTIFICATE


async def test_the_request_played_again_is_the_same_job_whoever_vouches_now(shop: Workshop) -> None:
    new = new_job(request_id="uuid:1", vouched_by=CERTIFICATE)
    job = await shop.engine.create(new)
    again = await shop.engine.create(replace(new, vouched_by="certificate:sha256:other"))
    assert (again.token, again.vouched_by) == (job.token, CERTIFICATE)


def test_a_users_home_site_is_kept_with_the_job() -> None:
    user: User = replace(ANNA, home_site="https://my.example.com/anna")
    assert queries.user_from_text(queries.user_to_text(user)) == user


async def test_jobs_of_before_are_a_devices_or_nobody_knows(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    _make_second_version(path)
    store = JobStore(path)
    await store.open(LocalSpool(tmp_path / "spool"))
    try:
        jobs = await store.read(lambda c: queries.list_jobs(c, active=None, limit=10))
        assert {job.owner: job.vouched_by for job in jobs} == {
            "device:10.0.0.9": "device:10.0.0.9",
            "user:S-1-5-1": None,
        }
    finally:
        await store.close()


def _make_second_version(path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate_module.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    engine.dispose()
    raw = sqlite3.connect(path)
    with raw:
        for number, owner in enumerate(("device:10.0.0.9", "user:S-1-5-1"), start=1):
            raw.execute(
                "INSERT INTO jobs (id, token, owner, user, process_id, process_name, document_root_name,"
                " continue_on_error, correlation_id, origin, state, reasons, timed_out, created,"
                " images_received, bytes_received, images_kept, kept_seconds) VALUES (?, ?, ?, ?,"
                " '5f2c0c1e-1111-4222-8333-444455556666', 'p', 'r', 0, 'c', 'o', 'Completed',"
                " 'PostScanJobCompletedSuccessfully', 0, '2026-03-01 12:00:00', 1, 1, 0, 0.0)",
                (number, f"t{number}", owner, queries.user_to_text(ANNA)),
            )
    raw.close()
