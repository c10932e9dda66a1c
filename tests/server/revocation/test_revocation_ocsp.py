"""Which answers of OCSP responders count, and what they say (RFC 6960)."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from postscan.cli.pki import KeyPair
from postscan.server.revocation.model import SourceFailed, Status
from postscan.server.revocation.ocsp import OcspAnswer, OcspQuestion, addresses_of, read_answer
from support.authorities import DAY, DER, Authority, responders

HOUR = timedelta(hours=1)
NONCE = bytes(range(16))
GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.root("Issuing CA")


@pytest.fixture(scope="module")
def alice(authority: Authority) -> KeyPair:
    return authority.issue("alice")


def question(authority: Authority, one: KeyPair) -> OcspQuestion:
    return OcspQuestion(one.certificate, authority.certificate, NONCE)


def told(
    authority: Authority, one: KeyPair, status: ocsp.OCSPCertStatus = GOOD, **more: object
) -> OcspAnswer:
    """Return what an answer of ``authority`` means to who asked about ``one``."""
    asked = question(authority, one)
    more.setdefault("certificate", one.certificate)
    octets = authority.answer(asked.encode(), status, **more)  # type: ignore[arg-type]
    return read_answer(octets, asked, "responder", authority.now)


@pytest.mark.parametrize("by_hash", [True, False])
def test_the_authority_itself_answers(authority: Authority, alice: KeyPair, by_hash: bool) -> None:
    good = told(authority, alice, by_hash=by_hash).finding
    assert good.status is Status.GOOD
    assert good.until is not None
    assert good.until > authority.now
    assert told(authority, alice, REVOKED, by_hash=by_hash).finding.status is Status.REVOKED


def test_a_responder_may_not_know(authority: Authority, alice: KeyPair) -> None:
    assert told(authority, alice, ocsp.OCSPCertStatus.UNKNOWN).finding.status is Status.UNKNOWN


@pytest.mark.parametrize("by_hash", [True, False])
def test_a_delegated_responder_answers(authority: Authority, alice: KeyPair, by_hash: bool) -> None:
    answer = told(authority, alice, signed_by=authority.responder(), by_hash=by_hash)
    assert (answer.finding.status, answer.responder) == (Status.GOOD, None)


def test_the_certificate_of_a_responder_may_have_to_be_checked(authority: Authority, alice: KeyPair) -> None:
    delegated = authority.responder(no_check=False)
    assert told(authority, alice, signed_by=delegated).responder == delegated.certificate


def test_a_responder_that_the_authority_did_not_make_one_is_not_heard(
    authority: Authority, alice: KeyPair
) -> None:
    other = Authority.root("Issuing CA")
    for signer, why in (
        (authority.responder(ExtendedKeyUsageOID.CLIENT_AUTH), "not for OCSP"),
        (authority.issue("alice"), "not for OCSP"),
        (alice, "not for OCSP"),
        (other.responder(), "not of the authority"),
        (authority.authority("Below").responder(), "not of the authority"),
        (authority.responder(days=2), "not valid now"),
    ):
        with pytest.raises(SourceFailed, match=why):
            told(authority, alice, signed_by=signer)


def test_an_answer_without_its_signers_certificate_is_not_heard(authority: Authority, alice: KeyPair) -> None:
    for signer in (authority.responder(), Authority.root("Issuing CA").pair):
        with pytest.raises(SourceFailed, match="neither by the authority"):
            told(authority, alice, signed_by=signer, shown=alice.certificate)


def test_a_responders_certificate_alone_signs_nothing(authority: Authority, alice: KeyPair) -> None:
    mallory = Authority.root("Other CA").issue("Responder")
    with pytest.raises(SourceFailed, match="neither by the authority"):
        told(authority, alice, signed_by=mallory, shown=authority.responder().certificate)


def test_a_critical_extension_that_is_not_understood_makes_an_answer_useless(
    authority: Authority, alice: KeyPair
) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    with pytest.raises(SourceFailed, match="critical extension"):
        told(authority, alice, extensions=[(unknown, True)])
    assert told(authority, alice, extensions=[(unknown, False)]).finding.status is Status.GOOD


def test_an_answer_about_another_certificate_is_none(authority: Authority, alice: KeyPair) -> None:
    with pytest.raises(SourceFailed, match="another certificate"):
        told(authority, alice, certificate=authority.issue("bob").certificate)


def test_an_answer_about_the_same_number_of_another_authority_is_none(
    authority: Authority, alice: KeyPair
) -> None:
    other = Authority.root("Other CA")
    octets = other.answer(
        question(authority, alice).encode(),
        certificate=alice.certificate,
        signed_by=authority.responder(),
    )
    with pytest.raises(SourceFailed, match="another certificate"):
        read_answer(octets, question(authority, alice), "responder", authority.now)


@pytest.mark.parametrize(
    ("begins", "ends"), [(-3 * DAY, -DAY), (-2 * HOUR, -HOUR), (HOUR, DAY)], ids=["days", "hours", "future"]
)
def test_an_answer_counts_in_its_own_time_alone(
    authority: Authority, alice: KeyPair, begins: timedelta, ends: timedelta
) -> None:
    with pytest.raises(SourceFailed, match=r"too old|not valid yet"):
        told(authority, alice, REVOKED, begins=authority.now + begins, ends=authority.now + ends)


def test_the_answer_to_another_question_does_not_count(authority: Authority, alice: KeyPair) -> None:
    with pytest.raises(SourceFailed, match="another question"):
        told(authority, alice, nonce=b"x" * 16)
    # Responders that answer from a store of signed answers leave it out.
    assert told(authority, alice, nonce=None).finding.status is Status.GOOD


def test_a_signature_that_can_be_forged_does_not_count(
    authority: Authority, alice: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postscan.server.revocation.signatures._STRONG", (hashes.SHA512,))
    with pytest.raises(SourceFailed, match="can be forged"):
        told(authority, alice)


def test_a_responder_with_a_weak_key_is_not_heard(
    authority: Authority, alice: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postscan.dpws.http.judgement._MIN_EC_BITS", 384)
    with pytest.raises(SourceFailed, match="responder's certificate can be forged"):
        told(authority, alice, signed_by=authority.responder())


@pytest.mark.parametrize("status", list(ocsp.OCSPResponseStatus)[1:], ids=str)
def test_a_responder_that_answers_with_an_error_says_nothing(
    authority: Authority, alice: KeyPair, status: ocsp.OCSPResponseStatus
) -> None:
    octets = ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(DER)
    with pytest.raises(SourceFailed, match="the responder answered"):
        read_answer(octets, question(authority, alice), "responder", authority.now)


def test_only_web_addresses_of_responders_are_asked(authority: Authority) -> None:
    named = authority.issue("bob", responders("http://a/", "ldap://b/", "file:///etc/passwd", "HTTPS://c/"))
    assert addresses_of(named.certificate) == ["http://a/", "HTTPS://c/"]
    assert addresses_of(authority.issue("carol").certificate) == []


@given(st.binary(max_size=200))
def test_what_is_no_answer_is_refused(octets: bytes) -> None:
    with pytest.raises(SourceFailed):
        read_answer(octets, QUESTION, "responder", SIGNER.now)


SIGNER = Authority.root()
BOB = SIGNER.issue("bob")
QUESTION = question(SIGNER, BOB)
ANSWER = SIGNER.answer(QUESTION.encode(), certificate=BOB.certificate)


@given(st.integers(0, len(ANSWER) - 1), st.integers(1, 255))
def test_a_damaged_answer_never_counts(place: int, change: int) -> None:
    octets = bytearray(ANSWER)
    octets[place] ^= change
    with pytest.raises(SourceFailed):
        read_answer(bytes(octets), QUESTION, "responder", SIGNER.now)
