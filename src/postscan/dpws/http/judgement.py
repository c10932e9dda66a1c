"""What OpenSSL finds on the path from a client certificate to an authority, in our words. No I/O."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.utils import CryptographyDeprecationWarning
from OpenSSL.SSL import X509VerificationCodes as Codes

from postscan.core.certificates import MALFORMED
from postscan.dpws.http.certificates import CertificateFlaw

# Authorities between the certificate and the trusted one; more is no company's design but somebody's attack.
MAX_CHAIN: Final = 8
_MIN_RSA_BITS: Final = 2048
_MIN_EC_BITS: Final = 256
# x509_vfy.h; pyOpenSSL has no names for these.
_INVALID_CA_OF_OLD: Final = 24
_KEY_TOO_SMALL: Final = (66, 67)
_DIGEST_TOO_WEAK: Final = 68

_FLAW_OF: Final[dict[int, CertificateFlaw]] = {
    Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: CertificateFlaw.SELF_SIGNED,
    **dict.fromkeys(
        (
            Codes.ERR_UNABLE_TO_GET_ISSUER_CERT,
            Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
            Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN,
            Codes.ERR_CERT_UNTRUSTED,
            Codes.ERR_CERT_REJECTED,
        ),
        CertificateFlaw.UNKNOWN_AUTHORITY,
    ),
    Codes.ERR_CERT_HAS_EXPIRED: CertificateFlaw.EXPIRED,
    Codes.ERR_CERT_NOT_YET_VALID: CertificateFlaw.NOT_YET_VALID,
    Codes.ERR_INVALID_PURPOSE: CertificateFlaw.WRONG_PURPOSE,
    **dict.fromkeys(
        (_INVALID_CA_OF_OLD, Codes.ERR_INVALID_CA, Codes.ERR_KEYUSAGE_NO_CERTSIGN),
        CertificateFlaw.NOT_ISSUED_BY_AUTHORITY,
    ),
    Codes.ERR_CERT_CHAIN_TOO_LONG: CertificateFlaw.CHAIN_TOO_LONG,
    Codes.ERR_PATH_LENGTH_EXCEEDED: CertificateFlaw.CHAIN_TOO_LONG,
    **dict.fromkeys(
        (
            Codes.ERR_PERMITTED_VIOLATION,
            Codes.ERR_EXCLUDED_VIOLATION,
            Codes.ERR_SUBTREE_MINMAX,
            Codes.ERR_UNSUPPORTED_CONSTRAINT_TYPE,
            Codes.ERR_UNSUPPORTED_CONSTRAINT_SYNTAX,
            Codes.ERR_UNSUPPORTED_NAME_SYNTAX,
        ),
        CertificateFlaw.NAME_NOT_ALLOWED,
    ),
    Codes.ERR_UNHANDLED_CRITICAL_EXTENSION: CertificateFlaw.UNKNOWN_EXTENSION,
    **dict.fromkeys((*_KEY_TOO_SMALL, _DIGEST_TOO_WEAK), CertificateFlaw.WEAK),
}
_TIMES: Final = frozenset({CertificateFlaw.EXPIRED, CertificateFlaw.NOT_YET_VALID})


def flaw_of(code: int, depth: int) -> CertificateFlaw:
    """Return the flaw behind an error code of OpenSSL; depth 0 is the client's own certificate."""
    flaw = _FLAW_OF.get(code, CertificateFlaw.BROKEN)
    return CertificateFlaw.AUTHORITY_NOT_CURRENT if depth and flaw in _TIMES else flaw


def further_flaw(leaf: bytes, chain: Sequence[bytes]) -> CertificateFlaw | None:
    """Return what OpenSSL does not object to and we do; ``chain`` leads from ``leaf`` to its anchor (DER)."""
    try:
        if _is_authority(read_certificate(leaf)):
            return CertificateFlaw.IS_AUTHORITY
        return CertificateFlaw.WEAK if any(_has_weak_key(each) for each in chain) else None
    except MALFORMED:
        return CertificateFlaw.BROKEN


def read_certificate(der: bytes) -> x509.Certificate:
    """Read a certificate, without a warning of serial numbers below 1, which old authorities gave themselves.

    :raises ValueError: it cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return x509.load_der_x509_certificate(der)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


@lru_cache(maxsize=256)
def _has_weak_key(certificate: bytes) -> bool:
    return not is_strong_key(read_certificate(certificate).public_key())


def is_strong_key(key: CertificatePublicKeyTypes) -> bool:
    """Tell whether a public key is long enough to be believed."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _MIN_RSA_BITS
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.key_size >= _MIN_EC_BITS
    return isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)
