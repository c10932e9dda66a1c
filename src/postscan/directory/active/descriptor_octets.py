"""Self-relative security descriptors as octets ([MS-DTYP] 2.4.6), read and written; no I/O."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final
from uuid import UUID

from postscan.directory.active.descriptors import Ace, AceKind, SecurityDescriptor
from postscan.directory.active.identifiers import sid_at, sid_octets

# An access control list has at most 65,535 octets, and a descriptor two of them and two SIDs.
MAX_OCTETS: Final = 2 * 65_535 + 1_024
_HEADER: Final = struct.Struct("<BBHIIII")
_ACL_HEADER: Final = struct.Struct("<BBHHH")
_ACE_HEADER: Final = struct.Struct("<BBH")
_SELF_RELATIVE: Final = 0x8000
_DACL_PRESENT: Final = 0x0004
# SE_DACL_AUTO_INHERIT_REQ, SE_DACL_AUTO_INHERITED, SE_DACL_PROTECTED.
_KEPT_CONTROL: Final = 0x0100 | 0x0400 | 0x1000
_REVISION: Final = 1
_ACL_REVISION: Final = 2
_ACL_REVISION_DS: Final = 4
# An entry for an object with both types has at most so many octets, and no condition then.
_SHORT: Final = 112
_OBJECT_TYPE_PRESENT: Final = 1
_INHERITED_TYPE_PRESENT: Final = 2
_OBJECT_KINDS: Final = frozenset(
    {
        AceKind.ALLOW_OBJECT,
        AceKind.DENY_OBJECT,
        AceKind.ALLOW_CALLBACK_OBJECT,
        AceKind.DENY_CALLBACK_OBJECT,
    }
)


class DescriptorError(ValueError):
    """Octets that are no self-relative security descriptor."""


def read_descriptor(octets: bytes) -> SecurityDescriptor:
    """Read owner, group and discretionary list; the system list (auditing) is left out.

    :raises DescriptorError: they are malformed.
    """
    try:
        return _read(octets)
    except (ValueError, struct.error) as error:
        raise DescriptorError(f"a security descriptor that cannot be read: {error}") from error


def write_descriptor(descriptor: SecurityDescriptor) -> bytes:
    """Return a descriptor as octets; raises ValueError where a list is too long to be written."""
    parts = b""
    offsets = []
    acl = b"" if descriptor.dacl is None else _write_acl(descriptor.dacl)
    for part in (_sid_or_nothing(descriptor.owner), _sid_or_nothing(descriptor.group), acl):
        offsets.append(_HEADER.size + len(parts) if part else 0)
        parts += part
    control = (descriptor.control & _KEPT_CONTROL) | _SELF_RELATIVE | _DACL_PRESENT
    owner, group, dacl = offsets
    return _HEADER.pack(_REVISION, 0, control, owner, group, 0, dacl) + parts


def _read(octets: bytes) -> SecurityDescriptor:
    if len(octets) > MAX_OCTETS:
        raise ValueError(f"{len(octets)} octets, {MAX_OCTETS} are allowed")
    revision, _, control, owner, group, _, dacl = _HEADER.unpack_from(octets)
    if revision != _REVISION or not control & _SELF_RELATIVE:
        raise ValueError("of unknown revision, or not self-relative")
    present = control & _DACL_PRESENT and dacl
    return SecurityDescriptor(
        owner=sid_at(octets, owner)[0] if owner else None,
        group=sid_at(octets, group)[0] if group else None,
        dacl=_read_acl(octets, dacl) if present else None,
        control=control & _KEPT_CONTROL,
    )


def _read_acl(octets: bytes, start: int) -> tuple[Ace, ...]:
    _, _, size, count, _ = _ACL_HEADER.unpack_from(octets, start)
    end = start + size
    if end > len(octets):
        raise ValueError("a list that ends too late")
    position = start + _ACL_HEADER.size
    aces = []
    for _ in range(count):
        kind, flags, length = _ACE_HEADER.unpack_from(octets, position)
        if length < _ACE_HEADER.size or position + length > end:
            raise ValueError("an entry of impossible length")
        read = _read_ace if length > _SHORT else _read_short_ace
        aces.append(read(kind, flags, octets[position + _ACE_HEADER.size : position + length]))
        position += length
    return tuple(aces)


def _read_ace(kind: int, flags: int, body: bytes) -> Ace:
    try:
        known = AceKind(kind)
    except ValueError:
        return Ace(kind, flags, 0, None, rest=body)
    (mask,) = struct.unpack_from("<I", body)
    position = 4
    types: list[UUID | None] = [None, None]
    if known in _OBJECT_KINDS:
        (present,) = struct.unpack_from("<I", body, position)
        position += 4
        for index, bit in enumerate((_OBJECT_TYPE_PRESENT, _INHERITED_TYPE_PRESENT)):
            if present & bit:
                if position + 16 > len(body):
                    raise ValueError("an entry that ends too early")
                types[index] = UUID(bytes_le=body[position : position + 16])
                position += 16
    sid, end = sid_at(body, position)
    return Ace(known, flags, mask, sid, types[0], types[1], body[end:])


# What a container hands down is the same in thousands of descriptors.
_read_short_ace = lru_cache(maxsize=4_096)(_read_ace)


def _write_acl(aces: tuple[Ace, ...]) -> bytes:
    body = b"".join(map(_write_ace, aces))
    size = _ACL_HEADER.size + len(body)
    if size > 0xFFFF:
        raise ValueError(f"{len(aces)} entries are more than an access control list can hold")
    revision = _ACL_REVISION_DS if any(ace.kind in _OBJECT_KINDS for ace in aces) else _ACL_REVISION
    return _ACL_HEADER.pack(revision, 0, size, len(aces), 0) + body


def _write_ace(ace: Ace) -> bytes:
    body = ace.rest
    if ace.sid is not None:
        types = [
            None if one is None else one.bytes_le for one in (ace.object_type, ace.inherited_object_type)
        ]
        body = sid_octets(ace.sid) + body
        if ace.kind in _OBJECT_KINDS:
            bits = (_OBJECT_TYPE_PRESENT, _INHERITED_TYPE_PRESENT)
            present = sum(bit for bit, one in zip(bits, types, strict=True) if one is not None)
            body = struct.pack("<I", present) + b"".join(one for one in types if one is not None) + body
        body = struct.pack("<I", ace.mask) + body
    return _ACE_HEADER.pack(ace.kind, ace.flags, _ACE_HEADER.size + len(body)) + body


def _sid_or_nothing(sid: str | None) -> bytes:
    return b"" if sid is None else sid_octets(sid)
