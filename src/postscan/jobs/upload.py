"""One image on its way into the spool: written as it arrives, hashed, synced, and put in its job's folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from postscan.jobs.disk import NEW_FILE, start_write_back, storage_errors, write_all
from postscan.jobs.errors import ImageTooLarge, OutOfDiskSpace

T = TypeVar("T")

HEAD_BYTES: Final = 4096
BUFFERED_BYTES: Final = 64 * 1024
WRITE_BACK_STEP: Final = 4 * 1024 * 1024


class ImageWriter:
    """Takes one image's octets and makes them a durable file of a job.

    ``write`` is called on the event loop. An image of up to 64 KiB stays in memory until the thread that
    commits it writes it in one go, straight under its final name: without a row no file counts, so a
    temporary name would protect nothing there. Larger ones go to a temporary file as they arrive, and are
    renamed. The remaining methods are called by the committing threads, in the order flush, stage, sync.
    """

    __slots__ = (
        "_buffer",
        "_claimed",
        "_descriptor",
        "_done",
        "_hash",
        "_max_bytes",
        "_min_free_bytes",
        "_path",
        "_started",
        "_synced",
        "head",
        "size",
    )

    def __init__(self, part: Path, max_bytes: int, min_free_bytes: int = 0) -> None:
        self._path = part
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._hash = hashlib.sha256()
        self._buffer: bytearray | None = bytearray()
        self._descriptor: int | None = None
        self._started = 0
        self._synced = False
        self._claimed = False
        self._done = False
        self.head = b""
        self.size = 0

    @property
    def sha256(self) -> str:
        """The lower-case hex SHA-256 of what was written so far; costs time until the image is staged."""
        if not self._buffer:
            return self._hash.hexdigest()
        whole = self._hash.copy()
        whole.update(self._buffer)
        return whole.hexdigest()

    @property
    def buffered(self) -> bool:
        """Tell whether everything still is in memory."""
        return self._buffer is not None

    def write(self, view: memoryview | bytes | bytearray) -> None:
        """Take the next octets.

        :raises ImageTooLarge: more than allowed.
        :raises OutOfDiskSpace: no room for them.
        :raises StorageUnavailable: the disk refused them for another reason.
        """
        length = len(view)
        if self.size + length > self._max_bytes:
            raise ImageTooLarge(f"more than {self._max_bytes} octets")
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(view[: HEAD_BYTES - len(self.head)])
        self.size += length
        if self._buffer is not None:
            if self.size <= BUFFERED_BYTES:
                self._buffer += view
                return
            self._spill()
        self._hash.update(view)
        assert self._descriptor is not None  # noqa: S101 - _spill opened it
        with storage_errors("cannot write an image"):
            write_all(self._descriptor, memoryview(view))
        if self.size - self._started >= WRITE_BACK_STEP:
            self._check_disk(self._descriptor)
            start_write_back(self._descriptor, self._started, self.size - self._started)
            self._started = self.size

    def abort(self) -> None:
        """Forget the image and remove its file; may be called at any time, also twice.

        Nothing happens once the image was handed to the engine to be committed: a sender that vanishes then
        must not take the file from under the thread that syncs it.
        """
        if not self._claimed:
            self.discard()

    def claim(self) -> None:
        """Take the image over from whoever wrote it: from here on the engine cleans up."""
        self._claimed = True

    def discard(self) -> None:
        """Remove the file wherever it is, unless a job keeps it."""
        if self._done:
            return
        self._done = True
        self._buffer = None
        self._close()
        self._path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Make the file's octets durable; slow for large images, so not in the thread that commits."""
        if self._descriptor is not None:
            with storage_errors("cannot sync an image"):
                os.fsync(self._descriptor)
            self._synced = True

    def stage(self, final: Path) -> None:
        """Put the image under its final name; durable only after ``sync``."""
        with storage_errors("cannot place an image"):
            if self._buffer is None:
                _with_folder(final.parent, lambda: self._path.rename(final))
                self._path = final
                return
            self._descriptor = _with_folder(final.parent, lambda: os.open(final, NEW_FILE, 0o600))
            self._path = final
            self._empty_buffer(self._descriptor)

    def start_sync(self) -> None:
        """Start writing the octets back, where other files are synced before this one."""
        if self._descriptor is not None and not self._synced:
            # Blocks are allocated now, so that the first fsync of a group commits the metadata of all.
            start_write_back(self._descriptor, 0, self.size)

    def sync(self) -> None:
        """Make the file's octets durable; its folders are synced by the caller, once for a group."""
        if not self._synced:
            self.flush()
        self._close()

    def keep(self) -> None:
        """Leave the file to its job: the row that names it is committed."""
        self._done = True
        self._close()

    def _check_disk(self, descriptor: int) -> None:
        """Many may be sending at once, none of whom took all the room when it was asked for (R-9)."""
        with storage_errors("cannot measure the spool's disk"):
            room = os.fstatvfs(descriptor)
        if room.f_bavail * room.f_frsize < self._min_free_bytes:
            raise OutOfDiskSpace(f"fewer than {self._min_free_bytes} octets are left free by an image")

    def _spill(self) -> None:
        with storage_errors("cannot open a spool file"):
            self._descriptor = os.open(self._path, NEW_FILE, 0o600)
            self._empty_buffer(self._descriptor)

    def _empty_buffer(self, descriptor: int) -> None:
        """Write what is in memory to the file, and hash it: here, and not while the event loop waits."""
        assert self._buffer is not None  # noqa: S101 - the callers looked
        write_all(descriptor, memoryview(self._buffer))
        self._hash.update(self._buffer)
        self._buffer = None

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _with_folder(folder: Path, action: Callable[[], T]) -> T:
    try:
        return action()
    except FileNotFoundError:
        folder.mkdir(mode=0o700, exist_ok=True)
        return action()
