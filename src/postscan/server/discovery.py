"""The scan server on UDP: when it speaks there, and under which addresses neighbours reach it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from postscan.dpws.discovery.interfaces import Address, Interface, plain_address
from postscan.dpws.discovery.responder import Responder, ResponderPolicy
from postscan.dpws.discovery.service import DiscoveryService, Reach
from postscan.dpws.host import DeviceHost


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """Whether, where and how much is said over UDP.

    ``enabled`` None: unless the server listens on loopback alone. ``interfaces`` are names; none: all.
    """

    enabled: bool | None = None
    interfaces: tuple[str, ...] = ()
    ipv4: bool = True
    ipv6: bool = True
    scopes: tuple[str, ...] = ()
    policy: ResponderPolicy = field(default_factory=ResponderPolicy)


def make_discovery(
    settings: DiscoverySettings, device: DeviceHost, listening: Sequence[tuple[str, int]]
) -> DiscoveryService | None:
    """Return discovery for a device whose host listens on these addresses and ports; None when it is off."""
    addresses = [plain_address(host) for host, _ in listening]
    alone = all(address.is_loopback for address in addresses)
    if not (settings.enabled or (settings.enabled is None and not alone)):
        return None
    versions = {version for version, on in ((4, settings.ipv4), (6, settings.ipv6)) if on}
    responder = Responder(
        lambda: device.target,
        XAddrs(device.description.address, addresses, listening[0][1]),
        device.counter,
        policy=settings.policy,
    )
    return DiscoveryService(responder, Reach(listening[0][1], settings.interfaces, frozenset(versions)))


class XAddrs:
    """Tells under which addresses the neighbours on an interface reach the server.

    Over https there is but one, that of the certificate: a peer believes no other (dpws.md, 1.7). Over plain
    http it is the interface's own address. Where the server does not listen, there is none.
    """

    def __init__(self, address: str, listening: Sequence[Address], port: int) -> None:
        self._address = address
        self._listening = frozenset(listening)
        self._everywhere = {a.version for a in listening if a.is_unspecified}
        self._port = port

    def __call__(self, interface: Interface) -> tuple[str, ...]:
        """Return the addresses for this interface's neighbours."""
        served = [a.ip for a in interface.addresses if self._listens_on(a.ip)]
        if not served and interface.loopback:
            # This machine reaches all of its own addresses.
            served = [a for a in self._listening if not a.is_unspecified]
        parts = urlsplit(self._address)
        if parts.scheme == "https":
            return (self._address,) if served else ()
        # A link-local address means nothing without the name of the asker's own interface.
        usable = sorted((a for a in served if not a.is_link_local), key=lambda a: a.version)
        return tuple(f"{parts.scheme}://{_host(a)}:{self._port}{parts.path}" for a in usable[:1])

    def _listens_on(self, address: Address) -> bool:
        return address in self._listening or address.version in self._everywhere


def _host(address: Address) -> str:
    return f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else str(address)
