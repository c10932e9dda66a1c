"""The connection to one file server, made safe to wait for, and strict about what protects it.

smbprotocol leaves some things to be wished for by a server that runs for months: it waits without end for an
answer, and takes an answer that lacks the signature that was agreed on. Both are mended here, in the open, by
the methods that it has for that; and sending and receiving are done so that any thread can end them.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import struct
import threading
import time
import uuid
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from smbprotocol.connection import Connection
from smbprotocol.exceptions import SMBConnectionClosed, SMBException
from smbprotocol.header import Commands, NtStatus, Smb2Flags

if TYPE_CHECKING:
    from smbprotocol.connection import Request
    from smbprotocol.header import SMB2HeaderResponse
    from smbprotocol.structure import Structure

# What it has to say is said by our errors; at DEBUG it would write documents and tokens.
logging.getLogger("smbprotocol").setLevel(logging.CRITICAL + 1)
# On its DEBUG level it writes every token, from which an NTLM password can be guessed.
logging.getLogger("spnego").setLevel(logging.INFO)

# What the library raises, besides its own, for octets that are no answer.
MALFORMED: Final = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    InvalidTag,
)
_UNSOLICITED: Final = 0xFFFFFFFFFFFFFFFF
# [MS-SMB2] 2.1: a zero octet, then the length in three.
_HEAD: Final = struct.Struct(">I")
_LONGEST: Final = 0xFFFFFF


class Unprotected(SMBException):  # type: ignore[misc] # the library has no types
    """An answer came without the signature or encryption that was agreed on."""


class BoundedTcp:
    """Direct TCP ([MS-SMB2] 2.1) in place of the library's: nothing takes for ever, any thread may end it.

    :param timeout: seconds for connecting.
    :param answer_seconds: how long sending may make no progress.
    """

    def __init__(self, server: str, port: int, timeout: float, answer_seconds: int) -> None:
        self.server = server
        self.port = port
        self.connected = False
        self._timeout = timeout
        self._answer_seconds = answer_seconds
        self._socket: socket.socket | None = None
        self._sending = threading.Lock()
        self._ended = False

    def connect(self) -> None:
        """Connect; raises OSError."""
        made = socket.create_connection((self.server, self.port), timeout=self._timeout)
        made.settimeout(None)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # As the socket blocks, the kernel has to say when sending does not get on.
        patience = struct.pack("ll", self._answer_seconds, 0)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        self._socket = made
        self.connected = not self._ended
        if self._ended:
            made.close()

    def close(self) -> None:
        """End the connection; whoever waits for it goes on at once. ``release`` frees the descriptor."""
        self._ended = True
        self.connected = False
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Free the descriptor, once no thread uses it any more."""
        self.close()
        if self._socket is not None:
            self._socket.close()

    def send(self, message: bytes | Structure) -> None:
        """Send one message.

        :raises SMBConnectionClosed: the connection was ended, or the server takes nothing any more.
        """
        octets = message if isinstance(message, bytes) else message.pack()
        if len(octets) > _LONGEST:
            raise SMBException(f"a message of {len(octets)} octets is too long")
        if self._socket is None:
            raise SMBConnectionClosed("not connected")
        try:
            with self._sending:
                self._socket.sendall(_HEAD.pack(len(octets)), socket.MSG_MORE)
                self._socket.sendall(octets)
        except BlockingIOError as error:
            self.close()
            raise SMBConnectionClosed(
                f"the server took nothing for {self._answer_seconds} seconds"
            ) from error
        except OSError as error:
            self.close()
            raise SMBConnectionClosed(f"sending failed: {error.strerror}") from error

    def recv(self, timeout: float) -> bytes:
        """Return the next message, empty when the connection is over.

        :raises TimeoutError: nothing came for ``timeout`` seconds.
        """
        head = self._receive(_HEAD.size, timeout)
        if not head:
            return b""
        length: int = _HEAD.unpack(head)[0]
        if length > _LONGEST:
            raise SMBException("what came is no message of SMB")
        return self._receive(length, timeout)

    def _receive(self, length: int, timeout: float) -> bytes:
        link = self._socket
        if link is None:
            return b""
        poll = select.poll()
        poll.register(link, select.POLLIN)
        octets = bytearray(length)
        rest = memoryview(octets)
        while rest:
            if not self.connected:
                return b""
            if not poll.poll(timeout * 1000):
                raise TimeoutError("nothing came")
            try:
                got = link.recv_into(rest)
            except OSError:
                got = 0
            if not got:
                self.close()
                return b""
            rest = rest[got:]
        return bytes(octets)


class SafeConnection(Connection):  # type: ignore[misc] # the library has no types
    """A connection that signs all it sends, takes nothing unsigned, and waits for nothing without end.

    :param host: what to connect to.
    :param connect_seconds: how long connecting and the first answer may take.
    :param answer_seconds: how long any other answer may take.
    """

    def __init__(self, host: str, port: int, connect_seconds: int, answer_seconds: int) -> None:
        # For whoever sends much at once, so that there is always something left to send little with.
        self.turn = threading.Lock()
        self._tcp: BoundedTcp | None = None
        self._connect_seconds = connect_seconds
        self._answer_seconds = answer_seconds
        self._ended = False
        super().__init__(uuid.uuid4(), host, port, require_signing=True)

    @property
    def transport(self) -> BoundedTcp | None:
        """What the library sends by."""
        return self._tcp

    @transport.setter
    def transport(self, made: object) -> None:
        # The library makes one of its own; it is not connected yet.
        if made is not None:
            self._tcp = BoundedTcp(self.server_name, self.port, self._connect_seconds, self._answer_seconds)
            if self._ended:
                self._tcp.close()

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._tcp is not None and self._tcp.connected

    def open(self) -> None:
        """Connect and negotiate; raises OSError, SMBException or what MALFORMED lists."""
        self.connect(timeout=self._connect_seconds)

    def abort(self) -> None:
        """End the connection at once, from any thread: whoever waits for an answer gets an error."""
        self._ended = True
        if self._tcp is not None:
            self._tcp.close()

    def close(self) -> None:
        """End the connection and free what it holds; the server closes whatever was left open."""
        self.abort()
        if self._t_worker is not None:
            self._t_worker.join(self._answer_seconds)
        if self._tcp is not None:
            self._tcp.release()

    @property
    def credits(self) -> int:
        """How many units of 64 KiB the server lets us send at once now ([MS-SMB2] 3.2.4.1.5)."""
        window = self.sequence_window
        return int(window["high"] - window["low"])

    def receive(
        self,
        request: Request,
        wait: bool = True,
        timeout: float | None = None,
        resolve_symlinks: bool = False,
    ) -> SMB2HeaderResponse:
        """Wait for an answer, but not for ever; a symbolic link is never followed for the server.

        A server that says again and again that it is still at it (STATUS_PENDING) gets no more time by that.
        """
        del resolve_symlinks
        end = time.monotonic() + (timeout or self._answer_seconds)
        while request.response_event.wait(max(end - time.monotonic(), 0.0)):
            with request.response_event_lock:
                answer = request.response
                if not wait or answer is None or answer["status"].get_value() != NtStatus.STATUS_PENDING:
                    break
                if self.is_open:
                    request.response_event.clear()
                    continue
            break
        else:
            raise SMBException(f"timeout: no answer within {timeout or self._answer_seconds} seconds")
        # What the library waits for is there, or will never be.
        return super().receive(request, wait, 1.0, False)

    def verify_signature(self, header: SMB2HeaderResponse, session_id: int, force: bool = False) -> None:
        """Refuse an answer that does not prove to be the server's ([MS-SMB2] 3.2.5.1.3).

        The library verifies a signature where there is one. Who sits on the line could leave it out, or say
        that it answers a request to log on, which needs none.
        """
        request = self.outstanding_requests.get(header["message_id"].get_value())
        if request is not None and (header["command"].get_value() != request.message["command"].get_value()):
            raise Unprotected("an answer came to something that was not asked")
        session = self.session_table.get(session_id)
        exempt = (
            header["message_id"].get_value() == _UNSOLICITED
            or header["status"].get_value() == NtStatus.STATUS_PENDING
            or header["command"].get_value() == Commands.SMB2_SESSION_SETUP
        )
        if session is not None and not exempt and not force:
            if session.encrypt_data:
                raise Unprotected("an answer came in clear text, and encryption was agreed on")
            if not header["flags"].has_flag(Smb2Flags.SMB2_FLAGS_SIGNED):
                raise Unprotected("an answer came without signature")
        super().verify_signature(header, session_id, force)
