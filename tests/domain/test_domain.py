"""The test domain is what testdomain.facts says, so that other tests may rely on it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import spnego

from postscan.contracts.psp import read_process
from postscan.core.errors import PostscanError
from support.domain import Domain
from testdomain.facts import (
    ADDRESS,
    ALICE,
    BASE_DN,
    BOB,
    CAROL,
    CONTROLLER,
    DAVE,
    PROCESSES_DN,
    SCAN_SERVER,
    USERS,
    ZOE,
    Person,
)
from testdomain.namespace import Namespace
from testdomain.processes import DomainProcess, domain_processes
from testdomain.run import remove_abandoned

ROOT = Path(__file__).parents[2]
LDAPSEARCH = ["ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-o", "nettimeout=10"]


def search(domain: Domain, who: Person, *arguments: str, uri: str = f"ldaps://{CONTROLLER}") -> str:
    bind = ["-x", "-H", uri, "-D", who.principal, "-w", who.password]
    done = domain.run([*LDAPSEARCH, *bind, *arguments])
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("who", [u for u in USERS if u.enabled and not u.expired], ids=lambda p: p.name)
def test_a_user_is_listed_the_processes_that_the_facts_give_them(domain: Domain, who: Person) -> None:
    said = search(domain, who, "-b", PROCESSES_DN, "(objectClass=msImaging-PostScanProcess)", "cn")
    found = {line.removeprefix("cn: ") for line in said.splitlines() if line.startswith("cn: ")}
    assert found == {str(p.identifier) for p in domain_processes() if who.name in p.readers}


def test_a_disabled_and_an_expired_account_cannot_log_on(domain: Domain) -> None:
    for who in (CAROL, next(p for p in USERS if p.expired)):
        bind = ["-x", "-H", f"ldaps://{CONTROLLER}", "-D", who.principal, "-w", who.password]
        assert "Invalid credentials" in domain.run([*LDAPSEARCH, *bind, "-b", BASE_DN, "-s", "base"]).stderr


def test_starttls_is_offered_with_a_certificate_of_the_domains_authority(domain: Domain) -> None:
    said = search(domain, ALICE, "-ZZ", "-b", BASE_DN, "-s", "base", "dc", uri=f"ldap://{CONTROLLER}")
    assert "dc: dsm" in said


async def test_the_test_itself_and_its_threads_are_in_the_namespace(domain: Domain) -> None:
    _, writer = await asyncio.open_connection(CONTROLLER, 389)
    assert writer.get_extra_info("peername")[:2] == (ADDRESS, 389)
    writer.close()
    await writer.wait_closed()
    with await asyncio.to_thread(socket.create_connection, (ADDRESS, 88), 5) as connection:
        assert connection.getpeername()[0] == ADDRESS


@pytest.mark.parametrize("who", [ALICE, DAVE, ZOE], ids=lambda p: p.name)
def test_a_user_gets_a_kerberos_ticket_for_the_controller(domain: Domain, who: Person) -> None:
    pytest.importorskip("gssapi", reason="the extra postscan[kerberos] is not installed")
    name = f"{who.name}@DSM.TEST"
    client = spnego.client(name, who.password, hostname=CONTROLLER, service="ldap", protocol="kerberos")
    assert client.step()


def test_the_keytabs_hold_the_keys_of_the_service_and_the_computer(domain: Domain, tmp_path: Path) -> None:
    for principal, keytab in (
        ("svc-scan@DSM.TEST", domain.folder.service_keytab),
        ("SCANSRV$@DSM.TEST", domain.folder.computer_keytab),
    ):
        done = domain.run(["kinit", "-c", tmp_path / "cache", "-k", "-t", keytab, principal])
        assert done.returncode == 0, done.stderr


def test_dns_finds_the_controllers(domain: Domain) -> None:
    import dns.resolver

    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [ADDRESS]
    for service in ("_ldap._tcp.dc._msdcs", "_ldap._tcp.gc._msdcs", "_kerberos._tcp"):
        [answer] = resolver.resolve(f"{service}.dsm.test", "SRV")
        assert str(answer.target) == f"{CONTROLLER}."
    for host in (CONTROLLER, "scansrv.dsm.test"):
        assert [str(a) for a in resolver.resolve(host, "A")] == [ADDRESS]
        with pytest.raises(dns.resolver.NoAnswer):
            resolver.resolve(host, "AAAA")


def test_a_stopped_controller_refuses_and_answers_again_when_started(domain: Domain) -> None:
    domain.stop()
    with pytest.raises(ConnectionRefusedError), socket.create_connection((CONTROLLER, 389), 5):
        pass
    domain.start()
    assert "dc: dsm" in search(domain, BOB, "-b", BASE_DN, "-s", "base", "dc")


def test_a_frozen_controller_takes_connections_and_answers_nothing(domain: Domain) -> None:
    domain.freeze()
    bind = ["-x", "-H", f"ldap://{CONTROLLER}", "-b", "", "-s", "base"]
    with pytest.raises(subprocess.TimeoutExpired):
        domain.run([*LDAPSEARCH, *bind], timeout=2)
    domain.thaw()
    assert domain.run([*LDAPSEARCH, *bind]).returncode == 0


def test_nothing_is_left_of_a_namespace_that_was_removed(domain: Domain) -> None:
    space = Namespace.make()
    assert Path("/run/netns", space.name).exists()
    space.remove()
    assert not Path("/run/netns", space.name).exists()
    assert not Path("/etc/netns", space.name).exists()
    assert os.environ["KRB5_CONFIG"] == str(domain.krb5_conf)


@pytest.mark.parametrize("process", domain_processes(), ids=lambda p: p.display_name)
def test_every_scan_process_but_the_broken_one_can_be_read(process: DomainProcess) -> None:
    if process.broken:
        with pytest.raises(PostscanError):
            read_process(process.xml)
    else:
        assert read_process(process.xml).scan_repository == SCAN_SERVER


def test_a_controller_ends_with_its_maker_and_the_next_one_cleans_up(domain: Domain, tmp_path: Path) -> None:
    domain.stop()  # what is copied must not be written to meanwhile
    copy = domain.folder.copy(tmp_path / "copy").path
    domain.start()
    maker = (
        "import os, pathlib, sys\n"
        "from testdomain.controller import Controller\n"
        "from testdomain.domain import DomainFolder\n"
        "from testdomain.namespace import Namespace\n"
        "controller = Controller(DomainFolder(pathlib.Path(sys.argv[1])), Namespace.make())\n"
        "controller.start()\n"
        "print(controller.namespace.name, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", maker, copy]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == -9, done.stderr
    name = done.stdout.strip()
    while subprocess.run(["ip", "netns", "pids", name], capture_output=True, check=False).stdout:
        pass  # the kernel is at it
    remove_abandoned()
    assert not Path("/run/netns", name).exists()
