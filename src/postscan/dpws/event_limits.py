"""What a subscriber may ask of an event source: bounds, rates, filters and times (dpws.md, 3.2, 3.3)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from postscan.contracts import wse
from postscan.core.clock import Clock
from postscan.dpws.discovery.guards import TokenBucket

# Identities whose rate of Subscribes is remembered.
_RATED_OWNERS: Final = 10_000


@dataclass(frozen=True, slots=True)
class EventLimits:
    """Bounds of an event source.

    Subscriptions in all, of one identity, and of one identity from one address; life in seconds; events
    waiting for one sink, and from how many on a newer status takes the place of an older one; Subscribes of
    one identity in a minute; seconds for one delivery and for stopping; pauses (seconds) between the tries
    of one delivery, usually and for the first one after a restart, when the network may not be up yet.
    """

    max_subscriptions: int = 10_000
    max_subscriptions_per_owner: int = 16
    max_subscriptions_per_peer: int = 16
    default_expires: float = 3_600.0
    max_expires: float = 7_200.0
    max_queue: int = 200
    merge_from: int = 16
    subscribes_per_minute: float = 60.0
    delivery_seconds: float = 10.0
    stop_seconds: float = 6.0
    retry_pauses: tuple[float, ...] = (0.5, 2.0)
    first_retry_pauses: tuple[float, ...] = (0.5, 2.0, 8.0, 30.0)


class SubscribeRates:
    """Counts the Subscribes of each of at most 10,000 identities (abuse case 17)."""

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def check(self, owner: str) -> None:
        """Count a Subscribe; raises EventSourceUnableToProcess when there were too many of late."""
        now, limit = self._clock.monotonic(), self._per_minute
        bucket = self._buckets.setdefault(owner, TokenBucket(limit / 60, limit, now))
        self._buckets.move_to_end(owner)
        if len(self._buckets) > _RATED_OWNERS:
            self._buckets.popitem(last=False)
        if not bucket.take(now):
            raise wse.EventSourceUnableToProcess("too many Subscribes in a short time")


def chosen_actions(request: wse.Subscribe, raised: Sequence[str]) -> tuple[str, ...]:
    """Return the actions that a Subscribe filters by, of those that mean something; empty for all events.

    :param raised: the actions of the events that the source raises.
    :raises DeliveryModeRequestedUnavailable: events are wanted in another way than by Push.
    :raises FilteringRequestedUnavailable: the filter is of another dialect than Action.
    :raises FilterActionNotSupported: it lets none of the source's events through.
    """
    if request.mode not in (None, wse.PUSH):
        raise wse.DeliveryModeRequestedUnavailable(f"mode {request.mode}")
    if request.filter_dialect is None and not request.filter_actions:
        return ()
    if request.filter_dialect not in (None, wse.ACTION_DIALECT):
        raise wse.FilteringRequestedUnavailable(f"dialect {request.filter_dialect}")
    known = tuple(a for a in request.filter_actions if any(wse.action_matches((a,), own) for own in raised))
    if not known:
        raise wse.FilterActionNotSupported("no listed action is known")
    return known


def granted(expires: wse.Expires | None, limits: EventLimits, clock: Clock) -> float:
    """Return how many seconds a subscription gets; raises InvalidExpirationTime for a time that is over."""
    if expires is None:
        return limits.default_expires
    seconds = expires.seconds_from(clock.now())
    if seconds <= 0:
        raise wse.InvalidExpirationTime(f"{seconds} seconds")
    return min(seconds, limits.max_expires)
