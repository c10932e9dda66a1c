"""R-1 and R-2 at every boundary: a process that dies at its n-th sync, rename, creation, write or commit."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postscan.contracts.keywords import JobState
from postscan.jobs.committer import Committer
from postscan.jobs.settings import JobSettings
from support.jobs import OWNER, Workshop, new_job, page

SETTINGS = JobSettings(min_free_bytes=0)
SIZES = (1000, 70_000, 1000)


def scan_and_die(folder: Path, acknowledged: int, calls: int) -> None:
    """Run in a child: scan one job, telling the parent each answer, and die at the given system call."""
    left = calls

    def deadly(real: Callable[..., Any], before: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            mine = left
            if mine == 0 and before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **named)
            if mine == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    async def scan() -> None:
        shop = Workshop(folder, SETTINGS)
        await shop.start()
        for number, name in enumerate(("fsync", "open", "mkdir", "rename", "write")):
            setattr(os, name, deadly(getattr(os, name), before=bool((number + calls) % 2)))
        transaction = deadly(Committer._run_together, before=bool(calls % 2))
        Committer._run_together = transaction  # type: ignore[method-assign]  # the row's commit is a boundary too
        job = await shop.engine.create(new_job(request_id="uuid:1"))
        tell(f"job {job.token}")
        for number, size in enumerate(SIZES, 1):
            await shop.send(job.token, number, page(number, size))
            tell(f"image {number}")
        await shop.engine.end(job.token, OWNER)
        tell("end x")
        await shop.until_state(job.token, JobState.COMPLETED)

    plain_write = os.write

    def tell(line: str) -> None:
        plain_write(acknowledged, f"{line}\n".encode())

    asyncio.run(scan())


def killed_at(folder: Path, calls: int) -> tuple[list[tuple[str, str]], bool]:
    """Return what a child acknowledged that died at its n-th call, and whether it did die."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            scan_and_die(folder, writing, calls)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as told:
        lines = [(line.split()[0], line.split()[1]) for line in told]
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), "the child failed in another way than it should"
    return lines, os.WIFSIGNALED(status)


async def check(folder: Path, told: list[tuple[str, str]]) -> None:
    shop = Workshop(folder, SETTINGS)
    await shop.start()
    try:
        assert shop.engine.recovery.missing == []
        tokens = [value for what, value in told if what == "job"]
        images = {int(value) for what, value in told if what == "image"}
        stored = await shop.engine.jobs()
        assert len(stored) <= 1
        assert {*tokens} <= {job.token for job in stored}
        for job in stored:
            documents = await shop.engine.documents(job.token, OWNER)
            assert images <= {d.document_id for d in documents}
            assert job.images_received == len(documents)
            if ("end", "x") in told:
                assert job.ended is not None
        job = await shop.engine.create(new_job(request_id="uuid:1"))
        if job.state is JobState.CREATING:
            for number, size in enumerate(SIZES, 1):
                await shop.send(job.token, number, page(number, size))
            await shop.engine.end(job.token, OWNER)
        while (await shop.engine.job(job.token, OWNER)).state is not JobState.COMPLETED:
            await asyncio.sleep(0)
        arrived = shop.filter.arrived.get((job.token, "share"))
        if arrived:  # else the child had delivered everything to its own memory already
            assert set(arrived.items()) <= {(n, page(n, size)) for n, size in enumerate(SIZES, 1)}
        assert len(await shop.engine.jobs()) == 1
    finally:
        await shop.close()
    assert shop.files() == []


@pytest.mark.parametrize("start", [1, 2, 3])
def test_whatever_was_acknowledged_is_there_after_a_kill_at_any_system_call(
    tmp_path: Path, start: int
) -> None:
    died = 0
    for calls in range(start, 40, 3):
        folder = tmp_path / str(calls)
        told, killed = killed_at(folder, calls)
        asyncio.run(check(folder, told))
        if not killed:
            break
        died += 1
    assert died >= 5
