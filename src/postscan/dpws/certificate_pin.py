"""A server held to the one certificate whose hash is known, beyond what its authority says of it."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from dataclasses import dataclass
from typing import ClassVar


class PinMismatch(ssl.SSLCertVerificationError):
    """The server shows a certificate other than the one whose hash is known."""


@dataclass(frozen=True, slots=True)
class CertificatePin:
    """The digest of a certificate (its DER form), and the algorithm as :mod:`hashlib` names it.

    :raises ValueError: the algorithm is not known, or the digest is not as long as one of it.
    """

    digest: bytes
    algorithm: str = "sha256"

    def __post_init__(self) -> None:
        if len(self.digest) != hashlib.new(self.algorithm, usedforsecurity=False).digest_size:
            raise ValueError(f"{len(self.digest)} octets are no {self.algorithm} digest")

    def fits(self, certificate: bytes) -> bool:
        """Tell whether this is the digest of ``certificate`` (DER)."""
        actual = hashlib.new(self.algorithm, certificate, usedforsecurity=False).digest()
        return hmac.compare_digest(actual, self.digest)


def require_pin(context: ssl.SSLContext, pin: CertificatePin) -> None:
    """Let connections of ``context`` come about only with the server whose certificate has this digest.

    Path and name are checked as before. It is compared at the end of each handshake, before anything is sent:
    neither a request nor, with TLS 1.3, the client's own certificate.
    """
    context.sslobject_class = type("PinnedSession", (_PinnedSession,), {"pin": pin})


class _PinnedSession(ssl.SSLObject):
    pin: ClassVar[CertificatePin]

    def do_handshake(self) -> None:
        super().do_handshake()
        shown = self.getpeercert(binary_form=True)
        if shown is None or not self.pin.fits(shown):
            raise PinMismatch(ssl.SSL_ERROR_SSL, "the server's certificate is not the one that was pinned")
