"""Who may write what in the test domain: what docs/active-directory.md has an administrator delegate."""

from __future__ import annotations

import base64
import uuid

import pytest

from support.domain import Domain
from testdomain.facts import ALICE, BASE_DN, CONTROLLER, PROCESSES_DN, SCAN_ADMIN, SERVICE, Person
from testdomain.processes import domain_processes

COMPUTER_DN = f"CN=SCANSRV,CN=Computers,{BASE_DN}"
INSUFFICIENT_ACCESS = 50


def change(domain: Domain, who: Person, ldif: str) -> int:
    """Send a change and return LDAP's result code."""
    bind = ["-x", "-H", f"ldaps://{CONTROLLER}", "-D", who.principal, "-w", who.password]
    return domain.run(["ldapmodify", *bind], input=ldif).returncode


def a_process(name: str) -> str:
    return (
        f"dn: CN={name},{PROCESSES_DN}\nchangetype: add\nobjectClass: msImaging-PostScanProcess\n"
        f"displayName: made by a test\nmsImaging-PSPIdentifier:: {base64.b64encode(b'x' * 16).decode()}\n"
    )


@pytest.mark.parametrize("who", [SERVICE, SCAN_ADMIN], ids=lambda p: p.name)
def test_who_is_delegated_to_makes_changes_and_deletes_scan_processes(domain: Domain, who: Person) -> None:
    name = str(uuid.uuid4())
    dn = f"CN={name},{PROCESSES_DN}"
    assert change(domain, who, a_process(name)) == 0
    assert change(domain, who, f"dn: {dn}\nchangetype: modify\nreplace: displayName\ndisplayName: x\n") == 0
    assert change(domain, who, f"dn: {dn}\nchangetype: delete\n") == 0


def test_an_ordinary_user_makes_no_scan_process(domain: Domain) -> None:
    assert change(domain, ALICE, a_process(str(uuid.uuid4()))) == INSUFFICIENT_ACCESS


def test_those_delegated_to_make_nothing_else_in_the_container(domain: Domain) -> None:
    ldif = f"dn: CN=other,{PROCESSES_DN}\nchangetype: add\nobjectClass: container\n"
    assert change(domain, SERVICE, ldif) != 0


@pytest.mark.parametrize(("who", "code"), [(SERVICE, 0), (ALICE, INSUFFICIENT_ACCESS)], ids=lambda p: str(p))
def test_scan_servers_alone_publish_the_hash_of_a_certificate(domain: Domain, who: Person, code: int) -> None:
    value = base64.b64encode(bytes(32)).decode()
    for attribute in (f"msImaging-ThumbprintHash:: {value}", "msImaging-HashAlgorithm: SHA256"):
        name = attribute.partition(":")[0]
        ldif = f"dn: {COMPUTER_DN}\nchangetype: modify\nreplace: {name}\n{attribute}\n"
        assert change(domain, who, ldif) == code
        if code == 0:
            assert change(domain, who, f"dn: {COMPUTER_DN}\nchangetype: modify\ndelete: {name}\n") == 0
    ldif = f"dn: {COMPUTER_DN}\nchangetype: modify\nreplace: description\ndescription: x\n"
    assert change(domain, who, ldif) == INSUFFICIENT_ACCESS


def test_the_service_reads_every_scan_process_but_the_hidden_one(domain: Domain) -> None:
    bind = ["-x", "-H", f"ldaps://{CONTROLLER}", "-D", SERVICE.principal, "-w", SERVICE.password, "-LLL"]
    where = ["-b", PROCESSES_DN, "(objectClass=msImaging-PostScanProcess)", "displayName"]
    found = domain.run(["ldapsearch", *bind, *where]).stdout
    assert found.count("displayName:") == 10
    assert "Hidden" not in found


def test_a_user_may_not_change_a_scan_process_they_may_use(domain: Domain) -> None:
    own = next(p for p in domain_processes() if p.display_name == "For Alice alone")
    ldif = f"dn: {own.dn}\nchangetype: modify\nreplace: displayName\ndisplayName: hers\n"
    assert change(domain, ALICE, ldif) == INSUFFICIENT_ACCESS
