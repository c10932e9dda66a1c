"""Which changes of a job are told to subscribers."""

from __future__ import annotations

from typing import Final

from postscan.contracts.keywords import END_STATES
from postscan.core.clock import Clock
from postscan.jobs.engine import JobChange

# Images may come faster than anybody reads: their count alone is told at most this often (seconds).
_COUNT_PAUSE: Final = 1.0


class JobNews:
    """Remembers what was told of each job that has not ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}

    def is_end(self, change: JobChange) -> bool:
        """Tell whether the job ended with this change."""
        ended = change.job.state in END_STATES and change.previous not in END_STATES
        if ended:
            self._told.pop(change.job.token, None)
        return ended

    def is_worth_telling(self, change: JobChange) -> bool:
        """Tell whether a status is to be sent: always, save for one image soon after another."""
        job = change.job
        if change.previous is not job.state or change.kind != "image":
            return True
        now = self._clock.monotonic()
        if now - self._told.get(job.token, -_COUNT_PAUSE) < _COUNT_PAUSE:
            return False
        self._told[job.token] = now
        return True
