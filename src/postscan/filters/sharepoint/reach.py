"""Which addresses are never called: of this link, a group, nobody, or a metadata service (abuse case 37)."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


class CarefulResolver(AbstractResolver):
    """Resolves names as this machine does, and leaves out addresses that no SharePoint has."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses. :raises OSError: there is none that may be called."""
        found = await aiohttp.ThreadedResolver().resolve(host, port, family)
        allowed = [one for one in found if not is_forbidden_address(one["host"])]
        if found and not allowed:
            raise OSError(None, f"{host} means {found[0]['host']}, which is never called")
        return allowed

    async def close(self) -> None:
        """Nothing is held open."""


def is_forbidden_host(host: str) -> bool:
    """Tell whether a host is given by an address that is never called; names are judged when they resolve."""
    try:
        return is_forbidden_address(host)
    except ValueError:
        return False


def is_forbidden_address(text: str) -> bool:
    """Tell whether an address is one that is never called: link-local, multicast, or no host's."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        address = mapped
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        # Reserved, but for the loopback of IPv6, which Python counts among them.
        or (address.is_reserved and not address.is_loopback)
        or address in _METADATA
    )


_METADATA: Final = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"))
)
