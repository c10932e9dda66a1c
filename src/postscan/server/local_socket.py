"""Where a server listens for its administrator: a socket in the data folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET_NAME = "admin.sock"
# sockaddr_un holds 108 octets, the last of them zero (unix(7)).
_LONGEST_SOCKET_PATH = 107


@contextmanager
def socket_in(folder: Path) -> Iterator[Path]:
    """Yield a path of the socket in a server's data folder, short enough to listen or connect at.

    :raises OSError: the folder is not there.
    """
    plain = folder / SOCKET_NAME
    if len(os.fsencode(plain)) <= _LONGEST_SOCKET_PATH:
        yield plain
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}") / SOCKET_NAME
    finally:
        os.close(descriptor)
