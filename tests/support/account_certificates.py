"""Certificates that name accounts in every way, right and wrong; each signed by its own key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postscan.directory import der
from postscan.directory.certificates import UPN_NAME, user_certificate_extensions

KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = x509.Name(
    [
        x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "test"),
        x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "dsm"),
        x509.NameAttribute(NameOID.COMMON_NAME, "DSM Users CA"),
    ]
)


def certificate(
    *,
    sid: str | None = None,
    upns: Sequence[str] = (),
    mail: str | None = None,
    uris: Sequence[str] = (),
    issuer: x509.Name = ISSUER,
    serial: int | None = None,
    key_identifier: bytes | None = None,
    key: ec.EllipticCurvePrivateKey = KEY,
) -> x509.Certificate:
    """Return a certificate that says of its account what it is told to say."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=1))
    )
    names: list[x509.GeneralName] = [
        x509.OtherName(UPN_NAME, der.write(der.UTF8_STRING, upn.encode())) for upn in upns
    ]
    names += [x509.RFC822Name(mail)] if mail else []
    names += [x509.UniformResourceIdentifier(uri) for uri in uris]
    extensions: list[x509.ExtensionType] = [x509.SubjectAlternativeName(names)] if names else []
    extensions += [user_certificate_extensions(sid, "unused@example.com")[1]] if sid else []
    extensions += [x509.SubjectKeyIdentifier(key_identifier)] if key_identifier else []
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256())
