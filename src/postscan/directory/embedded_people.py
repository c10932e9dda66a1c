"""Users and groups of the embedded directory, ready to be looked up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from postscan.directory.certificates import CertificateSubject
from postscan.directory.embedded_entries import (
    EVERYONE,
    GroupEntry,
    Problem,
    UserEntry,
    UsersFile,
    line_of,
    read_toml,
)
from postscan.directory.model import KnownNames, User


@dataclass(frozen=True, slots=True)
class People:
    """All users by what they are looked up by; names, SIDs and certificate hashes are case-folded.

    ``groups`` has every group's name by its name and its SID; ``problems`` names entries that are left out.
    """

    by_sid: Mapping[str, User]
    by_name: Mapping[str, User]
    by_certificate: Mapping[str, User]
    groups: Mapping[str, str]
    problems: tuple[Problem, ...]

    def knows_user(self, name: str) -> bool:
        """Tell whether a logon name, user principal name or SID is a user's."""
        return name.casefold() in self.by_name or name.casefold() in self.by_sid

    def knows_group(self, name: str) -> bool:
        """Tell whether a name or SID is a group's, or stands for everyone."""
        return name.casefold() in self.groups or name.casefold() == EVERYONE.casefold()

    def spelled(self, users: Iterable[str], groups: Iterable[str]) -> KnownNames:
        """Return those of the names that are somebody's: logon names for users, names for groups."""
        everyone = {EVERYONE.casefold(): EVERYONE}
        named_users = {
            name: self.by_name.get(name.casefold()) or self.by_sid.get(name.casefold()) for name in users
        }
        named_groups = {name: (everyone | dict(self.groups)).get(name.casefold()) for name in groups}
        return KnownNames(
            users={name: user.name for name, user in named_users.items() if user is not None},
            groups={name: group for name, group in named_groups.items() if group is not None},
        )

    def user_of(self, subject: CertificateSubject) -> User | None:
        """Return the one account that a certificate stands for.

        The SID extension counts first, then a hash listed with a user, then the UPN. A certificate that
        names different accounts, or a SID that is nobody's, stands for none; a UPN that is nobody's (the
        user was renamed) only counts when there is nothing else.
        """
        named = []
        if subject.sid is not None:
            named.append(self.by_sid.get(subject.sid.casefold()))
        listed = self.by_certificate.get(subject.sha256)
        principals = [self.by_name.get(upn.casefold()) for upn in subject.upns]
        named += [user for user in (listed, *principals) if user is not None]
        if not named or any(user is None or user != named[0] for user in named):
            return None
        return named[0]


def read_people(path: Path, domain: str | None) -> People:
    """Read ``users.toml``.

    :param domain: the users' DNS domain where the file names none.
    :raises FileProblems: the file cannot be used at all.
    """
    file, text = read_toml(path, UsersFile)
    return _Reading(path, text, file, file.domain or domain).people()


class _Reading:
    """Puts the entries of one file together; what contradicts itself is left out and noted."""

    def __init__(self, path: Path, text: str, file: UsersFile, domain: str | None) -> None:
        self._path = path
        self._text = text
        self._file = file
        self._domain = domain
        self._problems: list[Problem] = []

    def people(self) -> People:
        complete = self._with_upn(enumerate(self._file.user))
        entries = self._distinct(complete)
        memberships = _Memberships(self._groups(), complete)
        for group, member in memberships.unknown:
            self._note(
                "group", self._file.group.index(group), "members", f"{member!r} is no user and no group"
            )
        for group, member in memberships.ambiguous:
            self._note("group", self._file.group.index(group), "members", f"{member!r} is user and group")
        users = [self._user(entry, upn, memberships.of(entry, upn)) for _, entry, upn in entries]
        return People(
            by_sid={user.sid.casefold(): user for user in users},
            by_name={name.casefold(): user for user in users for name in (user.name, user.upn)},
            by_certificate=self._certificates(entries, users),
            groups=memberships.known,
            problems=tuple(self._problems),
        )

    def _note(self, table: str, index: int, key: str, message: str) -> None:
        line = line_of(self._text, (table, index, key))
        self._problems.append(Problem(self._path, f"{table}[{index}].{key}: {message}", line))

    def _with_upn(self, entries: Iterable[tuple[int, UserEntry]]) -> list[tuple[int, UserEntry, str]]:
        complete = []
        for index, entry in entries:
            if entry.upn is not None:
                complete.append((index, entry, entry.upn))
            elif self._domain:
                complete.append((index, entry, f"{entry.name}@{self._domain}"))
            else:
                self._note("user", index, "name", "needs a upn, as no domain is set; the user is left out")
        return complete

    def _distinct(self, entries: list[tuple[int, UserEntry, str]]) -> list[tuple[int, UserEntry, str]]:
        """Leave out all users that share a SID or a name: who is meant cannot be told."""
        counts = {
            "sid": Counter(entry.sid.casefold() for _, entry, _ in entries),
            "name": Counter(entry.name.casefold() for _, entry, _ in entries),
            "upn": Counter(upn.casefold() for _, _, upn in entries),
        }
        kept = []
        for index, entry, upn in entries:
            shared = [
                key
                for key, value in (("sid", entry.sid), ("name", entry.name), ("upn", upn))
                if counts[key][value.casefold()] > 1
            ]
            for key in shared:
                self._note("user", index, key, f"another user has the same {key}; both are left out")
            if not shared:
                kept.append((index, entry, upn))
        return kept

    def _groups(self) -> list[GroupEntry]:
        kept: dict[str, GroupEntry] = {}
        for index, group in enumerate(self._file.group):
            if group.name.casefold() in kept:
                self._note("group", index, "name", "a group of this name stands above; this one is left out")
            else:
                kept[group.name.casefold()] = group
        return list(kept.values())

    def _user(self, entry: UserEntry, upn: str, groups: frozenset[str]) -> User:
        return User(
            sid=entry.sid,
            name=entry.name,
            domain=self._domain or upn.rpartition("@")[2],
            upn=upn,
            display_name=entry.display_name or entry.name,
            mail=entry.mail,
            groups=groups,
            enabled=entry.enabled,
        )

    def _certificates(self, entries: list[tuple[int, UserEntry, str]], users: list[User]) -> dict[str, User]:
        counts = Counter(digest for _, entry, _ in entries for digest in set(entry.certificates))
        found = {}
        for (index, entry, _), user in zip(entries, users, strict=True):
            for digest in entry.certificates:
                if counts[digest] > 1:
                    self._note(
                        "user", index, "certificates", "another user lists the same; it stands for neither"
                    )
                else:
                    found[digest] = user
        return found


class _Memberships:
    """Who is in which group, groups in groups included (in circles, too)."""

    def __init__(self, groups: list[GroupEntry], entries: list[tuple[int, UserEntry, str]]) -> None:
        self._names: dict[str, str] = {}
        self._sids: dict[str, str] = {}
        self._groups_of_group: dict[str, set[str]] = {}
        self._groups_of_user: dict[str, set[str]] = {}
        self.unknown: list[tuple[GroupEntry, str]] = []
        self.ambiguous: list[tuple[GroupEntry, str]] = []
        for group in groups:
            self._names[group.name.casefold()] = group.name
            if group.sid is not None:
                self._sids[group.name.casefold()] = group.sid
        by_sid = {sid.casefold(): key for key, sid in self._sids.items()}
        for _, entry, _ in entries:
            for name in entry.groups:
                if name.casefold() not in by_sid:
                    self._names.setdefault(name.casefold(), name)
        self._by_sid = by_sid
        users = {token.casefold() for _, entry, upn in entries for token in (entry.name, upn, entry.sid)}
        for group in groups:
            for member in group.members:
                self._add(group, member, is_user=member.casefold() in users)

    @property
    def known(self) -> Mapping[str, str]:
        """Every group's name by its name and its SID, both case-folded."""
        return self._names | {sid: self._names[key] for sid, key in self._by_sid.items()}

    def of(self, entry: UserEntry, upn: str) -> frozenset[str]:
        """Return names and SIDs of all groups the user is in."""
        waiting = [self._by_sid.get(name.casefold(), name.casefold()) for name in entry.groups]
        for token in (entry.name, upn, entry.sid):
            waiting += self._groups_of_user.get(token.casefold(), ())
        found: set[str] = set()
        while waiting:
            key = waiting.pop()
            if key not in found:
                found.add(key)
                waiting += self._groups_of_group.get(key, ())
        return frozenset(self._names[key] for key in found) | frozenset(
            self._sids[key] for key in found if key in self._sids
        )

    def _add(self, group: GroupEntry, member: str, *, is_user: bool) -> None:
        folded = member.casefold()
        key = self._by_sid.get(folded, folded)
        if is_user and key in self._names:
            self.ambiguous.append((group, member))
        elif is_user:
            self._groups_of_user.setdefault(folded, set()).add(group.name.casefold())
        elif key in self._names:
            self._groups_of_group.setdefault(key, set()).add(group.name.casefold())
        else:
            self.unknown.append((group, member))
