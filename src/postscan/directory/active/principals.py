"""What groups and users are called: accounts for security identifiers, and for names, many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from sansldap import LDAPFilter

from postscan.core.clock import Clock
from postscan.directory.active import wellknown
from postscan.directory.active.accounts import Account, Named
from postscan.directory.active.cache import Cache
from postscan.directory.active.forest import Forest, Place
from postscan.directory.active.identifiers import sid_octets, sid_text
from postscan.directory.active.user_entries import AccountName, NameKind, read_name
from postscan.directory.ldap.filters import all_of, any_of, equal, not_
from postscan.directory.ldap.model import Entry, Scope
from postscan.directory.ldap.names import InvalidName, dns_domain
from postscan.directory.model import is_sid
from postscan.directory.spelling import folded

# A filter of so many identifiers is some 5 KiB; controllers refuse much longer ones.
_BATCH: Final = 100
# Names only change when somebody is renamed, and rights go by identifiers.
_NAME_SECONDS: Final = 60.0
_NAMES_KEPT: Final = 20_000
_ATTRIBUTES: Final = ("objectSid", "objectClass", "sAMAccountName", "userPrincipalName")
# Builtin groups are objects of each domain, which may call them in its own language.
_BUILTIN: Final = "S-1-5-32-"
# Behind what says who is meant, as in people.
_ACCOUNTS: Final = (
    any_of(equal("objectClass", "user"), equal("objectClass", "group")),
    not_(equal("objectClass", "computer")),
)


class Principals:
    r"""Implements :class:`postscan.directory.active.accounts.Accounts` for a forest.

    An account is called by its sAMAccountName, with ``domain\`` before it when it is another domain's, and
    by its identifier when it is another forest's; what is the same everywhere has its usual English name.
    """

    def __init__(self, forest: Forest, clock: Clock) -> None:
        self._forest = forest
        self._clock = clock
        self._accounts: Cache[str, Account] = Cache(
            seconds=_NAME_SECONDS, missing_seconds=_NAME_SECONDS, entries=_NAMES_KEPT, clock=clock
        )

    async def names_of(self, sids: Collection[str]) -> set[str]:
        """Return what those of ``sids`` are called that have a name."""
        accounts = (await self.with_sids(sids)).values()
        return {account.name for account in accounts if account.name != account.sid}

    async def with_sids(self, sids: Collection[str]) -> dict[str, Account]:
        """Return the accounts with these SIDs; a SID that is nobody's is missing."""
        found: dict[str, Account] = {}
        wanted: list[str] = []
        for sid in dict.fromkeys(sids):
            known, account = self._accounts.known(sid)
            if not known and sid in wellknown.NAMES and not sid.startswith(_BUILTIN):
                account = _well_known(sid)
            elif not known:
                wanted.append(sid)
            if account is not None:
                found[sid] = account
        if wanted:
            asked = self._clock.monotonic()
            answered = await self._ask(wanted)
            for sid in wanted:
                account = answered.get(sid) or _well_known(sid)
                self._accounts.learn(sid, account, asked)
                if account is not None:
                    found[sid] = account
        return found

    async def named(self, users: Collection[str], groups: Collection[str]) -> Named:
        """Return the accounts with these names, user principal names or SIDs, by what was given."""
        given = dict.fromkeys((*users, *groups))
        sids = [name for name in given if is_sid(name)]
        names = {name: parsed for name in given if name not in sids and (parsed := read_name(name))}
        by_sid, by_name = await asyncio.gather(self.with_sids(sids), self._with_names(names))
        accounts: dict[str, list[Account]] = by_name | {sid: [account] for sid, account in by_sid.items()}
        return Named(_only(users, accounts, is_group=False), _only(groups, accounts, is_group=True))

    def forget(self) -> None:
        """Ask anew for every name."""
        self._accounts.forget()

    async def _ask(self, sids: list[str]) -> dict[str, Account]:
        valid = [sid for sid in sids if _octets(sid) is not None]
        own = Place(self._forest.own, (await self._forest.own_domain()).dn)
        found = await self._ask_at(own, valid)
        missing = [sid for sid in valid if sid not in found and not sid.startswith(_BUILTIN)]
        if missing and self._forest.catalog is not None:
            found |= await self._ask_at(Place(self._forest.catalog, ""), missing)
        return found

    async def _ask_at(self, place: Place, sids: list[str]) -> dict[str, Account]:
        entries = await _search(
            place, [equal("objectSid", octets) for sid in sids if (octets := _octets(sid))]
        )
        own = (await self._forest.own_domain()).dns
        accounts = (_account(entry, own) for entry in entries)
        return {account.sid: account for account in accounts if account is not None}

    async def _with_names(self, names: dict[str, AccountName]) -> dict[str, list[Account]]:
        """Return all accounts with each of the names, asking each domain once for all of its."""
        places: dict[Place, dict[str, AccountName]] = {}
        for name, parsed in names.items():
            domain = "" if parsed.kind is NameKind.LOGON else parsed.domain
            place = await self._forest.place_of(domain)
            if place is None and parsed.kind is NameKind.PRINCIPAL:
                # The domain of a principal name need not be a domain.
                catalog = self._forest.catalog
                place = await self._forest.place_of("") if catalog is None else Place(catalog, "")
            if place is not None:
                places.setdefault(place, {})[name] = parsed
        own = (await self._forest.own_domain()).dns
        found: dict[str, list[Account]] = {}
        for place, wanted in places.items():
            entries = await _search(place, [each for name in wanted.values() for each in _filters(name)])
            by_logon, by_principal = _by(entries, "sAMAccountName"), _by(entries, "userPrincipalName")
            for given, parsed in wanted.items():
                called = by_logon.get(folded(parsed.name), [])
                if parsed.kind is NameKind.PRINCIPAL:
                    # Only an account of that very domain has the principal name of its logon name there.
                    called = [e for e in called if await self._forest.is_in(e.dn, parsed.domain)]
                    called += by_principal.get(folded(parsed.principal), [])
                accounts = (_account(entry, own) for entry in called)
                found.setdefault(given, []).extend(each for each in accounts if each is not None)
        for name in names:
            well_known = _well_known(wellknown.SIDS.get(name.casefold(), ""))
            if well_known is not None and not found.get(name):
                found[name] = [well_known]
        return found


def _by(entries: Iterable[Entry], attribute: str) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if (value := entry.text(attribute)) is not None:
            found.setdefault(folded(value), []).append(entry)
    return found


async def _search(place: Place, filters: Sequence[LDAPFilter]) -> list[Entry]:
    batches = [filters[at : at + _BATCH] for at in range(0, len(filters), _BATCH)]
    answers = await asyncio.gather(
        *(place.client.search(place.base, Scope.SUBTREE, any_of(*batch), _ATTRIBUTES) for batch in batches)
    )
    found = {entry.dn: entry for answer in answers for entry in answer}
    return list(found.values())


def _filters(name: AccountName) -> list[LDAPFilter]:
    by_name = all_of(equal("sAMAccountName", name.name), *_ACCOUNTS)
    if name.kind is NameKind.PRINCIPAL:
        return [all_of(equal("userPrincipalName", name.principal), *_ACCOUNTS), by_name]
    return [by_name]


def _only(names: Iterable[str], accounts: dict[str, list[Account]], *, is_group: bool) -> dict[str, Account]:
    found = {}
    for name in names:
        meant = {account.sid: account for account in accounts.get(name, []) if account.is_group is is_group}
        if len(meant) == 1:
            found[name] = meant.popitem()[1]
    return found


def _account(entry: Entry, own: str) -> Account | None:
    octets, name = entry.octets("objectSid"), entry.text("sAMAccountName")
    if octets is None:
        return None
    try:
        sid, domain = sid_text(octets), dns_domain(entry.dn)
    except (ValueError, InvalidName):
        return None
    kinds = {kind.casefold() for kind in entry.texts("objectClass")}
    if "foreignsecurityprincipal" in kinds:
        return _well_known(sid) or Account(sid, sid, is_group=True)
    if not name or _passes_for_another(name, sid):
        name = sid
    elif domain.casefold() != own.casefold():
        name = f"{domain}\\{name}"
    return Account(sid, name, is_group="group" in kinds)


def _passes_for_another(name: str, sid: str) -> bool:
    """Tell whether somebody is called like a SID, like everybody, or like somebody of another domain."""
    return is_sid(name.upper()) or "\\" in name or wellknown.SIDS.get(name.casefold(), sid) != sid


def _well_known(sid: str) -> Account | None:
    name = wellknown.NAMES.get(sid)
    return None if name is None else Account(sid, name, is_group=True)


def _octets(sid: str) -> bytes | None:
    try:
        return sid_octets(sid)
    except ValueError:
        return None
