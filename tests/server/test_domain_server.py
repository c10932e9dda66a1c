"""A scan server whose directory is a real domain: who is believed, and what goes on while it is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from postscan.cli.directories import directory_of
from postscan.cli.installation import Installation
from postscan.cli.pki import create_ca
from postscan.cli.settings import load_settings
from postscan.console.client import RepositoryClient
from postscan.contracts.keywords import DocumentFormat, JobState, RepositoryState
from postscan.core.secret import Secret
from postscan.device.client import Patience, ScanServerClient, client_context
from postscan.device.refusals import advice_on
from postscan.directory.ldap.binding import SimplePassword
from postscan.directory.ldap.client import Ldap
from postscan.directory.ldap.model import Change, CredentialsRefused, Operation
from postscan.directory.ldap.settings import LdapSettings
from postscan.directory.model import StoredProcess
from postscan.dpws.client import RemoteFault
from support.domain import Domain
from support.office import address_of, certify, make_office, serving
from support.scanning import change, jpeg
from testdomain.facts import ADMINISTRATOR, ALICE, BOB, CONTROLLER, SCAN_ADMIN, SERVICE


def device(domain: Domain, made: Installation, certificate: Path) -> ScanServerClient:
    """Return a device that shows a certificate."""
    tls = client_context(domain.ca, certificate, certificate.with_suffix(".key"))
    return ScanServerClient(address_of(made), tls=tls, patience=Patience(pauses=()))


def console(domain: Domain, made: Installation, certificate: Path) -> RepositoryClient:
    """Return an administrator's console that shows a certificate."""
    tls = client_context(domain.ca, certificate, certificate.with_suffix(".key"))
    return RepositoryClient(address_of(made), tls=tls, patience=Patience(pauses=()))


async def known(made: Installation, person: Any, process: str) -> tuple[StoredProcess, str]:
    """Return a scan process and a user's SID, as the domain has them."""
    directory = directory_of(load_settings(made.config, {}))
    try:
        user = await directory.user_by_name(person.principal)
        stored = next(one for one in await directory.processes() if one.display_name == process)
    finally:
        await directory.close()
    assert user is not None
    return stored, user.sid


async def ended(client: ScanServerClient, token: str) -> JobState:
    async with asyncio.timeout(20):
        while True:
            status = await client.status(token)
            if status.state in (JobState.COMPLETED, JobState.ABORTED, JobState.CANCELED):
                return status.state
            await asyncio.sleep(0.05)


async def test_a_user_of_the_domain_scans_with_a_certificate_of_its_authority(
    domain: Domain, tmp_path: Path
) -> None:
    # No authority but the domain's: users' certificates are believed for what the directory says.
    made = make_office(domain, tmp_path / "site", tls={"client_ca": ""})
    certificate = await certify(domain, made, ALICE)
    process, sid = await known(made, ALICE, "Invoices to Finance")
    async with serving(made), device(domain, made, certificate) as client:
        token = await client.create(process, sid)
        await client.send_image(token, 1, DocumentFormat.JFIF, jpeg())
        await client.end(token)
        assert await ended(client, token) is JobState.COMPLETED
    assert [path.parent.name for path in (made.folder / "delivered").rglob("*.jpg")] == ["alice@dsm.test"]


async def test_the_server_decides_who_may_use_a_process(domain: Domain, tmp_path: Path) -> None:
    made = make_office(domain, tmp_path / "site")
    certificate = await certify(domain, made, BOB)
    process, sid = await known(made, BOB, "For Alice alone")
    async with serving(made), device(domain, made, certificate) as client:
        with pytest.raises(RemoteFault) as caught:
            await client.create(process, sid)
    assert caught.value.detail == "dsp:PSP_Identifier"


async def test_without_enterprise_roots_the_domains_certificates_are_not_believed(
    domain: Domain, tmp_path: Path
) -> None:
    made = make_office(domain, tmp_path / "site", directory={"enterprise_roots": False})
    certificate = await certify(domain, made, ALICE)
    process, sid = await known(made, ALICE, "Invoices to Finance")
    async with serving(made), device(domain, made, certificate) as client:
        with pytest.raises(RemoteFault) as caught:
            await client.create(process, sid)
    assert caught.value.detail == "The certificate comes from an authority that is not trusted."


async def test_an_authority_of_the_settings_is_believed_beside_those_of_the_directory(
    domain: Domain, tmp_path: Path
) -> None:
    made = make_office(domain, tmp_path / "site", tls={"client_ca": "users-ca.pem"})
    own = create_ca("Our own")
    (made.folder / "users-ca.pem").write_bytes(own.certificate_pem())
    certificate = await certify(domain, made, ALICE, own)
    process, sid = await known(made, ALICE, "Invoices to Finance")
    async with serving(made), device(domain, made, certificate) as client:
        assert await client.create(process, sid)


@pytest.mark.parametrize(
    "further", [{}, {"transport": "sealed", "bind": "ntlm"}, {"transport": "starttls"}], ids=str
)
async def test_a_corrected_password_is_used_without_a_restart(
    domain: Domain, tmp_path: Path, further: dict[str, Any]
) -> None:
    made = make_office(domain, tmp_path / "site", directory=further)
    password = made.folder / "password"
    password.write_text("not the one")
    directory = directory_of(load_settings(made.config, {}))
    try:
        with pytest.raises(CredentialsRefused):
            await directory.ping()
        password.write_text(SERVICE.password)
        await directory.ping()
    finally:
        await directory.close()


async def test_an_authority_that_may_not_certify_sign_on_certifies_nobody(
    domain: Domain, tmp_path: Path
) -> None:
    made = make_office(domain, tmp_path / "site", tls={"client_ca": ""})
    certificate = await certify(domain, made, ALICE)
    process, sid = await known(made, ALICE, "Invoices to Finance")
    async with without_logon_issuers(domain), serving(made), device(domain, made, certificate) as client:
        with pytest.raises(RemoteFault) as caught:
            await client.create(process, sid)
    assert caught.value.detail == "The certificate comes from an authority that may not certify sign-on."
    assert "NTAuthCertificates" in advice_on(caught.value)


@asynccontextmanager
async def without_logon_issuers(domain: Domain) -> AsyncIterator[None]:
    """Take every authority out of NTAuthCertificates while the block runs."""
    settings = LdapSettings(
        domain="dsm.test",
        credentials=SimplePassword(ADMINISTRATOR.principal, Secret(ADMINISTRATOR.password)),
        controllers=(CONTROLLER,),
        ca=domain.ca,
    )
    ldap = Ldap(settings)
    dn = f"CN=NTAuthCertificates,CN=Public Key Services,CN=Services,CN=Configuration,{domain.base_dn}"
    entry = await ldap.read(dn, ["cACertificate"])
    assert entry is not None
    # A value it must have; this one stands for none.
    await ldap.modify(dn, [Change(Operation.REPLACE, "cACertificate", (b"\0",))])
    try:
        yield
    finally:
        await ldap.modify(dn, [Change(Operation.REPLACE, "cACertificate", entry["cACertificate"])])
        await ldap.close()


async def test_members_of_a_group_of_the_domain_look_after_the_server(domain: Domain, tmp_path: Path) -> None:
    made = make_office(domain, tmp_path / "site")
    shown = {person: await certify(domain, made, person) for person in (SCAN_ADMIN, ALICE)}
    async with serving(made):
        async with console(domain, made, shown[SCAN_ADMIN]) as client:
            assert (await client.status()).state is RepositoryState.IDLE
        async with console(domain, made, shown[ALICE]) as client:
            with pytest.raises(RemoteFault) as caught:
                await client.status()
    assert caught.value.subcode == "ClientErrorCurrentUserNotScanAdmin"


# While the domain is away --------------------------------------------------------------------------------


async def page(address: str | None, name: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{address}/{name}") as answer:
        return await answer.text()


async def health(address: str | None) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(f"{address}/health") as answer:
        return answer.status, json.loads(await answer.text())


async def test_the_server_starts_without_its_domain_and_takes_jobs_once_it_is_back(
    domain: Domain, tmp_path: Path
) -> None:
    made = make_office(
        domain,
        tmp_path / "site",
        tls={"client_ca": ""},
        server={"metrics_listen": "127.0.0.1:0"},
        directory={"connect_seconds": 1, "answer_seconds": 1},
    )
    certificate = await certify(domain, made, ALICE)
    process, sid = await known(made, ALICE, "Invoices to Finance")
    domain.stop()
    async with serving(made) as server, device(domain, made, certificate) as client:
        with pytest.raises(RemoteFault) as caught:
            await client.create(process, sid)
        # Nobody can tell yet whether the authority is the domain's.
        assert caught.value.detail == "The certificate comes from an authority that is not trusted."
        await server._upkeep.look()
        status, said = await health(server.metrics_address)
        assert (status, said["status"], said["problems"]) == (200, "degraded", [])
        assert "does not answer" in said["directory"]
        assert "postscan_directory_answers 0.0" in await page(server.metrics_address, "metrics")
        domain.start()
        await server._upkeep.look()
        async with device(domain, made, certificate) as again:
            assert await again.create(process, sid)
        assert (await health(server.metrics_address))[1]["status"] == "ok"


@pytest.mark.parametrize("way", ["stop", "freeze"])
async def test_a_job_under_way_goes_on_while_the_domain_is_away_and_no_other_begins(
    domain: Domain, tmp_path: Path, way: str
) -> None:
    made = make_office(
        domain, tmp_path / "site", directory={"cache_seconds": 0, "connect_seconds": 1, "answer_seconds": 1}
    )
    certificate = await certify(domain, made, ALICE)
    process, sid = await known(made, ALICE, "Invoices to Finance")
    async with serving(made) as server, device(domain, made, certificate) as client:
        token = await client.create(process, sid)
        await client.send_image(token, 1, DocumentFormat.JFIF, jpeg(1))
        getattr(domain, way)()
        # As if the minute for which whose certificate it is need not be asked again were over.
        authenticator = server._reloader._parts.authenticator  # type: ignore[union-attr]
        for der, one in list(authenticator._known.items()):
            authenticator._known[der] = type(one)(one.user, until=0.0, verified=one.verified)
        await client.send_image(token, 2, DocumentFormat.JFIF, jpeg(2))
        with pytest.raises(RemoteFault) as caught:
            await client.create(process, sid)
        assert caught.value.subcode.endswith("ServerErrorTemporaryError")
        await client.end(token)
        assert await ended(client, token) is JobState.COMPLETED


async def test_settings_of_the_directory_need_a_restart_and_those_of_revocation_do_not(
    domain: Domain, tmp_path: Path
) -> None:
    made = make_office(domain, tmp_path / "site")
    async with serving(made) as server:
        change(made.config, cache_seconds=60, policy="hard")
        report = await server.reload()
        assert report.applied == ("revocation.policy",)
        assert report.waiting == ("directory.cache_seconds",)


async def test_a_wrong_list_of_revocations_stops_the_reload(domain: Domain, tmp_path: Path) -> None:
    made = make_office(domain, tmp_path / "site")
    (made.folder / "list.crl").write_text("hello")
    async with serving(made) as server:
        change(made.config, crl_files=["list.crl"])
        with pytest.raises(Exception, match=r"list\.crl"):
            await server.reload()
