"""A large organisation for bench.directory: people, groups in groups, and scan processes they may use.

A person is in one team, a team in one department, a department in one division; each of these groups may use
ten scan processes, so that everybody may use thirty, by way of three groups of which two are nested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from uuid import UUID, uuid5

from bench.toolbox import BenchError
from postscan.directory.model import StoredProcess
from testdomain.facts import BASE_DN, DNS_DOMAIN, PROCESSES_DN, SCAN_SERVER
from testdomain.offline import Operation, add, modify
from testdomain.processes import own_xml

PROCESSES_OF_A_GROUP: Final = 10
PASSWORD: Final = "Crowd-Passw0rd1"  # noqa: S105 - of a domain that is thrown away
# How many of the people have a password, which is slow to set; the first ones.
WITH_PASSWORD: Final = 8
_UNIT: Final = f"OU=Crowd,{BASE_DN}"
_NAMES: Final = UUID("0b7f3c58-52a5-4a0a-8f52-0d8d0f2f3a11")
_FULL: Final = "RPWPCRCCDCLCLORCWOWDSDDTSW"
_READ: Final = "RPLCLORC"
_NORMAL, _WITHOUT_PASSWORD = 0x200, 0x220
_NAME: Final = "Scan to folder"
_MARK: Final = "@name of the process@"


class Crowd:
    """So many people and scan processes; the latter are a multiple of ten."""

    def __init__(self, users: int, processes: int) -> None:
        self.users = users
        self.processes = processes
        groups = processes // PROCESSES_OF_A_GROUP
        self._divisions = [f"Division {number}" for number in range(max(1, groups // 100))]
        self._departments = [f"Department {number}" for number in range(max(1, groups * 9 // 100))]
        rest = groups - len(self._divisions) - len(self._departments)
        self._teams = [f"Team {number}" for number in range(rest)]
        # All groups, the largest first.
        self.groups = [*self._divisions, *self._departments, *self._teams]

    def user(self, number: int) -> str:
        """Return the logon name of a person."""
        return f"user{number:06d}"

    def identifier(self, number: int) -> UUID:
        """Return the identifier of a scan process."""
        return uuid5(_NAMES, f"process {number}")

    def name(self, number: int) -> str:
        """Return the display name of a scan process."""
        return f"{_NAME} {number:05d} of {self.group_of_process(number)}"

    def xml(self, number: int) -> bytes:
        """Return the XML of a scan process."""
        return _TEMPLATE.replace(_MARK.encode(), self.name(number).encode())

    def group_of_process(self, number: int) -> str:
        """Return the group that may use a scan process."""
        return self.groups[number // PROCESSES_OF_A_GROUP]

    def members(self) -> dict[str, list[str]]:
        """Return the members of each group: users of teams, groups of the others."""
        found: dict[str, list[str]] = {name: [] for name in self.groups}
        for number in range(self.users):
            found[_one_of(self._teams, number)].append(self.user(number))
        for parents, children in (
            (self._departments, self._teams),
            (self._divisions, self._departments),
        ):
            for number, name in enumerate(children):
                found[_one_of(parents, number)].append(name)
        return found

    def processes_of(self, user: int) -> frozenset[UUID]:
        """Return the identifiers of the scan processes that a person may use."""
        team = user % len(self._teams)
        department = team % len(self._departments)
        division = department % len(self._divisions)
        places = (
            division,
            len(self._divisions) + department,
            len(self._divisions) + len(self._departments) + team,
        )
        return frozenset(
            self.identifier(place * PROCESSES_OF_A_GROUP + one)
            for place in places
            for one in range(PROCESSES_OF_A_GROUP)
        )

    def check(self, user: int, found: Iterable[StoredProcess]) -> None:
        """Make sure that a person was given their thirty, and no other but the few that are everybody's.

        :raises BenchError: they were not.
        """
        names = {process.identifier: process.display_name for process in found}
        if missing := self.processes_of(user) - names.keys():
            raise BenchError(f"{self.user(user)} was not given {len(missing)} of their scan processes")
        ours = [name for name in names.values() if name.startswith(_NAME)]
        if len(ours) > 3 * PROCESSES_OF_A_GROUP:
            raise BenchError(f"{self.user(user)} was given {len(ours)} scan processes, also others'")

    def operations(self) -> Iterator[Operation]:
        """Yield what makes them, for a domain that is stopped."""
        yield add(_UNIT, {"objectClass": "organizationalUnit"})
        for number in range(self.users):
            yield self._add_user(number)
        for name in self.groups:
            yield add(_dn(name), {"objectClass": "group", "sAMAccountName": name})
        for name, members in self.members().items():
            if members:
                yield modify(_dn(name), {"member": [_dn(member) for member in members]})
        for number in range(self.processes):
            identifier = self.identifier(number)
            yield add(
                f"CN={identifier},{PROCESSES_DN}",
                {
                    "objectClass": "msImaging-PostScanProcess",
                    "displayName": self.name(number),
                    "msImaging-PSPIdentifier": identifier.bytes_le,
                    "msImaging-PSPString": self.xml(number),
                    "serverName": SCAN_SERVER,
                },
                f"O:DAG:DAD:P(A;;{_FULL};;;DA)(A;;{_FULL};;;SY)(A;;{_READ};;;{{Scan Servers}})"
                f"(A;;{_READ};;;{{{self.group_of_process(number)}}})",
            )

    def _add_user(self, number: int) -> Operation:
        name = self.user(number)
        values: dict[str, str | bytes] = {
            "objectClass": "user",
            "sAMAccountName": name,
            "userPrincipalName": f"{name}@{DNS_DOMAIN}",
            "displayName": f"Person {number}",
            "mail": f"{name}@{DNS_DOMAIN}",
            "userAccountControl": str(_WITHOUT_PASSWORD),
        }
        if number < WITH_PASSWORD:
            values["userAccountControl"] = str(_NORMAL)
            values["clearTextPassword"] = PASSWORD.encode("utf-16-le")
        return add(_dn(name), values)


def _dn(name: str) -> str:
    return f"CN={name},{_UNIT}"


def _one_of(names: list[str], number: int) -> str:
    return names[number % len(names)]


_TEMPLATE: Final = own_xml(_MARK)
