"""What the test domain holds: names, passwords, groups; the scan processes are in testdomain.processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REALM: Final = "DSM.TEST"
NETBIOS: Final = "DSM"
DNS_DOMAIN: Final = "dsm.test"
BASE_DN: Final = "DC=dsm,DC=test"
PROCESSES_DN: Final = f"CN=PSPs,CN=System,{BASE_DN}"
CONTROLLER: Final = "dc1.dsm.test"
# The controller's address in its namespace; it listens on 127.0.0.1 as well.
ADDRESS: Final = "10.53.0.1"
SCAN_SERVER: Final = "scansrv.dsm.test"
# Another suffix that user principal names of this domain may have.
UPN_SUFFIX: Final = "corp.dsm.test"


@dataclass(frozen=True, slots=True)
class Person:
    """An account.

    ``name`` is its sAMAccountName, ``common_name`` the CN of its object; ``home_site`` is wWWHomePage.
    """

    name: str
    password: str
    given_name: str = ""
    surname: str = ""
    common_name: str = ""
    upn: str = ""
    mail: str = ""
    home_site: str = ""
    enabled: bool = True
    expired: bool = False

    @property
    def principal(self) -> str:
        """The user principal name; that which every account has implicitly, when it was given none."""
        return self.upn or f"{self.name}@{DNS_DOMAIN}"

    @property
    def dn(self) -> str:
        """The distinguished name of its object."""
        return f"CN={self.common_name or self.name},CN=Users,{BASE_DN}"

    def __repr__(self) -> str:
        return f"Person({self.name!r})"


ADMINISTRATOR: Final = Person("Administrator", "Adm1n-Passw0rd")
SERVICE: Final = Person("svc-scan", "Svc-Passw0rd1")
SCAN_ADMIN: Final = Person("scanadmin", "Scan-Adm1n-Passw0rd", "Sam", "Admin")
ALICE: Final = Person(
    "alice",
    "Al1ce-Passw0rd",
    "Alice",
    "Archer",
    upn="alice@dsm.test",
    mail="alice@mail.dsm.test",
    home_site="https://sites.dsm.test/personal/alice",
)
BOB: Final = Person("bob", "B0b-Passw0rd!", "Bob", "Baker", upn="bob@dsm.test", mail="bob@dsm.test")
# Disabled.
CAROL: Final = Person("carol", "Car0l-Passw0rd", "Carol", "Cook", upn="carol@dsm.test", enabled=False)
# The name to log on with is not the short name.
DAVE: Final = Person("dave", "Dav3-Passw0rd", "David", "Long", upn=f"david.long@{UPN_SUFFIX}")
# Her account ended in 2020.
ERIN: Final = Person("erin", "Er1n-Passw0rd", "Erin", "Early", upn="erin@dsm.test", expired=True)
# No explicit user principal name, and in no group.
FRANK: Final = Person("frank", "Frank-Passw0rd1", "Frank", "Free")
# Letters beyond ASCII, and characters that mean something in LDAP filters.
ZOE: Final = Person(
    "zoë(test)", "Zo3-Passw0rd", "Zoë", "(test) *", common_name="Zoë (test) *", upn="zoe@dsm.test"
)
PEOPLE: Final = (SERVICE, SCAN_ADMIN, ALICE, BOB, CAROL, DAVE, ERIN, FRANK, ZOE)
USERS: Final = (ALICE, BOB, CAROL, DAVE, ERIN, FRANK, ZOE)

COMPUTER: Final = Person("SCANSRV$", "Scansrv-Passw0rd1")

# Members of groups: people, computers and groups by sAMAccountName; a group comes before it is a member.
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "ScanFinance": ("alice", "carol"),
    "ScanStaff": ("ScanFinance", "bob"),
    "Scan Administrators": ("scanadmin",),
    "Scan Servers": ("svc-scan", "SCANSRV$"),
    # Three levels deep, and round in a circle.
    "ScanDeep1": ("ScanDeep2",),
    "ScanDeep2": ("ScanDeep3",),
    "ScanDeep3": ("dave",),
    "ScanRingA": ("ScanRingB", "zoë(test)"),
    "ScanRingB": ("ScanRingA",),
    "Büro (Süd)": ("zoë(test)", "frank"),
}


def person(name: str) -> Person:
    """Return the account with this sAMAccountName.

    :raises KeyError: the domain has none (or it is one of those every domain has).
    """
    return {p.name: p for p in (*PEOPLE, COMPUTER, ADMINISTRATOR)}[name]
