"""A subscription of ours at an event source, kept alive: renewed in time, made anew only when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from postscan.contracts import wse
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.dpws.client import RemoteFault
from postscan.soap.envelope import EndpointReference
from postscan.soap.names import WSE, qname

_log = get_logger("sink")
_IDENTIFIER: Final = qname(WSE, "Identifier")
# After half its time there is as much left again for a source that does not answer just now.
_RENEW_AFTER: Final = 0.5
_PAUSES: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
_TEMPORARY: Final = frozenset({"ServerErrorTemporaryError", "ServerErrorInternalError"})

Subscribe = Callable[[], Awaitable[wse.SubscribeResponse]]
Renew = Callable[[EndpointReference], Awaitable[timedelta]]


class KeptSubscription:
    """One subscription; :meth:`begin` makes it, and while :meth:`keep` runs it stays.

    ``manager`` is where it is managed; None while there is none, and events have to be done without.

    :param subscribe: subscribes once and does not try again by itself.
    :param renew: renews the subscription of a manager once and returns the time it has.
    """

    def __init__(
        self,
        subscribe: Subscribe,
        renew: Renew,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Prepare; ``monotonic`` and ``sleep`` are replaced in tests whose clock stands still."""
        self.manager: EndpointReference | None = None
        self._subscribe = subscribe
        self._renew = renew
        self._monotonic = monotonic
        self._sleep = sleep
        self._renew_at = 0.0
        self._ends_at = 0.0
        self._failures = 0
        self._ended = asyncio.Event()

    async def begin(self) -> None:
        """Subscribe. :raises PostscanError: the source refused, or cannot be reached."""
        self.began(await self._subscribe())

    def began(self, answer: wse.SubscribeResponse) -> None:
        """Take over a subscription that was made elsewhere."""
        self.manager = answer.manager
        self._ended.clear()
        self._granted(answer.expires)

    def ended(self, manager: EndpointReference) -> None:
        """Note that the source has ended the subscription of ``manager``; that of an older one is no news."""
        if self.manager is not None and _name_of(manager) == _name_of(self.manager):
            self.manager = None
            self._ended.set()

    async def keep(self) -> None:
        """Renew, and subscribe again when the source has lost or ended it; runs until it is cancelled."""
        while True:
            if self.manager is None:
                # A source that ends subscriptions is mostly about to stop: it is not asked at once.
                await self._sleep(self._pause())
                with contextlib.suppress(PostscanError):
                    await self.begin()
                    _log.info("subscribed again")
                continue
            await self._until_due()
            if self.manager is not None:
                await self._renew_once(self.manager)

    async def _until_due(self) -> None:
        waiting = asyncio.ensure_future(self._sleep(max(0.0, self._renew_at - self._monotonic())))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            ended.cancel()
            await asyncio.wait({waiting, ended})

    async def _renew_once(self, manager: EndpointReference) -> None:
        try:
            granted = await self._renew(manager)
        except PostscanError as error:
            gone = isinstance(error, RemoteFault) and error.subcode not in _TEMPORARY
            _log.info("subscription not renewed", why=str(error), gone=gone)
            if gone or self._monotonic() >= self._ends_at:
                self.manager = None
            else:
                self._renew_at = self._monotonic() + self._pause()
            return
        self._granted(granted)

    def _granted(self, expires: timedelta) -> None:
        now, seconds = self._monotonic(), expires.total_seconds()
        self._failures = 0
        self._ends_at = now + seconds
        self._renew_at = now + max(1.0, seconds * _RENEW_AFTER)

    def _pause(self) -> float:
        pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        self._failures += 1
        return pause


def _name_of(manager: EndpointReference) -> tuple[str, ...]:
    """Return what tells one subscription from another; all of it, where the source uses no Identifier."""
    named = [(p.text or "").strip() for p in manager.parameters if p.tag == _IDENTIFIER]
    if named:
        return tuple(named)
    return (manager.address, *("".join(map(str, p.itertext())) for p in manager.parameters))
