"""SharePoint by its REST service: 2013 to Subscription Edition, and Online.

Sources: "Files and folders REST API reference", "Support % and # in files and folders with the ResourcePath
API", MS-CSOMSPT 3.2.5.64 (SP.File). Servers before 2019 do not know the calls that take decoded paths
(``…ByServerRelativePath``, ``AddUsingPath``); they are asked by the older ones, which cannot be trusted with
``%`` and ``#``.

``Files/AddUsingPath`` with ``overwrite=false`` is one step: the file is there whole, or not at all, and
nothing is replaced. After a crash, a file under the planned name is proven by reading it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from postscan.core.clock import Clock
from postscan.filters.contract import Notes
from postscan.filters.sharepoint.address import LibraryAddress
from postscan.filters.sharepoint.http import FilePart, Site
from postscan.filters.sharepoint.library import (
    Folder,
    LibraryError,
    Likeness,
    NameTaken,
    StoredFile,
    Trouble,
    Upload,
    likeness,
)
from postscan.filters.sharepoint.replies import Refused, check_size, size_of, text_of
from postscan.filters.sharepoint.rest_calls import BY_PATH, BY_URL
from postscan.filters.sharepoint.rest_columns import fill_columns
from postscan.filters.sharepoint.rest_upload import ChunkedUpload, UploadLimits
from postscan.filters.sharepoint.rest_web import RestWeb, UnknownCall

_FILE_FIELDS: Final = "Name,Exists,Length,ETag,UniqueId,CheckOutType"
# SP.CheckOutType: 2 is None. What stays checked out to us is seen by nobody else.
_NOT_CHECKED_OUT: Final = 2
_MAJOR_CHECK_IN: Final = 1
# What the older calls take for percent-encoding, or for the end of the path.
_NEEDS_DECODED_PATHS: Final = frozenset("%#")


class RestLibrary:
    """A document library behind ``/_api/web``; see library.DocumentLibrary.

    :param site: the connection to the address's origin; closed with this.
    """

    def __init__(
        self,
        site: Site,
        address: LibraryAddress,
        *,
        limits: UploadLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._site = site
        self._address = address
        self._limits = limits or UploadLimits()
        self._web = RestWeb(site, address, clock=clock)
        self._calls = BY_PATH
        self._unseen: set[str] = set()

    async def ensure_folder(self, name: str) -> Folder:
        """Return the folder, made if it was not there."""
        path = self._path(name)
        doing = f"looking for the folder {name}"
        try:
            found = await self._folder(path, doing)
        except UnknownCall:
            self._calls = BY_URL
            found = await self._folder(path, doing)
        if found:
            return Folder(name, made=False)
        library = self._checked(self._address.server_relative)
        await self._web.post(self._calls.add_folder, f"making the folder {name}", f=library, n=name)
        return Folder(name, made=True)

    async def find(self, folder: Folder, name: str) -> StoredFile | None:
        """Return what has this name, None when nothing has."""
        path = self._path(folder.name, name)
        try:
            found = await self._web.get(
                self._calls.file, f"looking for {name}", select=_FILE_FIELDS, f=self._checked(path)
            )
        except LibraryError as error:
            if error.trouble is not Trouble.NO_LIBRARY:
                raise
            found = {"Exists": False}
        if found.get("Exists") is not False:
            return _stored(name, found)
        # Only where no file is: a folder would take the name as well.
        return StoredFile(name, -1) if await self._folder(path, f"looking for {name}") else None

    async def compare(self, folder: Folder, stored: StoredFile, upload: Upload) -> Likeness:
        """Read a stored file back; REST tells no hash of it."""
        if stored.size != upload.size:
            # A file appears here whole or not at all, so a shorter one is no part of the document.
            return Likeness.OTHER
        path = self._path(folder.name, stored.name)
        await self._web.open()
        async with self._site.download(self._web.url(f"{self._calls.file}/$value", f=path)) as content:
            found = await likeness(content, stored, upload)
        if found is not Likeness.SAME:
            return Likeness.OTHER
        if _is_checked_out(await self._web.get(self._calls.file, "comparing", select="CheckOutType", f=path)):
            # It was stored, and the try before ended there.
            await self._check_in(path)
        return Likeness.SAME

    async def put(self, folder: Folder, upload: Upload, notes: Notes) -> StoredFile:
        """Store the document in one request, or in chunks where it is large and the server can."""
        path = self._path(folder.name, upload.name)
        chunked = ChunkedUpload(self._web, self._calls, path, upload, notes, self._limits)
        if upload.size > self._limits.one_request:
            try:
                found = await chunked.store()
            except UnknownCall:
                found = await self._put_at_once(folder, upload)
        else:
            found = await self._put_at_once(folder, upload)
        stored = _stored(upload.name, found)
        check_size(upload.name, stored.size, upload.size)
        if _is_checked_out(found):
            said = await self._check_in(path)
            if said:
                self._unseen.add(path)
                await notes.warn(
                    f"{path} could not be checked in at once, and others do not see a file that is checked"
                    f" out ({said}); most likely the library requires columns that are not filled"
                )
            return await self.find(folder, upload.name) or stored
        return stored

    async def set_columns(
        self, folder: Folder, stored: StoredFile, columns: Mapping[str, str]
    ) -> Sequence[str]:
        """Fill those of the columns that the library has."""
        path = self._path(folder.name, stored.name)
        missed = await fill_columns(self._web, self._calls.file, path, columns)
        if path in self._unseen:
            # What it required may be filled now.
            await self._check_in(path)
        return missed

    async def remove(self, folder: Folder, stored: StoredFile) -> None:
        """Remove a file, if it is still as it was found."""
        await self._delete(self._calls.file, self._path(folder.name, stored.name), stored.tag or "*")

    async def remove_folder(self, folder: Folder) -> None:
        """Remove a folder that is empty and that this delivery made."""
        if not folder.made:
            return
        path = self._path(folder.name)
        found = await self._web.get(
            self._calls.folder, f"looking into the folder {folder.name}", select="ItemCount", f=path
        )
        if size_of(found, "ItemCount") == 0:
            await self._delete(self._calls.folder, path, "*")

    async def close(self) -> None:
        """Let go of the connection."""
        await self._site.close()

    async def _put_at_once(self, folder: Folder, upload: Upload) -> Mapping[str, object]:
        try:
            return await self._web.post(
                self._calls.add_file,
                f"storing {upload.name}",
                body=FilePart(upload.path, upload.size),
                headers={"Content-Type": "application/octet-stream"},
                f=self._path(folder.name),
                n=self._checked(upload.name),
            )
        except Refused as error:
            if error.says_taken:
                raise NameTaken(upload.name) from error
            raise

    async def _folder(self, path: str, doing: str) -> bool:
        try:
            found = await self._web.get(self._calls.folder, doing, select="Exists", f=self._checked(path))
        except LibraryError as error:
            if error.trouble is not Trouble.NO_LIBRARY:
                raise
            return False
        # Online answers a folder that is not there, too, and says so.
        return found.get("Exists") is not False

    async def _check_in(self, path: str) -> str:
        """Check in what the library checked out to us by itself; return why that could not be done, or ""."""
        call = f"{self._calls.file}/CheckIn(comment=@c,checkintype={_MAJOR_CHECK_IN})"
        try:
            await self._web.post(call, "checking it in", f=path, c="")
        except Refused as error:
            if error.trouble is Trouble.THROTTLED:
                raise
            return error.said.text or str(error)
        return ""

    async def _delete(self, call: str, path: str, tag: str) -> None:
        try:
            await self._web.post(
                call, "removing it again", headers={"X-HTTP-Method": "DELETE", "If-Match": tag}, f=path
            )
        except LibraryError as error:
            if error.trouble is not Trouble.NO_LIBRARY:
                raise

    def _path(self, *below: str) -> str:
        return self._address.below(*below).server_relative

    def _checked(self, path: str) -> str:
        if not self._calls.decoded and not _NEEDS_DECODED_PATHS.isdisjoint(path):
            raise LibraryError(
                f"{path} has a % or a #, which this version of SharePoint takes for something else",
                Trouble.REFUSED_NAME,
            )
        return path


def _is_checked_out(found: Mapping[str, object]) -> bool:
    return found.get("CheckOutType", _NOT_CHECKED_OUT) != _NOT_CHECKED_OUT


def _stored(name: str, found: Mapping[str, object]) -> StoredFile:
    size = size_of(found, "Length")
    if size is None:
        raise LibraryError(f"looking for {name}: the answer tells no size", Trouble.UNREADABLE)
    return StoredFile(name, size, tag=text_of(found, "ETag"), item=text_of(found, "UniqueId"))
