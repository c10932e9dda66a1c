"""Ordered delivery to many sinks: what waits costs no task, and a slow or dead sink costs nobody else time.

A line is a queue of messages for one subscriber. Lines that have something to send take turns, sink by sink;
only while one sends does it have a task. At most ``parallel`` tasks run at a time, ``parallel_per_sink`` of
them to one host and port; a task that takes longer than a moment no longer counts among them (up to
``parallel_late``), so that sinks which do not answer can not hold the places of those that would. A message
that did not arrive is tried again after a pause, during which there is no task either.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.dpws.frames import Frame
from postscan.dpws.sink_pool import SinkPool

_log = get_logger("eventing")
_MEDIA_TYPE: Final = "application/soap+xml; charset=utf-8"
# A sink on the same network answers in milliseconds.
_QUICK_SECONDS: Final = 0.5
# After so many messages a line goes to the end of the queue, and others have their turn.
_BURST: Final = 16


@dataclass(frozen=True, slots=True)
class CourierLimits:
    """How many deliveries run at a time (see the module), and how many seconds one may take."""

    parallel: int = 256
    parallel_per_sink: int = 8
    parallel_late: int = 1_024
    delivery_seconds: float = 10.0


@dataclass(slots=True, eq=False)
class Target:
    """Where messages go: a URL, headers to carry along (octets), and the IP address to connect to.

    ``address`` is None until the URL was checked, which happens before the first delivery.
    """

    url: str
    parameters: bytes
    address: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message, shared by every line it waits in.

    A later one of the same action and ``subject`` makes it superfluous; ``mark`` is its source's number.
    """

    frame: Frame
    subject: str | None = None
    mark: int | None = None


class Line:
    """The messages of one receiver, in order; ``pauses`` say how often and when a failed one is repeated."""

    __slots__ = ("_pausing", "_task", "failures", "over", "pauses", "peer", "target", "waiting")

    def __init__(self, target: Target, peer: str, pauses: Sequence[float]) -> None:
        self.target = target
        self.peer = peer
        self.pauses = pauses
        self.failures = 0
        self.over = False
        self.waiting: deque[Message] | None = None
        self._task: asyncio.Task[float | None] | None = None
        self._pausing: asyncio.TimerHandle | None = None

    def replace(self, message: Message) -> bool:
        """Put ``message`` where an older one of its subject waits, save at the head; False if none does."""
        if message.subject is None or self.waiting is None:
            return False
        for place in range(1, len(self.waiting)):
            old = self.waiting[place]
            if old.subject == message.subject and old.frame.action == message.frame.action:
                self.waiting[place] = message
                return True
        return False


class _Sink:
    """One host and port, and the lines that want to send there."""

    __slots__ = ("active", "in_turn", "lines", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: deque[Line] = deque()
        self.active = 0
        self.in_turn = False


class Courier:
    """Sends what is put into lines. All methods belong to one event loop.

    :param check: returns the address to connect to for a URL and the peer that gave it, or raises.
    :param delivered: is called with line and message after each delivery.
    :param failed: is called with line and error when a line's message could not be delivered, for good.
    """

    def __init__(
        self,
        pool: SinkPool,
        check: Callable[[str, str], Awaitable[str]],
        limits: CourierLimits,
        *,
        delivered: Callable[[Line, Message], None],
        failed: Callable[[Line, PostscanError], None],
    ) -> None:
        self._pool = pool
        self._check = check
        self._limits = limits
        self._delivered = delivered
        self._failed = failed
        self._sinks: dict[str, _Sink] = {}
        self._turns: deque[_Sink] = deque()
        self._active = 0
        self._late = 0
        self._busy: set[Line] = set()
        self._nothing_left = asyncio.Event()
        self._nothing_left.set()

    def __len__(self) -> int:
        """Return how many lines have something to send."""
        return len(self._busy)

    def send(self, line: Line, message: Message) -> None:
        """Let ``message`` be the last of ``line``."""
        if line.over:
            return
        if line.waiting is not None:
            line.waiting.append(message)
            return
        line.waiting = deque((message,))
        self._busy.add(line)
        self._nothing_left.clear()
        self._offer(line)

    def drop(self, line: Line) -> None:
        """Forget whatever waits in ``line``; nothing more is sent."""
        line.over = True
        if line._pausing is not None:
            line._pausing.cancel()
            line._pausing = None
        if line._task is not None and line._task is not asyncio.current_task():
            line._task.cancel()
        self._empty(line)

    async def drained(self, seconds: float) -> bool:
        """Wait until nothing waits in any line, at most so long; tell whether that came about."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # A last word may follow at once on what was given up.
                while self._busy:
                    await self._nothing_left.wait()
        return not self._busy

    async def close(self) -> None:
        """Give up whatever is still to be sent."""
        tasks = [line._task for line in self._busy if line._task is not None]
        for line in list(self._busy):
            self.drop(line)
        if tasks:
            await asyncio.wait(tasks)

    # Inside ------------------------------------------------------------------------------------------------

    def _empty(self, line: Line) -> None:
        line.waiting = None
        self._busy.discard(line)
        if not self._busy:
            self._nothing_left.set()

    def _offer(self, line: Line) -> None:
        line._pausing = None
        name = urlsplit(line.target.url).netloc.lower()
        sink = self._sinks.get(name)
        if sink is None:
            sink = self._sinks[name] = _Sink(name)
        sink.lines.append(line)
        self._take_turn(sink)
        self._fill()

    def _take_turn(self, sink: _Sink) -> None:
        if sink.in_turn or not sink.lines or sink.active >= self._limits.parallel_per_sink:
            return
        sink.in_turn = True
        self._turns.append(sink)

    def _fill(self) -> None:
        while self._turns and self._active < self._limits.parallel:
            sink = self._turns.popleft()
            sink.in_turn = False
            line = sink.lines.popleft()
            if not line.over:
                sink.active += 1
                place = _Place(self)
                line._task = asyncio.get_running_loop().create_task(self._send_some(line))
                line._task.add_done_callback(partial(self._served, line, sink, place))
            self._take_turn(sink)
            self._forget_if_idle(sink)

    def _forget_if_idle(self, sink: _Sink) -> None:
        if not sink.active and not sink.lines and not sink.in_turn:
            self._sinks.pop(sink.name, None)

    def _served(self, line: Line, sink: _Sink, place: _Place, task: asyncio.Task[float | None]) -> None:
        """Clean up after a task, also after one that was cancelled before it began."""
        place.leave()
        sink.active -= 1
        line._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("delivering events failed", sink=line.target.url, exc_info=error)
            line.over = True
            self._failed(line, PostscanError("events could not be delivered"))
        pause = None if error is not None or task.cancelled() else task.result()
        if line.over or not line.waiting:
            self._empty(line)
        elif pause is not None:
            line._pausing = asyncio.get_running_loop().call_later(pause, self._offer, line)
        else:
            self._offer(line)
        self._take_turn(sink)
        self._fill()
        self._forget_if_idle(sink)

    async def _send_some(self, line: Line) -> float | None:
        """Send up to a burst of messages; return the pause before the next try of one that failed."""
        for _ in range(_BURST):
            if line.over or not line.waiting:
                return None
            message = line.waiting[0]
            try:
                await self._send_one(line, message)
            except PostscanError as error:
                return self._again(line, error)
            if line.over or not line.waiting:
                return None
            line.failures = 0
            line.waiting.popleft()
            self._delivered(line, message)
        return None

    async def _send_one(self, line: Line, message: Message) -> None:
        target = line.target
        if target.address is None:
            target.address = await self._check(target.url, line.peer)
        await self._pool.post(
            target.url,
            target.address,
            message.frame.addressed(target.url, target.parameters),
            _MEDIA_TYPE,
            seconds=self._limits.delivery_seconds,
        )

    def _again(self, line: Line, error: PostscanError) -> float | None:
        line.failures += 1
        if error.retry_helps and line.failures <= len(line.pauses):
            _log.info("event not delivered", sink=line.target.url, why=str(error), tries=line.failures)
            return line.pauses[line.failures - 1]
        line.over = True
        self._failed(line, error)
        return None


class _Place:
    """One of the ``parallel`` places; given up early by a delivery that takes its time."""

    __slots__ = ("_courier", "_late", "_timer")

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._late = False
        self._timer = asyncio.get_running_loop().call_later(_QUICK_SECONDS, self.make_room)
        courier._active += 1

    def make_room(self) -> None:
        """Count as late from now on, if not too many are."""
        courier = self._courier
        if courier._late < courier._limits.parallel_late:
            self._late = True
            courier._late += 1
            courier._active -= 1
            courier._fill()

    def leave(self) -> None:
        """Give the place back."""
        self._timer.cancel()
        if self._late:
            self._courier._late -= 1
        else:
            self._courier._active -= 1
