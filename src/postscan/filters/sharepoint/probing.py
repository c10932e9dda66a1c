"""A dry run at a document library: everything a delivery does, with a small file that is removed again."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import tempfile
from pathlib import Path
from typing import Final

from postscan.core.log import get_logger
from postscan.filters.sharepoint.library import (
    DocumentLibrary,
    Folder,
    LibraryError,
    Likeness,
    StoredFile,
    Trouble,
    Upload,
)

_log = get_logger("filters")
_TIDY_SECONDS: Final = 10.0
_CONTENT: Final = b"Postscan tries whether it can store files here. This file may be removed.\r\n"


class _NoNotes:
    """Notes of something that is not done again after a crash."""

    async def remember(self, key: str, value: str) -> None:
        """Remember nothing."""

    async def remembered(self, key: str) -> str | None:
        """Return nothing."""
        return None

    async def warn(self, text: str) -> None:
        """Tell nobody."""


async def probe_library(library: DocumentLibrary, folder_name: str, label: str) -> list[str]:
    """Put a file into a folder of the library, find it, and remove what was made; say what was proven.

    :raises LibraryError: as a delivery would; what was made is removed as far as possible.
    """
    said = []
    folder = await library.ensure_folder(folder_name)
    said.append(f"{label} can be reached, and the account can log on")
    said.append(f"the folder {folder.name} " + ("was made" if folder.made else "is there"))
    name = f"postscan-probe-{secrets.token_hex(6)}.txt"
    try:
        stored = await _stored(library, folder, name)
        said.append(f"a file can be stored there ({name}), and is found as it was sent")
        await library.remove(folder, stored)
        said.append("the file was removed again")
    except (LibraryError, asyncio.CancelledError):
        await _tidy(library, folder, name)
        raise
    if folder.made:
        await library.remove_folder(folder)
    if folder.made:
        said.append(f"the folder {folder.name} was removed again")
    return said


async def _stored(library: DocumentLibrary, folder: Folder, name: str) -> StoredFile:
    with tempfile.TemporaryDirectory(prefix="postscan-probe-") as temporary:
        path = Path(temporary, "probe.txt")
        await asyncio.to_thread(path.write_bytes, _CONTENT)
        digest = hashlib.sha256(_CONTENT).hexdigest()
        upload = Upload(name, path, len(_CONTENT), digest, "probe", "text/plain")
        if await library.find(folder, name) is not None:
            raise LibraryError(f"the server says there is a {name}, which nobody made", Trouble.UNREADABLE)
        await library.put(folder, upload, _NoNotes())
        found = await library.find(folder, name)
        if found is None or await library.compare(folder, found, upload) is not Likeness.SAME:
            raise LibraryError(f"{name} was stored, and is not there as it was sent", Trouble.UNREADABLE)
        return found


async def _tidy(library: DocumentLibrary, folder: Folder, name: str) -> None:
    """Remove what a probe that failed may have left, as far as that can be done soon."""
    try:
        async with asyncio.timeout(_TIDY_SECONDS):
            left = await library.find(folder, name)
            if left is not None:
                await library.remove(folder, left)
            if folder.made:
                await library.remove_folder(folder)
    except (LibraryError, TimeoutError) as error:
        _log.warning("a probe may have left its file", name=name, error=str(error))
