"""Delivers documents to one folder of this machine: the steps of fileshare.py, in threads."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from postscan.contracts.keywords import FilterStateReason
from postscan.core.log import get_logger
from postscan.filters.contract import (
    Delivered,
    DeliveryError,
    DeliveryLedger,
    Destination,
    JobFacts,
    SpooledDocument,
)
from postscan.filters.failures import folder_failure, share_away
from postscan.filters.mounts import missing_mount
from postscan.filters.naming import OutsideRoot, contained, document_name, safe_component, user_folder
from postscan.filters.probing import probe_document, probe_report
from postscan.filters.publish import OpenFolder, Placed, Publication
from postscan.filters.shares import ShareTarget

_P = ParamSpec("_P")
_T = TypeVar("_T")
_log = get_logger("filters")
_MAX_NAMES: Final = 10_000
_FILE_BITS: Final = 0o666


@dataclass(frozen=True, slots=True)
class FolderRules:
    """How folders are written to.

    ``zone`` is the time zone of names (the server's own when None); ``folder_mode`` the permissions of a
    user's new folder, less the umask; files get the same without execution. ``mount_table`` lists, in the
    form of fstab(5), what should be mounted.
    """

    zone: tzinfo | None
    folder_mode: int
    mount_table: Path


class FolderDelivery:
    """One call of deliver(): the documents of one job on their way to one destination."""

    def __init__(
        self,
        rules: FolderRules,
        threads: ThreadPoolExecutor,
        destination: Destination,
        job: JobFacts,
    ) -> None:
        self._rules = rules
        self._threads = threads
        self._label = destination.label
        self._job = job
        self._stop = threading.Event()
        self._made_in: Path | None = None
        # Two shares may be one folder here; their temporary names must differ all the same.
        self._tag = hashlib.sha256(destination.key.encode()).hexdigest()[:8]

    async def open_folder(self, target: ShareTarget) -> OpenFolder:
        """Open the user's folder, making it (and nothing above it) when it is not there."""
        return await self.run(self._open_folder, target)

    def publication(self, folder: OpenFolder, document: SpooledDocument) -> Publication:
        """Return the publication of one document; the same after a restart."""
        token = safe_component(self._job.token, "job", max_bytes=80)
        temporary = f".postscan-{token}-{document.document_id}-{self._tag}.part"
        return Publication(folder, document, temporary, self._rules.folder_mode & _FILE_BITS)

    async def deliver(self, folder: OpenFolder, document: SpooledDocument, ledger: DeliveryLedger) -> None:
        """Take one document through the steps."""
        publication = self.publication(folder, document)
        try:
            planned = await ledger.planned_name(document.document_id)
            name: str | None = None
            if planned is not None and await self.run(publication.is_linked_as, planned):
                name = planned
            if name is None:
                await self.run(publication.write, self._stop)
                name = await self._take_name(publication, folder, document, planned, ledger)
            await self.run(folder.sync)
            await ledger.delivered(Delivered(document_id=document.document_id, name=name, size=document.size))
        except (Exception, asyncio.CancelledError):
            await self.quietly(publication.discard)
            raise
        await self.quietly(publication.forget)

    async def quietly(self, call: Callable[[], None]) -> None:
        """Clean up as far as possible; a failure is logged and changes nothing."""
        try:
            await self.run(call)
        except DeliveryError as error:
            _log.warning("a temporary file is left", destination=self._label, error=str(error))

    async def _take_name(
        self,
        publication: Publication,
        folder: OpenFolder,
        document: SpooledDocument,
        planned: str | None,
        ledger: DeliveryLedger,
    ) -> str:
        """Give the written file the first free name; ``planned`` is what a former attempt had planned."""
        if planned is not None and await self.run(self._was_renamed, publication, folder, planned):
            return planned
        for attempt in range(_MAX_NAMES):
            name = document_name(self._job, document, attempt=attempt, zone=self._rules.zone)
            if await self.run(folder.status, name) is not None:
                continue
            await ledger.plan(document.document_id, name)
            if await self.run(publication.place, name) is Placed.PUBLISHED:
                return name
        raise DeliveryError(
            f"{self._label} has no free name left for document {document.document_id}",
            reason=FilterStateReason.UNKNOWN_ERROR,
            transient=False,
            advice="Move old files out of the user's folder, then retry the job.",
        )

    async def probe(self, target: ShareTarget) -> list[str]:
        """Do with a small file what a delivery does, and remove it again; returns what was proven."""
        with probe_document() as document, await self.open_folder(target) as folder:
            publication = self.publication(folder, document)
            try:
                await self.run(publication.write, self._stop)
                placed = await self.run(publication.place, document.name or "")
                whole = await self.run(publication.holds_document, document.name or "")
            finally:
                await self.quietly(publication.forget)
                await self.run(folder.remove, document.name or "")
                if self._made_in is not None:
                    await self.run(self._remove_made_folder, self._made_in, folder.path.name)
        return probe_report(
            folder.path.name,
            self._label,
            made=self._made_in is not None,
            whole=whole and placed is Placed.PUBLISHED,
        )

    def _remove_made_folder(self, above: Path, name: str) -> None:
        with OpenFolder(above) as opened:
            opened.remove_folder(name)

    def _was_renamed(self, publication: Publication, folder: OpenFolder, planned: str) -> bool:
        """Tell whether ``planned`` is ours by the weaker proof, which counts only where links do not work."""
        if folder.status(planned) is None or publication.links_work():
            return False
        return publication.holds_document(planned) or publication.take_over_placeholder(planned)

    def _open_folder(self, target: ShareTarget) -> OpenFolder:
        try:
            base = contained(target.root, *target.folder.relative_to(target.root).parts)
            away = missing_mount(base, self._rules.mount_table)
            if away is not None:
                raise share_away(self._label, f"nothing is mounted at {away}")
            name = user_folder(self._job.user_name, self._job.user_domain)
            with OpenFolder(base) as above:
                self._made_in = base if above.make_folder(name, self._rules.folder_mode) else None
            return OpenFolder(contained(target.root, *base.relative_to(target.root.resolve()).parts, name))
        except OutsideRoot as error:
            raise DeliveryError(
                f"{self._label} leads out of the folder that is allowed: {error}",
                reason=FilterStateReason.FILE_SHARE_ACCESS_DENIED,
                transient=False,
                advice="Remove the symbolic link, or allow what it leads to in the file-share settings.",
            ) from error

    async def run(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a blocking call in a thread; OSError becomes DeliveryError.

        A thread cannot be interrupted: cancelled meanwhile, this waits until the call has ended, so that it
        cannot meddle with the next attempt (a second cancellation no longer waits).
        """
        pending = self._threads.submit(call, *args, **kwargs)
        future = asyncio.wrap_future(pending)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._stop.set()
            if not pending.cancel():
                # Also when a second cancellation lets nobody wait for it.
                future.add_done_callback(_close_unwanted)
                await asyncio.wait([future])
            raise
        except OSError as error:
            raise folder_failure(error, self._label) from error


def _close_unwanted(future: asyncio.Future[_T]) -> None:
    if not future.cancelled() and future.exception() is None:
        result = future.result()
        if isinstance(result, OpenFolder):
            result.close()
