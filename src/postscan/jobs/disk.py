"""The few system calls by which images become durable, and the errors they turn into."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from postscan.jobs.errors import OutOfDiskSpace, StorageUnavailable

NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
A_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# linux/fs.h: start writing dirty pages that are not being written yet, and do not wait for them.
_SYNC_FILE_RANGE_WRITE: Final = 2


def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    function.restype = ctypes.c_int
    found: Callable[[int, int, int, int], int] = function
    return found


_sync_file_range = _find_sync_file_range()


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn an OSError inside the block into OutOfDiskSpace or StorageUnavailable."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfDiskSpace(f"{what}: {error}") from error
        raise StorageUnavailable(f"{what}: {error}") from error


def write_all(descriptor: int, view: memoryview) -> None:
    """Write every octet of ``view``; raises OSError."""
    while view:
        view = view[os.write(descriptor, view) :]


def start_write_back(descriptor: int, offset: int, length: int) -> None:
    """Ask the kernel to start writing a range to disk now, so that the fsync at the end has little to do.

    A hint only: where the system has no such call, or the file system refuses, nothing is lost but speed.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)


def sync_folder(folder: Path) -> None:
    """Make the entries of ``folder`` durable; raises OSError."""
    descriptor = os.open(folder, A_FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
