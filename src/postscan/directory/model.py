"""What every directory answers, whatever it is kept in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from postscan.core.errors import FaultKind, FaultParty, PostscanError

if TYPE_CHECKING:
    from cryptography import x509

    from postscan.contracts.psp import PostScanProcess

# [MS-DTYP] 2.4.2.1: S-1-authority-subauthorities, at most 15 of them, each 32 bits.
_SID = re.compile(r"S-1-(\d{1,15}|0x[0-9A-Fa-f]{12})(-\d{1,10}){1,15}", re.ASCII)


def is_sid(text: str) -> bool:
    """Tell whether ``text`` has the string form of a security identifier ([MS-DTYP] 2.4.2.1)."""
    return _SID.fullmatch(text) is not None and all(int(p) < 2**32 for p in text.split("-")[3:])


@dataclass(frozen=True, slots=True)
class User:
    """One person (or service) that can own a job.

    ``name`` is the short logon name (sAMAccountName), ``domain`` the DNS domain, ``groups`` the names and
    SIDs of every group, nested ones included. ``enabled`` is false for a disabled account.
    """

    sid: str
    name: str
    domain: str
    upn: str
    display_name: str
    mail: str | None = None
    groups: frozenset[str] = frozenset()
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class StoredProcess:
    """A scan process as the directory holds it: the XML as written, its reading, and who may use it.

    ``users`` and ``groups`` name who may use it; an empty pair means nobody, ``groups`` holding
    ``Everyone`` means every known user.
    """

    identifier: UUID
    display_name: str
    xml: bytes
    process: PostScanProcess
    users: frozenset[str] = field(default_factory=frozenset)
    groups: frozenset[str] = field(default_factory=frozenset)

    def granted_to(self, user: User) -> bool:
        """Tell whether ``user`` may use this process."""
        if not user.enabled:
            return False
        names = {user.name.casefold(), user.upn.casefold(), user.sid.casefold()}
        if names & {u.casefold() for u in self.users}:
            return True
        wanted = {g.casefold() for g in self.groups}
        return "everyone" in wanted or bool(wanted & {g.casefold() for g in user.groups})


class DirectoryError(PostscanError):
    """The directory could not answer: it is away, or what it holds cannot be read."""

    fault = FaultKind(
        FaultParty.RECEIVER, "ServerErrorTemporaryError", "The service had an unexpected error."
    )
    retry_helps = True
    advice = "Check that the directory can be reached and its files can be read, then try again."
    exit_code = 5


class Directory(Protocol):
    """Where people and scan processes are looked up. Every method may raise DirectoryError."""

    async def user_by_sid(self, sid: str) -> User | None:
        """Return the user with this security identifier."""

    async def user_by_name(self, name: str) -> User | None:
        """Return the user with this logon name or user principal name, in any case."""

    async def user_for_certificate(self, certificate: x509.Certificate) -> User | None:
        """Return the one account a client certificate maps to, or None when there is none or several."""

    async def process(self, identifier: UUID) -> StoredProcess | None:
        """Return the scan process with this identifier, whoever may use it."""

    async def processes(self) -> list[StoredProcess]:
        """Return every scan process, by display name."""

    async def processes_for(self, user: User) -> list[StoredProcess]:
        """Return the scan processes ``user`` may use, by display name."""
