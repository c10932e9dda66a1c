"""Following a scan server: its events as they come, over renewals, losses and restarts of the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from postscan.console.client import Event, RepositoryClient, event_of
from postscan.contracts import dsc, wse
from postscan.core.errors import PostscanError
from postscan.dpws.client import Unreachable
from postscan.dpws.kept_subscription import KeptSubscription
from postscan.dpws.sink import EventSink, SubscriptionEnded, address_towards
from postscan.soap.envelope import EndpointReference

# Short, since a server that was killed and set up anew is only noticed when a renewal fails.
_EXPIRES: Final = timedelta(minutes=10)
_COURTESY_SECONDS: Final = 5.0
_MOST_ACTIVE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How everything stands when following begins, or begins again: events before it may be missing."""

    status: dsc.RepositoryStatus
    active: dsc.JobList


@dataclass(frozen=True, slots=True)
class Trouble:
    """Events do not come just now; following goes on."""

    what: str


class _SubscribedAgain:
    """Stands among the events where a new subscription began."""


News = Event | Snapshot | Trouble


@dataclass(frozen=True, slots=True)
class FollowPlan:
    """How to follow.

    ``sink_address`` is where to listen for events, an address of this machine; None: the one it has towards
    the server. A subscription lasts for ``expires`` and is renewed when half of that is over.
    """

    sink_address: str | None = None
    expires: timedelta = _EXPIRES


@asynccontextmanager
async def following(
    client: RepositoryClient, plan: FollowPlan | None = None
) -> AsyncIterator[AsyncIterator[News]]:
    """Follow a server while the block runs; yields its news, a Snapshot first.

    :raises PostscanError: the first subscription fails; later ones are tried again.
    """
    follower = _Follower(client, plan or FollowPlan())
    try:
        await follower.begin()
        yield follower.news()
    finally:
        await follower.end()


class _Follower:
    def __init__(self, client: RepositoryClient, plan: FollowPlan) -> None:
        self._client = client
        self._plan = plan
        self._sink: EventSink[Event | Trouble | _SubscribedAgain] = EventSink(event_of)
        self._endpoint: EndpointReference | None = None
        self._subscription = KeptSubscription(
            self._subscribe_again, lambda manager: client.renew(manager, plan.expires)
        )
        self._keeping: asyncio.Task[None] | None = None
        self._trouble = ""

    async def begin(self) -> None:
        await self._client.find()
        self._subscription.began(await self._client.subscribe(await self._listening(), self._plan.expires))
        self._keeping = asyncio.create_task(self._subscription.keep())

    async def end(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        if self._subscription.manager is not None:
            with contextlib.suppress(PostscanError, TimeoutError):
                async with asyncio.timeout(_COURTESY_SECONDS):
                    await self._client.unsubscribe(self._subscription.manager)
        await self._sink.stop()

    async def news(self) -> AsyncIterator[News]:
        # After the subscription began, so that nothing is lost between the two.
        yield await self._snapshot()
        while True:
            event = await self._sink.events.get()
            if isinstance(event, _SubscribedAgain):
                yield await self._snapshot()
            elif not isinstance(event, SubscriptionEnded):
                yield event
            elif self._is_ours(event):
                yield Trouble(f"the server ended the subscription ({event.status}); subscribing again")

    def _is_ours(self, ended: SubscriptionEnded) -> bool:
        """Take note of an end; False for that of a subscription which was replaced already."""
        if ended.manager is not None:
            self._subscription.ended(ended.manager)
        return self._subscription.manager is None

    async def _listening(self) -> EndpointReference:
        if self._endpoint is None:
            self._endpoint = await self._listen()
        return self._endpoint

    async def _listen(self) -> EndpointReference:
        address = self._plan.sink_address
        try:
            if address is None:
                where = urlsplit(self._client.url)
                port = where.port or (443 if where.scheme == "https" else 80)
                address = await asyncio.to_thread(address_towards, where.hostname or "localhost", port)
            return await self._sink.start(address)
        except OSError as error:
            raise Unreachable(
                f"cannot listen for events on {address or 'any address of this machine'}: {error.strerror}",
                advice="Name an address of this machine that the server reaches, with --notify-address.",
            ) from error

    async def _snapshot(self) -> Snapshot | Trouble:
        try:
            active = await self._client.all_of(self._client.active_jobs, _MOST_ACTIVE)
            return Snapshot(await self._client.status(), active)
        except PostscanError as error:
            return Trouble(f"the server does not say how it stands: {error}")

    async def _subscribe_again(self) -> wse.SubscribeResponse:
        self._client.forget()
        try:
            answer = await self._client.subscribe(await self._listening(), self._plan.expires, once=True)
        except PostscanError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._put(Trouble(f"{error}; trying again"))
            raise
        self._trouble = ""
        self._put(_SubscribedAgain())
        return answer

    def _put(self, one: Trouble | _SubscribedAgain) -> None:
        # A full queue holds more than enough to read; what stands now is asked for after the next loss.
        with contextlib.suppress(asyncio.QueueFull):
            self._sink.events.put_nowait(one)
