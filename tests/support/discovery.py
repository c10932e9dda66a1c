"""What the tests of WS-Discovery share: messages as peers write them, a link, and a responder on it."""

from __future__ import annotations

import ipaddress
from random import Random
from typing import Any

from lxml import etree

from postscan.contracts import schemas, wsd
from postscan.dpws.discovery.answers import Target
from postscan.dpws.discovery.interfaces import GROUPS, Address, Interface
from postscan.dpws.discovery.messages import Datagram, Outgoing
from postscan.dpws.discovery.responder import Responder, ResponderPolicy
from postscan.dpws.discovery.sequence import MessageCounter
from postscan.soap.envelope import EndpointReference, Envelope, Headers, new_message_id, read_envelope
from postscan.soap.envelope import write_envelope as write
from postscan.soap.names import ANONYMOUS, DISCOVERY_TO, DSC, DSP, WSDP, qname
from postscan.soap.xml import parse

ADDRESS = "https://scan.example.com:5362/ScanServer"
DEVICE = qname(WSDP, "Device")
WS_DSP = qname(DSP, "DistributedScanProcessingServiceType")
WS_DSC = qname(DSC, "RepositoryConfigurationServiceType")
NORTH = "ldap:///ou=north,dc=example,dc=com"
TARGET = Target(ADDRESS, (DEVICE, WS_DSP, WS_DSC), (NORTH, "http://example.com/floors/3"), 7)

LINK = Interface(
    2,
    "eth0",
    (
        ipaddress.ip_interface("192.168.7.1/24"),
        ipaddress.ip_interface("fd07::1/64"),
        ipaddress.ip_interface("fe80::1/64"),
    ),
)
LOOPBACK = Interface(
    1, "lo", (ipaddress.ip_interface("127.0.0.1/8"), ipaddress.ip_interface("::1/128")), loopback=True
)
OWN = frozenset(a.ip for interface in (LINK, LOOPBACK) for a in interface.addresses)
NEIGHBOUR = ipaddress.ip_address("192.168.7.42")
# A Probe of Windows has this many octets.
WINDOWS_PROBE = 624


def address(text: str) -> Address:
    """Return an address."""
    return ipaddress.ip_address(text)


def message(
    action: str,
    body: etree._Element,
    *,
    message_id: str | None = None,
    relates_to: str | None = None,
    sequence: wsd.AppSequence | None = None,
    reply_to: str | None = None,
    pad: int = 0,
) -> bytes:
    """Return a datagram, filled up with white space to ``pad`` octets."""
    headers = Headers(
        action=action,
        to=DISCOVERY_TO if relates_to is None else ANONYMOUS,
        message_id=message_id or new_message_id(),
        relates_to=relates_to,
        reply_to=None if reply_to is None else EndpointReference(reply_to),
    )
    blocks = [] if sequence is None else [sequence.to_element()]
    return write(headers, body, extra_headers=blocks).ljust(pad)


def probe(
    *types: str, scopes: tuple[str, ...] = (), match_by: str | None = None, pad: int = 800, **others: Any
) -> bytes:
    """Return a Probe as large as usual ones."""
    body = wsd.Probe(types=types, scopes=scopes, match_by=match_by).to_element()
    return message(wsd.PROBE_ACTION, body, pad=pad, **others)


def resolve(endpoint: str = ADDRESS, **others: Any) -> bytes:
    """Return a Resolve."""
    body = wsd.Resolve(EndpointReference(endpoint)).to_element()
    return message(wsd.RESOLVE_ACTION, body, **({"pad": 800} | others))


def datagram(
    data: bytes,
    *,
    source: Address = NEIGHBOUR,
    port: int = 49_152,
    interface: Interface = LINK,
    destination: Address | None = None,
) -> Datagram:
    """Return a datagram from a neighbour, to everybody if no destination is given."""
    return Datagram(data, source, port, interface, destination or GROUPS[source.version])


class Desk:
    """A responder with a clock and chances of the test's own."""

    def __init__(self, target: Target = TARGET, **policy: Any) -> None:
        self.target = target
        self.counter = MessageCounter(1_000)
        self.now = 100.0
        self.xaddrs: tuple[str, ...] = (target.address,)
        self.responder = Responder(
            lambda: self.target,
            lambda interface: self.xaddrs,
            self.counter,
            policy=ResponderPolicy(**policy),
            random=Random(1),
            now=self.now,
        )

    def ask(self, data: bytes, **how: Any) -> Outgoing | None:
        """Hand a datagram in; return what goes out."""
        return self.responder.respond(datagram(data, **how), OWN, self.now)


def sent(outgoing: Outgoing | None) -> Envelope:
    """Return the message that goes out, which must be valid."""
    assert outgoing is not None
    root = parse(outgoing.message.write())
    schemas.validate(root)
    return read_envelope(root)


def matches_in(outgoing: Outgoing | None) -> tuple[wsd.ProbeMatch, ...]:
    """Return the matches of an answer to a Probe."""
    envelope = sent(outgoing)
    assert envelope.headers.action == wsd.PROBE_MATCHES_ACTION
    assert envelope.body is not None
    return wsd.ProbeMatches.from_element(envelope.body).matches


def number_of(envelope: Envelope) -> int:
    """Return a message's number."""
    (header,) = (h for h in envelope.headers.others if h.tag == wsd.AppSequence.TAG)
    return wsd.AppSequence.from_element(header).message_number
