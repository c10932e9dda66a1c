"""Where the scan server stands as a whole, as WS-DSC tells it ([MS-BDSRR] 2.2.5.18)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from postscan.contracts import dsc
from postscan.contracts.keywords import RepositoryState, RepositoryStateReason
from postscan.jobs.model import Job


class Standing:
    """Processing while any job has not ended; Stopped when none could begin and somebody must act; else Idle.

    A server without room goes on with the jobs it has, and says why it takes no others.

    :param has_room: tells whether the disk has room for another job.
    """

    def __init__(self, has_room: Callable[[], bool]) -> None:
        self._has_room = has_room
        self._active: set[str] = set()
        self._stopping = False

    def begin(self, unfinished: Iterable[Job]) -> None:
        """Take up the jobs of before a restart."""
        self._active = {job.token for job in unfinished}

    def note(self, job: Job) -> None:
        """Note that a job changed."""
        if job.finished:
            self._active.discard(job.token)
        else:
            self._active.add(job.token)

    def stop(self) -> None:
        """Note that the server is being stopped."""
        self._stopping = True

    def status(self) -> dsc.RepositoryStatus:
        """Return where the server stands now."""
        if self._stopping:
            return dsc.RepositoryStatus(state=RepositoryState.STOPPED, reasons=(dsc.SHUTTING_DOWN,))
        has_room = self._has_room()
        reason = RepositoryStateReason.NONE if has_room else dsc.OUT_OF_DISK_SPACE
        if self._active:
            state = RepositoryState.PROCESSING
        else:
            state = RepositoryState.IDLE if has_room else RepositoryState.STOPPED
        return dsc.RepositoryStatus(state=state, reasons=(reason,))
