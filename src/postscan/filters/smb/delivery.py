r"""Delivers documents to file servers over SMB.

Every document goes to ``\\server\share\folder\user@domain\``. The order of steps, for each document:

1. make a file of a temporary name and hold it for oneself; write to it, checking hash and size against what
   was accepted, and have the server flush it: whatever gets the final name later is complete (R-8);
2. write the file's number into the ledger, and then the chosen final name, durably: after a crash we know
   where to look, and what for;
3. rename the temporary file by the handle it was written with, replacing nothing (R-6);
4. flush it again, then write "delivered" into the ledger: the record never runs ahead of the disk (R-3).

So after a crash: a temporary file that is there is made anew. As it is held until it is renamed, a former try
whose requests a frozen server still has either keeps this one out, or is over and done. A file under the
planned name is ours when it has the number that was written down (a rename keeps it) and the document's
octets; where no temporary file was left, the octets are enough, as a server need not have such numbers. A
name that was found taken is written down, too, so that another's copy of the same document is never thought
to be ours. Nothing is delivered twice, nothing is overwritten (R-2, R-6).

Flushing takes most of the time of a small document, so several are on their way at once; names are taken in
the documents' order all the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import tzinfo
from typing import Final, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from postscan.contracts.keywords import FilterStateReason
from postscan.core.log import get_logger
from postscan.filters.contract import (
    Delivered,
    DeliveryError,
    DeliveryLedger,
    DeliveryOrder,
    JobFacts,
    SpooledDocument,
)
from postscan.filters.naming import document_name, safe_component, user_folder
from postscan.filters.smb.folder import SmbFolder
from postscan.filters.smb.logon import LogonGuard
from postscan.filters.smb.publication import SmbPublication
from postscan.filters.smb.servers import SmbServer, SmbServers, SmbTarget
from postscan.filters.smb.session import SmbSession
from postscan.filters.smb.troubles import operation_errors, trouble

_P = ParamSpec("_P")
_T = TypeVar("_T")
_log = get_logger("filters")
_MAX_NAMES: Final = 10_000
_TARGET: Final = "target"
_GRACE_SECONDS: Final = 2.0
_AT_ONCE: Final = 4
_CREDITS_FOR_MANY: Final = 64


class SmbDeliveries:
    """Delivers to the servers of a list.

    :param zone: the time zone of names; the server's own when None.
    :param threads: how many operations run at a time at any one server.
    """

    def __init__(
        self,
        servers: SmbServers,
        *,
        zone: tzinfo | None = None,
        threads: int = 32,
        guard: LogonGuard | None = None,
    ) -> None:
        self._servers = servers
        self._zone = zone
        self._most = threads
        self._guard = guard or LogonGuard()
        # Threads for each server, as a mute one keeps those it has got: it may not keep those that others
        # need. A DFS link's server is waited for by the threads of the server that knows the link.
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._naming: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def threads_of(self, server: SmbServer) -> ThreadPoolExecutor:
        """Return the threads that wait for a server."""
        if server.host not in self._threads:
            self._threads[server.host] = ThreadPoolExecutor(self._most, thread_name_prefix="smb")
        return self._threads[server.host]

    def session(self, label: str) -> SmbSession:
        """Return connections, none of them made yet, for one delivery to what people call ``label``."""
        return SmbSession(self._servers, self._guard, label)

    async def deliver(self, target: SmbTarget, order: DeliveryOrder, ledger: DeliveryLedger) -> None:
        """Deliver every document not yet delivered; raises DeliveryError."""
        done = await ledger.already_delivered()
        waiting = [document for document in order.documents if document.document_id not in done]
        if not waiting:
            return
        session = self.session(order.destination.label)
        work = ThreadedSession(session, self.threads_of(target.server), target.server)
        folder_key = f"{target.key}\\{order.job.user_name}@{order.job.user_domain}".lower()
        naming = self._naming.setdefault(folder_key, asyncio.Lock())
        delivery = _Delivery(work, order, ledger, self._zone, naming)
        try:
            folder = await delivery.open_folder(target, waiting)
            await delivery.deliver_all(folder, waiting)
        finally:
            await work.end()


class ThreadedSession:
    """Runs the blocking calls of a session in threads, and ends its connections when that is cancelled."""

    def __init__(self, session: SmbSession, threads: ThreadPoolExecutor, server: SmbServer) -> None:
        self.session = session
        self.stop = threading.Event()
        self.server = server
        self._threads = threads

    async def run(self, doing: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a blocking call in a thread; what goes wrong becomes a DeliveryError.

        A thread cannot be interrupted, but what it waits for can be ended: cancelled meanwhile, this gives it
        a moment to stop, then ends the connections, and waits until the call has ended, so that it cannot
        meddle with the next attempt.
        """
        pending = self._threads.submit(call, *args, **kwargs)
        future = asyncio.wrap_future(pending)
        # Cancelled twice, nobody waits for it any more; what goes wrong then is no news.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self.stop.set()
            if not pending.cancel():
                await asyncio.wait([future], timeout=_GRACE_SECONDS)
                self.session.abort()
                await asyncio.wait([future])
            raise
        except DeliveryError:
            raise
        except operation_errors() as error:
            raise trouble(error, self.session.place(self.server, doing)) from error

    async def end(self) -> None:
        """End the connections, and free what they hold once their threads have gone."""
        self.session.abort()
        await asyncio.shield(asyncio.wrap_future(self._threads.submit(self.session.close)))


class _Halted(Exception):
    """A document before this one failed."""


class _Delivery:
    """One call of deliver(): the documents of one job on their way to one destination."""

    def __init__(
        self,
        work: ThreadedSession,
        order: DeliveryOrder,
        ledger: DeliveryLedger,
        zone: tzinfo | None,
        naming: asyncio.Lock,
    ) -> None:
        self._work = work
        self._naming = naming
        self._label = order.destination.label
        self._job: JobFacts = order.job
        self._ledger = ledger
        self._zone = zone
        self._failures: dict[int, BaseException] = {}
        # Two shares may be one folder there; their temporary names must differ all the same.
        self._tag = hashlib.sha256(order.destination.key.encode()).hexdigest()[:8]

    async def open_folder(self, target: SmbTarget, waiting: list[SpooledDocument]) -> SmbFolder:
        """Reach the user's folder, making it (and nothing above it) when it is not there."""
        # Of several targets of a DFS link, that which a former try may have written to.
        former = await self._ledger.remembered(_TARGET)
        begun = [await self._ledger.planned_name(document.document_id) for document in waiting]
        opened = await self._work.run(
            f"to open {target.key}",
            self._work.session.open_target,
            target,
            former,
            strictly=any(name is not None for name in begun),
        )
        if opened.target.key not in (target.key, former):
            await self._ledger.remember(_TARGET, opened.target.key)
        self._work.server = opened.target.server
        name = user_folder(self._job.user_name, self._job.user_domain)
        folder, _ = await self._work.run(f"to open or make the folder {name}", opened.folder.inner, name)
        return folder

    async def deliver_all(self, folder: SmbFolder, documents: list[SpooledDocument]) -> None:
        """Take documents through the steps, several at once; after a failure none is begun any more."""
        turns = [asyncio.Event() for _ in range(len(documents) + 1)]
        turns[0].set()
        queue = iter(enumerate(documents))
        many = folder.connection.credits >= _CREDITS_FOR_MANY

        async def work() -> None:
            for place, document in queue:
                if self._failures:
                    return
                try:
                    await self.deliver(folder, document, place, turns)
                except BaseException as error:
                    self._failures[place] = error
                    raise

        await asyncio.gather(*(work() for _ in range(_AT_ONCE if many else 1)), return_exceptions=True)
        if self._failures:
            raise self._failures[min(self._failures)]

    async def deliver(
        self, folder: SmbFolder, document: SpooledDocument, place: int, turns: list[asyncio.Event]
    ) -> None:
        """Take one document through the steps.

        :param place: which of the documents it is, from 0.
        :param turns: that of this place is set when all before it have their names, or one of them failed;
            the next is to be set when this one has.
        """
        token = safe_component(self._job.token, "job", max_bytes=80)
        temporary = f".postscan-{token}-{document.document_id}-{self._tag}.part"
        publication = SmbPublication(folder, document, temporary)
        number = document.document_id
        run = self._work.run
        try:
            planned = await self._ledger.planned_name(number)
            left = await run("to write a file", publication.begin)
            if planned and await self._was_renamed(publication, document, planned, left=left):
                name = planned
                await run("to remove a temporary file", publication.discard)
                await run(f"to write {name}", folder.settle, name)
                await turns[place].wait()
            else:
                written = await run("to write a file", publication.write, self._work.stop)
                await self._ledger.remember(f"file {number}", str(written))
                await turns[place].wait()
                if any(failed < place for failed in self._failures):
                    raise _Halted
                # Servers look whether a name is free, and then rename: two at once may replace each other.
                async with self._naming:
                    name = await self._take_name(publication, document)
                turns[place + 1].set()
                await run(f"to write {name}", publication.finish)
                await run(f"to write {name}", publication.require_number, name, written)
            await self._ledger.delivered(Delivered(document_id=number, name=name, size=document.size))
        except (Exception, asyncio.CancelledError):
            await self._discard(publication)
            raise
        finally:
            turns[place + 1].set()

    async def _was_renamed(
        self, publication: SmbPublication, document: SpooledDocument, planned: str, *, left: bool
    ) -> bool:
        """Tell whether a former try gave the document its planned name, and only failed to say so.

        :param left: a temporary file was there: of a try that did not get as far, or of one that was looking
            for what an earlier one had renamed.
        """
        run = self._work.run
        found = await run("to look for what is there", publication.folder.status, planned)
        if found is None or await self._ledger.remembered(_taken(document)) == planned:
            return False
        number = int(await self._ledger.remembered(f"file {document.document_id}") or "0")
        same = publication.is_taken_by(found, number)
        if left and not same:
            return False
        try:
            # Numbers are given again to other files, when those that had them are removed.
            return await run(f"to read {planned}", publication.holds_document, planned)
        except DeliveryError as error:
            # There are folders that one may only write to.
            if same and error.reason is FilterStateReason.FILE_SHARE_ACCESS_DENIED:
                return True
            raise

    async def _take_name(self, publication: SmbPublication, document: SpooledDocument) -> str:
        """Give the written file the first free name."""
        for attempt in range(_MAX_NAMES):
            name = document_name(self._job, document, attempt=attempt, zone=self._zone)
            doing = f"to write {name}"
            if await self._work.run(doing, publication.folder.status, name) is not None:
                continue
            await self._ledger.plan(document.document_id, name)
            if await self._work.run(doing, publication.place, name):
                return name
            await self._ledger.remember(_taken(document), name)
        raise DeliveryError(
            f"{self._label} has no free name left for document {document.document_id}",
            reason=FilterStateReason.UNKNOWN_ERROR,
            transient=False,
            advice="Move old files out of the user's folder, then retry the job.",
        )

    async def _discard(self, publication: SmbPublication) -> None:
        """Remove what was begun, as far as possible; a failure is logged and changes nothing."""
        try:
            await self._work.run("to remove a temporary file", publication.discard)
        except DeliveryError as error:
            _log.warning("a temporary file is left", destination=self._label, error=str(error))


def _taken(document: SpooledDocument) -> str:
    return f"taken {document.document_id}"
