"""Logging on with Kerberos: a real domain, and a file server that its people log on to."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from postscan.contracts.keywords import FilterStateReason
from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError
from postscan.filters.fileshare import FileShareFilter, FileShareSettings
from postscan.filters.smb.servers import Logon, SmbServer
from support.domain import Domain
from support.smb import ALICES, FIRST, SmbSite
from testdomain.controller import Controller
from testdomain.facts import ALICE, CAROL, ERIN, SERVICE, Person
from testservers.domain_fileserver import FILE_SERVER, add_to_domain, domain_file_server
from testservers.fileserver import FileServer, missing

PRINCIPAL = f"{SERVICE.name}@DSM.TEST"


@pytest.fixture(scope="module")
def domain_keytab(domain_controller: Controller, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the domain the file server's account, and return its keys."""
    if lacking := missing():
        pytest.skip(f"no file server: {'; '.join(lacking)}")
    keytab = tmp_path_factory.mktemp("keys") / "cifs.keytab"
    domain_controller.start()
    add_to_domain(domain_controller, keytab)
    return keytab


@pytest.fixture
def files(domain: Domain, domain_keytab: Path, tmp_path: Path) -> Iterator[FileServer]:
    """Run the domain's file server."""
    with domain_file_server(domain.controller, tmp_path / "fs", domain_keytab) as server:
        yield server


@pytest.fixture
def site(files: FileServer, tmp_path: Path) -> SmbSite:
    return SmbSite(files, tmp_path / "spool")


def allow(site: SmbSite, *servers: SmbServer) -> None:
    site.filter = FileShareFilter(FileShareSettings(servers=servers, zone=UTC))


def as_person(person: Person, password: str | None = None) -> SmbServer:
    return SmbServer(
        FILE_SERVER, account=f"{person.name}@DSM.TEST", password=lambda: Secret(password or person.password)
    )


async def deliver(site: SmbSite, host: str = FILE_SERVER, share: str = "scans") -> None:
    site.host = host
    await site.deliver(site.document(), to=share)


async def test_account_and_password_deliver(site: SmbSite) -> None:
    allow(site, as_person(SERVICE))
    await deliver(site)
    [file] = (site.server.folder("scans") / ALICES).iterdir()
    assert file.name == FIRST
    assert (await site.probe())[0] == f"{FILE_SERVER} lets {PRINCIPAL} in; what is sent is encrypted"


async def test_a_keytab_delivers(site: SmbSite, domain: Domain) -> None:
    allow(site, SmbServer(FILE_SERVER, account=PRINCIPAL, keytab=domain.folder.service_keytab))
    await deliver(site)
    assert len(site.content()) == 1


async def test_a_keytab_alone_says_whose_it_is(site: SmbSite, domain: Domain) -> None:
    allow(site, SmbServer(FILE_SERVER, keytab=domain.folder.service_keytab))
    await deliver(site)
    assert len(site.content()) == 1


async def test_the_tickets_of_the_process_deliver(
    site: SmbSite, domain: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = f"FILE:{tmp_path / 'tickets'}"
    await asyncio.to_thread(
        subprocess.run,
        ["kinit", "-k", "-t", str(domain.folder.service_keytab), PRINCIPAL],
        env=os.environ | {"KRB5CCNAME": cache},
        check=True,
        timeout=60,
    )
    monkeypatch.setenv("KRB5CCNAME", cache)
    allow(site, SmbServer(FILE_SERVER))
    await deliver(site)
    assert len(site.content()) == 1


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (as_person(ALICE, "wrong"), "the account or its password is wrong"),
        (as_person(Person("nobody9", "n0body-Passw0rd")), "there is no such account"),
        (as_person(CAROL), "the account is disabled, locked or expired"),
        (as_person(ERIN), "expired"),
        (SmbServer(FILE_SERVER), "there are no Kerberos tickets"),
    ],
    ids=["wrong password", "no such account", "disabled", "expired", "no tickets"],
)
async def test_who_the_domain_does_not_know_is_denied(
    site: SmbSite, server: SmbServer, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'none'}")
    allow(site, server)
    with pytest.raises(DeliveryError) as raised:
        await deliver(site)
    assert raised.value.reason is FilterStateReason.FILE_SHARE_ACCESS_DENIED
    assert not raised.value.transient
    assert words in str(raised.value)
    assert site.content() == {}


async def test_a_keytab_that_is_not_there_is_told(site: SmbSite, tmp_path: Path) -> None:
    allow(site, SmbServer(FILE_SERVER, account=PRINCIPAL, keytab=tmp_path / "none.keytab"))
    with pytest.raises(DeliveryError) as raised:
        await deliver(site)
    assert "keytab" in str(raised.value)
    assert site.content() == {}


async def test_a_server_whose_service_the_domain_does_not_know_is_told(site: SmbSite) -> None:
    host = "other.dsm.test"
    allow(site, SmbServer(host, account=PRINCIPAL, password=lambda: Secret(SERVICE.password)))
    with pytest.raises(DeliveryError) as raised:
        await deliver(site, host)
    assert raised.value.transient
    assert f"the domain knows no service cifs/{host}" in str(raised.value)


async def test_a_path_of_the_domain_is_written_to_by_one_of_its_servers(site: SmbSite) -> None:
    allow(
        site,
        SmbServer(
            "dsm.test",
            account=PRINCIPAL,
            password=lambda: Secret(SERVICE.password),
            connect_to=FILE_SERVER,
        ),
        as_person(SERVICE),
    )
    site.server.link("dfs", "far", rf"{FILE_SERVER}\scans")
    await deliver(site, "dsm.test", r"dfs\far")
    assert len(site.content()) == 1


async def test_a_domain_that_is_away_is_transient(site: SmbSite, domain: Domain) -> None:
    allow(site, as_person(SERVICE))
    domain.stop()
    with pytest.raises(DeliveryError) as raised:
        await deliver(site)
    assert raised.value.transient
    domain.start()
    await deliver(site)
    assert len(site.content()) == 1


async def test_case_27_kerberos_never_falls_back_to_ntlm(site: SmbSite) -> None:
    # The server would take her by NTLM: her password there is the one that its own accounts have.
    person = Person(ALICE.name, "n0-Passw0rd-here")
    allow(site, as_person(person))
    with pytest.raises(DeliveryError):
        await deliver(site)
    by_ntlm = SmbServer(
        FILE_SERVER, Logon.NTLM, person.name, lambda: Secret(person.password), connect_to=FILE_SERVER
    )
    allow(site, by_ntlm)
    await deliver(site)
    assert len(site.content()) == 1
