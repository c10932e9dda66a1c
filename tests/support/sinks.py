"""An event sink for tests: keeps every message it gets, each one validated, and answers as it is told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from lxml import etree

from postscan.contracts import schemas
from postscan.dpws.http.connection import Request
from postscan.dpws.http.messages import Response
from postscan.dpws.http.server import HttpHost
from postscan.soap.envelope import EndpointReference, Envelope, read_envelope
from postscan.soap.names import WSE, qname
from postscan.soap.xml import parse


@dataclass
class Sink:
    """``heard`` are the messages in their order; ``statuses`` what to answer first, then it is 202."""

    statuses: list[int] = field(default_factory=list)
    heard: asyncio.Queue[Envelope] = field(default_factory=asyncio.Queue)
    attempts: int = 0
    seen: set[tuple[str, int]] = field(default_factory=set)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    def endpoint(self, mark: str = "urn:mark", host: str = "127.0.0.1") -> EndpointReference:
        """Return where to send events, with a parameter to send along."""
        identifier = etree.Element(qname(WSE, "Identifier"), nsmap={"wse": WSE})
        identifier.text = mark
        return EndpointReference(f"http://{host}:{self.port}/sink", (identifier,))

    @property
    def connections(self) -> int:
        """How many connections messages have come over."""
        return len(self.seen)

    async def next(self) -> Envelope:
        """Return the next message."""
        async with asyncio.timeout(10):
            return await self.heard.get()

    async def handle(self, request: Request) -> Response:
        """Take a message."""
        root = parse(await request.body.read_all(1_000_000))
        schemas.validate(root)
        self.attempts += 1
        self.seen.add((request.peer.address, request.peer.port))
        await self.gate.wait()
        status = self.statuses.pop(0) if self.statuses else 202
        if status < 300:
            self.heard.put_nowait(read_envelope(root))
        return Response(status)


@asynccontextmanager
async def listening(
    statuses: Iterable[int] = (), *, blocked: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Sink]:
    """Run a sink on loopback; a blocked one answers nothing before its ``gate`` is set."""
    sink = Sink(list(statuses))
    if not blocked:
        sink.gate.set()
    host = HttpHost(sink.handle)
    ((_, sink.port),) = await host.listen("127.0.0.1", 0, tls)
    try:
        yield sink
    finally:
        sink.gate.set()
        await host.stop()


@contextmanager
def nobody_listening() -> Iterator[Sink]:
    """Hold a port at which every connection is refused, and which nobody else gets meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield Sink(port=held.getsockname()[1])


def mark_of(message: Envelope) -> str:
    """Return the reference parameter that came along."""
    return next((h.text or "" for h in message.headers.others if h.tag == qname(WSE, "Identifier")), "")
