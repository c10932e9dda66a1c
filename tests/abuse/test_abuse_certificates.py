"""Abuse case 40: certificates that are wrong in every way there is, of clients and of servers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from postscan.console.client import RepositoryClient
from postscan.core.errors import FaultParty
from postscan.device.client import CertificatePin, Patience, ScanServerClient, client_context
from postscan.device.refusals import advice_on
from postscan.directory.certificates import user_certificate_extensions
from postscan.directory.model import User
from postscan.dpws.failures import RemoteFault, Untrusted
from postscan.dpws.http.certificates import AuthenticationFlaw, CertificateFlaw
from postscan.soap.faults import SoapFault
from postscan.soap.names import WSSE, qname
from support.issuing import (
    CLIENT,
    DAY,
    SERVER,
    Authority,
    Issued,
    Wish,
    altered,
    authority_wish,
    ec_key,
    named,
    root,
    rsa_key,
    self_signed,
    usage,
)
from support.scanning import Site, jpeg, make_installation, running
from support.wire import Wire, create_request, elements_request, job_request, jobs_of, wire

pytestmark = pytest.mark.asyncio(loop_scope="module")
FAILED = qname(WSSE, "FailedAuthentication")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@dataclass(frozen=True)
class World:
    """A server that trusts ``root``, and what a certificate of ``alice`` says of her account."""

    site: Site
    root: Authority
    alice: User
    folder: Path

    def wish(self, **fields: object) -> Wish:
        """Return what alice's certificate is like; ``fields`` differ."""
        named_account = [(e, False) for e in user_certificate_extensions(self.alice.sid, self.alice.upn)]
        more = fields.pop("extensions", ())
        return Wish(extensions=(*named_account, *more), **fields)  # type: ignore[misc,arg-type] # by name

    def issue(self, by: Authority | None = None, **fields: object) -> Issued:
        """Issue a certificate of alice's."""
        return (by or self.root).issue(self.wish(**fields))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Run a server that trusts its own authority and one of the tests, an RSA one."""
    folder = tmp_path_factory.mktemp("certificates")
    made = make_installation(folder / "site")
    trusted = root("the tests' root", key=rsa_key())
    authorities = made.pki / "ca.pem"
    authorities.write_bytes(authorities.read_bytes() + trusted.pem())
    async with running(folder, made=made) as site:
        yield World(site, trusted, await site.user(), folder)


@contextlib.asynccontextmanager
async def showing(
    site: Site, shown: Issued | None, folder: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> AsyncIterator[Wire]:
    """Connect with a certificate."""
    context = site.tls(user=None)
    context.minimum_version = context.maximum_version = version
    if shown is not None:
        # The client must be willing to show what no client should.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.load_cert_chain(shown.write(folder / "shown.pem"))
    async with wire(site, tls=context) as connection:
        yield connection


# Wrong ones -----------------------------------------------------------------------------------------------


def name_constraints(*permitted: str) -> tuple[x509.ExtensionType, bool]:
    return x509.NameConstraints([x509.DirectoryName(named(name)) for name in permitted], None), True


def chain_of(world: World, length: int) -> Authority:
    below = world.root
    for number in range(length):
        below = below.sub(f"authority {number}")
    return below


def impostor(world: World) -> Authority:
    """Another authority that calls itself what the trusted one is called."""
    return root(world.root.issued.certificate.subject.rfc4514_string().removeprefix("CN="), key=rsa_key())


def without_chain(issued: Issued) -> Issued:
    return Issued(issued.der, issued.key)


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
Make = Callable[[World], Issued]
WRONG: dict[str, tuple[Make, CertificateFlaw]] = {
    "expired": (lambda w: w.issue(ends=-DAY / 24), CertificateFlaw.EXPIRED),
    "not valid yet": (lambda w: w.issue(begins=2 * DAY, ends=5 * DAY), CertificateFlaw.NOT_YET_VALID),
    "of an unknown authority": (lambda w: w.issue(root("foreign")), CertificateFlaw.UNKNOWN_AUTHORITY),
    "of an unknown authority, whose root is shown": (
        lambda w: w.issue(Authority(other := root("foreign").issued, (other.der,))),
        CertificateFlaw.UNKNOWN_AUTHORITY,
    ),
    "of an authority that has the trusted one's name": (
        lambda w: w.issue(impostor(w)),
        CertificateFlaw.BROKEN,
    ),
    "self-signed": (lambda w: self_signed(w.wish()), CertificateFlaw.SELF_SIGNED),
    "signed with SHA-1": (lambda w: w.issue(digest="sha1"), CertificateFlaw.WEAK),
    "signed with MD5": (lambda w: w.issue(digest="md5"), CertificateFlaw.WEAK),
    "of an authority signed with SHA-1": (
        lambda w: w.issue(w.root.sub(digest="sha1")),
        CertificateFlaw.WEAK,
    ),
    "with an RSA key of 1024 bits": (lambda w: w.issue(key=rsa_key(1024)), CertificateFlaw.WEAK),
    # One's own of P-224 makes no TLS connection with anybody: no scheme signs with it.
    "of an authority with a key of P-224": (
        lambda w: w.issue(w.root.sub(key=ec.generate_private_key(ec.SECP224R1()))),
        CertificateFlaw.WEAK,
    ),
    "of an authority with an RSA key of 1024 bits": (
        lambda w: w.issue(w.root.sub(key=rsa_key(1024))),
        CertificateFlaw.WEAK,
    ),
    "for servers": (lambda w: w.issue(purposes=SERVER), CertificateFlaw.WRONG_PURPOSE),
    "whose key may not sign": (
        lambda w: w.issue(key=rsa_key(), usage=usage(signs=False, enciphers_keys=True)),
        CertificateFlaw.WRONG_PURPOSE,
    ),
    "of an authority for servers": (
        lambda w: w.issue(w.root.sub(purposes=SERVER)),
        CertificateFlaw.WRONG_PURPOSE,
    ),
    "an authority's": (
        lambda w: w.issue(authority=True, usage=usage(signs_certificates=True)),
        CertificateFlaw.IS_AUTHORITY,
    ),
    "issued by another user": (
        lambda w: w.issue(w.root.sub(authority=False)),
        CertificateFlaw.NOT_ISSUED_BY_AUTHORITY,
    ),
    "issued by an authority that may not": (
        lambda w: w.issue(w.root.sub(usage=usage())),
        CertificateFlaw.NOT_ISSUED_BY_AUTHORITY,
    ),
    "of an authority that has expired": (
        lambda w: w.issue(w.root.sub(ends=-DAY / 24)),
        CertificateFlaw.AUTHORITY_NOT_CURRENT,
    ),
    "without the authority between": (
        lambda w: without_chain(w.issue(w.root.sub())),
        CertificateFlaw.UNKNOWN_AUTHORITY,
    ),
    "further down than its authority allows": (
        lambda w: w.issue(w.root.sub(path_length=0).sub("below")),
        CertificateFlaw.CHAIN_TOO_LONG,
    ),
    "below more authorities than there may be": (
        lambda w: w.issue(chain_of(w, 10)),
        CertificateFlaw.CHAIN_TOO_LONG,
    ),
    "for a name its authority may not name": (
        lambda w: w.issue(w.root.sub(extensions=(name_constraints("somebody else"),))),
        CertificateFlaw.NAME_NOT_ALLOWED,
    ),
    "with a critical extension nobody knows": (
        lambda w: w.issue(extensions=((UNKNOWN, True),)),
        CertificateFlaw.UNKNOWN_EXTENSION,
    ),
    "with an altered account": (
        lambda w: altered(w.issue(), lambda der: der.replace(w.alice.sid.encode(), other_sid(w).encode())),
        CertificateFlaw.BROKEN,
    ),
    "with an altered signature": (
        lambda w: altered(w.issue(), lambda der: der[:-1] + bytes([der[-1] ^ 1])),
        CertificateFlaw.BROKEN,
    ),
}


def other_sid(world: World) -> str:
    last = world.alice.sid[-1]
    return world.alice.sid[:-1] + str((int(last) + 1) % 10)


@pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("kind", WRONG)
async def test_case_40_a_wrong_certificate_gets_a_fault_that_says_what_is_wrong(
    world: World, kind: str, version: ssl.TLSVersion
) -> None:
    make, flaw = WRONG[kind]
    site, shown = world.site, make(world)
    before = await jobs_of(site)
    async with showing(site, shown, world.folder, version) as peer:
        answer = await peer.post(create_request(await site.process(), world.alice.sid))
        assert (answer.status, answer.fault.subcode, answer.detail) == (400, FAILED, flaw.value)
        # The connection can be read and used on; what needs nobody's identity is answered.
        assert await peer.works()
        assert await peer.works()
    assert await jobs_of(site) == before


async def test_case_40_no_operation_is_open_to_a_wrong_certificate(world: World) -> None:
    shown = world.issue(ends=-DAY / 24)
    async with showing(world.site, world.issue(), world.folder) as alice:
        token = await alice.create()
        async with showing(world.site, shown, world.folder) as peer:
            for answer in (
                await peer.upload(token, jpeg(0)),
                await peer.post(elements_request(token)),
                await peer.post(job_request("EndPostScanJob", token)),
                await peer.post(job_request("CancelPostScanJob", token)),
            ):
                assert (answer.fault.subcode, answer.detail) == (FAILED, CertificateFlaw.EXPIRED.value)


async def test_case_40_the_log_has_one_line_with_every_reason_the_hash_and_the_peer(tmp_path: Path) -> None:
    shown = self_signed(Wish("alice", ends=-DAY / 24))
    async with running(tmp_path / "site") as site, showing(site, shown, tmp_path) as peer:
        with capture_logs(processors=[merge_contextvars]) as lines:
            answer = await peer.post(create_request(await site.process(), (await site.user()).sid))
    said = [line for line in lines if line["event"] == "request refused"]
    assert len(said) == 1
    assert said[0]["why"] == f"certificate {shown.sha256[:16]} is refused: self_signed, expired"
    assert said[0]["peer"] == "127.0.0.1"
    assert said[0]["request"] == answer.correlation_id


async def test_case_40_without_a_certificate_the_fault_says_so(world: World) -> None:
    for version in VERSIONS:
        async with showing(world.site, None, world.folder, version) as peer:
            answer = await peer.post(create_request(await world.site.process(), world.alice.sid))
            assert answer.fault.subcode == FAILED
            assert answer.detail == AuthenticationFlaw.NO_CERTIFICATE.value


async def test_case_40_a_certificate_of_nobody_and_one_of_somebody_else_are_told_apart(world: World) -> None:
    nobody = world.root.issue(Wish("nobody"))
    bob = await world.site.user("bob")
    somebody = world.root.issue(
        Wish("bob", extensions=[(e, False) for e in user_certificate_extensions(bob.sid, bob.upn)])
    )
    expected = {nobody: AuthenticationFlaw.UNKNOWN_ACCOUNT, somebody: AuthenticationFlaw.OTHER_ACCOUNT}
    for shown, flaw in expected.items():
        async with showing(world.site, shown, world.folder) as peer:
            answer = await peer.post(create_request(await world.site.process(), world.alice.sid))
            assert (answer.fault.subcode, answer.detail) == (FAILED, flaw.value)


# Right ones -----------------------------------------------------------------------------------------------

RIGHT: dict[str, Make] = {
    "P-256": lambda w: w.issue(),
    "P-384": lambda w: w.issue(key=ec.generate_private_key(ec.SECP384R1())),
    "RSA": lambda w: w.issue(key=rsa_key()),
    "Ed25519": lambda w: w.issue(key=ed25519.Ed25519PrivateKey.generate()),
    "below two authorities": lambda w: w.issue(w.root.sub().sub("below")),
    "with the root shown": lambda w: w.issue(Authority(w.root.issued, (w.root.issued.der,))),
    "with a stranger's certificate shown besides": lambda w: w.issue(
        Authority(w.root.issued, (root("foreign").issued.der,))
    ),
    "for any purpose": lambda w: w.issue(purposes=None, usage=None),
    "within its authority's names": lambda w: w.issue(w.root.sub(extensions=(name_constraints("alice"),))),
}


@pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("kind", RIGHT)
async def test_case_40_a_right_certificate_scans(world: World, kind: str, version: ssl.TLSVersion) -> None:
    async with showing(world.site, RIGHT[kind](world), world.folder, version) as peer:
        token = await peer.create()
        assert (await peer.upload(token, jpeg(0, 300_000))).status == 200
        assert (await peer.post(job_request("EndPostScanJob", token))).status == 200


# Listed by their hash -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def listing(folder: Path, *listed: Issued, administrators: bool = False) -> AsyncIterator[Site]:
    hashes = [issued.sha256 for issued in listed]
    allowed = (
        {"administrators": {"certificates": hashes}} if administrators else {"devices": {"allow": hashes}}
    )
    async with running(folder, server={"mode": "unauthenticated"}, **allowed) as site:
        yield site


async def test_case_40_a_listed_certificate_needs_no_authority(tmp_path: Path) -> None:
    device = self_signed(Wish("device"))
    foreign = root("foreign").issue(Wish("device"))
    openssl_default = self_signed(authority_wish("device", usage=None))
    async with listing(tmp_path / "site", device, foreign, openssl_default) as site:
        for shown in (device, foreign, openssl_default):
            for version in VERSIONS:
                async with showing(site, shown, tmp_path, version) as peer:
                    await peer.create()


async def test_case_40_a_listed_certificate_must_be_right_in_all_else(tmp_path: Path) -> None:
    wrong = {
        self_signed(Wish("device", ends=-DAY / 24)): CertificateFlaw.EXPIRED,
        self_signed(Wish("device", begins=3 * DAY, ends=9 * DAY)): CertificateFlaw.NOT_YET_VALID,
        self_signed(Wish("device", key=rsa_key(1024))): CertificateFlaw.WEAK,
        self_signed(Wish("device", purposes=SERVER)): CertificateFlaw.WRONG_PURPOSE,
    }
    async with listing(tmp_path / "site", *wrong) as site:
        process, alice = await site.process(), await site.user()
        for shown, flaw in wrong.items():
            async with showing(site, shown, tmp_path) as peer:
                answer = await peer.post(create_request(process, alice.sid))
                assert (answer.fault.subcode, answer.detail) == (FAILED, flaw.value)
        assert await jobs_of(site) == 0


async def test_case_40_an_administrators_listed_certificate_needs_no_authority_but_must_be_current(
    tmp_path: Path,
) -> None:
    current, expired = self_signed(Wish("admin")), self_signed(Wish("admin", ends=-DAY / 24))
    async with listing(tmp_path / "site", current, expired, administrators=True) as site:
        for shown in (current, expired):
            context = site.tls(user=None)
            context.load_cert_chain(shown.write(tmp_path / "shown.pem"))
            async with RepositoryClient(site.url, tls=context, patience=Patience(())) as console:
                if shown is current:
                    await console.status()
                    continue
                with pytest.raises(RemoteFault) as refused:
                    await console.status()
                assert refused.value.subcode == "ClientErrorCurrentUserNotScanAdmin"


async def test_case_40_a_certificate_like_the_listed_one_is_not_it(tmp_path: Path) -> None:
    device = self_signed(Wish("device"))
    twin = self_signed(Wish("device"))
    async with listing(tmp_path / "site", device) as site, showing(site, twin, tmp_path) as peer:
        answer = await peer.post(create_request(await site.process(), (await site.user()).sid))
        assert (answer.fault.subcode, answer.detail) == (FAILED, AuthenticationFlaw.DEVICE_NOT_LISTED.value)


async def test_case_40_a_listed_certificate_is_worth_nothing_as_an_authority(tmp_path: Path) -> None:
    device = Authority(self_signed(authority_wish("device", usage=usage(signs_certificates=True))))
    child = Authority(device.issued, (device.issued.der,)).issue(Wish("child"))
    async with listing(tmp_path / "site", device.issued) as site:
        async with showing(site, device.issued, tmp_path) as peer:
            await peer.create()
        async with showing(site, child, tmp_path) as peer:
            answer = await peer.post(create_request(await site.process(), (await site.user()).sid))
            assert answer.detail == AuthenticationFlaw.DEVICE_NOT_LISTED.value


async def test_case_40_in_authenticated_mode_the_list_of_devices_makes_nobody_a_user(tmp_path: Path) -> None:
    device = self_signed(Wish("device", key=ec_key()))
    async with (
        running(tmp_path / "site", devices={"allow": [device.sha256]}) as site,
        showing(site, device, tmp_path) as peer,
    ):
        answer = await peer.post(create_request(await site.process(), (await site.user()).sid))
        assert (answer.fault.subcode, answer.detail) == (FAILED, CertificateFlaw.SELF_SIGNED.value)


# The server's own certificate, as devices see it ----------------------------------------------------------


@dataclass
class Impostor:
    """Somebody who listens with a certificate; ``heard`` is what they were told once TLS stood."""

    url: str
    heard: list[bytes]


@contextlib.asynccontextmanager
async def listening_with(shown: Issued, folder: Path) -> AsyncIterator[Impostor]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(shown.write(folder / "impostor.pem"))
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            heard.append(await reader.read(1_000))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    async with server:
        yield Impostor(f"https://localhost:{server.sockets[0].getsockname()[1]}/ScanServer", heard)


def server_wish(**fields: object) -> Wish:
    """Return what the certificate of a server at localhost is like; ``fields`` differ."""
    name = str(fields.pop("name", "localhost"))
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    usual: dict[str, object] = {"subject": name, "purposes": SERVER, "extensions": ((names, False),)}
    return Wish(**(usual | fields))  # type: ignore[arg-type]  # fields by name


NAMES_IN_COMMON_NAME_ALONE: tuple[tuple[x509.ExtensionType, bool], ...] = ()
MakeServer = Callable[[Authority], Issued]
WRONG_SERVERS: dict[str, tuple[MakeServer, str]] = {
    "for another host": (lambda ca: ca.issue(server_wish(name="other.example")), "another name"),
    "with its name in the common name alone": (
        lambda ca: ca.issue(server_wish(extensions=NAMES_IN_COMMON_NAME_ALONE)),
        "another name",
    ),
    "expired": (lambda ca: ca.issue(server_wish(ends=-DAY / 24)), "has expired"),
    "not valid yet": (lambda ca: ca.issue(server_wish(begins=2 * DAY, ends=5 * DAY)), "not valid yet"),
    "for clients": (lambda ca: ca.issue(server_wish(purposes=CLIENT)), "not trusted"),
    "self-signed": (lambda ca: self_signed(server_wish()), "not trusted"),
    "of an unknown authority": (lambda ca: root("foreign").issue(server_wish()), "not trusted"),
    "without the authority between": (
        lambda ca: without_chain(ca.sub().issue(server_wish())),
        "not trusted",
    ),
    "issued by a user": (lambda ca: ca.sub(authority=False).issue(server_wish()), "not trusted"),
    "with an RSA key of 1024 bits": (lambda ca: ca.issue(server_wish(key=rsa_key(1024))), "not trusted"),
    "signed with SHA-1": (lambda ca: ca.issue(server_wish(digest="sha1")), "not trusted"),
    "with an altered signature": (
        lambda ca: altered(ca.issue(server_wish()), lambda der: der[:-1] + bytes([der[-1] ^ 1])),
        "not trusted",
    ),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Path]:
    made = root("servers' root", key=rsa_key())
    file = tmp_path_factory.mktemp("authority") / "root.pem"
    file.write_bytes(made.pem())
    return made, file


@pytest.mark.parametrize("kind", WRONG_SERVERS)
async def test_case_40_a_device_sends_nothing_to_a_server_with_a_wrong_certificate(
    authority: tuple[Authority, Path], kind: str, tmp_path: Path
) -> None:
    ca, trusted = authority
    make, words = WRONG_SERVERS[kind]
    async with (
        listening_with(make(ca), tmp_path) as impostor,
        ScanServerClient(impostor.url, tls=client_context(trusted), patience=Patience(())) as device,
    ):
        with pytest.raises(Untrusted, match=words):
            await device.probe()
    assert impostor.heard in ([], [b""])


@pytest.mark.parametrize("way", ["context", "client"])
async def test_case_40_a_device_sends_nothing_to_a_server_whose_certificate_is_not_the_pinned_one(
    authority: tuple[Authority, Path], way: str, tmp_path: Path
) -> None:
    """It is right in all else: a second certificate of the same authority for the same name."""
    ca, trusted = authority
    shown, published = ca.issue(server_wish()), ca.issue(server_wish())
    own = Wish("client")
    ca.issue(own).write(tmp_path / "client.pem")
    pin = CertificatePin(hashlib.sha256(published.der).digest())
    in_context, in_client = (pin, None) if way == "context" else (None, pin)
    context = client_context(trusted, tmp_path / "client.pem", pin=in_context)
    async with (
        listening_with(shown, tmp_path) as impostor,
        ScanServerClient(impostor.url, tls=context, patience=Patience(()), pin=in_client) as device,
    ):
        with pytest.raises(Untrusted, match="not the one published") as refused:
            await device.probe()
    assert impostor.heard in ([], [b""])
    assert "publish-certificate" in refused.value.what_to_do
    assert not refused.value.retry_helps


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "sha512"])
async def test_case_40_a_device_scans_to_the_server_whose_certificate_is_pinned(
    world: World, algorithm: str
) -> None:
    server = x509.load_pem_x509_certificate((world.site.made.pki / "server.pem").read_bytes())
    digest = hashlib.new(algorithm, server.public_bytes(Encoding.DER)).digest()
    pin = CertificatePin(digest, algorithm)
    context = world.site.tls()
    async with ScanServerClient(world.site.url, tls=context, pin=pin, patience=Patience(())) as device:
        await device.create(await world.site.process(), world.alice.sid)


async def test_case_40_a_pin_replaces_no_other_check(
    authority: tuple[Authority, Path], tmp_path: Path
) -> None:
    _, trusted = authority
    shown = self_signed(server_wish())
    context = client_context(trusted, pin=CertificatePin(hashlib.sha256(shown.der).digest()))
    async with (
        listening_with(shown, tmp_path) as impostor,
        ScanServerClient(impostor.url, tls=context, patience=Patience(())) as device,
    ):
        with pytest.raises(Untrusted, match="authority that is not trusted"):
            await device.probe()


async def test_case_40_a_pin_that_is_no_digest_is_refused() -> None:
    for digest, algorithm in ((b"x" * 31, "sha256"), (b"x" * 32, "rot13"), (b"", "sha1")):
        with pytest.raises(ValueError, match=r"digest|unsupported hash"):
            CertificatePin(digest, algorithm)


async def test_case_40_a_device_says_in_words_what_is_wrong_with_its_certificate(world: World) -> None:
    told = set()
    flaws: list[CertificateFlaw | AuthenticationFlaw] = [*CertificateFlaw, *AuthenticationFlaw]
    for flaw in flaws:
        kind = FaultParty.SENDER
        fault = RemoteFault(SoapFault(kind, FAILED, "The caller could not be authenticated.", flaw.value))
        assert flaw.value in str(fault)
        told.add(advice_on(fault))
        assert len(advice_on(fault)) > 30
    assert len(told) > len(flaws) / 2
    shown = world.issue(ends=-DAY / 24)
    context = world.site.tls(user=None)
    context.load_cert_chain(shown.write(world.folder / "shown.pem"))
    async with ScanServerClient(world.site.url, tls=context, patience=Patience(())) as device:
        with pytest.raises(RemoteFault, match=r"The certificate has expired\.") as refused:
            await device.create(await world.site.process(), world.alice.sid)
    assert "issue a new certificate" in refused.value.what_to_do
