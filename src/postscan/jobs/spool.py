"""The local spool: where images lie from their first octet until they are delivered.

::

    incoming/<uuid>.part            an image on its way in, larger than the buffer
    jobs/<token>/<id>.<random>      an image in its job, or a document made for it
    work/<token>.<random>/          where documents of a job are being made

A file counts only when the store has a row that names it; anything else is left over from a refused or torn
upload, or from work that was cut short, and is removed by ``recover``. Every accepted file has a name of its
own, so nothing ever overwrites.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from postscan.core.log import get_logger
from postscan.jobs.disk import A_FOLDER, storage_errors, sync_folder
from postscan.jobs.errors import SpoolUnsafe, StorageInUse
from postscan.jobs.upload import ImageWriter

__all__ = ["ImageWriter", "LocalSpool", "RecoveryReport"]

_log = get_logger("jobs")


@dataclass(slots=True)
class RecoveryReport:
    """What ``recover`` found: how much it removed, and which rows' files are missing or of another size."""

    torn_uploads: int = 0
    orphans: int = 0
    missing: list[tuple[str, str]] = field(default_factory=list)


class LocalSpool:
    """A folder of this machine that one server process owns."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._jobs = root / "jobs"
        self._work = root / "work"
        self._lock: int | None = None
        # Job folders whose own entry is known to be durable.
        self._durable: set[Path] = set()

    def prepare(self) -> None:
        """Create the folders where missing, check that they are safe, and lock the spool for this process.

        :raises SpoolUnsafe: a link, not a folder, or owned by another account (abuse case 29).
        :raises StorageInUse: another process has it.
        """
        if self._lock is not None:
            return
        with storage_errors(f"cannot prepare the spool {self.root}"):
            self.root.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self.root, self._incoming, self._jobs, self._work):
                _own_folder(folder)
            descriptor = os.open(self.root, A_FOLDER)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StorageInUse(f"another process works on the spool {self.root}") from error
        self._lock = descriptor

    def close(self) -> None:
        """Give the lock back; may be called twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def recover(self, expected: Mapping[str, Mapping[str, int]]) -> RecoveryReport:
        """Remove what no row names, and compare what the rows name: token -> file name -> size in octets."""
        report = RecoveryReport()
        with storage_errors("cannot clean the spool"):
            for torn in self._incoming.iterdir():
                _remove(torn)
                report.torn_uploads += 1
            for unfinished in self._work.iterdir():
                _remove(unfinished)
            for folder in self._jobs.iterdir():
                report.orphans += _remove_strangers(folder, expected.get(folder.name))
        for token, files in expected.items():
            for name, size in files.items():
                if not self.holds(token, name, size):
                    report.missing.append((token, name))
                    _log.error("a document is missing from the spool", token=token, file=name)
        if report.torn_uploads or report.orphans:
            _log.info("spool cleaned", torn_uploads=report.torn_uploads, orphans=report.orphans)
        return report

    def open_image(self, max_bytes: int, min_free_bytes: int = 0) -> ImageWriter:
        """Return a writer for one image of at most ``max_bytes`` octets; free until it is written.

        A large one is refused midway once fewer than ``min_free_bytes`` remain on the disk.
        """
        name = f"{random.getrandbits(64):016x}.part"
        return ImageWriter(self._incoming / name, max_bytes, min_free_bytes)

    def folder(self, token: str) -> Path:
        """Return the folder of a job's images; ValueError for anything but a token of ours."""
        if str(UUID(token)) != token:
            raise ValueError("not a token of ours")
        return self._jobs / token

    def path(self, token: str, file_name: str) -> Path:
        """Return where an accepted image lies."""
        return self.folder(token) / file_name

    def sync_folders(self, folders: set[Path]) -> None:
        """Make the entries of job folders durable, and once each the folders' own entries."""
        with storage_errors("cannot sync the spool's folders"):
            for folder in folders:
                sync_folder(folder)
            fresh = folders - self._durable
            if fresh:
                sync_folder(self._jobs)
                self._durable |= fresh

    def holds(self, token: str, file_name: str, size: int) -> bool:
        """Tell whether an accepted image is there: a regular file of that size."""
        try:
            found = self.path(token, file_name).lstat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def remove_job(self, token: str) -> None:
        """Remove a job's images; nothing happens when there are none."""
        with storage_errors(f"cannot remove the images of {token}"):
            folder = self.folder(token)
            self._durable.discard(folder)
            _remove(folder)

    def make_work_folder(self, token: str) -> Path:
        """Return a new folder, empty and private, in which documents of a job can be made."""
        with storage_errors(f"cannot make a folder to work in for {token}"):
            folder = self._work / f"{self.folder(token).name}.{random.getrandbits(64):016x}"
            folder.mkdir(mode=0o700)
        return folder

    def remove_work_folder(self, folder: Path) -> None:
        """Remove a folder of ``make_work_folder`` with all that is in it."""
        with storage_errors("cannot remove a folder of unfinished work"):
            _remove(folder)

    def free_bytes(self) -> int:
        """Return how many octets this account can still write here."""
        with storage_errors("cannot measure the spool's disk"):
            room = os.statvfs(self.root)
        return room.f_bavail * room.f_frsize


def _own_folder(folder: Path) -> None:
    if not os.path.lexists(folder):
        folder.mkdir(mode=0o700)
        sync_folder(folder.parent)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise SpoolUnsafe(f"{folder} is not a folder")
    if found.st_uid != os.geteuid():
        raise SpoolUnsafe(f"{folder} belongs to another account")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_unless_gone)
    else:
        path.unlink(missing_ok=True)


def _unless_gone(_function: object, _path: object, found: tuple[object, BaseException, object]) -> None:
    """Let an error of ``rmtree`` pass that says that somebody else has removed the entry already."""
    error = found[1]
    if not isinstance(error, FileNotFoundError):
        raise error


def _remove_strangers(folder: Path, files: Mapping[str, int] | None) -> int:
    """Remove a job folder nobody expects, or the files in it that nobody expects; return how many files."""
    if files is None or folder.is_symlink() or not folder.is_dir():
        count = len(list(folder.iterdir())) if folder.is_dir() and not folder.is_symlink() else 1
        _remove(folder)
        return count
    strangers = [path for path in folder.iterdir() if path.name not in files]
    for stranger in strangers:
        _remove(stranger)
    return len(strangers)
