"""A job engine in a folder, with a clock and a filter that a test controls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from postscan.contracts.keywords import DocumentFormat, JobState
from postscan.directory.model import User
from postscan.filters.contract import Filter
from postscan.jobs.engine import JobEngine
from postscan.jobs.model import Document, Job, JobChange, NewFilter, NewJob
from postscan.jobs.settings import JobSettings
from postscan.jobs.spool import ImageWriter, LocalSpool
from postscan.jobs.store import JobStore
from support.clock import FakeClock
from support.filters import DIALECT, RecordingFilter, instructions

ANNA = User(
    sid="S-1-5-21-1-2-3-1001",
    name="anna",
    domain="example.com",
    upn="anna@example.com",
    display_name="Anna Bäcker",
    mail="anna@example.com",
    groups=frozenset({"Staff"}),
)
OWNER = f"user:{ANNA.sid}"
OTHER = "device:10.0.0.9"


def new_job(
    *places: str, owner: str = OWNER, go_on: bool = False, request_id: str | None = None, **more: Any
) -> NewJob:
    """Return a job to create, with one filter that delivers to ``places``."""
    asked = more.pop("filters", None) or (NewFilter(DIALECT, instructions(*(places or ("share",)))),)
    return NewJob(
        owner=owner,
        user=ANNA,
        process_id=UUID(int=7),
        process_name="Invoices",
        document_root_name="invoice",
        continue_on_error=go_on,
        filters=asked,
        request_id=request_id,
        correlation_id="c0",
        origin="10.0.0.9",
        vouched_by=more.pop("vouched_by", "device:10.0.0.9"),
        **more,
    )


class Workshop:
    """One data folder and the engine on it; ``restart`` and ``crash`` put a new engine on the same folder."""

    def __init__(self, folder: Path, settings: JobSettings, *filters: Filter) -> None:
        self.folder = folder
        self.settings = settings
        self.clock = FakeClock()
        self.filter = RecordingFilter()
        self.filters: dict[str, Filter] = {f.dialect: f for f in (filters or (self.filter,))}
        self.changes: list[JobChange] = []
        self._crashed: list[tuple[JobEngine, JobStore]] = []
        self._heard = asyncio.Condition()
        self._notices: set[asyncio.Task[None]] = set()
        self._build()

    def _build(self) -> None:
        self.spool = LocalSpool(self.folder / "spool")
        self.store = JobStore(self.folder / "jobs.sqlite")
        self.engine = JobEngine(
            self.settings, self.spool, self.store, self.filters, self.clock, sleep=self.clock.sleep
        )
        self.engine.add_listener(self._listen)

    def _listen(self, change: JobChange) -> None:
        self.changes.append(change)
        notice = asyncio.get_running_loop().create_task(self._notify())
        self._notices.add(notice)
        notice.add_done_callback(self._notices.discard)

    async def _notify(self) -> None:
        async with self._heard:
            self._heard.notify_all()

    async def start(self) -> None:
        await self.engine.start()

    async def restart(self) -> None:
        """Stop the engine in good order and start another."""
        await self.engine.stop()
        self._build()
        await self.engine.start()

    async def crash(self) -> None:
        """Leave the engine as a killed process would: nothing more of it is stored. Then start another."""
        engine, store = self.engine, self.store
        engine._running = False
        for running in engine._runner._running.values():
            assert running.task is not None
            running.task.cancel()
        for task in engine._background:
            if not _runs_in_a_thread(task):
                task.cancel()
        committer = store._committer
        assert committer is not None
        committer._commit_group = lambda *_: None  # type: ignore[method-assign]  # what waits is lost
        committer.close()
        store._committer = None
        # A removal runs in a thread, which here outlives the kill: the next engine must not meet it.
        await asyncio.sleep(0)
        while removals := [t for t in engine._background if _runs_in_a_thread(t)]:
            await asyncio.wait(removals)
        self.spool.close()
        self._crashed.append((engine, store))
        self._build()
        await self.engine.start()

    async def sleepers(self, number: int) -> None:
        """Wait until so many tasks wait for the clock; two are the engine's own."""
        while len(self.clock._sleepers) < number:
            await asyncio.sleep(0)

    async def close(self) -> None:
        await self.engine.stop()
        for engine, store in self._crashed:
            # Work begun on the way down waits for commits that never come; a killed process has none.
            while left := [*engine._background, *(r.task for r in engine._runner._running.values())]:
                for task in left:
                    assert task is not None
                    if not _runs_in_a_thread(task):
                        task.cancel()
                await asyncio.sleep(0)
            await store.close()

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Wait until ``wanted`` holds, looking again after every stored change."""
        async with self._heard:
            await self._heard.wait_for(wanted)

    async def until_state(self, token: str, *states: JobState) -> Job:
        """Wait until a change has brought the job into one of these states, and return it as it was then."""
        found: list[Job] = []

        def wanted() -> bool:
            last = [c.job for c in self.changes if c.job.token == token][-1:]
            found[:] = [job for job in last if job.state in states]
            return bool(found)

        await self.until(wanted)
        return found[0]

    def writer(self, octets: bytes) -> ImageWriter:
        writer = self.spool.open_image(self.settings.max_image_bytes)
        for start in range(0, len(octets), 100_000):
            writer.write(octets[start : start + 100_000])
        return writer

    async def send(self, token: str, document_id: int, octets: bytes, owner: str | None = OWNER) -> Document:
        """Send one image the way the server does."""
        await self.engine.check_image(token, owner, document_id, DocumentFormat.JFIF, len(octets))
        return await self.engine.commit_image(
            token, owner, document_id, DocumentFormat.JFIF, self.writer(octets)
        )

    async def ended_job(self, *places: str, pages: int = 1, **more: Any) -> Job:
        """Create a job, send images and end it."""
        job = await self.engine.create(new_job(*places, **more))
        for number in range(1, pages + 1):
            await self.send(job.token, number, page(number))
        return await self.engine.end(job.token, OWNER)

    def files(self) -> list[str]:
        """Return the paths of all files in the spool, below its root."""
        root = self.spool.root
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def _runs_in_a_thread(task: asyncio.Task[Any]) -> bool:
    return getattr(task.get_coro(), "__qualname__", "") == asyncio.to_thread.__qualname__


def page(number: int, size: int = 1000) -> bytes:
    """Return octets, different for each number."""
    return (b"page %06d " % number * (size // 12 + 1))[:size]
