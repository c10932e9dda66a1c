"""The port to a document library: what the filter asks of it, whichever API there is behind.

An adapter is opened for one delivery (``open_library`` of whoever wires it), used by one task, and closed.
It makes no decisions: names, next free names, what to do after a crash, and what an administrator reads are
the filter's. It raises LibraryError and nothing else.

For a document it is asked: ``find`` (is the name free), then, with the planned name noted, ``put``. After a
crash in between, ``find`` and ``compare`` tell whether the planned name holds the document, a part of it, or
somebody else's file.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from postscan.core.errors import PostscanError
from postscan.filters.contract import Notes

_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CHUNK: Final = 256 * 1024
"""How many octets are read from a file, or from an answer, at a time."""


class Trouble(Enum):
    """What a library can have against us; the filter knows the reason, the advice and whether time heals."""

    WRONG_CREDENTIALS = auto()
    """401 although we logged on: a password, a ticket or a token was refused."""
    NOT_TRIED = auto()
    """The password was refused a short while ago: LibraryError.retry_after says when it is tried again."""
    NO_WAY_TO_LOG_ON = auto()
    """The server offers none of the ways of logging on that are allowed for it, or we have no ticket."""
    DENIED = auto()
    """We are known and may not (403)."""
    NO_LIBRARY = auto()
    """There is no such site, library or folder (404, or 409 below a folder that is missing)."""
    FULL = auto()
    """No room, or a quota is reached (507)."""
    TOO_LARGE = auto()
    """The document is larger than the server takes (413)."""
    LOCKED = auto()
    """Locked or checked out by somebody (423)."""
    REFUSED_NAME = auto()
    """The name, its type or its length is not allowed there."""
    THROTTLED = auto()
    """Asked too often (429, or 503 with Retry-After): LibraryError.retry_after says for how long."""
    AWAY = auto()
    """Not reached, cut off, too slow, or 500, 502, 503, 504."""
    UNTRUSTED = auto()
    """The server's certificate is not one that is trusted for it."""
    REDIRECTED = auto()
    """Leads elsewhere (3xx): followed nowhere."""
    REFUSED = auto()
    """Refused for good, for another reason (any other 4xx)."""
    UNREADABLE = auto()
    """Answered something that is not of the API."""


class LibraryError(PostscanError):
    """A library did not do what it was asked to; ``str(error)`` says it in words, without a secret.

    ``advice`` is for what the adapter knows better than the trouble tells.
    """

    def __init__(
        self,
        message: str,
        trouble: Trouble,
        *,
        retry_after: timedelta | None = None,
        advice: str | None = None,
    ) -> None:
        super().__init__(message, advice=advice)
        self.trouble = trouble
        self.retry_after = retry_after


class NameTaken(LibraryError):
    """``put`` found that a file of this name is there already, and left it as it is."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a file named {name} already", Trouble.REFUSED)


@dataclass(frozen=True, slots=True)
class Upload:
    """A document on its way: ``name`` is its final one, ``key`` tells it from all others of this job.

    ``size`` is in octets, ``sha256`` lower-case hex of the whole. ``media_type`` is like ``application/pdf``.
    """

    name: str
    path: Path
    size: int
    sha256: str
    key: str
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a library: ``tag`` is its ETag as the server spells it, None where it told none.

    ``item`` is what the adapter finds it by, if not by its name.
    """

    name: str
    size: int
    tag: str | None = None
    item: str | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the library; ``made`` tells that it was not there before."""

    name: str
    made: bool
    item: str | None = None


class Likeness(Enum):
    """What a stored file is, beside a document."""

    SAME = auto()
    """Every octet is the document's."""
    PART = auto()
    """It is shorter, and is how the document begins: what a server left of a broken upload."""
    OTHER = auto()
    """Something else."""


class DocumentLibrary(Protocol):
    """One document library, or a folder in it, for one delivery."""

    async def ensure_folder(self, name: str) -> Folder:
        """Return the folder of this name right below the library, made if it was not there.

        Nothing above it is made. ``name`` is one path segment, not encoded in any way.
        """

    async def find(self, folder: Folder, name: str) -> StoredFile | None:
        """Return the file of this name, None when there is nothing.

        A folder of that name is returned as a StoredFile of size -1, so that the name counts as taken.
        """

    async def compare(self, folder: Folder, stored: StoredFile, upload: Upload) -> Likeness:
        """Tell what a stored file is beside a document, by a hash the server made, or by reading it.

        PART may be said only where a broken upload can leave a part of a file under the final name.
        """

    async def put(self, folder: Folder, upload: Upload, notes: Notes) -> StoredFile:
        """Store the document under its name, never in place of a file; it is read as it travels.

        What allows to go on after an interruption (an upload session) may be kept in ``notes`` under keys
        that begin with ``upload:`` and ``upload.key``; what is kept is stored unprotected: no secret.

        :raises NameTaken: the name was taken meanwhile.
        """

    async def set_columns(
        self, folder: Folder, stored: StoredFile, columns: Mapping[str, str]
    ) -> Sequence[str]:
        """Fill columns (metadata), by internal name; return the names of those that could not be.

        A library need not have them: that is no error. Setting the same again changes nothing.
        """

    async def remove(self, folder: Folder, stored: StoredFile) -> None:
        """Remove a file, for good or to the recycle bin; only as it was found, where ``tag`` is known.

        No error when it is not there any more.
        """

    async def remove_folder(self, folder: Folder) -> None:
        """Remove a folder that this delivery made, if it is empty; leave it otherwise."""

    async def close(self) -> None:
        """Let go of the connection."""


async def likeness(content: AsyncIterator[bytes], stored: StoredFile, upload: Upload) -> Likeness:
    """Compare what a stored file holds, as it is read, with a document (a helper of ``compare``)."""
    if stored.size > upload.size or stored.size < 0:
        return Likeness.OTHER
    digest = hashlib.sha256()
    received = 0
    with await asyncio.to_thread(open_document, upload.path) as file:
        async for chunk in content:
            received += len(chunk)
            digest.update(chunk)
            if await asyncio.to_thread(file.read, len(chunk)) != chunk:
                return Likeness.OTHER
    if received == upload.size:
        return Likeness.SAME if digest.hexdigest() == upload.sha256 else Likeness.OTHER
    return Likeness.PART if received == stored.size else Likeness.OTHER


def open_document(path: Path) -> BinaryIO:
    """Open a document of the spool, never through a link; blocks. :raises OSError: it cannot be read."""
    return open(os.open(path, _READ_FLAGS), "rb")  # noqa: PTH123 - a descriptor, for the caller


async def file_chunks(file: BinaryIO, length: int) -> AsyncIterator[bytes]:
    """Yield the next ``length`` octets of an open file, in chunks for a request's body.

    It ends where the file is closed meanwhile. :raises OSError: the file ends before.
    """
    left = length
    while left > 0 and not file.closed:
        try:
            chunk = await asyncio.to_thread(file.read, min(CHUNK, left))
        except ValueError:
            return
        if not chunk:
            raise OSError(errno.EIO, "a file to be sent became shorter")
        left -= len(chunk)
        yield chunk
