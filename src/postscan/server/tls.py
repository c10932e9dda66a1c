"""The server's side of TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import SSL, crypto

from postscan.core.errors import ConfigurationError
from postscan.dpws.http.judged_tls import JudgingContext, judge_later
from postscan.dpws.http.judgement import MAX_CHAIN

# Only suites with forward secrecy and authenticated encryption; TLS 1.3 has no others.
_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_ADVICE: Final = "Check that [tls] certificate, key and client_ca are readable PEM files that fit."


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """Whose client certificates are believed: authorities in PEM files, and those given as they are.

    With neither, certificates are asked for and none is believed but by its hash (identity.py).
    """

    files: tuple[Path, ...] = ()
    extra: tuple[x509.Certificate, ...] = ()


def server_context(
    certificate: Path, key: Path, anchors: TrustAnchors | None, min_version: str = "1.2"
) -> ssl.SSLContext:
    """Return the context to serve with: ``min_version`` (1.2 or 1.3) or newer, forward secrecy always.

    With ``anchors`` a client certificate is asked for, not required, and one that is unfit does not end the
    handshake, so that discovery and metadata work without one and a caller who lacks it, or shows a wrong
    one, gets a fault that says so instead of a dropped connection. Without, it is the standard library's TLS.

    :raises ConfigurationError: a file is missing, unreadable, or the key is not the certificate's.
    """
    files = anchors.files if anchors is not None else ()
    for path in (certificate, key, *files):
        _require_readable(path)
    try:
        if anchors is None:
            return _plain_context(certificate, key, min_version)
        return JudgingContext(_judging_context(certificate, key, anchors, min_version))
    except (OSError, ValueError, ssl.SSLError, SSL.Error, crypto.Error) as error:
        named = ", ".join(str(path) for path in (certificate, key, *files))
        raise ConfigurationError(
            f"TLS cannot be set up from {named}: {_words_of(error)}", advice=_ADVICE
        ) from error


def _plain_context(certificate: Path, key: Path, min_version: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    newest_only = min_version == "1.3"
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if newest_only else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Without a password given, OpenSSL would ask for one on the terminal.
    context.load_cert_chain(certificate, key, password="")
    return context


def _judging_context(certificate: Path, key: Path, anchors: TrustAnchors, min_version: str) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION if min_version == "1.3" else SSL.TLS1_2_VERSION)
    # The level refuses RSA below 2048 bits and SHA-1 in certificates, too (SSL_CTX_set_security_level(3)).
    context.set_cipher_list(f"{_SUITES}:@SECLEVEL=2".encode())
    context.set_options(
        SSL.OP_NO_RENEGOTIATION
        | SSL.OP_NO_COMPRESSION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
        | SSL.OP_SINGLE_ECDH_USE
        | SSL.OP_NO_TICKET
    )
    # A session that is resumed brings no certificate to judge: none is.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # An idle connection keeps no record buffers.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.use_certificate_chain_file(str(certificate))
    context.use_privatekey(_private_key(key))
    context.check_privatekey()
    for path in anchors.files:
        context.load_verify_locations(str(path))
    store = context.get_cert_store()
    if store is None:
        raise SSL.Error([("", "", "no store of certificates")])
    for authority in anchors.extra:
        store.add_cert(crypto.X509.from_cryptography(authority))
    context.set_verify_depth(MAX_CHAIN)
    context.set_verify(SSL.VERIFY_PEER, judge_later)
    return context


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey:
    """Read a private key. :raises ValueError: it has a password, does not serve TLS, or is none."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (TypeError, UnsupportedAlgorithm) as error:  # TypeError: it has a password
        raise ValueError(str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise ValueError("a key of this kind does not serve TLS")
    return key


def _words_of(error: Exception) -> str:
    if isinstance(error, SSL.Error | crypto.Error) and error.args:
        return "; ".join(str(entry[-1]) for entry in error.args[0]) or "no reason given"
    return str(error)


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
