"""Whose a certificate is: everything in it has to agree on one account."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from postscan.directory.active.certificate_accounts import CertificateAccounts, WeakMapping
from postscan.directory.active.certificate_names import strong_names
from postscan.directory.certificates import CertificateRefused
from postscan.directory.model import User
from support.account_certificates import certificate
from support.memory_forest import ALICE, STAFF, ZOE, MemoryForest, sid

MALLORY = sid(1300)
TAG = "tag:microsoft.com,2022-09-14:sid:"


def forest(mapped_to_zoe: x509.Certificate | None = None, form: str = "<SR>") -> MemoryForest:
    made = MemoryForest()
    names = [] if mapped_to_zoe is None else [n for n in strong_names(mapped_to_zoe) if form in n]
    made.user(made.own, "zoë", ZOE, [STAFF], altSecurityIdentities=[n.upper() for n in names])
    return made


async def owner(
    shown: x509.Certificate, made: MemoryForest | None = None, weak: WeakMapping = WeakMapping.ALLOW
) -> User | None:
    return await CertificateAccounts((made or forest()).people, weak).user_of(shown)


def found(user: User | None) -> str:
    assert user is not None
    return user.sid


async def test_the_security_identifier_says_whose_it_is() -> None:
    assert found(await owner(certificate(sid=ALICE))) == ALICE


async def test_a_security_identifier_in_a_tag_says_whose_it_is() -> None:
    shown = certificate(uris=["https://dsm.test/", TAG + ALICE], upns=["alice@dsm.test"])
    assert found(await owner(shown, weak=WeakMapping.REFUSE)) == ALICE
    assert found(await owner(certificate(sid=ALICE, uris=[TAG + ALICE]))) == ALICE


@pytest.mark.parametrize(
    ("uris", "words"),
    [
        ([TAG + ALICE, TAG + ZOE], "several accounts"),
        ([TAG + ZOE], "several accounts"),
        ([TAG + sid(9_999)], "no user"),
        ([TAG + "*"], "unknown form"),
        ([TAG], "unknown form"),
    ],
)
async def test_a_tag_that_contradicts_or_is_none_is_refused(uris: list[str], words: str) -> None:
    with pytest.raises(CertificateRefused, match=words):
        await owner(certificate(uris=uris, upns=["alice@dsm.test"]))


async def test_a_principal_name_that_agrees_changes_nothing() -> None:
    assert found(await owner(certificate(sid=ALICE, upns=["alice@dsm.test"]))) == ALICE


async def test_the_security_identifier_counts_when_the_name_is_nobodys_any_more() -> None:
    assert found(await owner(certificate(sid=ALICE, upns=["alice.miller@dsm.test"]))) == ALICE


@pytest.mark.parametrize("form", ["<SR>", "<SKI>", "<SHA1-PUKEY>"])
async def test_each_strong_form_of_alt_security_identities_says_whose_it_is(form: str) -> None:
    shown = certificate(key_identifier=b"k" * 20)
    assert found(await owner(shown, forest(shown, form))) == ZOE


async def test_a_weak_form_of_alt_security_identities_says_nothing() -> None:
    shown, made = certificate(mail="a@dsm.test"), MemoryForest()
    weak = [
        "X509:<S>CN=somebody",
        "X509:<I>DC=test,DC=dsm,CN=DSM Users CA<S>CN=somebody",
        "X509:<RFC822>a@dsm.test",
    ]
    made.user(made.own, "zoë", ZOE, [STAFF], altSecurityIdentities=weak)
    assert await owner(shown, made) is None


async def test_the_mapping_of_another_certificate_of_the_same_issuer_says_nothing() -> None:
    assert await owner(certificate(serial=2), forest(certificate(serial=1))) is None


async def test_the_mapping_of_an_issuer_whose_name_only_looks_the_same_says_nothing() -> None:
    def issued_by(name: str) -> x509.Certificate:
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return certificate(issuer=issuer, serial=7)

    assert found(await owner(issued_by("Big CA"), forest(issued_by("Big CA")))) == ZOE
    # The directory overlooks how many spaces there are, and finds the account.
    assert await owner(issued_by("Big  CA"), forest(issued_by("Big CA"))) is None


async def test_a_principal_name_alone_says_whose_it_is() -> None:
    assert found(await owner(certificate(upns=["Alice@dsm.test"]))) == ALICE


async def test_a_principal_name_alone_can_be_refused() -> None:
    with pytest.raises(CertificateRefused, match="principal name alone") as caught:
        await owner(certificate(upns=["alice@dsm.test"]), weak=WeakMapping.REFUSE)
    assert "weak_mapping" in caught.value.what_to_do


async def test_what_is_strong_is_not_refused_with_the_weak() -> None:
    shown = certificate(upns=["zoë@dsm.test"])
    assert found(await owner(shown, forest(shown), WeakMapping.REFUSE)) == ZOE


@pytest.mark.parametrize("upn", ["alice", "DSM\\alice", "*@dsm.test", "nobody@dsm.test", ""])
async def test_a_name_that_is_no_principal_name_of_anybody_finds_nobody(upn: str) -> None:
    assert await owner(certificate(upns=[upn])) is None


async def test_a_certificate_that_names_nobody_is_nobodys() -> None:
    assert await owner(certificate()) is None


async def test_a_security_identifier_that_is_nobodys_is_refused_whatever_else_stands_there() -> None:
    shown = certificate(sid=sid(9_999), upns=["alice@dsm.test"])
    with pytest.raises(CertificateRefused, match="no user the directory can see"):
        await owner(shown, forest(shown))


async def test_a_security_identifier_and_another_ones_principal_name_are_refused() -> None:
    with pytest.raises(CertificateRefused, match=r"dsm.test\\alice and dsm.test\\zoë"):
        await owner(certificate(sid=ALICE, upns=["zoë@dsm.test"]))


async def test_a_security_identifier_and_another_ones_mapping_are_refused() -> None:
    shown = certificate(sid=ALICE)
    with pytest.raises(CertificateRefused, match="several accounts"):
        await owner(shown, forest(shown))


async def test_a_mapping_and_another_ones_principal_name_are_refused() -> None:
    shown = certificate(upns=["alice@dsm.test"])
    with pytest.raises(CertificateRefused, match="several accounts"):
        await owner(shown, forest(shown))


async def test_principal_names_of_two_people_are_refused() -> None:
    with pytest.raises(CertificateRefused, match="several accounts"):
        await owner(certificate(upns=["alice@dsm.test", "zoë@dsm.test"]))


async def test_a_certificate_of_many_names_asks_nobody() -> None:
    made = forest()
    with pytest.raises(CertificateRefused, match="more accounts"):
        await owner(certificate(upns=["alice@dsm.test"] * 17), made)
    assert not made.own.asked


async def test_a_mapping_that_two_accounts_have_is_refused() -> None:
    shown = certificate()
    made = forest(shown)
    made.user(made.own, "mallory", MALLORY, [STAFF], altSecurityIdentities=list(strong_names(shown)))
    with pytest.raises(CertificateRefused, match="several accounts"):
        await owner(shown, made)


async def test_the_owner_comes_with_groups_and_state() -> None:
    made = forest()
    made.user(made.own, "carol", sid(1250), [STAFF], userAccountControl=514)
    user = await owner(certificate(sid=sid(1250)), made)
    assert user is not None
    assert not user.enabled
    assert STAFF in user.token


async def test_a_certificate_with_a_key_of_an_unknown_kind_is_refused() -> None:
    der = certificate(sid=ALICE).public_bytes(Encoding.DER)
    prime256v1, prime239v3 = (bytes.fromhex(f"06082a8648ce3d0301{last}") for last in ("07", "06"))
    with pytest.raises(CertificateRefused, match="key cannot be read"):
        await owner(x509.load_der_x509_certificate(der.replace(prime256v1, prime239v3)))
