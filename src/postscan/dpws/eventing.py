"""WS-Eventing 2004/08 with the DPWS profile, as source: subscriptions that outlive restarts, and events."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from lxml import etree

from postscan.contracts import wse
from postscan.core.clock import Clock
from postscan.core.errors import InvalidArgument, PostscanError
from postscan.core.log import get_logger
from postscan.dpws.courier import Courier, CourierLimits, Line, Message, Target
from postscan.dpws.event_limits import EventLimits, SubscribeRates, chosen_actions, granted
from postscan.dpws.frames import Frame
from postscan.dpws.http.messages import Peer
from postscan.dpws.notify_policy import NotifyPolicy
from postscan.dpws.sink_pool import SinkPool
from postscan.dpws.subscriptions import (
    Roster,
    Subscription,
    SubscriptionStore,
    clock_went_back,
    identifier_element,
    seconds_left,
    target_of,
)
from postscan.soap.envelope import EndpointReference
from postscan.soap.names import WSE, qname

__all__ = ["EventLimits", "EventSource", "Restored"]

_log = get_logger("eventing")
IDENTIFIER: Final = qname(WSE, "Identifier")
# Confirmations are written this long (seconds) after the first one: one small commit for many of them.
_CONFIRM_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Restored:
    """A subscription that outlived a restart; ``confirmed`` is the greatest mark its subscriber took."""

    identifier: str
    owner: str
    actions: tuple[str, ...]
    confirmed: int

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
        store: SubscriptionStore | None = None,
        keep_on_stop: bool = False,
    ) -> None:
        """Put the source together.

        :param tls: says whom https sinks must be certified by (None: the system's authorities).
        :param store: keeps the subscriptions over restarts; None forgets them.
        :param keep_on_stop: ends nothing when the source is closed, so that all go on after the next start.
        """
        self._address = address
        self._actions = tuple(actions)
        self._clock = clock
        self._policy = policy
        self._limits = limits or EventLimits()
        self._store = store
        self._keep_on_stop = keep_on_stop and store is not None
        self._pool = SinkPool(tls)
        self._courier = Courier(
            self._pool,
            policy.check,
            CourierLimits(delivery_seconds=self._limits.delivery_seconds),
            delivered=self._delivered,
            failed=self._failed,
        )
        self._roster = Roster()
        self._rates = SubscribeRates(self._limits.subscribes_per_minute, clock)
        # Filters come in few kinds: equal ones are kept once.
        self._filters: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._last_mark = 0
        self._unwritten: dict[str, int] = {}
        self._writing_marks: asyncio.TimerHandle | None = None
        self._writes: set[asyncio.Future[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        self._drop_expired()
        return len(self._roster)

    # Operations ----------------------------------------------------------------------------------------

    async def subscribe(self, request: wse.Subscribe, owner: str, peer: Peer) -> wse.SubscribeResponse:
        """Subscribe ``owner``, durably if there is a store; raises the WS-Eventing faults of dpws.md 3.7."""
        self._drop_expired()
        actions = chosen_actions(request, self._actions)
        expires = granted(request.expires, self._limits, self._clock)
        self._rates.check(owner)
        self._check_room(owner, peer.address)
        sinks = [request.notify_to] if request.end_to is None else [request.notify_to, request.end_to]
        checked = [target_of(s, await self._policy.check(s.address, peer.address)) for s in sinks]
        # Again: others may have come while names were looked up.
        self._check_room(owner, peer.address)
        subscription = Subscription(
            f"urn:uuid:{uuid.uuid4()}",
            owner,
            peer.address,
            checked[0],
            checked[1] if len(checked) > 1 else None,
            self._filters.setdefault(actions, actions) if len(self._filters) < 256 else actions,
            expires_at=self._clock.monotonic() + expires,
            confirmed=self._last_mark,
            pauses=self._limits.retry_pauses,
        )
        self._roster.add(subscription)
        if self._store is not None:
            try:
                await self._store.save(subscription.stored(self._clock))
            except BaseException:
                self._remove([subscription])
                raise
        _log.info("subscribed", owner=owner, sink=request.notify_to.address, seconds=expires)
        return wse.SubscribeResponse(
            manager=self._manager(subscription.identifier), expires=timedelta(seconds=expires)
        )

    def renew(self, identifier: str | None, expires: wse.Expires | None, owner: str) -> timedelta:
        """Give a subscription more time and return it; raises UnableToRenew for one that is gone.

        Durable once :meth:`stored` has returned.
        """
        subscription = self._find(identifier, owner)
        if subscription is None:
            raise wse.UnableToRenew("no such subscription")
        seconds = granted(expires, self._limits, self._clock)
        subscription.expires_at = self._clock.monotonic() + seconds
        self._roster.prolonged(subscription)
        if self._store is not None:
            self._write(partial(self._store.save, subscription.stored(self._clock)))
        return timedelta(seconds=seconds)

    def status(self, identifier: str | None, owner: str) -> timedelta:
        """Return the time a subscription has left; raises InvalidMessage for one that is gone."""
        subscription = self._find(identifier, owner)
        if subscription is None:
            raise wse.InvalidMessage("no such subscription", detail="wse:Identifier")
        return timedelta(seconds=max(0.0, round(subscription.expires_at - self._clock.monotonic(), 3)))

    def unsubscribe(self, identifier: str | None, owner: str) -> None:
        """End a subscription at its subscriber's wish; raises InvalidMessage for one that is gone.

        Durable once :meth:`stored` has returned.
        """
        subscription = self._find(identifier, owner)
        if subscription is None:
            raise wse.InvalidMessage("no such subscription", detail="wse:Identifier")
        self._remove([subscription])

    async def stored(self) -> None:
        """Return when everything that was changed so far is durable; raises what the store raises."""
        writes = set(self._writes)
        if writes:
            # Not gather: whoever stops waiting must not cancel what others wait for.
            await asyncio.wait(writes)
            for write in writes:
                write.result()

    # Events --------------------------------------------------------------------------------------------

    def publish(
        self,
        action: str,
        event: Callable[[], etree._Element],
        for_owner: Callable[[str], bool] | str,
        *,
        subject: str | None = None,
        mark: int | None = None,
    ) -> None:
        """Queue an event for every subscription that wants it and whose owner may know of it.

        :param event: makes the body; called once, and only if anybody wants it.
        :param for_owner: tells whether an identity may know of it; or the only one that may.
        :param subject: lets the event take the place of an older one of the same action and subject that
            still waits for a slow sink.
        :param mark: a number that grows from event to event; after a restart each subscription tells the
            greatest one that its subscriber took.
        """
        self._drop_expired()
        if mark is not None:
            self._last_mark = max(self._last_mark, mark)
        if isinstance(for_owner, str):
            owners = [for_owner]
        else:
            owners = [owner for owner in self._roster.owners if for_owner(owner)]
        message: Message | None = None
        for owner in owners:
            for subscription in self._roster.of(owner):
                if subscription.wants(action):
                    message = message or Message(Frame(action, event()), subject, mark)
                    self._queue(subscription, message)

    def tell(
        self,
        identifier: str,
        action: str,
        event: Callable[[], etree._Element],
        *,
        subject: str | None = None,
        mark: int | None = None,
    ) -> None:
        """Queue an event for one restored subscription, if it wants it, whatever waits already."""
        subscription = self._roster.get(identifier)
        if subscription is not None and subscription.wants(action):
            subscription.backlog += 1
            self._courier.send(subscription, Message(Frame(action, event()), subject, mark))

    async def restore(self, last_mark: int = 0) -> list[Restored]:
        """Take up the subscriptions that were kept and have time left; ``last_mark`` was the last one given.

        Their sinks are checked again before anything is sent to them.
        """
        self._last_mark = max(self._last_mark, last_mark)
        if self._store is None:
            return []
        now = self._clock.now()
        useless = []
        for kept in await self._store.load():
            left = min(seconds_left(kept, now), self._limits.max_expires)
            try:
                if left <= 0:
                    raise InvalidArgument("its time is over")
                patient = self._limits.first_retry_pauses
                subscription = Subscription.restored(kept, left, self._clock, patient)
            except InvalidArgument as error:
                _log.info("subscription not taken up again", identifier=kept.identifier, why=str(error))
                useless.append(kept.identifier)
                continue
            self._roster.add(subscription)
            if clock_went_back(kept, now):
                # What it has now is all it has, also when the clock stays behind and we start again.
                self._write(partial(self._store.save, subscription.stored(self._clock)))
        if useless:
            self._write(partial(self._store.remove, useless))
        if len(self._roster):
            _log.info("subscriptions taken up again", count=len(self._roster))
        return [Restored(one.identifier, one.owner, one.actions, one.confirmed) for one in self._roster]

    async def close(self, *, keep: bool | None = None) -> None:
        """Deliver what waits (briefly), then end every subscription: the source shuts down.

        Takes ``stop_seconds`` at the most, however many sinks do not answer. ``keep`` (as constructed, when
        None) leaves the subscriptions in the store instead, without a word to anyone.
        """
        self._closed = True
        self._drop_expired()
        deadline = asyncio.get_running_loop().time() + self._limits.stop_seconds
        await self._courier.drained(self._limits.stop_seconds / 2)
        if not (self._keep_on_stop if keep is None else keep and self._store is not None):
            self._end(list(self._roster), "SourceShuttingDown", "The scan server is stopping.")
            await self._courier.drained(deadline - asyncio.get_running_loop().time())
        await self._courier.close()
        await self._pool.close()
        self._write_marks()
        with contextlib.suppress(PostscanError):
            await self.stored()

    # Inside --------------------------------------------------------------------------------------------

    def _check_room(self, owner: str, peer: str) -> None:
        if self._closed:
            raise wse.EventSourceUnableToProcess("the event source is stopping")
        limits = self._limits
        held = self._roster.of(owner)
        if len(self._roster) >= limits.max_subscriptions or len(held) >= limits.max_subscriptions_per_owner:
            raise wse.EventSourceUnableToProcess("too many subscriptions")
        if sum(one.peer == peer for one in held) >= limits.max_subscriptions_per_peer:
            raise wse.EventSourceUnableToProcess("too many subscriptions of one device")

    def _manager(self, identifier: str) -> EndpointReference:
        return EndpointReference(self._address(), (identifier_element(IDENTIFIER, identifier, {"wse": WSE}),))

    def _find(self, identifier: str | None, owner: str) -> Subscription | None:
        self._drop_expired()
        subscription = self._roster.get((identifier or "").strip())
        return subscription if subscription is not None and subscription.owner == owner else None

    def _drop_expired(self) -> None:
        if over := self._roster.expired(self._clock.monotonic()):
            self._remove(over)

    def _remove(self, subscriptions: Sequence[Subscription]) -> list[Subscription]:
        removed = [one for one in subscriptions if self._roster.remove(one)]
        for one in removed:
            self._courier.drop(one)
            self._unwritten.pop(one.identifier, None)
        if removed and self._store is not None:
            self._write(partial(self._store.remove, [one.identifier for one in removed]))
        return removed

    def _queue(self, subscription: Subscription, message: Message) -> None:
        waiting = len(subscription.waiting or ())
        if waiting >= self._limits.merge_from and subscription.replace(message):
            return
        if waiting >= self._limits.max_queue + subscription.backlog:
            self._end([subscription], "DeliveryFailure", "Too many events wait to be delivered.")
            return
        self._courier.send(subscription, message)

    def _end(self, subscriptions: Sequence[Subscription], status: str, reason: str) -> None:
        for one in self._remove(subscriptions):
            if one.end_to is None:
                continue
            end = wse.SubscriptionEnd(
                manager=self._manager(one.identifier), status=f"{WSE}/{status}", reason=reason
            )
            frame = Frame(wse.SUBSCRIPTION_END_ACTION, end.to_element())
            self._courier.send(_LastWord(one.end_to, one.peer), Message(frame))

    def _delivered(self, line: Line, message: Message) -> None:
        if not isinstance(line, Subscription):
            return
        line.pauses = self._limits.retry_pauses
        if message.mark is not None and message.mark > line.confirmed:
            line.confirmed = message.mark
            self._unwritten[line.identifier] = message.mark
            if self._store is not None and self._writing_marks is None:
                loop = asyncio.get_running_loop()
                self._writing_marks = loop.call_later(_CONFIRM_SECONDS, self._write_marks)

    def _failed(self, line: Line, error: PostscanError) -> None:
        if isinstance(line, Subscription):
            _log.warning(
                "subscription ended: its events could not be delivered",
                sink=line.target.url,
                owner=line.owner,
                why=str(error),
            )
            self._end([line], "DeliveryFailure", "Events could not be delivered.")
        else:
            _log.info("subscription end not delivered", sink=line.target.url, why=str(error))

    def _write_marks(self) -> None:
        if self._writing_marks is not None:
            self._writing_marks.cancel()
            self._writing_marks = None
        marks, self._unwritten = self._unwritten, {}
        if marks and self._store is not None:
            self._write(partial(self._store.confirm, marks))

    def _write(self, write: Callable[[], Awaitable[None]]) -> None:
        """Begin a write and remember it until it is done; :meth:`stored` raises what it fails with."""
        future: asyncio.Future[None]
        try:
            future = asyncio.ensure_future(write())
        except PostscanError as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        self._writes.add(future)
        future.add_done_callback(self._written)

    def _written(self, future: asyncio.Future[None]) -> None:
        self._writes.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            _log.warning("a change of subscriptions was not stored", why=str(error))


class _LastWord(Line):
    """The line of a SubscriptionEnd: it is said once."""

    __slots__ = ()

    def __init__(self, target: Target, peer: str) -> None:
        super().__init__(target, peer, ())
