"""Lists as discovery and metadata write them: the qualified names of wsd:Types and wsdp:Types, and URIs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lxml import etree

from postscan.core.errors import ConfigurationError
from postscan.soap.names import PREFIX_OF, split_qname

_NCNAME = re.compile(r"[^\W\d][\w.\-\u00b7]*")
# Only XML's own white space separates; str.split() would also cut at a no-break space.
_TOKEN = re.compile(r"[^ \t\r\n]+")
_FOREIGN: Final = "t"


@dataclass(frozen=True, slots=True)
class TypeNames:
    """Type names that could be resolved, as Clark names in order, and whether others could not."""

    names: tuple[str, ...] = ()
    unresolved: bool = False


def tokens_of(source: etree._Element | None) -> tuple[str, ...]:
    """Return the words of an element's text; none where the element is missing."""
    return () if source is None else tuple(_TOKEN.findall(source.text or ""))


def read_type_names(source: etree._Element | None) -> TypeNames:
    """Resolve a list of qualified names with the prefixes in scope; never raises.

    gSOAP sends prefixes that it declares nowhere, and pywsdiscovery local parts that are no names
    (dpws.md, 1.6): both only count as unresolved.
    """
    if source is None:
        return TypeNames()
    prefixes = source.nsmap
    names: list[str] = []
    unresolved = False
    for token in tokens_of(source):
        prefix, colon, local = token.rpartition(":")
        namespace = prefixes.get(prefix if colon else None)
        if _NCNAME.fullmatch(local) is None or (colon and namespace is None):
            unresolved = True
        else:
            names.append(f"{{{namespace}}}{local}" if namespace else local)
    return TypeNames(tuple(names), unresolved)


def prefixes_for(names: Iterable[str]) -> dict[str, str]:
    """Return the prefixes to declare so that Clark names can be written: ours, else ``t0``, ``t1`` ..."""
    prefixes: dict[str, str] = {}
    foreign: list[str] = []
    for name in names:
        namespace = split_qname(name)[0]
        if namespace in PREFIX_OF:
            prefixes[PREFIX_OF[namespace]] = namespace
        elif namespace and namespace not in foreign:
            foreign.append(namespace)
    return prefixes | {f"{_FOREIGN}{number}": uri for number, uri in enumerate(foreign)}


def write_type_names(parent: etree._Element, tag: str, names: Iterable[str]) -> None:
    """Add an element with a list of qualified names; their prefixes must be in scope at ``parent``.

    :raises ConfigurationError: one of them is no name.
    """
    prefixes = {uri: prefix for prefix, uri in parent.nsmap.items() if prefix}
    written = []
    for name in names:
        namespace, local = split_qname(name)
        if _NCNAME.fullmatch(local) is None or (namespace and namespace not in prefixes):
            raise ConfigurationError(f"{name!r} is not the name of a type")
        written.append(f"{prefixes[namespace]}:{local}" if namespace else local)
    etree.SubElement(parent, tag).text = " ".join(written)
