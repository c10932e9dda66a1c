"""Datagrams as values: what came in, and what goes out, numbered at the moment it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from postscan.core.errors import PostscanError
from postscan.dpws.discovery.interfaces import Address, Interface
from postscan.dpws.discovery.sequence import MessageCounter
from postscan.dpws.discovery.timing import MAX_DATAGRAM
from postscan.soap.envelope import Envelope, Headers, build_envelope, new_message_id, read_envelope
from postscan.soap.names import ANONYMOUS, ANONYMOUS_2005, DISCOVERY_TO, WSD
from postscan.soap.xml import XmlLimits, parse, serialize

# A message of discovery is small; a device with many types and scopes still is far below this.
_LIMITS: Final = XmlLimits(
    max_bytes=MAX_DATAGRAM, max_depth=24, max_attributes=32, max_elements=512, max_namespaces=128
)
_MARK: Final = WSD.encode()
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Datagram:
    """What came in: octets, who sent them (address and port), and the interface and address they came to."""

    data: bytes
    source: Address
    port: int
    interface: Interface
    destination: Address


class NumberedMessage:
    """A message of a device; each is written once, with the number that is due when it is first sent."""

    def __init__(self, headers: Headers, body: etree._Element, counter: MessageCounter) -> None:
        self._headers = headers
        self._body = body
        self._counter = counter
        self._written: bytes | None = None

    def largest(self) -> int:
        """Return how many octets the message takes at most."""
        return len(self._write(self._counter.longest().to_element()))

    def write(self) -> bytes:
        """Return the message; every copy of it is the same."""
        if self._written is None:
            self._written = self._write(self._counter.next().to_element())
        return self._written

    def _write(self, sequence: etree._Element) -> bytes:
        return serialize(build_envelope(self._headers, self._body, extra_headers=(sequence,)))


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What goes out: to which address and port, over which interface, and when.

    ``times`` are seconds from now, one for each copy.
    """

    message: NumberedMessage
    destination: Address
    port: int
    interface: Interface
    times: tuple[float, ...] = field(default=(0.0,))


def may_be_discovery(data: bytes, actions: Sequence[bytes]) -> bool:
    """Tell cheaply, before anything is parsed, whether octets may be a message with one of these actions."""
    if not 0 < len(data) <= MAX_DATAGRAM:
        return False
    if not data.removeprefix(_BYTE_ORDER_MARK).lstrip(b" \t\r\n").startswith(b"<"):
        return False
    return _MARK in data and any(action in data for action in actions)


def read_datagram(data: bytes) -> Envelope | None:
    """Return the message in a datagram; None for anything that is none, whatever it is.

    A message whose answer would go to somebody else than its sender is none either (dpws.md, 1.3).
    """
    try:
        envelope = read_envelope(parse(data, _LIMITS))
    except PostscanError:
        return None
    for endpoint in (envelope.headers.reply_to, envelope.headers.fault_to):
        if endpoint is not None and endpoint.address not in (ANONYMOUS, ANONYMOUS_2005):
            return None
    return envelope


def announcement(action: str, body: etree._Element, counter: MessageCounter) -> NumberedMessage:
    """Return a message to everybody: Hello or Bye."""
    headers = Headers(action=action, to=DISCOVERY_TO, message_id=new_message_id())
    return NumberedMessage(headers, body, counter)


def request(action: str, body: etree._Element) -> tuple[str, bytes]:
    """Return a Probe or Resolve to everybody: its message id, and the datagram."""
    headers = Headers(action=action, to=DISCOVERY_TO, message_id=new_message_id())
    return headers.message_id or "", serialize(build_envelope(headers, body))
