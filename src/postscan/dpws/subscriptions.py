"""Subscriptions as values: live, and as they are kept over a restart."""

from __future__ import annotations

import heapq
import json
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, Self

from lxml import etree

from postscan.contracts import wse
from postscan.core.clock import Clock
from postscan.core.errors import InvalidArgument
from postscan.dpws.courier import Line, Target
from postscan.dpws.frames import parameters_as_octets
from postscan.soap.envelope import EndpointReference


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """What outlives the server.

    It ends at ``until`` by the wall clock and at the latest ``seconds_left`` after it was written, which
    bounds what a clock that was set back can add. ``content`` is the rest, as this module writes it;
    ``confirmed`` is the greatest mark of an event that its subscriber took.
    """

    identifier: str
    content: bytes
    until: datetime
    seconds_left: float
    confirmed: int


class SubscriptionStore(Protocol):
    """Keeps the subscriptions of one event source; what an awaitable was returned for is durable then.

    Writes take effect in the order in which they are asked for, whether anybody awaits them or not.
    """

    async def load(self) -> Sequence[StoredSubscription]:
        """Return everything that is kept."""

    def save(self, kept: StoredSubscription) -> Awaitable[None]:
        """Keep a subscription, in place of the one with its identifier if there is one."""

    def remove(self, identifiers: Sequence[str]) -> Awaitable[None]:
        """Forget subscriptions; unknown ones are no error."""

    def confirm(self, marks: Mapping[str, int]) -> Awaitable[None]:
        """Set ``confirmed`` by identifier; unknown ones are no error."""


class Subscription(Line):
    """One subscriber: a line to its sink, which events it wants, until when (monotonic seconds), for whom.

    ``owner`` is the identity on whose behalf, ``peer`` the address it subscribed from; ``backlog`` is how
    many events a restart left waiting.
    """

    __slots__ = ("actions", "backlog", "confirmed", "end_to", "expires_at", "identifier", "owner")

    def __init__(
        self,
        identifier: str,
        owner: str,
        peer: str,
        notify_to: Target,
        end_to: Target | None,
        actions: tuple[str, ...],
        *,
        expires_at: float,
        confirmed: int,
        pauses: Sequence[float],
    ) -> None:
        super().__init__(notify_to, peer, pauses)
        self.identifier = identifier
        self.owner = owner
        self.end_to = end_to
        self.actions = actions
        self.expires_at = expires_at
        self.confirmed = confirmed
        self.backlog = 0

    def wants(self, action: str) -> bool:
        """Whether the subscription's filter lets this event through."""
        return not self.actions or wse.action_matches(self.actions, action)

    def stored(self, clock: Clock) -> StoredSubscription:
        """Return what is to be kept of it."""
        left = max(0.0, self.expires_at - clock.monotonic())
        content = {
            "owner": self.owner,
            "peer": self.peer,
            "notify_to": _target_as_json(self.target),
            "end_to": None if self.end_to is None else _target_as_json(self.end_to),
            "actions": self.actions,
        }
        until = clock.now() + timedelta(seconds=left)
        return StoredSubscription(self.identifier, json.dumps(content).encode(), until, left, self.confirmed)

    @classmethod
    def restored(cls, kept: StoredSubscription, left: float, clock: Clock, pauses: Sequence[float]) -> Self:
        """Return the subscription that was kept, with ``left`` seconds to live.

        :raises InvalidArgument: its content is not as :meth:`stored` writes it.
        """
        try:
            content = json.loads(kept.content)
            end_to = content["end_to"]
            return cls(
                kept.identifier,
                str(content["owner"]),
                str(content["peer"]),
                _target_from_json(content["notify_to"]),
                None if end_to is None else _target_from_json(end_to),
                tuple(map(str, content["actions"])),
                expires_at=clock.monotonic() + left,
                confirmed=kept.confirmed,
                pauses=pauses,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidArgument(f"the stored subscription {kept.identifier} is unreadable") from error


def seconds_left(kept: StoredSubscription, now: datetime) -> float:
    """Return how long a kept subscription still has: by the wall clock, but no longer than when written."""
    return min((kept.until - now).total_seconds(), kept.seconds_left)


def clock_went_back(kept: StoredSubscription, now: datetime) -> bool:
    """Tell whether the wall clock is earlier than when the subscription was written."""
    return (kept.until - now).total_seconds() > kept.seconds_left


def target_of(endpoint: EndpointReference, address: str) -> Target:
    """Return where messages for ``endpoint`` go, connecting to ``address``."""
    return Target(endpoint.address, parameters_as_octets(endpoint.parameters), address)


def _target_as_json(target: Target) -> dict[str, str]:
    return {"url": target.url, "parameters": target.parameters.decode()}


def _target_from_json(value: Any) -> Target:
    # Without address: the policy may have changed, and what a name stands for too.
    return Target(str(value["url"]), str(value["parameters"]).encode())


class Roster:
    """The live subscriptions: by identifier, by owner, and by the time they end."""

    def __init__(self) -> None:
        self._all: dict[str, Subscription] = {}
        self._by_owner: dict[str, dict[str, Subscription]] = {}
        # (end, identifier); an entry whose end is not its subscription's any more means nothing.
        self._ends: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._all.values()))

    @property
    def owners(self) -> list[str]:
        """Every owner of at least one subscription."""
        return list(self._by_owner)

    def get(self, identifier: str) -> Subscription | None:
        """Return a subscription."""
        return self._all.get(identifier)

    def of(self, owner: str) -> list[Subscription]:
        """Return an owner's subscriptions."""
        return list(self._by_owner.get(owner, {}).values())

    def add(self, subscription: Subscription) -> None:
        """Take a subscription in."""
        self._all[subscription.identifier] = subscription
        self._by_owner.setdefault(subscription.owner, {})[subscription.identifier] = subscription
        self.prolonged(subscription)

    def prolonged(self, subscription: Subscription) -> None:
        """Note that ``expires_at`` has changed."""
        heapq.heappush(self._ends, (subscription.expires_at, subscription.identifier))
        if len(self._ends) > 2 * len(self._all) + 64:
            self._ends = [(one.expires_at, one.identifier) for one in self._all.values()]
            heapq.heapify(self._ends)

    def remove(self, subscription: Subscription) -> bool:
        """Let a subscription go; False when it was gone already."""
        if self._all.pop(subscription.identifier, None) is None:
            return False
        others = self._by_owner[subscription.owner]
        del others[subscription.identifier]
        if not others:
            del self._by_owner[subscription.owner]
        return True

    def expired(self, now: float) -> list[Subscription]:
        """Return the subscriptions whose time is over, to be removed."""
        over = []
        while self._ends and self._ends[0][0] <= now:
            end, identifier = heapq.heappop(self._ends)
            found = self._all.get(identifier)
            if found is not None and found.expires_at <= end:
                over.append(found)
        return over


def identifier_element(tag: str, identifier: str, prefixes: Mapping[str, str]) -> etree._Element:
    """Return the reference parameter that names a subscription."""
    element = etree.Element(tag, nsmap=dict(prefixes))
    element.text = identifier
    return element
