"""One piece of a job's work, tried until it succeeds or is given up: pauses, lanes, and what errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from sqlalchemy import Connection

from postscan.contracts.keywords import FilterStateReason
from postscan.core.clock import Clock
from postscan.core.log import get_logger
from postscan.filters.contract import DeliveryError
from postscan.jobs import deliveries
from postscan.jobs.asking import contained, is_in_order, words_of
from postscan.jobs.errors import BrokenContract, OutOfDiskSpace, StorageUnavailable
from postscan.jobs.model import Delivery, FilterRun, Job, JobChange
from postscan.jobs.settings import JobSettings
from postscan.jobs.store import JobStore

Sleep = Callable[[float], Awaitable[None]]
Applied = Callable[[Sequence[JobChange]], None]
Stop = Callable[[asyncio.Task[Any]], None]
T = TypeVar("T")

_log = get_logger("jobs")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not do everything; ``retry_after`` is how long the other side wants to be left."""

    reason: FilterStateReason
    transient: bool
    text: str
    advice: str = ""
    retry_after: timedelta | None = None


@dataclass(slots=True, eq=False)
class Running:
    """A job being taken through its filters, and the attempts of it under way, each with how to stop it."""

    token: str
    serial: int
    task: asyncio.Task[None] | None = None
    interrupted: bool = False
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    attempts: dict[asyncio.Task[Any], Stop] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """What is tried: one destination of one filter of a running job."""

    running: Running
    job: Job
    run: FilterRun
    place: Delivery


class Tries:
    """Bounded attempts at once, few of them to any one place, each place on its own retry clock."""

    def __init__(
        self, settings: JobSettings, store: JobStore, clock: Clock, sleep: Sleep, applied: Applied
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._applied = applied
        self._anywhere = asyncio.Semaphore(settings.parallel_deliveries)
        self._lanes: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = WeakValueDictionary()

    def write(self, run: Callable[[Connection], list[JobChange]]) -> asyncio.Future[list[JobChange]]:
        """Store changes, and have them told."""
        return self._store.write(run, self._applied)

    async def until_settled(self, work: Work, attempt: Callable[[int], Awaitable[T | Failure]]) -> T | None:
        """Try until it is done, or given up, which is recorded.

        :param attempt: is given the number of the attempt, from 1.
        :return: the result of the attempt that succeeded, None when it was given up.
        """
        running, run, place = work.running, work.run, work.place
        log = _log.bind(token=work.job.token, filter=run.dialect, destination=place.label)
        attempts = place.attempts
        pause = self._pause_after_restart(place)
        lane = self._lanes.setdefault(
            (run.dialect, place.label), asyncio.Semaphore(self._settings.parallel_per_destination)
        )
        while True:
            if pause > 0:
                await self._pause(running, pause)
            # The lane first: whoever waits for a slow destination holds no room that others could use.
            async with lane, self._room():
                await park_if(running.interrupted)
                failure = await attempt(attempts + 1)
            if not isinstance(failure, Failure):
                return failure
            attempts += 1
            again = self._pause_before_next(failure, attempts)
            record: dict[str, Any] = {
                "serial": work.job.serial,
                "delivery": place.serial,
                "attempts": attempts,
                "reason": failure.reason,
                "error": failure.text,
                "advice": failure.advice,
            }
            if again is None:
                log.error("delivery failed", attempts=attempts, reason=failure.reason, error=failure.text)
                await self.write(partial(deliveries.fail_delivery, **record))
                return None
            log.warning("delivery postponed", attempts=attempts, seconds=again, error=failure.text)
            due = self._clock.now() + timedelta(seconds=again)
            await self.write(partial(deliveries.postpone_delivery, next_attempt=due, pause=again, **record))
            pause = again

    async def call(
        self, work: Work, number: int, attempted: Callable[[], Coroutine[Any, Any, T]], stop: Stop
    ) -> T | Failure:
        """Run one attempt as a task of its own; return its result, or what its error means.

        :param attempted: begins it.
        :param stop: cancels the task, at once or as soon as that does no harm.
        """
        running = work.running
        attempt = asyncio.create_task(contained(attempted))
        running.attempts[attempt] = stop
        try:
            await asyncio.wait({attempt})
        except asyncio.CancelledError:
            attempt.cancel()
            await asyncio.wait({attempt}, timeout=self._settings.stop_grace.total_seconds())
            raise
        finally:
            del running.attempts[attempt]
        if attempt.cancelled():
            await park_if(running.interrupted)
            return self.unexpected(work, number, "the filter canceled itself")
        error = attempt.exception()
        return attempt.result() if error is None else self.failure(work, number, error)

    def failure(self, work: Work, number: int, error: BaseException) -> Failure:
        """Return what an error means that an attempt raised."""
        text = words_of(error)
        if isinstance(error, DeliveryError) and is_in_order(error):
            return Failure(error.reason, bool(error.transient), text, error.what_to_do, error.retry_after)
        if isinstance(error, OutOfDiskSpace):
            return Failure(FilterStateReason.OUT_OF_DISK_SPACE, True, text, error.what_to_do)
        if isinstance(error, StorageUnavailable):
            return Failure(FilterStateReason.UNKNOWN_ERROR, True, text, error.what_to_do)
        if isinstance(error, BrokenContract):
            return self.unexpected(work, number, text, advice=error.what_to_do)
        return self.unexpected(work, number, f"{type(error).__name__}: {text}", error)

    def unexpected(
        self, work: Work, number: int, text: str, error: BaseException | None = None, *, advice: str = ""
    ) -> Failure:
        """Return what an error means that no filter should cause: it is believed for a few attempts only."""
        _log.error(
            "a filter failed in a way it should not",
            token=work.job.token,
            filter=work.run.dialect,
            destination=work.place.label,
            error=text,
            exc_info=error,
        )
        transient = number < self._settings.retry.unexpected_attempts
        return Failure(FilterStateReason.UNKNOWN_ERROR, transient, text, advice)

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

    async def _pause(self, running: Running, seconds: float) -> None:
        """Sleep, or until someone cannot wait."""
        waits = {asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(running.hurry.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _pause_before_next(self, failure: Failure, attempts: int) -> float | None:
        """Return the seconds to wait, None to give up: as the policy says, or longer where that was asked.

        However long another side asks for, it does not get more than the longest pause of the policy.
        """
        policy = self._settings.retry
        pause = policy.pause(attempts) if failure.transient else None
        if pause is None or failure.retry_after is None:
            return pause
        return max(pause, min(failure.retry_after, policy.cap).total_seconds())

    def _pause_after_restart(self, place: Delivery) -> float:
        """Return the seconds still to wait: at most the pause, wherever the clock jumped (R-10)."""
        if place.next_attempt is None:
            return 0.0
        left = (place.next_attempt - self._clock.now()).total_seconds()
        # A row of an older version does not say how long the pause was.
        pause = place.pause if place.pause is not None else self._settings.retry.pause(place.attempts)
        return min(max(left, 0.0), pause or 0.0)


def cancel(attempt: asyncio.Task[Any]) -> None:
    """Stop an attempt at once."""
    attempt.cancel()


async def park_if(interrupted: bool) -> None:
    """Wait for the end of an interrupted job's task, which is about to be canceled."""
    if interrupted:
        await asyncio.get_running_loop().create_future()
