"""HTTP to event sinks: one-way POSTs to an address that was checked, over few connections kept for a while.

A sink is called at the very IP address the policy allowed, while Host and TLS name it as its URL does. No
redirect is followed, nothing of an answer but its status is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections import OrderedDict
from typing import Final, NamedTuple, cast
from urllib.parse import quote, urlsplit

import httptools

from postscan.dpws.failures import Unreachable, unreachable

# Whatever a sink may say before its status is known.
_MOST_OCTETS: Final = 16_384
_PATH_SAFE: Final = "/%:@!$&'()*+,;=~-._?"


class _Origin(NamedTuple):
    """What a connection is good for: the same address, port, name and kind of connection."""

    address: str
    port: int
    host: str
    secure: bool


class _BrokenOff(ConnectionError):
    """The sink closed before its answer; ``unheard`` when it said nothing at all."""

    def __init__(self, *, unheard: bool) -> None:
        super().__init__("the connection was closed without an answer")
        self.unheard = unheard


class SinkPool:
    """Connections to sinks; at most ``max_idle`` of them wait for their next message, each so long."""

    def __init__(
        self, tls: ssl.SSLContext | None, *, max_idle: int = 256, idle_seconds: float = 10.0
    ) -> None:
        """Put the pool together; ``tls`` None trusts the system's authorities."""
        self._tls = tls
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        # The longest idle one first.
        self._idle: OrderedDict[_Connection, float] = OrderedDict()
        self._by_origin: dict[_Origin, list[_Connection]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many connections are open and idle."""
        return len(self._idle)

    async def post(self, url: str, address: str, content: bytes, media_type: str, *, seconds: float) -> None:
        """Send ``content`` to ``url`` at ``address``; a 2xx within ``seconds`` is fine.

        :raises Unreachable: it did not arrive, or may not have; Untrusted among them.
        """
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        origin = _Origin(address, parts.port or (443 if secure else 80), parts.hostname or "", secure)
        path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_PATH_SAFE)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nUser-Agent: Postscan\r\n"
            f"Content-Type: {media_type}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(seconds):
                status = await self._exchange(origin, head.encode("ascii") + content)
        except _BrokenOff as error:
            raise unreachable(url, ConnectionResetError(errno.ECONNRESET, "reset")) from error
        except httptools.HttpParserError as error:
            raise Unreachable(f"{url} does not answer in HTTP") from error
        except (OSError, TimeoutError, UnicodeError) as error:
            raise unreachable(url, error) from error
        if not 200 <= status < 300:
            raise Unreachable(f"{url} answered a notification with {status}")

    async def close(self) -> None:
        """Close every idle connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        closing = list(self._idle)
        for connection in closing:
            self._forget(connection)
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.gather(*(connection.gone.wait() for connection in closing))
        for connection in closing:
            connection.abort()

    async def _exchange(self, origin: _Origin, request: bytes) -> int:
        kept = self._by_origin.get(origin)
        if kept:
            connection = kept[-1]
            self._forget(connection)
            try:
                return await self._over(connection, request)
            except _BrokenOff as error:
                # It was closed while it was idle: only if nothing came back is the message sent again.
                if not error.unheard:
                    raise
        return await self._over(await self._connect(origin), request)

    async def _connect(self, origin: _Origin) -> _Connection:
        loop = asyncio.get_running_loop()
        if origin.secure and self._tls is None:
            self._tls = ssl.create_default_context()
        _, connection = await loop.create_connection(
            lambda: _Connection(self, origin),
            origin.address,
            origin.port,
            ssl=self._tls if origin.secure else None,
            server_hostname=origin.host if origin.secure else None,
        )
        return connection

    async def _over(self, connection: _Connection, request: bytes) -> int:
        try:
            status = await connection.exchange(request)
        except BaseException:
            connection.abort()
            raise
        if connection.reusable:
            self._keep(connection)
        else:
            connection.close()
        return status

    def _keep(self, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.time() + self._idle_seconds
        self._by_origin.setdefault(connection.origin, []).append(connection)
        if len(self._idle) > self._max_idle:
            oldest = next(iter(self._idle))
            self._forget(oldest)
            oldest.close()
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_seconds, self._sweep)

    def _forget(self, connection: _Connection) -> None:
        if self._idle.pop(connection, None) is None:
            return
        others = self._by_origin[connection.origin]
        others.remove(connection)
        if not others:
            del self._by_origin[connection.origin]

    def lost(self, connection: _Connection) -> None:
        """Note that a connection is gone."""
        self._forget(connection)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = None
        while self._idle:
            connection, until = next(iter(self._idle.items()))
            if until > loop.time():
                self._sweeper = loop.call_at(until, self._sweep)
                return
            self._forget(connection)
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self, pool: SinkPool, origin: _Origin) -> None:
        self.origin = origin
        self.gone = asyncio.Event()
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[int] | None = None
        self._octets = 0
        self._complete = False

    @property
    def reusable(self) -> bool:
        """Whether another message may be sent: the answer has come whole, and both sides stay."""
        open_still = self._transport is not None and not self._transport.is_closing()
        return open_still and self._complete

    async def exchange(self, request: bytes) -> int:
        """Send a request and return the answer's status."""
        if self._transport is None or self._transport.is_closing():
            raise _BrokenOff(unheard=True)
        self._parser = httptools.HttpResponseParser(self)
        self._octets, self._complete = 0, False
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        """Close in good order."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # What the loop and the parser call --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # Not isinstance: uvloop's transports are no subclasses.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read a piece of an answer; what nobody asked for ends the connection."""
        if self._answer is None or self._answer.done() or self._parser is None:
            self.close()
            return
        self._octets += len(data)
        try:
            self._parser.feed_data(data)
            if self._octets > _MOST_OCTETS and not self._answer.done():
                raise httptools.HttpParserError("a head without end")
        except httptools.HttpParserError as error:
            if not self._answer.done():
                self._answer.set_exception(error)
            self._complete = False

    def on_headers_complete(self) -> None:
        """Take the status, unless it is of an answer that comes before the answer."""
        if self._parser is None or self._answer is None or self._answer.done():
            return
        status = self._parser.get_status_code()
        if status >= 200:
            self._answer.set_result(status)

    def on_message_complete(self) -> None:
        """Note that nothing more of this answer comes."""
        answered = self._answer is not None and self._answer.done()
        # To be asked now: the parser forgets it when it begins the next answer.
        self._complete = answered and self._parser is not None and bool(self._parser.should_keep_alive())

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._pool.lost(self)
        self.gone.set()
        if self._answer is not None and not self._answer.done():
            if exc is None or isinstance(exc, ConnectionError):
                exc = _BrokenOff(unheard=self._octets == 0)
            self._answer.set_exception(exc)
