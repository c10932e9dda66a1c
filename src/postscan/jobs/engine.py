"""The job engine: the one door to jobs. What it has answered is durable (R-1, R-2)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection

from postscan.contracts.keywords import DocumentFormat, JobState
from postscan.core.clock import Clock
from postscan.core.log import get_logger
from postscan.filters.contract import Filter, Workers
from postscan.jobs import operations, queries
from postscan.jobs.bench import NoWorkers
from postscan.jobs.errors import (
    ImageTooLarge,
    JobNotFound,
    JobTooLarge,
    OutOfDiskSpace,
    TooManyJobs,
)
from postscan.jobs.housekeeping import Housekeeping
from postscan.jobs.images import ImageRow, StoredImage, add_image, refuse_images
from postscan.jobs.model import (
    ChangeKind,
    DeliveryState,
    Document,
    Job,
    JobChange,
    NewJob,
    ProcessedDocument,
)
from postscan.jobs.openjobs import OpenJobs
from postscan.jobs.plan import plan_of
from postscan.jobs.replay import ReplayWindow
from postscan.jobs.runner import Runner
from postscan.jobs.settings import JobSettings
from postscan.jobs.spool import LocalSpool, RecoveryReport
from postscan.jobs.steps import products_of
from postscan.jobs.store import JobStore
from postscan.jobs.tries import Sleep
from postscan.jobs.upload import ImageWriter

__all__ = ["JobChange", "JobEngine", "JobSettings", "Listener"]

Listener = Callable[[JobChange], None]
Step = Callable[[], Awaitable[None]]

_log = get_logger("jobs")


class JobEngine:
    """Creates jobs, takes their images, ends, cancels and retries them, and runs them through their filters.

    Every ``owner`` is the identity asking; a job of another one does not exist for it, and None means an
    administrator, for whom all do. All methods belong to one event loop.
    """

    def __init__(
        self,
        settings: JobSettings,
        spool: LocalSpool,
        store: JobStore,
        filters: Mapping[str, Filter],
        clock: Clock,
        *,
        workers: Workers | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Put the engine together.

        :param workers: where processing filters have images decoded; None when none of them needs that.
        :param sleep: is replaced in tests whose clock stands still.
        """
        self._settings = settings
        self._spool = spool
        self._store = store
        self._filters = filters
        self._clock = clock
        self._open = OpenJobs(clock)
        self._replays = ReplayWindow(clock, settings.create_replay_window)
        self._being_created: Counter[str] = Counter()
        self._listeners: list[Listener] = []
        self._background: set[asyncio.Task[Any]] = set()
        self._regular: tuple[asyncio.Task[Any], ...] = ()
        self._running = False
        self._runner = Runner(
            settings, spool, store, filters, workers or NoWorkers(), clock, sleep, self._applied
        )
        self._housekeeping = Housekeeping(
            settings, store, clock, sleep, self._open, self._applied, self._remove
        )
        self.recovery = RecoveryReport()

    # ------------------------------------------------------------------ life

    async def start(self, before_jobs_move: Step | None = None) -> None:
        """Open spool and store, clean up after a crash, and take up what was under way.

        :param before_jobs_move: is awaited when the jobs can be read and none of them has gone on yet.
        :raises ConfigurationError: the spool is unsafe or in use, or the database is newer or unreadable.
        """
        await asyncio.to_thread(self._spool.prepare)
        try:
            await self._store.open(self._spool)
            expected = await self._store.read(queries.expected_files)
            self.recovery = await asyncio.to_thread(self._spool.recover, expected)
            await self._replays.load(self._store)
            if before_jobs_move is not None:
                await before_jobs_move()
            unfinished = await self._store.read(queries.unfinished_jobs)
            self._running = True
            for job in unfinished:
                await self._resume(job)
            await self._housekeeping.tidy(0.0)
        except BaseException:
            await self.stop()
            raise
        self._regular = (
            self._spawn(self._housekeeping.sweep_idle_jobs()),
            self._spawn(self._housekeeping.keep_tidy()),
        )

    async def stop(self, before_store_closes: Step | None = None) -> None:
        """Stop running jobs, commit what waits, close everything; what was under way is taken up again.

        :param before_store_closes: is awaited when no job moves any more.
        """
        self._running = False
        await self._runner.stop()
        for task in self._regular:
            task.cancel()
        while self._background:
            await asyncio.wait(self._background)
        if before_store_closes is not None:
            await before_store_closes()
        await self._store.close()
        self._spool.close()

    @property
    def spool(self) -> LocalSpool:
        """The spool that images are written to before they are committed."""
        return self._spool

    def has_room(self) -> bool:
        """Tell whether the spool's disk has room for another job (R-9)."""
        return self._spool.free_bytes() >= self._settings.min_free_bytes

    def limit(self, settings: JobSettings) -> None:
        """Take over, for jobs and images to come, the limits on their number and size and on the disk."""
        self._settings = replace(
            self._settings,
            max_open_jobs=settings.max_open_jobs,
            max_open_jobs_per_owner=settings.max_open_jobs_per_owner,
            max_images_per_job=settings.max_images_per_job,
            max_image_bytes=settings.max_image_bytes,
            max_job_bytes=settings.max_job_bytes,
            min_free_bytes=settings.min_free_bytes,
        )
        self._runner.processing.limit(self._settings)

    def add_listener(self, listener: Listener) -> None:
        """Have ``listener`` called on the event loop after each stored change, in order for each job."""
        self._listeners.append(listener)

    async def _resume(self, job: Job) -> None:
        if job.state is JobState.CREATING:
            ids = await self._store.read(partial(queries.document_ids, serial=job.serial))
            self._open.put(job, ids)
        elif job.state is JobState.TERMINATING:
            self._spawn(self._finish_cancel(job))
        elif job.state is not JobState.PENDING_HELD:
            self._runner.take(job)

    # ------------------------------------------------------------------ create

    async def create(self, new: NewJob) -> Job:
        """Make a job; the same owner's same request within the replay window gets the same job (case 21).

        :raises TooManyJobs: too many jobs wait for images, of this owner or of all.
        :raises OutOfDiskSpace: too little room on the spool's disk (R-9).
        :raises UnknownFilter: the server has no filter of that dialect.
        :raises InstructionsError: a filter cannot work with its instructions.
        :raises InvalidArgument: no filter of it delivers anything.
        """
        if new.request_id is None:
            return await self._create(new)
        known = self._replays.find(new.owner, new.request_id)
        if known is not None:
            token = known if isinstance(known, str) else (await asyncio.shield(known)).token
            job = await self.job(token, new.owner)
            if new.asks_for(job):
                _log.info("a repeated Create got the job it made before", token=token)
                return job
            _log.warning("a MessageID was used again for another job", token=token)
        # A task of its own: a sender that vanishes midway finds the same job when it asks again.
        task = self._spawn(self._create(new))
        self._replays.begin(new.owner, new.request_id, task)
        return await asyncio.shield(task)

    async def _create(self, new: NewJob) -> Job:
        self._check_room_for_a_job(new.owner)
        self._being_created[new.owner] += 1
        try:
            token, created = str(uuid4()), self._clock.now()
            plan = plan_of(self._filters, new, token, created)
            change = await self._store.write(
                partial(
                    operations.create_job,
                    token=token,
                    new=new,
                    destinations=plan.destinations,
                    processing=plan.processing,
                    created=created,
                ),
                lambda stored: self._applied([stored]),
            )
        finally:
            self._being_created[new.owner] -= 1
            self._being_created += Counter()
        return change.job

    def _check_room_for_a_job(self, owner: str) -> None:
        limits = self._settings
        if len(self._open) + self._being_created.total() >= limits.max_open_jobs:
            raise TooManyJobs(f"{limits.max_open_jobs} jobs wait for images")
        if self._open.owned_by(owner) + self._being_created[owner] >= limits.max_open_jobs_per_owner:
            raise TooManyJobs(f"{limits.max_open_jobs_per_owner} jobs of one owner wait for images")
        self._check_disk(0)

    def _check_disk(self, wanted: int) -> None:
        free = self._spool.free_bytes()
        if free - wanted < self._settings.min_free_bytes:
            raise OutOfDiskSpace(f"{free} octets are free, {wanted} are wanted")

    # ------------------------------------------------------------------ images

    async def check_image(
        self,
        token: str,
        owner: str | None,
        document_id: int,
        format: DocumentFormat,  # noqa: A002 - the name of the element it comes from
        announced_bytes: int | None,
    ) -> None:
        """Refuse an image before it is read, as far as that is known now; cheap.

        :raises JobNotFound, JobWasCanceled, JobEnded: the job takes no images.
        :raises JobTooLarge, ImageTooLarge, OutOfDiskSpace: there is no room for it.
        """
        limits, announced = self._settings, announced_bytes or 0
        job = await self._find(token, owner)
        refuse_images(job.state)
        self._open.touch(job.token)
        if announced > limits.max_image_bytes:
            raise ImageTooLarge(f"{announced} octets, {limits.max_image_bytes} are allowed")
        if not self._open.has_document(job.token, document_id):
            if job.images_received >= limits.max_images_per_job:
                raise JobTooLarge(f"the job has {job.images_received} images ({format} refused)")
            if job.bytes_received + announced > limits.max_job_bytes:
                raise JobTooLarge(f"the job has {job.bytes_received} octets already")
        self._check_disk(announced)

    def touch(self, token: str) -> None:
        """Note that the job's sender is alive, while a long image is arriving; nearly free."""
        self._open.touch(token)

    def open_image(self) -> ImageWriter:
        """Return a writer for one image of the largest size allowed."""
        return self._spool.open_image(self._settings.max_image_bytes, self._settings.min_free_bytes)

    async def commit_image(
        self,
        token: str,
        owner: str | None,
        document_id: int,
        format: DocumentFormat,  # noqa: A002 - the name of the element it comes from
        writer: ImageWriter,
    ) -> Document:
        """Make an image part of its job; once this returns, it survives anything (R-1).

        The same DocumentId with the same octets is one image and gets the same answer (R-5). The writer is
        used up, whatever comes of it. ``number`` of the answer may still change until the job is ended.

        :raises JobNotFound, JobWasCanceled, JobEnded: the job takes no images (any more).
        :raises DocumentConflict: other octets came under this DocumentId before.
        :raises JobTooLarge, OutOfDiskSpace, StorageUnavailable: there is no room for it, or no disk.
        """
        writer.claim()
        try:
            job = await self._find(token, owner)
            refuse_images(job.state)
            file_name = f"{document_id}.{random.getrandbits(32):08x}"
            limits, received = self._settings, self._clock.now()

            def add(connection: Connection) -> StoredImage:
                # The hash is asked for here, in the committing thread: by now the file is written.
                image = ImageRow(document_id, format, writer.size, writer.sha256, file_name, received)
                return add_image(
                    connection,
                    job.serial,
                    image,
                    max_images=limits.max_images_per_job,
                    max_bytes=limits.max_job_bytes,
                )

            future = self._store.write_image(
                writer,
                self._spool.path(job.token, file_name),
                add,
                partial(self._image_applied, job.token),
                lambda stored: not stored.repeated,
            )
        except BaseException:
            writer.discard()
            raise
        stored: StoredImage = await future
        return stored.document

    def _image_applied(self, token: str, stored: StoredImage) -> None:
        self._open.touch(token)
        job = self._open.get(token)
        if job is None or stored.repeated:
            return
        job = replace(job, images_received=stored.images, bytes_received=stored.octets, images_kept=True)
        self._open.add_document(job, stored.document.document_id)
        self._tell(JobChange(job, job.state, ChangeKind.IMAGE))

    # ------------------------------------------------------------------ end, cancel, retry

    async def end(self, token: str, owner: str | None) -> Job:
        """Accept a job for delivery (R-2); repeated, it answers as before.

        :raises JobNotFound, JobWasCanceled: there is no such job (any more).
        :raises NoImages: it has no images; it stays Creating.
        :raises WrongState: it was given up before it was ended.
        """
        job = await self._find(token, owner)
        await self._store.write(
            partial(operations.end_job, serial=job.serial, now=self._clock.now()), self._applied
        )
        return await self._find(token, owner)

    async def cancel(self, token: str, owner: str | None) -> Job:
        """Cancel a job: at once when nothing of it runs, else it is Terminating until its filters stopped.

        What was delivered stays delivered. Repeated, it answers with the job as it stands.

        :raises JobNotFound: there is no such job.
        :raises WrongState: it is Completed or Aborted.
        """
        job = await self._find(token, owner)
        await self._store.write(
            partial(
                operations.cancel_job,
                serial=job.serial,
                now=self._clock.now(),
                keep_images=self._keep_canceled,
            ),
            self._applied,
        )
        return await self._find(token, owner)

    async def retry(self, token: str) -> Job:
        """Deliver again what a job did not deliver, and at once what waits to be; for administrators.

        :raises JobNotFound: there is no such job.
        :raises NotRetryable: it delivered everything, was canceled, runs already, or its images are gone.
        """
        job = await self._find(token, None)
        if any(place.state is DeliveryState.WAITING for run in job.filters for place in run.deliveries):
            self._runner.hurry(job.token)
            return job
        await self._store.write(
            partial(operations.retry_job, serial=job.serial, now=self._clock.now()), self._applied
        )
        return await self._find(token, None)

    @property
    def _keep_canceled(self) -> bool:
        return self._settings.retain_canceled > timedelta(0)

    async def _finish_cancel(self, job: Job) -> None:
        await self._runner.interrupt(job.token)
        await self._store.write(
            partial(
                operations.finish_cancel,
                serial=job.serial,
                now=self._clock.now(),
                keep_images=self._keep_canceled,
            ),
            self._applied,
        )

    # ------------------------------------------------------------------ reading

    async def job(self, token: str, owner: str | None) -> Job:
        """Return a job; raises JobNotFound for a token that is unknown, no GUID, or another identity's."""
        return await self._find(token, owner)

    async def jobs(self, *, active: bool | None = None, limit: int = 100, skip: int = 0) -> list[Job]:
        """Return up to ``limit`` jobs, newest first: unfinished ones, finished ones, or (None) all."""
        return await self._store.read(partial(queries.list_jobs, active=active, limit=limit, skip=skip))

    async def unfinished(self) -> list[Job]:
        """Return every job that is not in an end state, oldest first."""
        return await self._store.read(queries.unfinished_jobs)

    async def ended_after(self, marks: Mapping[str, int]) -> list[Job]:
        """Return the jobs of each owner whose ``Job.ending`` is above ``marks[owner]``, in that order."""
        return await self._store.read(partial(queries.jobs_ended_after, marks=marks))

    async def ended_since(self, mark: int, limit: int) -> list[Job]:
        """Return the last ``limit`` jobs whose ``Job.ending`` is above ``mark``, in that order."""
        return await self._store.read(partial(queries.jobs_ended_since, mark=mark, limit=limit))

    async def last_ending(self) -> int:
        """Return ``Job.ending`` of the job that ended last; 0 when none has."""
        return await self._store.read(queries.last_ending)

    async def documents(self, token: str, owner: str | None) -> list[Document]:
        """Return a job's images in the order of DocumentId."""
        job = await self._find(token, owner)
        stored = await self._store.read(partial(queries.stored_documents, serial=job.serial))
        return [one.document for one in stored]

    async def products(self, token: str, owner: str | None) -> list[ProcessedDocument]:
        """Return what a job's processing filters handed on so far, by filter and number."""
        job = await self._find(token, owner)
        return await self._store.read(partial(products_of, serial=job.serial))

    def progress(self, token: str) -> dict[int, tuple[int, int]]:
        """Return how far the processing filters of a job are that work right now: index -> (done, total)."""
        return self._runner.processing.progress(token)

    async def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state, by keyword, zeros included."""
        return await self._store.read(queries.counts)

    async def deliveries_waiting(self) -> int:
        """Return how many deliveries wait for their next attempt."""
        return await self._store.read(queries.deliveries_waiting)

    async def _find(self, token: str, owner: str | None) -> Job:
        normal = token.strip().strip("{}").lower()
        cached = self._open.get(normal)
        if cached is not None and owner in (None, cached.owner):
            return cached
        # A job of another identity takes the same way as one that is not there, and so the same time.
        job = await self._store.read(partial(queries.job_by_token, token=normal))
        if job is None or owner not in (None, job.owner):
            raise JobNotFound("no job has this token", detail=token)
        return job

    # ------------------------------------------------------------------ after a commit

    def _applied(self, changes: Sequence[JobChange]) -> None:
        for change in changes:
            job = change.job
            if job.state is JobState.CREATING:
                self._open.put(job, set())
            else:
                self._open.drop(job.token)
            if change.kind in (ChangeKind.STATE, ChangeKind.CREATED):
                _log.info(
                    "job state",
                    token=job.token,
                    state=job.state,
                    reasons=[reason.value for reason in job.reasons],
                    owner=job.owner,
                    origin=job.origin,
                    process=job.process_name,
                    images=job.images_received,
                )
            self._tell(change)
            if change.kind is ChangeKind.STATE:
                self._act_on(job)

    def _act_on(self, job: Job) -> None:
        if job.finished and not job.images_kept:
            self._remove(job.token)
        if not self._running:
            return
        if job.state is JobState.PENDING:
            self._runner.take(job)
        elif job.state is JobState.TERMINATING:
            self._spawn(self._finish_cancel(job))

    def _tell(self, change: JobChange) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception as error:  # one listener's defect is not another's, nor the job's
                _log.error("a listener failed", token=change.job.token, exc_info=error)

    def _remove(self, token: str) -> None:
        """Remove a job's images beside everything else; what fails is left to the next start."""
        self._spawn(asyncio.to_thread(self._spool.remove_job, token))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("background work ended early", error=str(task.exception()))
