"""The calling side of TLS: whom a device or a console trusts, and what it proves its user with."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from postscan.core.errors import ConfigurationError
from postscan.dpws.certificate_pin import CertificatePin, require_pin


def client_context(
    ca: Path | None,
    certificate: Path | None = None,
    key: Path | None = None,
    pin: CertificatePin | None = None,
) -> ssl.SSLContext:
    """Return the context to reach a scan server with: full path and name checks, TLS 1.2 or newer.

    :param ca: the certification authority to trust; the system's when None.
    :param pin: the server's own certificate, where its hash is known; checked as well, not instead.
    :raises ConfigurationError: a file is missing or not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A server's names stand in subjectAltName alone (RFC 9525, 2).
    context.hostname_checks_common_name = False
    if pin is not None:
        require_pin(context, pin)
    for path in (ca, certificate, key):
        if path is not None:
            _require_readable(path)
    try:
        if ca is not None:
            context.load_verify_locations(ca)
        else:
            context.load_default_certs()
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{ca} holds no certificate of an authority",
            advice="Name the authority that issued the server's certificate, a PEM file (its pki/ca.pem).",
        ) from error
    if certificate is not None:
        _require_current(certificate)
        try:
            # Without a password given, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(certificate, key, password="")
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"{key or certificate} holds no private key, or not the one of {certificate}",
                advice="Name the certificate's own key, a PEM file without a password.",
            ) from error
    return context


def _require_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}",
            advice="Check the path, and that the file may be read by this account.",
        ) from error


def _require_current(path: Path) -> None:
    """Refuse a certificate that no server would accept; most close the connection without a word."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise ConfigurationError(
            f"{path} holds no PEM certificate", advice="Name the user's certificate, a PEM file."
        ) from error
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise ConfigurationError(
            f"the certificate {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}",
            advice="Have the administrator issue a new one; or set this machine's clock, if that is wrong.",
        )
    if certificate.not_valid_before_utc > now:
        raise ConfigurationError(
            f"the certificate {path} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%MZ}",
            advice="Check this machine's clock.",
        )
