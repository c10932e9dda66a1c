"""A resolver that holds an HTTP client to the very addresses that were checked."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult


class PinnedResolver(AbstractResolver):
    """Resolves only hosts that were checked, to the very address that was checked."""

    def __init__(self) -> None:
        self._pins: dict[str, str] = {}

    def pin(self, url: str, address: str) -> None:
        """Let the host of ``url`` mean ``address``."""
        host = urlsplit(url).hostname
        if host:
            self._pins[host.lower()] = address

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
