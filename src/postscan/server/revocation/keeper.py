"""What was fetched, kept as long as it holds: loaded once for all who ask, renewed before it is over."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from postscan.core.clock import Clock
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.server.revocation.model import SourceFailed

_log = get_logger("revocation")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_FAILURE_SECONDS: Final = 60.0
# When three quarters of its time are over, whatever is still asked for is fetched anew in the background.
_RENEW_AT: Final = 0.75


@dataclass(frozen=True, slots=True)
class Fetched(Generic[V]):
    """Something fetched: for how many seconds nobody need ask again, and how many octets it holds."""

    value: V
    seconds: float
    size: int = 0


class _Entry(Generic[V]):
    __slots__ = ("began", "failed", "failure", "fetched", "since", "task")

    def __init__(self) -> None:
        self.fetched: Fetched[V] | None = None
        self.since = 0.0
        self.failed: float | None = None
        self.failure = "no answer in time"
        self.began = 0.0
        self.task: asyncio.Task[None] | None = None


class Keeper(Generic[K, V]):
    """Keeps values by key. All methods belong to one event loop.

    :param entries: the most values kept, and ``octets`` the most they may hold together; the one that was
        not asked for the longest goes first.
    :param patience: how many seconds anybody waits for a value, counted from when its loading began.
    """

    def __init__(self, clock: Clock, *, patience: float, entries: int, octets: int = 0) -> None:
        self._clock = clock
        self.patience = patience
        self._most = entries
        self._octets = octets
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: K, load: Callable[[], Awaitable[Fetched[V]]]) -> V:
        """Return the value of ``key``, loading it when there is none, or none that is fresh.

        When loading fails, the last value there was is returned, however old; failures are remembered for a
        minute. Who cancels the wait does not cancel the loading: others may wait, and the next need not.

        :raises SourceFailed: there is no value.
        """
        entry = self._entry(key)
        now = self._clock.monotonic()
        if entry.fetched is not None and now < entry.since + entry.fetched.seconds:
            late = now >= entry.since + entry.fetched.seconds * _RENEW_AT
            if late and self._may_try(entry, now):
                self._start(entry, load)
            return entry.fetched.value
        if self._may_try(entry, now):
            self._start(entry, load)
        if entry.task is not None:
            await asyncio.wait({entry.task}, timeout=max(0.0, entry.began + self.patience - now))
        if entry.fetched is None:
            raise SourceFailed(entry.failure)
        return entry.fetched.value

    async def close(self) -> None:
        """End whatever is being loaded."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._entries.clear()

    def _entry(self, key: K) -> _Entry[V]:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
        self._entries.move_to_end(key)
        self._shrink()
        return entry

    def _shrink(self) -> None:
        held = sum(e.fetched.size for e in self._entries.values() if e.fetched is not None)
        while len(self._entries) > self._most or (self._octets and held > self._octets):
            if len(self._entries) == 1:
                return
            _, oldest = self._entries.popitem(last=False)
            held -= oldest.fetched.size if oldest.fetched is not None else 0

    def _may_try(self, entry: _Entry[V], now: float) -> bool:
        return entry.task is None and (entry.failed is None or now >= entry.failed + _FAILURE_SECONDS)

    def _start(self, entry: _Entry[V], load: Callable[[], Awaitable[Fetched[V]]]) -> None:
        entry.began = self._clock.monotonic()
        entry.task = asyncio.get_running_loop().create_task(self._load(entry, load))
        self._tasks.add(entry.task)
        entry.task.add_done_callback(self._loaded)

    def _loaded(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("looking into revocation failed", exc_info=task.exception())

    async def _load(self, entry: _Entry[V], load: Callable[[], Awaitable[Fetched[V]]]) -> None:
        try:
            fetched = await load()
        except PostscanError as error:
            entry.failed, entry.failure = self._clock.monotonic(), str(error)
        else:
            entry.fetched, entry.since = fetched, self._clock.monotonic()
            entry.failed = None
        finally:
            entry.task = None
        self._shrink()
