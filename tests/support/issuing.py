"""Certificates of every kind, right and wrong, and the authorities behind them, made by the tests."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from postscan.directory import der

PrivateKey = (
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
DAY = timedelta(days=1)
_BIT_STRING = 0x03
# RFC 8017, A.2.4 and appendix B.1: of an algorithm its identifier in certificates, and its DigestInfo.
_SHA256_RSA = bytes.fromhex("2a864886f70d01010b")
_WEAK = {
    "sha1": (bytes.fromhex("2a864886f70d010105"), bytes.fromhex("3021300906052b0e03021a05000414")),
    "md5": (bytes.fromhex("2a864886f70d010104"), bytes.fromhex("3020300c06082a864886f70d020505000410")),
}


def ec_key() -> ec.EllipticCurvePrivateKey:
    """Return a key of P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return an RSA key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def named(common_name: str) -> x509.Name:
    """Return a name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def usage(
    *, signs_certificates: bool = False, signs: bool = True, enciphers_keys: bool = False
) -> x509.KeyUsage:
    """Return a KeyUsage."""
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=enciphers_keys,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True)
class Issued:
    """A certificate (DER), its key, and the chain to show with it, without the certificate itself."""

    der: bytes
    key: PrivateKey
    chain: tuple[bytes, ...] = ()

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate."""
        return x509.load_der_x509_certificate(self.der)

    @property
    def sha256(self) -> str:
        """The hash by which settings list it."""
        return hashlib.sha256(self.der).hexdigest()

    def pem(self) -> bytes:
        """Return certificate, chain and key as PEM."""
        certificates = "".join(ssl.DER_cert_to_PEM_cert(each) for each in (self.der, *self.chain))
        return certificates.encode() + self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, path: Path) -> Path:
        """Write all of it into one file."""
        path.write_bytes(self.pem())
        return path


@dataclass(frozen=True)
class Wish:
    """What a certificate is to be like; what is not said is as it should be for a user."""

    subject: str = "alice"
    key: PrivateKey = field(default_factory=ec_key)
    begins: timedelta = -DAY
    ends: timedelta = DAY
    authority: bool = False
    path_length: int | None = None
    usage: x509.KeyUsage | None = field(default_factory=usage)
    purposes: x509.ExtendedKeyUsage | None = CLIENT
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = ()
    digest: str = "sha256"


@dataclass(frozen=True)
class Authority:
    """One that issues certificates; ``chain`` is what leads from it to a root, itself included."""

    issued: Issued
    chain: tuple[bytes, ...] = ()

    @property
    def certificate(self) -> x509.Certificate:
        """Its own certificate."""
        return self.issued.certificate

    def issue(self, wish: Wish) -> Issued:
        """Issue a certificate."""
        return Issued(_signed(wish, self.certificate.subject, self.issued.key), wish.key, self.chain)

    def sub(self, subject: str = "issuing", **wish: object) -> Authority:
        """Issue the certificate of an authority below this one."""
        issued = self.issue(authority_wish(subject, **wish))
        return Authority(issued, (issued.der, *self.chain))

    def pem(self) -> bytes:
        """Return its certificate as PEM."""
        return ssl.DER_cert_to_PEM_cert(self.issued.der).encode()


def authority_wish(subject: str, **wish: object) -> Wish:
    """Return what an authority's certificate is like; ``wish`` are fields of Wish that differ."""
    usual: dict[str, object] = {
        "authority": True,
        "usage": usage(signs_certificates=True, signs=False),
        "purposes": None,
    }
    return Wish(subject=subject, **(usual | wish))  # type: ignore[arg-type]  # fields by name


def root(subject: str = "root", **wish: object) -> Authority:
    """Make an authority with a certificate that it signed itself."""
    return Authority(self_signed(authority_wish(subject, **wish)))


def self_signed(wish: Wish) -> Issued:
    """Make a certificate that signed itself."""
    return Issued(_signed(wish, named(wish.subject), wish.key), wish.key)


def altered(issued: Issued, change: Callable[[bytes], bytes]) -> Issued:
    """Return the certificate with other octets, its signature as it was."""
    changed = change(issued.der)
    assert len(changed) == len(issued.der)
    assert changed != issued.der
    return Issued(changed, issued.key, issued.chain)


def _signed(wish: Wish, issuer: x509.Name, key: PrivateKey) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(wish.subject))
        .issuer_name(issuer)
        .public_key(wish.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + wish.begins - DAY)
        .not_valid_after(now + wish.ends)
        .add_extension(x509.BasicConstraints(ca=wish.authority, path_length=wish.path_length), critical=True)
    )
    extensions = [(wish.usage, True), (wish.purposes, False), *wish.extensions]
    for extension, critical in extensions:
        if extension is not None:
            builder = builder.add_extension(extension, critical=critical)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    certificate = builder.sign(key, digest)
    if wish.digest == "sha256":
        return certificate.public_bytes(serialization.Encoding.DER)
    assert isinstance(key, rsa.RSAPrivateKey)
    return _signed_weakly(certificate, key, wish.digest)


def _signed_weakly(certificate: x509.Certificate, key: rsa.RSAPrivateKey, digest: str) -> bytes:
    """Sign anew with a digest that no library signs with any more (RFC 8017, 8.2.1)."""
    identifier, prefix = _WEAK[digest]
    content = certificate.tbs_certificate_bytes.replace(_SHA256_RSA, identifier)
    info = prefix + hashlib.new(digest, content, usedforsecurity=False).digest()
    length = key.key_size // 8
    padded = b"\x00\x01" + b"\xff" * (length - len(info) - 3) + b"\x00" + info
    numbers = key.private_numbers()
    power = pow(int.from_bytes(padded, "big"), numbers.d, numbers.public_numbers.n)
    algorithm = der.write(der.SEQUENCE, der.write(0x06, identifier) + bytes.fromhex("0500"))
    signature = der.write(_BIT_STRING, b"\x00" + power.to_bytes(length, "big"))
    return der.write(der.SEQUENCE, content + algorithm + signature)
