"""What a client certificate says of its account, and which account that is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from postscan.directory import der
from postscan.directory.certificates import (
    SID_EXTENSION,
    SID_NAME,
    UPN_NAME,
    CertificateRefused,
    subject_of,
    user_certificate_extensions,
)
from postscan.directory.embedded import EmbeddedDirectory

ALICE = "S-1-5-21-1004336348-1177238915-682003330-1103"
BOB = "S-1-5-21-1004336348-1177238915-682003330-1104"
KEY = ec.generate_private_key(ec.SECP256R1())
# The extension as [MS-WCCE] 2.2.2.7.7.4 lays it out, written by hand.
SID_DER = bytes.fromhex("303fa03d060a2b060104018237190201a02f042d") + ALICE.encode()


def certificate(*extensions: x509.ExtensionType) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256())


def principals(*upns: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [x509.OtherName(UPN_NAME, der.write(der.UTF8_STRING, upn.encode())) for upn in upns]
    )


def sid_only(sid: str) -> x509.ExtensionType:
    return user_certificate_extensions(sid, "x@example.com")[1]


def test_a_certificate_made_for_an_account_names_it() -> None:
    made = certificate(*user_certificate_extensions(ALICE, "alice@example.com"))
    subject = subject_of(made)
    assert (subject.sid, subject.upns, subject.mail) == (ALICE, ("alice@example.com",), None)
    assert subject.sha256 == made.fingerprint(hashes.SHA256()).hex()


def test_the_sid_extension_has_the_form_of_the_specification() -> None:
    [_, extension] = user_certificate_extensions(ALICE, "alice@example.com")
    assert extension.oid.dotted_string == "1.3.6.1.4.1.311.25.2"
    assert extension.public_bytes() == SID_DER


def test_a_certificate_that_names_nobody_is_read() -> None:
    subject = subject_of(certificate())
    assert (subject.sid, subject.upns, subject.mail) == (None, (), None)


def test_mail_and_several_principals_are_read_beside_other_names() -> None:
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("pc.example.com"),
            *principals("alice@example.com", "ali@example.com"),
            x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01x"),
            x509.RFC822Name("alice@mail.example.com"),
        ]
    )
    subject = subject_of(certificate(names))
    assert subject.upns == ("alice@example.com", "ali@example.com")
    assert subject.mail == "alice@mail.example.com"


def test_a_name_of_another_kind_in_the_sid_extension_is_passed_over() -> None:
    both = x509.SubjectAlternativeName(
        [
            x509.DNSName("x"),
            x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01x"),
            x509.OtherName(SID_NAME, der.write(der.OCTET_STRING, ALICE.encode())),
        ]
    ).public_bytes()
    assert subject_of(certificate(x509.UnrecognizedExtension(SID_EXTENSION, both))).sid == ALICE


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        SID_DER[:-1],
        SID_DER + b"\x00",
        SID_DER.replace(b"S-1-5", b"T-1-5"),
        SID_DER.replace(b"S-1-5", b"S-1-\xff"),
        b"\x30\x80" + SID_DER[2:] + b"\x00\x00",
        b"\x1f\x81\x00\x00",
        x509.SubjectAlternativeName(
            [x509.OtherName(SID_NAME, der.write(der.OCTET_STRING, s.encode())) for s in (ALICE, BOB)]
        ).public_bytes(),
    ],
)
def test_a_malformed_sid_extension_is_refused(value: bytes) -> None:
    with pytest.raises(CertificateRefused):
        subject_of(certificate(x509.UnrecognizedExtension(SID_EXTENSION, value)))


@pytest.mark.parametrize("value", [b"\x16\x02ab", b"\x0c\x02\xff\xfe", b"\x05\x00"])
def test_a_malformed_principal_name_is_refused(value: bytes) -> None:
    made = certificate(x509.SubjectAlternativeName([x509.OtherName(UPN_NAME, value)]))
    with pytest.raises(CertificateRefused):
        subject_of(made)


@given(st.binary(max_size=80))
def test_any_octets_as_sid_extension_are_refused_or_read(value: bytes) -> None:
    made = certificate(x509.UnrecognizedExtension(SID_EXTENSION, value))
    with pytest.raises(CertificateRefused):
        subject_of(made)


@given(st.integers(0, 255).filter(lambda tag: tag & 0x1F != 0x1F), st.binary(max_size=70_000))
def test_der_is_read_as_it_was_written(tag: int, content: bytes) -> None:
    assert der.only(der.write(tag, content), tag) == content


@pytest.mark.parametrize(("sid", "upn"), [("S-1", "alice@example.com"), (ALICE, "")])
def test_extensions_for_an_account_without_names_are_not_made(sid: str, upn: str) -> None:
    with pytest.raises(ValueError):
        user_certificate_extensions(sid, upn)


def directory_with(folder: Path, *, bobs_certificates: Sequence[str] = ()) -> EmbeddedDirectory:
    listed = ", ".join(f'"sha256:{digest}"' for digest in bobs_certificates)
    (folder / "users.toml").write_text(
        f"""
        [[user]]
        sid = "{ALICE}"
        name = "alice"
        upn = "alice@example.com"
        enabled = false
        [[user]]
        sid = "{BOB}"
        name = "bob"
        upn = "bob@example.com"
        certificates = [{listed}]
        """
    )
    (folder / "processes").mkdir()
    return EmbeddedDirectory(folder)


async def account_of(directory: EmbeddedDirectory, made: x509.Certificate) -> str | None:
    user = await directory.user_for_certificate(made)
    return user.name if user else None


@pytest.mark.parametrize(
    ("extensions", "name"),
    [
        (user_certificate_extensions(ALICE, "alice@example.com"), "alice"),
        ([sid_only(ALICE)], "alice"),
        ([principals("ALICE@Example.com")], "alice"),
        # The principal was renamed since.
        (user_certificate_extensions(ALICE, "alice.maiden@example.com"), "alice"),
        ([principals("alice@example.com", "nobody@example.com")], "alice"),
        (user_certificate_extensions(ALICE, "bob@example.com"), None),
        ([principals("alice@example.com", "bob@example.com")], None),
        (user_certificate_extensions("S-1-5-21-1-2-3-500", "alice@example.com"), None),
        ([principals("nobody@example.com")], None),
        ([x509.SubjectAlternativeName([x509.RFC822Name("alice@example.com")])], None),
        ([x509.UnrecognizedExtension(SID_EXTENSION, b"\x30\x00"), principals("alice@example.com")], None),
        ([], None),
    ],
)
async def test_a_certificate_maps_to_the_one_account_it_names(
    tmp_path: Path, extensions: list[x509.ExtensionType], name: str | None
) -> None:
    assert await account_of(directory_with(tmp_path), certificate(*extensions)) == name


async def test_a_disabled_account_is_mapped_and_says_so(tmp_path: Path) -> None:
    user = await directory_with(tmp_path).user_for_certificate(certificate(sid_only(ALICE)))
    assert user is not None
    assert not user.enabled


@pytest.mark.parametrize(
    ("extensions", "name"),
    [
        ([], "bob"),
        ([sid_only(BOB)], "bob"),
        ([principals("nobody@example.com")], "bob"),
        ([sid_only(ALICE)], None),
        ([principals("alice@example.com")], None),
    ],
)
async def test_a_listed_certificate_maps_to_who_lists_it_unless_it_names_another(
    tmp_path: Path, extensions: list[x509.ExtensionType], name: str | None
) -> None:
    made = certificate(*extensions)
    colons = made.fingerprint(hashes.SHA256()).hex(":").upper()
    assert await account_of(directory_with(tmp_path, bobs_certificates=[colons]), made) == name
