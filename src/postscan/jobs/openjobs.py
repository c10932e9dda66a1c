"""The jobs that wait for images, in memory, so that checking and counting an image reads no database."""

from __future__ import annotations

from dataclasses import dataclass

from postscan.core.clock import Clock
from postscan.jobs.model import Job


@dataclass(slots=True)
class _OpenJob:
    job: Job
    document_ids: set[int]
    last_activity: float


class OpenJobs:
    """A cache of every Creating job; the authoritative check is in the transaction that stores an image.

    Activity is measured on the monotonic clock and begins anew with the process, so neither a jump of the
    wall clock nor a restart shortens a job's idle limit (R-10).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jobs: dict[str, _OpenJob] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job, document_ids: set[int]) -> None:
        """Remember a Creating job; one that is known keeps its document ids."""
        known = self._jobs.get(job.token)
        ids = known.document_ids if known is not None else document_ids
        self._jobs[job.token] = _OpenJob(job, ids, self._clock.monotonic())

    def drop(self, token: str) -> None:
        """Forget a job that is no longer Creating."""
        self._jobs.pop(token, None)

    def get(self, token: str) -> Job | None:
        """Return the job with this token if it is Creating."""
        known = self._jobs.get(token)
        return None if known is None else known.job

    def owned_by(self, owner: str) -> int:
        """Return how many jobs of this owner are open."""
        return sum(known.job.owner == owner for known in self._jobs.values())

    def touch(self, token: str) -> None:
        """Note activity of a job."""
        known = self._jobs.get(token)
        if known is not None:
            known.last_activity = self._clock.monotonic()

    def add_document(self, job: Job, document_id: int) -> None:
        """Remember a job's new totals and the id of its new document."""
        known = self._jobs[job.token]
        known.job = job
        known.document_ids.add(document_id)

    def has_document(self, token: str, document_id: int) -> bool:
        """Tell whether a document with this id was accepted."""
        known = self._jobs.get(token)
        return known is not None and document_id in known.document_ids

    def idle_for(self, seconds: float) -> list[Job]:
        """Return the jobs without activity for at least this long."""
        since = self._clock.monotonic() - seconds
        return [known.job for known in self._jobs.values() if known.last_activity <= since]
