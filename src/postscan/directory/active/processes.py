"""Scan processes in Active Directory, added, changed and deleted.

A change names the old value of what it replaces, so that the controller refuses it when somebody was faster;
rights alone cannot be guarded so, and are compared just before they are written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from postscan.contracts.identifiers import process_identifier_octets
from postscan.core.log import get_logger
from postscan.directory.active.accounts import Named
from postscan.directory.active.descriptor_octets import DescriptorError, read_descriptor, write_descriptor
from postscan.directory.active.descriptors import (
    FULL_CONTROL,
    SecurityDescriptor,
    new_descriptor,
)
from postscan.directory.active.identifiers import sid_text
from postscan.directory.active.process_entries import (
    DESCRIPTOR,
    IDENTIFIER,
    NAME,
    OBJECT_CLASS,
    SERVER,
    XML,
    ProcessEntry,
    stored_text,
)
from postscan.directory.active.process_reading import (
    EVERYBODY,
    ProcessReading,
    group_names,
    user_names,
)
from postscan.directory.drafts import check_display_name, read_draft
from postscan.directory.ldap import filters, names
from postscan.directory.ldap.model import (
    AlreadyThere,
    Change,
    NoSuchObject,
    Operation,
    RequestRefused,
    Scope,
)
from postscan.directory.model import (
    AUTHENTICATED_USERS,
    EVERYONE,
    DirectoryError,
    EntryChanged,
    EntryExists,
    EntryRefused,
    KnownNames,
    NoSuchEntry,
    ProcessDraft,
    StoredProcess,
)

# RFC 4511, 4.1.9.
_NO_SUCH_ATTRIBUTE: Final = 16
_CONSTRAINT_VIOLATION: Final = 19
_INVALID_SYNTAX: Final = 21
_log = get_logger("directory")


class Processes(ProcessReading):
    """Finds scan processes and edits them (:class:`postscan.directory.model.ProcessEditor`)."""

    async def known_names(self, users: Collection[str], groups: Collection[str]) -> KnownNames:
        """Return those of the names that rights may be given to, each in this directory's spelling."""
        named = await self._named(users, groups)
        everyone = {name: EVERYBODY for name in groups if _means_everyone(name)}
        return KnownNames(
            users={given: account.name for given, account in named.users.items()},
            groups={given: account.name for given, account in named.groups.items()} | everyone,
        )

    async def create_process(self, draft: ProcessDraft) -> StoredProcess:
        """Add a scan process; its object is named after the identifier, as that name can be seen by all."""
        process = read_draft(draft)
        granted = await self._sids(draft.users, draft.groups)
        base = await self.container()
        where = filters.equal(IDENTIFIER, process_identifier_octets(draft.identifier))
        if await self._ldap.search(base, Scope.ONE_LEVEL, where, [IDENTIFIER]):
            raise EntryExists(f"there is a scan process {draft.identifier} already; it was left as it is")
        descriptor = new_descriptor(granted, await self._domain_sid(), await self._writer(base))
        values = {
            "objectClass": [OBJECT_CLASS.encode()],
            NAME: [draft.display_name.encode()],
            IDENTIFIER: [process_identifier_octets(draft.identifier)],
            XML: [stored_text(draft.xml)],
            SERVER: [process.scan_repository.encode()],
            DESCRIPTOR: [_octets(descriptor)],
        }
        dn = names.child("CN", str(draft.identifier), base)
        try:
            await self._ldap.add(dn, values, descriptors=True)
        except AlreadyThere as error:
            raise EntryExists(f"there is an object {dn} already; it was left as it is") from error
        except RequestRefused as error:
            raise _refused(error, f"scan process {draft.display_name!r} cannot be added") from error
        self._places.remember(draft.identifier, dn)
        return await self._written(draft)

    async def change_process(self, seen: StoredProcess, draft: ProcessDraft) -> StoredProcess:
        """Write what differs between ``seen`` and ``draft``; other values and rights stay as they are."""
        if draft.identifier != seen.identifier:
            raise EntryRefused("a scan process keeps its identifier; create another one instead")
        entry = await self._as_seen(seen)
        changes = self._value_changes(entry, seen, draft)
        if (draft.users, draft.groups) != (seen.users, seen.groups):
            descriptor = await self._changed_rights(entry, seen, draft)
            if descriptor != entry.descriptor:
                if not changes:
                    # The old name is named so that the object must still be there as it was.
                    changes = _exchange(NAME, entry.name, entry.name)
                changes.append(Change(Operation.REPLACE, DESCRIPTOR, (_octets(descriptor),)))
        if changes:
            try:
                await self._ldap.modify(entry.dn, changes, descriptors=True)
            except NoSuchObject as error:
                raise NoSuchEntry(f"there is no scan process {seen.identifier} any more") from error
            except RequestRefused as error:
                raise _refused(error, f"scan process {seen.display_name!r} cannot be changed") from error
        return await self._written(draft)

    async def delete_process(self, seen: StoredProcess) -> None:
        """Delete a scan process."""
        entry = await self._as_seen(seen)
        try:
            await self._ldap.delete(entry.dn)
        except NoSuchObject as error:
            raise NoSuchEntry(f"there is no scan process {seen.identifier} any more") from error

    def _value_changes(self, entry: ProcessEntry, seen: StoredProcess, draft: ProcessDraft) -> list[Change]:
        changes: list[Change] = []
        if draft.display_name != seen.display_name:
            check_display_name(draft.display_name)
            changes += _exchange(NAME, entry.name, draft.display_name.encode())
        if draft.xml != seen.xml:
            repository = read_draft(draft).scan_repository
            changes += _exchange(XML, entry.text, stored_text(draft.xml))
            if repository != entry.process.scan_repository and repository != entry.server:
                changes.append(Change(Operation.REPLACE, SERVER, (repository.encode(),)))
        return changes

    async def _changed_rights(
        self, entry: ProcessEntry, seen: StoredProcess, draft: ProcessDraft
    ) -> SecurityDescriptor:
        if entry.descriptor is None:
            raise EntryRefused(f"who may use {seen.display_name!r} may not be read, so it cannot be changed")
        before = entry.descriptor
        granted = await self._sids(draft.users - seen.users, draft.groups - seen.groups)
        revoked = await self._revoked(before.grants, seen.users - draft.users, seen.groups - draft.groups)
        # Whoever is only spelled differently keeps their right.
        granted, revoked = granted - before.grants, revoked - granted
        if before.dacl is None:
            kept = before.grants - revoked
            after = new_descriptor(
                granted | kept, await self._domain_sid(), await self._writer(await self.container())
            )
        else:
            after = before.with_grants(granted, revoked)
        _check_effect(seen.display_name, after, granted, revoked)
        return after

    async def _revoked(
        self, grants: frozenset[str], users: frozenset[str], groups: frozenset[str]
    ) -> frozenset[str]:
        accounts = {} if self._accounts is None else await self._accounts.with_sids(grants)
        return frozenset(
            sid
            for sid in grants
            if user_names([sid], accounts) & users or group_names([sid], accounts) & groups
        )

    async def _as_seen(self, seen: StoredProcess) -> ProcessEntry:
        entries = await self.entries(seen.identifier)
        if not entries:
            raise NoSuchEntry(f"there is no scan process {seen.identifier} any more")
        entry = next((entry for entry in entries if entry.version == seen.version), None)
        if entry is None:
            raise EntryChanged(f"scan process {seen.display_name!r} was changed since it was read")
        return entry

    async def _written(self, draft: ProcessDraft) -> StoredProcess:
        found = await self.one(draft.identifier)
        if found is None:
            raise DirectoryError(f"scan process {draft.display_name!r} was written, but cannot be read back")
        wider = found.groups - draft.groups
        if EVERYBODY in wider:
            _log.warning(
                "everybody may use the scan process",
                process=found.display_name,
                container=await self.container(),
            )
        return found

    async def _sids(self, users: Collection[str], groups: Collection[str]) -> frozenset[str]:
        """Return the SIDs of users and groups; raises EntryRefused with all names that are nobody's."""
        named = await self._named(users, groups)
        unknown = sorted(set(users) - set(named.users))
        unknown += sorted(name for name in set(groups) - set(named.groups) if not _means_everyone(name))
        if unknown:
            raise EntryRefused(f"not in the directory, or not just once: {', '.join(map(repr, unknown))}")
        found = {account.sid for part in (named.users, named.groups) for account in part.values()}
        return frozenset(found | ({AUTHENTICATED_USERS} if any(map(_means_everyone, groups)) else set()))

    async def _named(self, users: Collection[str], groups: Collection[str]) -> Named:
        if self._accounts is None:
            raise EntryRefused("scan processes are not edited from a user's own view of the directory")
        return await self._accounts.named(users, [name for name in groups if not _means_everyone(name)])

    async def _domain_sid(self) -> str:
        domain = (await self._ldap.root()).default_naming_context
        found = await self._ldap.read(domain, ["objectSid"])
        octets = None if found is None else found.octets("objectSid")
        if octets is None:
            raise DirectoryError(f"the SID of {domain} cannot be read")
        return sid_text(octets)

    async def _writer(self, container: str) -> str | None:
        """Return the SID of the account bound as, where nothing handed down lets it edit what it makes."""
        root = await self._ldap.read("", ["tokenGroups"])
        token = frozenset(sid_text(octets) for octets in (root["tokenGroups"] if root is not None else ()))
        place = await self._ldap.read(container, [DESCRIPTOR], descriptors=True)
        octets = None if place is None else place.octets(DESCRIPTOR)
        try:
            handed_down = octets is not None and read_descriptor(octets).hands_down(FULL_CONTROL, token)
        except DescriptorError as error:
            raise DirectoryError(f"{container}: {error}") from error
        if handed_down or self._accounts is None or not token:
            return None
        accounts = await self._accounts.with_sids(token)
        return next((sid for sid in sorted(token) if sid in accounts and not accounts[sid].is_group), None)


def _exchange(attribute: str, old: bytes, new: bytes) -> list[Change]:
    """Replace one value, if it still is the old one."""
    return [Change(Operation.DELETE, attribute, (old,)), Change(Operation.ADD, attribute, (new,))]


def _octets(descriptor: SecurityDescriptor) -> bytes:
    try:
        return write_descriptor(descriptor)
    except ValueError as error:
        raise EntryRefused(f"too many users and groups: {error}") from error


def _check_effect(
    name: str, after: SecurityDescriptor, granted: Iterable[str], revoked: frozenset[str]
) -> None:
    for sid in granted:
        if not after.allows(frozenset({sid, EVERYONE, AUTHENTICATED_USERS})):
            raise EntryRefused(
                f"an entry of {name!r} denies reading to {sid}, so granting it would have no effect",
                advice="Take the denying entry away with the directory's own tools first.",
            )
    if left := after.grants & revoked:
        raise EntryRefused(
            f"everybody may read {name!r} by a right of its container: {', '.join(sorted(left))}",
            advice="Take the inherited right away from the container with the directory's own tools.",
        )


def _refused(error: RequestRefused, what: str) -> Exception:
    if error.code == _NO_SUCH_ATTRIBUTE:
        return EntryChanged(f"{what}: somebody changed it at the same time")
    if error.code in (_CONSTRAINT_VIOLATION, _INVALID_SYNTAX):
        return EntryRefused(f"{what}: {error}")
    return error


def _means_everyone(name: str) -> bool:
    return name.casefold() == EVERYBODY.casefold()
