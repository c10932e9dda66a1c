"""Why a peer could not be reached, or did not answer as it should: told in words, with what to do."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Final

import aiohttp

from postscan.core.errors import TEMPORARY_ERROR, PostscanError
from postscan.dpws.certificate_pin import PinMismatch
from postscan.soap.faults import SoapFault

# X509_verify_cert_error_string(3): what OpenSSL found, as far as a person can act on it.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_AUTHORITY: Final = frozenset({18, 19, 20, 21})
_BROKEN_OFF: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
_OTHER_NAME: Final = frozenset({62, 64})


class Unreachable(PostscanError):
    """A peer could not be reached, or broke off."""

    fault = TEMPORARY_ERROR
    retry_helps = True
    advice = "Check the address, that the other side is running, and that nothing in between blocks it."
    exit_code = 5


class NoSuchHost(Unreachable):
    """The peer's name means nothing here."""

    retry_helps = False
    advice = "Check the name for typing errors, and that DNS (or /etc/hosts) of this machine knows it."


class NoAddress(Unreachable):
    """What was given as an address is none."""

    retry_helps = False
    advice = "Write it like https://scan.example.com:5362/ScanServer."


class BrokenOff(Unreachable):
    """The peer closed the connection without an answer."""

    advice = (
        "It may have been stopped just now; or it wants https where the address says http; or it does not "
        "accept the certificate shown to it (expired, or of an authority it does not trust)."
    )


class NotTls(Unreachable):
    """What listens there does not speak TLS, or no version or cipher of it that is accepted here."""

    retry_helps = False
    advice = "Check the port: something other than a scan server may listen there, or one without HTTPS."


class Untrusted(Unreachable):
    """The peer's certificate does not prove that it is who was asked for."""

    retry_helps = False
    advice = "Have the administrator look at the server's certificate: `postscan config check` tells more."


class NotSoap(PostscanError):
    """The answer is not a SOAP message that fits the request."""

    advice = "The address is probably not that of a DSM service."
    exit_code = 5


class RemoteFault(PostscanError):
    """The peer answered with a SOAP fault; ``subcode`` is its local name (or the code's)."""

    exit_code = 4

    def __init__(self, fault: SoapFault) -> None:
        detail = fault.detail if isinstance(fault.detail, str) else None
        if fault.detail is not None and not isinstance(fault.detail, str):
            detail = (fault.detail.text or "").strip() or None
        named = f" [{detail}]" if detail else ""
        subcode = (fault.subcode or fault.party).rpartition("}")[2]
        super().__init__(f"the server refused: {subcode}: {fault.reason}{named}", detail=detail)
        self.soap = fault
        self.subcode = subcode


def unreachable(url: str, error: Exception) -> Unreachable:
    """Return what ``error``, raised by aiohttp on the way to ``url``, means to a person."""
    certificate = _certificate_error(error)
    if certificate is not None:
        return _untrusted(url, certificate)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return NoAddress(f"{url} is no address of a service")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        host = error.host
        # With no name server in reach the name may well be right: then time can help.
        if getattr(error.os_error, "errno", None) == socket.EAI_AGAIN:
            return Unreachable(f"cannot reach {url}: no name server tells the address of {host} just now")
        return NoSuchHost(f"cannot reach {url}: the name {host} does not resolve to an address")
    if isinstance(error, TimeoutError):
        return Unreachable(f"{url} did not answer in time")
    if isinstance(error, ssl.SSLError) or isinstance(getattr(error, "os_error", None), ssl.SSLError):
        return NotTls(f"cannot reach {url}: no TLS connection comes about ({_ssl_words(error)})")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unreachable(f"cannot reach {url}: {_system_words(error.os_error)}")
    if isinstance(error, aiohttp.ServerDisconnectedError) or getattr(error, "errno", None) in _BROKEN_OFF:
        return BrokenOff(f"{url} closed the connection without an answer")
    if isinstance(error, aiohttp.ClientPayloadError):
        return Unreachable(f"{url} broke off in the middle of its answer")
    return Unreachable(f"cannot reach {url}: {_system_words(error)}")


def _certificate_error(error: Exception) -> ssl.SSLCertVerificationError | None:
    found = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
    return found if isinstance(found, ssl.SSLCertVerificationError) else None


def _untrusted(url: str, error: ssl.SSLCertVerificationError) -> Untrusted:
    if isinstance(error, PinMismatch):
        return Untrusted(
            f"the certificate of {url} is not the one published for this server",
            advice="Somebody may stand in between. If the server's certificate was renewed: have the"
            " administrator publish it with `postscan directory publish-certificate`.",
        )
    code = error.verify_code
    if code == _EXPIRED:
        return Untrusted(
            f"the certificate of {url} has expired",
            advice="Have the administrator renew it; or set this machine's clock, if that is wrong.",
        )
    if code == _NOT_YET_VALID:
        return Untrusted(
            f"the certificate of {url} is not valid yet", advice="Check the clocks of both machines."
        )
    if code in _UNKNOWN_AUTHORITY:
        return Untrusted(
            f"the certificate of {url} comes from an authority that is not trusted here",
            advice="Trust the authority of that server (its pki/ca.pem, with --ca FILE), if it is the right"
            " server.",
        )
    if code in _OTHER_NAME:
        return Untrusted(
            f"the certificate of {url} is for another name",
            advice="Use the name in the server's certificate, the one its settings call fqdn.",
        )
    return Untrusted(f"the certificate of {url} is not trusted: {error.verify_message}")


def _ssl_words(error: BaseException) -> str:
    found = error if isinstance(error, ssl.SSLError) else getattr(error, "os_error", error)
    reason = getattr(found, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(found)


def _system_words(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return str(error) or type(error).__name__
