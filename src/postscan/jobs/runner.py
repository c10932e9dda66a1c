"""Takes jobs that were ended through their filters: first those that make documents, then the others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

from postscan.contracts.keywords import FILTER_END_STATES, FilterState, FilterStateReason, JobState
from postscan.core.clock import Clock
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.filters.contract import (
    Delivered,
    DeliveryFilter,
    DeliveryOrder,
    Destination,
    Filter,
    InstructionsError,
    ProcessingFilter,
    SpooledDocument,
    Workers,
)
from postscan.jobs import deliveries, operations
from postscan.jobs.asking import destinations_of
from postscan.jobs.errors import UnknownFilter
from postscan.jobs.ledger import StoreLedger
from postscan.jobs.model import FilterRun, Job
from postscan.jobs.processing import Processing, missing_document, turned_off
from postscan.jobs.settings import JobSettings
from postscan.jobs.spool import LocalSpool
from postscan.jobs.store import JobStore
from postscan.jobs.tries import Applied, Failure, Running, Sleep, Tries, Work
from postscan.soap.xml import PROCESS_LIMITS, parse

_log = get_logger("jobs")


class Runner:
    """One task a job, as many jobs as there are; bounded attempts at once, few of them to any one place."""

    def __init__(
        self,
        settings: JobSettings,
        spool: LocalSpool,
        store: JobStore,
        filters: Mapping[str, Filter],
        workers: Workers,
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
        self._running: dict[str, Running] = {}
        self._tries = Tries(settings, store, clock, sleep, applied)
        self.processing = Processing(settings, spool, store, filters, workers, self._tries, applied)

    def take(self, job: Job) -> None:
        """Begin to run a job that is Pending, Started or Processing."""
        running = Running(job.token, job.serial)
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
        for attempt, stop in attempts.items():
            stop(attempt)
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

    def _forget(self, running: Running) -> None:
        if self._running.get(running.token) is running:
            del self._running[running.token]

    async def _supervise(self, running: Running) -> None:
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

    async def _run(self, running: Running) -> None:
        job, _ = await self._store.write(
            partial(operations.begin_job, serial=running.serial), lambda result: self._applied(result[1])
        )
        if job.state is not JobState.PROCESSING:
            return
        if await self._process(running, job):
            await self._deliver_all(running, job, await self.processing.documents(job))
        keep = self._settings.retain_delivered > timedelta(0)
        await self._tries.write(
            partial(operations.finish_job, serial=job.serial, now=self._clock.now(), keep_images=keep)
        )

    async def _process(self, running: Running, job: Job) -> bool:
        """Run the processing filters one after the other; False when the job ends with one that failed."""
        for run in job.filters:
            if not run.processing:
                continue
            state = run.state if run.state in FILTER_END_STATES else await self._make(running, job, run)
            if state is FilterState.COMPLETED_WITH_ERRORS and not job.continue_on_error:
                return False
        return True

    async def _make(self, running: Running, job: Job, run: FilterRun) -> FilterState:
        """Run one processing filter to its end and return the state it ended in."""
        if not await self._begin(job, run):
            return FilterState.COMPLETED_WITH_ERRORS
        (place,) = run.deliveries
        if not place.settled:
            documents = await self.processing.documents(job)
            state = await self.processing.run(Work(running, job, run, place), documents)
            if state is not None:
                return state
        return await self._finish(job, run)

    async def _deliver_all(self, running: Running, job: Job, documents: Sequence[SpooledDocument]) -> None:
        """Run the delivery filters: at once with ContinueOnError, else in order until one has failed.

        With ContinueOnError none waits for another, so that a server that never answers delays none (R-7).
        """
        delivering = [run for run in job.filters if not run.processing]
        if job.continue_on_error:
            async with asyncio.TaskGroup() as group:
                for run in delivering:
                    if run.state not in FILTER_END_STATES:
                        group.create_task(self._deliver(running, job, run, documents))
            return
        for run in delivering:
            state = run.state
            if state not in FILTER_END_STATES:
                state = await self._deliver(running, job, run, documents)
            if state is FilterState.COMPLETED_WITH_ERRORS:
                return

    async def _deliver(
        self, running: Running, job: Job, run: FilterRun, documents: Sequence[SpooledDocument]
    ) -> FilterState:
        """Run one delivery filter to its end and return the state it ended in."""
        if not await self._begin(job, run):
            return FilterState.COMPLETED_WITH_ERRORS
        async with asyncio.TaskGroup() as group:
            for place in run.deliveries:
                if not place.settled:
                    group.create_task(self._deliver_to(Work(running, job, run, place), documents))
        return await self._finish(job, run)

    async def _begin(self, job: Job, run: FilterRun) -> bool:
        """Take a filter to Processing; False when it cannot run at all, and has failed."""
        await self._tries.write(partial(deliveries.begin_filter, serial=job.serial, index=run.index))
        problem = self._prepare(job, run)
        if problem is None:
            return True
        _log.warning("a filter cannot run", token=job.token, filter=run.dialect, error=str(problem))
        await self._tries.write(
            partial(
                deliveries.fail_filter,
                serial=job.serial,
                index=run.index,
                reason=FilterStateReason.INVALID_ARGS,
                error=str(problem),
                advice=problem.what_to_do,
            )
        )
        return False

    async def _finish(self, job: Job, run: FilterRun) -> FilterState:
        """Take a filter whose destinations are all settled to its end and return that."""
        changes = await self._tries.write(
            partial(deliveries.finish_filter, serial=job.serial, index=run.index)
        )
        return changes[-1].job.filters[run.index].state

    def _prepare(self, job: Job, run: FilterRun) -> PostscanError | None:
        """Let the filter read its instructions (again); return why it cannot work with them, or None."""
        found = self._filters.get(run.dialect)
        if found is None:
            return UnknownFilter(f"this server has no filter {run.dialect}")
        try:
            instructions = parse(run.instructions, PROCESS_LIMITS)
            places = destinations_of(found, run.dialect, instructions, job.facts())
        except PostscanError as error:
            return error
        if not isinstance(found, ProcessingFilter if run.processing else DeliveryFilter):
            kind = "makes no documents" if run.processing else "delivers nothing"
            return UnknownFilter(f"the filter {run.dialect} {kind} (any more)")
        missing = {place.key for place in run.deliveries if not place.settled} - {p.key for p in places}
        if missing and not run.processing:
            return InstructionsError(f"the filter no longer knows {len(missing)} of its destinations")
        return None

    async def _deliver_to(self, work: Work, documents: Sequence[SpooledDocument]) -> None:
        """Try one destination until it is settled."""
        there = await self._tries.until_settled(work, lambda number: self._attempt(work, documents, number))
        if there is None:
            return
        _log.info(
            "delivered",
            token=work.job.token,
            filter=work.run.dialect,
            destination=work.place.label,
            documents=len(documents),
        )
        await self._tries.write(
            partial(deliveries.finish_delivery, serial=work.job.serial, delivery=work.place.serial)
        )

    async def _attempt(
        self, work: Work, documents: Sequence[SpooledDocument], number: int
    ) -> dict[int, Delivered] | Failure:
        """Call the filter once; return what is there when the destination confirmed every document."""
        job, run, place = work.job, work.run, work.place
        missing = missing_document(self._spool, job, documents)
        if missing is not None:
            return missing
        ledger = await StoreLedger.open(self._store, self._clock, job, place, self._applied)
        found = self._filters.get(run.dialect)
        if not isinstance(found, DeliveryFilter):
            return turned_off(run.dialect)
        order = DeliveryOrder(
            Destination(place.key, place.label),
            job.facts(),
            parse(run.instructions, PROCESS_LIMITS),
            documents,
        )

        async def deliver() -> None:
            await found.deliver(order, ledger)

        failure = await self._tries.call(work, number, deliver, ledger.stop_between_documents)
        if failure is not None:
            return failure
        there = await ledger.already_delivered()
        unconfirmed = [one for one in documents if one.document_id not in there]
        if unconfirmed:
            text = f"the filter returned with {len(unconfirmed)} documents unconfirmed"
            return self._tries.unexpected(work, number, text)
        return there
