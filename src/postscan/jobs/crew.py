"""A few threads that run blocking calls side by side for the one thread that commits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Call = Callable[[], None]


@dataclass(slots=True)
class _Task:
    call: Call
    error: Exception | None = None

    def run(self) -> None:
        try:
            self.call()
        except Exception as error:  # handed to whoever asked for the call
            self.error = error


class Crew:
    """Helpers of one thread: only that one may call ``run_all``.

    Lighter than an executor with its futures, whose locks cost more than the short calls this is for.
    """

    def __init__(self, size: int, name: str) -> None:
        self._waiting: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(size)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads; blocks until they have ended."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def run_all(self, calls: Sequence[Call]) -> list[Exception | None]:
        """Run every call, the first one at least in the calling thread; return what each raised, in order."""
        tasks = [_Task(call) for call in calls]
        for task in tasks[1:]:
            self._waiting.put(task)
        mine: _Task | None = tasks[0] if tasks else None
        by_others = len(tasks)
        while mine is not None:
            mine.run()
            by_others -= 1
            mine = self._left_over()
        for _ in range(by_others):
            self._done.get()
        return [task.error for task in tasks]

    def _left_over(self) -> _Task | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            task.run()
            self._done.put(task)
