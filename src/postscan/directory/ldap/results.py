"""What result codes mean (RFC 4511, appendix A), and Active Directory's reasons for refusing a bind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from postscan.directory.ldap.answers import Result
from postscan.directory.ldap.model import (
    AlreadyThere,
    CredentialsRefused,
    DirectoryAway,
    DirectoryUntrusted,
    NoSuchObject,
    NotPermitted,
    RequestRefused,
)
from postscan.directory.model import DirectoryError

SUCCESS: Final = 0
REFERRAL: Final = 10
BIND_IN_PROGRESS: Final = 14
_STRONGER_AUTH_REQUIRED: Final = 8
_CONFIDENTIALITY_REQUIRED: Final = 13
NO_SUCH_OBJECT: Final = 32
INVALID_CREDENTIALS: Final = 49
_BUSY, _UNAVAILABLE = 51, 52
_LONGEST_WORDS: Final = 400

_NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "operationsError",
        2: "protocolError",
        3: "timeLimitExceeded",
        4: "sizeLimitExceeded",
        7: "authMethodNotSupported",
        8: "strongerAuthRequired",
        10: "referral",
        11: "adminLimitExceeded",
        12: "unavailableCriticalExtension",
        13: "confidentialityRequired",
        14: "saslBindInProgress",
        16: "noSuchAttribute",
        17: "undefinedAttributeType",
        18: "inappropriateMatching",
        19: "constraintViolation",
        20: "attributeOrValueExists",
        21: "invalidAttributeSyntax",
        32: "noSuchObject",
        34: "invalidDNSyntax",
        48: "inappropriateAuthentication",
        49: "invalidCredentials",
        50: "insufficientAccessRights",
        51: "busy",
        52: "unavailable",
        53: "unwillingToPerform",
        64: "namingViolation",
        65: "objectClassViolation",
        66: "notAllowedOnNonLeaf",
        67: "notAllowedOnRDN",
        68: "entryAlreadyExists",
        71: "affectsMultipleDSAs",
        80: "other",
    }
)

_OF_KIND: Final[Mapping[int, type[RequestRefused]]] = MappingProxyType(
    {32: NoSuchObject, 68: AlreadyThere, 50: NotPermitted}
)

# The Win32 error that follows "data" in the words of a refused bind ([MS-ERREF] 2.2), and what helps.
_BIND_REASONS: Final[Mapping[int, tuple[str, str]]] = MappingProxyType(
    {
        0x525: ("there is no such account", "Check the account's name and its domain."),
        0x52E: (
            "the account or its password is wrong",
            "Enter the password again; too many wrong ones lock the account.",
        ),
        0x490: (  # what Samba says of a wrong password to NTLM with a user principal name
            "the account or its password is wrong",
            "Enter the password again; too many wrong ones lock the account.",
        ),
        0x52F: ("the account is restricted", "Ask an administrator what its logon is restricted to."),
        0x530: ("the account may not log on at this time", "Ask an administrator for its logon hours."),
        0x531: ("the account may not log on from here", "Ask an administrator for its logon workstations."),
        0x532: ("the account's password has expired", "Set a new password."),
        0x533: ("the account is disabled", "Ask an administrator to enable it."),
        0x701: ("the account has expired", "Ask an administrator to extend it."),
        0x773: ("the account must change its password first", "Log on once elsewhere and change it."),
        0x775: ("the account is locked", "Wait until it is unlocked, or ask an administrator."),
    }
)
_INVALID_PARAMETER: Final = 0x57
_BAD_BINDINGS: Final = 0x80090346
_BIND_DATA: Final = re.compile(r"\bdata ([0-9A-Fa-f]{1,8})\b")


def failure(operation: str, result: Result) -> DirectoryError:
    """Return the error that a result other than success stands for.

    :param operation: what was asked, as in "reading CN=x", for the message.
    """
    said = _in_words(result)
    if result.code in {_BUSY, _UNAVAILABLE}:
        return DirectoryAway(f"{operation}: the controller has no time just now: {said}")
    if result.code == REFERRAL:
        return RequestRefused(
            f"{operation}: the directory points elsewhere, and such pointers are not followed: {said}",
            result.code,
            advice="Ask a controller of the domain that holds the object, or the global catalog.",
        )
    kind = _OF_KIND.get(result.code, RequestRefused)
    return kind(f"{operation}: {said}", result.code)


def bind_failure(account: str, result: Result) -> DirectoryError:
    """Return the error for a bind that was not accepted; ``account`` is named in it."""
    if result.code in {_STRONGER_AUTH_REQUIRED, _CONFIDENTIALITY_REQUIRED}:
        return RequestRefused(
            f"the controller asks for a better protected bind: {_in_words(result)}",
            result.code,
            advice="Use LDAPS, StartTLS, or the sealed transport.",
        )
    if result.code != INVALID_CREDENTIALS:
        return failure(f"logging on as {account}", result)
    found = _BIND_DATA.search(result.diagnostics)
    data = int(found[1], 16) if found else 0
    if data == _BAD_BINDINGS:
        return DirectoryUntrusted(
            f"{account}: the controller sees another TLS connection than this one",
            advice="Something between takes TLS apart (a proxy, a load balancer). Connect to the controller"
            " itself; nothing usable was given away.",
        )
    if data == _INVALID_PARAMETER:
        return RequestRefused(
            f"{account}: the controller does not understand this kind of logon: {_in_words(result)}",
            result.code,
            advice="Samba does not take NTLM over TLS: use Kerberos, a simple bind, or the sealed transport.",
        )
    reason = _BIND_REASONS.get(data)
    if reason is None:
        return CredentialsRefused(f"{account}: {_in_words(result)}")
    words, advice = reason
    return CredentialsRefused(f"{account}: {words}", advice=advice)


def _in_words(result: Result) -> str:
    name = _NAMES.get(result.code, "result code")
    words = "".join(c if c.isprintable() else " " for c in result.diagnostics[:_LONGEST_WORDS]).strip()
    return f"{name} ({result.code}){': ' if words else ''}{words}"
