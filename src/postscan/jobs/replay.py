"""Remembers which request made which job, so that a repeated Create makes no second one (abuse case 21)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any, Final

from postscan.core.clock import Clock
from postscan.jobs.model import Job
from postscan.jobs.queries import recent_requests
from postscan.jobs.store import JobStore

MAX_REMEMBERED: Final = 10_000

Maker = asyncio.Task[Job]


class ReplayWindow:
    """(owner, request id) -> the job's token, or the task that is making it, for a limited time.

    Time within the process is monotonic. Jobs made before a restart are remembered for a full window again.
    """

    def __init__(self, clock: Clock, window: timedelta) -> None:
        self._clock = clock
        self._window = window
        self._made: dict[tuple[str, str], tuple[float, str | Maker]] = {}

    async def load(self, store: JobStore) -> None:
        """Remember the jobs made shortly before this start."""
        now, since = self._clock.now(), self._clock.monotonic()
        # Both ways: the wall clock may have been set back while the server was off.
        recent = partial(recent_requests, since=now - self._window, until=now + self._window)
        for owner, request_id, token in await store.read(recent):
            self._made[owner, request_id] = (since, token)

    def find(self, owner: str, request_id: str) -> str | Maker | None:
        """Return the token of the job this request made, or the task that is making it."""
        self._forget_old()
        found = self._made.get((owner, request_id))
        return None if found is None else found[1]

    def begin(self, owner: str, request_id: str, maker: Maker) -> None:
        """Remember who is making the job; a request that fails is forgotten."""
        key = (owner, request_id)
        # Entries are in the order of their age, also one that takes another's place.
        self._made.pop(key, None)
        self._made[key] = (self._clock.monotonic(), maker)

        def made(task: asyncio.Task[Any]) -> None:
            known = self._made.get(key)
            if known is None or known[1] is not task:
                return
            if task.cancelled() or task.exception() is not None:
                del self._made[key]
            else:
                self._made[key] = (known[0], task.result().token)

        maker.add_done_callback(made)

    def _forget_old(self) -> None:
        limit = self._clock.monotonic() - self._window.total_seconds()
        # Entries are in the order of their age: dicts keep the order of insertion.
        for key, (since, _) in list(self._made.items()):
            if since > limit and len(self._made) <= MAX_REMEMBERED:
                break
            del self._made[key]
