"""What keeps a responder from being a weapon: rates, and a memory of what was answered (abuse case 18)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

_SOURCES: Final = 1_024
_MESSAGES: Final = 1_024


class TokenBucket:
    """Lets through ``rate`` things a second on average, ``burst`` at once; time is handed in, in seconds."""

    __slots__ = ("_burst", "_filled", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled = now

    def peek(self, now: float) -> bool:
        """Tell whether one more may pass, without taking it."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled) * self._rate)
        self._filled = now
        return self._tokens >= 1

    def take(self, now: float) -> bool:
        """Let one pass, if it may."""
        if not self.peek(now):
            return False
        self._tokens -= 1
        return True


@dataclass(frozen=True, slots=True)
class AnswerRates:
    """How many answers a second on average, to all together and to one address; twice as many at once."""

    total: float = 50.0
    per_source: float = 5.0


class AnswerLimiter:
    """Counts answers, to all together and to each of at most 1,024 addresses."""

    def __init__(self, rates: AnswerRates, now: float) -> None:
        self._rates = rates
        self._total = TokenBucket(rates.total, 2 * rates.total, now)
        self._sources: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def take(self, source: Hashable, now: float) -> bool:
        """Let one answer to ``source`` pass, if both its own rate and that of all allow it."""
        bucket = self._sources.get(source)
        if bucket is None:
            bucket = TokenBucket(self._rates.per_source, 2 * self._rates.per_source, now)
        self._sources[source] = bucket
        self._sources.move_to_end(source)
        if len(self._sources) > _SOURCES:
            self._sources.popitem(last=False)
        return bucket.peek(now) and self._total.take(now) and bucket.take(now)


class RecentMessages:
    """Remembers the last 1,024 messages by sender and id, since everybody sends each several times."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def is_new(self, sender: Hashable, message_id: str) -> bool:
        """Note a message; False when it was noted before."""
        key = (sender, message_id)
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > _MESSAGES:
            self._seen.popitem(last=False)
        return True
