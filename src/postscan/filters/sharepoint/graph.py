"""SharePoint Online by Microsoft Graph.

Sources: "Upload or replace the contents of a driveItem", "driveItem: createUploadSession", "Create a new
folder in a drive", "Update listItem", "hashes resource type". Nothing is ever replaced: every request that
makes something says ``conflictBehavior=fail``, as the default of an upload is to replace.

A file appears whole or not at all. Whether a file under the planned name is the document is told by the
hash that the service keeps of it (quickXorHash), or by reading it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from postscan.filters.contract import Notes
from postscan.filters.sharepoint.address import LibraryAddress, Origin
from postscan.filters.sharepoint.graph_drive import Drive, Graph, identifier, item_path
from postscan.filters.sharepoint.graph_upload import SessionUpload, UploadHosts
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
from postscan.filters.sharepoint.quickxor import quick_xor_hash
from postscan.filters.sharepoint.replies import Refused, check_size, objects_of, size_of, text_of

ONE_REQUEST: Final = 4 * 1024 * 1024
"""Documents of more octets go by an upload session, which survives a broken connection."""
_FIELDS: Final = "id,name,size,eTag,file,folder"
_FAIL: Final = "@microsoft.graph.conflictBehavior"
_WORTH_A_RETRY: Final = frozenset(
    {Trouble.AWAY, Trouble.THROTTLED, Trouble.WRONG_CREDENTIALS, Trouble.UNTRUSTED}
)


class GraphLibrary:
    """A document library behind Graph; see library.DocumentLibrary.

    :param site: the connection to Graph's host, which logs on; closed with this.
    :param upload_site: opens a connection without logging on, for the URL of an upload session.
    :param upload_origins: where such URLs may lead; the site's own origin when none are named.
    """

    def __init__(
        self,
        site: Site,
        address: LibraryAddress,
        *,
        upload_site: Callable[[Origin], Site],
        upload_origins: Collection[Origin] = (),
        fragment: int | None = None,
    ) -> None:
        self._graph = Graph(site)
        self._address = address
        self._hosts = UploadHosts(upload_site, frozenset(upload_origins) | {address.origin})
        self._fragment = fragment
        self._found_drive: Drive | None = None

    async def ensure_folder(self, name: str) -> Folder:
        """Return the folder, made if it was not there."""
        drive = await self._drive()
        doing = f"looking for the folder {name}"
        found = await self._item(item_path(drive, name), doing)
        if found is not None:
            return self._folder(name, found, made=False)
        above = item_path(drive)
        children = f"{above}:/children" if drive.folder else f"{above}/children"
        try:
            made = await self._graph.send(
                "POST", children, f"making the folder {name}", {"name": name, "folder": {}, _FAIL: "fail"}
            )
        except Refused as error:
            if not error.says_taken:
                raise
            # Somebody else, most likely another delivery to the same user, was quicker.
            found = await self._item(item_path(drive, name), doing)
            if found is None:
                raise
            return self._folder(name, found, made=False)
        return self._folder(name, made, made=True)

    async def find(self, folder: Folder, name: str) -> StoredFile | None:
        """Return what has this name, None when nothing has."""
        found = await self._item(await self._path(folder, name), f"looking for {name}")
        return None if found is None else _stored(name, found)

    async def compare(self, folder: Folder, stored: StoredFile, upload: Upload) -> Likeness:
        """Compare by the hash that the service tells, or by reading the file back where it tells none."""
        if stored.size != upload.size:
            return Likeness.OTHER
        doing = f"comparing {stored.name}"
        found = await self._item(await self._path(folder, stored.name), doing, fields="")
        if found is None:
            return Likeness.OTHER
        theirs = _hash_of(found)
        if theirs is not None:
            ours = await asyncio.to_thread(quick_xor_hash, upload.path)
            return Likeness.SAME if ours == theirs else Likeness.OTHER
        return await self._compare_by_reading(found, stored, upload, doing)

    async def put(self, folder: Folder, upload: Upload, notes: Notes) -> StoredFile:
        """Store the document in one request, or by an upload session where it is large."""
        path = await self._path(folder, upload.name)
        try:
            if upload.size <= ONE_REQUEST:
                found = await self._graph.send_file(
                    f"{path}:/content?{_FAIL}=fail",
                    f"storing {upload.name}",
                    FilePart(upload.path, upload.size),
                    upload.media_type,
                )
            else:
                session = SessionUpload(self._graph, self._hosts, path, upload, notes, self._fragment)
                found = await session.store()
        except Refused as error:
            if error.says_taken:
                raise NameTaken(upload.name) from error
            raise
        if not found:
            # The session has ended and nobody told how: the file is there, or it never will be.
            return await self._found_after_all(folder, upload)
        stored = _stored(upload.name, found)
        check_size(upload.name, stored.size, upload.size)
        return stored

    async def set_columns(
        self, folder: Folder, stored: StoredFile, columns: Mapping[str, str]
    ) -> Sequence[str]:
        """Fill those of the columns that the library has."""
        doing = "filling the columns"
        try:
            drive = await self._drive()
            found = await self._graph.get(
                f"/drives/{drive.drive_id}/list/columns?$select=name,readOnly", doing
            )
            known = {
                text_of(one, "name")
                for one in objects_of(found.get("value"))
                if one.get("readOnly") is not True
            }
        except LibraryError as error:
            if error.trouble in _WORTH_A_RETRY:
                raise
            return list(columns)
        if stored.item is None:
            return list(columns)
        fields = f"/drives/{drive.drive_id}/items/{quote(stored.item, safe='!-_.~')}/listItem/fields"
        return [
            name
            for name, value in columns.items()
            if name not in known or not await self._fill(fields, {name: value}, doing)
        ]

    async def remove(self, folder: Folder, stored: StoredFile) -> None:
        """Move a file to the recycle bin, if it is still as it was found."""
        await self._delete(
            await self._path(folder, stored.name), {"If-Match": stored.tag} if stored.tag else {}
        )

    async def remove_folder(self, folder: Folder) -> None:
        """Remove a folder that is empty and that this delivery made."""
        if not folder.made:
            return
        path = item_path(await self._drive(), folder.name)
        found = await self._item(path, f"looking into the folder {folder.name}")
        facet = found.get("folder") if found is not None else None
        if isinstance(facet, Mapping) and size_of(facet, "childCount") == 0:
            await self._delete(path, {})

    async def close(self) -> None:
        """Let go of the connections."""
        await self._hosts.close()
        await self._graph.close()

    async def _drive(self) -> Drive:
        if self._found_drive is None:
            self._found_drive = await self._graph.drive_of(self._address)
        return self._found_drive

    async def _path(self, folder: Folder, name: str) -> str:
        return item_path(await self._drive(), folder.name, name)

    async def _item(self, path: str, doing: str, *, fields: str = _FIELDS) -> Mapping[str, object] | None:
        try:
            return await self._graph.get(path + (f"?$select={fields}" if fields else ""), doing)
        except LibraryError as error:
            if error.trouble is Trouble.NO_LIBRARY:
                return None
            raise

    def _folder(self, name: str, found: Mapping[str, object], *, made: bool) -> Folder:
        if not isinstance(found.get("folder"), Mapping):
            raise LibraryError(f"{name} is there already, and is no folder", Trouble.REFUSED)
        return Folder(name, made=made, item=identifier(found, f"the folder {name}"))

    async def _compare_by_reading(
        self, found: Mapping[str, object], stored: StoredFile, upload: Upload, doing: str
    ) -> Likeness:
        # Graph itself answers with a redirect; this is where it would lead.
        url = text_of(found, "@microsoft.graph.downloadUrl") or ""
        site, path = self._hosts.site_for(url, doing)
        async with site.download(path) as content:
            same = await likeness(content, stored, upload) is Likeness.SAME
        return Likeness.SAME if same else Likeness.OTHER

    async def _found_after_all(self, folder: Folder, upload: Upload) -> StoredFile:
        stored = await self.find(folder, upload.name)
        if stored is not None and await self.compare(folder, stored, upload) is Likeness.SAME:
            return stored
        if stored is not None:
            raise NameTaken(upload.name)
        raise LibraryError(f"storing {upload.name}: the upload session ended too early", Trouble.AWAY)

    async def _fill(self, path: str, values: Mapping[str, str], doing: str) -> bool:
        try:
            await self._graph.send("PATCH", path, doing, values)
        except LibraryError as error:
            if error.trouble in _WORTH_A_RETRY:
                raise
            return False
        return True

    async def _delete(self, path: str, headers: Mapping[str, str]) -> None:
        try:
            await self._graph.send("DELETE", path, "removing it again", None, headers=headers)
        except LibraryError as error:
            if error.trouble is not Trouble.NO_LIBRARY:
                raise


def _stored(name: str, found: Mapping[str, object]) -> StoredFile:
    if isinstance(found.get("folder"), Mapping):
        return StoredFile(name, -1, item=text_of(found, "id"))
    size = size_of(found, "size")
    if size is None:
        raise LibraryError(f"looking for {name}: the answer tells no size", Trouble.UNREADABLE)
    return StoredFile(name, size, tag=text_of(found, "eTag"), item=text_of(found, "id"))


def _hash_of(found: Mapping[str, object]) -> str | None:
    facet = found.get("file")
    hashes = facet.get("hashes") if isinstance(facet, Mapping) else None
    return text_of(hashes, "quickXorHash") if isinstance(hashes, Mapping) else None
