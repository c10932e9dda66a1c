"""The answering side of discovery: never an error, and never more octets than allowed for what came in."""

from __future__ import annotations

import ipaddress
from random import Random
from typing import Final

from fuzz import samples
from fuzz.mutation import mutate_xml
from fuzz.target import Target, must
from postscan.contracts import schemas
from postscan.dpws.discovery.answers import Target as Device
from postscan.dpws.discovery.interfaces import GROUPS, Interface
from postscan.dpws.discovery.messages import Datagram
from postscan.dpws.discovery.responder import Responder, ResponderPolicy
from postscan.dpws.discovery.sequence import MessageCounter
from postscan.soap.xml import parse

LINK: Final = Interface(2, "eth0", (ipaddress.ip_interface("192.168.7.1/24"),))
NEIGHBOUR: Final = ipaddress.ip_address("192.168.7.42")
_OWN: Final = frozenset(address.ip for address in LINK.addresses)
_DEVICE: Final = Device(samples.ADDRESS, samples.TYPES, ("http://example.com/a/b", "urn:b"), 7)
_POLICY: Final = ResponderPolicy()
_MOST_COPIES: Final = 2


def run(data: bytes) -> None:
    """Ask with the octets, of all and of the device alone; what is answered is valid and small."""
    for destination in (GROUPS[4], LINK.addresses[0].ip):
        asked = Responder(
            lambda: _DEVICE,
            lambda _: (samples.ADDRESS,),
            MessageCounter(1_700_000_000),
            policy=_POLICY,
            random=Random(1),
        )
        outgoing = asked.respond(Datagram(data, NEIGHBOUR, 49_152, LINK, destination), _OWN, 1.0)
        if outgoing is None:
            continue
        must((outgoing.destination, outgoing.port) == (NEIGHBOUR, 49_152), "the answer goes to another")
        must(len(outgoing.times) <= _MOST_COPIES, f"{len(outgoing.times)} copies")
        said = outgoing.message.write()
        must(len(said) <= _POLICY.size_ratio * len(data), f"{len(said)} octets for {len(data)}")
        schemas.validate(parse(said))


def seeds() -> list[bytes]:
    """Return questions, as long as those of real peers."""
    return [question.ljust(800) for question in samples.questions()]


TARGET = Target("responder", run, seeds, mutate_xml, words=(b"MatchBy", b"Resolve", b"ReplyTo"))
