"""The machine's network interfaces as values, and who counts as a neighbour on one of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_OwnAddress = ipaddress.IPv4Interface | ipaddress.IPv6Interface

PORT: Final = 3702
GROUPS: Final[dict[int, Address]] = {
    4: ipaddress.IPv4Address("239.255.255.250"),
    6: ipaddress.IPv6Address("ff02::c"),
}
# No client of discovery sends from these, but services that answer anything (chargen, DNS, NTP) live there.
_LEAST_PORT: Final = 1_024


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface that is up: its index and name, and its addresses with their networks."""

    index: int
    name: str
    addresses: tuple[_OwnAddress, ...]
    loopback: bool = False

    def families(self) -> frozenset[int]:
        """Return the versions of IP (4, 6) to speak here; on loopback one is enough."""
        found = frozenset(a.version for a in self.addresses)
        return frozenset({4}) if self.loopback and 4 in found else found

    def own(self, address: Address) -> bool:
        """Tell whether the address is this interface's own."""
        return any(a.ip == address for a in self.addresses)

    def has_neighbour(self, address: Address) -> bool:
        """Tell whether the address is one of a machine on this link: on its networks, or link-local IPv6."""
        if isinstance(address, ipaddress.IPv6Address) and address.is_link_local:
            return any(a.version == 6 for a in self.addresses)
        return any(
            address in a.network and not _stands_for_all(address, a.network)
            for a in self.addresses
            if a.version == address.version
        )

    def source_for(self, peer: Address) -> Address | None:
        """Return the own address to talk to a neighbour from; None when there is none of that version."""
        own = [a for a in self.addresses if a.version == peer.version]
        near = [a for a in own if peer in a.network]
        return (near or own)[0].ip if own else None


def plain_address(text: str) -> Address:
    """Return an address as the socket interface gives it: without zone, and IPv4 as IPv4.

    :raises ValueError: no IP address.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else address


def may_be_answered(address: Address, port: int, interface: Interface, own: Collection[Address]) -> bool:
    """Tell whether a datagram from there, received on this interface, may be answered (abuse case 18).

    Only neighbours are, so that a forged source reaches nobody beyond the link; and of this machine's own
    addresses only what came in over loopback, where nothing can be forged from outside.

    :param own: all addresses of this machine.
    """
    if not _LEAST_PORT <= port <= 65_535 or (port == PORT and address in own):
        return False
    if address.is_multicast or address.is_unspecified or (address.version == 4 and address.is_reserved):
        return False
    if interface.loopback:
        return address.is_loopback or address in own
    if address.is_loopback or address in own:
        return False
    return interface.has_neighbour(address)


def chosen(interfaces: Iterable[Interface], names: Collection[str]) -> tuple[Interface, ...]:
    """Return the interfaces of these names, or all when no names are given."""
    return tuple(i for i in interfaces if not names or i.name in names)


def _stands_for_all(address: Address, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """Tell whether an IPv4 address is the network's own or its broadcast address."""
    if network.version == 6 or network.prefixlen >= 31:
        return False
    return address in (network.network_address, network.broadcast_address)
