"""Certificates for the servers ours is compared with: an authority, a server, a client, all P-256."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class TlsClient:
    """What the load generator needs for TLS: whom to trust, and who it is (PEM files)."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class TlsServer:
    """A server's certificate and key, and the authority of its clients (PEM files)."""

    certificate: Path
    key: Path
    client_ca: Path


def make_certificates(folder: Path) -> tuple[TlsServer, TlsClient]:
    """Make an authority and, signed by it, a server for ``localhost`` and a client; valid for a day."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("bench authority", ca_key, None, "bench authority", ca_key, is_ca=True)
    _write(folder, "ca", ca, ca_key)
    for name in ("localhost", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        _write(folder, name, _certificate(name, key, names, "bench authority", ca_key, is_ca=False), key)
    authority = folder / "ca.pem"
    return (
        TlsServer(folder / "localhost.pem", folder / "localhost.key", authority),
        TlsClient(authority, folder / "client.pem", folder / "client.key"),
    )


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    names: x509.SubjectAlternativeName | None,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = folder / f"{name}.key"
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
