"""People of a Windows domain, and of the other domains of its forest, as users with all their groups.

A user's groups are what a controller counts for them when they sign on: nested groups included (attribute
tokenGroups, [MS-ADTS] 3.1.1.4.5.19). Rights go by the groups' identifiers; names are for people.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sansldap import LDAPFilter

from postscan.core.clock import Clock
from postscan.core.log import get_logger
from postscan.directory.active.forest import Forest, Place
from postscan.directory.active.identifiers import sid_octets
from postscan.directory.active.memberships import Memberships, sids_of
from postscan.directory.active.principals import Principals
from postscan.directory.active.user_entries import (
    IDENTITY,
    STATE,
    Account,
    AccountName,
    NameKind,
    is_enabled,
    number,
    read_account,
    read_name,
    same_name,
)
from postscan.directory.ldap.filters import all_of, any_of, equal, not_
from postscan.directory.ldap.model import DirectoryAway, Entry, Scope
from postscan.directory.model import DirectoryError, User

# A computer is a user to the schema, but no person. In every filter this follows what says who is meant, as
# Samba looks into its indexes in that order, and would read all people first.
_PERSON: Final = (
    equal("objectCategory", "person"),
    equal("objectClass", "user"),
    not_(equal("objectClass", "computer")),
)
_SID: Final = "objectSid"
_ALL_GROUPS: Final = "tokenGroups"
# The groups that count in other domains, too: those of the user's own domain only do not.
_FOREST_GROUPS: Final = "tokenGroupsGlobalAndUniversal"
_COMPUTED: Final = "msDS-User-Account-Control-Computed"
_CERTIFICATES: Final = "altSecurityIdentities"
# Groups of domains and of the directory itself; what else is in a token tells how somebody signed in.
_OF_DOMAIN: Final = "S-1-5-21-"
_BUILTIN: Final = "S-1-5-32-"
_BATCH: Final = 100
# More of one account than these were never meant to be looked at.
_LIMIT: Final = 10
_log = get_logger("directory")


class GroupsUnreadable(DirectoryError):
    """Nobody's groups may be read, so nobody's rights can be told."""

    retry_helps = False
    advice = (
        "Make the account of [directory] a member of the group Windows Authorization Access Group, "
        "whose members may read tokenGroups."
    )


@dataclass(frozen=True, slots=True)
class Found:
    """An account, and the entry it was read from."""

    account: Account
    entry: Entry


class People:
    """Finds users; asks the directory every time.

    :param home_site_attribute: the attribute that holds the address of a user's own site.
    """

    def __init__(
        self,
        forest: Forest,
        principals: Principals,
        clock: Clock,
        *,
        home_site_attribute: str = "wWWHomePage",
    ) -> None:
        self._forest = forest
        self._principals = principals
        self._clock = clock
        self._memberships = Memberships(forest)
        self._home_site_attribute = home_site_attribute
        self._attributes = (*IDENTITY, *STATE, home_site_attribute)

    async def by_sid(self, sid: str) -> User | None:
        """Return the user with this security identifier, of whichever domain we can ask."""
        return await self.user_of(await self.find_by_sid(sid))

    async def by_name(self, text: str) -> User | None:
        r"""Return the user called so: ``alice``, ``DSM\alice`` or ``alice@dsm.test``, in any case.

        A principal name counts whether it is written with the account or follows from its logon name and
        domain; where that is true of two accounts, nobody is meant.
        """
        return await self.user_of(await self.find_by_name(text))

    async def find_by_sid(self, sid: str) -> Found | None:
        """Return the account with this security identifier."""
        try:
            octets = sid_octets(sid)
        except ValueError:
            return None
        found = await self._everywhere(equal(_SID, octets))
        return _only([f for f in found if f.account.sid == sid], "sid")

    async def find_by_name(self, text: str) -> Found | None:
        """Return the account called so, as :meth:`by_name` understands names."""
        name = read_name(text)
        if name is None:
            return None
        if name.kind is NameKind.PRINCIPAL:
            return await self._by_principal(name)
        place = await self._forest.place_of(name.domain)
        if place is None:
            return None
        found = await self._accounts(place, equal("sAMAccountName", name.name))
        return _only([f for f in found if same_name(f.account.name, name.name)], "name")

    async def find_by_certificate_names(self, names: Sequence[str]) -> list[Found]:
        """Return the accounts whose altSecurityIdentities holds one of ``names``."""
        where = any_of(*(equal(_CERTIFICATES, name) for name in names))
        found = await self._everywhere(where, _CERTIFICATES)
        wanted = {name.casefold() for name in names}
        return [f for f in found if wanted & {value.casefold() for value in f.entry.texts(_CERTIFICATES)}]

    async def user_of(self, found: Found | None) -> User | None:
        """Return the user of an account, with groups; None if the account has gone meanwhile."""
        if found is None:
            return None
        own = await self._forest.is_own_domain(found.account.domain)
        return await (self._own_user(found) if own else self._other_user(found.account))

    async def bound_as(self, token: set[str]) -> User | None:
        """Return the user whose own connection this is.

        :param token: what the root DSE says of whoever is bound: their security identifier, and those of all
            groups that count here.
        """
        wanted = [equal(_SID, sid_octets(sid)) for sid in sorted(token) if sid.startswith(_OF_DOMAIN)]
        answers = [
            await self._everywhere(any_of(*wanted[at : at + _BATCH])) for at in range(0, len(wanted), _BATCH)
        ]
        found = _only([each for answer in answers for each in answer], "bound connection")
        if found is None:
            return None
        groups = {sid for sid in token if sid.startswith((_OF_DOMAIN, _BUILTIN))} - {found.account.sid}
        # Whether the account is locked the bind has told.
        return await self._user(found.account, found.entry, found.entry, groups)

    async def _by_principal(self, name: AccountName) -> Found | None:
        written = equal("userPrincipalName", name.principal)
        # An account has the principal name of its logon name and domain too, whatever is written with it.
        place = await self._forest.place_of(name.domain)
        found: list[Found] = []
        if place is not None:
            found = [
                f
                for f in await self._accounts(place, any_of(written, equal("sAMAccountName", name.name)))
                if same_name(f.account.name, name.name) or same_name(f.account.upn, name.principal)
            ]
        if not found:
            found = [f for f in await self._everywhere(written) if same_name(f.account.upn, name.principal)]
        return _only(found, "principal name")

    async def _everywhere(self, where: LDAPFilter, *attributes: str) -> list[Found]:
        """Look in our domain, then, if nobody is there, in the Global Catalog."""
        own = await self._forest.place_of("")
        found = [] if own is None else await self._accounts(own, where, *attributes)
        if not found and self._forest.catalog is not None:
            found = await self._accounts(Place(self._forest.catalog, ""), where, *attributes)
        return found

    async def _accounts(self, place: Place, where: LDAPFilter, *attributes: str) -> list[Found]:
        entries = await place.client.search(
            place.base, Scope.SUBTREE, all_of(where, *_PERSON), [*self._attributes, *attributes], limit=_LIMIT
        )
        read = ((read_account(entry, self._home_site_attribute), entry) for entry in entries)
        return [Found(account, entry) for account, entry in read if account is not None]

    async def _own_user(self, found: Found) -> User | None:
        more, everybodys = await asyncio.gather(
            self._forest.own.read(found.account.dn, [_SID, _ALL_GROUPS, _COMPUTED]),
            self._memberships.of_everybody(),
        )
        # Deleted or moved between the two questions; then the name may be another's, with other groups.
        if more is None or more[_SID] != found.entry[_SID]:
            return None
        groups = sids_of(more[_ALL_GROUPS])
        return await self._user(found.account, found.entry, more, groups and groups | everybodys)

    async def _other_user(self, account: Account) -> User | None:
        """Ask the user's own domain, which alone knows their groups, and then ours for groups of its own."""
        client = await self._forest.client_of(account.domain)
        if client is None:
            raise DirectoryAway(
                f"the groups of {account.domain}\\{account.name} cannot be read: their domain cannot be asked"
            )
        entry = await client.read(account.dn, [*self._attributes, _FOREST_GROUPS, _COMPUTED])
        current = None if entry is None else read_account(entry, self._home_site_attribute)
        if entry is None or current is None or current.sid != account.sid:
            return None
        groups = sids_of(entry[_FOREST_GROUPS])
        local = await self._memberships.of_others({*groups, account.sid})
        return await self._user(current, entry, entry, groups and groups | local)

    async def _user(self, account: Account, entry: Entry, more: Entry, groups: set[str]) -> User:
        if not groups:
            raise GroupsUnreadable(f"the directory does not tell the groups of {account.name}")
        names = await self._principals.names_of(groups)
        return User(
            sid=account.sid,
            name=account.name,
            domain=account.domain,
            upn=account.upn,
            display_name=account.display_name,
            mail=account.mail,
            groups=frozenset(groups | names),
            enabled=is_enabled(entry, number(more, _COMPUTED) or 0, self._clock.now()),
            home_site=account.home_site,
        )


def _only(found: list[Found], by: str) -> Found | None:
    if len(found) > 1:
        _log.warning(
            "several accounts match, so none does", by=by, accounts=[f.account.dn for f in found][:5]
        )
    return found[0] if len(found) == 1 else None
