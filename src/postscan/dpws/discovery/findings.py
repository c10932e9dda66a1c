"""The searching side of WS-Discovery, without sockets: datagrams in; what was found, and what to ask, out.

What is heard is not believed beyond what a receiver must (dpws.md, 1.7): old messages, echoes and answers to
questions nobody asked are dropped, and addresses are kept with the machine that named them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from lxml import etree

from postscan.contracts import wsd
from postscan.core.errors import PostscanError
from postscan.dpws.discovery.interfaces import Address, Interface
from postscan.dpws.discovery.messages import may_be_discovery, read_datagram, request
from postscan.dpws.discovery.sequence import SequenceBook
from postscan.soap.envelope import Envelope

_ACTIONS: Final = tuple(
    action.encode()
    for action in (wsd.HELLO_ACTION, wsd.BYE_ACTION, wsd.PROBE_MATCHES_ACTION, wsd.RESOLVE_MATCHES_ACTION)
)
_MOST_DEVICES: Final = 1_024
_MOST_ADDRESSES: Final = 8
_MOST_QUESTIONS: Final = 256


@dataclass(frozen=True, slots=True)
class Sighting:
    """A device as one message told of it.

    ``source`` is the address of who sent the message, ``interface`` the own one that received it; both are
    None when the device was asked by a name that the user gave.
    """

    endpoint: str
    types: tuple[str, ...]
    scopes: tuple[str, ...]
    xaddrs: tuple[str, ...]
    metadata_version: int
    source: Address | None = None
    interface: Interface | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """A device took its leave."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Question:
    """A datagram to send to everybody, because a device left its addresses out."""

    endpoint: str
    data: bytes


@dataclass(slots=True)
class _Known:
    version: int
    addresses: set[tuple[str, Address | None]] = field(default_factory=set)


class Findings:
    """What one search found so far: at most 1,024 devices."""

    def __init__(self, probe: wsd.Probe) -> None:
        self._probe = probe
        self._asked: set[str] = set()
        self._resolving: dict[str, str] = {}
        self._book = SequenceBook()
        self._known: dict[str, _Known] = {}

    def question(self) -> bytes:
        """Return the Probe to send to everybody; answers to it are taken from now on."""
        message_id, data = request(wsd.PROBE_ACTION, self._probe.to_element())
        self._asked.add(message_id)
        return data

    def hear(self, data: bytes, source: Address, interface: Interface) -> list[Sighting | Gone | Question]:
        """Return what a datagram tells that is new; nothing for whatever is none of ours. Never raises."""
        if not may_be_discovery(data, _ACTIONS):
            return []
        envelope = read_datagram(data)
        if envelope is None or envelope.body is None:
            return []
        try:
            return self._hear(envelope, envelope.body, source, interface)
        except PostscanError:
            return []

    def _hear(
        self, envelope: Envelope, body: etree._Element, source: Address, interface: Interface
    ) -> list[Sighting | Gone | Question]:
        sequence = _sequence_of(envelope)
        action = envelope.headers.action
        if action == wsd.BYE_ACTION and body.tag == wsd.Bye.TAG:
            endpoint = wsd.Bye.from_element(body).endpoint.address
            if self._book.is_news(endpoint, sequence) and self._known.pop(endpoint, None) is not None:
                return [Gone(endpoint)]
            return []
        devices = self._devices(envelope, body)
        # One message may tell of several devices; its number is that of who sent it.
        if not devices or not self._is_news(devices[0], sequence, is_answer=action != wsd.HELLO_ACTION):
            return []
        return [news for device in devices for news in self._note(device, source, interface)]

    def _is_news(
        self, device: wsd.Hello | wsd.ProbeMatch, sequence: wsd.AppSequence | None, *, is_answer: bool
    ) -> bool:
        endpoint = device.endpoint.address
        # Answers that waited a random time may overtake each other; after a Bye, old ones are old.
        return self._book.is_news(endpoint, sequence) or (is_answer and endpoint in self._known)

    def _devices(self, envelope: Envelope, body: etree._Element) -> Sequence[wsd.Hello | wsd.ProbeMatch]:
        action, relates_to = envelope.headers.action, envelope.headers.relates_to
        if action == wsd.PROBE_MATCHES_ACTION and body.tag == wsd.ProbeMatches.TAG:
            return wsd.ProbeMatches.from_element(body).matches if relates_to in self._asked else ()
        if action == wsd.RESOLVE_MATCHES_ACTION and body.tag == wsd.ResolveMatches.TAG:
            match = wsd.ResolveMatches.from_element(body).match
            wanted = self._resolving.get(relates_to or "")
            return (match,) if match is not None and match.endpoint.address == wanted else ()
        if action == wsd.HELLO_ACTION and body.tag == wsd.Hello.TAG:
            hello = wsd.Hello.from_element(body)
            if wsd.matches(self._probe, types=frozenset(hello.types), scopes=hello.scopes):
                return (hello,)
        return ()

    def _note(
        self, device: wsd.Hello | wsd.ProbeMatch, source: Address, interface: Interface
    ) -> list[Sighting | Gone | Question]:
        endpoint = device.endpoint.address
        known = self._known.get(endpoint)
        if known is None:
            if len(self._known) >= _MOST_DEVICES:
                return []
            known = self._known[endpoint] = _Known(device.metadata_version)
        elif device.metadata_version < known.version:
            return []
        if device.metadata_version > known.version:
            known.version, known.addresses = device.metadata_version, set()
        if not device.xaddrs:
            return self._resolve(endpoint)
        named = usable_addresses(device)
        fresh = [x for x in named if (x, source) not in known.addresses]
        if not fresh or len(known.addresses) + len(fresh) > _MOST_ADDRESSES:
            return []
        known.addresses.update((x, source) for x in fresh)
        return [replace(sighting_of(device, named), source=source, interface=interface)]

    def _resolve(self, endpoint: str) -> list[Sighting | Gone | Question]:
        if endpoint in self._resolving.values() or len(self._resolving) >= _MOST_QUESTIONS:
            return []
        body = wsd.Resolve(wsd.EndpointReference(endpoint)).to_element()
        message_id, data = request(wsd.RESOLVE_ACTION, body)
        self._resolving[message_id] = endpoint
        return [Question(endpoint, data)]


def sighting_of(device: wsd.Hello | wsd.ProbeMatch, xaddrs: tuple[str, ...]) -> Sighting:
    """Return a device as found, reached at ``xaddrs``."""
    return Sighting(device.endpoint.address, device.types, device.scopes, xaddrs, device.metadata_version)


def usable_addresses(device: wsd.Hello | wsd.ProbeMatch) -> tuple[str, ...]:
    """Return the addresses of a device that may be used: http(s), and secure ones not mixed with others.

    A secure device is its address, so an https one must be the endpoint's own (dpws.md, 1.7).
    """
    schemes = {x: _scheme(x) for x in device.xaddrs}
    usable = tuple(x for x, scheme in schemes.items() if scheme in ("http", "https"))[:_MOST_ADDRESSES]
    if "https" not in schemes.values():
        return usable
    if set(schemes.values()) != {"https"}:
        return ()
    endpoint = device.endpoint.address.rstrip("/")
    return tuple(x for x in usable if x.rstrip("/") == endpoint)


def _scheme(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.port != 0
    except ValueError:
        return ""
    return parts.scheme if usable else ""


def _sequence_of(envelope: Envelope) -> wsd.AppSequence | None:
    for block in envelope.headers.others:
        if block.tag == wsd.AppSequence.TAG:
            return wsd.AppSequence.from_element(block)
    return None
