"""What every directory answers, whatever it is kept in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from postscan.core.errors import FaultKind, FaultParty, PostscanError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cryptography import x509

    from postscan.contracts.psp import PostScanProcess

# [MS-DTYP] 2.4.2.1: S-1-authority-subauthorities, at most 15 of them, each 32 bits.
_SID = re.compile(r"S-1-(\d{1,15}|0x[0-9A-Fa-f]{12})(-\d{1,10}){1,15}", re.ASCII)


# [MS-DTYP] 2.4.2.4, well-known SIDs.
EVERYONE: Final = "S-1-1-0"
AUTHENTICATED_USERS: Final = "S-1-5-11"


def is_sid(text: str) -> bool:
    """Tell whether ``text`` has the string form of a security identifier ([MS-DTYP] 2.4.2.1)."""
    return _SID.fullmatch(text) is not None and all(int(p) < 2**32 for p in text.split("-")[3:])


@dataclass(frozen=True, slots=True)
class User:
    """One person (or service) that can own a job.

    ``name`` is the short logon name (sAMAccountName), ``domain`` the DNS domain, ``groups`` the names and
    SIDs of every group, nested ones included. ``enabled`` is false for a disabled account. ``home_site`` is
    the address of the user's own site, for delivery to it.
    """

    sid: str
    name: str
    domain: str
    upn: str
    display_name: str
    mail: str | None = None
    groups: frozenset[str] = frozenset()
    enabled: bool = True
    home_site: str | None = None

    @property
    def token(self) -> frozenset[str]:
        """The SIDs of this user that rights can be given to.

        Their own, their groups', and those of everybody who has logged on.
        """
        sids = {sid for sid in self.groups if is_sid(sid)}
        return frozenset(sids | {self.sid, EVERYONE, AUTHENTICATED_USERS})


class AccessRule(Protocol):
    """Who may use a scan process, where that is more than a list of names (a security descriptor)."""

    def allows(self, token: frozenset[str]) -> bool:
        """Tell whether somebody with these SIDs may read, that is use, the process."""

    @property
    def only_grants(self) -> bool:
        """Whether the names of users and groups tell all of it; false where somebody is denied, for one."""


@dataclass(frozen=True, slots=True)
class StoredProcess:
    """A scan process as the directory holds it: the XML as written, its reading, and who may use it.

    ``users`` and ``groups`` name who may use it; an empty pair means nobody, ``groups`` holding
    ``Everyone`` means every known user. Where there is an ``access`` rule, it alone decides, and the names
    are what it says in words. ``version`` differs after every change of the entry; empty where that is not
    known. ``server_name`` is the attribute serverName as it stands in the directory; the ScanRepository of
    the XML counts.
    """

    identifier: UUID
    display_name: str
    xml: bytes
    process: PostScanProcess
    users: frozenset[str] = field(default_factory=frozenset)
    groups: frozenset[str] = field(default_factory=frozenset)
    access: AccessRule | None = None
    version: str = ""
    server_name: str = ""

    def granted_to(self, user: User) -> bool:
        """Tell whether ``user`` may use this process."""
        if not user.enabled:
            return False
        if self.access is not None:
            return self.access.allows(user.token)
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

    async def ping(self) -> None:
        """Find out whether the directory answers now; raises DirectoryError when it does not."""

    def problems(self) -> Sequence[DirectoryProblem]:
        """Return what is wrong with entries, as of when they were last read; such entries are left out."""

    async def close(self) -> None:
        """Let go of files and connections."""


class DirectoryProblem(Protocol):
    """An entry that cannot be used; ``str()`` says which, where, and why, for an administrator."""

    def __str__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ProcessDraft:
    """A scan process to be written: the XML exactly as it shall stand, and who may use it.

    ``users`` and ``groups`` are names, UPNs or SIDs, which must exist in the directory written to; a group
    ``Everyone`` means every known user.
    """

    identifier: UUID
    display_name: str
    xml: bytes
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class KnownNames:
    """Those of some names that a directory knows, as they were given, each with the directory's own spelling.

    One account has one spelling, whether given by logon name, UPN or SID; ``Everyone`` is ``Everyone``.
    """

    users: Mapping[str, str]
    groups: Mapping[str, str]


class ProcessEditor(Protocol):
    """A directory whose scan processes can be written. Every method may raise DirectoryError.

    What a method is not told stays exactly as it is in the directory, whoever wrote it: order, prefixes,
    extensions, other attributes, and rights.
    """

    async def known_names(self, users: Collection[str], groups: Collection[str]) -> KnownNames:
        """Return those of the names that drafts may give rights to; the others are nobody's here.

        Asked before anything is written, so that all unknown names can be told at once, and to see that two
        spellings mean one account.
        """

    async def create_process(self, draft: ProcessDraft) -> StoredProcess:
        """Add a scan process and return it as the directory now has it.

        :raises EntryExists: there is one with this identifier.
        :raises EntryRefused: the XML is no scan process, is too long, or a user or group is not known.
        """

    async def change_process(self, seen: StoredProcess, draft: ProcessDraft) -> StoredProcess:
        """Write what differs between ``seen``, as it was read, and ``draft``; return it as it now is.

        :raises NoSuchEntry: it has been deleted.
        :raises EntryChanged: somebody changed it since it was read; nothing was written.
        :raises EntryRefused: as for create_process.
        """

    async def delete_process(self, seen: StoredProcess) -> None:
        """Delete a scan process; raises NoSuchEntry and EntryChanged as change_process does."""


class EntryRefused(PostscanError):
    """The directory cannot hold such an entry; nothing was changed."""

    advice = "Correct what the message names, then write it again."
    exit_code = 4


class EntryExists(EntryRefused):
    """The directory has such an entry already (or what it has cannot be read); nothing was changed."""

    advice = "Choose another name, or change the existing entry."


class NoSuchEntry(EntryRefused):
    """The directory has no such entry (any more); nothing was changed."""

    advice = "Read the directory again."


class EntryChanged(EntryRefused):
    """Somebody changed the entry since it was read; nothing was changed."""

    retry_helps = True
    advice = "Read the entry again, look at what the other change was, and repeat yours."
