"""The hash of a scan server's certificate on its computer object, as it may stand there."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from postscan.directory.active.published import (
    ALGORITHM,
    HASH,
    NoSuchComputer,
    PublishedCertificates,
    PublishedHash,
    PublishedHashUnusable,
    read_hash,
)
from support.account_certificates import certificate
from support.memory_ldap import MemoryLdap

HOST = "scansrv.dsm.test"
CERTIFICATE = certificate()
DER = CERTIFICATE.public_bytes(Encoding.DER)
SHA1 = hashlib.sha1(DER, usedforsecurity=False).digest()
SHA256 = hashlib.sha256(DER).digest()
DN = "CN=SCANSRV,CN=Computers,DC=dsm,DC=test"


def ldap(**attributes: str | bytes | list[str]) -> MemoryLdap:
    made = MemoryLdap("DC=dsm,DC=test", "CN=Configuration,DC=dsm,DC=test")
    made.put(DN, {"objectClass": "computer", "objectCategory": "computer", "dNSHostName": HOST} | attributes)
    return made


def _not_the_octets(value: object) -> str | None:
    """Name a case without its octets, which differ in every process that collects the tests."""
    return "octets" if isinstance(value, bytes) else None


@pytest.mark.parametrize(
    ("value", "algorithm"),
    [
        (SHA256, "SHA256"),
        (SHA256, "sha-256"),
        (SHA256, " SHA_256 "),
        (SHA256, "2.16.840.1.101.3.4.2.1"),
        (SHA256, None),
        (SHA1, "SHA1"),
        (SHA1, "1.3.14.3.2.26"),
        (SHA1, None),
        (hashlib.sha384(DER).digest(), "SHA384"),
        (hashlib.sha512(DER).digest(), "SHA-512"),
        (hashlib.sha3_256(DER).digest(), "SHA3-256"),
        (SHA256.hex().encode(), "SHA256"),
        (SHA256.hex(":").upper().encode(), "SHA256"),
        (SHA1.hex(" ").encode() + b"\r\n", "SHA1"),
    ],
    ids=_not_the_octets,
)
def test_a_hash_is_read_however_it_is_written(value: bytes, algorithm: str | None) -> None:
    published = read_hash(value, algorithm)
    assert published.matches(DER)
    assert not published.matches(DER + b"\0")


@pytest.mark.parametrize(
    ("value", "algorithm", "words"),
    [
        (hashlib.md5(DER, usedforsecurity=False).digest(), "MD5", "too weak"),
        (SHA256, "CRC32", "not known"),
        (SHA256, "shake_128", "not known"),
        (SHA256, "", "not known"),
        (SHA256[:-1], "SHA256", "31 octets"),
        (SHA1, "SHA256", "20 octets"),
        (b"", "SHA256", "0 octets"),
        (b"x" * 64, "SHA256", "64 octets"),
        (b"\x00" * 7, None, "7 octets"),
    ],
    ids=_not_the_octets,
)
def test_a_hash_that_cannot_be_compared_with_is_refused_in_words(
    value: bytes, algorithm: str | None, words: str
) -> None:
    with pytest.raises(PublishedHashUnusable, match=words):
        read_hash(value, algorithm)


@given(st.binary(max_size=200), st.none() | st.text(max_size=80))
def test_whatever_stands_there_is_read_or_refused(value: bytes, algorithm: str | None) -> None:
    with contextlib.suppress(PublishedHashUnusable):
        assert isinstance(read_hash(value, algorithm), PublishedHash)


async def test_what_was_published_is_read_back() -> None:
    published = PublishedCertificates(ldap())
    assert await published.read(HOST) is None
    assert await published.publish(HOST, CERTIFICATE)
    assert await published.read("SCANSRV.dsm.test.") == PublishedHash("sha256", SHA256)


async def test_publishing_the_same_again_changes_nothing() -> None:
    published = PublishedCertificates(ldap())
    await published.publish(HOST, CERTIFICATE)
    assert not await published.publish(HOST, CERTIFICATE)


async def test_another_certificate_takes_the_place_of_the_first() -> None:
    made = ldap(**{HASH: SHA1, ALGORITHM: "SHA1"})
    assert await PublishedCertificates(made).publish(HOST, CERTIFICATE)
    assert await PublishedCertificates(made).read(HOST) == PublishedHash("sha256", SHA256)


async def test_what_is_withdrawn_is_gone() -> None:
    made = ldap(**{HASH: SHA1, ALGORITHM: "SHA1"})
    published = PublishedCertificates(made)
    assert await published.withdraw(HOST)
    assert await published.read(HOST) is None
    assert not await published.withdraw(HOST)


async def test_a_computer_is_known_by_its_service_name_too() -> None:
    made = ldap(dNSHostName="alias.dsm.test", servicePrincipalName=[f"HOST/{HOST}"])
    assert await PublishedCertificates(made).publish(HOST, CERTIFICATE)


async def test_without_a_computer_object_nothing_is_published_and_the_words_say_how_to_make_one() -> None:
    with pytest.raises(NoSuchComputer, match=r"other\.dsm\.test") as caught:
        await PublishedCertificates(ldap()).publish("other.dsm.test", CERTIFICATE)
    assert "computer account" in caught.value.what_to_do
    assert await PublishedCertificates(ldap()).read("other.dsm.test") is None


async def test_two_computers_of_one_name_are_not_chosen_from() -> None:
    made = ldap(**{HASH: SHA1})
    made.put(
        "CN=EVIL,CN=Computers,DC=dsm,DC=test",
        {"objectClass": "computer", "objectCategory": "computer", "dNSHostName": HOST, HASH: SHA256},
    )
    published = PublishedCertificates(made)
    with pytest.raises(PublishedHashUnusable, match="2 computer objects"):
        await published.read(HOST)
    with pytest.raises(NoSuchComputer, match="2 computer objects"):
        await published.publish(HOST, CERTIFICATE)


async def test_a_host_name_is_no_filter() -> None:
    assert await PublishedCertificates(ldap(**{HASH: SHA1})).read("*") is None
