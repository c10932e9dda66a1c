"""Addresses that others make us call: what a name means, and which no outsider has any business with."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# A name server that does not answer holds a thread for long, and a stranger chooses the name: threads of
# their own, so that nothing else of the server waits behind them.
_LOOK_UPS: Final = ThreadPoolExecutor(4, thread_name_prefix="postscan-names")
_LOOK_UP_SECONDS: Final = 10.0
# Metadata services of clouds that are not at a link-local address (Alibaba; AWS over IPv6).
_METADATA: Final = frozenset({ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("fd00:ec2::254")})


def plain(address: str | int | Address) -> Address:
    """Return an address without its zone, IPv4 where it came mapped into IPv6; raises ValueError."""
    ip = ipaddress.ip_address(str(address).partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else ip


async def addresses_of(host: str, port: int) -> list[Address]:
    """Return what a name or an address means; raises OSError or UnicodeError when it does not resolve."""
    try:
        return [plain(host)]
    except ValueError:  # a name
        pass
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    async with asyncio.timeout(_LOOK_UP_SECONDS):
        found = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, look_up)
    return [plain(entry[4][0]) for entry in found]


def may_be_called(address: Address, *, allow_loopback: bool) -> bool:
    """Tell whether an address may be called at all.

    Link-local (the metadata services of clouds among them), multicast, reserved and unspecified addresses
    never may, this machine's own only with ``allow_loopback``.
    """
    if address.is_loopback:
        return allow_loopback
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return address not in _METADATA and not (address.version == 4 and address.is_reserved)
