"""The certificate authority: profiles that TLS accepts, keys that nobody else reads."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from postscan.cli.pki import (
    KeyAlgorithm,
    KeyPair,
    create_ca,
    create_file,
    issue_server,
    issue_user,
    write_pair,
)
from postscan.core.errors import ConfigurationError
from postscan.directory.model import User

ALICE = User(
    sid="S-1-5-21-1-2-3-1103",
    name="alice",
    domain="example.com",
    upn="alice@example.com",
    display_name="Alice",
)


@pytest.fixture(scope="module")
def ca() -> KeyPair:
    return create_ca("Test authority")


def usage(pair: KeyPair) -> x509.KeyUsage:
    return pair.certificate.extensions.get_extension_for_class(x509.KeyUsage).value


def test_the_authority_signs_certificates_and_nothing_else(ca: KeyPair) -> None:
    constraints = ca.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca
    assert constraints.value.path_length == 0
    assert usage(ca).key_cert_sign
    assert not usage(ca).digital_signature


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_a_servers_certificate_passes_the_checks_of_rfc_5280(algorithm: KeyAlgorithm) -> None:
    authority = create_ca("Test authority", algorithm=algorithm)
    server = issue_server(authority, "scan.example.com", ["192.0.2.5"], algorithm=algorithm)
    builder = verification.PolicyBuilder().store(verification.Store([authority.certificate]))
    for name in (x509.DNSName("scan.example.com"), x509.IPAddress(ip_address("192.0.2.5"))):
        chain = builder.build_server_verifier(name).verify(server.certificate, [])
        assert chain[-1] == authority.certificate


def test_a_certificate_for_another_host_is_not_accepted(ca: KeyPair) -> None:
    server = issue_server(ca, "scan.example.com")
    verifier = verification.PolicyBuilder().store(verification.Store([ca.certificate]))
    with pytest.raises(verification.VerificationError):
        verifier.build_server_verifier(x509.DNSName("other.example.com")).verify(server.certificate, [])


def test_a_users_certificate_names_its_account(ca: KeyPair) -> None:
    certificate = issue_user(ca, ALICE).certificate
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    other = names.get_values_for_type(x509.OtherName)
    assert b"alice@example.com" in other[0].value
    sid = [e for e in certificate.extensions if e.oid.dotted_string == "1.3.6.1.4.1.311.25.2"]
    assert b"S-1-5-21-1-2-3-1103" in sid[0].value.public_bytes()


def test_validity_is_ten_years_825_days_and_a_year(ca: KeyPair) -> None:
    now = datetime.now(UTC)
    for pair, days in ((ca, 3650), (issue_server(ca, "a.example"), 825), (issue_user(ca, ALICE), 365)):
        assert pair.certificate.not_valid_before_utc < now
        assert abs(pair.certificate.not_valid_after_utc - now - timedelta(days=days)) < timedelta(minutes=5)


def test_rsa_is_there_for_old_devices(ca: KeyPair) -> None:
    server = issue_server(ca, "scan.example.com", algorithm=KeyAlgorithm.RSA)
    assert isinstance(server.key, rsa.RSAPrivateKey)
    assert server.key.key_size == 2048
    assert usage(server).key_encipherment


def test_a_name_too_long_for_a_common_name_stands_in_the_alternative_names(ca: KeyPair) -> None:
    fqdn = ".".join(["a" * 40, "b" * 40, "example.com"])
    names = issue_server(ca, fqdn).certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == [fqdn]


def test_a_private_key_is_readable_by_its_owner_alone(ca: KeyPair, tmp_path: Path) -> None:
    write_pair(ca, tmp_path / "ca.pem", tmp_path / "ca.key")
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    ssl.create_default_context(cafile=tmp_path / "ca.pem")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "ca.pem", tmp_path / "ca.key")


def test_a_file_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.key").write_text("precious")
    with pytest.raises(ConfigurationError):
        create_file(tmp_path / "x.key", b"new")
    assert (tmp_path / "x.key").read_text() == "precious"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "x.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError):
        create_file(tmp_path / "x.key", b"new")
    assert not (tmp_path / "elsewhere").exists()
