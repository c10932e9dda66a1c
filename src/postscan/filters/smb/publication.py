"""One document on its way into one folder of a file server: the steps that block, each complete in itself."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from postscan.filters.contract import SpooledDocument
from postscan.filters.failures import spool_failure
from postscan.filters.publish import Stopped, open_spooled
from postscan.filters.smb.folder import FileStatus, SmbFile, SmbFolder


class SmbPublication:
    """One document, under a temporary name until it is whole.

    The temporary file is held from its making to its renaming, so that whatever else happens - another try
    while a frozen server still has the requests of this one - at most one of them gives it its final name.

    :param temporary: unlike the name of any other publication, and the same after a restart.
    """

    def __init__(self, folder: SmbFolder, document: SpooledDocument, temporary: str) -> None:
        self.folder = folder
        self._document = document
        self._temporary = temporary
        self._file: SmbFile | None = None

    def begin(self) -> bool:
        """Make the temporary file, and hold it; tells whether one was left by a former try, and is removed.

        From here on nobody else can bring this document to its name: a former try's requests that the server
        still has would need the file that is gone, or have been done. If that one is still held, this fails.
        """
        left = False
        made = self.folder.create(self._temporary)
        if made is None:
            left = self.folder.remove(self._temporary)
            made = self.folder.create(self._temporary)
        if made is None:
            raise FileExistsError(f"{self._temporary} is there again")
        self._file = made
        return left

    def holds_document(self, name: str) -> bool:
        """Tell, by reading it, whether a file is this document, to the last octet."""
        found = self.folder.status(name)
        if found is None or found.size != self._document.size:
            return False
        digest = hashlib.sha256()
        for piece in self.folder.read(name, self._document.size + 1):
            digest.update(piece)
        return digest.hexdigest() == self._document.sha256

    def is_taken_by(self, found: FileStatus | None, number: int) -> bool:
        """Tell whether a file is the one that was written here: the same number, and the document's size."""
        return (
            found is not None and number != 0 and (found.number, found.size) == (number, self._document.size)
        )

    def write(self, stop: threading.Event) -> int:
        """Write the document into the temporary file, durably; return the file's number (0: it has none).

        :raises DeliveryError: the spool does not hold what was accepted, or the server not what was sent.
        :raises Stopped: ``stop`` was set.
        """
        made = self._held()
        with self._source() as source:
            self._copy(source, made, stop)
        made.flush()
        status = made.status()
        if status.size != self._document.size:
            raise OSError(f"the server has {status.size} of {self._document.size} octets")
        return status.number

    def place(self, name: str) -> bool:
        """Give the written file its final name; False when something has that name."""
        return self._held().rename(name)

    def finish(self) -> None:
        """Have the final name on the server's disk, and let go of the file."""
        held = self._held()
        # The file's flush brings the change of its folder onto the disk, too.
        held.flush()
        held.close()
        self._file = None

    def require_number(self, name: str, number: int) -> None:
        """Look whether the name still is that of the file that was written (a number of 0 proves nothing).

        :raises FileNotFoundError: another server gave it to a file of its own at the same moment.
        """
        found = self.folder.status(name)
        if found is None or (number and found.number and found.number != number):
            raise FileNotFoundError(f"{name} was replaced by somebody else at once")

    def discard(self) -> None:
        """Remove the temporary file that is held, if there is one."""
        if self._file is not None:
            held, self._file = self._file, None
            held.remove()

    def _held(self) -> SmbFile:
        if self._file is None:
            raise FileNotFoundError(f"{self._temporary} was not made")
        return self._file

    @contextmanager
    def _source(self) -> Iterator[int]:
        descriptor = open_spooled(self._document)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _copy(self, source: int, target: SmbFile, stop: threading.Event) -> None:
        document = self._document
        digest = hashlib.sha256()
        size = 0
        while True:
            if stop.is_set():
                raise Stopped
            with target.connection.turn:
                try:
                    chunk = os.read(source, target.chunk_size)
                except OSError as error:
                    raise spool_failure(
                        f"document {document.document_id} cannot be read from the spool: {error.strerror}"
                    ) from error
                if not chunk:
                    break
                digest.update(chunk)
                target.write(chunk, size)
            size += len(chunk)
        if size != document.size or digest.hexdigest() != document.sha256:
            raise spool_failure(f"document {document.document_id} changed in the spool since it was accepted")
