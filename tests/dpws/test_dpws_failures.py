"""Why a peer could not be reached, in words that a person can act on."""

from __future__ import annotations

import errno
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from postscan.dpws.failures import (
    BrokenOff,
    NoAddress,
    NoSuchHost,
    NotTls,
    Unreachable,
    Untrusted,
    unreachable,
)

URL = "https://scan.example.com:5362/ScanServer"
KEY = ConnectionKey("scan.example.com", 5362, True, True, None, None, None)


def refused(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "what OpenSSL says"
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            aiohttp.ClientConnectorDNSError(KEY, OSError(socket.EAI_NONAME, "Name or service not known")),
            NoSuchHost,
            "the name scan.example.com does not resolve",
        ),
        (
            aiohttp.ClientConnectorDNSError(KEY, OSError(socket.EAI_AGAIN, "Temporary failure")),
            Unreachable,
            "no name server tells the address of scan.example.com just now",
        ),
        (
            aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "Connect call failed")),
            Unreachable,
            "Connection refused",
        ),
        (aiohttp.ServerDisconnectedError(), BrokenOff, "closed the connection without an answer"),
        (
            aiohttp.ClientOSError(errno.ECONNRESET, "reset"),
            BrokenOff,
            "closed the connection without an answer",
        ),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), BrokenOff, "closed the connection"),
        (TimeoutError(), Unreachable, "did not answer in time"),
        (aiohttp.InvalidURL("foo"), NoAddress, "no address of a service"),
        (
            aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong")),
            NotTls,
            "no TLS connection comes about",
        ),
        (aiohttp.ClientPayloadError("cut short"), Unreachable, "in the middle of its answer"),
        (
            aiohttp.ClientConnectorCertificateError(KEY, refused(10)),
            Untrusted,
            "has expired",
        ),
        (refused(9), Untrusted, "is not valid yet"),
        (refused(19), Untrusted, "an authority that is not trusted here"),
        (refused(62), Untrusted, "is for another name"),
        (refused(24), Untrusted, "is not trusted: what OpenSSL says"),
    ],
)
def test_the_cause_is_told_in_words(error: Exception, kind: type[Unreachable], words: str) -> None:
    told = unreachable(URL, error)
    assert type(told) is kind
    assert words in str(told)
    assert URL in str(told)
    assert told.what_to_do
    assert told.exit_code == 5


def test_only_what_time_can_heal_is_worth_another_try() -> None:
    hopeless = {kind for kind in (NoSuchHost, NoAddress, NotTls, Untrusted) if kind.retry_helps}
    assert hopeless == set()
    assert Unreachable.retry_helps
    assert BrokenOff.retry_helps
