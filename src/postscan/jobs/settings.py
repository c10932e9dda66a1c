"""Limits and policies of the job engine, each with the default that the documentation names."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed delivery is tried again (R-3): pauses double from ``first`` up to ``cap``.

    It is given up when the pauses together would exceed ``give_up``. Only pauses count, so neither a clock
    that jumps nor a server that was off uses up a destination's time. An error that no filter expects is
    believed for ``unexpected_attempts`` attempts only.
    """

    first: timedelta = timedelta(seconds=30)
    cap: timedelta = timedelta(hours=1)
    give_up: timedelta = timedelta(days=3)
    unexpected_attempts: int = 5

    def pause(self, attempts: int) -> float | None:
        """Return the seconds to wait after this many failed attempts (from 1), or None to give up."""
        waited, pause = timedelta(0), self.first
        for _ in range(attempts - 1):
            waited += pause
            pause = min(pause * 2, self.cap)
        return pause.total_seconds() if waited + pause <= self.give_up else None


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the engine allows, and for how long it keeps things.

    Open jobs are those that still wait for images. ``idle_limit`` is how long one waits for the next message
    (R-4). ``min_free_bytes`` must stay free on the spool's disk (R-9). ``retain_undelivered`` keeps the
    images of a job that did not deliver everything, counted in the server's running time;
    ``retain_delivered`` those of a job that did, ``retain_canceled`` those of one its user took back (it
    can't be delivered again).
    Finished jobs without images stay in the history for ``history_days`` and up to ``history_jobs``.
    ``create_replay_window`` is how long a repeated Create gets the same job. At most ``parallel_deliveries``
    run at once, ``parallel_per_destination`` of them to one place, so that a dead one starves no other (R-7);
    one that takes longer than ``stalled_after`` no longer counts among the former.
    ``stop_grace`` is how long a document being delivered may take when the server stops or a job is canceled.
    """

    max_open_jobs: int = 500
    max_open_jobs_per_owner: int = 20
    max_images_per_job: int = 2000
    max_image_bytes: int = 512 * MIB
    max_job_bytes: int = 4 * GIB
    idle_limit: timedelta = timedelta(minutes=15)
    min_free_bytes: int = 256 * MIB
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    retain_undelivered: timedelta = timedelta(days=30)
    retain_delivered: timedelta = timedelta(0)
    retain_canceled: timedelta = timedelta(0)
    history_days: int = 90
    history_jobs: int = 100_000
    create_replay_window: timedelta = timedelta(minutes=10)
    parallel_deliveries: int = 32
    parallel_per_destination: int = 4
    stalled_after: timedelta = timedelta(minutes=1)
    stop_grace: timedelta = timedelta(seconds=3)
