"""Tells whether a folder waits for a file system that is not mounted.

Without this check a share that is away would look like an empty local folder, and scans would be "delivered"
below the mount point, where nobody finds them once the share is back.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

MOUNT_TABLE: Final = Path("/etc/fstab")
_MOUNTED: Final = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


def missing_mount(folder: Path, table: Path = MOUNT_TABLE, mounted: Path = _MOUNTED) -> Path | None:
    """Return the mount point at or above ``folder`` that the mount table lists but that has nothing mounted.

    None when all is mounted, or when this machine keeps no such lists.

    :param folder: an absolute path without symbolic links.
    :param table: what should be mounted, in the form of fstab(5).
    :param mounted: what is mounted, in the form of proc_pid_mountinfo(5).
    """
    try:
        wanted = _paths(table, field=1)
        present = set(_paths(mounted, field=4))
    except OSError:
        return None
    for path in wanted:
        # An entry like "none" (swap) is no path; the root is always there.
        if path.is_absolute() and path != Path("/") and folder.is_relative_to(path) and path not in present:
            return path
    return None


def _paths(table: Path, *, field: int) -> list[Path]:
    found = []
    for line in table.read_bytes().splitlines():
        columns = line.split()
        if len(columns) > field and not columns[0].startswith(b"#"):
            # Both files write white space and backslashes in paths as three octal digits.
            plain = _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), columns[field])
            found.append(Path(plain.decode(errors="surrogateescape")))
    return found
