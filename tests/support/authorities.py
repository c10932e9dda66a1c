"""Authorities that issue, revoke, and answer for what they issued: lists, OCSP, and a web server for both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from postscan.cli.pki import KeyPair

DAY = timedelta(days=1)
DER = serialization.Encoding.DER
PEM = serialization.Encoding.PEM


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def distribution_points(*urls: str) -> x509.CRLDistributionPoints:
    names = [x509.UniformResourceIdentifier(url) for url in urls]
    return x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])


def responders(*urls: str) -> x509.AuthorityInformationAccess:
    where = AuthorityInformationAccessOID.OCSP
    return x509.AuthorityInformationAccess(
        [x509.AccessDescription(where, x509.UniformResourceIdentifier(url)) for url in urls]
    )


@dataclass
class Authority:
    """A certification authority; ``now`` is the time it believes it is."""

    pair: KeyPair
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def root(cls, common_name: str = "Root", now: datetime | None = None) -> Authority:
        moment = now or datetime.now(UTC)
        return cls(_make(common_name, None, moment, ca=True), moment)

    @property
    def certificate(self) -> x509.Certificate:
        return self.pair.certificate

    def authority(self, common_name: str, *extensions: x509.ExtensionType) -> Authority:
        return Authority(_make(common_name, self.pair, self.now, *extensions, ca=True), self.now)

    def issue(self, common_name: str, *extensions: x509.ExtensionType, days: int = 30) -> KeyPair:
        return _make(common_name, self.pair, self.now, *extensions, ca=False, days=days)

    def crl(
        self,
        *revoked: x509.Certificate,
        reason: x509.ReasonFlags = x509.ReasonFlags.key_compromise,
        begins: datetime | None = None,
        ends: datetime | None = None,
        number: int = 1,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        signed_by: KeyPair | None = None,
        encoding: serialization.Encoding = DER,
        algorithm: hashes.HashAlgorithm | None = None,
    ) -> bytes:
        begins = begins or self.now - timedelta(hours=1)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(begins)
            .next_update(ends or begins + DAY)
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        for one in revoked:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(one.serial_number)
                .revocation_date(begins)
                .add_extension(x509.CRLReason(reason), critical=False)
                .build()
            )
            builder = builder.add_revoked_certificate(entry)
        key = (signed_by or self.pair).key
        return builder.sign(key, algorithm or hashes.SHA256()).public_bytes(encoding)

    def answer(
        self,
        request: bytes,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        *,
        certificate: x509.Certificate,
        begins: datetime | None = None,
        ends: datetime | None = None,
        signed_by: KeyPair | None = None,
        by_hash: bool = False,
        shown: x509.Certificate | None = None,
        nonce: bytes | None = b"",
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        algorithm: hashes.HashAlgorithm | None = None,
    ) -> bytes:
        """Answer an OCSP request; ``nonce`` b"" repeats the request's, None leaves it out.

        ``shown`` comes along in place of the certificate of whom it is ``signed_by``.
        """
        begins = begins or self.now - timedelta(minutes=1)
        is_revoked = status is ocsp.OCSPCertStatus.REVOKED
        signer = signed_by or self.pair
        encoding = ocsp.OCSPResponderEncoding.HASH if by_hash else ocsp.OCSPResponderEncoding.NAME
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                certificate,
                self.certificate,
                hashes.SHA1(),  # noqa: S303
                status,
                begins,
                ends if ends is not None else begins + DAY,
                begins if is_revoked else None,
                x509.ReasonFlags.key_compromise if is_revoked else None,
            )
            .responder_id(encoding, signer.certificate)
        )
        if signed_by is not None:
            builder = builder.certificates([shown or signed_by.certificate])
        if nonce == b"":
            asked = ocsp.load_der_ocsp_request(request).extensions
            nonce = asked.get_extension_for_class(x509.OCSPNonce).value.nonce
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(signer.key, algorithm or hashes.SHA256()).public_bytes(DER)

    def responder(
        self, *purposes: x509.ObjectIdentifier, no_check: bool = True, days: int = 30, **more: Any
    ) -> KeyPair:
        """Return a delegated OCSP responder's certificate and key."""
        wanted = purposes or (ExtendedKeyUsageOID.OCSP_SIGNING,)
        extensions: list[x509.ExtensionType] = [x509.ExtendedKeyUsage(wanted), *more.pop("extensions", ())]
        if no_check:
            extensions.append(x509.OCSPNoCheck())
        return self.issue("Responder", *extensions, days=days)


def _make(
    common_name: str,
    issuer: KeyPair | None,
    now: datetime,
    *extensions: x509.ExtensionType,
    ca: bool,
    days: int = 30,
) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    begins = now - 10 * DAY
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(issuer.certificate.subject if issuer else name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + days * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if ca:
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return KeyPair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebServer:
    """An HTTP server on loopback that answers what a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Handler | bytes] = {}
        self.asked: list[str] = []
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> WebServer:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        found = self.answers.get(request.path)
        if found is None:
            return web.Response(status=404)
        if isinstance(found, bytes):
            return web.Response(body=found)
        return await found(request)


async def silence(_: web.Request) -> web.StreamResponse:
    """Accept a request and never answer it."""
    await asyncio.Event().wait()
    raise AssertionError
