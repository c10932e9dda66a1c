"""Puts one file into a folder: whole or not at all, never over another, once even across crashes.

The calls here block; all names are taken relative to an open folder, so that exchanging the folder for a
link meanwhile leads nowhere (abuse case 29).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import stat
import threading
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from postscan.filters.contract import SpooledDocument
from postscan.filters.failures import ACCESS_DENIED, OUT_OF_SPACE, spool_failure

CHUNK_BYTES: Final = 1 << 20
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_NO_SUCH_RENAME: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF})
# After these a link was certainly not made; after others (a timeout) it may have been.
_CERTAINLY_NOT: Final = ACCESS_DENIED | OUT_OF_SPACE | _NO_LINKS | {errno.ENOENT}
_RENAME_NOREPLACE: Final = 1  # linux/fs.h
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Stopped(Exception):
    """The copying was told to stop."""


class OpenFolder:
    """An open folder; closes with its context.

    ``path`` must have no symbolic links; OSError when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, _FOLDER_FLAGS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder; what was begun in it stays."""
        os.close(self.fd)

    def make_folder(self, name: str, mode: int) -> bool:
        """Make a folder inside, durably, unless something of that name exists; tells whether it was made."""
        try:
            os.mkdir(name, mode, dir_fd=self.fd)
        except FileExistsError:
            return False
        self.sync()
        return True

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder inside."""
        os.rmdir(name, dir_fd=self.fd)

    def sync(self) -> None:
        """Make the names in the folder durable (on file systems that know this)."""
        try:
            os.fsync(self.fd)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise

    def status(self, name: str) -> os.stat_result | None:
        """Return what ``name`` is, without following a link; None when it does not exist."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file unless it is gone already."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)


class Placed(Enum):
    """What became of an attempt to give a file its final name."""

    PUBLISHED = auto()
    TAKEN = auto()


class Publication:
    """One document on its way into one folder.

    :param temporary: the temporary name, unlike that of any other publication.
    :param mode: permissions of the file.
    """

    def __init__(self, folder: OpenFolder, document: SpooledDocument, temporary: str, mode: int) -> None:
        self._folder = folder
        self._document = document
        self._temporary = temporary
        self._probe = temporary + ".link"
        self._mode = mode
        self._may_be_linked = False

    def is_linked_as(self, name: str) -> bool:
        """Tell whether ``name`` and the temporary name are the same file: then it is ours, and complete."""
        ours, other = self._folder.status(self._temporary), self._folder.status(name)
        same = ours is not None and other is not None and os.path.samestat(ours, other)
        self._may_be_linked = self._may_be_linked or same
        return same

    def write(self, stop: threading.Event) -> None:
        """Copy the document to its temporary name, durably, checking size and hash on the way.

        :raises DeliveryError: the spool does not hold what was accepted.
        :raises OSError: the folder cannot be written to.
        :raises Stopped: ``stop`` was set.
        """
        self.forget()
        source = open_spooled(self._document)
        try:
            target = os.open(self._temporary, _CREATE_FLAGS, self._mode, dir_fd=self._folder.fd)
            try:
                self._copy(source, target, stop)
                os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def links_work(self) -> bool:
        """Tell, by trying, whether this folder's file system has hard links."""
        self._folder.remove(self._probe)
        try:
            self._link(self._probe)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
        self._folder.remove(self._probe)
        return True

    def holds_document(self, name: str) -> bool:
        """Tell whether the file ``name`` has the document's size and hash."""
        try:
            descriptor = os.open(name, _READ_FLAGS, dir_fd=self._folder.fd)
        except OSError as error:
            # A link, or a socket: not what we made.
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return False
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size != self._document.size:
                return False
            digest = hashlib.sha256()
            while chunk := os.read(descriptor, CHUNK_BYTES):
                digest.update(chunk)
            return digest.hexdigest() == self._document.sha256
        finally:
            os.close(descriptor)

    def take_over_placeholder(self, name: str) -> bool:
        """Finish what a crash interrupted: rename over ``name`` if that is our empty placeholder.

        Only for a name that was planned before and a folder without links; tells whether it was done.
        """
        status = self._folder.status(name)
        if status is None or not stat.S_ISREG(status.st_mode) or status.st_size > 0:
            return False
        self._rename_over(name)
        return True

    def place(self, name: str) -> Placed:
        """Give the written file its final name, unless something of that name exists.

        By a hard link where there are such; else by a rename that refuses to replace; else by an empty
        placeholder that the file is renamed over.
        """
        self._may_be_linked = True
        try:
            self._link(name)
        except FileExistsError:
            # NFS may have done it and lost the answer (the repeated call finds the name taken).
            self._may_be_linked = False
            return Placed.PUBLISHED if self.is_linked_as(name) else Placed.TAKEN
        except OSError as error:
            if error.errno in _CERTAINLY_NOT:
                self._may_be_linked = False
            if error.errno not in _NO_LINKS:
                raise
            return self._rename(name)
        return Placed.PUBLISHED

    def discard(self) -> None:
        """Remove the temporary name, unless it may be needed to prove that the final name is ours."""
        if not self._may_be_linked:
            self.forget()

    def forget(self) -> None:
        """Remove the temporary name, whatever it is."""
        self._folder.remove(self._temporary)
        self._folder.remove(self._probe)

    def _copy(self, source: int, target: int, stop: threading.Event) -> None:
        document = self._document
        digest = hashlib.sha256()
        size = 0
        while True:
            if stop.is_set():
                raise Stopped
            try:
                chunk = os.read(source, CHUNK_BYTES)
            except OSError as error:
                raise spool_failure(
                    f"document {document.document_id} cannot be read from the spool: {error.strerror}"
                ) from error
            if not chunk:
                break
            digest.update(chunk)
            size += len(chunk)
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(target, rest) :]
        if size != document.size or digest.hexdigest() != document.sha256:
            raise spool_failure(f"document {document.document_id} changed in the spool since it was accepted")

    def _link(self, name: str) -> None:
        os.link(
            self._temporary,
            name,
            src_dir_fd=self._folder.fd,
            dst_dir_fd=self._folder.fd,
            follow_symlinks=False,
        )

    def _rename(self, name: str) -> Placed:
        folder = self._folder.fd
        try:
            rename_without_replacing(folder, self._temporary, name)
        except FileExistsError:
            return Placed.TAKEN
        except OSError as error:
            if error.errno not in _NO_SUCH_RENAME:
                raise
        else:
            return Placed.PUBLISHED
        try:
            os.close(os.open(name, _CREATE_FLAGS, self._mode, dir_fd=folder))
        except FileExistsError:
            return Placed.TAKEN
        try:
            self._rename_over(name)
        except OSError:
            with contextlib.suppress(OSError):
                self._folder.remove(name)
            raise
        return Placed.PUBLISHED

    def _rename_over(self, name: str) -> None:
        os.rename(self._temporary, name, src_dir_fd=self._folder.fd, dst_dir_fd=self._folder.fd)


def rename_without_replacing(folder: int, old: str, new: str) -> None:
    """Rename inside the open ``folder``; FileExistsError when ``new`` exists (rename(2), RENAME_NOREPLACE).

    OSError with ENOSYS or EINVAL where the C library, kernel or file system does not know it.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    rename = library.renameat2
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if rename(folder, os.fsencode(old), folder, os.fsencode(new), _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def open_spooled(document: SpooledDocument) -> int:
    """Return a descriptor of a document in the spool; raises DeliveryError when it is no file of ours."""
    try:
        source = os.open(document.path, _READ_FLAGS)
    except OSError as error:
        raise spool_failure(
            f"document {document.document_id} cannot be read from the spool: {error.strerror}"
        ) from error
    if not stat.S_ISREG(os.fstat(source).st_mode):
        os.close(source)
        raise spool_failure(f"document {document.document_id} is no regular file in the spool")
    return source
