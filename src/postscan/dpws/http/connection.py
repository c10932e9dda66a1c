"""One connection: receives into the window, serves one request after the other."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol, cast

from postscan.core.clock import SystemClock
from postscan.core.log import get_logger
from postscan.core.rates import BoundedLog
from postscan.dpws.http.framing import Framing, framing_for
from postscan.dpws.http.judged_tls import JudgedSession
from postscan.dpws.http.limits import HttpLimits
from postscan.dpws.http.messages import (
    MAX_HEAD_BYTES,
    HttpRefused,
    Peer,
    RequestHead,
    Response,
    parse_head,
)
from postscan.dpws.http.window import SMALL, BufferPool, Window

if TYPE_CHECKING:
    from typing_extensions import Buffer

_log = get_logger("http")
_of_peers = BoundedLog(_log, SystemClock())
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ConnectionLost(Exception):
    """The peer went away in the middle of a request; nobody is left to answer."""


class Body:
    """The body of one request, pulled by its handler.

    ``buffer[start:end]`` is what is ready; :meth:`consume_to` says how far it was used; :meth:`fill` waits
    for more. Indices are valid until the next await.
    """

    def __init__(self, connection: Connection, framing: Framing, head: RequestHead) -> None:
        self._connection = connection
        self._window = connection.window
        self._framing = framing
        self._owes_continue = head.expects_continue
        self.length = head.length
        # Set once the framing is broken: where this request ends, nobody can tell any more.
        self.refusal: HttpRefused | None = None
        self._advance()

    @property
    def buffer(self) -> bytearray:
        """The buffer of the window."""
        return self._window.buffer

    @property
    def start(self) -> int:
        """Index of the first unread octet."""
        return self._window.start

    @property
    def end(self) -> int:
        """Index behind the last octet that is ready."""
        return self._window.ready

    @property
    def complete(self) -> bool:
        """Whether the last octet of the body is ready (not whether it was read)."""
        return self._framing.complete

    @property
    def held_back(self) -> bool:
        """Whether the peer was not told to continue: it may or may not send the rest (RFC 9110, 10.1.1)."""
        return self._owes_continue and not self._framing.complete

    def widen(self) -> None:
        """Receive into a large buffer from now on, where much is to come.

        For whoever reads an attachment that was admitted: a sender nobody knows yet holds a small one.
        """
        if self.length is None or self.length > SMALL:
            self._window.grow()

    def consume_to(self, position: int) -> None:
        """Note that everything before ``position`` was used."""
        self._window.consume_to(position)

    async def fill(self) -> bool:
        """Wait until more octets are ready; return False when the body has ended.

        :raises ConnectionLost: the peer closed in the middle.
        :raises HttpRefused: the framing is broken, or the body is too large.
        """
        before = self._window.unread
        # What came while the handler waited for something else is here already, and nothing else may come.
        self._advance()
        while self._window.unread == before and not self._framing.complete:
            if self.refusal is not None:
                raise self.refusal
            if self._owes_continue:
                self._owes_continue = False
                self._connection.send_raw(_CONTINUE)
            await self._connection.more(Phase.BODY)
            self._advance()
        return self._window.unread > before

    async def read_all(self, limit: int) -> bytes:
        """Return the whole body.

        :raises HttpRefused: 413 when it is longer than ``limit`` octets.
        """
        if self.length is not None and self.length > limit:
            raise HttpRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{self.length} octets announced")
        parts = bytearray()
        while True:
            parts += memoryview(self.buffer)[self.start : self.end]
            self.consume_to(self.end)
            if len(parts) > limit:
                raise HttpRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body too large")
            if not await self.fill():
                return bytes(parts)

    async def discard(self, limit: int) -> bool:
        """Read and drop the rest, at most ``limit`` octets; return whether the end was reached."""
        if self.held_back:
            return False
        dropped = 0
        while True:
            dropped += self.end - self.start
            self.consume_to(self.end)
            if self._framing.complete:
                return True
            if dropped > limit or self.refusal is not None:
                return False
            with contextlib.suppress(HttpRefused):  # the next turn looks at what was refused
                await self.fill()

    def _advance(self) -> None:
        try:
            self._framing.advance(self._window)
        except HttpRefused as refusal:
            self.refusal = refusal


class Request:
    """One request: who sent it, its head, and its body to be pulled."""

    __slots__ = ("body", "head", "peer")

    def __init__(self, peer: Peer, head: RequestHead, body: Body) -> None:
        self.peer = peer
        self.head = head
        self.body = body


Handler = Callable[[Request], Awaitable[Response]]


class Phase(Enum):
    """What a connection is doing; says which time limit holds."""

    BETWEEN = auto()
    HEAD = auto()
    BODY = auto()
    WORKING = auto()
    WRITING = auto()
    CLOSING = auto()


# Nothing is lost for a peer whose connection is closed in one of these.
IDLE_PHASES: Final = frozenset({Phase.BETWEEN, Phase.HEAD, Phase.CLOSING})


class Host(Protocol):
    """What a connection needs of the host it belongs to."""

    handler: Handler
    limits: HttpLimits
    pool: BufferPool
    stopping: bool

    def opened(self, connection: Connection) -> bool:
        """Note a new connection; return False when there is no room for it."""

    def closed(self, connection: Connection) -> None:
        """Note that a connection is gone."""


class Connection(asyncio.BufferedProtocol):
    """One connection of an HTTP host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._at_eof = False
        self._lost = False
        # Whether the connection ends with the request that is being served.
        self._is_last = False
        # Whether the request that is being served has its answer: there is only one.
        self._answered = False
        self._drained = asyncio.Event()
        self._drained.set()
        self.window = Window(host.pool)
        self.peer = Peer("", 0)
        self.phase = Phase.BETWEEN
        self.last_octet = self._loop.time()
        self.phase_since = self.last_octet
        self._rate_from = self.last_octet
        self._rate_octets = 0

    # The transport's side ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving."""
        self._transport = cast(asyncio.Transport, transport)
        self.peer = _peer_of(self._transport)
        if not self.host.opened(self):
            busy = Response(503, headers=(("Retry-After", "5"),))
            self._transport.write(busy.encode(keep_alive=False))
            self._transport.close()
            return
        self._task = self._loop.create_task(self._serve())

    def get_buffer(self, sizehint: int) -> Buffer:
        """Return where the next octets go."""
        return self.window.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Take in octets; stop reading while the window is full."""
        self.window.received(nbytes)
        self.last_octet = self._loop.time()
        self._rate_octets += nbytes
        if self.window.is_full() and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Note that the peer sends no more; answers may still go out."""
        self._at_eof = True
        self._wake()
        return False if self.peer.tls else self.phase is Phase.WORKING

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that everything is over."""
        self._lost = True
        self._at_eof = True
        self._wake()
        self._drained.set()
        self.host.closed(self)
        if self._task is None:
            self.window.release()

    def pause_writing(self) -> None:
        """Note that the peer reads slower than we write."""
        self._drained.clear()

    def resume_writing(self) -> None:
        """Note that the peer caught up."""
        self._drained.set()

    # The host's side -----------------------------------------------------------------------------------

    def overdue(self, now: float) -> str | None:
        """Return which time limit the peer broke, if any (abuse case 10)."""
        limits = self.host.limits
        if self.phase is Phase.BETWEEN:
            return "keep-alive" if now - self.phase_since > limits.keep_alive_seconds else None
        if self.phase is Phase.HEAD:
            return "head" if now - self.phase_since > limits.head_seconds else None
        if self.phase is Phase.WRITING:
            return "write" if now - self.phase_since > limits.idle_seconds else None
        if self.phase is Phase.CLOSING:
            silent = now - self.last_octet > limits.linger_seconds
            return "linger" if silent or now - self.phase_since > limits.idle_seconds else None
        if self.phase is Phase.BODY and not self._paused:
            if now - self.last_octet > limits.idle_seconds:
                return "idle"
            if now - self._rate_from > limits.rate_window_seconds:
                too_slow = self._rate_octets < limits.min_bytes_per_window
                self._rate_from, self._rate_octets = now, 0
                return "rate" if too_slow else None
        return None

    def _tell(self, event: str, **what: object) -> None:
        """Write what a peer did wrong into the log; of a flood, some."""
        _of_peers.info(self.peer.address, event, peer=self.peer.address, **what)

    def abandon(self, why: str) -> None:
        """Close a connection that broke a time limit, is idle at shutdown, or must make room."""
        if self._transport is None or self._lost:
            return
        if why == "write":
            # What waits to be written would keep the connection open for as long as the peer likes.
            self._tell("connection timed out", limit=why)
            self._transport.abort()
            return
        if why in ("head", "idle", "rate"):
            self._tell("connection timed out", limit=why)
            if not self._answered:
                self._transport.write(Response(408).encode(keep_alive=False))
        self._at_eof = True
        self._wake()
        self._transport.close()

    def end_soon(self, why: str) -> None:
        """Close the connection, now when it is idle, else after the request that is being served."""
        self._is_last = True
        if self.phase in IDLE_PHASES:
            self.abandon(why)

    def tidy(self, now: float) -> None:
        """Give a large buffer back when nothing has come for a while."""
        if self.phase is Phase.BETWEEN and now - self.last_octet > 2.0:
            self.window.shrink()

    def cancel(self) -> None:
        """Stop a request that outlived the grace of a shutdown."""
        if self._task is not None:
            self._task.cancel()

    # Serving -------------------------------------------------------------------------------------------

    def send_raw(self, data: bytes) -> None:
        """Write octets to the peer."""
        if self._transport is not None and not self._lost:
            self._transport.write(data)

    async def more(self, phase: Phase) -> None:
        """Wait for octets; raises ConnectionLost when none will come."""
        if self._at_eof:
            raise ConnectionLost
        self._enter(phase)
        if self._paused and not self.window.is_full() and self._transport is not None:
            self._paused = False
            self.last_octet = self._loop.time()
            # The peer could not send while we were busy: its rate is measured from now on.
            self._rate_from, self._rate_octets = self.last_octet, 0
            self._transport.resume_reading()
        seen = self.window.end - self.window.raw
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if phase is Phase.BODY:
            # Not for a head: its time runs from its first octet, however it trickles in.
            self._enter(Phase.WORKING)
        if self._ended() and self.window.end - self.window.raw == seen:
            raise ConnectionLost

    def _ended(self) -> bool:
        return self._at_eof

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _enter(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase = phase
            self.phase_since = self._loop.time()
            if phase in (Phase.BODY, Phase.CLOSING):
                self.last_octet = self.phase_since

    async def _serve(self) -> None:
        try:
            while await self._serve_one():
                pass
        except ConnectionLost:
            _log.debug("peer went away", peer=self.peer.address)
        except HttpRefused as refusal:
            self._tell("request refused", status=int(refusal.status), why=str(refusal))
            self.send_raw(Response(refusal.status).encode(keep_alive=False))
            await self._linger()
        except asyncio.CancelledError:
            if not self._answered:
                self.send_raw(Response(503).encode(keep_alive=False))
        except Exception:
            _log.exception("connection failed", peer=self.peer.address)
        finally:
            if self._transport is not None:
                self._transport.close()
            self.window.release()

    async def _serve_one(self) -> bool:
        if self._lost or self.host.stopping:
            return False
        self._answered = False
        head = await self._read_head()
        if head is None:
            return False
        self._enter(Phase.WORKING)
        limits = self.host.limits
        self._rate_from, self._rate_octets = self._loop.time(), 0
        body = Body(self, framing_for(head.length, limits.max_body_bytes), head)
        try:
            response = await self.host.handler(Request(self.peer, head, body))
        except HttpRefused as refusal:
            self._tell("request refused", status=int(refusal.status), why=str(refusal))
            response = Response(refusal.status)
        whole = body.refusal is None and not body.held_back
        ends = self._is_last or self.host.stopping or self._at_eof
        keep_alive = head.keep_alive and whole and not ends
        self.send_raw(response.encode(keep_alive=keep_alive, head_only=head.method == "HEAD"))
        self._answered = True
        self._enter(Phase.WRITING)
        await self._drained.wait()
        self._enter(Phase.WORKING)
        if not await body.discard(limits.drain_bytes):
            if not whole:
                await self._linger()
            return False
        self._enter(Phase.BETWEEN)
        self.last_octet = self._loop.time()
        return keep_alive

    async def _linger(self) -> None:
        """Read on and drop what comes, until the peer has closed or fallen silent.

        Closing with octets unread would reset the connection, and a peer that reads no answer before it has
        sent everything would never see ours (trap 17).
        """
        dropped = 0
        with contextlib.suppress(ConnectionLost):
            while dropped <= self.host.limits.drain_bytes:
                dropped += self.window.end
                self.window.clear()
                await self.more(Phase.CLOSING)

    async def _read_head(self) -> RequestHead | None:
        """Return the next head; None when the peer closed between requests."""
        window = self.window
        begun = False
        while True:
            # Empty lines before a request line are skipped (RFC 9112, 2.2); its time runs all the same.
            begun = begun or window.end > window.raw
            while window.end - window.raw >= 2 and window.buffer[window.raw : window.raw + 2] == b"\r\n":
                window.skip_raw(2)
            at = window.buffer.find(b"\r\n\r\n", window.raw, window.end)
            pending = window.end - window.raw
            if at + 4 - window.raw > MAX_HEAD_BYTES or (at < 0 and pending >= MAX_HEAD_BYTES):
                raise HttpRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head too long")
            if at >= 0:
                data = window.take_raw(at + 4 - window.raw)
                return parse_head(data, max_body_bytes=self.host.limits.max_body_bytes)
            try:
                await self.more(Phase.HEAD if begun else Phase.BETWEEN)
            except ConnectionLost:
                if not pending:
                    return None
                raise


def _peer_of(transport: asyncio.Transport) -> Peer:
    name = transport.get_extra_info("peername")
    address, port = (str(name[0]), int(name[1])) if isinstance(name, tuple) else ("local", 0)
    tls: ssl.SSLObject | JudgedSession | None = transport.get_extra_info("ssl_object")
    if isinstance(tls, JudgedSession):
        shown = tls.shown
        return Peer(address, port, True, shown.certificate, shown.chain, shown.refused)
    # The standard library's sessions ask for no certificate.
    return Peer(address, port, tls=tls is not None)
