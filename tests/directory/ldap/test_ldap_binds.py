"""Every way to log on, right and wrong, at a real domain controller."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.directory.ldap.binding import Credentials, Mechanism, Sasl, SimplePassword
from postscan.directory.ldap.client import Ldap
from postscan.directory.ldap.filters import equal
from postscan.directory.ldap.model import (
    CredentialsRefused,
    DirectoryAway,
    DirectoryUntrusted,
    RequestRefused,
    Scope,
)
from postscan.directory.ldap.settings import LdapSettings, Transport
from support.domain import Domain
from testdomain.facts import ADDRESS, ALICE, CAROL, DNS_DOMAIN, ERIN, SERVICE

_CONTROLLER = "dc1.dsm.test"
_TLS = [Transport.LDAPS, Transport.STARTTLS]
_PROTECTED = [*_TLS, Transport.SEALED]
_PASSWORD = Secret(ALICE.password)


@asynccontextmanager
async def logged_on(
    domain: Domain, credentials: Credentials, transport: Transport, **further: object
) -> AsyncIterator[Ldap]:
    values: dict[str, object] = {
        "controllers": (_CONTROLLER,),
        "dns_servers": (ADDRESS,),
        "ca": domain.ca,
        "connect_seconds": 20.0,
        "answer_seconds": 20.0,
    }
    ldap = Ldap(LdapSettings(DNS_DOMAIN, credentials, transport, **(values | further)))  # type: ignore[arg-type]
    try:
        yield ldap
    finally:
        await ldap.close()


async def names(ldap: Ldap, name: str = ALICE.name) -> list[str | None]:
    found = await ldap.search(
        "DC=dsm,DC=test", Scope.SUBTREE, equal("sAMAccountName", name), ["sAMAccountName"]
    )
    return [entry.text("sAMAccountName") for entry in found]


@pytest.mark.parametrize("transport", _TLS)
async def test_a_simple_bind_over_tls_is_accepted(domain: Domain, transport: Transport) -> None:
    async with logged_on(domain, SimplePassword(ALICE.principal, _PASSWORD), transport) as ldap:
        assert await names(ldap) == [ALICE.name]
        facts = await ldap.facts()
    assert (facts.mechanism, facts.sealed, facts.host) == ("simple", False, _CONTROLLER)
    assert facts.tls is not None
    assert facts.certificate is not None


@pytest.mark.parametrize("mechanism", [Mechanism.KERBEROS, Mechanism.NEGOTIATE])
@pytest.mark.parametrize("transport", _PROTECTED)
async def test_kerberos_by_password_is_accepted(
    domain: Domain, transport: Transport, mechanism: Mechanism
) -> None:
    async with logged_on(domain, Sasl(mechanism, "alice@DSM.TEST", _PASSWORD), transport) as ldap:
        assert await names(ldap) == [ALICE.name]
        facts = await ldap.facts()
    assert (facts.mechanism, facts.sealed) == ("kerberos", transport is Transport.SEALED)


@pytest.mark.parametrize("account", ["DSM\\alice", "alice@dsm.test"])
async def test_ntlm_is_accepted_when_it_seals(domain: Domain, account: str) -> None:
    credentials = Sasl(Mechanism.NTLM, account, _PASSWORD)
    async with logged_on(domain, credentials, Transport.SEALED) as ldap:
        assert await names(ldap) == [ALICE.name]
        assert (await ldap.facts()).sealed


async def test_ntlm_over_tls_is_told_to_go_another_way(domain: Domain) -> None:
    # Samba wants a session key of pyspnego that Windows does not.
    credentials = Sasl(Mechanism.NTLM, "DSM\\alice", _PASSWORD)
    async with logged_on(domain, credentials, Transport.LDAPS) as ldap:
        with pytest.raises(RequestRefused, match="this kind of logon"):
            await names(ldap)


async def test_a_keytab_is_accepted(domain: Domain) -> None:
    credentials = Sasl(Mechanism.KERBEROS, "svc-scan@DSM.TEST", keytab=domain.folder.service_keytab)
    async with logged_on(domain, credentials, Transport.SEALED) as ldap:
        assert await names(ldap, SERVICE.name) == [SERVICE.name]


async def test_a_keytab_without_a_name_means_its_first_principal(domain: Domain) -> None:
    credentials = Sasl(Mechanism.KERBEROS, keytab=domain.folder.service_keytab)
    async with logged_on(domain, credentials, Transport.LDAPS) as ldap:
        assert await names(ldap) == [ALICE.name]


async def test_the_tickets_of_the_process_are_accepted(
    domain: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'tickets'}")
    got = domain.run(["kinit", "-kt", domain.folder.service_keytab, "svc-scan@DSM.TEST"], env=os.environ)
    assert got.returncode == 0, got.stderr
    async with logged_on(domain, Sasl(Mechanism.KERBEROS), Transport.SEALED) as ldap:
        assert await names(ldap) == [ALICE.name]


async def test_tickets_that_are_not_there_are_told(
    domain: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'none'}")
    async with logged_on(domain, Sasl(Mechanism.KERBEROS), Transport.SEALED) as ldap:
        with pytest.raises(CredentialsRefused, match="no Kerberos tickets"):
            await names(ldap)


async def test_the_wrong_principal_of_a_keytab_is_told(domain: Domain) -> None:
    credentials = Sasl(Mechanism.KERBEROS, "bob@DSM.TEST", keytab=domain.folder.service_keytab)
    async with logged_on(domain, credentials, Transport.SEALED) as ldap:
        with pytest.raises(CredentialsRefused, match="keytab does not hold its key"):
            await names(ldap)


async def test_a_keytab_that_is_not_there_is_told(domain: Domain, tmp_path: Path) -> None:
    credentials = Sasl(Mechanism.KERBEROS, "svc-scan@DSM.TEST", keytab=tmp_path / "none")
    async with logged_on(domain, credentials, Transport.SEALED) as ldap:
        with pytest.raises(ConfigurationError, match=r"keytab .* cannot be read: No such file"):
            await names(ldap)


@pytest.mark.parametrize("transport", _TLS)
async def test_a_wrong_password_is_refused_in_plain_words(domain: Domain, transport: Transport) -> None:
    wrong = SimplePassword(ALICE.principal, Secret("wrong"))
    async with logged_on(domain, wrong, transport) as ldap:
        with pytest.raises(CredentialsRefused, match="the account or its password is wrong"):
            await names(ldap)


@pytest.mark.parametrize("mechanism", list(Mechanism))
@pytest.mark.parametrize("transport", [Transport.SEALED, Transport.LDAPS])
async def test_a_wrong_password_is_refused_by_each_mechanism(
    domain: Domain, transport: Transport, mechanism: Mechanism
) -> None:
    wrong = Sasl(mechanism, "alice@DSM.TEST", Secret("wrong"))
    async with logged_on(domain, wrong, transport) as ldap:
        with pytest.raises(CredentialsRefused, match="the account or its password is wrong"):
            await names(ldap)


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (SimplePassword(CAROL.principal, Secret(CAROL.password)), "disabled"),
        (Sasl(Mechanism.KERBEROS, "carol@DSM.TEST", Secret(CAROL.password)), "disabled"),
        (SimplePassword(ERIN.principal, Secret(ERIN.password)), "account has expired"),
        (Sasl(Mechanism.KERBEROS, "nobody@DSM.TEST", Secret("x")), "no such account"),
    ],
)
async def test_an_account_that_may_not_log_on_is_told_why(
    domain: Domain, credentials: Credentials, words: str
) -> None:
    transport = Transport.LDAPS if isinstance(credentials, SimplePassword) else Transport.SEALED
    async with logged_on(domain, credentials, transport) as ldap:
        with pytest.raises(CredentialsRefused, match=words):
            await names(ldap)


async def test_a_password_in_clear_is_refused_by_the_controller(domain: Domain) -> None:
    credentials = SimplePassword(ALICE.principal, _PASSWORD)
    async with logged_on(domain, credentials, Transport.INSECURE_PLAIN) as ldap:
        with pytest.raises(RequestRefused, match="better protected") as told:
            await names(ldap)
    assert "LDAPS" in told.value.what_to_do


async def test_kerberos_does_not_log_on_at_a_controller_without_the_services_key(domain: Domain) -> None:
    credentials = Sasl(Mechanism.KERBEROS, "alice@DSM.TEST", _PASSWORD)
    where = {"controllers": (ADDRESS,)}
    async with logged_on(domain, credentials, Transport.SEALED, **where) as ldap:
        with pytest.raises(DirectoryUntrusted, match="knows no LDAP service"):
            await names(ldap)


async def test_a_key_distribution_centre_that_is_away_is_told(
    domain: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "krb5.conf"
    elsewhere.write_text(domain.krb5_conf.read_text().replace(ADDRESS, "127.0.0.9"))
    monkeypatch.setenv("KRB5_CONFIG", str(elsewhere))
    credentials = Sasl(Mechanism.KERBEROS, "alice@DSM.TEST", _PASSWORD)
    async with logged_on(domain, credentials, Transport.SEALED, answer_seconds=5.0) as ldap:
        with pytest.raises(DirectoryAway, match=r"key distribution centre|Kerberos did not answer"):
            await names(ldap)


async def test_controllers_are_found_by_dns(domain: Domain) -> None:
    credentials = SimplePassword(ALICE.principal, _PASSWORD)
    async with logged_on(domain, credentials, Transport.LDAPS, controllers=()) as ldap:
        assert [one.host for one in await ldap.controllers()] == [_CONTROLLER]
        assert await names(ldap) == [ALICE.name]


@pytest.mark.parametrize("transport", _TLS)
async def test_the_global_catalog_answers(domain: Domain, transport: Transport) -> None:
    credentials = SimplePassword(ALICE.principal, _PASSWORD)
    further = {"controllers": (), "global_catalog": True, "forest": DNS_DOMAIN}
    async with logged_on(domain, credentials, transport, **further) as ldap:
        assert await names(ldap) == [ALICE.name]
        assert (await ldap.root()).is_global_catalog


async def test_a_controller_whose_authority_is_unknown_is_not_trusted(domain: Domain) -> None:
    credentials = SimplePassword(ALICE.principal, _PASSWORD)
    async with logged_on(domain, credentials, Transport.LDAPS, ca=None) as ldap:
        with pytest.raises(DirectoryUntrusted, match="not trusted"):
            await names(ldap)


async def test_many_log_on_at_once(domain: Domain) -> None:
    async def one(mechanism: Mechanism) -> list[str | None]:
        credentials = Sasl(mechanism, "alice@DSM.TEST", _PASSWORD)
        async with logged_on(domain, credentials, Transport.SEALED) as ldap:
            return await names(ldap)

    several = [Mechanism.KERBEROS, Mechanism.NTLM] * 2
    assert await asyncio.gather(*map(one, several)) == [[ALICE.name]] * 4
