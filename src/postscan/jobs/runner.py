"""Takes jobs that were ended through their filters, every destination on its own retry clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from sqlalchemy import Connection

from postscan.contracts.keywords import FILTER_END_STATES, FilterState, FilterStateReason, JobState
from postscan.core.clock import Clock
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.filters.contract import DeliveryError, Destination, Filter, SpooledDocument
from postscan.jobs import deliveries, operations
from postscan.jobs.errors import OutOfDiskSpace, StorageUnavailable
from postscan.jobs.ledger import StoreLedger
from postscan.jobs.model import Delivery, FilterRun, Job, JobChange
from postscan.jobs.queries import stored_documents
from postscan.jobs.settings import JobSettings
from postscan.jobs.spool import LocalSpool
from postscan.jobs.store import JobStore
from postscan.soap.xml import PROCESS_LIMITS, parse

Sleep = Callable[[float], Awaitable[None]]
Applied = Callable[[Sequence[JobChange]], None]
T = TypeVar("T")

_log = get_logger("jobs")


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an attempt did not deliver everything."""

    reason: FilterStateReason
    transient: bool
    text: str


@dataclass(slots=True, eq=False)
class _Running:
    """A job being taken through its filters, and the attempts of it under way."""

    token: str
    serial: int
    task: asyncio.Task[None] | None = None
    interrupted: bool = False
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    attempts: dict[asyncio.Task[None], StoreLedger] = field(default_factory=dict)


class _FirstPass:
    """Set once every destination of a filter had its first chance: it is settled, or waits for its turn."""

    def __init__(self, places: Sequence[Delivery]) -> None:
        self._left = {place.serial for place in places}
        self.over = asyncio.Event()
        if not self._left:
            self.over.set()

    def done(self, place: Delivery) -> None:
        self._left.discard(place.serial)
        if not self._left:
            self.over.set()


class Runner:
    """One task a job, as many jobs as there are; bounded attempts at once, few of them to any one place."""

    def __init__(
        self,
        settings: JobSettings,
        spool: LocalSpool,
        store: JobStore,
        filters: Mapping[str, Filter],
        clock: Clock,
        sleep: Sleep,
        applied: Applied,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._store = store
        self._filters = filters
        self._clock = clock
        self._sleep = sleep
        self._applied = applied
        self._running: dict[str, _Running] = {}
        self._anywhere = asyncio.Semaphore(settings.parallel_deliveries)
        self._lanes: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = WeakValueDictionary()

    def take(self, job: Job) -> None:
        """Begin to run a job that is Pending, Started or Processing."""
        running = _Running(job.token, job.serial)
        running.task = asyncio.create_task(self._supervise(running), name=f"job {job.token}")
        self._running[job.token] = running
        running.task.add_done_callback(lambda _: self._forget(running))

    async def interrupt(self, token: str) -> None:
        """Stop running a job; a document half-way to its destination gets ``stop_grace`` to arrive.

        Nothing is lost by it: what was delivered is recorded, the rest can be taken up again.
        """
        running = self._running.get(token)
        if running is None or running.task is None:
            return
        running.interrupted = True
        attempts = dict(running.attempts)
        for attempt, ledger in attempts.items():
            ledger.stop_between_documents(attempt)
        if attempts:
            await asyncio.wait(attempts, timeout=self._settings.stop_grace.total_seconds())
        running.task.cancel()
        await asyncio.wait({running.task})

    def hurry(self, token: str) -> None:
        """Have every destination of a job that waits for its next attempt try now."""
        running = self._running.get(token)
        if running is not None:
            running.hurry.set()
            running.hurry = asyncio.Event()

    async def stop(self) -> None:
        """Interrupt every job."""
        await asyncio.gather(*(self.interrupt(token) for token in list(self._running)))

    def _forget(self, running: _Running) -> None:
        if self._running.get(running.token) is running:
            del self._running[running.token]

    def _write(self, run: Callable[[Connection], list[JobChange]]) -> asyncio.Future[list[JobChange]]:
        return self._store.write(run, self._applied)

    async def _supervise(self, running: _Running) -> None:
        """Run the job until it needs no more; after an error of our own (a full disk) begin again later."""
        while True:
            try:
                await self._run(running)
            except Exception as error:  # whatever it is, the job must not be forgotten
                _log.error(
                    "a job could not be run on; it will be tried again", token=running.token, exc_info=error
                )
                await self._sleep(self._settings.retry.first.total_seconds())
            else:
                return

    async def _run(self, running: _Running) -> None:
        job, _ = await self._store.write(
            partial(operations.begin_job, serial=running.serial), lambda result: self._applied(result[1])
        )
        if job.state is not JobState.PROCESSING:
            return
        documents = await self._documents(job)
        async with asyncio.TaskGroup() as group:
            for run in job.filters:
                if run.state in FILTER_END_STATES:
                    state = run.state
                elif job.continue_on_error:
                    first_pass = _FirstPass(run.deliveries)
                    group.create_task(self._run_filter(running, job, run, documents, first_pass))
                    await first_pass.over.wait()
                    continue
                else:
                    state = await self._run_filter(running, job, run, documents, _FirstPass(()))
                if state is FilterState.COMPLETED_WITH_ERRORS and not job.continue_on_error:
                    break
        keep = self._settings.retain_delivered > timedelta(0)
        await self._write(
            partial(operations.finish_job, serial=job.serial, now=self._clock.now(), keep_images=keep)
        )

    async def _documents(self, job: Job) -> list[SpooledDocument]:
        stored = await self._store.read(partial(stored_documents, serial=job.serial))
        return [
            SpooledDocument(
                document_id=one.document.document_id,
                number=one.document.number,
                format=one.document.format,
                path=self._spool.path(job.token, one.file_name),
                size=one.document.size,
                sha256=one.document.sha256,
            )
            for one in stored
        ]

    async def _run_filter(
        self,
        running: _Running,
        job: Job,
        run: FilterRun,
        documents: Sequence[SpooledDocument],
        first_pass: _FirstPass,
    ) -> FilterState:
        """Run one filter to its end and return the state it ended in."""
        try:
            await self._write(partial(deliveries.begin_filter, serial=job.serial, index=run.index))
            problem = self._prepare(job, run)
            if problem is not None:
                _log.warning("a filter cannot run", token=job.token, filter=run.dialect, error=problem)
                await self._write(
                    partial(
                        deliveries.fail_filter,
                        serial=job.serial,
                        index=run.index,
                        reason=FilterStateReason.INVALID_ARGS,
                        error=problem,
                    )
                )
                return FilterState.COMPLETED_WITH_ERRORS
            async with asyncio.TaskGroup() as group:
                for place in run.deliveries:
                    if place.settled:
                        first_pass.done(place)
                    else:
                        group.create_task(self._deliver(running, job, run, place, documents, first_pass))
            changes = await self._write(partial(deliveries.finish_filter, serial=job.serial, index=run.index))
            return changes[-1].job.filters[run.index].state
        finally:
            first_pass.over.set()

    def _prepare(self, job: Job, run: FilterRun) -> str | None:
        """Let the filter read its instructions (again); return why it cannot work with them, or None."""
        found = self._filters.get(run.dialect)
        if found is None:
            return f"this server has no filter {run.dialect}"
        try:
            places = found.destinations(parse(run.instructions, PROCESS_LIMITS), job.facts())
        except PostscanError as error:
            return str(error)
        missing = {place.key for place in run.deliveries if not place.settled} - {p.key for p in places}
        if missing:
            return f"the filter no longer knows {len(missing)} of its destinations"
        return None

    async def _deliver(
        self,
        running: _Running,
        job: Job,
        run: FilterRun,
        place: Delivery,
        documents: Sequence[SpooledDocument],
        first_pass: _FirstPass,
    ) -> None:
        """Try one destination until it is settled."""
        log = _log.bind(token=job.token, filter=run.dialect, destination=place.label)
        attempts = place.attempts
        pause = self._pause_after_restart(place)
        lane = self._lanes.setdefault(
            (run.dialect, place.label), asyncio.Semaphore(self._settings.parallel_per_destination)
        )
        while True:
            if pause > 0:
                first_pass.done(place)
                await self._pause(running, pause)
            if lane.locked() or self._anywhere.locked():
                # Queueing behind a slow destination is waiting too: the other filters need not.
                first_pass.done(place)
            # The lane first: whoever waits for a slow destination holds no room that others could use.
            async with lane, self._room():
                failure = await self._attempt(running, job, run, place, documents, attempts + 1)
            if failure is None:
                log.info("delivered", documents=len(documents))
                await self._write(
                    partial(deliveries.finish_delivery, serial=job.serial, delivery=place.serial)
                )
                first_pass.done(place)
                return
            attempts += 1
            again = self._settings.retry.pause(attempts) if failure.transient else None
            record: dict[str, Any] = {
                "serial": job.serial,
                "delivery": place.serial,
                "attempts": attempts,
                "reason": failure.reason,
                "error": failure.text,
            }
            if again is None:
                log.error("delivery failed", attempts=attempts, reason=failure.reason, error=failure.text)
                await self._write(partial(deliveries.fail_delivery, **record))
                first_pass.done(place)
                return
            log.warning("delivery postponed", attempts=attempts, seconds=again, error=failure.text)
            due = self._clock.now() + timedelta(seconds=again)
            await self._write(partial(deliveries.postpone_delivery, next_attempt=due, **record))
            pause = again

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        """Be one of the attempts that may run at once, until the block ends or the attempt stalls.

        A folder whose server is gone can block for days without an error: then only its own lane waits (R-7).
        """
        await self._anywhere.acquire()
        taken = True

        def give_back() -> None:
            nonlocal taken
            if taken:
                taken = False
                self._anywhere.release()

        stalls = self._settings.stalled_after.total_seconds()
        stalled = asyncio.get_running_loop().call_later(stalls, give_back)
        try:
            yield
        finally:
            stalled.cancel()
            give_back()

    async def _pause(self, running: _Running, seconds: float) -> None:
        """Sleep, or until someone cannot wait."""
        waits = {asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(running.hurry.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _pause_after_restart(self, place: Delivery) -> float:
        """Return the seconds still to wait: at most the pause, wherever the clock jumped (R-10)."""
        if place.next_attempt is None:
            return 0.0
        left = (place.next_attempt - self._clock.now()).total_seconds()
        return min(max(left, 0.0), self._settings.retry.pause(place.attempts) or 0.0)

    async def _attempt(
        self,
        running: _Running,
        job: Job,
        run: FilterRun,
        place: Delivery,
        documents: Sequence[SpooledDocument],
        number: int,
    ) -> _Failure | None:
        """Call the filter once; None when the destination confirmed every document."""
        await _park_if(running.interrupted)
        if not all(self._spool.holds(job.token, one.path.name, one.size) for one in documents):
            _log.error("an accepted image is missing from the spool", token=job.token)
            return _Failure(
                FilterStateReason.UNKNOWN_ERROR, True, "an accepted image is missing from the spool"
            )
        ledger = await StoreLedger.open(self._store, self._clock, place.serial)
        attempt = asyncio.create_task(
            self._filters[run.dialect].deliver(
                Destination(place.key, place.label), job.facts(), documents, ledger
            )
        )
        running.attempts[attempt] = ledger
        try:
            await asyncio.wait({attempt})
        except asyncio.CancelledError:
            attempt.cancel()
            await asyncio.wait({attempt}, timeout=self._settings.stop_grace.total_seconds())
            raise
        finally:
            del running.attempts[attempt]
        if attempt.cancelled():
            await _park_if(running.interrupted)
            return self._unexpected(job, run, place, number, "the filter canceled itself", None)
        error = attempt.exception()
        if isinstance(error, DeliveryError):
            return _Failure(error.reason, error.transient, str(error))
        if isinstance(error, OutOfDiskSpace):
            return _Failure(FilterStateReason.OUT_OF_DISK_SPACE, True, str(error))
        if isinstance(error, StorageUnavailable):
            return _Failure(FilterStateReason.UNKNOWN_ERROR, True, str(error))
        if error is not None:
            return self._unexpected(job, run, place, number, f"{type(error).__name__}: {error}", error)
        there = await ledger.already_delivered()
        unconfirmed = [one for one in documents if one.document_id not in there]
        if unconfirmed:
            text = f"the filter returned with {len(unconfirmed)} documents unconfirmed"
            return self._unexpected(job, run, place, number, text, None)
        return None

    def _unexpected(
        self, job: Job, run: FilterRun, place: Delivery, number: int, text: str, error: BaseException | None
    ) -> _Failure:
        _log.error(
            "a filter failed in a way it should not",
            token=job.token,
            filter=run.dialect,
            destination=place.label,
            error=text,
            exc_info=error,
        )
        transient = number < self._settings.retry.unexpected_attempts
        return _Failure(FilterStateReason.UNKNOWN_ERROR, transient, text)


async def _park_if(interrupted: bool) -> None:
    """Wait for the end of an interrupted job's task, which is about to be canceled."""
    if interrupted:
        await asyncio.get_running_loop().create_future()
