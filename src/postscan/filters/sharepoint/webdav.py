"""A document library by WebDAV (RFC 4918; MS-WDVME), as SharePoint of 2007 up to Subscription Edition has it.

What it can prove: a file is stored under its name only when that was free just before, and again by
``If-None-Match: *`` where the server heeds it (mod_dav does). After a crash a file under the planned name is
read back and compared with the document octet by octet: the same is ours, and the beginning of ours is what a
broken PUT left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from lxml import etree

from postscan.filters.contract import Notes
from postscan.filters.sharepoint.address import LibraryAddress, encoded
from postscan.filters.sharepoint.http import Answer, FilePart, Site
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
from postscan.filters.sharepoint.multistatus import (
    MOST,
    Resource,
    read_acceptance,
    read_count,
    read_failure,
    read_resource,
)
from postscan.filters.sharepoint.troubles import status_error

_DAV: Final = "{DAV:}"
# Where Office keeps the properties of documents (MS-WDVME writes its own of this namespace).
_OFFICE: Final = "urn:schemas-microsoft-com:office:office"
_XML: Final = {"Content-Type": 'text/xml; charset="utf-8"'}
_WANTED: Final = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>'
    b"<resourcetype/><getcontentlength/><getetag/></prop></propfind>"
)
_NOT_THERE: Final = frozenset({404, 410})


class WebdavLibrary:
    """A document library, or a folder in it, by WebDAV.

    :param site: the connection to the address's origin.
    """

    def __init__(self, site: Site, address: LibraryAddress) -> None:
        self._site = site
        self._address = address

    async def ensure_folder(self, name: str) -> Folder:
        """Return the user's folder; see library.DocumentLibrary."""
        doing = f"making the folder {name}"
        found = await self._properties((name,), f"looking for the folder {name}")
        if found is None:
            answer = await self._site.request("MKCOL", self._path(name) + "/")
            if answer.status in (200, 201):
                return Folder(name, made=True)
            # 405: somebody was faster (RFC 4918, 9.3.1).
            found = await self._properties((name,), doing) if answer.status == 405 else None
            if found is None:
                raise _error(answer, doing)
        if not found.is_folder:
            raise LibraryError(f"{doing}: a file has that name", Trouble.REFUSED)
        return Folder(name, made=False)

    async def find(self, folder: Folder, name: str) -> StoredFile | None:
        """Return the file of this name; see library.DocumentLibrary."""
        found = await self._properties((folder.name, name), f"looking for {name}")
        if found is None:
            return None
        return StoredFile(name, -1 if found.length is None else found.length, found.tag)

    async def compare(self, folder: Folder, stored: StoredFile, upload: Upload) -> Likeness:
        """Read a stored file back and compare it; see library.DocumentLibrary."""
        if not 0 <= stored.size <= upload.size:
            return Likeness.OTHER
        async with self._site.download(self._path(folder.name, stored.name)) as content:
            return await likeness(content, stored, upload)

    async def put(self, folder: Folder, upload: Upload, notes: Notes) -> StoredFile:
        """Store a document in one request; see library.DocumentLibrary."""
        answer = await self._site.request(
            "PUT",
            self._path(folder.name, upload.name),
            headers={"Content-Type": upload.media_type, "If-None-Match": "*"},
            body=FilePart(upload.path, upload.size),
        )
        if answer.status == 412:
            raise NameTaken(upload.name)
        if answer.status not in (200, 201, 204):
            raise _error(answer, f"storing {upload.name}")
        # The record must not run ahead of the server: what it says of the file counts.
        stored = await self.find(folder, upload.name)
        if stored is None or stored.size < upload.size:
            got = "nothing" if stored is None else f"{stored.size} of {upload.size} octets"
            raise LibraryError(f"storing {upload.name}: the server has {got} of it", Trouble.AWAY)
        return stored

    async def set_columns(
        self, folder: Folder, stored: StoredFile, columns: Mapping[str, str]
    ) -> Sequence[str]:
        """Set properties by PROPPATCH; see library.DocumentLibrary."""
        missed = []
        # One at a time: those of one request are set all together or not at all (RFC 4918, 9.2).
        for name, value in columns.items():
            answer = await self._site.request(
                "PROPPATCH",
                self._path(folder.name, stored.name),
                headers=_XML,
                body=_property_update(name, value),
                most=MOST,
            )
            if answer.status == 207:
                accepted = read_acceptance(answer.body)
            elif answer.status in (401, 423, 429) or answer.status >= 500:
                raise _error(answer, f"setting {name} of {stored.name}")
            else:
                accepted = answer.status in (200, 204)
            if not accepted:
                missed.append(name)
        return missed

    async def remove(self, folder: Folder, stored: StoredFile) -> None:
        """Remove a file; see library.DocumentLibrary."""
        headers = {} if stored.tag is None or stored.tag.startswith("W/") else {"If-Match": stored.tag}
        answer = await self._site.request("DELETE", self._path(folder.name, stored.name), headers=headers)
        if answer.status not in (200, 202, 204, *_NOT_THERE):
            raise _error(answer, f"removing {stored.name}")

    async def remove_folder(self, folder: Folder) -> None:
        """Remove a folder of ours that is empty; see library.DocumentLibrary."""
        path = self._path(folder.name) + "/"
        answer = await self._propfind(path, "1")
        if answer.status in _NOT_THERE:
            return
        doing = f"removing the folder {folder.name}"
        if answer.status != 207:
            raise _error(answer, doing)
        if read_count(answer.body) != 1:
            return
        answer = await self._site.request("DELETE", path)
        if answer.status not in (200, 202, 204, *_NOT_THERE):
            raise _error(answer, doing)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._site.close()

    async def _properties(self, below: tuple[str, ...], doing: str) -> Resource | None:
        """Return what lies there, None when nothing does."""
        answer = await self._propfind(self._path(*below), "0")
        if answer.status in _NOT_THERE:
            return None
        if answer.status != 207:
            raise _error(answer, doing)
        return read_resource(answer.body)

    async def _propfind(self, path: str, depth: str) -> Answer:
        return await self._site.request(
            "PROPFIND", path, headers={**_XML, "Depth": depth}, body=_WANTED, most=MOST
        )

    def _path(self, *below: str) -> str:
        return encoded(*self._address.path, *below)


def _error(answer: Answer, doing: str) -> LibraryError:
    """Return what an answer that is not the wanted one means; a multistatus (207) holds it inside."""
    if answer.status == 207:
        answer = replace(answer, status=read_failure(answer.body))
    return status_error(answer, doing)


def _property_update(name: str, value: str) -> bytes:
    root = etree.Element(f"{_DAV}propertyupdate", nsmap={None: "DAV:", "o": _OFFICE})
    place = etree.SubElement(etree.SubElement(root, f"{_DAV}set"), f"{_DAV}prop")
    etree.SubElement(place, f"{{{_OFFICE}}}{name}").text = value
    written: bytes = etree.tostring(root, xml_declaration=True, encoding="utf-8")
    return written
