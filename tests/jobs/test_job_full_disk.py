"""A data folder on a disk that is full while pages are put together (R-9)."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from lxml import etree
from PIL import Image

from postscan.contracts.assemble import AssembleConfig
from postscan.contracts.keywords import DocumentFormat, FilterStateReason, JobState
from postscan.core.clock import SystemClock
from postscan.core.log import configure_logging
from postscan.filters.assemble import AssembleFilter
from postscan.filters.workers import WorkerPool
from postscan.jobs.engine import JobEngine
from postscan.jobs.errors import OutOfDiskSpace
from postscan.jobs.model import Delivery, DeliveryState, Job, NewFilter
from postscan.jobs.settings import JobSettings
from postscan.jobs.spool import LocalSpool
from postscan.jobs.store import JobStore
from postscan.soap.names import ASSEMBLE, PSP, qname
from support.chains import JOIN, PLACE
from support.filters import JoiningFilter, RecordingFilter
from support.jobs import OWNER, Workshop, new_job
from support.processing import jpeg

_DISK = 24_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=0700", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def assembling() -> NewFilter:
    instructions = etree.Element(qname(PSP, "Instructions"))
    instructions.append(AssembleConfig(output="pdf").to_element())
    return NewFilter(ASSEMBLE, etree.tostring(instructions))


async def until(engine: JobEngine, token: str, wanted: Callable[[Job], bool]) -> Delivery:
    """Wait until a job is as wanted; return where its first step stands."""
    async with asyncio.timeout(90):
        while not wanted(job := await engine.job(token, None)):
            await asyncio.sleep(0.05)
    return job.filters[0].deliveries[0]


@pytest.mark.parametrize("left", [200_000, 2_000_000])
async def test_a_job_waits_for_room_and_then_delivers_once_what_it_could_not_make(
    small_disk: Path, left: int
) -> None:
    configure_logging(level="CRITICAL")
    delivering = RecordingFilter()
    spool = LocalSpool(small_disk / "spool")
    engine = JobEngine(
        JobSettings(min_free_bytes=0),
        spool,
        JobStore(small_disk / "jobs.sqlite"),
        {ASSEMBLE: AssembleFilter(), delivering.dialect: delivering},
        SystemClock(),
        workers=WorkerPool(),
    )
    await engine.start()
    try:
        job = await engine.create(new_job(filters=(assembling(), PLACE)))
        # Noise does not shrink.
        content = jpeg(Image.effect_noise((1_000, 1_400), 90), quality=95)
        assert len(content) > 800_000
        for number in (1, 2):
            writer = engine.open_image()
            writer.write(content)
            await engine.commit_image(job.token, OWNER, number, DocumentFormat.JFIF, writer)
        ballast = small_disk / "ballast"
        ballast.touch()
        room = os.statvfs(small_disk)
        ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - left))
        await engine.end(job.token, OWNER)
        place = await until(engine, job.token, lambda told: told.filters[0].deliveries[0].attempts > 0)
        assert place.reason is FilterStateReason.OUT_OF_DISK_SPACE
        assert place.state is DeliveryState.WAITING
        ballast.unlink()
        await engine.retry(job.token)
        await until(engine, job.token, lambda told: told.finished)
        assert (await engine.job(job.token, None)).state is JobState.COMPLETED
        assert set(delivering.writes.values()) == {1}
        assert list((spool.root / "work").iterdir()) == []
    finally:
        await engine.stop()


async def test_a_disk_without_any_room_ends_no_job_and_lets_all_go_on_afterwards(small_disk: Path) -> None:
    configure_logging(level="CRITICAL")
    delivering = RecordingFilter()
    shop = Workshop(small_disk, JobSettings(min_free_bytes=0), JoiningFilter(), delivering)
    await shop.start()
    try:
        tokens = [(await shop.ended_job(filters=(JOIN, PLACE), pages=2)).token for _ in range(3)]
        ballast = small_disk / "ballast"
        with suppress(OSError):
            ballast.write_bytes(bytes(2 * _DISK))
        with suppress(OutOfDiskSpace):
            for _ in range(500):
                tokens.append((await shop.ended_job(filters=(JOIN, PLACE), pages=2)).token)
                break
        for _ in range(20):
            await asyncio.sleep(0)
            shop.clock.advance(10)
        assert not [job.token for job in await shop.engine.jobs() if job.state is JobState.ABORTED]
        ballast.unlink()
        async with asyncio.timeout(60):
            for token in tokens:
                while not (await shop.engine.job(token, None)).finished:
                    await asyncio.sleep(0)
                    shop.clock.advance(60)
        assert {(await shop.engine.job(token, None)).state for token in tokens} == {JobState.COMPLETED}
        assert set(delivering.writes.values()) == {1}
    finally:
        await shop.close()
