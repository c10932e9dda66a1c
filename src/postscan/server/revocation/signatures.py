"""Signatures of authorities, on what ``cryptography`` reads but does not verify by itself."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

_STRONG: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def is_strong(algorithm: hashes.HashAlgorithm | None) -> bool:
    """Tell whether a signature's hash still resists collisions; None stands for Ed25519 and Ed448."""
    return algorithm is None or isinstance(algorithm, _STRONG)


def is_signed_by(
    key: CertificatePublicKeyTypes, signature: bytes, data: bytes, algorithm: hashes.HashAlgorithm | None
) -> bool:
    """Tell whether ``key`` made ``signature`` (RSA with PKCS #1 v1.5 padding, ECDSA, Ed25519, Ed448)."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, data)
        elif algorithm is None:
            return False
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(algorithm))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
