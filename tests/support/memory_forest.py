"""A forest of two domains in memory, with people and groups, and what looks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from postscan.directory.active.forest import Forest
from postscan.directory.active.identifiers import sid_octets
from postscan.directory.active.people import People
from postscan.directory.active.principals import Principals
from support.clock import FakeClock
from support.memory_ldap import MemoryLdap

OWN, OTHER = "DC=dsm,DC=test", "DC=child,DC=dsm,DC=test"
CONFIGURATION = "CN=Configuration,DC=dsm,DC=test"
SECURITY_LOCAL, SECURITY_GLOBAL, MAIL_LOCAL = -2147483644, -2147483646, 4


def sid(number: int, domain: int = 1) -> str:
    return f"S-1-5-21-{domain}-2-3-{number}"


ALICE, ZOE, FINANCE, STAFF = sid(1103), sid(1104), sid(2001), sid(2002)
CHILD_ALICE, CHILD_FINANCE = sid(1103, domain=9), sid(2001, domain=9)


@dataclass
class MemoryForest:
    """Two domains with a Global Catalog, and what looks for people in them."""

    clock: FakeClock = field(default_factory=FakeClock)
    own: MemoryLdap = field(default_factory=lambda: MemoryLdap(OWN, CONFIGURATION))
    other: MemoryLdap = field(default_factory=lambda: MemoryLdap(OTHER, CONFIGURATION))
    catalog: MemoryLdap | None = None

    def __post_init__(self) -> None:
        for dn, dns, short in ((OWN, "dsm.test", "DSM"), (OTHER, "child.dsm.test", "CHILD")):
            partition = {"nCName": dn, "dnsRoot": dns, "nETBIOSName": short, "systemFlags": 3}
            self.own.put(f"CN={short},CN=Partitions,{CONFIGURATION}", partition)
        self.group(self.own, "ScanFinance", FINANCE, SECURITY_GLOBAL)
        self.group(self.own, "ScanStaff", STAFF, SECURITY_GLOBAL)
        self.group(self.other, "ScanFinance", CHILD_FINANCE, SECURITY_GLOBAL)
        self.user(self.own, "alice", ALICE, [FINANCE, STAFF], userPrincipalName="alice@dsm.test")
        self.user(self.own, "zoë", ZOE, [STAFF])
        self.user(self.other, "alice", CHILD_ALICE, [CHILD_FINANCE])

    def with_catalog(self) -> MemoryForest:
        self.catalog = MemoryLdap("", CONFIGURATION)
        self.catalog.objects = self.own.objects | self.other.objects
        return self

    @property
    def people(self) -> People:
        forest = Forest(
            self.own,
            self.clock,
            catalog=self.catalog,
            connect={"child.dsm.test": self.other}.__getitem__ if self.catalog else None,
        )
        return People(forest, Principals(forest, self.clock), self.clock)

    def group(self, at: MemoryLdap, name: str, its_sid: str, kind: int, members: Sequence[str] = ()) -> None:
        at.put(
            f"CN={name},CN=Users,{at.base}",
            {
                "objectClass": ["top", "group"],
                "sAMAccountName": name,
                "objectSid": sid_octets(its_sid),
                "groupType": kind,
                "member": list(members),
            },
        )

    def user(
        self, at: MemoryLdap, name: str, its_sid: str, groups: Sequence[str], **more: str | int | list[str]
    ) -> None:
        octets = [sid_octets(group) for group in groups]
        at.put(
            f"CN={name},CN=Users,{at.base}",
            {
                "objectClass": ["top", "person", "user"],
                "objectCategory": "person",
                "sAMAccountName": name,
                "objectSid": sid_octets(its_sid),
                "userAccountControl": 512,
                "tokenGroups": octets,
                "tokenGroupsGlobalAndUniversal": octets,
            }
            | more,
        )
