"""One delivery to one document library: the steps of each document (see the filter)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final

from postscan.contracts.formats import media_type_of
from postscan.contracts.keywords import FilterStateReason
from postscan.core.log import get_logger
from postscan.filters.contract import Delivered, DeliveryError, DeliveryLedger, JobFacts, SpooledDocument
from postscan.filters.failures import spool_failure
from postscan.filters.naming import document_name, user_folder
from postscan.filters.sharepoint.address import LibraryAddress
from postscan.filters.sharepoint.columns import column_values
from postscan.filters.sharepoint.library import (
    CHUNK,
    DocumentLibrary,
    Folder,
    LibraryError,
    Likeness,
    NameTaken,
    StoredFile,
    Trouble,
    Upload,
    open_document,
)
from postscan.filters.sharepoint.names import NameRules, file_name, folder_name, room_for_name
from postscan.filters.sharepoint.troubles import delivery_failure
from postscan.filters.templates import Template

_log = get_logger("filters")
_MAX_NAMES: Final = 10_000
# Of one document alone: the others of the job can be stored all the same.
_OF_A_DOCUMENT: Final = frozenset({Trouble.TOO_LARGE, Trouble.REFUSED_NAME})

LibraryOpener = Callable[[LibraryAddress], DocumentLibrary]


@dataclass(frozen=True, slots=True)
class SharePointSite:
    """A server that may be delivered to.

    ``open_library`` makes the adapter of a library, connected when it is first asked for something.
    ``library`` is what an address that names no library means, ``my_site_library`` the same for users' own
    sites. ``columns`` are the values of columns, by internal name.
    """

    open_library: LibraryOpener = field(repr=False)
    library: str = "Shared Documents"
    my_site_library: str = "Documents"
    rules: NameRules = NameRules.STRICT
    columns: Mapping[str, Template] = field(default_factory=dict)


class Visit:
    """One delivery to one library, on one connection."""

    def __init__(
        self,
        library: DocumentLibrary,
        address: LibraryAddress,
        site: SharePointSite,
        job: JobFacts,
        zone: tzinfo | None,
        label: str,
    ) -> None:
        self.library = library
        self._site = site
        self._job = job
        self._zone = zone
        self._label = label
        self.folder_name = folder_name(user_folder(job.user_name, job.user_domain), site.rules)
        path = address.below(self.folder_name).server_relative
        self._room = room_for_name(path, site.rules)
        if self._room == 0:
            raise DeliveryError(
                f"{label}: its path is too long for a file in the user's folder",
                reason=FilterStateReason.INVALID_ARGS,
                transient=False,
                advice="Name a library with a shorter path in the scan process.",
            )

    async def deliver(self, documents: Sequence[SpooledDocument], ledger: DeliveryLedger) -> None:
        """Deliver documents, those after one that the library does not take as well."""
        folder = await self.library.ensure_folder(self.folder_name)
        failed: list[DeliveryError] = []
        for document in documents:
            try:
                await self._deliver_one(folder, document, ledger)
            except LibraryError as error:
                if error.trouble not in _OF_A_DOCUMENT:
                    raise
                failed.append(delivery_failure(error, self._label))
            except DeliveryError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    async def _deliver_one(self, folder: Folder, document: SpooledDocument, ledger: DeliveryLedger) -> None:
        await asyncio.to_thread(_check_spooled, document)
        stored = await self._stored_before(folder, document, ledger) or await self._store(
            folder, document, ledger
        )
        await self._fill_columns(folder, document, stored, ledger)
        await ledger.delivered(Delivered(document.document_id, stored.name, stored.size))

    async def _stored_before(
        self, folder: Folder, document: SpooledDocument, ledger: DeliveryLedger
    ) -> StoredFile | None:
        """Return what an attempt before stored, or store what it planned; None if there is nothing."""
        planned = await ledger.planned_name(document.document_id)
        if planned is None:
            return None
        upload = self._upload(document, planned)
        found = await self.library.find(folder, planned)
        if found is not None:
            match await self.library.compare(folder, found, upload):
                case Likeness.SAME:
                    return found
                case Likeness.PART:
                    _log.info("a broken upload is replaced", destination=self._label, name=planned)
                    await self.library.remove(folder, found)
                case Likeness.OTHER:
                    return None
        try:
            return await self.library.put(folder, upload, ledger)
        except NameTaken:
            # The server may have gone on with what an attempt before had sent.
            found = await self.library.find(folder, planned)
            same = found and await self.library.compare(folder, found, upload) is Likeness.SAME
            return found if same else None

    async def _store(self, folder: Folder, document: SpooledDocument, ledger: DeliveryLedger) -> StoredFile:
        """Put the document under the first free name."""
        for attempt in range(_MAX_NAMES):
            wanted = document_name(self._job, document, attempt=attempt, zone=self._zone)
            name = file_name(wanted, self._site.rules, self._room)
            if await self.library.find(folder, name) is not None:
                continue
            await ledger.plan(document.document_id, name)
            try:
                return await self.library.put(folder, self._upload(document, name), ledger)
            except NameTaken:
                continue
        raise DeliveryError(
            f"{self._label} has no free name left for document {document.document_id}",
            reason=FilterStateReason.UNKNOWN_ERROR,
            transient=False,
            advice="Move old files out of the user's folder, then retry the job.",
        )

    async def _fill_columns(
        self, folder: Folder, document: SpooledDocument, stored: StoredFile, ledger: DeliveryLedger
    ) -> None:
        if not self._site.columns:
            return
        values = column_values(self._job, document, stored.name, self._zone)
        texts = {name: template.render(values) for name, template in self._site.columns.items()}
        try:
            missed = await self.library.set_columns(folder, stored, texts)
        except LibraryError as error:
            if delivery_failure(error, self._label).transient:
                raise
            # The document is there, and all that is missing is what is written about it.
            _log.warning("columns are not filled", destination=self._label, error=str(error))
            missed = list(texts)
        if missed:
            await ledger.warn(
                f"{self._label}: these columns could not be filled: {', '.join(sorted(missed))}"
            )

    def _upload(self, document: SpooledDocument, name: str) -> Upload:
        return Upload(
            name=name,
            path=document.path,
            size=document.size,
            sha256=document.sha256,
            key=str(document.document_id),
            media_type=media_type_of(document.format),
        )


def _check_spooled(document: SpooledDocument) -> None:
    """Refuse an image that is not the accepted one any more; blocks."""
    digest = hashlib.sha256()
    size = 0
    try:
        with open_document(document.path) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise spool_failure(
            f"document {document.document_id} cannot be read from the spool: {error.strerror}"
        ) from error
    if size != document.size or digest.hexdigest() != document.sha256:
        raise spool_failure(f"document {document.document_id} in the spool is not what was accepted")
