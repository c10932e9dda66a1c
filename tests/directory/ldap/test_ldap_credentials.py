"""Credentials as values, and which of them may go over which transport (abuse cases 25 and 39)."""

import contextlib
import hashlib
import importlib.util
import logging
import threading
from pathlib import Path

import pytest
import spnego
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from spnego import ContextReq
from spnego.exceptions import ErrorCode, SpnegoError

from postscan.cli.pki import create_ca
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.directory.ldap import dialling
from postscan.directory.ldap.answers import Result
from postscan.directory.ldap.binding import (
    Credentials,
    Mechanism,
    Negotiation,
    Sasl,
    SimplePassword,
    channel_binding,
    in_words,
)
from postscan.directory.ldap.dialling import in_thread
from postscan.directory.ldap.model import (
    CredentialsRefused,
    DirectoryAway,
    DirectoryUntrusted,
    NoSuchObject,
    NotPermitted,
    RequestRefused,
)
from postscan.directory.ldap.results import bind_failure, failure
from postscan.directory.ldap.settings import LdapSettings, Transport

_PASSWORD = Secret("Al1ce-Passw0rd")


@pytest.mark.parametrize(
    ("account", "password"),
    [("", "x"), ("alice", ""), ("al\0ice", "x"), ("alice", "x\0y"), ("alice", "\udc80"), ("\udc80", "x")],
)
def test_credentials_that_would_prove_nothing_are_refused_at_once(account: str, password: str) -> None:
    with pytest.raises(CredentialsRefused):
        SimplePassword(account, Secret(password))
    with pytest.raises(CredentialsRefused):
        Sasl(Mechanism.NEGOTIATE, account, Secret(password))


def test_ntlm_needs_a_password() -> None:
    with pytest.raises(ConfigurationError, match="NTLM"):
        Sasl(Mechanism.NTLM, "alice")


def test_a_password_and_a_keytab_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        Sasl(Mechanism.KERBEROS, "alice", _PASSWORD, Path("x.keytab"))


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (SimplePassword("alice@DSM.TEST", _PASSWORD), "alice@DSM.TEST"),
        (Sasl(Mechanism.KERBEROS, keytab=Path("x.keytab")), "the first principal of x.keytab"),
        (Sasl(Mechanism.KERBEROS), "the default Kerberos tickets"),
    ],
)
def test_credentials_are_named_without_their_secret(credentials: Credentials, words: str) -> None:
    assert in_words(credentials) == words
    assert "Al1ce" not in repr(credentials)


def test_a_simple_bind_cannot_be_sealed() -> None:
    with pytest.raises(ConfigurationError, match="cannot be sealed"):
        LdapSettings("dsm.test", SimplePassword("alice", _PASSWORD), Transport.SEALED)


def test_kerberos_and_ntlm_are_not_used_in_clear() -> None:
    with pytest.raises(ConfigurationError, match="never used without protection"):
        LdapSettings("dsm.test", Sasl(Mechanism.NTLM, "alice", _PASSWORD), Transport.INSECURE_PLAIN)


def test_deadlines_cannot_be_switched_off() -> None:
    with pytest.raises(ConfigurationError, match="more than 0"):
        LdapSettings("dsm.test", SimplePassword("alice", _PASSWORD), answer_seconds=0)


@pytest.mark.parametrize(
    ("transport", "catalog", "port"),
    [
        (Transport.LDAPS, False, 636),
        (Transport.LDAPS, True, 3269),
        (Transport.STARTTLS, False, 389),
        (Transport.SEALED, True, 3268),
    ],
)
def test_each_transport_has_its_port(transport: Transport, catalog: bool, port: int) -> None:
    assert transport.port(global_catalog=catalog) == port


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")],
)
def test_a_bind_is_tied_to_the_certificate_by_the_hash_of_its_signature(
    algorithm: hashes.HashAlgorithm, digest: str
) -> None:
    der = certificate(algorithm)
    assert channel_binding(der) == b"tls-server-end-point:" + hashlib.new(digest, der).digest()


def test_where_a_signature_has_no_hash_it_is_sha_256() -> None:
    der = certificate(None)
    assert channel_binding(der) == b"tls-server-end-point:" + hashlib.sha256(der).digest()


def test_where_a_signature_is_of_an_unknown_kind_it_is_sha_256() -> None:
    der = certificate(hashes.SHA256())
    ecdsa = bytes.fromhex("06082a8648ce3d0403")
    der = der.replace(ecdsa + b"\x02", ecdsa + b"\x09")
    assert channel_binding(der) == b"tls-server-end-point:" + hashlib.sha256(der).digest()


def certificate(algorithm: hashes.HashAlgorithm | None) -> bytes:
    authority = create_ca("Test").certificate
    key = (
        ed25519.Ed25519PrivateKey.generate() if algorithm is None else ec.generate_private_key(ec.SECP256R1())
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(authority.subject)
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(authority.not_valid_before_utc)
        .not_valid_after(authority.not_valid_after_utc)
        .sign(key, algorithm)  # type: ignore[arg-type]
    )
    return made.public_bytes(serialization.Encoding.DER)


class HalfHearted:
    """A security context of pyspnego that agreed on less than was asked for."""

    complete = True
    negotiated_protocol = "kerberos"

    def __init__(self, agreed: ContextReq) -> None:
        self.context_attr = agreed


@pytest.mark.parametrize(
    "agreed", [ContextReq.none, ContextReq.integrity, ContextReq.confidentiality, ContextReq.mutual_auth]
)
def test_less_than_signed_and_sealed_is_refused(agreed: ContextReq, monkeypatch: pytest.MonkeyPatch) -> None:
    negotiation = Negotiation(Sasl(Mechanism.NTLM, "alice", _PASSWORD), "dc1.dsm.test", None)
    monkeypatch.setattr(negotiation, "_context", HalfHearted(agreed))
    with pytest.raises(DirectoryUntrusted, match="does not sign and seal"):
        negotiation.check()


def test_a_logon_that_was_not_finished_is_none() -> None:
    with pytest.raises(DirectoryUntrusted, match="not finished"):
        Negotiation(Sasl(Mechanism.NTLM, "alice", _PASSWORD), "dc1.dsm.test", None).check()


@pytest.mark.parametrize(
    "token", [b"", b"\x00", b"NTLMSSP\x00", b"NTLMSSP\x00\x02\x00\x00\x00", b"\x60\x03abc"]
)
def test_an_answer_that_is_no_token_is_not_trusted(token: bytes) -> None:
    negotiation = Negotiation(Sasl(Mechanism.NTLM, "DSM\\alice", _PASSWORD), "dc1.dsm.test", None)
    negotiation.step()
    with pytest.raises(DirectoryUntrusted):
        negotiation.step(token)


@given(st.data())
def test_a_changed_challenge_is_answered_or_not_trusted(data: st.DataObject) -> None:
    changed = bytearray(_challenge())
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    negotiation = Negotiation(Sasl(Mechanism.NTLM, "DSM\\alice", _PASSWORD), "dc1.dsm.test", None)
    negotiation.step()
    with contextlib.suppress(DirectoryUntrusted):
        negotiation.step(bytes(changed))


def _challenge() -> bytes:
    names = b"".join(
        kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value
        for kind, value in ((2, "DSM".encode("utf-16-le")), (7, bytes(8)), (0, b""))
    )
    target = "DSM".encode("utf-16-le")
    flags = 0xE2898235.to_bytes(4, "little")
    fields = b"".join(
        len(value).to_bytes(2, "little") * 2 + at.to_bytes(4, "little")
        for value, at in ((target, 56), (names, 56 + len(target)))
    )
    head = b"NTLMSSP\0\2\0\0\0" + fields[:8] + flags + b"challeng" + bytes(8) + fields[8:] + bytes(8)
    return head + target + names


def test_an_intact_challenge_is_answered() -> None:
    negotiation = Negotiation(Sasl(Mechanism.NTLM, "DSM\\alice", _PASSWORD), "dc1.dsm.test", None)
    negotiation.step()
    assert (negotiation.step(_challenge()) or b"").startswith(b"NTLMSSP\0\3")
    negotiation.check()


def test_what_was_changed_on_the_way_is_not_opened() -> None:
    negotiation = Negotiation(Sasl(Mechanism.NTLM, "DSM\\alice", _PASSWORD), "dc1.dsm.test", None)
    negotiation.step()
    negotiation.step(_challenge())
    with pytest.raises(DirectoryUntrusted, match="changed on the way"):
        negotiation.unwrap(b"\1\0\0\0" + bytes(12) + b"sealed otherwise")


def test_a_password_that_looks_like_a_hash_is_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[object] = []

    def client(credential: object, **_: object) -> spnego.ContextProxy:
        received.append(credential)
        raise SpnegoError(ErrorCode.no_cred)

    monkeypatch.setattr(spnego, "client", client)
    lookalike = f"{'0' * 32}:{'a' * 32}"
    with pytest.raises(DirectoryUntrusted):
        Negotiation(Sasl(Mechanism.NTLM, "DSM\\alice", Secret(lookalike)), "dc1.dsm.test", None).step()
    assert received == [spnego.Password("DSM\\alice", lookalike)]


def test_without_its_packages_kerberos_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "postscan.directory.ldap.kerberos.find_spec",
        lambda name: None if name in {"krb5", "gssapi"} else found(name),
    )
    with pytest.raises(ConfigurationError) as told:
        Negotiation(Sasl(Mechanism.KERBEROS, "alice@DSM.TEST", _PASSWORD), "dc1.dsm.test", None)
    assert "postscan[kerberos]" in told.value.what_to_do


def test_tokens_are_not_logged() -> None:
    assert not logging.getLogger("spnego._ntlm").isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("525", "no such account"),
        ("52e", "password is wrong"),
        ("530", "at this time"),
        ("531", "from here"),
        ("532", "password has expired"),
        ("533", "disabled"),
        ("701", "account has expired"),
        ("773", "must change its password"),
        ("775", "locked"),
    ],
)
def test_the_reason_of_a_refused_bind_is_told_in_plain_words(data: str, words: str) -> None:
    said = f"80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data {data}, v3839"
    error = bind_failure("alice", Result(49, diagnostics=said))
    assert isinstance(error, CredentialsRefused)
    assert words in str(error)


def test_a_bind_that_arrived_over_another_tls_connection_is_not_trusted() -> None:
    said = "80090346: LdapErr: DSID-0C0906B0, comment: AcceptSecurityContext error, data 80090346, v4f7c"
    assert isinstance(bind_failure("alice", Result(49, diagnostics=said)), DirectoryUntrusted)


def test_a_bind_that_wants_more_protection_says_so() -> None:
    error = bind_failure("alice", Result(8, diagnostics="Transport encryption required."))
    assert isinstance(error, RequestRefused)
    assert "LDAPS" in error.what_to_do


def test_results_become_the_errors_that_are_waited_for() -> None:
    assert isinstance(failure("reading", Result(32)), NoSuchObject)
    assert isinstance(failure("adding", Result(50)), NotPermitted)
    assert isinstance(failure("reading", Result(52)), DirectoryAway)
    unknown = failure("reading", Result(4711, diagnostics="odd\x1b[31m\nwords"))
    assert isinstance(unknown, RequestRefused)
    assert unknown.code == 4711
    assert str(unknown) == "reading: result code (4711): odd [31m words"


def test_a_referral_is_not_followed_and_says_so() -> None:
    error = failure("reading CN=x", Result(10))
    assert isinstance(error, RequestRefused)
    assert "not followed" in str(error)


async def test_what_blocks_for_too_long_is_left_behind() -> None:
    release = threading.Event()
    try:
        with pytest.raises(DirectoryAway, match=r"within 0\.2 s"):
            await in_thread(release.wait, 0.2)
    finally:
        release.set()


async def test_only_few_may_be_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "_threads", threading.BoundedSemaphore(2))
    release = threading.Event()
    try:
        for _ in range(2):
            with pytest.raises(DirectoryAway, match="did not answer"):
                await in_thread(release.wait, 0.01)
        with pytest.raises(DirectoryAway, match="too many"):
            await in_thread(release.wait, 0.01)
    finally:
        release.set()


async def test_a_thread_that_cannot_be_made_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(dialling, "_threads", threading.BoundedSemaphore(1))
    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", no_more)
        with pytest.raises(DirectoryAway, match="threads"):
            await in_thread(lambda: 1, 20)
    assert await in_thread(lambda: 1, 20) == 1


async def test_what_goes_wrong_in_the_thread_is_told() -> None:
    def fail() -> None:
        raise DirectoryUntrusted("no")

    with pytest.raises(DirectoryUntrusted, match="no"):
        await in_thread(fail, 20)
