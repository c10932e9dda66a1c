"""Scan processes in Active Directory, looked up: ``CN=PSPs,CN=System`` of the domain, one object for each."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sansldap import LDAPFilter

from postscan.contracts.identifiers import process_identifier_octets
from postscan.core.log import get_logger
from postscan.directory.active.accounts import Account, Accounts
from postscan.directory.active.cache import Cache
from postscan.directory.active.descriptors import SecurityDescriptor
from postscan.directory.active.process_entries import (
    ATTRIBUTES,
    IDENTIFIER,
    NAMING,
    OBJECT_CLASS,
    OUTLINE,
    EntryProblem,
    ProcessEntry,
    UnusableEntry,
    by_age,
    descriptor_of,
    identifier_of,
    read_entry,
)
from postscan.directory.active.process_places import ProcessPlaces
from postscan.directory.ldap import filters, names
from postscan.directory.ldap.model import Entry, LdapClient, Scope
from postscan.directory.model import AUTHENTICATED_USERS, EVERYONE, AccessRule, StoredProcess

# What the group is called that means every known user.
EVERYBODY: Final = "Everyone"
# More objects than these are read by one search for all of them.
_BY_NAME: Final = 300
# So many problems are remembered as logged already.
_MOST_TOLD: Final = 1_000
# So many rights are looked at before others have their turn; some milliseconds.
_AT_A_STRETCH: Final = 500
_IS_PROCESS: Final = filters.equal("objectClass", OBJECT_CLASS)
_log = get_logger("directory")


class _AsRead:
    """The access rule of a user's own view: what the directory let them read they may use."""

    only_grants = False

    def allows(self, token: frozenset[str]) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Outline:
    """Where a scan process stands, and who may use it."""

    dn: str
    access: AccessRule


class ProcessReading:
    """Finds scan processes.

    Of several objects with one identifier the oldest counts. An object that cannot be used is left out,
    logged once, and listed by :meth:`problems`.

    :param accounts: names the users and groups that reading is granted to; None leaves them out.
    :param container: the distinguished name of what holds the processes, where it is not the usual place.
    :param as_user: ``ldap`` is bound as the user who asks; what the directory lets them read they may use,
        whether or not its security descriptor may be read.
    :param outlines: keeps for a while who may use which process, as reading that of all of them takes long.
        A right that was given counts when it is over; one that was taken away is gone at once all the same.
    """

    def __init__(
        self,
        ldap: LdapClient,
        accounts: Accounts | None,
        *,
        container: str | None = None,
        as_user: bool = False,
        outlines: Cache[str, tuple[Outline, ...]] | None = None,
    ) -> None:
        self._ldap = ldap
        self._accounts = accounts
        self._container = container
        self._as_user = as_user
        self._outlines = outlines
        self._problems: list[EntryProblem] = []
        self._told: set[EntryProblem] = set()
        self._places = ProcessPlaces(self._with_identifiers, self._names)

    async def container(self) -> str:
        """Return the distinguished name of the object below which the processes stand."""
        if self._container is not None:
            return self._container
        domain = (await self._ldap.root()).default_naming_context
        return names.child("CN", "PSPs", names.child("CN", "System", domain))

    async def all(self) -> list[StoredProcess]:
        """Return every scan process that can be read and used, by display name."""
        found = await self._search(_IS_PROCESS, ATTRIBUTES)
        return await self._usable(found, whole=True)

    async def one(self, identifier: UUID) -> StoredProcess | None:
        """Return the scan process with this identifier, None where none can be read or used."""
        while True:
            if (process := await self._remembered(identifier)) is not None:
                return process
            found = await self._places.search(identifier)
            if found is not None:
                return next(iter(await self._usable(found)), None)

    async def readable_by(self, token: frozenset[str]) -> list[StoredProcess]:
        """Return the scan processes that somebody with these SIDs may use, by display name.

        Looks at the security descriptors of all first, and reads the XML only of what is granted.
        """
        outlines = await (self._outlines.get("", self._outline) if self._outlines else self._outline())
        found = await self._read_each(await _granted(outlines or (), token))
        # Asked again: the rights may have changed between the two looks.
        return [
            process
            for process in await self._usable(found)
            if process.access is not None and process.access.allows(token)
        ]

    def problems(self) -> Sequence[EntryProblem]:
        """Return what is wrong with objects, as of the last look at all of them."""
        return tuple(self._problems)

    async def entries(self, identifier: UUID) -> list[ProcessEntry]:
        """Return the usable objects with this identifier, the oldest first."""
        usable, problems = _read(await self._search(_identified([identifier]), ATTRIBUTES))
        self._tell(problems)
        return usable

    async def _outline(self) -> tuple[Outline, ...]:
        """Return where the scan processes stand, and who may use them; of one identifier the oldest only."""
        found: dict[UUID, Outline] = {}
        for entry in by_age(await self._search(_IS_PROCESS, OUTLINE)):
            try:
                identifier, access = identifier_of(entry), self._access(descriptor_of(entry))
            except UnusableEntry:
                # Whoever reads the whole entry, later or in all(), notes what is wrong with it.
                continue
            if identifier is not None:
                found.setdefault(identifier, Outline(entry.dn, access))
        return tuple(found.values())

    async def _search(self, where: LDAPFilter, attributes: Sequence[str]) -> list[Entry]:
        base = await self.container()
        return await self._ldap.search(base, Scope.ONE_LEVEL, where, attributes, descriptors=True)

    async def _read_each(self, dns: Collection[str]) -> list[Entry]:
        """Return these objects: by name, which is quicker than any filter, unless they are very many."""
        if len(dns) > _BY_NAME:
            wanted = {dn.casefold() for dn in dns}
            return [e for e in await self._search(_IS_PROCESS, ATTRIBUTES) if e.dn.casefold() in wanted]
        found = await asyncio.gather(*(self._ldap.read(dn, ATTRIBUTES, descriptors=True) for dn in dns))
        return [entry for entry in found if entry is not None]

    async def _remembered(self, identifier: UUID) -> StoredProcess | None:
        """Return the process from where it was last seen, if it still is there and can be used."""
        dn = self._places.name_of(identifier)
        if dn is None:
            return None
        entry = await self._ldap.read(dn, ATTRIBUTES, descriptors=True)
        if entry is not None and entry.octets(IDENTIFIER) == process_identifier_octets(identifier):
            for process in await self._usable([entry]):
                return process
        self._places.forget(identifier)
        return None

    async def _names(self) -> dict[UUID, str]:
        """Return the distinguished names of the oldest object with each identifier."""
        found: dict[UUID, str] = {}
        for entry in by_age(await self._search(_IS_PROCESS, NAMING)):
            try:
                identifier = identifier_of(entry)
            except UnusableEntry:
                continue
            if identifier is not None:
                found.setdefault(identifier, entry.dn)
        return found

    async def _with_identifiers(self, identifiers: Collection[UUID]) -> dict[UUID, list[Entry]]:
        found: dict[UUID, list[Entry]] = {}
        for entry in await self._search(_identified(identifiers), ATTRIBUTES):
            octets = entry.octets(IDENTIFIER)
            for identifier in identifiers:
                if octets == process_identifier_octets(identifier):
                    found.setdefault(identifier, []).append(entry)
        return found

    async def _usable(self, entries: Iterable[Entry], *, whole: bool = False) -> list[StoredProcess]:
        """Return what can be used; ``whole`` says that the entries are all there are."""
        read, problems = _read(entries)
        first: dict[UUID, ProcessEntry] = {}
        for entry in read:
            if entry.descriptor is None and not self._as_user:
                why = "its security descriptor may not be read: allow this account to read permissions"
                problems.append(EntryProblem(entry.dn, why))
            elif entry.identifier in first:
                why = f"{first[entry.identifier].dn} is older and has the same identifier; this is left out"
                problems.append(EntryProblem(entry.dn, why))
            else:
                first[entry.identifier] = entry
                self._places.remember(entry.identifier, entry.dn)
        self._tell(problems)
        if whole:
            self._problems = problems
        stored = await self._stored(first.values())
        return sorted(stored, key=lambda process: (process.display_name.casefold(), process.identifier))

    async def _stored(self, entries: Collection[ProcessEntry]) -> list[StoredProcess]:
        grants = [frozenset() if e.descriptor is None else e.descriptor.grants for e in entries]
        known: Mapping[str, Account] = {}
        wanted = frozenset[str]().union(*grants) - {EVERYONE, AUTHENTICATED_USERS}
        if self._accounts is not None and wanted:
            known = await self._accounts.with_sids(wanted)
        return [
            StoredProcess(
                identifier=entry.identifier,
                display_name=entry.display_name,
                xml=entry.xml,
                process=entry.process,
                users=frozenset() if self._accounts is None else user_names(sids, known),
                groups=frozenset() if self._accounts is None else group_names(sids, known),
                access=self._access(entry.descriptor),
                version=entry.version,
                server_name=entry.server,
            )
            for entry, sids in zip(entries, grants, strict=True)
        ]

    def _access(self, descriptor: SecurityDescriptor | None) -> AccessRule:
        if self._as_user:
            return _AsRead()
        # Where it may not be read nobody is allowed: an empty list.
        return descriptor or SecurityDescriptor(None, None, ())

    def _tell(self, problems: Collection[EntryProblem]) -> None:
        for problem in problems:
            if problem not in self._told:
                _log.error("directory entry is wrong", problem=str(problem))
        if len(self._told) > _MOST_TOLD:
            self._told.clear()
        self._told.update(problems)


async def _granted(outlines: Sequence[Outline], token: frozenset[str]) -> list[str]:
    """Return the names of those that somebody with these SIDs may use."""
    granted: list[str] = []
    for start in range(0, len(outlines), _AT_A_STRETCH):
        granted += [one.dn for one in outlines[start : start + _AT_A_STRETCH] if one.access.allows(token)]
        await asyncio.sleep(0)
    return granted


def group_names(sids: Iterable[str], known: Mapping[str, Account]) -> frozenset[str]:
    """Return the names of those SIDs that are groups."""
    return frozenset(
        EVERYBODY if is_everyone(sid) else known[sid].name
        for sid in sids
        if is_everyone(sid) or (sid in known and known[sid].is_group)
    )


def user_names(sids: Iterable[str], known: Mapping[str, Account]) -> frozenset[str]:
    """Return the names of those SIDs that are users; a SID that is nobody's stands for itself."""
    return frozenset(
        known[sid].name if sid in known else sid
        for sid in sids
        if not is_everyone(sid) and not (sid in known and known[sid].is_group)
    )


def is_everyone(sid: str) -> bool:
    """Tell whether a SID is called ``Everyone`` here: every account that has logged on, or anybody."""
    return sid in (EVERYONE, AUTHENTICATED_USERS)


def _identified(identifiers: Collection[UUID]) -> LDAPFilter:
    values = [filters.equal(IDENTIFIER, process_identifier_octets(one)) for one in identifiers]
    return filters.all_of(_IS_PROCESS, filters.any_of(*values))


def _read(entries: Iterable[Entry]) -> tuple[list[ProcessEntry], list[EntryProblem]]:
    read: list[ProcessEntry] = []
    problems: list[EntryProblem] = []
    for entry in by_age(entries):
        try:
            found = read_entry(entry)
        except UnusableEntry as error:
            problems.append(EntryProblem(entry.dn, str(error)))
        else:
            read += [] if found is None else [found]
    return read, problems
