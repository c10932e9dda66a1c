"""A small certificate authority: one for an installation, a certificate for its server and for each user.

Profiles follow RFC 5280 and RFC 6125 (names of a server stand in subjectAltName); a user's certificate names
its account as Active Directory maps it: the user principal name in subjectAltName and the security identifier
in its own extension.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from postscan.core.errors import ConfigurationError
from postscan.directory.certificates import user_certificate_extensions
from postscan.directory.model import User

CA_DAYS = 3650
SERVER_DAYS = 825
USER_DAYS = 365
# A device's clock may be behind; a certificate that is not valid yet is the most confusing of errors.
_BACKDATED = timedelta(hours=1)
_LONGEST_COMMON_NAME = 64

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class KeyAlgorithm(StrEnum):
    """What keys are made of: P-256 is fast and small; some old devices know nothing but RSA."""

    EC = "ec"
    RSA = "rsa"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey

    def certificate_pem(self) -> bytes:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """Return the private key as PEM (PKCS #8, not encrypted)."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def create_ca(common_name: str, *, algorithm: KeyAlgorithm = KeyAlgorithm.EC) -> KeyPair:
    """Make a self-signed authority that signs end entities only (path length 0), valid for ten years."""
    key = _new_key(algorithm)
    name = _name(common_name)
    usage = _key_usage(sign_certificates=True)
    builder = (
        _builder(name, name, key, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return KeyPair(builder.sign(key, hashes.SHA256()), key)


def issue_server(
    ca: KeyPair, fqdn: str, addresses: Iterable[str] = (), *, algorithm: KeyAlgorithm = KeyAlgorithm.EC
) -> KeyPair:
    """Issue a server's certificate.

    :param fqdn: the name devices connect to (a DNS name or, in a network without names, an address).
    :param addresses: further IP addresses it may be reached by.
    """
    names: list[x509.GeneralName] = []
    for text in dict.fromkeys((fqdn, *addresses)):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            names.append(x509.DNSName(text))
    return _issue(
        ca,
        common_name=fqdn,
        days=SERVER_DAYS,
        # It is the client of devices that listen for events by https, too.
        purposes=(ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
        algorithm=algorithm,
        extensions=[x509.SubjectAlternativeName(names)],
    )


def issue_user(ca: KeyPair, user: User, *, algorithm: KeyAlgorithm = KeyAlgorithm.EC) -> KeyPair:
    """Issue the certificate by which a device proves that ``user`` signed in at it."""
    return _issue(
        ca,
        common_name=user.upn,
        days=USER_DAYS,
        purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,),
        algorithm=algorithm,
        extensions=user_certificate_extensions(user.sid, user.upn),
    )


def write_pair(pair: KeyPair, certificate: Path, key: Path) -> None:
    """Write both as PEM files, the key readable by its owner alone.

    :raises ConfigurationError: one of the files exists already; it is left as it is.
    """
    create_file(key, pair.key_pem(), mode=0o600)
    create_file(certificate, pair.certificate_pem(), mode=0o644)


def create_file(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Create a file that must not exist yet, with its permissions from the first moment on.

    :raises ConfigurationError: the file exists already; it is left as it is.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{path} exists already and was left as it is",
            advice="choose another folder, or move the file away",
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _issue(
    ca: KeyPair,
    *,
    common_name: str,
    days: int,
    purposes: Sequence[ObjectIdentifier],
    algorithm: KeyAlgorithm,
    extensions: Sequence[x509.ExtensionType],
) -> KeyPair:
    key = _new_key(algorithm)
    authority = ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(_name(common_name), ca.certificate.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(encipher_keys=algorithm is KeyAlgorithm.RSA), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False
        )
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return KeyPair(builder.sign(ca.key, hashes.SHA256()), key)


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
    )


def _new_key(algorithm: KeyAlgorithm) -> PrivateKey:
    if algorithm is KeyAlgorithm.RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _name(common_name: str) -> x509.Name:
    # X.520 bounds a common name; what is longer stands in subjectAltName alone, where it counts.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Postscan"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_LONGEST_COMMON_NAME]),
        ]
    )


def _key_usage(*, sign_certificates: bool = False, encipher_keys: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=encipher_keys,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
