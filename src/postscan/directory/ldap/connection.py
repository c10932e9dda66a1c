"""One connection to a controller: TLS, requests by message id, sealed buffers, a deadline on every wait."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from postscan.directory.ldap import codec
from postscan.directory.ldap.answers import (
    LARGEST_MESSAGE,
    Frames,
    MalformedMessage,
    Message,
    Result,
    decode,
)
from postscan.directory.ldap.model import DirectoryAway, DirectoryUntrusted, Entry
from postscan.directory.ldap.results import SUCCESS, failure
from postscan.directory.model import DirectoryError

# RFC 4422, 3.7: each sealed buffer follows its length.
_LENGTH_OCTETS: Final = 4
_LARGEST_SEALED: Final = LARGEST_MESSAGE + 64 * 1024
_LARGEST_ANSWER: Final = 256 * 1024 * 1024
_GOODBYE_SECONDS: Final = 1.0


class Seal(Protocol):
    """What protects a connection that has no TLS."""

    def wrap(self, octets: bytes) -> bytes:
        """Seal what is to be sent."""

    def unwrap(self, octets: bytes) -> bytes:
        """Open what came."""


@dataclass(frozen=True, slots=True)
class Answer:
    """All that answers one request: the entries it found, and how it ended."""

    entries: list[Entry]
    end: Message
    result: Result


@dataclass(slots=True)
class _Waiting:
    done: asyncio.Future[Message]
    entries: list[Entry] = field(default_factory=list)
    octets: int = 0


class Connection(asyncio.Protocol):
    """A connection that :meth:`open` made; several requests may be under way at once.

    When anything goes wrong with it, every request under way ends with the reason, and so does each later
    one: a connection is never mended.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._transport: asyncio.Transport | None = None
        self._frames = Frames()
        self._sealed = bytearray()
        self._seal: Seal | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._last_id = 0
        self._why_ended: DirectoryError | None = None
        self.mechanism = "simple"
        self._lost = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(
        cls, host: str, port: int, *, address: str | None, tls: ssl.SSLContext | None, seconds: float
    ) -> Connection:
        """Connect, and shake hands where ``tls`` is given; all of it within ``seconds``.

        :param host: the controller's name; its certificate must be for it.
        :param address: where to connect, if the name was looked up already.
        :raises DirectoryAway: nothing answers there, or not in time.
        :raises DirectoryUntrusted: its certificate is not trusted, or TLS cannot be agreed.
        """
        loop = asyncio.get_running_loop()
        connection = cls(host, port)
        try:
            async with asyncio.timeout(seconds):
                await loop.create_connection(
                    lambda: connection, address or host, port, ssl=tls, server_hostname=host if tls else None
                )
        except (OSError, TimeoutError) as error:
            raise _not_connected(f"{host}:{port}", error, seconds) from error
        return connection

    @property
    def name(self) -> str:
        """Host and port, for messages."""
        return f"{self.host}:{self.port}"

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self._why_ended is None and self._transport is not None and not self._transport.is_closing()

    @property
    def sealed(self) -> bool:
        """Whether what is sent and received is signed and sealed by the logon's mechanism."""
        return self._seal is not None

    @property
    def tls_version(self) -> str | None:
        """The version of TLS, as ``TLSv1.3``; None without TLS."""
        found = self._transport.get_extra_info("ssl_object") if self._transport else None
        return None if found is None else found.version()

    @property
    def certificate(self) -> bytes | None:
        """The controller's certificate as DER; None without TLS."""
        found = self._transport.get_extra_info("ssl_object") if self._transport else None
        return None if found is None else found.getpeercert(binary_form=True)

    async def start_tls(self, tls: ssl.SSLContext, *, connect_seconds: float, answer_seconds: float) -> None:
        """Put TLS under the connection (RFC 4511, 4.14); before it, nothing secret may be sent.

        :raises DirectoryUntrusted: the controller refuses, or its certificate is not trusted.
        """
        answer = await self.ask(lambda number: codec.extended(number, codec.START_TLS), answer_seconds)
        if answer.result.code != SUCCESS:
            error = DirectoryUntrusted(
                f"{self.name} does not start TLS: {failure('StartTLS', answer.result)}",
                advice="Give the controllers a certificate, or use the sealed transport.",
            )
            self.abort(error)
            raise error
        if self._frames or self._transport is None:
            # Somebody between us and the controller might have put it there, to be taken for its words.
            error = DirectoryUntrusted(f"{self.name} goes on in clear after it agreed to start TLS")
            self.abort(error)
            raise error
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(connect_seconds):
                upgraded = await loop.start_tls(self._transport, self, tls, server_hostname=self.host)
        except (OSError, TimeoutError) as error:
            raise self.abort(_not_connected(self.name, error, connect_seconds)) from error
        if upgraded is None:
            raise self.abort(DirectoryAway(f"{self.name} closed the connection while TLS started"))
        self._transport = upgraded

    def start_sealing(self, seal: Seal) -> None:
        """Wrap everything from now on; called when the bind that agreed it has been answered."""
        if self._frames:
            raise self.abort(DirectoryUntrusted(f"{self.name} goes on in clear after it agreed to seal"))
        self._seal = seal

    async def ask(self, write: Callable[[int], bytes], seconds: float) -> Answer:
        """Send a request and wait for all of its answer, at most ``seconds``.

        :param write: is given the message id and returns the octets.
        :raises DirectoryAway: the connection ended or was silent too long; it cannot be used any more.
        """
        if self._why_ended is not None or self._transport is None:
            raise self._why_ended or DirectoryAway(f"{self.name} is not connected")
        self._last_id += 1
        number = self._last_id
        waiting = self._waiting[number] = _Waiting(asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(seconds):
                self._send(write(number))
                end = await waiting.done
        except TimeoutError as error:
            away = DirectoryAway(f"{self.name} did not answer within {seconds:g} s")
            raise self.abort(away) from error
        except DirectoryError as error:
            self.abort(error)
            raise
        finally:
            del self._waiting[number]
        if end.result is None:
            raise self.abort(MalformedMessage(f"{self.name} answered without a result"))
        return Answer(waiting.entries, end, end.result)

    async def close(self) -> None:
        """Say good-bye and let the connection go; waits a moment for it at most."""
        if self.usable and self._transport is not None:
            self._last_id += 1
            with contextlib.suppress(DirectoryError):  # it is going away, sealed or not
                self._send(codec.unbind(self._last_id))
            self._transport.close()
        self._end(DirectoryAway(f"the connection to {self.name} was closed"))
        await asyncio.wait([self._lost], timeout=_GOODBYE_SECONDS)
        if self._transport is not None:
            self._transport.abort()

    def abort(self, error: DirectoryError) -> DirectoryError:
        """Drop the connection for this reason, which is returned."""
        self._end(error)
        if self._transport is not None:
            self._transport.abort()
        return error

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Take what came, and drop the connection if it is not what it should be."""
        try:
            for frame in self._frames.feed(self._opened(data)):
                self._take(frame)
        except DirectoryError as error:
            self.abort(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """End every request under way."""
        half = " in the middle of an answer" if self._frames or self._sealed else ""
        self._end(DirectoryAway(f"{self.name} closed the connection{half}{f' ({exc})' if exc else ''}"))
        if not self._lost.done():
            self._lost.set_result(None)

    def _send(self, octets: bytes) -> None:
        assert self._transport is not None  # noqa: S101 - connected, or nobody asks
        if self._seal is not None:
            octets = self._seal.wrap(octets)
            octets = len(octets).to_bytes(_LENGTH_OCTETS, "big") + octets
        self._transport.write(octets)

    def _opened(self, data: bytes) -> bytes:
        """Return what came, opened as far as whole buffers are there."""
        if self._seal is None:
            return data
        self._sealed += data
        opened, start = [], 0
        while len(self._sealed) >= start + _LENGTH_OCTETS:
            length = int.from_bytes(self._sealed[start : start + _LENGTH_OCTETS], "big")
            if length > _LARGEST_SEALED:
                raise MalformedMessage(f"{self.name} sends a sealed buffer of {length} octets")
            end = start + _LENGTH_OCTETS + length
            if len(self._sealed) < end:
                break
            opened.append(self._seal.unwrap(bytes(self._sealed[start + _LENGTH_OCTETS : end])))
            start = end
        del self._sealed[:start]
        return b"".join(opened)

    def _take(self, frame: bytes) -> None:
        message = decode(frame)
        if message.message_id == 0:
            # RFC 4511, 4.4: unsolicited; the only one there is says that the connection ends.
            said = failure("notice of disconnection", message.result) if message.result else "no reason"
            raise DirectoryAway(f"{self.name} ends the connection: {said}")
        waiting = self._waiting.get(message.message_id)
        if waiting is None:
            if message.message_id > self._last_id:
                raise MalformedMessage(f"{self.name} answers what was not asked")
            return  # somebody stopped waiting for it
        waiting.octets += len(frame)
        if waiting.octets > _LARGEST_ANSWER:
            raise DirectoryAway(f"{self.name} answers with more than {_LARGEST_ANSWER} octets")
        if message.entry is not None:
            waiting.entries.append(message.entry)
        elif message.result is not None and not waiting.done.done():
            waiting.done.set_result(message)

    def _end(self, error: DirectoryError) -> None:
        if self._why_ended is not None:
            return
        self._why_ended = error
        for waiting in self._waiting.values():
            if not waiting.done.done():
                waiting.done.set_exception(error)


def _not_connected(name: str, error: OSError | TimeoutError, seconds: float) -> DirectoryError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return DirectoryUntrusted(f"{name}: its certificate is not trusted: {error.verify_message}")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return DirectoryUntrusted(f"{name}: TLS could not be agreed: {error.reason or error}")
    if isinstance(error, TimeoutError):
        return DirectoryAway(f"{name} cannot be reached within {seconds:g} s")
    why = error.strerror or str(error) or "the connection was closed while it was made"
    return DirectoryAway(f"{name} cannot be reached: {why}")
