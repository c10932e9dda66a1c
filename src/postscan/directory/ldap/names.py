"""Distinguished names (RFC 4514): taken apart, put together and compared; no I/O."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

# One or more attribute-value pairs (more than one is rare and written with "+").
RelativeName: TypeAlias = tuple[tuple[str, str], ...]

_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*|\d+(\.\d+)*", re.ASCII)
_LONGEST: Final = 8 * 1024
_SPECIAL: Final = frozenset('"+,;<>\\=')
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)


class InvalidName(ValueError):
    """A text is not a distinguished name, or not a DNS domain."""


def escape(value: str) -> str:
    """Return an attribute value as it is written inside a distinguished name (RFC 4514, 2.4)."""
    written = [f"\\{c}" if c in _SPECIAL else "\\00" if c == "\0" else c for c in value]
    if value[:1] in {" ", "#"}:
        written[0] = "\\" + value[0]
    if len(value) > 1 and value.endswith(" "):
        written[-1] = "\\ "
    return "".join(_control_escaped(part) for part in written)


def child(attribute: str, value: str, parent_dn: str) -> str:
    """Return the name of an object right below ``parent_dn``: ``child("CN", "a, b", "DC=x")``."""
    if _TYPE.fullmatch(attribute) is None:
        raise InvalidName(f"not an attribute type: {attribute!r}")
    if not value:
        raise InvalidName("an object cannot have an empty name")
    first = f"{attribute}={escape(value)}"
    return f"{first},{parent_dn}" if parent_dn else first


def parent(dn: str) -> str:
    """Return the name of what holds the object, empty for the topmost; written anew, value by value."""
    return join(parse(dn)[1:])


def join(names: tuple[RelativeName, ...]) -> str:
    """Write a parsed name."""
    return ",".join("+".join(f"{kind}={escape(value)}" for kind, value in pairs) for pairs in names)


def same(one: str, other: str) -> bool:
    """Tell whether two names name the same object; case, spaces and ways to escape do not count."""
    return normal(one) == normal(other)


def below(dn: str, base: str) -> bool:
    """Tell whether ``dn`` is ``base`` or lies somewhere under it."""
    names, top = normal(dn), normal(base)
    return not top or names[-len(top) :] == top


def normal(dn: str) -> tuple[RelativeName, ...]:
    """Return a form of the name by which it can be compared, and kept as a key.

    Active Directory compares naming attributes without case, and runs of spaces as one.
    """
    return tuple(
        tuple(sorted((kind.casefold(), " ".join(value.casefold().split())) for kind, value in pairs))
        for pairs in parse(dn)
    )


def domain_dn(domain: str) -> str:
    """Return the name of a domain's topmost object: ``dsm.test`` is ``DC=dsm,DC=test``."""
    labels = domain.removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidName(f"not a DNS domain: {domain!r}")
    return ",".join(f"DC={label}" for label in labels)


def dns_domain(dn: str) -> str:
    """Return the DNS domain that an object of Active Directory belongs to, by the DC parts of its name."""
    labels = [value for pairs in parse(dn) for kind, value in pairs if kind.casefold() == "dc"]
    if not labels:
        raise InvalidName(f"no domain (DC=) in {dn!r}")
    return ".".join(labels)


def parse(dn: str) -> tuple[RelativeName, ...]:
    """Take a name apart, the object itself first.

    :raises InvalidName: where it is not as RFC 4514, 3 says, or longer than any directory allows.
    """
    if len(dn) > _LONGEST:
        raise InvalidName(f"a name of {len(dn)} characters")
    if not dn.strip():
        return ()
    return tuple(tuple(_pair(pair) for pair in _split(relative, "+")) for relative in _split(dn, ",;"))


def _pair(text: str) -> tuple[str, str]:
    kind, equals, value = text.partition("=")
    kind = kind.strip()
    if not equals or _TYPE.fullmatch(kind) is None:
        raise InvalidName(f"not a distinguished name: {text!r}")
    return kind, _value(value)


def _split(text: str, separators: str) -> list[str]:
    parts, start, at, quoted = [], 0, 0, False
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
        elif character == '"':
            quoted = not quoted
        elif character in separators and not quoted:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    if quoted:
        raise InvalidName(f"a quotation without end: {text!r}")
    return [*parts, text[start:]]


def _value(text: str) -> str:
    text = text.lstrip(" ")
    if text.startswith("#"):
        raise InvalidName("values in hexadecimal BER are not supported")
    octets, kept, at, quoted = bytearray(), 0, 0, False
    while at < len(text):
        character = text[at]
        if character == "\\":
            octet, taken = _escaped(text, at)
            octets += octet
            at += taken
            kept = len(octets)  # an escaped space at the end belongs to the value
            continue
        if character == '"':
            quoted = not quoted
            kept = len(octets)
        elif character in '+,;<>"\0' and not quoted:
            raise InvalidName(f"{character!r} is not escaped: {text!r}")
        else:
            octets += character.encode("utf-8", "surrogatepass")
            if character != " " or quoted:
                kept = len(octets)
        at += 1
    try:
        return octets[:kept].decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidName(f"not UTF-8: {text!r}") from error


def _escaped(text: str, at: int) -> tuple[bytes, int]:
    after = text[at + 1 : at + 3]
    if len(after) == 2 and set(after) <= _HEX:
        return bytes.fromhex(after), 3
    if not after or not (after[0] in _SPECIAL or after[0] in " #"):
        raise InvalidName(f"nothing that can be escaped follows a backslash: {text!r}")
    return after[0].encode(), 2


def _control_escaped(text: str) -> str:
    # RFC 4514 lets control characters stand; written out they survive logs and files too.
    return "".join(f"\\{ord(c):02X}" if ord(c) < 0x20 or ord(c) == 0x7F else c for c in text)
