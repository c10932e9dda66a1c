"""The HTTP host: listens, keeps order among its connections, stops cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from pathlib import Path
from typing import Any

from postscan.core.log import get_logger
from postscan.dpws.http.connection import IDLE_PHASES, Connection, Handler
from postscan.dpws.http.limits import HttpLimits
from postscan.dpws.http.window import BufferPool

_log = get_logger("http")
_SWEEP_SECONDS = 0.5
_BACKLOG = 1_024


class HttpHost:
    """Serves one handler on any number of sockets."""

    def __init__(self, handler: Handler, limits: HttpLimits | None = None) -> None:
        self.handler = handler
        self.limits = limits or HttpLimits()
        self.pool = BufferPool()
        self.stopping = False
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._secure: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> list[tuple[str, int]]:
        """Listen on a TCP address; port 0 picks one. Returns the (address, port) pairs."""
        server = await self._serve(tls, host=host, port=port, reuse_address=True)
        self._start(server)
        if tls is not None:
            self._secure.append(server)
        return [(s.getsockname()[0], s.getsockname()[1]) for s in server.sockets]

    async def renew_tls(self, tls: ssl.SSLContext) -> None:
        """Serve new connections with another context, from where TLS is served already; raises OSError.

        Nobody is turned away meanwhile: the old and the new listener share their sockets' queues. Requests
        in flight end as they began; then, or at once where idle, their connections are closed, so that what
        was trusted is checked anew.
        """
        renewed = []
        for server in self._secure:
            for sock in server.sockets:
                twin = socket.socket(fileno=os.dup(sock.fileno()))
                renewed.append(await self._serve(tls, sock=twin))
        for server in self._secure:
            server.close()
            self._servers.remove(server)
        self._secure = renewed
        self._servers += renewed
        for connection in list(self._connections):
            connection.end_soon("renewal")

    async def _serve(self, tls: ssl.SSLContext | None, **where: Any) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(
            lambda: Connection(self),
            **where,
            ssl=tls,
            ssl_handshake_timeout=self.limits.handshake_seconds if tls else None,
            ssl_shutdown_timeout=5.0 if tls else None,
            backlog=_BACKLOG,
        )

    async def listen_unix(self, path: Path) -> None:
        """Listen on a local socket that only this account can open."""
        path.unlink(missing_ok=True)
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: Connection(self), str(path), backlog=64
        )
        path.chmod(0o600)
        self._start(server)

    def _start(self, server: asyncio.Server) -> None:
        self._servers.append(server)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def stop(self) -> None:
        """Accept nothing more, let requests in flight finish (``stop_seconds``), close the rest."""
        self.stopping = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            if connection.phase in IDLE_PHASES:
                connection.abandon("shutdown")
        try:
            async with asyncio.timeout(self.limits.stop_seconds):
                await self._all_closed.wait()
        except TimeoutError:
            _log.warning("requests outlived the shutdown grace", count=len(self._connections))
            for connection in list(self._connections):
                connection.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper

    def opened(self, connection: Connection) -> bool:
        """Note a new connection; at the limit the longest idle one makes room."""
        if self.stopping:
            return False
        if len(self._connections) >= self.limits.max_connections:
            idle = [c for c in self._connections if c.phase in IDLE_PHASES]
            if not idle:
                return False
            min(idle, key=lambda c: c.last_octet).abandon("room")
        self._connections.add(connection)
        self._all_closed.clear()
        return True

    def closed(self, connection: Connection) -> None:
        """Note that a connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = loop.time()
            for connection in list(self._connections):
                why = connection.overdue(now)
                if why is not None:
                    connection.abandon(why)
                else:
                    connection.tidy(now)
