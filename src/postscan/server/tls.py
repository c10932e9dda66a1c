"""The server's side of TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

from postscan.core.errors import ConfigurationError


def server_context(
    certificate: Path, key: Path, client_ca: Path | None, min_version: str = "1.2"
) -> ssl.SSLContext:
    """Return the context to serve with: ``min_version`` (1.2 or 1.3) or newer, forward secrecy always.

    With ``client_ca`` a client certificate is asked for, not required, so that discovery and metadata work
    without one and a caller who lacks it gets a fault that says so instead of a dropped connection.

    :raises ConfigurationError: a file is missing, unreadable, or the key is not the certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    newest_only = min_version == "1.3"
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if newest_only else ssl.TLSVersion.TLSv1_2
    # Only suites with forward secrecy and authenticated encryption; TLS 1.3 has no others.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    for path in (certificate, key, client_ca):
        if path is not None:
            _require_readable(path)
    try:
        # Without a password given, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password="")
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(str(p) for p in (certificate, key, client_ca) if p is not None)
        raise ConfigurationError(
            f"TLS cannot be set up from {named}: {error}",
            advice="Check that [tls] certificate, key and client_ca are readable PEM files that fit.",
        ) from error
    return context


def sink_context(
    authority: Path | None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return the context to call devices' https sinks with.

    A sink's certificate must come from ``authority``, or from one the system trusts when that is None, and
    must be for the host in the sink's URL. Sinks that ask for a certificate are shown the server's own.

    :raises ConfigurationError: a file is missing, unreadable or unfit.
    """
    for path in (authority, certificate, key):
        if path is not None:
            _require_readable(path)
    try:
        # With a file given, the system's authorities are not loaded.
        context = ssl.create_default_context(cafile=authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None and key is not None:
            context.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"TLS towards event sinks cannot be set up from {authority}: {error}",
            advice="Check that [eventing] sink_ca, or else [tls] client_ca, is a PEM file of certificates.",
        ) from error
    return context


def _require_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}",
            advice="Let [tls] name the right file, and let the account the server runs as read it.",
        ) from error
