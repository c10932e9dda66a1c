"""Which addresses a message may make us call (abuse case 15)."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self
from urllib.parse import urlsplit

from postscan.core.errors import FaultKind, FaultParty, PostscanError
from postscan.dpws.addresses import Address, addresses_of, may_be_called, plain
from postscan.soap.names import WSE, qname

_USUAL_PORTS: Final = {"http": 80, "https": 443}
# IANA's registry and common use: databases, caches, message queues, remote desktops and shells, raw printing
# (9100 to 9102 would print the event), container and cluster control. None that a system gives out by itself.
OTHER_SERVICES: Final = frozenset(
    {
        *(1080, 1433, 1434, 1521, 1723, 1883, 2049, 2181, 2222, 2375, 2376, 2379, 2380, 3128, 3260, 3268),
        *(3269, 3306, 3389, 4369, 5060, 5222, 5353, 5355, 5432, 5672, 5900, 5901, 5984, 5985, 5986, 6000),
        *(6379, 6443, 6667, 7001, 8086, 9042, 9092, 9100, 9101, 9102, 9200, 9300, 10250, 11211, 15672, 27017),
    }
)


class NotifyRefused(PostscanError):
    """A NotifyTo or EndTo address is not one this service may call."""

    fault: ClassVar[FaultKind] = FaultKind(
        FaultParty.SENDER, qname(WSE, "InvalidMessage"), "The address to notify is not allowed."
    )
    advice = (
        "Use the device's own address and a port for events, or have the administrator add the host to "
        "[eventing] notify_hosts or the port to notify_ports."
    )


class NotifyNameUnknown(NotifyRefused):
    """The host of a NotifyTo or EndTo address does not resolve; a name server may just be away."""

    retry_helps = True
    advice = "Check the name, or use the device's own address."


@dataclass(frozen=True, slots=True)
class NotifyPorts:
    """Ports that events may go to: those named ``singly``, and those in ``ranges`` (both ends included).

    A range leaves out what is widely known to be another service, so that no event is read as a command.
    """

    singly: frozenset[int] = frozenset({80, 443})
    ranges: tuple[tuple[int, int], ...] = ((1024, 65_535),)

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Read entries like ``443`` and ``1024-65535``; raises ValueError for anything else."""
        singly: set[int] = set()
        ranges: list[tuple[int, int]] = []
        for entry in entries:
            first, dash, last = entry.partition("-")
            if not dash:
                singly.add(_port(first))
            elif _port(first) > _port(last):
                raise ValueError(f"{entry!r} ends before it begins")
            else:
                ranges.append((_port(first), _port(last)))
        return cls(frozenset(singly), tuple(ranges))

    def __contains__(self, port: object) -> bool:
        if port in self.singly:
            return True
        inside = isinstance(port, int) and any(first <= port <= last for first, last in self.ranges)
        return inside and port not in OTHER_SERVICES


def _port(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65_535):
        raise ValueError(f"{text!r} is no port; write 443, or 1024-65535 for a range")
    return int(text)


@dataclass(frozen=True, slots=True)
class NotifyPolicy:
    """A sink must be on the subscriber's own address, or on a host the settings name, at an allowed port.

    Loopback is refused unless ``allow_loopback`` (one machine, demos and tests), and so are ``own_ports`` at
    this machine's addresses: what listens there is the server itself. Link-local (the metadata services of
    clouds among them), multicast, reserved and unspecified addresses always are.
    """

    hosts: frozenset[str] = field(default_factory=frozenset)
    allow_loopback: bool = False
    ports: NotifyPorts = field(default_factory=NotifyPorts)
    own_ports: frozenset[int] = field(default_factory=frozenset)

    async def check(self, url: str, peer: str) -> str:
        """Return the IP address to connect to for ``url``; raises NotifyRefused."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise NotifyRefused(f"{url}: no valid URL", detail="wsa:Address") from error
        host = parts.hostname
        if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
            raise NotifyRefused(f"{url}: not a plain http(s) address", detail="wsa:Address")
        if not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
            raise NotifyRefused(f"{url!r}: characters that no URL has", detail="wsa:Address")
        port = port if port is not None else _USUAL_PORTS[parts.scheme]
        if port not in self.ports:
            raise NotifyRefused(f"port {port} is not one for events", detail="wsa:Address")
        wanted = plain(peer)
        for address in await _addresses_of(host, port):
            wished = address == wanted or host.lower() in self.hosts or str(address) in self.hosts
            allowed = wished and may_be_called(address, allow_loopback=self.allow_loopback)
            if allowed and not self._is_ourselves(address, port):
                return str(address)
        raise NotifyRefused(f"{host} is neither the subscriber nor allowed", detail="wsa:Address")

    def _is_ourselves(self, address: Address, port: int) -> bool:
        return not self.allow_loopback and port in self.own_ports and _is_local(address)


def _is_local(address: Address) -> bool:
    """Tell whether this machine has the address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


async def _addresses_of(host: str, port: int) -> list[Address]:
    try:
        return await addresses_of(host, port)
    except (OSError, UnicodeError) as error:  # the latter for labels that are empty or too long
        raise NotifyNameUnknown(f"{host} does not resolve", detail="wsa:Address") from error
