"""A domain controller's LDAP service as far as failures need it: a few objects, and ways to misbehave.

What it does well, answering from its state, is checked against a real one elsewhere; here it is the
counterpart that dies, is silent or talks nonsense at the moment a test says.

    state = ControllerState()
    state.behaviour[Operation.SEARCH] = Behaviour.SILENT
    async with controller(state) as port:
        ...
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto

from sansldap.asn1 import ASN1Reader, ASN1Tag, ASN1Writer, TagClass


class Operation(IntEnum):
    """What is asked (the application tags of RFC 4511)."""

    BIND = 0
    UNBIND = 2
    SEARCH = 3
    MODIFY = 6
    ADD = 8
    DELETE = 10
    EXTENDED = 23


_ANSWER = {
    Operation.BIND: 1,
    Operation.SEARCH: 5,
    Operation.MODIFY: 7,
    Operation.ADD: 9,
    Operation.DELETE: 11,
    Operation.EXTENDED: 24,
}


class Behaviour(Enum):
    """What happens when an operation is asked for."""

    ANSWER = auto()
    SILENT = auto()
    HANG_UP = auto()
    """The connection ends before the answer."""
    HANG_UP_HALF_WAY = auto()
    """It ends within the answer."""
    GARBAGE = auto()
    DISCONNECT = auto()
    """A notice of disconnection comes instead of an answer."""
    BUSY = auto()
    REFUSE_CREDENTIALS = auto()
    ANSWER_ANOTHER = auto()
    """The answer is to something that was not asked."""
    REFER = auto()
    """The search finds one object and a reference to elsewhere."""


@dataclass
class ControllerState:
    """What a controller holds, how it behaves, and what it was asked."""

    objects: dict[str, dict[str, list[bytes]]] = field(default_factory=lambda: {"CN=a": {"cn": [b"a"]}})
    behaviour: dict[Operation, Behaviour] = field(default_factory=dict)
    connections: int = 0
    asked: list[Operation] = field(default_factory=list)
    after_tls_answer: bytes = b""
    """Sent in clear behind the answer to StartTLS, as somebody in between might."""


@asynccontextmanager
async def controller(
    state: ControllerState, *, tls: ssl.SSLContext | None = None, start_tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve until the block ends, at a port of 127.0.0.1."""
    service = _Service(state, start_tls)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        service.stop()
        await server.wait_closed()


class _Service:
    def __init__(self, state: ControllerState, start_tls: ssl.SSLContext | None) -> None:
        self._state = state
        self._start_tls = start_tls
        self._writers: set[asyncio.StreamWriter] = set()

    def stop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._state.connections += 1
        self._writers.add(writer)
        try:
            while message := await _message(reader):
                if not await self._answer(message, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away, which is its right
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, octets: bytes, writer: asyncio.StreamWriter) -> bool:
        """Do as told; returns whether the connection goes on."""
        message = ASN1Reader(octets).read_sequence()
        number = message.read_integer()
        operation = Operation(int(message.peek_header().tag.tag_number))
        self._state.asked.append(operation)
        behaviour = self._state.behaviour.get(operation, Behaviour.ANSWER)
        if operation is Operation.UNBIND or behaviour is Behaviour.HANG_UP:
            return False
        if behaviour is Behaviour.SILENT:
            return True
        answer = self._octets(number, operation, behaviour)
        if behaviour is Behaviour.HANG_UP_HALF_WAY:
            answer = answer[: len(answer) // 2]
        if operation is Operation.EXTENDED:
            answer += self._state.after_tls_answer
        writer.write(answer)
        await writer.drain()
        if operation is Operation.EXTENDED and self._start_tls is not None:
            await writer.start_tls(self._start_tls)
        return behaviour is not Behaviour.HANG_UP_HALF_WAY

    def _octets(self, number: int, operation: Operation, behaviour: Behaviour) -> bytes:
        kind = _ANSWER[operation]
        match behaviour:
            case Behaviour.GARBAGE:
                return b"HTTP/1.1 400 Bad Request\r\n\r\n"
            case Behaviour.DISCONNECT:
                return _result(0, 24, 52, "shutting down", name=b"1.3.6.1.4.1.1466.20036")
            case Behaviour.BUSY:
                return _result(number, kind, 51, "try later")
            case Behaviour.REFUSE_CREDENTIALS:
                return _result(number, kind, 49, "80090308: LdapErr: ..., data 52e, v1db1")
            case Behaviour.ANSWER_ANOTHER:
                return _result(number + 1000, kind, 0)
        found = b""
        if operation is Operation.SEARCH:
            found = b"".join(_entry(number, dn, held) for dn, held in self._state.objects.items())
        if behaviour is Behaviour.REFER:
            found += _reference(number, b"ldap://elsewhere.test/DC=elsewhere,DC=test")
        refuses_tls = operation is Operation.EXTENDED and self._start_tls is None
        return found + _result(number, kind, 52 if refuses_tls else 0)


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.read(2)
    if len(head) < 2:
        return b""
    if head[1] & 0x80:
        head += await reader.readexactly(head[1] & 0x7F)
        length = int.from_bytes(head[2:], "big")
    else:
        length = head[1]
    return head + await reader.readexactly(length)


def _result(number: int, kind: int, code: int, words: str = "", *, name: bytes | None = None) -> bytes:
    writer = ASN1Writer()
    with writer.push_sequence() as message:
        message.write_integer(number)
        with message.push_sequence(ASN1Tag(TagClass.APPLICATION, kind, True)) as body:
            body.write_enumerated(code)
            body.write_octet_string(b"")
            body.write_octet_string(words.encode())
            if name is not None:
                body.write_octet_string(name, ASN1Tag(TagClass.CONTEXT_SPECIFIC, 10, False))
    return bytes(writer.get_data())


def _entry(number: int, dn: str, attributes: dict[str, list[bytes]]) -> bytes:
    writer = ASN1Writer()
    with writer.push_sequence() as message:
        message.write_integer(number)
        with message.push_sequence(ASN1Tag(TagClass.APPLICATION, 4, True)) as body:
            body.write_octet_string(dn.encode())
            with body.push_sequence() as listed:
                for name, values in attributes.items():
                    with listed.push_sequence() as one:
                        one.write_octet_string(name.encode())
                        with one.push_set() as held:
                            for value in values:
                                held.write_octet_string(value)
    return bytes(writer.get_data())


def _reference(number: int, uri: bytes) -> bytes:
    writer = ASN1Writer()
    with writer.push_sequence() as message:
        message.write_integer(number)
        with message.push_sequence(ASN1Tag(TagClass.APPLICATION, 19, True)) as body:
            body.write_octet_string(uri)
    return bytes(writer.get_data())
