"""A server that dies at any system call while documents are made, moved and recorded (R-1, R-3)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postscan.contracts.keywords import JobState, JobStateReason
from postscan.filters.contract import ProcessingOrder, Product, Workbench
from postscan.jobs.committer import Committer
from postscan.jobs.settings import JobSettings
from support.chains import JOIN, PLACE, Chain
from support.filters import JoiningFilter, RecordingFilter
from support.jobs import Workshop, new_job, page

SETTINGS = JobSettings(min_free_bytes=0)
CALLS = ("fsync", "open", "mkdir", "rename", "unlink", "rmdir")


def workshop(folder: Path) -> Chain:
    """Return a workshop whose jobs get a number, become two documents, and are delivered."""

    async def make(order: ProcessingOrder, bench: Workbench) -> list[Product]:
        number = await bench.count("letters")
        (joined,) = await joining.join(order, bench)
        with joined.path.open("ab") as file:
            file.write(b"%d" % number)
        return [joined, Product(order.documents[0].path, order.documents[0].format, (1,), name="first")]

    joining, recording = JoiningFilter(), RecordingFilter()
    splitting = JoiningFilter(process=make)
    return Chain(Workshop(folder, SETTINGS, splitting, recording), splitting, recording)


def process_and_die(folder: Path, calls: int) -> None:
    """Run in a child: take one job through its filters, and die at the given system call after its End."""
    left, counting = calls, threading.Lock()

    def deadly(real: Callable[..., Any], before: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            with counting:
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
        chain = workshop(folder)
        await chain.shop.start()
        job = await chain.shop.engine.create(new_job(filters=(JOIN, PLACE)))
        for number in (1, 2):
            await chain.shop.send(job.token, number, page(number))
        await chain.shop.engine.end(job.token, None)
        for number, name in enumerate(CALLS):
            setattr(os, name, deadly(getattr(os, name), before=bool((number + calls) % 2)))
        transaction = deadly(Committer._run_together, before=bool(calls % 2))
        Committer._run_together = transaction  # type: ignore[method-assign]  # a boundary like the others
        await chain.done(job)

    asyncio.run(scan())


def killed_at(folder: Path, calls: int) -> bool:
    """Run a child that dies at its n-th call; tell whether it did."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            process_and_die(folder, calls)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), "the child failed in another way than it should"
    return os.WIFSIGNALED(status)


async def check(folder: Path) -> None:
    chain = workshop(folder)
    await chain.shop.start()
    wanted = page(1) + page(2) + b"1"
    try:
        assert chain.shop.engine.recovery.missing == []
        (job,) = await chain.shop.engine.jobs()
        while job.state is not JobState.COMPLETED:
            await asyncio.sleep(0)
            job = await chain.shop.engine.job(job.token, None)
        assert job.reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)
        made = await chain.shop.engine.products(job.token, None)
        assert [(m.number, m.sources, m.name, m.handed_on) for m in made] == [
            (1, (1, 2), None, False),
            (2, (1,), "first", True),
        ]
        assert made[0].sha256 == hashlib.sha256(wanted).hexdigest()
        arrived = chain.arrived(job)
        if arrived:  # else the child had delivered everything to its own memory already
            assert set(arrived.items()) <= {(made[0].document_id, wanted), (1, page(1))}
    finally:
        await chain.shop.close()
    assert chain.shop.files() == []
    assert list((chain.shop.spool.root / "work").iterdir()) == []


@pytest.mark.parametrize("start", [1, 2, 3])
def test_documents_are_made_once_and_for_all_whatever_system_call_the_server_dies_at(
    tmp_path: Path, start: int
) -> None:
    died = 0
    for calls in range(start, 60, 3):
        folder = tmp_path / str(calls)
        killed = killed_at(folder, calls)
        asyncio.run(check(folder))
        if not killed:
            break
        died += 1
    assert died >= 5
