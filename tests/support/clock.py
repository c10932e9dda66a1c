"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Stands still until it is moved; ``sleep`` waits for that, not for time."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.steady = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced by that much."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self.steady + seconds, waiting)
        self._sleepers.append(entry)
        try:
            await waiting
        finally:
            self._sleepers.remove(entry)

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks, and wake who waited for it."""
        self.wall += timedelta(seconds=seconds)
        self.steady += seconds
        for due, waiting in self._sleepers:
            if due <= self.steady and not waiting.done():
                waiting.set_result(None)

    def jump(self, days: float) -> None:
        """Set the wall clock forwards or back, as an administrator or NTP might."""
        self.wall += timedelta(days=days)
