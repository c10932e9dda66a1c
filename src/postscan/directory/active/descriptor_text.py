"""Security descriptors in the text form that Windows' and Samba's tools print ([MS-DTYP] 2.5.1); no I/O."""

from __future__ import annotations

from typing import Final

from postscan.directory.active.descriptors import FULL_CONTROL, Ace, AceKind, SecurityDescriptor

_PROTECTED: Final = 0x1000
_AUTO_INHERITED: Final = 0x0400
_KINDS: Final = {
    AceKind.ALLOW: "A",
    AceKind.DENY: "D",
    AceKind.ALLOW_OBJECT: "OA",
    AceKind.DENY_OBJECT: "OD",
    AceKind.ALLOW_CALLBACK: "XA",
    AceKind.DENY_CALLBACK: "XD",
    AceKind.ALLOW_CALLBACK_OBJECT: "ZA",
}
_FLAGS: Final = (("OI", 0x01), ("CI", 0x02), ("NP", 0x04), ("IO", 0x08), ("ID", 0x10))
_RIGHTS: Final = (
    ("GA", 0x10000000),
    ("GX", 0x20000000),
    ("GW", 0x40000000),
    ("GR", 0x80000000),
    ("RP", 0x10),
    ("WP", 0x20),
    ("CC", 0x1),
    ("DC", 0x2),
    ("LC", 0x4),
    ("SW", 0x8),
    ("DT", 0x40),
    ("LO", 0x80),
    ("CR", 0x100),
    ("SD", 0x10000),
    ("RC", 0x20000),
    ("WD", 0x40000),
    ("WO", 0x80000),
)
_NAMES: Final = {
    "S-1-1-0": "WD",
    "S-1-3-0": "CO",
    "S-1-3-4": "OW",
    "S-1-5-2": "NU",
    "S-1-5-9": "ED",
    "S-1-5-10": "PS",
    "S-1-5-11": "AU",
    "S-1-5-18": "SY",
    "S-1-5-32-544": "BA",
    "S-1-5-32-545": "BU",
    "S-1-5-32-554": "RU",
}


def sddl(descriptor: SecurityDescriptor) -> str:
    """Return owner, group and list in one line; an entry of a kind that has no text form is ``(?)``."""
    text = f"O:{_name(descriptor.owner)}" if descriptor.owner else ""
    text += f"G:{_name(descriptor.group)}" if descriptor.group else ""
    if descriptor.dacl is None:
        return f"{text}D:NO_ACCESS_CONTROL"
    protected = "P" if descriptor.control & _PROTECTED else ""
    inherited = "AI" if descriptor.control & _AUTO_INHERITED else ""
    return f"{text}D:{protected}{inherited}" + "".join(map(_ace, descriptor.dacl))


def _ace(ace: Ace) -> str:
    kind = _KINDS.get(AceKind(ace.kind)) if ace.sid is not None else None
    if kind is None:
        return "(?)"
    types = [str(one) if one else "" for one in (ace.object_type, ace.inherited_object_type)]
    flags = "".join(name for name, bit in _FLAGS if ace.flags & bit)
    condition = ";(?)" if ace.rest and kind in ("XA", "XD", "ZA") else ""
    return f"({kind};{flags};{_rights(ace.mask)};{types[0]};{types[1]};{_name(ace.sid)}{condition})"


def _rights(mask: int) -> str:
    known = sum(bit for _, bit in _RIGHTS)
    if mask & ~known:
        return f"0x{mask:x}"
    if mask == FULL_CONTROL:
        return "RPWPCRCCDCLCLORCWOWDSDDTSW"
    return "".join(name for name, bit in _RIGHTS if mask & bit)


def _name(sid: str | None) -> str:
    return _NAMES.get(sid or "", sid or "")
