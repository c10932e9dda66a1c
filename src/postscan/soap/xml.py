"""The one XML parser factory: bounded in size, depth and width, without DTD, entities, files or network.

Whatever comes in is checked and parsed as the same UTF-8 octets, so no choice of encoding can slip a
document type declaration past the check (abuse cases 1 to 3). Comments and processing instructions are
dropped: SOAP 1.2 Part 1, section 5 forbids the latter to senders, and nothing here reads either.
"""

from __future__ import annotations

import codecs
import copy
import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from lxml import etree

from postscan.core.errors import FaultKind, FaultParty, PostscanError

PROLOG: Final = b'<?xml version="1.0" encoding="utf-8"?>'
WHITE_SPACE: Final = " \t\r\n"

_DECLARED = re.compile(rb"""<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z0-9._:-]+)["']""")
_DECLARATION_WINDOW: Final = 256
_EIGHT_BIT: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_SIXTEEN_BIT: Final = frozenset({"utf-16", "utf16", "utf-16le", "utf-16be"})
_PREFIX = re.compile(r"([^\W\d][\w.-]*):")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmlRefused(PostscanError):
    """Octets that are not XML we are willing to read."""

    fault = FaultKind(FaultParty.SENDER, None, "The message is not acceptable XML.")
    advice = "Send well-formed XML in UTF-8, without document type declaration, within the size limits."


@dataclass(frozen=True, slots=True)
class XmlLimits:
    """What a document may cost.

    ``max_bytes`` counts octets as received, ``max_depth`` levels with the root as 1, ``max_attributes``
    those of one element, ``max_elements`` and ``max_namespaces`` (declarations) those of the whole document,
    ``max_characters`` characters of the whole document (no such limit when None).
    """

    max_bytes: int = 262_144
    max_depth: int = 64
    max_attributes: int = 256
    max_elements: int = 20_000
    max_namespaces: int = 1_024
    max_characters: int | None = None


ENVELOPE_LIMITS: Final = XmlLimits()
# A scan process is bounded in characters where it is stored; UTF-8 needs at most 4 octets for each.
PROCESS_LIMITS: Final = XmlLimits(max_bytes=4 * 524_288, max_characters=524_288)


def parse(data: bytes | bytearray | memoryview[int], limits: XmlLimits = ENVELOPE_LIMITS) -> etree._Element:
    """Parse a document and return its root.

    UTF-8, and UTF-16 with its byte order mark, are read (what XML 1.0, 2.2 asks of every processor);
    comments and processing instructions are dropped.

    :raises XmlRefused: too large, deep or wide, in another encoding, with a DTD, or not well-formed.
    """
    if len(data) > limits.max_bytes:
        raise XmlRefused(f"{len(data)} octets of XML, {limits.max_bytes} are allowed")
    text = _as_utf8(bytes(data))
    _check_octets(text, limits)
    try:
        root = etree.fromstring(text, _of_this_thread.parser)
    except etree.XMLSyntaxError as error:
        raise XmlRefused(f"not well-formed: {error.msg}") from error
    if _too_deep(limits.max_depth)(root):
        raise XmlRefused(f"more than {limits.max_depth} levels")
    if _too_wide(limits.max_attributes)(root):
        raise XmlRefused(f"more than {limits.max_attributes} attributes on one element")
    return root


def serialize(element: etree._Element) -> bytes:
    """Return the document as octets: the prolog and, on the same line, the element in UTF-8.

    Several firmwares read no XML that is spread over lines (dpws.md, 2.1).
    """
    return PROLOG + etree.tostring(element, encoding="utf-8", xml_declaration=False, with_tail=False)


def element_text(element: etree._Element) -> str:
    """Return the element's text without XML white space around it; empty when there is none."""
    return (element.text or "").strip(WHITE_SPACE)


def xml_text(text: str) -> str:
    """Return ``text`` with every character that XML 1.0 cannot carry replaced by U+FFFD."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def detached_copy(element: etree._Element) -> etree._Element:
    """Return a copy that stands alone: prefixes its values mention keep their declarations.

    A plain deep copy keeps only the declarations that element and attribute names use, so a qualified name
    in a value (``wsdp:Device``) would lose its meaning.
    """
    twin = copy.deepcopy(element)
    twin.tail = None
    kept = twin.nsmap
    values = " ".join(value for node in twin.iter() for value in (node.text or "", *node.attrib.values()))
    mentioned = set(_PREFIX.findall(values))
    missing = {
        prefix: uri
        for prefix, uri in element.nsmap.items()
        if prefix and prefix not in kept and prefix in mentioned
    }
    if not missing:
        return twin
    whole = etree.Element(twin.tag, attrib=dict(twin.attrib), nsmap=kept | missing)
    whole.text = twin.text
    whole.extend(list(twin))
    return whole


def _parser() -> etree.XMLParser[etree._Element]:
    # The encoding is fixed because _as_utf8 has settled it: a declaration inside cannot change it again.
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )


class _PerThread(threading.local):
    """One parser a thread: a shared one would make threads wait for each other."""

    def __init__(self) -> None:
        self.parser = _parser()


_of_this_thread = _PerThread()


def _as_utf8(data: bytes) -> bytes:
    allowed = _EIGHT_BIT
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        allowed = _SIXTEEN_BIT
        try:
            data = data.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise XmlRefused(f"not UTF-16 although it says so: {error.reason}") from error
    elif data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
    # A capture of a Kyocera device has a line end before the declaration, where XML allows nothing.
    data = data.lstrip(WHITE_SPACE.encode())
    declared = _DECLARED.match(data, 0, _DECLARATION_WINDOW)
    if declared and declared.group(1).decode("ascii").lower() not in allowed:
        raise XmlRefused(f"the encoding {declared.group(1)!r} is not allowed here")
    return data


def _check_octets(text: bytes, limits: XmlLimits) -> None:
    """Refuse by counting what would cost time or memory to parse; counts may only err upwards."""
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise XmlRefused("a document type declaration")
    if b"\0" in text:
        raise XmlRefused("a NUL octet: not XML, or an encoding other than UTF-8 and UTF-16")
    tags = text.count(b"<") - text.count(b"</") - text.count(b"<!") - text.count(b"<?")
    if tags > limits.max_elements:
        raise XmlRefused(f"more than {limits.max_elements} elements")
    # Every look-up of a prefix walks the declarations in scope, so many of them would cost squared time.
    if text.count(b"xmlns") > limits.max_namespaces:
        raise XmlRefused(f"more than {limits.max_namespaces} namespace declarations")
    # A repeated attribute is looked for among all others: this stops most floods before that is paid for.
    equals = limits.max_attributes + limits.max_namespaces
    if text.count(b"=") > equals and any(
        tag.partition(b">")[0].count(b"=") > equals for tag in text.split(b"<")
    ):
        raise XmlRefused(f"more than {limits.max_attributes} attributes on one element")
    if limits.max_characters is not None:
        try:
            characters = len(text.decode())
        except UnicodeDecodeError as error:
            raise XmlRefused(f"not UTF-8: {error.reason}") from error
        if characters > limits.max_characters:
            raise XmlRefused(f"{characters} characters of XML, {limits.max_characters} are allowed")


@lru_cache(maxsize=8)
def _too_deep(depth: int) -> etree.XPath:
    return etree.XPath("boolean(" + "/*" * (depth + 1) + ")")


@lru_cache(maxsize=8)
def _too_wide(attributes: int) -> etree.XPath:
    return etree.XPath(f"boolean(//*/@*[{attributes + 1}])")
