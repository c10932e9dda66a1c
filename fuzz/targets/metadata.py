"""The answer to Get, as a device anywhere may send it."""

from __future__ import annotations

from fuzz import samples
from fuzz.mutation import mutate_xml
from fuzz.target import Target, must
from postscan.contracts.metadata import MAX_URI_OCTETS, read_metadata, service_in, write_metadata
from postscan.soap.envelope import read_envelope
from postscan.soap.names import DSP
from postscan.soap.xml import XmlLimits, parse, serialize


def run(data: bytes) -> None:
    """Read metadata, and write what was read."""
    body = read_envelope(parse(data, XmlLimits(max_bytes=256 * 1024))).body
    if body is None:
        return
    told = read_metadata(body)
    for service in told.relationship.hosted:
        must(bool(service.addresses), "a service without address")
        must(all(len(a.encode()) <= MAX_URI_OCTETS for a in service.addresses), "an address too long")
    service_in(DSP, told)
    read_metadata(parse(serialize(write_metadata(told))))


def seeds() -> list[bytes]:
    """Return the one message."""
    return [samples.metadata()]


TARGET = Target(
    "metadata",
    run,
    seeds,
    mutate_xml,
    words=(b"MetadataSection", b"Dialect", b"Relationship", b"Hosted", b"Host"),
)
