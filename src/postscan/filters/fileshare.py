r"""The published file-share filter: folders of this machine, mounted shares, and file servers (filters/smb).

Every document goes to ``<target>/user@domain/``. The order of steps, for each document and a folder of this
machine (filters/smb/delivery.py has those for a file server):

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

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from postscan.contracts.fsf import FileShareConfig
from postscan.contracts.keywords import FilterStateReason
from postscan.contracts.psp import filter_config
from postscan.core.errors import InvalidArgument
from postscan.core.log import get_logger
from postscan.filters.contract import (
    DeliveryError,
    DeliveryLedger,
    DeliveryOrder,
    Destination,
    InstructionsError,
    JobFacts,
    ProbeOrder,
)
from postscan.filters.folder_delivery import FolderDelivery, FolderRules
from postscan.filters.mounts import MOUNT_TABLE
from postscan.filters.shares import SHARE_UNC, ShareMap, ShareTarget
from postscan.filters.smb.servers import SmbServer, SmbServers, SmbTarget
from postscan.filters.unc import unc_path
from postscan.soap.names import FSF

if TYPE_CHECKING:
    from lxml.etree import _Element

    from postscan.filters.smb.delivery import SmbDeliveries

_log = get_logger("filters")
# ShareUNC holds at most 255 characters (scan-process-and-filters.md, fileshare schema).
_LONGEST_SHARE: Final = 255


@dataclass(frozen=True, slots=True)
class FileShareSettings:
    """Where the filter may write, and how.

    ``roots`` are absolute folders in and under which ``file:`` targets may lie; ``unc_map`` gives the folder
    of a UNC root; ``servers`` are the file servers that are written to over the network where no mapped root
    stands for a path; ``zone`` is the time zone of names (the server's own when None); ``folder_mode`` the
    permissions of a user's new folder here, less the umask; files get the same without execution. ``threads``
    bounds how many operations run at a time in any one listed folder, and at any one server.
    ``mount_table`` lists, in the form of fstab(5), what should be mounted.
    """

    roots: tuple[Path, ...] = ()
    unc_map: Mapping[str, Path] = field(default_factory=dict)
    servers: tuple[SmbServer, ...] = ()
    zone: tzinfo | None = None
    folder_mode: int = 0o750
    threads: int = 32
    mount_table: Path = MOUNT_TABLE


class FileShareFilter:
    """Delivers to folders; the dialect is the published namespace of file-share instructions.

    :raises ConfigurationError: a folder in the settings is not absolute, a UNC root is none, or a server
        stands there twice.
    """

    dialect: ClassVar[str] = FSF

    def __init__(self, settings: FileShareSettings) -> None:
        self._settings = settings
        self._servers = SmbServers(settings.servers)
        self._shares = ShareMap(settings.roots, settings.unc_map, self._servers)
        self._rules = FolderRules(settings.zone, settings.folder_mode, settings.mount_table)
        self._deliveries: SmbDeliveries | None = None
        # Threads for each listed folder, as a dead mount keeps those it has got: it may not keep those that
        # other shares or the spool need.
        self._threads: dict[Path, ThreadPoolExecutor] = {}

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return one destination a share, each share once; touches neither file system nor network.

        Paths on a file server that differ in the case of letters alone are one, as they are to file servers.

        :raises InstructionsError: no share is named, or one of them may not be written to.
        """
        found: dict[str, Destination] = {}
        for share in _share_uncs(instructions):
            target = self._shares.target_of(share)
            one = target.key.lower() if isinstance(target, SmbTarget) else target.key
            found.setdefault(one, Destination(key=target.key, label=share.strip()))
        return list(found.values())

    def configuration(self) -> _Element | None:
        """Return fsf:FileShareConfig with the shares under which targets may lie; None if there are none.

        A server that lists no shares is not told: which ones it has is its own business.
        """
        settings = self._settings
        shares = [*settings.unc_map, *(root.as_uri() for root in settings.roots)]
        shares += [unc_path((server.host, share)) for server in settings.servers for share in server.shares]
        told = tuple(share for share in shares if len(share) <= _LONGEST_SHARE)
        return FileShareConfig(share_uncs=told).to_element() if told else None

    async def deliver(self, order: DeliveryOrder, ledger: DeliveryLedger) -> None:
        """Deliver every document not yet delivered (see the module); raises DeliveryError."""
        destination, documents = order.destination, order.documents
        done = await ledger.already_delivered()
        waiting = [document for document in documents if document.document_id not in done]
        finished = [document for document in documents if document.document_id in done]
        try:
            target = self._target(destination)
            if isinstance(target, SmbTarget):
                await self._smb().deliver(target, order, ledger)
                return
            delivery = FolderDelivery(self._rules, self._threads_of(target.root), destination, order.job)
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
                await delivery.deliver(folder, document, ledger)

    async def probe(self, order: ProbeOrder) -> list[str]:
        """Write, rename, read back and remove a small file in the user's folder; raises DeliveryError."""
        target = self._target(order.destination)
        if isinstance(target, SmbTarget):
            from postscan.filters.smb.probe import probe_server

            return await probe_server(self._smb(), target, order)
        threads = self._threads_of(target.root)
        return await FolderDelivery(self._rules, threads, order.destination, order.job).probe(target)

    def _smb(self) -> SmbDeliveries:
        if self._deliveries is None:
            # Only now: the libraries of SMB are of no use where there is no file server.
            from postscan.filters.smb.delivery import SmbDeliveries

            settings = self._settings
            self._deliveries = SmbDeliveries(self._servers, zone=settings.zone, threads=settings.threads)
        return self._deliveries

    def _threads_of(self, root: Path) -> ThreadPoolExecutor:
        if root not in self._threads:
            self._threads[root] = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="fileshare")
        return self._threads[root]

    def _target(self, destination: Destination) -> ShareTarget | SmbTarget:
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
