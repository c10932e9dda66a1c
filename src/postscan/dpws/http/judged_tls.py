"""TLS that takes whatever certificate a client shows and judges it afterwards.

The standard library drops the connection of a client whose certificate is unfit, in the handshake, without a
word that a person could read. Here the handshake ends well for whoever proves to have the certificate's key,
and what was wrong with the certificate is known: a service can say so. asyncio and uvloop drive a TLS session
through ``ssl.SSLContext.wrap_bio`` and the few methods of ``ssl.SSLObject`` that they call, so a context that
returns a session of pyOpenSSL's there serves both.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from OpenSSL import SSL, crypto

from postscan.dpws.http.certificates import CertificateFlaw, RefusedCertificate
from postscan.dpws.http.judgement import flaw_of, further_flaw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

_T = TypeVar("_T")
# A record holds at most so much plain text (RFC 8446, 5.1), and one read returns at most one record.
_RECORD: Final = 16_384
# Octets taken from the event loop's buffer at once: bounds what lies here while the reader pauses.
_FEED: Final = 65_536
_MAX_NOTED: Final = 16


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """What a client showed, if anything: certificate and verified chain (DER), or why it is refused."""

    certificate: bytes | None = None
    chain: tuple[bytes, ...] = ()
    refused: RefusedCertificate | None = None


@dataclass(slots=True)
class _Noted:
    """What OpenSSL said while it verified one client's certificate."""

    flaws: list[CertificateFlaw] = field(default_factory=list)
    has_verified_leaf: bool = False


def judge_later(
    connection: SSL.Connection, _certificate: crypto.X509, code: int, depth: int, is_right: int
) -> bool:
    """Note what OpenSSL found and let the handshake go on, whatever it is; a callback for ``set_verify``."""
    noted = connection.get_app_data()
    if is_right:
        noted.has_verified_leaf = noted.has_verified_leaf or depth == 0
    else:
        if len(noted.flaws) < _MAX_NOTED:
            noted.flaws.append(flaw_of(code, depth))
        _forget_errors()
    return True


def _forget_errors() -> None:
    """Empty the thread's queue of OpenSSL's errors, to which a failed verification adds.

    Up to OpenSSL 3 the next operation of any connection takes what it finds there for its own failure.
    pyOpenSSL has no function for it, but takes all that is there into an exception.
    """
    with suppress(crypto.Error):
        crypto.load_certificate(crypto.FILETYPE_ASN1, b"")


class JudgingContext(ssl.SSLContext):
    """A server's context whose sessions are pyOpenSSL's, made by ``inner``.

    ``inner`` must verify peers with :func:`judge_later` and must not resume sessions: a resumed one would be
    verified by nobody.
    """

    def __new__(cls, inner: SSL.Context) -> Self:
        """Make what the event loops take for a context; of its own settings none matters."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, inner: SSL.Context) -> None:
        self._inner = inner

    def wrap_bio(  # type: ignore[override]  # what asyncio and uvloop use of an SSLObject, and no more
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> JudgedSession:
        """Return a session of a server that reads from ``incoming`` and writes to ``outgoing``."""
        if not server_side or session is not None:
            raise ValueError("this context is a server's, and resumes nothing")
        return JudgedSession(SSL.Connection(self._inner), incoming, outgoing, self)


class JudgedSession:
    """One TLS session of a server; ``shown`` tells of the client's certificate once the handshake is done.

    Methods behave, and raise ssl.SSLError and its kinds, as those of ssl.SSLObject.
    """

    def __init__(
        self,
        connection: SSL.Connection,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        context: ssl.SSLContext,
    ) -> None:
        self.context = context
        self.shown = ShownCertificate()
        self._connection = connection
        self._incoming = incoming
        self._outgoing = outgoing
        self._noted = _Noted()
        # Whether a read might give something although nothing is in ``incoming``.
        self._may_hold_more = False
        connection.set_app_data(self._noted)
        connection.set_accept_state()

    def do_handshake(self) -> None:
        """Go on with the handshake as far as the octets that came allow."""
        with self._in_words_of_ssl():
            self._going_on(self._connection.do_handshake)
        self.shown = self._judge()

    def read(self, size: int = _RECORD, buffer: Buffer | None = None) -> bytes | int:
        """Return at most ``size`` octets, or how many were put into ``buffer``; none: the peer has closed."""
        if buffer is None:
            into = bytearray(min(size, _FEED))
            return bytes(memoryview(into)[: self._read_into(memoryview(into))])
        return self._read_into(memoryview(buffer)[:size])

    def _read_into(self, room: memoryview) -> int:
        filled = 0
        with self._in_words_of_ssl():
            while filled < len(room):
                try:
                    filled += self._connection.recv_into(room[filled:], _RECORD)
                except SSL.WantReadError:
                    if self._feed():
                        continue
                    if not filled:
                        raise
                    break
                except SSL.ZeroReturnError:
                    # The next read says so, for this one has something.
                    self._may_hold_more = filled > 0
                    break
        return filled

    def write(self, data: Buffer) -> int:
        """Encrypt ``data``, all of it; return how many octets that was."""
        whole = memoryview(data)
        if not len(whole):
            return 0
        with self._in_words_of_ssl():
            self._connection.sendall(whole)
        return len(whole)

    def unwrap(self) -> None:
        """Say that no more will come; raises SSLWantReadError until the peer has said so, too."""
        with self._in_words_of_ssl():
            # The first call says it; the second looks whether the peer has.
            if not self._connection.shutdown() and not self._going_on(self._connection.shutdown):
                raise SSL.WantReadError

    def pending(self) -> int:
        """Return how many octets can be read at once; at least 1 when that may be so."""
        return self._connection.pending() or int(self._may_hold_more)

    def getpeercert(self, binary_form: bool = False) -> dict[str, Any] | bytes | None:
        """Return the certificate (DER) when it is trusted; without ``binary_form``, nothing of it."""
        return self.shown.certificate if binary_form else {}

    def cipher(self) -> tuple[str, str, int] | None:
        """Return name, protocol and secret bits of the cipher."""
        name = self._connection.get_cipher_name()
        if name is None:
            return None
        bits = self._connection.get_cipher_bits() or 0
        return name, self._connection.get_cipher_version() or "", bits

    def version(self) -> str:
        """Return the protocol's version, as in TLSv1.3."""
        return self._connection.get_protocol_version_name()

    def compression(self) -> None:
        """Nothing is ever compressed."""

    def _going_on(self, step: Callable[[], _T]) -> _T:
        """Take a step, with further octets of the peer as long as it wants them and there are some."""
        while True:
            try:
                return step()
            except SSL.WantReadError:
                if not self._feed():
                    raise

    def _feed(self) -> bool:
        """Take in some of what the peer sent; return False when there is nothing."""
        octets = self._incoming.read(_FEED)
        self._may_hold_more = bool(octets)
        if octets:
            self._connection.bio_write(octets)
        return self._may_hold_more

    def _flush(self) -> None:
        while True:
            try:
                self._outgoing.write(self._connection.bio_read(_FEED))
            except SSL.WantReadError:
                return

    @contextmanager
    def _in_words_of_ssl(self) -> Iterator[None]:
        """Hand over what is to be sent, whatever comes; tell failures as the standard library does."""
        try:
            yield
        except SSL.WantReadError:
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "more octets are needed") from None
        except SSL.ZeroReturnError:
            raise ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, "the peer has closed") from None
        except SSL.SysCallError:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer broke off") from None
        except SSL.Error as error:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, _reasons(error)) from None
        finally:
            self._flush()

    def _judge(self) -> ShownCertificate:
        shown = self._connection.get_peer_certificate()
        if shown is None:
            return ShownCertificate()
        der = _der(shown)
        chain = tuple(_der(certificate) for certificate in self._connection.get_verified_chain() or ())
        flaws = list(self._noted.flaws)
        further = further_flaw(der, chain)
        if further is not None:
            flaws.append(further)
        if not flaws and not (self._noted.has_verified_leaf and chain):
            flaws.append(CertificateFlaw.BROKEN)  # Nobody objected because nobody looked.
        if flaws:
            return ShownCertificate(refused=RefusedCertificate(der, tuple(dict.fromkeys(flaws))))
        return ShownCertificate(der, chain)


def _der(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


def _reasons(error: SSL.Error) -> str:
    """Return OpenSSL's own words: ``error`` holds triples of library, function and reason."""
    found = error.args[0] if error.args else ()
    return "; ".join(str(entry[-1]) for entry in found) or "TLS failed"
