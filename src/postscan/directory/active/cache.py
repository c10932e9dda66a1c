"""A small store of answers that are asked for again and again: bounded, short-lived, asked once at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from postscan.core.clock import Clock
from postscan.directory.model import DirectoryError

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(slots=True)
class CacheCounts:
    """How often a cache was asked: answered at once, by a question already under way, or by a new one."""

    hits: int = 0
    joined: int = 0
    misses: int = 0

    @property
    def hit_rate(self) -> float:
        """Return the share of questions that needed no new one, 0 when there were none."""
        asked = self.hits + self.joined + self.misses
        return (self.hits + self.joined) / asked if asked else 0.0


class Cache(Generic[Key, Value]):
    """Remembers answers for a while, counted from when they were asked for, not from when they came.

    An answer is never given out when it is older than that, whatever state the directory is in, and an error
    is never remembered. Questions about one key that meet are asked once; one of the askers going away does
    not disturb the others.

    :param seconds: how long an answer holds; 0 remembers nothing.
    :param missing_seconds: how long "there is none" (None) holds.
    :param entries: how many answers are remembered; the one not used for longest gives way.
    """

    def __init__(self, *, seconds: float, missing_seconds: float, entries: int, clock: Clock) -> None:
        self.counts = CacheCounts()
        self._seconds = seconds
        self._missing_seconds = min(seconds, missing_seconds)
        self._entries = entries
        self._clock = clock
        # By key, the time until which the answer holds, and the answer.
        self._known: OrderedDict[Key, tuple[float, Value | None]] = OrderedDict()
        # By key, when it was asked, and the question under way.
        self._asking: dict[Key, tuple[float, asyncio.Task[Value | None]]] = {}
        self._tasks: set[asyncio.Task[Value | None]] = set()

    async def get(self, key: Key, ask: Callable[[], Awaitable[Value | None]]) -> Value | None:
        """Return what is known of ``key``, or what ``ask`` answers; its errors are every asker's."""
        known, value = self.known(key)
        if known:
            return value
        now = self._clock.monotonic()
        under_way = self._asking.get(key)
        if under_way is not None and now - under_way[0] < self._seconds:
            self.counts.joined += 1
            return await _answer_of(under_way[1])
        self.counts.misses += 1
        return await _answer_of(self._ask(key, ask, now))

    def known(self, key: Key) -> tuple[bool, Value | None]:
        """Tell whether the answer for ``key`` is known, and what it is; for who asks for many at once."""
        known = self._known.get(key)
        if known is None:
            return False, None
        if known[0] <= self._clock.monotonic():
            del self._known[key]
            return False, None
        self.counts.hits += 1
        self._known.move_to_end(key)
        return True, known[1]

    def learn(self, key: Key, answer: Value | None, asked: float) -> None:
        """Remember an answer that was asked for at ``asked``, a monotonic time."""
        until = asked + (self._missing_seconds if answer is None else self._seconds)
        if until <= self._clock.monotonic():
            return
        self._known[key] = (until, answer)
        self._known.move_to_end(key)
        while len(self._known) > self._entries:
            self._known.popitem(last=False)

    def forget(self) -> None:
        """Remember nothing, nor what is being asked for now: it may be out of date already."""
        self._known.clear()
        self._asking.clear()

    async def close(self) -> None:
        """Forget everything and end what is being asked: its askers get a DirectoryError."""
        self.forget()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(
        self, key: Key, ask: Callable[[], Awaitable[Value | None]], now: float
    ) -> asyncio.Task[Value | None]:
        task = asyncio.ensure_future(_as_coroutine(ask))
        self._asking[key] = (now, task)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._answered(key, now, done))
        return task

    def _answered(self, key: Key, asked: float, task: asyncio.Task[Value | None]) -> None:
        self._tasks.discard(task)
        # An error nobody waits for any more is looked at here, lest asyncio complains of it.
        failed = task.cancelled() or task.exception() is not None
        if self._asking.get(key) != (asked, task):
            return
        del self._asking[key]
        if not failed:
            self.learn(key, task.result(), asked)


async def _answer_of(task: asyncio.Task[Value | None]) -> Value | None:
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        asker = asyncio.current_task()
        if task.cancelled() and asker is not None and not asker.cancelling():
            raise DirectoryError("the directory is being closed") from None
        raise


async def _as_coroutine(ask: Callable[[], Awaitable[Value | None]]) -> Value | None:
    return await ask()
