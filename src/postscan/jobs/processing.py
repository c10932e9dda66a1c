"""Takes a job through its processing filters: each gets what the one before made, its own is kept at once.

A filter works in a folder that is new for every try. When it returns, what it made is checked, hashed,
synced and moved into the job's folder, and then recorded, with the end of the filter, in one transaction.
Before that a crash lets the filter begin anew; after it never runs again, and what it made is as durable as
the images.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from sqlalchemy import Connection

from postscan.contracts.keywords import FilterState, FilterStateReason
from postscan.core.log import get_logger
from postscan.filters.contract import (
    Filter,
    ProcessingFilter,
    ProcessingOrder,
    Product,
    SpooledDocument,
    Workers,
)
from postscan.jobs.bench import StoreBench
from postscan.jobs.errors import OutOfDiskSpace, StorageUnavailable, UnknownFilter
from postscan.jobs.model import Job, ProcessedDocument
from postscan.jobs.notes import forget_warnings, notes_of
from postscan.jobs.products import ProductLimits, Takeover, as_documents
from postscan.jobs.queries import StoredDocument, stored_documents
from postscan.jobs.settings import JobSettings
from postscan.jobs.spool import LocalSpool
from postscan.jobs.steps import finish_step, products_of
from postscan.jobs.store import JobStore
from postscan.jobs.tries import Applied, Failure, Tries, Work, cancel
from postscan.soap.xml import PROCESS_LIMITS, parse

_log = get_logger("jobs")
# What is made may take more room than the images it is made of, but not without end.
_GROWTH = 2
_LAST_RESERVE = 4


def missing_document(spool: LocalSpool, job: Job, documents: Sequence[SpooledDocument]) -> Failure | None:
    """Return a failure when one of a job's documents is not in the spool as it was put there."""
    if all(spool.holds(job.token, one.path.name, one.size) for one in documents):
        return None
    _log.error("a document is missing from the spool", token=job.token)
    return Failure(FilterStateReason.UNKNOWN_ERROR, True, "a document is missing from the spool")


def turned_off(dialect: str) -> Failure:
    """Return the failure of a filter that was there when the job began, and is not any more."""
    gone = UnknownFilter(f"this server has no filter {dialect} any more")
    return Failure(FilterStateReason.INVALID_ARGS, False, str(gone), gone.what_to_do)


class Processing:
    """The part of the runner that makes documents out of documents."""

    def __init__(
        self,
        settings: JobSettings,
        spool: LocalSpool,
        store: JobStore,
        filters: Mapping[str, Filter],
        workers: Workers,
        tries: Tries,
        applied: Applied,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._store = store
        self._filters = filters
        self._workers = workers
        self._tries = tries
        self._applied = applied
        self._progress: dict[str, dict[int, tuple[int, int]]] = {}

    def limit(self, settings: JobSettings) -> None:
        """Take over, for work to come, the limits on what a job may have and on the disk."""
        self._settings = settings

    def progress(self, token: str) -> dict[int, tuple[int, int]]:
        """Return how far the filters of a job are that work right now: index -> (done, total)."""
        return dict(self._progress.get(token, {}))

    async def documents(self, job: Job) -> list[SpooledDocument]:
        """Return what the next filter of a job gets: its images, or what the last filter so far handed on."""

        def everything(connection: Connection) -> tuple[list[StoredDocument], list[ProcessedDocument]]:
            return stored_documents(connection, job.serial), products_of(connection, job.serial)

        images, made = await self._store.read(everything)
        documents = [
            SpooledDocument(
                document_id=one.document.document_id,
                number=one.document.number,
                format=one.document.format,
                path=self._spool.path(job.token, one.file_name),
                size=one.document.size,
                sha256=one.document.sha256,
                sources=(one.document.document_id,),
            )
            for one in images
        ]
        for _, step in groupby(made, key=lambda one: one.filter_index):
            documents = as_documents(documents, list(step), partial(self._spool.path, job.token))
        return documents

    async def run(self, work: Work, documents: Sequence[SpooledDocument]) -> FilterState | None:
        """Let one filter work until what it made is recorded, with the state that the filter ended in.

        :return: that state; None when the work was given up, which leaves the filter to be ended.
        """
        try:
            return await self._tries.until_settled(
                work, lambda number: self._attempt(work, documents, number)
            )
        finally:
            self._progress.get(work.job.token, {}).pop(work.run.index, None)
            if not self._progress.get(work.job.token):
                self._progress.pop(work.job.token, None)

    async def _attempt(
        self, work: Work, documents: Sequence[SpooledDocument], number: int
    ) -> FilterState | Failure:
        """Let the filter work once; return its state when what it made is recorded."""
        missing = missing_document(self._spool, work.job, documents)
        if missing is not None:
            return missing
        found = self._filters.get(work.run.dialect)
        if not isinstance(found, ProcessingFilter):
            return turned_off(work.run.dialect)
        making = partial(self._make, found, work, documents)
        outcome = await self._tries.call(work, number, making, cancel)
        if isinstance(outcome, Failure):
            return outcome
        takeover, made = outcome
        try:
            # Whoever cancels this does not take the row back: the files must stay, too.
            changes = await self._tries.write(
                partial(finish_step, serial=work.job.serial, index=work.run.index, made=made)
            )
        except StorageUnavailable:
            raise  # the row may be there all the same
        except Exception as error:
            await asyncio.to_thread(takeover.undo, made)
            if isinstance(error, OutOfDiskSpace):
                return self._tries.failure(work, number, error)
            raise
        _log.info(
            "documents made",
            token=work.job.token,
            filter=work.run.dialect,
            documents=len(documents),
            made=len(made),
        )
        return changes[-1].job.filters[work.run.index].state

    async def _make(
        self, found: ProcessingFilter, work: Work, documents: Sequence[SpooledDocument]
    ) -> tuple[Takeover, list[ProcessedDocument]]:
        """Let the filter work and take over what it made; return what can undo that, and the documents."""
        job, run = work.job, work.run
        self._check_reserve()
        folder = await asyncio.to_thread(self._spool.make_work_folder, job.token)
        try:
            order = ProcessingOrder(job.facts(), parse(run.instructions, PROCESS_LIMITS), documents)
            products = await found.process(order, await self._bench(work, folder))
            self._check_reserve()
            limits = ProductLimits(self._settings.max_images_per_job, _GROWTH * self._settings.max_job_bytes)
            takeover = Takeover(folder, self._spool.folder(job.token), run.index, documents, limits)
            return takeover, await self._in_thread(takeover, products)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OutOfDiskSpace(f"no room to make documents: {error.strerror}") from error
            raise
        finally:
            await self._clear(folder)

    async def _bench(self, work: Work, folder: Path) -> StoreBench:
        """Return a workbench; what an earlier try warned of is forgotten, as the work begins anew."""
        place = work.place

        def begin(connection: Connection) -> dict[str, str]:
            forget_warnings(connection, place.serial)
            return notes_of(connection, place.serial)

        kept = await self._store.write(begin)
        progress = self._progress.setdefault(work.job.token, {})

        def tell(done: int, total: int) -> None:
            progress[work.run.index] = (int(done), int(total))

        return StoreBench(
            self._store,
            work.job.serial,
            place.serial,
            kept,
            self._applied,
            folder=folder,
            workers=self._workers,
            tell=tell,
        )

    async def _in_thread(self, takeover: Takeover, products: Sequence[Product]) -> list[ProcessedDocument]:
        """Take products over in a thread; when canceled, leave nothing of it behind."""
        stopped = threading.Event()
        thread = asyncio.get_running_loop().run_in_executor(None, takeover.run, products, stopped)
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            stopped.set()
            thread.add_done_callback(partial(_undo, takeover))
            await asyncio.wait({thread})
            raise

    def _check_reserve(self) -> None:
        """Leave the last quarter of the disk's reserve to the store (R-9).

        The rest is there so that what was accepted can be delivered, and so for what is made of it.
        """
        least = self._settings.min_free_bytes // _LAST_RESERVE
        if self._spool.free_bytes() < least:
            raise OutOfDiskSpace(f"fewer than {least} octets are free to make documents")

    async def _clear(self, folder: Path) -> None:
        """Remove the folder of a try; what is left of it is removed at the next start."""
        try:
            await asyncio.shield(asyncio.to_thread(self._spool.remove_work_folder, folder))
        except StorageUnavailable as error:
            _log.warning("a folder of unfinished work could not be removed", error=str(error))


def _undo(takeover: Takeover, thread: asyncio.Future[list[ProcessedDocument]]) -> None:
    """Remove what a thread has taken over for a try that was canceled meanwhile."""
    if not thread.cancelled() and thread.exception() is None:
        takeover.undo(thread.result())
