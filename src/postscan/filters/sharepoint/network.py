"""Why a site could not be reached, or broke off, in words."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final

import aiohttp

from postscan.filters.sharepoint.address import Origin
from postscan.filters.sharepoint.library import LibraryError, Trouble

# X509_verify_cert_error_string(3): what OpenSSL found, as far as a person can act on it.
_CERTIFICATE_WORDS: Final = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself, and not trusted here",
    19: "comes from an authority that is not trusted here",
    20: "comes from an authority that is not trusted here",
    21: "comes from an authority that is not trusted here",
    62: "is for another name",
    64: "is for another address",
}


def network_failure(error: Exception, origin: Origin) -> LibraryError:
    """Return what ``error``, raised by aiohttp on the way to ``origin``, means to a person."""
    found = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
    if isinstance(found, ssl.SSLCertVerificationError):
        words = _CERTIFICATE_WORDS.get(found.verify_code, f"is not trusted: {found.verify_message}")
        return LibraryError(f"the certificate of {origin} {words}", Trouble.UNTRUSTED)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return LibraryError(_dns_words(origin, error), Trouble.AWAY)
    if isinstance(error, TimeoutError):
        return LibraryError(f"{origin} did not answer in time", Trouble.AWAY)
    inner = getattr(error, "os_error", error)
    if isinstance(inner, ssl.SSLError):
        reason = (inner.reason or "unknown").replace("_", " ").lower()
        return LibraryError(f"no TLS connection to {origin} comes about ({reason})", Trouble.UNTRUSTED)
    if isinstance(error, aiohttp.ClientConnectorError):
        return LibraryError(f"{origin} cannot be reached: {_system_words(inner)}", Trouble.AWAY)
    if isinstance(error, aiohttp.ClientResponseError):
        return LibraryError(f"{origin} answers something that is not HTTP", Trouble.UNREADABLE)
    return LibraryError(f"{origin} broke off the connection", Trouble.AWAY)


def _dns_words(origin: Origin, error: aiohttp.ClientConnectorDNSError) -> str:
    inner = error.os_error
    if isinstance(inner, socket.gaierror):
        return f"the name {origin.host} does not resolve to an address"
    return f"{origin} cannot be reached: {_system_words(inner)}"


def _system_words(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
