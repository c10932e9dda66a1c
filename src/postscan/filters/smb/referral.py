"""Reads DFS referrals ([MS-DFSC] 2.2.4): octets in, paths out; nothing in them is trusted."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from postscan.core.errors import PostscanError

_HEAD: Final = struct.Struct("<HHI")
_ENTRY: Final = struct.Struct("<HHHH")
# Time to live, then the offsets of DFS path, alternate path and network address ([MS-DFSC] 2.2.5.4).
_REST: Final = struct.Struct("<IHHH")
# The same of version 2, with a proximity in front.
_REST_2: Final = struct.Struct("<IIHHH")
_NAME_LIST: Final = 0x0002
_MOST_ENTRIES: Final = 64
_LONGEST: Final = 2_048


class NoReferral(PostscanError):
    """Octets that are no referral."""

    advice = "See what the log of the DFS server says."


@dataclass(frozen=True, slots=True)
class Referral:
    r"""Where a path leads: how many units of UTF-16 of it are replaced, and by what, best first.

    ``targets`` look like ``\host\share\folder``; they are text that a server sent, and no more.
    """

    consumed: int
    targets: tuple[str, ...]

    def rest_of(self, path: str) -> str:
        """Return what of a path is not replaced."""
        return path.encode("utf-16-le")[2 * self.consumed :].decode("utf-16-le", errors="ignore")

    @property
    def in_words(self) -> str:
        """Return the targets for a message."""
        told = ", ".join(self.targets)[:200] or "nothing"
        return "".join(char if char.isprintable() else "�" for char in told)


def parse_referral(octets: bytes) -> Referral:
    """Read RESP_GET_DFS_REFERRAL.

    :raises NoReferral: it is none.
    """
    try:
        consumed, count, _ = _HEAD.unpack_from(octets)
        if count > _MOST_ENTRIES or consumed % 2:
            raise NoReferral("too many targets, or half a character")
        targets = []
        place = _HEAD.size
        for _ in range(count):
            version, size, _, flags = _ENTRY.unpack_from(octets, place)
            if size < _ENTRY.size:
                raise NoReferral("an entry without end")
            target = _target(octets, place, version, flags, size)
            if target:
                targets.append(target)
            place += size
    except (struct.error, UnicodeDecodeError) as error:
        raise NoReferral(str(error)) from error
    return Referral(consumed // 2, tuple(targets))


def _target(octets: bytes, place: int, version: int, flags: int, size: int) -> str:
    if version == 1:
        return _text(octets[: place + size], place + _ENTRY.size)
    if version == 2:
        return _text(octets, place + _REST_2.unpack_from(octets, place + _ENTRY.size)[4])
    if flags & _NAME_LIST:
        return ""
    return _text(octets, place + _REST.unpack_from(octets, place + _ENTRY.size)[3])


def _text(octets: bytes, start: int) -> str:
    """Return the UTF-16 text that starts there and ends in a NUL."""
    for end in range(start, min(len(octets) - 1, start + 2 * _LONGEST), 2):
        if octets[end : end + 2] == b"\0\0":
            return octets[start:end].decode("utf-16-le")
    raise NoReferral("a text without end")
