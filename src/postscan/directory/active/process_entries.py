"""Objects of class msImaging-PostScanProcess as a search returns them, read into what they say; no I/O."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from postscan.contracts.psp import PostScanProcess, read_process
from postscan.core.errors import PostscanError
from postscan.directory.active.descriptor_octets import DescriptorError, read_descriptor
from postscan.directory.active.descriptors import SecurityDescriptor
from postscan.directory.active.identifiers import guid
from postscan.directory.ldap.model import Entry

OBJECT_CLASS: Final = "msImaging-PostScanProcess"
NAME: Final = "displayName"
IDENTIFIER: Final = "msImaging-PSPIdentifier"
XML: Final = "msImaging-PSPString"
SERVER: Final = "serverName"
DESCRIPTOR: Final = "nTSecurityDescriptor"
_CREATED: Final = "whenCreated"
_GUID: Final = "objectGUID"
# What tells which of several with one identifier counts.
NAMING: Final = (IDENTIFIER, _CREATED)
# What tells who may use a process, and which of several with one identifier counts.
OUTLINE: Final = (IDENTIFIER, DESCRIPTOR, _CREATED)
ATTRIBUTES: Final = (*OUTLINE, NAME, XML, SERVER, _GUID)

# The name has the form that XML 1.0 gives encodings (production 81), and an end.
_DECLARED: Final = re.compile(
    r"""(\A\ufeff?<\?xml\s[^>]*?encoding\s*=\s*["'])([A-Za-z][A-Za-z0-9._-]*)(?=["'])"""
)
_EIGHT_BIT: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


class UnusableEntry(Exception):
    """An entry that is no usable scan process; ``str()`` says why, for an administrator."""


@dataclass(frozen=True, slots=True)
class EntryProblem:
    """One thing that is wrong with an object."""

    dn: str
    message: str

    def __str__(self) -> str:
        return f"{self.dn}: {self.message}"


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    """A scan process as its object says it.

    ``name`` and ``text`` are the values' octets, exactly as the directory has them; ``xml`` is a document for
    XML readers (see :func:`document`). ``descriptor`` is None where it may not be read. ``version`` is a
    hash of all of it, the same on every controller.
    """

    dn: str
    identifier: UUID
    name: bytes
    text: bytes
    server: str
    descriptor: SecurityDescriptor | None
    process: PostScanProcess
    version: str

    @property
    def display_name(self) -> str:
        """What it is called."""
        return self.name.decode("utf-8", errors="replace")

    @property
    def xml(self) -> bytes:
        """The XML as a document."""
        return document(self.text)


def identifier_of(entry: Entry) -> UUID | None:
    """Return the identifier of a process; None where it may not be read.

    :raises UnusableEntry: it is malformed.
    """
    octets = entry.octets(IDENTIFIER)
    if octets is None:
        # A bare name: the object is there, but not for us ([MS-ADTS] 3.1.1.3.1.3).
        return None
    try:
        return guid(octets)
    except ValueError as error:
        raise UnusableEntry(f"{IDENTIFIER}: {error}") from error


def descriptor_of(entry: Entry) -> SecurityDescriptor | None:
    """Return the security descriptor, None where it may not be read; raises UnusableEntry."""
    octets = entry.octets(DESCRIPTOR)
    try:
        return None if octets is None else read_descriptor(octets)
    except DescriptorError as error:
        raise UnusableEntry(f"{DESCRIPTOR}: {error}") from error


def read_entry(entry: Entry) -> ProcessEntry | None:
    """Return the scan process of an entry that was asked for ATTRIBUTES; None where it may not be read.

    :raises UnusableEntry: it is no scan process that could be used.
    """
    identifier = identifier_of(entry)
    if identifier is None:
        return None
    values = {name: entry.octets(name) for name in (NAME, XML)}
    if missing := [name for name, value in values.items() if value is None]:
        raise UnusableEntry(f"has no {' and no '.join(missing)}, or none that this account may read")
    text = values[XML] or b""
    try:
        process = read_process(document(text))
    except PostscanError as error:
        raise UnusableEntry(f"{XML} is no scan process: {error}") from error
    return ProcessEntry(
        dn=entry.dn,
        identifier=identifier,
        name=values[NAME] or b"",
        text=text,
        server=entry.text(SERVER) or "",
        descriptor=descriptor_of(entry),
        process=process,
        version=_version(entry),
    )


def by_age(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries, the oldest first: of several with one identifier it is the one that counts."""
    # GeneralizedTime of one form sorts as text.
    return sorted(entries, key=lambda entry: (entry.octets(_CREATED) or b"", entry.dn))


def document(text: bytes) -> bytes:
    """Return XML from the directory as octets that every XML reader takes.

    The directory holds characters, which LDAP carries in UTF-8 whatever an XML declaration in them says.
    Where it says something else, it is made to say UTF-8; all other octets stay as they are.
    """
    head, rest = text[:256], text[256:]
    written = head.decode("utf-8", errors="surrogateescape")
    found = _DECLARED.search(written)
    if found is None or found[2].casefold() in _EIGHT_BIT:
        return text
    changed = f"{found[1]}utf-8{written[found.end() :]}"
    return changed.encode("utf-8", errors="surrogateescape") + rest


def stored_text(xml: bytes) -> bytes:
    """Return an XML document in UTF-8 or UTF-16 as the octets of the directory's text."""
    if xml.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        xml = xml.decode("utf-16").encode()
    return document(xml)


def _version(entry: Entry) -> str:
    hashed = hashlib.sha256()
    for name in ATTRIBUTES:
        value = entry.octets(name) or b""
        hashed.update(len(value).to_bytes(4, "big") + value)
    return hashed.hexdigest()
