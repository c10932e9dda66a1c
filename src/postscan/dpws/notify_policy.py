"""Which addresses a message may make us call (abuse case 15), and a resolver that holds us to that."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Final
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from postscan.core.errors import FaultKind, FaultParty, PostscanError
from postscan.soap.names import WSE, qname

# A name server that does not answer holds a thread for long, and a subscriber chooses the name: threads of
# their own, so that nothing else of the server waits behind them.
_LOOK_UPS: Final = ThreadPoolExecutor(4, thread_name_prefix="postscan-names")
_LOOK_UP_SECONDS: Final = 10.0
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotifyRefused(PostscanError):
    """A NotifyTo or EndTo address is not one this service may call."""

    fault: ClassVar[FaultKind] = FaultKind(
        FaultParty.SENDER, qname(WSE, "InvalidMessage"), "The address to notify is not allowed."
    )
    advice = (
        "Use the device's own address, or have the administrator add the host to [eventing] notify_hosts."
    )


@dataclass(frozen=True, slots=True)
class NotifyPolicy:
    """A sink must be on the subscriber's own address, or on a host the settings name.

    Loopback is refused unless ``allow_loopback`` (one machine, demos and tests); link-local, multicast and
    unspecified addresses always are.
    """

    hosts: frozenset[str] = field(default_factory=frozenset)
    allow_loopback: bool = False

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
        wanted = _plain(peer)
        for address in await _addresses_of(host, port or 80):
            allowed = address == wanted or host.lower() in self.hosts or str(address) in self.hosts
            if allowed and self._reachable(address):
                return str(address)
        raise NotifyRefused(f"{host} is neither the subscriber nor allowed", detail="wsa:Address")

    def _reachable(self, address: _Address) -> bool:
        if address.is_loopback:
            return self.allow_loopback
        return not (address.is_link_local or address.is_multicast or address.is_unspecified)


async def _addresses_of(host: str, port: int) -> list[_Address]:
    try:
        return [_plain(ipaddress.ip_address(host))]
    except ValueError:  # a name
        pass
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            found = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, look_up)
    except (OSError, UnicodeError) as error:  # the latter for labels that are empty or too long
        raise NotifyRefused(f"{host} does not resolve", detail="wsa:Address") from error
    return [_plain(entry[4][0]) for entry in found]


def _plain(address: str | int | _Address) -> _Address:
    ip = ipaddress.ip_address(str(address).partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else ip


class PinnedResolver(AbstractResolver):
    """Resolves only hosts that were checked, to the very address that was checked."""

    def __init__(self) -> None:
        self._pins: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._pins)

    def pin(self, url: str, address: str) -> None:
        """Let the host of ``url`` mean ``address``."""
        host = urlsplit(url).hostname
        if host:
            self._pins[host.lower()] = address

    def keep_only(self, urls: Iterable[str]) -> None:
        """Forget every host but those of ``urls``."""
        hosts = {(urlsplit(url).hostname or "").lower() for url in urls}
        self._pins = {host: address for host, address in self._pins.items() if host in hosts}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the pinned address. :raises OSError: the host was never checked."""
        address = self._pins.get(host.lower())
        if address is None:
            raise OSError(f"{host} was not checked")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is held open."""
