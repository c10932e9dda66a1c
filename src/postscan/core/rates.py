"""How often something may be said: a flood of the same must not become a flood in the log (abuse case 43)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

import structlog

from postscan.core.clock import Clock

_MOST_KEYS: Final = 1_024


class LineBudget:
    """Lets ``burst`` lines of each key pass at once, then one every ``seconds``; and so for all together.

    The keys seen last are remembered; ``all_together`` bounds what many keys may make pass, at so many times
    the rate of one.
    """

    def __init__(
        self, clock: Clock, *, burst: int = 50, seconds: float = 6.0, all_together: int = 10
    ) -> None:
        self._clock = clock
        self._burst = burst
        self._seconds = seconds
        self._of_key: OrderedDict[Hashable, _Bucket] = OrderedDict()
        now = clock.monotonic()
        self._of_all = _Bucket(burst * all_together, seconds / all_together, now)
        self._suppressed = 0

    def take(self, key: Hashable) -> int | None:
        """Return how many lines were held back since the last that passed; None: hold this one back too."""
        now = self._clock.monotonic()
        bucket = self._of_key.pop(key, None) or _Bucket(self._burst, self._seconds, now)
        self._of_key[key] = bucket
        if len(self._of_key) > _MOST_KEYS:
            self._of_key.popitem(last=False)
        if not (bucket.take(now) and self._of_all.take(now)):
            self._suppressed += 1
            return None
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


class BoundedLog:
    """A logger that writes some of many lines about one key, and with them how many were left out."""

    def __init__(
        self, logger: structlog.typing.FilteringBoundLogger, clock: Clock, *, burst: int = 50
    ) -> None:
        """Write up to ``burst`` lines of a key at once; see LineBudget."""
        self._logger = logger
        self._budget = LineBudget(clock, burst=burst)

    def info(self, key: Hashable, event: str, **fields: object) -> None:
        """Write a line for administrators who look what happened."""
        self._write(self._logger.info, key, event, fields)

    def warning(self, key: Hashable, event: str, **fields: object) -> None:
        """Write a line for administrators who should do something."""
        self._write(self._logger.warning, key, event, fields)

    def _write(
        self, write: Callable[..., object], key: Hashable, event: str, fields: dict[str, object]
    ) -> None:
        suppressed = self._budget.take(key)
        if suppressed:
            fields["suppressed"] = suppressed
        if suppressed is not None:
            write(event, **fields)


class _Bucket:
    __slots__ = ("_left", "_most", "_seconds", "_then")

    def __init__(self, most: int, seconds: float, now: float) -> None:
        self._most = float(most)
        self._left = float(most)
        self._seconds = seconds
        self._then = now

    def take(self, now: float) -> bool:
        self._left = min(self._most, self._left + (now - self._then) / self._seconds)
        self._then = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
