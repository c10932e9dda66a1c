"""What a certificate revocation list says, and which lists say nothing (RFC 5280, 5 and 6.3)."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from postscan.cli.pki import KeyPair
from postscan.server.revocation.crl import judge, read_lists
from postscan.server.revocation.model import Finding, SourceFailed, Status
from support.authorities import DAY, PEM, Authority, distribution_points, name

HOUR = timedelta(hours=1)
PLACE = "http://pki.example/a.crl"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.root("Issuing CA")


@pytest.fixture(scope="module")
def alice(authority: Authority) -> KeyPair:
    return authority.issue("alice", distribution_points(PLACE))


def found(authority: Authority, one: KeyPair | Authority, *octets: bytes) -> Finding:
    """Return what lists say of a certificate."""
    pair = one.pair if isinstance(one, Authority) else one
    lists = [entry for each in octets for entry in read_lists(each, "list")]
    return judge(lists, lists, pair.certificate, authority.certificate, authority.now)


def scope(**more: object) -> tuple[x509.IssuingDistributionPoint, bool]:
    """Return the critical extension that says what a list is for."""
    values: dict[str, object] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**(values | more)), True  # type: ignore[arg-type]


def test_a_certificate_on_the_list_is_revoked_with_its_reason(authority: Authority, alice: KeyPair) -> None:
    finding = found(authority, alice, authority.crl(alice.certificate))
    assert (finding.status, finding.why) == (Status.REVOKED, "list: revoked (keyCompromise)")


def test_one_that_is_not_on_it_is_good_until_the_next_list(authority: Authority, alice: KeyPair) -> None:
    ends = (authority.now + 5 * HOUR).replace(microsecond=0)
    finding = found(authority, alice, authority.crl(ends=ends))
    assert (finding.status, finding.until) == (Status.GOOD, ends)


def test_a_file_may_hold_several_lists(authority: Authority, alice: KeyPair) -> None:
    other = Authority.root("Other CA")
    octets = b"words before\n" + other.crl(encoding=PEM) + authority.crl(alice.certificate, encoding=PEM)
    assert len(read_lists(octets, "file")) == 2
    assert found(authority, alice, octets).status is Status.REVOKED


def test_a_list_of_another_authority_says_nothing(authority: Authority, alice: KeyPair) -> None:
    finding = found(authority, alice, Authority.root("Other CA").crl(alice.certificate))
    assert (finding.status, finding.why) == (Status.UNKNOWN, "list: it is another authority's")


@pytest.mark.parametrize("revoked", [True, False])
def test_a_list_that_another_key_signed_says_nothing(
    authority: Authority, alice: KeyPair, revoked: bool
) -> None:
    forged = Authority.root("Issuing CA").crl(*([alice.certificate] if revoked else []))
    finding = found(authority, alice, forged)
    assert (finding.status, finding.why) == (Status.UNKNOWN, "list: it is not signed by the authority")


def test_a_list_with_an_altered_octet_says_nothing(authority: Authority, alice: KeyPair) -> None:
    octets = bytearray(authority.crl())
    octets[-5] ^= 1
    assert found(authority, alice, bytes(octets)).status is Status.UNKNOWN


def test_a_signature_that_can_be_forged_says_nothing(
    authority: Authority, alice: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library signs with nothing weak any more: let what it signs with count as weak.
    monkeypatch.setattr("postscan.server.revocation.signatures._STRONG", (hashes.SHA512,))
    assert "can be forged" in found(authority, alice, authority.crl()).why


def test_an_authority_whose_certificate_does_not_let_it_sign_lists_is_not_heard() -> None:
    root = Authority.root("Root")
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    other = Authority(root.issue("No CRLs", usage), root.now)
    finding = found(other, other.issue("bob"), other.crl())
    assert "does not allow it to sign lists" in finding.why


def test_of_a_list_that_has_ended_only_what_it_names_counts(authority: Authority, alice: KeyPair) -> None:
    old = {"begins": authority.now - 3 * DAY, "ends": authority.now - DAY}
    absent = found(authority, alice, authority.crl(**old))  # type: ignore[arg-type]
    assert absent.status is Status.UNKNOWN
    assert "it ended on" in absent.why
    named = found(authority, alice, authority.crl(alice.certificate, **old))  # type: ignore[arg-type]
    assert named.status is Status.REVOKED
    hold = x509.ReasonFlags.certificate_hold
    held = found(authority, alice, authority.crl(alice.certificate, reason=hold, **old))  # type: ignore[arg-type]
    assert held.status is Status.UNKNOWN


def test_a_list_of_the_future_says_nothing(authority: Authority, alice: KeyPair) -> None:
    finding = found(authority, alice, authority.crl(begins=authority.now + HOUR))
    assert (finding.status, finding.why) == (Status.UNKNOWN, "list: it is not valid yet")


@pytest.mark.parametrize(
    "of",
    [
        {"indirect_crl": True},
        {"only_contains_attribute_certs": True},
        {"only_some_reasons": frozenset({x509.ReasonFlags.key_compromise})},
        {"relative_name": x509.RelativeDistinguishedName(list(name("x")))},
    ],
)
def test_lists_that_are_not_whole_or_not_its_own_are_not_used(
    authority: Authority, of: dict[str, object]
) -> None:
    with pytest.raises(SourceFailed, match="not used"):
        read_lists(authority.crl(extensions=[scope(**of)]), "list")


def test_a_critical_extension_that_is_not_understood_makes_a_list_useless(authority: Authority) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    with pytest.raises(SourceFailed, match=r"1\.2\.3\.4"):
        read_lists(authority.crl(extensions=[(unknown, True)]), "list")
    assert len(read_lists(authority.crl(extensions=[(unknown, False)]), "list")) == 1


def test_a_list_of_one_kind_of_certificates_says_nothing_of_the_other(
    authority: Authority, alice: KeyPair
) -> None:
    below = authority.authority("Below")
    users = authority.crl(extensions=[scope(only_contains_user_certs=True)])
    authorities = authority.crl(extensions=[scope(only_contains_ca_certs=True)])
    assert found(authority, alice, users).status is Status.GOOD
    assert found(authority, alice, authorities).status is Status.UNKNOWN
    assert found(authority, below, users).status is Status.UNKNOWN
    assert found(authority, below, authorities).status is Status.GOOD


def test_a_list_for_another_place_says_nothing(authority: Authority, alice: KeyPair) -> None:
    def at(url: str) -> bytes:
        return authority.crl(extensions=[scope(full_name=[x509.UniformResourceIdentifier(url)])])

    assert found(authority, alice, at(PLACE)).status is Status.GOOD
    assert found(authority, alice, at("http://pki.example/b.crl")).status is Status.UNKNOWN


def test_a_revocation_counts_whatever_other_lists_say(authority: Authority, alice: KeyPair) -> None:
    finding = found(authority, alice, authority.crl(), authority.crl(alice.certificate, number=2))
    assert finding.status is Status.REVOKED


# Delta lists -----------------------------------------------------------------------------------------------


def delta(authority: Authority, *revoked: x509.Certificate, base: int = 1, number: int = 2, **more) -> bytes:
    return authority.crl(*revoked, number=number, extensions=[(x509.DeltaCRLIndicator(base), True)], **more)


def test_a_delta_list_adds_to_its_complete_list(authority: Authority, alice: KeyPair) -> None:
    ends = (authority.now + HOUR).replace(microsecond=0)
    added = delta(authority, alice.certificate, ends=ends)
    assert found(authority, alice, authority.crl(), added).status is Status.REVOKED
    unchanged = found(authority, alice, authority.crl(), delta(authority, ends=ends))
    assert (unchanged.status, unchanged.until) == (Status.GOOD, ends)


def test_a_delta_list_revokes_even_where_its_complete_list_has_ended(
    authority: Authority, alice: KeyPair
) -> None:
    ended = authority.crl(begins=authority.now - 3 * DAY, ends=authority.now - DAY)
    assert found(authority, alice, ended, delta(authority)).status is Status.UNKNOWN
    assert found(authority, alice, ended, delta(authority, alice.certificate)).status is Status.REVOKED


def test_a_delta_list_lets_go_what_was_on_hold(authority: Authority, alice: KeyPair) -> None:
    held = authority.crl(alice.certificate, reason=x509.ReasonFlags.certificate_hold)
    freed = delta(authority, alice.certificate, reason=x509.ReasonFlags.remove_from_crl)
    assert found(authority, alice, held).status is Status.REVOKED
    assert found(authority, alice, held, freed).status is Status.GOOD


def test_a_delta_list_that_does_not_fit_is_left_out(authority: Authority, alice: KeyPair) -> None:
    for one in (
        delta(authority, alice.certificate, base=5, number=6),
        delta(Authority.root("Issuing CA"), alice.certificate),
        delta(authority, alice.certificate, begins=authority.now - 3 * DAY, ends=authority.now - DAY),
        authority.crl(
            alice.certificate,
            number=2,
            extensions=[(x509.DeltaCRLIndicator(1), True), scope(only_contains_user_certs=True)],
        ),
    ):
        assert found(authority, alice, authority.crl(), one).status is Status.GOOD


def test_a_delta_list_alone_says_nothing(authority: Authority, alice: KeyPair) -> None:
    assert found(authority, alice, delta(authority)).status is Status.UNKNOWN


# Whatever comes --------------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_what_is_no_list_is_refused(octets: bytes) -> None:
    with pytest.raises(SourceFailed):
        read_lists(octets, "list")


SIGNER = Authority.root()
LIST = SIGNER.crl()


@given(st.integers(0, len(LIST) - 1), st.integers(1, 255))
def test_a_damaged_list_never_says_anything_is_good(place: int, change: int) -> None:
    octets = bytearray(LIST)
    octets[place] ^= change
    try:
        finding = found(SIGNER, SIGNER, bytes(octets))
    except SourceFailed:
        return
    assert finding.status is Status.UNKNOWN
