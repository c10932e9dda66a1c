"""Lists that the administrator put beside the settings, read anew when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from postscan.core.errors import ConfigurationError
from postscan.core.log import get_logger
from postscan.server.revocation.crl import RevocationList, read_lists
from postscan.server.revocation.model import SourceFailed

_log = get_logger("revocation")
MAX_LIST_BYTES: Final = 32 * 1024 * 1024
_Stamp = tuple[int, int, int] | None


def read_file(path: Path) -> list[RevocationList]:
    """Read the lists of a file, DER or PEM.

    :raises ConfigurationError: it cannot be read, is too long, or holds something else.
    """
    advice = (
        "Let [revocation] crl_files name lists (DER or PEM) that the account the server runs as may read."
    )
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_LIST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}", advice=advice) from error
    if len(octets) > MAX_LIST_BYTES:
        raise ConfigurationError(f"{path} is longer than {MAX_LIST_BYTES:,} octets", advice=advice)
    try:
        return read_lists(octets, str(path))
    except SourceFailed as error:
        raise ConfigurationError(str(error), advice=advice) from error


class ListFiles:
    """The lists of some files. One that cannot be read any more stays what it was, with a warning."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(dict.fromkeys(paths))
        self._stamps: dict[Path, _Stamp] = {}
        self._lists: dict[Path, list[RevocationList]] = {}
        self._lock = asyncio.Lock()

    async def lists(self) -> list[RevocationList]:
        """Return every list there is, having looked whether the files have changed."""
        if not self._paths:
            return []
        async with self._lock:
            changed = [path for path in self._paths if _stamp_of(path) != self._stamps.get(path, ())]
            if changed:
                await asyncio.to_thread(self._read, changed)
            return [one for path in self._paths for one in self._lists.get(path, ())]

    def _read(self, paths: Iterable[Path]) -> None:
        for path in paths:
            # Taken before reading: a change meanwhile is found the next time.
            self._stamps[path] = _stamp_of(path)
            try:
                self._lists[path] = read_file(path)
            except ConfigurationError as error:
                kept = "its last content is used on" if path in self._lists else "it is left out"
                _log.warning("a revocation list cannot be read", why=str(error), so=kept)
            else:
                _log.info("revocation list read", file=str(path), lists=len(self._lists[path]))


def _stamp_of(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
