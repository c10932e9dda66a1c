"""Security identifiers and GUIDs as Active Directory stores them: octets, little-endian; no I/O."""

from __future__ import annotations

import struct
from typing import Final
from uuid import UUID

from postscan.directory.model import is_sid

# [MS-DTYP] 2.4.2.2: revision, count, authority (6 octets), then at most 15 subauthorities of 4 octets.
_HEAD: Final = 8
_REVISION: Final = 1
MAX_SUBAUTHORITIES: Final = 15
# An authority that needs more than 32 bits is written in hex ([MS-DTYP] 2.4.2.1).
_PLAIN_AUTHORITY: Final = 2**32


def sid_text(octets: bytes) -> str:
    """Return the string form of a security identifier; raises ValueError for anything else."""
    text, end = sid_at(octets, 0)
    if end != len(octets):
        raise ValueError(f"{len(octets) - end} octets too many after a security identifier")
    return text


def sid_at(octets: bytes, start: int) -> tuple[str, int]:
    """Return the string form of the SID at ``start``, and where it ends; raises ValueError."""
    if not 0 <= start <= len(octets) - _HEAD:
        raise ValueError("a security identifier that ends too early")
    revision, count = octets[start], octets[start + 1]
    end = start + _HEAD + 4 * count
    if revision != _REVISION or not 1 <= count <= MAX_SUBAUTHORITIES or end > len(octets):
        raise ValueError("a security identifier of unknown revision or length")
    authority = int.from_bytes(octets[start + 2 : start + _HEAD], "big")
    parts = struct.unpack_from(f"<{count}I", octets, start + _HEAD)
    written = str(authority) if authority < _PLAIN_AUTHORITY else f"0x{authority:012X}"
    return "-".join(("S-1", written, *map(str, parts))), end


def sid_octets(text: str) -> bytes:
    """Return the octets of a security identifier in string form; raises ValueError for anything else."""
    if not is_sid(text):
        raise ValueError(f"{text!r} is no security identifier")
    authority, *parts = text.split("-")[2:]
    number = int(authority, 16 if authority.startswith("0x") else 10)
    if number >= 2**48:
        raise ValueError(f"{text!r} has too large an authority")
    head = struct.pack("<BB", _REVISION, len(parts)) + number.to_bytes(6, "big")
    return head + struct.pack(f"<{len(parts)}I", *map(int, parts))


def guid(octets: bytes) -> UUID:
    """Return the GUID of 16 octets whose first three fields are little-endian ([MS-DTYP] 2.3.4.2).

    :raises ValueError: there are not 16 of them.
    """
    if len(octets) != 16:
        raise ValueError(f"{len(octets)} octets where a GUID has 16")
    return UUID(bytes_le=octets)
