"""WS-Eventing 2004/08 with the DPWS profile, as source: subscriptions and their ordered delivery."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from lxml import etree

from postscan.contracts import wse
from postscan.core.clock import Clock
from postscan.core.log import get_logger
from postscan.dpws.client import SoapClient, Unreachable
from postscan.dpws.http.messages import Peer
from postscan.dpws.notify_policy import NotifyPolicy, PinnedResolver
from postscan.soap.envelope import EndpointReference
from postscan.soap.names import WSDP, WSE, qname

_log = get_logger("eventing")
IDENTIFIER: Final = qname(WSE, "Identifier")
ACTION_DIALECT: Final = f"{WSDP}/Action"
PUSH: Final = f"{WSE}/DeliveryModes/Push"
_RETRY_PAUSES: Final = (0.5, 2.0)
# Checked host names nobody uses any more that may be kept before they are cleared away.
_SPARE_PINS: Final = 256


@dataclass(frozen=True, slots=True)
class EventLimits:
    """Bounds of an event source: subscriptions, life in seconds, events waiting for one sink."""

    max_subscriptions: int = 10_000
    max_subscriptions_per_owner: int = 16
    default_expires: float = 3_600.0
    max_expires: float = 7_200.0
    max_queue: int = 200
    delivery_seconds: float = 10.0


@dataclass(eq=False)
class Subscription:
    """One subscriber: where events go, which ones, until when (monotonic seconds), and on whose behalf."""

    identifier: str
    owner: str
    notify_to: EndpointReference
    end_to: EndpointReference | None
    actions: tuple[str, ...]
    expires_at: float
    queue: deque[tuple[str, etree._Element]] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def wants(self, action: str) -> bool:
        """Whether the subscription's filter lets this event through."""
        return not self.actions or wse.action_matches(self.actions, action)


class EventSource:
    """The subscriptions of one hosted service."""

    def __init__(
        self,
        *,
        address: Callable[[], str],
        actions: Sequence[str],
        clock: Clock,
        policy: NotifyPolicy,
        limits: EventLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Put the source together; ``tls`` says whom https sinks must be certified by (None: the usual)."""
        self._address = address
        self._actions = tuple(actions)
        self._clock = clock
        self._policy = policy
        self._limits = limits or EventLimits()
        self._resolver = PinnedResolver()
        # A connection for every sink there may be: those that answer nothing must not use up the others'.
        self._client = SoapClient(
            tls=tls, resolver=self._resolver, max_connections=2 * self._limits.max_subscriptions
        )
        self._subscriptions: dict[str, Subscription] = {}
        # Subscriptions that are over and whose end is being told.
        self._ending: dict[asyncio.Task[None], Subscription] = {}

    def __len__(self) -> int:
        self._drop_expired()
        return len(self._subscriptions)

    # Operations ----------------------------------------------------------------------------------------

    async def subscribe(self, request: wse.Subscribe, owner: str, peer: Peer) -> wse.SubscribeResponse:
        """Subscribe ``owner``; raises the WS-Eventing faults of dpws.md 3.7."""
        self._drop_expired()
        if request.mode not in (None, PUSH):
            raise wse.DeliveryModeRequestedUnavailable(f"mode {request.mode}")
        actions = self._chosen_actions(request)
        expires = self._granted(request.expires)
        self._check_room(owner)
        sinks = [request.notify_to] if request.end_to is None else [request.notify_to, request.end_to]
        checked = [(s.address, await self._policy.check(s.address, peer.address)) for s in sinks]
        # Again: others may have come while names were looked up.
        self._check_room(owner)
        self._pin(checked)
        subscription = Subscription(
            identifier=f"urn:uuid:{uuid.uuid4()}",
            owner=owner,
            notify_to=request.notify_to,
            end_to=request.end_to,
            actions=actions,
            expires_at=self._clock.monotonic() + expires,
        )
        subscription.task = asyncio.get_running_loop().create_task(self._deliver(subscription))
        self._subscriptions[subscription.identifier] = subscription
        _log.info("subscribed", owner=owner, sink=request.notify_to.address, seconds=expires)
        return wse.SubscribeResponse(manager=self._manager(subscription), expires=timedelta(seconds=expires))

    def renew(self, identifier: str | None, expires: wse.Expires | None, owner: str) -> timedelta:
        """Give a subscription more time and return it; raises UnableToRenew for one that is gone."""
        subscription = self._find(identifier, owner)
        if subscription is None:
            raise wse.UnableToRenew("no such subscription")
        granted = self._granted(expires)
        subscription.expires_at = self._clock.monotonic() + granted
        return timedelta(seconds=granted)

    def status(self, identifier: str | None, owner: str) -> timedelta:
        """Return the time a subscription has left; raises InvalidMessage for one that is gone."""
        subscription = self._find(identifier, owner)
        if subscription is None:
            raise wse.InvalidMessage("no such subscription", detail="wse:Identifier")
        return timedelta(seconds=max(0.0, round(subscription.expires_at - self._clock.monotonic(), 3)))

    def unsubscribe(self, identifier: str | None, owner: str) -> None:
        """End a subscription at its subscriber's wish; raises InvalidMessage for one that is gone."""
        subscription = self._find(identifier, owner)
        if subscription is None:
            raise wse.InvalidMessage("no such subscription", detail="wse:Identifier")
        self._remove(subscription)

    # Events --------------------------------------------------------------------------------------------

    def publish(
        self, action: str, event: Callable[[], etree._Element], for_owner: Callable[[str], bool]
    ) -> None:
        """Queue an event for every subscription that wants it and whose owner may know of it."""
        self._drop_expired()
        made: etree._Element | None = None
        for subscription in list(self._subscriptions.values()):
            if not for_owner(subscription.owner) or not subscription.wants(action):
                continue
            if len(subscription.queue) >= self._limits.max_queue:
                self._end(subscription, "DeliveryFailure", "Too many events wait to be delivered.")
                continue
            made = event() if made is None else made
            subscription.queue.append((action, made))
            subscription.idle.clear()
            subscription.wake.set()

    async def close(self) -> None:
        """Deliver what waits (briefly), then end every subscription: the source shuts down."""
        self._drop_expired()
        subscriptions = list(self._subscriptions.values())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.delivery_seconds):
                await asyncio.gather(*(s.idle.wait() for s in subscriptions if s.queue))
        # Those that failed meanwhile were told so already.
        subscriptions = list(self._subscriptions.values())
        reason = "The scan server is stopping."
        await asyncio.gather(*(self._send_end(s, "SourceShuttingDown", reason) for s in subscriptions))
        for subscription in subscriptions:
            self._remove(subscription)
        if self._ending:
            await asyncio.wait(self._ending)
        await self._client.close()

    # Inside --------------------------------------------------------------------------------------------

    def _chosen_actions(self, request: wse.Subscribe) -> tuple[str, ...]:
        if request.filter_dialect is None and not request.filter_actions:
            return ()
        if request.filter_dialect not in (None, ACTION_DIALECT):
            raise wse.FilteringRequestedUnavailable(f"dialect {request.filter_dialect}")
        known = tuple(
            a for a in request.filter_actions if any(wse.action_matches((a,), own) for own in self._actions)
        )
        if not known:
            raise wse.FilterActionNotSupported("no listed action is known")
        return known

    def _check_room(self, owner: str) -> None:
        held = sum(1 for s in self._subscriptions.values() if s.owner == owner)
        if (
            held >= self._limits.max_subscriptions_per_owner
            or len(self._subscriptions) >= self._limits.max_subscriptions
        ):
            raise wse.EventSourceUnableToProcess("too many subscriptions")

    def _granted(self, expires: wse.Expires | None) -> float:
        if expires is None:
            return self._limits.default_expires
        seconds = expires.seconds_from(self._clock.now())
        if seconds <= 0:
            raise wse.InvalidExpirationTime(f"{seconds} seconds")
        return min(seconds, self._limits.max_expires)

    def _pin(self, checked: Sequence[tuple[str, str]]) -> None:
        live = (*self._subscriptions.values(), *self._ending.values())
        if len(self._resolver) > _SPARE_PINS + 4 * len(live):
            sinks = [e for s in live for e in (s.notify_to, s.end_to) if e is not None]
            self._resolver.keep_only(sink.address for sink in sinks)
        for url, address in checked:
            self._resolver.pin(url, address)

    def _manager(self, subscription: Subscription) -> EndpointReference:
        identifier = etree.Element(IDENTIFIER, nsmap={"wse": WSE})
        identifier.text = subscription.identifier
        return EndpointReference(self._address(), (identifier,))

    def _find(self, identifier: str | None, owner: str) -> Subscription | None:
        self._drop_expired()
        subscription = self._subscriptions.get((identifier or "").strip())
        return subscription if subscription is not None and subscription.owner == owner else None

    def _drop_expired(self) -> None:
        now = self._clock.monotonic()
        for subscription in [s for s in self._subscriptions.values() if s.expires_at <= now]:
            self._remove(subscription)

    def _remove(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription.identifier, None)
        # Nothing more comes of its queue: whoever waits for that may go on.
        subscription.idle.set()
        if subscription.task is not None and subscription.task is not asyncio.current_task():
            subscription.task.cancel()

    def _end(self, subscription: Subscription, status: str, reason: str) -> None:
        self._remove(subscription)
        _log.warning("subscription ended", sink=subscription.notify_to.address, status=status)
        task = asyncio.get_running_loop().create_task(self._send_end(subscription, status, reason))
        self._ending[task] = subscription
        task.add_done_callback(self._ending.pop)

    async def _send_end(self, subscription: Subscription, status: str, reason: str) -> None:
        if subscription.end_to is None:
            return
        end = wse.SubscriptionEnd(
            manager=self._manager(subscription), status=f"{WSE}/{status}", reason=reason
        )
        try:
            await self._client.notify(
                subscription.end_to.address,
                f"{WSE}/SubscriptionEnd",
                end.to_element(),
                parameters=subscription.end_to.parameters,
                timeout_seconds=self._limits.delivery_seconds,
            )
        except Unreachable as error:
            _log.info("subscription end not delivered", sink=subscription.end_to.address, why=str(error))

    async def _deliver(self, subscription: Subscription) -> None:
        while True:
            await subscription.wake.wait()
            subscription.wake.clear()
            while subscription.queue:
                action, event = subscription.queue[0]
                if not await self._deliver_one(subscription, action, event):
                    self._end(subscription, "DeliveryFailure", "Events could not be delivered.")
                    return
                subscription.queue.popleft()
            subscription.idle.set()

    async def _deliver_one(self, subscription: Subscription, action: str, event: etree._Element) -> bool:
        for pause in (*_RETRY_PAUSES, None):
            try:
                await self._client.notify(
                    subscription.notify_to.address,
                    action,
                    event,
                    parameters=subscription.notify_to.parameters,
                    timeout_seconds=self._limits.delivery_seconds,
                )
            except Unreachable as error:
                _log.info("event not delivered", sink=subscription.notify_to.address, why=str(error))
                if pause is not None:
                    await asyncio.sleep(pause)
            else:
                return True
        return False
