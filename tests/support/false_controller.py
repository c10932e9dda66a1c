"""Something that poses as a domain controller to get a password: it records every octet that it is sent.

It runs in threads of its own, so that it serves commands as well as servers in the test's own event loop.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Final

from sansldap.asn1 import ASN1Reader, ASN1Tag, ASN1Writer, TagClass

from testdomain.facts import CONTROLLER

_SECONDS: Final = 30
_BIND, _UNBIND, _SEARCH, _EXTENDED = 0, 2, 3, 23
_ANSWER: Final = {_BIND: 1, _SEARCH: 5, _EXTENDED: 24}
_SUCCESS, _PROTOCOL_ERROR, _REFERRAL, _SASL_GOES_ON = 0, 2, 10, 14
_NTLM: Final = b"NTLMSSP\0"


class Manner(Enum):
    """How it goes about it."""

    SILENT = auto()
    HANGS_UP = auto()
    AGREES = auto()
    """To everything, StartTLS included, and goes on in clear."""
    NO_START_TLS = auto()
    """Says that it knows no StartTLS, as if that had been taken out on the way."""
    REFERS = auto()
    """Sends whoever binds to another place: to itself, without protection."""
    WEAK_NTLM = auto()
    """Negotiates NTLM without signing and sealing."""


@dataclass
class FalseController:
    """What it was sent; ``heard`` is all of it, inside of TLS where it could begin TLS."""

    manner: Manner
    tls: ssl.SSLContext | None = None
    start_tls: ssl.SSLContext | None = None
    port: int = 0
    connections: int = 0
    heard: bytearray = field(default_factory=bytearray)
    asked: list[int] = field(default_factory=list)
    """What was asked, by the application tags of RFC 4511."""

    @property
    def controller(self) -> str:
        """What [directory] controllers names."""
        return f"{CONTROLLER}:{self.port}"

    def holds(self, secret: str) -> list[bytes]:
        """Return the shapes in which a secret was heard."""
        return [shape for shape in shapes(secret) if shape in self.heard]

    def serve(self, connection: socket.socket) -> None:
        """Serve one connection until it ends."""
        self.connections += 1
        connection.settimeout(_SECONDS)
        with contextlib.suppress(OSError, ValueError, IndexError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self.tls is not None:
                connection = stack.enter_context(self.tls.wrap_socket(connection, server_side=True))
            if self.manner is Manner.HANGS_UP:
                return
            while octets := connection.recv(65_536):
                self.heard += octets
                if self.manner is Manner.SILENT:
                    continue
                answer, upgrade = self._answer(octets)
                connection.sendall(answer)
                if upgrade and self.start_tls is not None:
                    connection = stack.enter_context(self.start_tls.wrap_socket(connection, server_side=True))

    def _answer(self, octets: bytes) -> tuple[bytes, bool]:
        message = ASN1Reader(octets).read_sequence()
        number = message.read_integer()
        operation = int(message.peek_header().tag.tag_number)
        self.asked.append(operation)
        if operation == _UNBIND:
            return b"", False
        if operation == _EXTENDED:
            refuses = self.manner is Manner.NO_START_TLS
            return _result(number, operation, _PROTOCOL_ERROR if refuses else _SUCCESS), not refuses
        if operation == _BIND and self.manner is Manner.REFERS:
            referral = f"ldap://{self.controller}/DC=dsm,DC=test".encode()
            return _result(number, operation, _REFERRAL, referral=referral), False
        if operation == _BIND and self.manner is Manner.WEAK_NTLM and _NTLM + b"\1" in octets:
            return _result(number, operation, _SASL_GOES_ON, token=_weak_challenge()), False
        return _result(number, operation, _SUCCESS), False


@contextmanager
def false_controller(
    address: str,
    manner: Manner,
    *,
    tls: ssl.SSLContext | None = None,
    start_tls: ssl.SSLContext | None = None,
) -> Iterator[FalseController]:
    """Listen at a free port of ``address`` while the block runs."""
    made = FalseController(manner, tls, start_tls)
    listener = socket.create_server((address, 0))
    made.port = int(listener.getsockname()[1])
    threads: list[threading.Thread] = []
    open_connections: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_connections.append(connection)
            _start(threads, partial(made.serve, connection))

    _start(threads, accept)
    try:
        yield made
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_SECONDS)


def shapes(secret: str) -> list[bytes]:
    """Return a secret as it may stand in what is sent."""
    octets, wide = secret.encode(), secret.encode("utf-16-le")
    return [octets, wide, base64.b64encode(octets), octets.hex().encode(), octets[::-1]]


def _start(threads: list[threading.Thread], run: Callable[[], None]) -> None:
    thread = threading.Thread(target=run, daemon=True)
    threads.append(thread)
    thread.start()


def _result(
    number: int, operation: int, code: int, *, token: bytes | None = None, referral: bytes | None = None
) -> bytes:
    writer = ASN1Writer()
    with writer.push_sequence() as message:
        message.write_integer(number)
        kind = ASN1Tag(TagClass.APPLICATION, _ANSWER[operation], True)
        with message.push_sequence(kind) as body:
            body.write_enumerated(code)
            body.write_octet_string(b"")
            body.write_octet_string(b"")
            if referral is not None:
                with body.push_sequence(ASN1Tag(TagClass.CONTEXT_SPECIFIC, 3, True)) as listed:
                    listed.write_octet_string(referral)
            if token is not None:
                body.write_octet_string(token, ASN1Tag(TagClass.CONTEXT_SPECIFIC, 7, False))
    return bytes(writer.get_data())


def _weak_challenge() -> bytes:
    """Return an NTLM challenge that offers neither signing nor sealing ([MS-NLMP] 2.2.1.2)."""
    target = "DSM".encode("utf-16-le")
    pairs = ((2, target), (7, bytes(8)), (0, b""))
    names = b"".join(
        kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value for kind, value in pairs
    )
    # As a server would offer, without NTLMSSP_NEGOTIATE_SIGN (0x10), SEAL (0x20) and ALWAYS_SIGN (0x8000).
    flags = (0xE2898235 & ~0x8030).to_bytes(4, "little")
    head = 56
    fields = [
        len(value).to_bytes(2, "little") * 2 + place.to_bytes(4, "little")
        for value, place in ((target, head), (names, head + len(target)))
    ]
    return (
        _NTLM
        + b"\2\0\0\0"
        + fields[0]
        + flags
        + b"challeng"
        + bytes(8)
        + fields[1]
        + bytes(8)
        + target
        + names
    )
