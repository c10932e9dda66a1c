"""One walk-up scan: from finding the server to the outcome, as the sequence diagram of DSM draws it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol
from urllib.parse import urlsplit

from postscan.contracts import dsp
from postscan.contracts.keywords import END_STATES, JobState, JobStateReason
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.device.client import ScanServerClient
from postscan.device.imaging.scanned import ScannedImage
from postscan.device.sink import EventSink, SubscriptionEnded, address_towards
from postscan.directory.model import StoredProcess, User
from postscan.dpws.client import RemoteFault, Unreachable
from postscan.dpws.kept_subscription import KeptSubscription
from postscan.soap.envelope import EndpointReference

_log = get_logger("device")
_EXPIRES = timedelta(hours=1)
# Events can be lost on the way (firewalls, a sink behind NAT, a server that was started anew): the status is
# asked for as well, ever more seldom.
_FIRST_POLL_SECONDS = 1.0
_POLL_SECONDS = 5.0
_POLL_WITHOUT_EVENTS = 1.0
# How long a courtesy to the server (canceling, unsubscribing) may keep a person waiting.
_COURTESY_SECONDS = 5.0
# How far a job in a state has come: events can come late, or a second time.
_PROGRESS: Final[dict[str, int]] = {
    JobState.CREATING: 0,
    JobState.PENDING_HELD: 1,
    JobState.PENDING: 1,
    JobState.STARTED: 2,
    JobState.PROCESSING: 3,
    JobState.TERMINATING: 4,
    **dict.fromkeys(END_STATES, 5),
}


@dataclass(frozen=True, slots=True)
class _Hearing:
    """What a session listens with: where events arrive, and the subscription that brings them."""

    sink: EventSink
    subscription: KeptSubscription


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended, or where it stood when waiting for it ended (``finished`` false)."""

    token: str
    state: str
    reasons: tuple[str, ...]
    filters: tuple[dsp.FilterStatus, ...]
    images: int
    finished: bool
    by_event: bool

    @property
    def delivered(self) -> bool:
        """Whether everything arrived everywhere."""
        return (
            self.finished
            and self.state == JobState.COMPLETED
            and JobStateReason.COMPLETED_WITH_ERRORS not in self.reasons
        )


class Watcher(Protocol):
    """Who is told how the scan goes: a panel, a terminal, a test."""

    def step(self, what: str) -> None:
        """Note that a phase begins (words for people)."""

    def trouble(self, what: str) -> None:
        """Note something a person should know; the scan goes on, or an error follows."""

    def created(self, token: str) -> None:
        """Note that the job exists."""

    def sent(self, page: ScannedImage, document_id: int) -> None:
        """Note that a page was accepted by the server."""

    def status(self, status: dsp.JobStatus) -> None:
        """Note where the job stands; called as events come, while pages are being sent as well."""


class ScanSession:
    """Scans for one signed-in user to one server; good for one run.

    ``token`` is empty until the job exists; ``accepted`` tells whether the server has taken on to deliver
    it, from when on nothing that happens to the device matters to the job.
    """

    def __init__(
        self,
        client: ScanServerClient,
        user: User,
        watcher: Watcher,
        *,
        sink_address: str | None = None,
        use_events: bool = True,
    ) -> None:
        self.token = ""
        self.accepted = False
        self._client = client
        self._user = user
        self._watcher = watcher
        self._sink_address = sink_address
        self._use_events = use_events
        self._last: dsp.JobStatus | None = None

    async def run(
        self,
        process: StoredProcess,
        pages: AsyncIterable[ScannedImage],
        *,
        wait_seconds: float | None,
        cancel_after: int | None = None,
    ) -> Outcome:
        """Create a job, send every page, end it, and wait for the outcome.

        :param wait_seconds: how long to wait for the end; None does not wait at all.
        :param cancel_after: cancel the job after so many pages instead of ending it.
        :raises PostscanError: the server refused or could not be reached; a job that was begun is canceled.
        """
        self._watcher.step("finding the scan server")
        await self._client.find()
        async with self._subscribed() as hearing:
            self._watcher.step(f"creating a job from “{process.display_name}”")
            self.token = await self._client.create(process, self._user.sid)
            self._watcher.created(self.token)
            # Events that came before the token was known wait in the sink's queue.
            ears = asyncio.create_task(self._listen(hearing)) if hearing is not None else None
            try:
                await self._send_or_give_up(pages, cancel_after)
                if wait_seconds is None:
                    return await self._asked()
                self._watcher.step("waiting for the outcome")
                return await self._wait(ears, hearing, wait_seconds)
            finally:
                if ears is not None:
                    ears.cancel()
                    await asyncio.wait({ears})

    async def _send_or_give_up(self, pages: AsyncIterable[ScannedImage], cancel_after: int | None) -> None:
        try:
            await self._send(pages, cancel_after)
        except (PostscanError, asyncio.CancelledError, OSError):
            await self._give_up()
            raise

    async def _send(self, pages: AsyncIterable[ScannedImage], cancel_after: int | None) -> None:
        document_id = 0
        async for page in pages:
            document_id += 1
            await self._client.send_image(self.token, document_id, page.format, page.data)
            self._watcher.sent(page, document_id)
            if cancel_after is not None and document_id >= cancel_after:
                self._watcher.step("canceling the job")
                await self._client.cancel(self.token)
                return
        self._watcher.step("ending the job")
        await self._client.end(self.token)
        self.accepted = True

    async def _give_up(self) -> None:
        """Cancel what was begun, so that the server need not wait for the rest."""
        try:
            async with asyncio.timeout(_COURTESY_SECONDS):
                await self._client.cancel(self.token)
        except (PostscanError, TimeoutError) as error:
            _log.info("job not canceled", token=self.token, why=str(error))
            self._watcher.trouble(
                f"job {self.token} could not be canceled; the server gives it up by itself after a while,"
                " unless it was accepted already"
            )
        else:
            self._watcher.trouble(f"job {self.token} was canceled")

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[_Hearing | None]:
        """Receive events while the block runs; yields None where that is not possible, or not wanted."""
        if not self._use_events:
            yield None
            return
        sink = EventSink()
        keeping: asyncio.Task[None] | None = None
        subscription: KeptSubscription | None = None
        try:
            try:
                endpoint = await sink.start(await self._address())
                subscription = await self._subscription_to(endpoint)
            except OSError as error:
                words = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
                address = self._sink_address or "any address of this machine"
                self._watcher.trouble(
                    f"no events: cannot listen on {address} ({words}); the outcome is asked for instead"
                )
            except RemoteFault as error:
                if error.subcode == "FailedAuthentication":
                    raise
                # The outcome can be asked for as well; a device behind NAT scans all the same.
                self._watcher.trouble(f"no events: {error}; the outcome is asked for instead")
            if subscription is None:
                yield None
            else:
                keeping = asyncio.create_task(subscription.keep())
                yield _Hearing(sink, subscription)
        finally:
            if keeping is not None:
                keeping.cancel()
                await asyncio.wait({keeping})
            if subscription is not None and subscription.manager is not None:
                with contextlib.suppress(PostscanError, TimeoutError):
                    async with asyncio.timeout(_COURTESY_SECONDS):
                        await self._client.unsubscribe(subscription.manager)
            await sink.stop()

    async def _subscription_to(self, endpoint: EndpointReference) -> KeptSubscription:
        first = await self._client.subscribe(endpoint, _EXPIRES)
        subscription = KeptSubscription(
            lambda: self._client.subscribe(endpoint, _EXPIRES, once=True),
            lambda manager: self._client.renew(manager, _EXPIRES),
        )
        subscription.began(first)
        return subscription

    async def _address(self) -> str:
        if self._sink_address is not None:
            return self._sink_address
        where = urlsplit(self._client.url)
        return await asyncio.to_thread(address_towards, where.hostname or "localhost", where.port or 443)

    async def _listen(self, hearing: _Hearing) -> Outcome:
        """Tell the watcher each event of the job as it comes; return the end."""
        while True:
            event = await hearing.sink.events.get()
            if isinstance(event, SubscriptionEnded):
                if event.manager is not None:
                    hearing.subscription.ended(event.manager)
                continue
            if isinstance(event, dsp.PostScanJobStatusEvent):
                if event.status.job_token == self.token:
                    self._note(event.status)
            elif event.end_state.job_token == self.token:
                end = event.end_state
                reasons = tuple(str(r) for r in end.reasons)
                return Outcome(
                    self.token, str(end.state), reasons, end.filters, end.images_received, True, True
                )

    async def _wait(
        self, ears: asyncio.Task[Outcome] | None, hearing: _Hearing | None, seconds: float
    ) -> Outcome:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        unanswered = False
        pause = _FIRST_POLL_SECONDS
        while (left := deadline - loop.time()) > 0:
            if ears is None:
                await asyncio.sleep(min(left, _POLL_WITHOUT_EVENTS))
            else:
                # Without a subscription no event will come; one may be on its way for all that.
                deaf = hearing is None or hearing.subscription.manager is None
                pause = _POLL_WITHOUT_EVENTS if deaf else pause
                done, _ = await asyncio.wait({ears}, timeout=min(left, pause))
                pause = min(2 * pause, _POLL_SECONDS)
                if done:
                    return ears.result()
            try:
                async with asyncio.timeout_at(deadline):
                    outcome = await self._asked()
            except TimeoutError:
                break
            except Unreachable:
                # The job was accepted and survives a restart of the server; so does waiting for it.
                if not unanswered:
                    self._watcher.trouble("the server does not answer; still waiting")
                unanswered = True
                continue
            unanswered = False
            if outcome.finished:
                return await self._heard_after_all(ears) or outcome
        # Time is up: what counts is where the job stands now, if that can still be told.
        with contextlib.suppress(Unreachable, TimeoutError):
            async with asyncio.timeout(_COURTESY_SECONDS):
                return await self._asked()
        return self._standing(self._last)

    async def _heard_after_all(self, ears: asyncio.Task[Outcome] | None) -> Outcome | None:
        """Return the end as the event tells it, if that is on its way: it is the server's own last word."""
        if ears is None:
            return None
        done, _ = await asyncio.wait({ears}, timeout=_FIRST_POLL_SECONDS)
        return ears.result() if done else None

    async def _asked(self) -> Outcome:
        status = await self._client.status(self.token)
        self._note(status)
        return self._standing(status)

    def _note(self, status: dsp.JobStatus) -> None:
        """Tell the watcher, unless more is known already: events and answers can overtake each other."""
        if self._last is not None and _progress(status) < _progress(self._last):
            return
        self._last = status
        self._watcher.status(status)

    def _standing(self, status: dsp.JobStatus | None) -> Outcome:
        if status is None:
            return Outcome(self.token, str(JobState.PENDING), (), (), 0, False, False)
        reasons = tuple(str(r) for r in status.reasons)
        finished = status.state in END_STATES
        return Outcome(
            self.token, str(status.state), reasons, status.filters, status.images_received, finished, False
        )


def _progress(status: dsp.JobStatus) -> tuple[int, int]:
    # A state that is not published can be anywhere between the first and the last.
    return _PROGRESS.get(status.state, 3), status.images_received
