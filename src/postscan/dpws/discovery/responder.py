"""The answering side of WS-Discovery, without sockets and clocks: datagrams in, datagrams out.

It is never an amplifier (abuse case 18): it answers neighbours only, Probes and Resolves only, at a bounded
rate, and never with more than ``size_ratio`` times the octets that were asked with. All else gets silence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from random import Random, SystemRandom
from typing import Final

from lxml import etree

from postscan.contracts import wsd
from postscan.core.errors import PostscanError
from postscan.dpws.discovery.answers import REQUESTS, Target, answer_to
from postscan.dpws.discovery.guards import AnswerLimiter, AnswerRates, RecentMessages, TokenBucket
from postscan.dpws.discovery.interfaces import GROUPS, PORT, Address, Interface, may_be_answered
from postscan.dpws.discovery.messages import (
    Datagram,
    NumberedMessage,
    Outgoing,
    announcement,
    may_be_discovery,
    read_datagram,
)
from postscan.dpws.discovery.sequence import MessageCounter
from postscan.dpws.discovery.timing import (
    MULTICAST_COPIES,
    UNICAST_COPIES,
    copy_times,
    first_delay,
)
from postscan.soap.envelope import Envelope, reply_headers
from postscan.soap.faults import fault_element, fault_of
from postscan.soap.names import WSD, WSDP, qname

_ACTIONS: Final = tuple(action.encode() for action in REQUESTS)
_DEVICE: Final = qname(WSDP, "Device")
# Reading a datagram takes a fraction of a millisecond: so many a second are a few per cent of one core.
_READS_A_SECOND: Final = 400.0


@dataclass(frozen=True, slots=True)
class ResponderPolicy:
    """How much is answered at most.

    ``size_ratio``: one answer has at most so many times the octets of what it answers. 3 leaves room for
    everything in the answer to a Probe of Windows (624 octets); askers with very short Probes are told
    fewer types, and nothing if even that is too long. An answer is sent twice, as the protocol wants it.
    """

    size_ratio: float = 3.0
    rates: AnswerRates = field(default_factory=AnswerRates)


class Responder:
    """Answers for one device.

    :param target: tells what the device is just now.
    :param xaddrs: tells the addresses under which an asker on an interface reaches the device; none: silence.
    :param counter: the device's one count of messages, which HTTP shares.
    """

    def __init__(
        self,
        target: Callable[[], Target],
        xaddrs: Callable[[Interface], tuple[str, ...]],
        counter: MessageCounter,
        *,
        policy: ResponderPolicy | None = None,
        random: Random | None = None,
        now: float = 0.0,
    ) -> None:
        self._target = target
        self._xaddrs = xaddrs
        self._counter = counter
        self._policy = policy or ResponderPolicy()
        self._random = random or SystemRandom()
        self._limiter = AnswerLimiter(self._policy.rates, now)
        self._reads = TokenBucket(_READS_A_SECOND, _READS_A_SECOND, now)
        self._recent = RecentMessages()

    # Answering -----------------------------------------------------------------------------------------

    def respond(self, datagram: Datagram, own: Collection[Address], now: float) -> Outgoing | None:
        """Return the answer to a datagram, None for silence; never raises, whatever came in.

        :param own: all addresses of this machine.
        :param now: seconds of a clock that only ever grows.
        """
        multicast = datagram.destination.is_multicast
        if datagram.destination not in own and datagram.destination != GROUPS[datagram.destination.version]:
            return None
        if not may_be_discovery(datagram.data, _ACTIONS):
            return None
        if not may_be_answered(datagram.source, datagram.port, datagram.interface, own):
            return None
        if not self._reads.take(now):
            return None
        envelope = read_datagram(datagram.data)
        if envelope is None or envelope.body is None or envelope.headers.message_id is None:
            return None
        if REQUESTS.get(envelope.headers.action) != envelope.body.tag:
            return None
        if not self._recent.is_new((datagram.source, datagram.port), envelope.headers.message_id):
            return None
        message = self._message(envelope, envelope.body, datagram, multicast=multicast)
        if message is None or not self._limiter.take(datagram.source, now):
            return None
        # Who is asked alone need not wait for others to have spoken.
        delay = first_delay(self._random) if multicast else 0.0
        return Outgoing(
            message,
            datagram.source,
            datagram.port,
            datagram.interface,
            tuple(delay + t for t in copy_times(self._random, UNICAST_COPIES)),
        )

    def _message(
        self, envelope: Envelope, body: etree._Element, datagram: Datagram, *, multicast: bool
    ) -> NumberedMessage | None:
        """Return the answer if there is one and it is short enough."""
        room = int(self._policy.size_ratio * len(datagram.data))
        target = self._target()
        xaddrs = self._xaddrs(datagram.interface)
        if not xaddrs:
            return None
        try:
            answer = answer_to(body, target, xaddrs)
            if not answer.matched:
                return None
            message = NumberedMessage(
                reply_headers(envelope.headers, answer.action), answer.body, self._counter
            )
            if message.largest() > room:
                shorter = answer_to(body, _shortened(target, body), xaddrs)
                message = NumberedMessage(
                    reply_headers(envelope.headers, shorter.action), shorter.body, self._counter
                )
        except PostscanError as error:
            # To everybody at once nobody says what is wrong (dpws.md, 1.6).
            if multicast:
                return None
            message = self._fault(error, envelope)
        return message if message.largest() <= room else None

    def _fault(self, error: PostscanError, envelope: Envelope) -> NumberedMessage:
        fault = fault_of(error, WSD)
        return NumberedMessage(
            reply_headers(envelope.headers, fault.action), fault_element(fault), self._counter
        )

    # Announcing ----------------------------------------------------------------------------------------

    def hello(self, interface: Interface, version: int) -> Outgoing | None:
        """Return the Hello for one interface and version of IP (4, 6); None without an address there."""
        target = self._target()
        xaddrs = self._xaddrs(interface)
        if not xaddrs:
            return None
        body = wsd.Hello(
            endpoint=wsd.EndpointReference(target.address),
            types=target.types,
            scopes=target.scopes,
            xaddrs=xaddrs,
            metadata_version=target.metadata_version,
        ).to_element()
        return self._to_all(wsd.HELLO_ACTION, body, interface, version, first_delay(self._random))

    def bye(self, interface: Interface, version: int) -> Outgoing | None:
        """Return the Bye for one interface and version of IP; its first copy goes at once."""
        if not self._xaddrs(interface):
            return None
        body = wsd.Bye(wsd.EndpointReference(self._target().address)).to_element()
        return self._to_all(wsd.BYE_ACTION, body, interface, version, 0.0)

    def _to_all(
        self, action: str, body: etree._Element, interface: Interface, version: int, delay: float
    ) -> Outgoing:
        return Outgoing(
            announcement(action, body, self._counter),
            GROUPS[version],
            PORT,
            interface,
            tuple(delay + t for t in copy_times(self._random, MULTICAST_COPIES)),
        )


def _shortened(target: Target, body: etree._Element) -> Target:
    """Return the device with no more types than wsdp:Device and those that were asked for."""
    asked = frozenset(wsd.Probe.from_element(body).types) if body.tag == wsd.Probe.TAG else frozenset()
    kept = tuple(t for t in target.types if t == _DEVICE or t in asked)
    return replace(target, types=kept)
