"""What is asked about certificates, what can be answered, and what follows from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from postscan.core.errors import PostscanError
from postscan.dpws.http.certificates import CertificateFlaw
from postscan.server.identity import AuthenticationFailed

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far an authority's clock may be ahead of ours."""

LdapLists = Callable[[str], Awaitable[Sequence[bytes]]]
"""Returns the lists (DER) that stand in the directory under an ldap URI of a certificate.

Raises PostscanError when the directory does not answer, ValueError for a URI that it cannot have.
"""


class Policy(StrEnum):
    """What becomes of certificates that may have been revoked.

    ``soft`` refuses the revoked ones and takes, with a warning, those nobody could be asked about; ``hard``
    refuses those too; ``off`` asks nobody.
    """

    OFF = "off"
    SOFT = "soft"
    HARD = "hard"


class OcspUse(StrEnum):
    """When an OCSP responder is asked: before any list is fetched, after lists did not help, or never."""

    PREFER = "prefer"
    FALLBACK = "fallback"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class RevocationSettings:
    """How revocation is looked into.

    ``crl_files`` are looked into first, and anew when they change. ``fetch`` allows the network: lists and
    responders that the certificates name. ``timeout_seconds`` is how long a caller waits for all of it.
    ``cache_seconds`` is how long what was fetched is used without asking again; never longer than it says
    itself. ``allow_loopback`` lets addresses of this very machine be asked (tests, laboratories).
    """

    policy: Policy = Policy.SOFT
    crl_files: tuple[Path, ...] = ()
    fetch: bool = True
    ocsp: OcspUse = OcspUse.PREFER
    timeout_seconds: float = 5.0
    cache_seconds: float = 3_600.0
    allow_loopback: bool = False


class Status(StrEnum):
    """What a source says of one certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one certificate: ``until`` when (None: not for any time), and why, for the log."""

    status: Status
    why: str
    until: datetime | None = None

    @property
    def conclusive(self) -> bool:
        """Tell whether nobody else need be asked."""
        return self.status is not Status.UNKNOWN


class CertificateRevoked(AuthenticationFailed):
    """The caller's certificate, or that of an authority above it, was revoked."""

    advice = "Have a new certificate issued. Until then no job can be sent with this one."

    def __init__(self, message: str) -> None:
        """Tell ``message`` to the log alone."""
        super().__init__(message, flaw=CertificateFlaw.REVOKED)


class RevocationUnknown(AuthenticationFailed):
    """Nobody could be asked whether the caller's certificate was revoked, and the policy wants to know."""

    retry_helps = True
    advice = (
        "Try again in a minute. The administrator finds the reason in the server's log, and the policy in"
        " [revocation] policy."
    )

    def __init__(self, message: str) -> None:
        """Tell ``message`` to the log alone."""
        super().__init__(message, flaw=CertificateFlaw.REVOCATION_UNKNOWN)


class SourceFailed(PostscanError):
    """A list or a responder's answer could not be had, or cannot be used; others may help."""

    retry_helps = True
    advice = "See whether the authority's list can be downloaded from this machine, and is current."
