"""Walls around a worker: which files it may reach, and no sockets, whatever a page makes of its decoder.

A worker has the account of the server, whose secrets, database and admin socket that account may use (abuse
cases 25 and 32). Landlock (landlock(7)) leaves it the system's programs and libraries, its own folder and the
documents it was told to read; it also keeps other processes from it, with their environments. A filter of
system calls (seccomp(2)) leaves it no socket, neither of a network nor one with a path.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

_libc = ctypes.CDLL(None, use_errno=True)

# The same numbers on every architecture (linux/unistd: calls since 5.1).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION: Final = 1
_BENEATH: Final = 1
_OLDEST: Final = 2
"""The first version lets nothing be moved from one folder to another, even of those that are allowed."""

_EXECUTE, _WRITE, _READ, _LIST, _REMOVE_FOLDER, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_FOLDER, _MAKE_FILE, _MAKE_LINK, _MOVE, _TRUNCATE = 1 << 7, 1 << 8, 1 << 12, 1 << 13, 1 << 14
_ALL: Final = {2: (1 << 14) - 1, 3: (1 << 15) - 1}
_OF_FILES: Final = _EXECUTE | _WRITE | _READ | _TRUNCATE
_LOOK: Final = _EXECUTE | _READ | _LIST
_OWN: Final = (
    _READ
    | _LIST
    | _WRITE
    | _TRUNCATE
    | _REMOVE_FILE
    | _REMOVE_FOLDER
    | _MAKE_FILE
    | _MAKE_FOLDER
    | _MAKE_LINK
    | _MOVE
)
# Programs, libraries, fonts, and what these read of the system; nothing that has secrets.
_SYSTEM: Final = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/meminfo",
    "/proc/self",  # not all of /proc: what may trace others may read their environments there
    "/proc/stat",
    "/proc/sys",
    "/proc/version",
    "/sys/devices/system",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
)
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm")  # noqa: S108 - for locks
_OF_TOOLS: Final = ("TESSDATA_PREFIX", "GS_LIB", "FONTCONFIG_FILE", "FONTCONFIG_PATH")

_PR_SET_SECCOMP: Final = 22
_BY_FILTER: Final = 2
_ALLOW: Final = 0x7FFF_0000
_REFUSE: Final = 0x0005_0000 | 1  # EPERM
_LOAD, _JUMP_EQUAL, _JUMP_FROM, _RETURN = 0x20, 0x15, 0x35, 0x06
# By machine: the kernel's word for it, and the numbers of socket(2) and io_uring_setup(2).
_CALLS: Final = {"x86_64": (0xC000_003E, (41, 425)), "aarch64": (0xC000_00B7, (198, 425))}
_OTHER_ABI: Final = 0x4000_0000


def close_in(folder: Path, documents: Iterable[Path]) -> dict[str, bool]:
    """Leave this process, and what it starts, its ``folder`` and ``documents`` to read, and no socket.

    :return: which walls stand: ``files`` and ``sockets``; a kernel may lack them, or refuse.
    """
    return {"files": _close_files(folder, documents), "sockets": _close_sockets()}


def documents_of(arguments: object, below: Sequence[Path]) -> Iterator[Path]:
    """Yield the files that a task's arguments name by absolute paths, those below some folders alone.

    :param below: such as the spool's; all files are meant when it is empty.
    """
    if isinstance(arguments, dict):
        arguments = list(arguments.values())
    if isinstance(arguments, list):
        for one in arguments:
            yield from documents_of(one, below)
    elif isinstance(arguments, str) and arguments.startswith("/"):
        # A title may look like a path, too: what is no file that the system takes is none of ours.
        with contextlib.suppress(OSError, ValueError):
            path = Path(arguments).resolve()
            if path.is_file() and (not below or any(path.is_relative_to(one) for one in below)):
                yield path


def _close_files(folder: Path, documents: Iterable[Path]) -> bool:
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)
    if version < _OLDEST:
        return False
    handled = _ALL[min(version, max(_ALL))]
    wanted = struct.pack("=Q", handled)
    rules = _libc.syscall(_CREATE_RULESET, wanted, ctypes.c_size_t(len(wanted)), 0)
    if rules < 0:
        return False
    try:
        for path in {*_SYSTEM, *sys.path, sys.prefix, sys.base_prefix, *_paths_of_tools()}:
            _allow(rules, path, _LOOK & handled)
        for path in _DEVICES:
            _allow(rules, path, (_READ | _WRITE | _LIST | _MAKE_FILE | _REMOVE_FILE) & handled)
        for document in documents:
            _allow(rules, document, _READ)
        _allow(rules, folder, _OWN & handled)
        return bool(_libc.syscall(_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def _paths_of_tools() -> Iterator[str]:
    yield from os.environ.get("PATH", "").split(os.pathsep)
    for name in _OF_TOOLS:
        yield from os.environ.get(name, "").split(os.pathsep)


def _allow(rules: int, path: str | Path, rights: int) -> None:
    """Allow what is at a path and beneath it; nothing where there is nothing."""
    if not Path(path).is_absolute() or Path(path) == Path("/"):
        return
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not Path(path).is_dir():
            rights &= _OF_FILES
        _libc.syscall(_ADD_RULE, rules, _BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


class _Program(ctypes.Structure):
    """A program of the Berkeley packet filter (linux/filter.h: sock_fprog)."""

    _fields_: ClassVar[Any] = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def _close_sockets() -> bool:
    known = _CALLS.get(platform.machine())
    if known is None:
        return False
    architecture, calls = known
    # Jumps count from the next step; the last two are "allow" and "refuse".
    refuse = 4 + len(calls) + 1
    steps = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_JUMP_EQUAL, 0, refuse - 2, architecture),
        (_LOAD, 0, 0, 0),  # the number of the call
        (_JUMP_FROM, refuse - 4, 0, _OTHER_ABI),
        *((_JUMP_EQUAL, refuse - 5 - place, 0, call) for place, call in enumerate(calls)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    octets = b"".join(struct.pack("=HBBI", *step) for step in steps)
    program = _Program(len(steps), octets)
    return bool(_libc.prctl(_PR_SET_SECCOMP, _BY_FILTER, ctypes.byref(program), 0, 0) == 0)
