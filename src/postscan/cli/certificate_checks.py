"""Checks files of certificates that settings name."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from postscan.cli.findings import Finding, problem, warning

_RENEW_BEFORE: Final = timedelta(days=30)


def read_file(path: Path, key: str) -> bytes | Finding:
    """Return what is in a file that a setting names, or why it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return problem(
            key, f"{path} does not exist", "name the right file, or make an installation with init"
        )
    except OSError as error:
        return problem(key, f"{path} cannot be read: {error.strerror}", "let the server's account read it")


def read_certificates(path: Path, key: str) -> list[x509.Certificate] | Finding:
    """Return the certificates in a PEM file that a setting names, or what is wrong."""
    pem = read_file(path, key)
    if isinstance(pem, Finding):
        return pem
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return problem(
            key, f"{path} holds no PEM certificate", "write -----BEGIN CERTIFICATE----- blocks there"
        )


def check_dates(certificate: x509.Certificate, path: Path, key: str) -> Iterator[Finding]:
    """Check that a certificate is valid now, and for a while."""
    now = datetime.now(UTC)
    end = certificate.not_valid_after_utc
    if now < certificate.not_valid_before_utc:
        yield problem(
            key, f"{path} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d}", "check the clock"
        )
    elif now > end:
        yield problem(key, f"{path} expired on {end:%Y-%m-%d}", "have a new certificate issued")
    elif end - now < _RENEW_BEFORE:
        yield warning(key, f"{path} expires on {end:%Y-%m-%d}", "have a new certificate issued in time")


def check_authorities(path: Path, key: str) -> Iterator[Finding]:
    """Check a PEM file of certification authorities."""
    found = read_certificates(path, key)
    if isinstance(found, Finding):
        yield found
        return
    for certificate in found:
        yield from check_dates(certificate, path, key)
        try:
            authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            authority = False
        if not authority:
            yield problem(
                key,
                f"{certificate.subject.rfc4514_string()} in {path} is no certificate authority",
                "put the authority's certificate there, not a user's or a server's",
            )
    try:
        ssl.create_default_context(cafile=path)
    except (ssl.SSLError, OSError) as error:
        yield problem(key, f"{path} cannot be used by TLS: {error}", "write it anew as PEM")
