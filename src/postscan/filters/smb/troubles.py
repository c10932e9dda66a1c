"""From what a file server answers (NTSTATUS, [MS-ERREF] 2.3.1) to the published reasons, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from smbprotocol.exceptions import (
    SMBAuthenticationError,
    SMBConnectionClosed,
    SMBException,
    SMBResponseException,
)

from postscan.contracts.keywords import FilterStateReason
from postscan.directory.ldap.kerberos import negotiation_errors, negotiation_failure
from postscan.directory.ldap.model import CredentialsRefused, DirectoryAway
from postscan.filters.contract import DeliveryError
from postscan.filters.smb.referral import NoReferral
from postscan.filters.smb.servers import SmbServer
from postscan.filters.smb.transport import MALFORMED, Unprotected

NAME_NOT_FOUND: Final = frozenset({0xC0000034, 0xC000000F})
COLLISION: Final = 0xC0000035
NOT_A_DIRECTORY: Final = 0xC0000103
PATH_NOT_COVERED: Final = 0xC0000257
BAD_NETWORK_NAME: Final = 0xC00000CC
# What a file that is there may answer, when somebody asks what it is.
OCCUPIED: Final = frozenset({0xC0000022, 0xC0000043, 0xC0000056, 0xC00000BA, 0x8000002D})

# Attempts that servers count, and lock an account for.
_WRONG_PASSWORD: Final = frozenset({0xC000006D, 0xC000006A, 0xC0000064})
_ACCOUNT: Final[Mapping[int, str]] = MappingProxyType(
    {
        0xC000006D: "the account or its password is wrong",
        0xC000006A: "the password is wrong",
        0xC0000064: "there is no such account",
        0xC0000072: "the account is disabled",
        0xC0000193: "the account has expired",
        0xC0000071: "the account's password has expired",
        0xC0000224: "the account's password must be changed first",
        0xC0000234: "the account is locked",
        0xC000006E: "the account may not log on (it is restricted)",
        0xC000006F: "the account may not log on at this time",
        0xC0000070: "the account may not log on from this computer",
        0xC000015B: "the account may not log on over the network",
        0xC0000413: "the account may not log on at this server",
        0xC0000418: "NTLM is blocked there",
    }
)
_DENIED: Final = frozenset({0xC0000022, 0xC00000CA, 0xC0000061, 0xC00000A2, 0xC0000121})
_FULL: Final[Mapping[int, str]] = MappingProxyType(
    {
        0xC000007F: "the disk is full",
        0xC0000044: "the quota is used up",
        0xC0000802: "the quota is used up",
        0xC0000904: "its file system takes no file of this size",
    }
)
_NO_SHARE: Final = frozenset({BAD_NETWORK_NAME, 0xC00000C9, 0xC0000225, 0xC00000BE})
_NO_FOLDER: Final = frozenset({*NAME_NOT_FOUND, 0xC000003A})
_NAME: Final = frozenset({0xC0000033, 0xC000003B, 0xC0000039, 0xC0000106})
_IN_USE: Final = frozenset({0xC0000043, 0xC0000054, 0xC0000055, 0xC0000056, 0xC0000020})
_OVERLOADED: Final = frozenset({0xC000009A, 0xC0000205, 0xC0000017, 0xC00000D0, 0xC000011F, 0xC00000CE})
_NO_CONTROLLER: Final = frozenset({0xC000005E, 0xC000018D, 0xC000018C, 0xC00000DF})
_LINK: Final = 0x8000002D
_NOT_SUPPORTED: Final = 0xC00000BB
_GUEST: Final = "guest"


class LogonRefused(DeliveryError):
    """The account was not let in; ``counted`` tells whether the attempt is one that locks accounts."""

    def __init__(self, label: str, server: SmbServer, why: str, *, counted: bool) -> None:
        super().__init__(
            f"{label}: {server.host} does not let {server.who} in: {why}",
            reason=FilterStateReason.FILE_SHARE_ACCESS_DENIED,
            transient=False,
            advice="Correct the account or its password (fileshare.servers in the settings; `postscan secrets"
            f" set fileshare.{server.host}.password`), or unlock it, then retry the job.",
        )
        self.counted = counted


@dataclass(frozen=True, slots=True)
class Place:
    """What a failure is about: the ``label`` people know, the ``server``, and what was being done."""

    label: str
    server: SmbServer
    doing: str


def operation_errors() -> tuple[type[Exception], ...]:
    """Return all that an operation on a file server may raise."""
    return (SMBException, OSError, NoReferral, *MALFORMED, *negotiation_errors())


def status_of(error: BaseException) -> int | None:
    """Return the NTSTATUS that a server answered, None for another error."""
    return int(error.status) if isinstance(error, SMBResponseException) else None


def trouble(error: Exception, place: Place) -> DeliveryError:
    """Return the failure of a delivery that ``error`` means."""
    status = status_of(error)
    if status is not None:
        return _answered(status, place)
    if isinstance(error, Unprotected):
        return _failure(
            place,
            f"{place.server.host} is not to be trusted: {error}",
            FilterStateReason.UNKNOWN_ERROR,
            "Find out what sits between this server and the file server. The delivery is tried again.",
        )
    if isinstance(error, SMBAuthenticationError):
        return _negotiation(error.__cause__ or error, place)
    if isinstance(error, negotiation_errors()):
        return _negotiation(error, place)
    if isinstance(error, SMBConnectionClosed | OSError):
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _away(place, words or type(error).__name__)
    if isinstance(error, SMBException):
        return _library(str(error), place)
    return _failure(
        place,
        f"{place.server.host} answers what is no SMB ({type(error).__name__})",
        FilterStateReason.UNKNOWN_ERROR,
        "Check that a file server listens there (SMB 2 or 3; SMB 1 is never used). The delivery is tried"
        " again by itself.",
    )


def _answered(status: int, place: Place) -> DeliveryError:
    host = place.server.host
    if status in _ACCOUNT:
        counted = status in _WRONG_PASSWORD
        return LogonRefused(place.label, place.server, _ACCOUNT[status], counted=counted)
    if status in _DENIED:
        return _failure(
            place,
            f"{host} does not let {place.server.who} {place.doing.removeprefix('to ')}",
            FilterStateReason.FILE_SHARE_ACCESS_DENIED,
            "Let this account create folders and files there (by the rights of the share and of the folder;"
            " the share must not be read-only), then retry the job.",
            transient=False,
        )
    if status in _FULL:
        return _failure(
            place,
            f"no room: {_FULL[status]}",
            FilterStateReason.FILE_SHARE_OUT_OF_DISK_SPACE,
            "Make room on the share or raise the quota; the delivery is tried again by itself.",
        )
    if status in _NO_SHARE:
        return _failure(
            place,
            f"{host} has no such share",
            FilterStateReason.UNKNOWN_ERROR,
            "Make the share, or correct the scan process; the delivery is tried again by itself.",
        )
    if status in _NO_FOLDER:
        return _failure(
            place,
            f"the folder is not there ({place.doing})",
            FilterStateReason.UNKNOWN_ERROR,
            "Make the target folder: only the users' folders are made by the server. The delivery is tried"
            " again by itself.",
        )
    return _answered_rarely(status, place)


def _answered_rarely(status: int, place: Place) -> DeliveryError:
    host = place.server.host
    if status in _NAME:
        return _failure(
            place,
            f"{host} takes no such name ({place.doing})",
            FilterStateReason.INVALID_ARGS,
            "Correct the folder in the scan process, or the name it gives its documents, then retry the job.",
            transient=False,
        )
    if status == NOT_A_DIRECTORY:
        return _failure(
            place,
            "something other than a folder is where one is needed",
            FilterStateReason.UNKNOWN_ERROR,
            "Move what has the name of the target or of the user's folder out of the way, then retry.",
            transient=False,
        )
    if status == _LINK:
        return _failure(
            place,
            "a symbolic link, which the server does not follow itself, leads elsewhere",
            FilterStateReason.FILE_SHARE_ACCESS_DENIED,
            "Name the folder that the link leads to in the scan process, then retry the job.",
            transient=False,
        )
    words = "something uses the file there" if status in _IN_USE else ""
    words = words or ("it is overloaded" if status in _OVERLOADED else "")
    words = words or ("it reaches no domain controller" if status in _NO_CONTROLLER else "")
    words = words or ("it does not know this protocol or request" if status == _NOT_SUPPORTED else "")
    return _failure(
        place,
        f"{host} cannot do it now: {words or 'it answers'} (status 0x{status:08X}, {place.doing})",
        FilterStateReason.UNKNOWN_ERROR,
        "See what the file server's log says; the delivery is tried again by itself.",
    )


def _negotiation(error: BaseException, place: Place) -> DeliveryError:
    server = place.server
    found = negotiation_failure(
        error if isinstance(error, Exception) else Exception(), server.who, server.host
    )
    if isinstance(found, CredentialsRefused):
        why = str(found).removeprefix(f"{server.who}: ")
        return LogonRefused(place.label, server, why, counted=True)
    if isinstance(found, DirectoryAway):
        return _failure(place, str(found), FilterStateReason.UNKNOWN_ERROR, found.what_to_do)
    if "knows no LDAP service" in str(found):
        return _failure(
            place,
            f"the domain knows no service cifs/{server.service_host}, or that server does not have its key",
            FilterStateReason.UNKNOWN_ERROR,
            "Name the file server by its full name, as the domain does; for a DFS root of the domain set"
            ' connect_to to one of its servers. If it is in no domain, set auth = "ntlm".',
        )
    return _failure(
        place,
        f"{'Kerberos' if server.logon == 'kerberos' else 'NTLM'} with {server.host} did not come about",
        FilterStateReason.UNKNOWN_ERROR,
        "Check auth and account of this server in the settings; `klist` and krb5.conf for Kerberos."
        " The delivery is tried again by itself.",
    )


def _library(text: str, place: Place) -> DeliveryError:
    server = place.server
    if _GUEST in text:
        return LogonRefused(
            place.label, server, "it takes it for a guest, and guests are never used", counted=True
        )
    if "encryption is required" in text:
        return _failure(
            place,
            f"{server.host} does not encrypt, and the settings require it",
            FilterStateReason.FILE_SHARE_ACCESS_DENIED,
            'Let the file server offer SMB encryption, or set encryption = "offered" for it, then retry.',
            transient=False,
        )
    if "timeout" in text:
        return _away(place, f"it does not answer ({place.doing})")
    return _failure(
        place,
        f"{server.host} and this server do not understand each other ({text[:200]})",
        FilterStateReason.UNKNOWN_ERROR,
        "See what the file server's log says; the delivery is tried again by itself.",
    )


def _away(place: Place, why: str) -> DeliveryError:
    return _failure(
        place,
        f"{place.server.host} is away: {why}",
        FilterStateReason.UNKNOWN_ERROR,
        f"Check that the file server runs and that port {place.server.port} of it can be reached from here."
        " The delivery is tried again by itself.",
    )


def _failure(
    place: Place, what: str, reason: FilterStateReason, advice: str, *, transient: bool = True
) -> DeliveryError:
    return DeliveryError(f"{place.label}: {what}", reason=reason, transient=transient, advice=advice)
