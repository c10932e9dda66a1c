"""The one XML parser: any octets are a document within the limits, or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fuzz import samples
from fuzz.mutation import mutate_xml
from fuzz.target import Target, must
from postscan.soap.xml import ENVELOPE_LIMITS, XmlLimits, detached_copy, element_text, parse, serialize

# What is written may be longer than what was read: characters come back as references, prefixes as written.
_WRITTEN: Final[XmlLimits] = replace(ENVELOPE_LIMITS, max_bytes=8 * ENVELOPE_LIMITS.max_bytes)


def run(data: bytes) -> None:
    """Read a document, write it, and read that."""
    root = parse(data)
    must(not root.getroottree().docinfo.doctype, "a document type declaration was read")
    again = parse(serialize(root), _WRITTEN)
    must(again.tag == root.tag, f"{root.tag!r} came back as {again.tag!r}")
    must(element_text(again) == element_text(root), "its text came back otherwise")
    for child in root:
        must(detached_copy(child).tag == child.tag, "a copy has another name")


def seeds() -> list[bytes]:
    """Return documents of several kinds."""
    return [samples.get(), samples.metadata(), samples.process_xml(), "<a>\u00e4</a>".encode("utf-16")]


TARGET = Target("xml", run, seeds, mutate_xml, words=(b"<!DOCTYPE", b"<!ENTITY", b"<![CDATA[", b"xmlns="))
