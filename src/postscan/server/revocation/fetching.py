"""Lists and answers over HTTP, from addresses that verified certificates name; nothing of it is trusted.

Whoever made the certificate chose the address, so it is held to what an authority can mean: http and https,
ports of web servers, no address of this machine, of its own link or of a cloud's metadata service; no
redirect, no proxy, no cookies, no compression; bounded in octets and time.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from postscan.dpws.addresses import addresses_of, may_be_called, plain
from postscan.dpws.notify_policy import NotifyPorts
from postscan.server.revocation.model import SourceFailed

_USUAL_PORTS: Final = {"http": 80, "https": 443}
_PORTS: Final = NotifyPorts()
_PARALLEL: Final = 8
_LONGEST_ADDRESS: Final = 2_048


class Fetcher:
    """Fetches from the network. ``seconds`` bound each exchange, from the name to the last octet."""

    def __init__(self, *, allow_loopback: bool = False) -> None:
        self.allow_loopback = allow_loopback
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def get(self, address: str, *, limit: int, seconds: float) -> bytes:
        """Return the body behind an address, of at most ``limit`` octets; raises SourceFailed."""
        async with self._exchange("GET", address, seconds) as answer:
            return await _read(answer, address, limit)

    async def post(
        self, address: str, body: bytes, content_type: str, *, limit: int, seconds: float
    ) -> bytes:
        """Send ``body`` and return the answer's, of at most ``limit`` octets; raises SourceFailed."""
        async with self._exchange("POST", address, seconds, body, content_type) as answer:
            return await _read(answer, address, limit)

    async def close(self) -> None:
        """Let go of connections; nothing is fetched any more."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def _exchange(
        self, method: str, address: str, seconds: float, body: bytes | None = None, content_type: str = ""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        _require_callable(address, self.allow_loopback)
        if self._is_closed:
            raise SourceFailed(f"{address} is not asked any more")
        headers = {"Accept-Encoding": "identity", "User-Agent": "postscan"}
        if content_type:
            headers["Content-Type"] = content_type
        ask = partial(self._open().request, method, address, data=body, headers=headers)
        try:
            async with asyncio.timeout(seconds), ask(allow_redirects=False) as answer:
                yield answer
        except TimeoutError as error:
            raise SourceFailed(f"{address} did not answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SourceFailed(f"{address} cannot be reached: {error or type(error).__name__}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=_CheckedResolver(self), use_dns_cache=False, force_close=True, limit=_PARALLEL
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                # One deadline for all of it; see _exchange.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            )
        return self._session


class _CheckedResolver(AbstractResolver):
    """Connects to nothing but the very addresses it has checked: a name may mean another the next moment."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host that may be called. :raises OSError: there is none."""
        try:
            found = await addresses_of(host, port)
        except UnicodeError as error:
            raise OSError(errno.EINVAL, f"{host} is no name") from error
        allowed = [a for a in found if may_be_called(a, allow_loopback=self._fetcher.allow_loopback)]
        if not allowed:
            raise OSError(errno.EACCES, f"{host} has no address that may be called")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if address.version == 6 else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in dict.fromkeys(allowed)
        ]

    async def close(self) -> None:
        """Nothing is held open."""


def _require_callable(address: str, allow_loopback: bool) -> None:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise SourceFailed(f"{address!r} is no address") from error
    host = parts.hostname
    strange = not address.isascii() or any(c <= " " or c == "\x7f" for c in address)
    if strange or len(address) > _LONGEST_ADDRESS or parts.username is not None or not host:
        raise SourceFailed(f"{address!r} is no plain address")
    if parts.scheme not in _USUAL_PORTS:
        raise SourceFailed(f"{address}: neither http nor https")
    port = port if port is not None else _USUAL_PORTS[parts.scheme]
    if port not in _PORTS:
        raise SourceFailed(f"{address}: port {port} is not that of a web server")
    try:
        literal = plain(ipaddress.ip_address(host))
    except ValueError:  # a name: looked at when it is resolved
        return
    if not may_be_called(literal, allow_loopback=allow_loopback):
        raise SourceFailed(f"{address} may not be called")


async def _read(answer: aiohttp.ClientResponse, address: str, limit: int) -> bytes:
    if answer.status != 200:
        raise SourceFailed(f"{address} answered with status {answer.status}")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise SourceFailed(f"{address} answered compressed")
    if answer.content_length is not None and answer.content_length > limit:
        raise SourceFailed(f"{address} answers with more than {limit:,} octets")
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > limit:
            raise SourceFailed(f"{address} answers with more than {limit:,} octets")
        parts.append(part)
    return b"".join(parts)
