"""Datagrams of WS-Discovery as values, and the rules by which a Probe matches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, Self

from lxml import etree

from fuzz import samples
from fuzz.mutation import mutate_xml
from fuzz.target import Target, must
from postscan.contracts import wsd
from postscan.core.errors import ConfigurationError
from postscan.dpws.discovery.findings import usable_addresses
from postscan.dpws.discovery.messages import read_datagram
from postscan.soap.xml import parse, serialize


class Message(Protocol):
    """A message as a value."""

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read it."""

    def to_element(self) -> etree._Element:
        """Write it."""


_KINDS: Final[dict[str, type[Message]]] = {
    wsd.Probe.TAG: wsd.Probe,
    wsd.ProbeMatches.TAG: wsd.ProbeMatches,
    wsd.Resolve.TAG: wsd.Resolve,
    wsd.ResolveMatches.TAG: wsd.ResolveMatches,
    wsd.Hello.TAG: wsd.Hello,
    wsd.Bye.TAG: wsd.Bye,
}


def run(data: bytes) -> None:
    """Read a datagram, and what is in it; what can be read can be written and read again."""
    envelope = read_datagram(data)
    if envelope is None:
        return
    for block in envelope.headers.others:
        if block.tag == wsd.AppSequence.TAG:
            _comes_back(wsd.AppSequence, block)
    kind = None if envelope.body is None else _KINDS.get(str(envelope.body.tag))
    if kind is None or envelope.body is None:
        return
    value = _comes_back(kind, envelope.body)
    if isinstance(value, wsd.Probe):
        wsd.matches(value, types=frozenset(samples.TYPES), scopes=("http://example.com/a/b",))
    elif isinstance(value, wsd.Hello):
        must(len(usable_addresses(value)) <= len(value.xaddrs), "addresses out of nothing")


def _comes_back(kind: type[Message], element: etree._Element) -> Message:
    value = kind.from_element(element)
    try:
        written = value.to_element()
    except ConfigurationError:
        return value
    again = kind.from_element(parse(serialize(written)))
    must(_plain(again) == _plain(value), f"{value!r} came back as {again!r}")
    return value


def _plain(value: Message) -> object:
    """Return a value without what cannot come back: elements, and names that resolve to nothing."""
    said: Callable[[object], str] = repr
    if isinstance(value, wsd.Probe):
        return (value.types, value.scopes, value.match_by if value.scopes else None)
    if isinstance(value, wsd.AppSequence):
        return value
    if isinstance(value, wsd.ProbeMatches):
        return tuple(_device(match) for match in value.matches)
    if isinstance(value, wsd.ResolveMatches):
        return value.match and _device(value.match)
    if isinstance(value, wsd.Hello):
        return _device(value)
    if isinstance(value, wsd.Resolve | wsd.Bye):
        return value.endpoint.address
    return said(value)


def _device(device: wsd.Hello | wsd.ProbeMatch) -> object:
    return (device.endpoint.address, device.types, device.scopes, device.xaddrs, device.metadata_version)


def seeds() -> list[bytes]:
    """Return one of each message."""
    return [*samples.questions(), *samples.sightings()]


TARGET = Target(
    "discovery", run, seeds, mutate_xml, words=(b"MatchBy", b"MetadataVersion", b"XAddrs", b"Scopes")
)
