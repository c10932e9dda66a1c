r"""The published file-share filter, for folders of this machine and mounted shares.

Every document goes to ``<target>/user@domain/``. The order of steps, for each document:

1. copy to a temporary name, checking size and hash against what was accepted, and fsync it: whatever gets the
   final name later is complete (R-8), and on disk before anything else depends on it;
2. write the chosen final name into the ledger, durably: after a crash we know where to look;
3. link the temporary file to the final name: one atomic step that never replaces anything (R-6) and leaves
   the temporary name as proof that the final one is ours, as both are one inode;
4. fsync the folder, then write "delivered" into the ledger: the record never runs ahead of the disk (R-3);
5. remove the temporary name, last, as until 4 is done it is the proof.

So after a crash: temporary and planned name are one file - it is ours, go on at 4. Anything else - begin at
1; a planned name that exists without being ours is somebody else's, and the next free name is taken. Nothing
is delivered twice, nothing is overwritten (R-2).

Where a file system has no hard links, step 3 is a rename that refuses to replace, or, where even that is
missing, a rename over an empty placeholder that was created exclusively. Then the proof is weaker: a planned
name with the document's size and hash counts as ours, and so does an empty file under the planned name.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, ParamSpec, TypeVar

from postscan.contracts.fsf import FileShareConfig
from postscan.contracts.keywords import FilterStateReason
from postscan.contracts.psp import filter_config
from postscan.core.errors import InvalidArgument
from postscan.core.log import get_logger
from postscan.filters.contract import (
    Delivered,
    DeliveryError,
    DeliveryLedger,
    Destination,
    InstructionsError,
    JobFacts,
    SpooledDocument,
)
from postscan.filters.failures import folder_failure, share_away
from postscan.filters.mounts import MOUNT_TABLE, missing_mount
from postscan.filters.naming import OutsideRoot, contained, document_name, safe_component, user_folder
from postscan.filters.publish import OpenFolder, Placed, Publication
from postscan.filters.shares import SHARE_UNC, ShareMap, ShareTarget
from postscan.soap.names import FSF

if TYPE_CHECKING:
    from lxml.etree import _Element

_P = ParamSpec("_P")
_T = TypeVar("_T")
_log = get_logger("filters")
_MAX_NAMES: Final = 10_000
# ShareUNC holds at most 255 characters (scan-process-and-filters.md, fileshare schema).
_LONGEST_SHARE: Final = 255
_FILE_BITS: Final = 0o666


@dataclass(frozen=True, slots=True)
class FileShareSettings:
    """Where the filter may write, and how.

    ``roots`` are absolute folders in and under which ``file:`` targets may lie; ``unc_map`` gives the folder
    of a UNC root; ``zone`` is the time zone of names (the server's own when None); ``folder_mode`` the
    permissions of a user's new folder, less the umask; files get the same without execution. ``threads``
    bounds how many folder operations run at a time in any one listed folder. ``mount_table`` lists, in the
    form of fstab(5), what should be mounted.
    """

    roots: tuple[Path, ...] = ()
    unc_map: Mapping[str, Path] = field(default_factory=dict)
    zone: tzinfo | None = None
    folder_mode: int = 0o750
    threads: int = 32
    mount_table: Path = MOUNT_TABLE


class FileShareFilter:
    """Delivers to folders; the dialect is the published namespace of file-share instructions.

    :raises ConfigurationError: a folder in the settings is not absolute, or a UNC root is none.
    """

    dialect: ClassVar[str] = FSF

    def __init__(self, settings: FileShareSettings) -> None:
        self._settings = settings
        self._shares = ShareMap(settings.roots, settings.unc_map)
        # Threads for each listed folder, as a dead mount keeps those it has got: it may not keep those that
        # other shares or the spool need.
        self._threads: dict[Path, ThreadPoolExecutor] = {}

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return one destination a share, each share once; touches no file system.

        :raises InstructionsError: no share is named, or one of them may not be written to.
        """
        found: dict[str, Destination] = {}
        for share in _share_uncs(instructions):
            key = self._shares.target_of(share).key
            found.setdefault(key, Destination(key=key, label=share.strip()))
        return list(found.values())

    def configuration(self) -> _Element | None:
        """Return fsf:FileShareConfig with the shares under which targets may lie; None if there are none."""
        settings = self._settings
        shares = (*settings.unc_map, *(root.as_uri() for root in settings.roots))
        told = tuple(share for share in shares if len(share) <= _LONGEST_SHARE)
        return FileShareConfig(share_uncs=told).to_element() if told else None

    async def deliver(
        self,
        destination: Destination,
        job: JobFacts,
        documents: Sequence[SpooledDocument],
        ledger: DeliveryLedger,
    ) -> None:
        """Deliver every document not yet delivered (see the module); raises DeliveryError."""
        done = await ledger.already_delivered()
        waiting = [document for document in documents if document.document_id not in done]
        finished = [document for document in documents if document.document_id in done]
        try:
            target = self._target(destination)
            delivery = _Delivery(self._settings, self._threads_of(target.root), destination, job, ledger)
            folder = await delivery.open_folder(target)
        except DeliveryError as error:
            if waiting:
                raise
            _log.warning("temporary files may be left", destination=destination.label, error=str(error))
            return
        with folder:
            for document in finished:
                # A crash between steps 4 and 5 leaves a temporary name behind.
                await delivery.quietly(delivery.publication(folder, document).forget)
            for document in waiting:
                await delivery.deliver(folder, document)

    def _threads_of(self, root: Path) -> ThreadPoolExecutor:
        if root not in self._threads:
            self._threads[root] = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="fileshare")
        return self._threads[root]

    def _target(self, destination: Destination) -> ShareTarget:
        try:
            return self._shares.target_of(destination.key)
        except InstructionsError as error:
            # It was allowed when the job was created: the settings have changed since.
            raise DeliveryError(
                f"{destination.label} may no longer be written to: {error}",
                reason=FilterStateReason.FILE_SHARE_ACCESS_DENIED,
                transient=False,
                advice="Allow the share in the file-share settings again, then retry the job.",
            ) from error


class _Delivery:
    """One call of deliver(): the documents of one job on their way to one destination."""

    def __init__(
        self,
        settings: FileShareSettings,
        threads: ThreadPoolExecutor,
        destination: Destination,
        job: JobFacts,
        ledger: DeliveryLedger,
    ) -> None:
        self._settings = settings
        self._threads = threads
        self._label = destination.label
        self._job = job
        self._ledger = ledger
        self._stop = threading.Event()
        # Two shares may be one folder here; their temporary names must differ all the same.
        self._tag = hashlib.sha256(destination.key.encode()).hexdigest()[:8]

    async def open_folder(self, target: ShareTarget) -> OpenFolder:
        """Open the user's folder, making it (and nothing above it) when it is not there."""
        return await self._run(self._open_folder, target)

    def publication(self, folder: OpenFolder, document: SpooledDocument) -> Publication:
        """Return the publication of one document; the same after a restart."""
        token = safe_component(self._job.token, "job", max_bytes=80)
        temporary = f".postscan-{token}-{document.document_id}-{self._tag}.part"
        return Publication(folder, document, temporary, self._settings.folder_mode & _FILE_BITS)

    async def deliver(self, folder: OpenFolder, document: SpooledDocument) -> None:
        """Take one document through the steps."""
        publication = self.publication(folder, document)
        try:
            planned = await self._ledger.planned_name(document.document_id)
            name: str | None = None
            if planned is not None and await self._run(publication.is_linked_as, planned):
                name = planned
            if name is None:
                await self._run(publication.write, self._stop)
                name = await self._take_name(publication, folder, document, planned)
            await self._run(folder.sync)
            await self._ledger.delivered(
                Delivered(document_id=document.document_id, name=name, size=document.size)
            )
        except (Exception, asyncio.CancelledError):
            await self.quietly(publication.discard)
            raise
        await self.quietly(publication.forget)

    async def quietly(self, call: Callable[[], None]) -> None:
        """Clean up as far as possible; a failure is logged and changes nothing."""
        try:
            await self._run(call)
        except DeliveryError as error:
            _log.warning("a temporary file is left", destination=self._label, error=str(error))

    async def _take_name(
        self, publication: Publication, folder: OpenFolder, document: SpooledDocument, planned: str | None
    ) -> str:
        """Give the written file the first free name; ``planned`` is what a former attempt had planned."""
        if planned is not None and await self._run(self._was_renamed, publication, folder, planned):
            return planned
        for attempt in range(_MAX_NAMES):
            name = document_name(self._job, document, attempt=attempt, zone=self._settings.zone)
            if await self._run(folder.status, name) is not None:
                continue
            await self._ledger.plan(document.document_id, name)
            if await self._run(publication.place, name) is Placed.PUBLISHED:
                return name
        raise DeliveryError(
            f"{self._label} has no free name left for document {document.document_id}",
            reason=FilterStateReason.UNKNOWN_ERROR,
            transient=False,
            advice="Move old files out of the user's folder, then retry the job.",
        )

    def _was_renamed(self, publication: Publication, folder: OpenFolder, planned: str) -> bool:
        """Tell whether ``planned`` is ours by the weaker proof, which counts only where links do not work."""
        if folder.status(planned) is None or publication.links_work():
            return False
        return publication.holds_document(planned) or publication.take_over_placeholder(planned)

    def _open_folder(self, target: ShareTarget) -> OpenFolder:
        try:
            base = contained(target.root, *target.folder.relative_to(target.root).parts)
            away = missing_mount(base, self._settings.mount_table)
            if away is not None:
                raise share_away(self._label, f"nothing is mounted at {away}")
            name = user_folder(self._job.user_name, self._job.user_domain)
            with OpenFolder(base) as above:
                above.make_folder(name, self._settings.folder_mode)
            return OpenFolder(contained(target.root, *base.relative_to(target.root.resolve()).parts, name))
        except OutsideRoot as error:
            raise DeliveryError(
                f"{self._label} leads out of the folder that is allowed: {error}",
                reason=FilterStateReason.FILE_SHARE_ACCESS_DENIED,
                transient=False,
                advice="Remove the symbolic link, or allow what it leads to in the file-share settings.",
            ) from error

    async def _run(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
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
                await asyncio.wait([future])
                _close_unwanted(future)
            raise
        except OSError as error:
            raise folder_failure(error, self._label) from error


def _close_unwanted(future: asyncio.Future[_T]) -> None:
    if future.exception() is None:
        result = future.result()
        if isinstance(result, OpenFolder):
            result.close()


def _share_uncs(instructions: _Element) -> tuple[str, ...]:
    """Return the shares; ``instructions`` is the FileShareConfig or the element that holds it."""
    try:
        if instructions.tag == FileShareConfig.TAG:
            config = FileShareConfig.from_element(instructions)
        else:
            config = filter_config(instructions, FileShareConfig)
    except InvalidArgument as error:
        raise InstructionsError(f"file-share instructions: {error}", detail=error.detail) from error
    if not config.share_uncs:
        # The schema allows it, but the scan would vanish and the job be called a success.
        raise InstructionsError("file-share instructions that name no share", detail=SHARE_UNC)
    return config.share_uncs
