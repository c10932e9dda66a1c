"""How altSecurityIdentities names a certificate (KB5014754, [MS-PKCA] 3.1.5.2.1)."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from postscan.directory.active.certificate_names import strong_names, x500_string
from support.account_certificates import KEY, certificate


def name(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


def test_the_issuer_stands_from_the_root_down_and_the_serial_number_backwards() -> None:
    # The example of KB5014754: issuer CN=CONTOSO-DC-CA,DC=contoso,DC=com; serial 2B0000000011AC0000000012.
    issuer = name(
        (NameOID.DOMAIN_COMPONENT, "com"),
        (NameOID.DOMAIN_COMPONENT, "contoso"),
        (NameOID.COMMON_NAME, "CONTOSO-DC-CA"),
    )
    names = strong_names(certificate(issuer=issuer, serial=0x2B0000000011AC0000000012))
    assert "X509:<I>DC=com,DC=contoso,CN=CONTOSO-DC-CA<SR>1200000000ac11000000002b" in names


def test_a_serial_number_counts_with_and_without_its_octet_for_the_sign() -> None:
    names = strong_names(certificate(issuer=name((NameOID.COMMON_NAME, "CA")), serial=0x80FF))
    assert {"X509:<I>CN=CA<SR>ff80", "X509:<I>CN=CA<SR>ff8000"} < set(names)


def test_the_key_identifier_is_taken_as_the_certificate_has_it() -> None:
    assert f"X509:<SKI>{'5c' * 20}" in strong_names(certificate(key_identifier=b"\x5c" * 20))


def test_a_key_identifier_that_is_too_short_to_mean_one_key_is_not_taken() -> None:
    assert not [n for n in strong_names(certificate(key_identifier=b"\x01")) if "<SKI>" in n]


def test_the_hash_counts_of_the_key_in_either_form_and_of_the_whole_certificate() -> None:
    shown = certificate()
    names = strong_names(shown)
    info = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    point = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    for octets in (info, point, shown.public_bytes(Encoding.DER)):
        assert f"X509:<SHA1-PUKEY>{hashlib.sha1(octets, usedforsecurity=False).hexdigest()}" in names


def test_the_weak_forms_are_never_asked_for() -> None:
    names = strong_names(certificate(upns=["a@dsm.test"], mail="a@dsm.test", key_identifier=b"k" * 20))
    assert not [n for n in names if "<S>" in n or "<RFC822>" in n]
    assert {n.rpartition("<")[2].partition(">")[0] for n in names} == {"SR", "SKI", "SHA1-PUKEY"}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("Plain CA", "CN=Plain CA"),
        ("Contoso, Ltd.", 'CN="Contoso, Ltd."'),
        ('The "best" CA', 'CN="The ""best"" CA"'),
        ("a+b", 'CN="a+b"'),
        ("a=b", 'CN="a=b"'),
        ("<SR>00", 'CN="<SR>00"'),
        ("#1", 'CN="#1"'),
        ("a;b", 'CN="a;b"'),
        (" padded ", 'CN=" padded "'),
        ("line\nbreak", 'CN="line\nbreak"'),
        ("Zürich", "CN=Zürich"),
        ("back\\slash", "CN=back\\slash"),
    ],
)
def test_values_are_quoted_as_windows_does(value: str, written: str) -> None:
    assert x500_string(name((NameOID.COMMON_NAME, value))) == written


def test_state_and_mail_have_the_short_names_of_windows_and_the_unknown_their_numbers() -> None:
    written = x500_string(
        name(
            (NameOID.COUNTRY_NAME, "DE"),
            (NameOID.STATE_OR_PROVINCE_NAME, "Bayern"),
            (NameOID.EMAIL_ADDRESS, "ca@dsm.test"),
            (x509.ObjectIdentifier("1.2.3.4"), "odd"),
        )
    )
    assert written == "C=DE,S=Bayern,E=ca@dsm.test,OID.1.2.3.4=odd"


def test_several_values_in_one_part_of_a_name_are_joined() -> None:
    part = x509.RelativeDistinguishedName(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "CA"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, "7"),
        ]
    )
    assert x500_string(x509.Name([part])) in {"CN=CA + SERIALNUMBER=7", "SERIALNUMBER=7 + CN=CA"}


def test_a_value_that_is_no_text_is_written_in_hexadecimal() -> None:
    odd = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\x00\xab", _ASN1Type.BitString)
    assert x500_string(x509.Name([odd])) == "OID.2.5.4.45=#00AB"
