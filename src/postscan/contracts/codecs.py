"""How single values stand in XML text: strings, numbers, truth values, times, qualified names, keywords.

A codec reads text that has lost its surrounding white space, and raises ValueError for what it cannot read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from lxml import etree

from postscan.core.clock import xs_datetime
from postscan.soap.names import PREFIX_OF, PREFIXES, XML, qname, split_qname
from postscan.soap.xml import xml_text

# xs:int and its like have at most ten digits; more would cost time to read, and mean nothing here.
_INTEGER = re.compile(r"[+-]?[0-9]{1,64}")
# Stands for the namespace of a name whose prefix its sender never declared, so that it can be sent back.
UNRESOLVED: Final = "urn:postscan:unresolved-prefix"
_FOREIGN_PREFIX: Final = "vendor"
_UNRESOLVED_PREFIX: Final = "unresolved"

Read = Callable[[str, etree._Element], Any]
Write = Callable[[Any, etree._Element], str]
Declare = Callable[[Any], dict[str, str]]


def _declares_nothing(_value: object) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Codec:
    """How one value is read from text and written to it; the element resolves prefixes.

    ``declare`` returns the prefixes that the element must declare before the value can be written.
    """

    read: Read
    write: Write
    declare: Declare = _declares_nothing


def _integer(text: str, _element: etree._Element) -> int:
    # int() would take "1_000" and the digits of other scripts.
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(text)
    return int(text)


def _boolean(text: str, _element: etree._Element) -> bool:
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise ValueError(text)


def _boolean_or_empty(text: str, element: etree._Element) -> bool:
    return bool(text) and _boolean(text, element)


def _moment(text: str, _element: etree._Element) -> datetime:
    # XML Schema Part 2, 3.2.7: 24:00:00 is the midnight at the end of the day.
    day = timedelta()
    if "T24:00:00" in text:
        text, day = text.replace("T24:", "T00:"), timedelta(days=1)
    try:
        moment = datetime.fromisoformat(text) + day
        # The documents' own examples carry no zone (trap 10: read any).
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error


def _read_qname(text: str, element: etree._Element) -> str:
    prefix, colon, local = _split_name(text)
    namespace = XML if prefix == "xml" else element.nsmap.get(prefix if colon else None)
    if colon and namespace is None:
        raise ValueError(text)
    return qname(namespace, local) if namespace else local


def _split_name(text: str) -> tuple[str, str, str]:
    """Split a qualified name at its colon; raises ValueError for what is none."""
    prefix, colon, local = text.rpartition(":")
    for part in (prefix, local) if colon else (local,):
        # Raises it, by the same rules by which lxml binds prefixes when the name is written.
        etree.QName(UNRESOLVED, part)
    return prefix, colon, local


def _write_qname(value: str, element: etree._Element) -> str:
    namespace, local = split_qname(value)
    if not namespace:
        return local
    if namespace == XML:
        return f"xml:{local}"
    for prefix, uri in element.nsmap.items():
        if uri == namespace and prefix:
            return f"{prefix}:{local}"
    raise ValueError(f"no prefix is in scope for {namespace}")


def _declare_qname(value: str) -> dict[str, str]:
    namespace, _ = split_qname(value)
    return {PREFIX_OF.get(namespace, _FOREIGN_PREFIX): namespace} if namespace and namespace != XML else {}


def _read_name(text: str, element: etree._Element) -> str:
    prefix, colon, _ = _split_name(text)
    if colon and prefix != "xml" and prefix not in element.nsmap:
        return text
    name = _read_qname(text, element)
    if split_qname(name)[0] == UNRESOLVED:
        return text
    return name


def _write_name(value: str, element: etree._Element) -> str:
    if value.startswith("{") or ":" not in value:
        return _write_qname(value, element)
    prefix, _, local = value.rpartition(":")
    return f"{_free_prefix(prefix)}:{local}"


def _declare_name(value: str) -> dict[str, str]:
    if value.startswith("{") or ":" not in value:
        return _declare_qname(value)
    return {_free_prefix(value.rpartition(":")[0]): UNRESOLVED}


def _free_prefix(prefix: str) -> str:
    """Return ``prefix`` where it may be bound to nothing in particular, another where it may not."""
    taken = prefix in PREFIXES or prefix.lower().startswith("xml") or ":" in prefix
    return _UNRESOLVED_PREFIX if taken else prefix


STRING = Codec(lambda text, _: text, lambda value, _: xml_text(str(value)))
INTEGER = Codec(_integer, lambda value, _: str(value))
BOOLEAN = Codec(_boolean, lambda value, _: "true" if value else "false")
BOOLEAN_OR_EMPTY = Codec(_boolean_or_empty, BOOLEAN.write)
"""A truth value whose element may be empty, which means false (an xs:boolean with ``default="false"``)."""
DATE_TIME = Codec(_moment, lambda value, _: xs_datetime(value))
"""An aware datetime in UTC; one without zone is read as UTC."""
QNAME = Codec(_read_qname, _write_qname, _declare_qname)
"""A qualified name as a Clark name; a prefix that is not declared is an error."""
NAME = Codec(_read_name, _write_name, _declare_name)
"""A qualified name as a Clark name, or as it stands where its prefix is not declared (trap 3).

What is no qualified name at all is an error, so that none can pass for a Clark name.

The latter is written with its prefix bound to :data:`UNRESOLVED`, since names that are sent must resolve.
"""


def keyword(
    kind: type[StrEnum], aliases: dict[str, str] | None = None, written: dict[str, str] | None = None
) -> Codec:
    """Return a codec for a published keyword set; a vendor's ``prefix:Token`` stays a plain string.

    ``aliases`` maps other spellings that are read (never written) to published ones (trap 4); ``written``
    gives the spelling of members whose value is not what this service publishes.
    """
    known = {member.value: member for member in kind}
    known |= {spelling: kind(value) for spelling, value in (aliases or {}).items()}
    spelled = {str(member): spelling for member, spelling in (written or {}).items()}
    known |= {spelling: kind(value) for value, spelling in spelled.items()}

    def read(text: str, _element: etree._Element) -> str:
        return known.get(text, text)

    def write(value: str, element: etree._Element) -> str:
        return STRING.write(spelled.get(str(value), value), element)

    return Codec(read, write)


def vendor_keyword(kind: type[StrEnum]) -> Codec:
    """Return a codec for a keyword set to which this project adds values of its own, as Clark names.

    They stand on the wire as ``prefix:Token`` with the prefix declared; one that is not stays as it is.
    """
    known = {member.value: member for member in kind}

    def read(text: str, element: etree._Element) -> str:
        if text in known or ":" not in text:
            return known.get(text, text)
        try:
            return str(_read_name(text, element))
        except ValueError:
            # Only a name that was resolved may look like one.
            return text.replace("{", "(")

    def write(value: str, element: etree._Element) -> str:
        return _write_qname(value, element) if value.startswith("{") else STRING.write(value, element)

    def declare(value: str) -> dict[str, str]:
        return _declare_qname(value) if value.startswith("{") else {}

    return Codec(read, write, declare)
