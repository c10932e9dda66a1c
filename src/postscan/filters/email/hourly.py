"""How many recipients one user may send to within an hour (abuse case 36)."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

HOUR: Final = timedelta(hours=1)
_MOST_USERS: Final = 10_000


class HourlyRecipients:
    """Counts the recipients of each user's jobs by the time the jobs were made.

    A job that was let in is never refused later: what counts for it is what the same user had made before it.
    So it does not matter how often, or in which order, jobs are asked about, a restart included.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: OrderedDict[str, dict[str, tuple[datetime, int]]] = OrderedDict()

    def admit(self, user: str, job: str, made: datetime, recipients: int) -> bool:
        """Count a job, and return true; return false, and do not count it, when it is too much."""
        jobs = self._jobs.setdefault(user, {})
        self._jobs.move_to_end(user)
        newest = max([made, *(when for when, _ in jobs.values())])
        for token in [token for token, (when, _) in jobs.items() if newest - when > HOUR]:
            del jobs[token]
        before = sum(
            count
            for token, (when, count) in jobs.items()
            if token != job and (when, token) < (made, job) and made - when <= HOUR
        )
        if before + recipients > self._most and job not in jobs:
            return False
        jobs[job] = (made, recipients)
        if len(self._jobs) > _MOST_USERS:
            self._jobs.popitem(last=False)
        return True
