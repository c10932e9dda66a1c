"""Why a client is not believed: fixed sentences that may leave the server, and what was shown instead.

The value of each member is the sentence that stands in the fault's Detail, and by which a device finds the
advice for its user; the name is for logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class CertificateFlaw(StrEnum):
    """What is wrong with a certificate, or with the path to its authority (RFC 5280, section 6)."""

    SELF_SIGNED = "The certificate is self-signed."
    UNKNOWN_AUTHORITY = "The certificate comes from an authority that is not trusted."
    EXPIRED = "The certificate has expired."
    NOT_YET_VALID = "The certificate is not valid yet."
    AUTHORITY_NOT_CURRENT = "A certificate of the authority has expired, or is not valid yet."
    WRONG_PURPOSE = "The certificate is not for client authentication."
    IS_AUTHORITY = "The certificate is that of an authority, not of a user or a device."
    NOT_ISSUED_BY_AUTHORITY = "The certificate was issued by one that may not issue certificates."
    CHAIN_TOO_LONG = "There are more authorities between the certificate and the trusted one than allowed."
    NAME_NOT_ALLOWED = "The authority may not issue certificates for this name."
    UNKNOWN_EXTENSION = "The certificate has a critical extension that is not known."
    WEAK = "A key or a signature of the certificate, or of its authority, is too weak."
    BROKEN = "The certificate is damaged: its signature does not fit."
    REVOKED = "The certificate was revoked."
    REVOCATION_UNKNOWN = "Whether the certificate was revoked cannot be found out at present."


class AuthenticationFlaw(StrEnum):
    """Why a caller is not believed although nothing is wrong with a certificate."""

    NO_CERTIFICATE = "No client certificate was shown."
    UNREADABLE = "What the certificate says of its account cannot be read."
    UNKNOWN_ACCOUNT = "The certificate belongs to no account."
    ACCOUNT_DISABLED = "The account of the certificate is disabled."
    OTHER_ACCOUNT = "The certificate is another user's."
    ISSUER_NOT_FOR_SIGN_ON = "The certificate comes from an authority that may not certify sign-on."
    DEVICE_NOT_LISTED = "The device is not on the server's list of devices."


# Who knows a certificate by its hash needs no authority to vouch for it; all else must be right.
_FORGIVEN_BY_A_PIN: Final = frozenset(
    {CertificateFlaw.SELF_SIGNED, CertificateFlaw.UNKNOWN_AUTHORITY, CertificateFlaw.IS_AUTHORITY}
)


@dataclass(frozen=True, slots=True)
class RefusedCertificate:
    """A certificate (DER) whose key the peer proved to have, and what is wrong with it; ``flaws`` has one."""

    der: bytes
    flaws: tuple[CertificateFlaw, ...]

    @property
    def flaw(self) -> CertificateFlaw:
        """The flaw that is told: the first that was found."""
        return self.flaws[0]

    @property
    def other_flaw(self) -> CertificateFlaw | None:
        """The first flaw that its hash being known does not make up for; None when there is none."""
        return next((flaw for flaw in self.flaws if flaw not in _FORGIVEN_BY_A_PIN), None)
