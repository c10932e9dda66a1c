"""Signing in with a password: every way to write a name, every transport, and all that must not work."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from postscan.core.secret import Secret
from postscan.directory.active.directory import ActiveDirectory, ActiveDirectorySettings
from postscan.directory.active.signing_in import user_settings
from postscan.directory.ldap.binding import Mechanism, Sasl, SimplePassword
from postscan.directory.ldap.model import CredentialsRefused, DirectoryAway, LdapClient
from postscan.directory.ldap.settings import LdapSettings, Transport
from support.active_directory import ldap_settings
from support.domain import Domain
from testdomain.facts import (
    ADMINISTRATOR,
    ALICE,
    BOB,
    CAROL,
    COMPUTER,
    DAVE,
    ERIN,
    FRANK,
    GROUPS,
    USERS,
    ZOE,
    Person,
)
from testdomain.processes import domain_processes

PRESENT = tuple(person for person in USERS if person.enabled and not person.expired)


@pytest.fixture
def settings(domain: Domain) -> ActiveDirectorySettings:
    return ActiveDirectorySettings(ldap_settings(domain.ca))


@pytest.fixture
async def directory(settings: ActiveDirectorySettings) -> AsyncIterator[ActiveDirectory]:
    async with ActiveDirectory(settings) as made:
        yield made


@pytest.mark.parametrize("person", PRESENT, ids=lambda person: person.name)
async def test_each_person_signs_in_by_each_name_and_is_who_the_server_knows(
    directory: ActiveDirectory, person: Person
) -> None:
    known = await directory.user_by_name(person.name)
    assert known is not None
    for name in (person.name, person.name.upper(), f"DSM\\{person.name}", person.principal):
        async with await directory.signed_in(name, Secret(person.password)) as signed:
            assert signed.user.sid == known.sid, name
            assert signed.user.enabled
            assert signed.user.groups & set(GROUPS) == known.groups & set(GROUPS)
            assert signed.user.token == known.token


@pytest.mark.parametrize("person", PRESENT, ids=lambda person: person.name)
async def test_each_person_sees_exactly_their_scan_processes(
    directory: ActiveDirectory, person: Person
) -> None:
    wanted = {p.identifier for p in domain_processes() if person.name in p.readers and not p.broken}
    async with await directory.signed_in(person.name, Secret(person.password)) as signed:
        assert {process.identifier for process in await signed.processes()} == wanted
        for process in domain_processes():
            found = await signed.process(process.identifier)
            assert (found is not None) == (process.identifier in wanted), process.display_name


@pytest.mark.parametrize(
    ("name", "password"),
    [
        (ALICE.name, "Fal5e-Passw0rd"),
        (ALICE.name, ALICE.password + " "),
        (ALICE.name, ALICE.password.lower()),
        (ALICE.name, BOB.password),
        (ALICE.name, ""),
        (ALICE.name, "\0"),
        ("", ALICE.password),
        ("", ""),
        ("\0", "x"),
        ("nobody", ALICE.password),
        ("*", ALICE.password),
        ("alice\0", ALICE.password),
        ("ali*", ALICE.password),
        ("alice)(objectClass=*", ALICE.password),
        ("OTHER\\alice", ALICE.password),
        ("alice@other.test", ALICE.password),
        (CAROL.name, CAROL.password),
        (ERIN.name, ERIN.password),
        (COMPUTER.name, COMPUTER.password),
        ("x" * 100_000, ALICE.password),
    ],
)
async def test_nobody_signs_in_without_their_name_and_password(
    directory: ActiveDirectory, name: str, password: str
) -> None:
    with pytest.raises(CredentialsRefused) as caught:
        await directory.signed_in(name, Secret(password))
    assert caught.value.what_to_do
    if len(password) > 1:
        assert password not in f"{caught.value!r} {caught.value}"


async def test_an_empty_password_is_refused_before_anything_is_connected(
    settings: ActiveDirectorySettings,
) -> None:
    connected: list[LdapSettings] = []

    def connect(made: LdapSettings) -> LdapClient:
        connected.append(made)
        raise AssertionError("connected")

    with pytest.raises(CredentialsRefused, match="no password"):
        user_settings(settings.ldap, "alice", Secret(""))
    with pytest.raises(CredentialsRefused, match="no account"):
        user_settings(settings.ldap, "", Secret("x"))
    assert not connected


@pytest.mark.parametrize("person", [ALICE, FRANK, ZOE], ids=lambda person: person.name)
@pytest.mark.parametrize("name", ["{0.name}", "DSM\\{0.name}", "{0.name}@dsm.test"])
@pytest.mark.parametrize("mechanism", [Mechanism.NTLM, Mechanism.KERBEROS, Mechanism.NEGOTIATE])
async def test_a_person_signs_in_signed_and_sealed(
    settings: ActiveDirectorySettings, mechanism: Mechanism, name: str, person: Person
) -> None:
    service = Sasl(mechanism, "svc-scan@DSM.TEST", Secret("Svc-Passw0rd1"))
    sealed = replace(settings.ldap, transport=Transport.SEALED, credentials=service)
    async with ActiveDirectory(replace(settings, ldap=sealed)) as directory:
        async with await directory.signed_in(name.format(person), Secret(person.password)) as signed:
            assert signed.user.name == person.name
        with pytest.raises(CredentialsRefused):
            await directory.signed_in(name.format(person), Secret("wrong"))


@pytest.mark.parametrize("mechanism", list(Mechanism))
async def test_a_principal_name_need_not_end_in_a_domain(
    settings: ActiveDirectorySettings, mechanism: Mechanism
) -> None:
    service = Sasl(mechanism, "svc-scan@DSM.TEST", Secret("Svc-Passw0rd1"))
    sealed = replace(settings.ldap, transport=Transport.SEALED, credentials=service)
    async with ActiveDirectory(replace(settings, ldap=sealed)) as directory:
        async with await directory.signed_in(DAVE.principal, Secret(DAVE.password)) as signed:
            assert signed.user.name == DAVE.name
        with pytest.raises(CredentialsRefused):
            await directory.signed_in(DAVE.principal, Secret(ALICE.password))


async def test_a_person_signs_in_over_starttls(settings: ActiveDirectorySettings) -> None:
    over_tls = replace(settings.ldap, transport=Transport.STARTTLS)
    async with (
        ActiveDirectory(replace(settings, ldap=over_tls)) as directory,
        await directory.signed_in(DAVE.principal, Secret(DAVE.password)) as signed,
    ):
        assert signed.user.name == DAVE.name


async def test_a_person_signs_in_where_the_global_catalog_is_asked_too(
    settings: ActiveDirectorySettings,
) -> None:
    async with (
        ActiveDirectory(replace(settings, global_catalog=True)) as directory,
        await directory.signed_in(ALICE.name, Secret(ALICE.password)) as signed,
    ):
        assert signed.user.mail == ALICE.mail
        assert await signed.processes()


async def test_a_device_without_an_account_of_its_own_lets_people_sign_in(
    settings: ActiveDirectorySettings,
) -> None:
    nobody = replace(settings.ldap, credentials=SimplePassword("nobody@dsm.test", Secret("nothing")))
    async with (
        ActiveDirectory(replace(settings, ldap=nobody)) as directory,
        await directory.signed_in(ALICE.name, Secret(ALICE.password)) as signed,
    ):
        assert signed.user.mail == ALICE.mail
        assert await signed.processes()
        assert (await signed.authorities()).roots


async def test_while_no_controller_answers_nobody_signs_in(
    settings: ActiveDirectorySettings, domain: Domain
) -> None:
    hasty = replace(settings.ldap, connect_seconds=0.5, answer_seconds=0.5)
    async with ActiveDirectory(replace(settings, ldap=hasty)) as directory:
        domain.stop()
        with pytest.raises(DirectoryAway):
            await directory.signed_in(ALICE.name, Secret(ALICE.password))
        domain.start()


async def test_case_25_no_password_reaches_a_log(
    directory: ActiveDirectory, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = Secret("Sup3r-Secret-Passw0rd")
    with pytest.raises(CredentialsRefused):
        await directory.signed_in(ADMINISTRATOR.name, secret)
    async with await directory.signed_in(ALICE.name, Secret(ALICE.password)) as signed:
        shown = f"{signed!r} {vars(signed)!r} {directory!r}"
    printed = capfd.readouterr()
    for text in (shown, caplog.text, printed.out, printed.err):
        assert "Sup3r" not in text
        assert ALICE.password not in text
