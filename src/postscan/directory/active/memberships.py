"""Groups that hold somebody although tokenGroups does not tell: those of everybody, and for other domains."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from postscan.directory.active.forest import Forest
from postscan.directory.active.identifiers import sid_text
from postscan.directory.active.user_entries import number
from postscan.directory.ldap.filters import all_of, any_of, equal, has_bits
from postscan.directory.ldap.model import Scope
from postscan.directory.ldap.names import child
from postscan.directory.model import AUTHENTICATED_USERS, EVERYONE, DirectoryError

_EVERYBODY: Final = (EVERYONE, AUTHENTICATED_USERS)
# groupType ([MS-ADTS] 2.2.12): gives rights at all, and gives them in its own domain alone.
_SECURITY: Final = 0x8000_0000
_LOCAL: Final = 0x4
_BATCH: Final = 100


class Memberships:
    """Finds groups of our own domain, nested ones included, that a user's tokenGroups does not name."""

    def __init__(self, forest: Forest) -> None:
        self._forest = forest

    async def of_everybody(self) -> set[str]:
        """Return the groups that hold everybody who signs on, directly or by one another.

        By way of memberOf: a search for the groups with such a member would read every one of them.
        """
        domain = (await self._forest.own_domain()).dn
        principals = child("CN", "ForeignSecurityPrincipals", domain)
        found: set[str] = set()
        seen: set[str] = set()
        waiting = {child("CN", sid, principals) for sid in _EVERYBODY}
        while waiting:
            seen |= waiting
            attributes = ["objectSid", "groupType", "memberOf"]
            entries = await asyncio.gather(*(self._forest.own.read(dn, attributes) for dn in sorted(waiting)))
            waiting = set()
            for entry in entries:
                if entry is None:
                    continue
                if (kind := number(entry, "groupType")) is not None:
                    if not kind & _SECURITY:
                        continue
                    found |= sids_of(entry["objectSid"])
                waiting.update(dn for dn in entry.texts("memberOf") if dn not in seen)
        return found

    async def of_others(self, sids: Collection[str]) -> set[str]:
        """Return the groups that hold somebody of another domain, directly or by one another.

        :param sids: theirs, and those of all their groups that count in other domains.
        """
        found: set[str] = set()
        waiting = {*sids, *_EVERYBODY}
        while waiting:
            members = sorted(waiting)
            answers = await asyncio.gather(
                *(self._holding(members[at : at + _BATCH]) for at in range(0, len(members), _BATCH))
            )
            waiting = set().union(*answers) - found
            found |= waiting
        return found

    async def _holding(self, members: Sequence[str]) -> set[str]:
        entries = await self._forest.own.search(
            (await self._forest.own_domain()).dn,
            Scope.SUBTREE,
            all_of(
                any_of(*(equal("member", f"<SID={sid}>") for sid in members)),
                equal("objectClass", "group"),
                has_bits("groupType", _SECURITY | _LOCAL),
            ),
            ["objectSid"],
        )
        return sids_of([value for entry in entries for value in entry["objectSid"]])


def sids_of(values: Sequence[bytes]) -> set[str]:
    """Read security identifiers; raises DirectoryError where one is malformed."""
    try:
        return {sid_text(value) for value in values}
    except ValueError as error:
        raise DirectoryError(
            f"the directory answers with a security identifier that is none: {error}"
        ) from error
