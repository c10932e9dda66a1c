"""What has to be done from time to time: give idle jobs up, forget kept images and old history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from postscan.contracts.keywords import JobStateReason
from postscan.core.clock import Clock
from postscan.core.log import get_logger
from postscan.jobs import operations
from postscan.jobs.images import age_images
from postscan.jobs.openjobs import OpenJobs
from postscan.jobs.settings import JobSettings
from postscan.jobs.store import JobStore
from postscan.jobs.tries import Applied, Sleep

TIDY_SECONDS: Final = 600.0
PRUNED_AT_ONCE: Final = 500
_TOLERATED_JUMP: Final = timedelta(hours=1)

_log = get_logger("jobs")


class Housekeeping:
    """The engine's regular work, on the monotonic clock."""

    def __init__(
        self,
        settings: JobSettings,
        store: JobStore,
        clock: Clock,
        sleep: Sleep,
        open_jobs: OpenJobs,
        applied: Applied,
        remove_images: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._open = open_jobs
        self._applied = applied
        self._remove_images = remove_images
        self._began = (clock.now(), clock.monotonic())

    async def sweep_idle_jobs(self) -> None:
        """Give up, again and again, the jobs whose sender fell silent (R-4)."""
        limit = self._settings.idle_limit.total_seconds()
        while True:
            await self._sleep(min(limit / 4, 30.0))
            for job in self._open.idle_for(limit):
                _log.warning("no message for a job within the idle limit", token=job.token, seconds=limit)
                try:
                    await self._store.write(
                        partial(operations.time_out_job, serial=job.serial, now=self._clock.now()),
                        self._applied,
                    )
                except Exception as error:  # whatever it is, the others must not wait for ever
                    _log.error("an idle job could not be given up yet", token=job.token, error=str(error))

    async def keep_tidy(self) -> None:
        """Tidy up again and again."""
        last = self._clock.monotonic()
        while True:
            await self._sleep(TIDY_SECONDS)
            now = self._clock.monotonic()
            try:
                await self.tidy(now - last)
            except Exception as error:  # whatever it is, tidying must go on
                _log.error("tidying up failed; it will be tried again", error=str(error))
            else:
                last = now

    async def tidy(self, elapsed: float) -> None:
        """Let kept images age by ``elapsed`` seconds, remove those past their limit, prune the history."""
        limits = {
            JobStateReason.COMPLETED_SUCCESSFULLY: self._settings.retain_delivered.total_seconds(),
            JobStateReason.COMPLETED_WITH_WARNINGS: self._settings.retain_delivered.total_seconds(),
            JobStateReason.CANCELED: self._settings.retain_canceled.total_seconds(),
        }
        expired = await self._store.write(
            partial(
                age_images,
                seconds=elapsed,
                limits=limits,
                otherwise=self._settings.retain_undelivered.total_seconds(),
            )
        )
        for token in expired:
            _log.warning("images of a finished job are past their retention", token=token)
            self._remove_images(token)
        prune = partial(
            operations.prune_history,
            before=self._oldest_history(),
            keep=self._settings.history_jobs,
            at_most=PRUNED_AT_ONCE,
        )
        while await self._store.write(prune) == PRUNED_AT_ONCE:
            _log.info("old jobs left the history", jobs=PRUNED_AT_ONCE)

    def _oldest_history(self) -> datetime | None:
        """Return the moment before which history goes, or None while the wall clock cannot be believed."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        passed = timedelta(seconds=monotonic - self._began[1])
        if abs((now - self._began[0]) - passed) > _TOLERATED_JUMP:
            _log.warning("the wall clock jumped: no job leaves the history for its age until a restart")
            return None
        return now - timedelta(days=self._settings.history_days)
