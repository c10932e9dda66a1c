"""People, certificates and published hashes of a real domain, through the whole ActiveDirectory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from postscan.cli.pki import issue_user
from postscan.core.secret import Secret
from postscan.directory.active.certificate_names import strong_names
from postscan.directory.active.directory import ActiveDirectory, ActiveDirectorySettings, WeakMapping
from postscan.directory.active.user_entries import filetime
from postscan.directory.certificates import CertificateRefused
from postscan.directory.ldap.client import Ldap
from postscan.directory.ldap.model import Change, CredentialsRefused, NotPermitted, Operation
from postscan.directory.model import User
from support.account_certificates import certificate
from support.active_directory import ldap_settings
from support.clock import FakeClock
from support.domain import Domain
from testdomain.facts import (
    ADMINISTRATOR,
    ALICE,
    BASE_DN,
    BOB,
    CAROL,
    COMPUTER,
    DAVE,
    DNS_DOMAIN,
    ERIN,
    FRANK,
    GROUPS,
    SCAN_SERVER,
    USERS,
    ZOE,
    Person,
)
from testdomain.processes import domain_processes


@pytest.fixture
def settings(domain: Domain) -> ActiveDirectorySettings:
    return ActiveDirectorySettings(ldap_settings(domain.ca))


@pytest.fixture
async def directory(settings: ActiveDirectorySettings) -> AsyncIterator[ActiveDirectory]:
    async with ActiveDirectory(settings) as made:
        yield made


@pytest.fixture
async def administrator(domain: Domain) -> AsyncIterator[Ldap]:
    """Change the domain as its administrator; whoever changes something puts it back."""
    client = Ldap(ldap_settings(domain.ca, ADMINISTRATOR))
    yield client
    await client.close()


async def user(directory: ActiveDirectory, person: Person) -> User:
    found = await directory.user_by_name(person.name)
    assert found is not None
    return found


def names_of_groups(person: Person) -> set[str]:
    """Return the test domain's groups that a person is in, by one another too, in circles as well."""
    found: set[str] = set()
    waiting = {person.name}
    while waiting:
        member = waiting.pop()
        more = {group for group, members in GROUPS.items() if member in members} - found
        found |= more
        waiting |= more
    return found


@pytest.mark.parametrize("person", USERS, ids=lambda person: person.name)
async def test_each_person_is_found_by_each_name_and_identifier(
    directory: ActiveDirectory, person: Person
) -> None:
    by_name = await user(directory, person)
    for name in (
        person.principal,
        person.principal.upper(),
        f"DSM\\{person.name}",
        f"dsm.test\\{person.name.upper()}",
        f"{person.name}@{DNS_DOMAIN}",
    ):
        assert await directory.user_by_name(name) == by_name, name
    assert await directory.user_by_sid(by_name.sid) == by_name
    assert by_name.upn == person.principal


@pytest.mark.parametrize("person", USERS, ids=lambda person: person.name)
async def test_each_person_is_in_all_their_groups(directory: ActiveDirectory, person: Person) -> None:
    found = await user(directory, person)
    wanted = names_of_groups(person)
    assert wanted == found.groups & set(GROUPS)
    # By name and by identifier: as many of the one as of the other.
    assert len([g for g in found.groups if g.startswith("S-1-")]) * 2 == len(found.groups)


async def test_a_person_in_very_many_groups_has_all_of_them(
    directory: ActiveDirectory, administrator: Ldap
) -> None:
    names = [f"Many {number}" for number in range(150)]
    dns = [f"CN={name},CN=Users,{BASE_DN}" for name in names]
    try:
        for name, dn in zip(names, dns, strict=True):
            values = {
                "objectClass": [b"group"],
                "sAMAccountName": [name.encode()],
                "member": [FRANK.dn.encode()],
            }
            await administrator.add(dn, values)
        assert set(names) <= (await user(directory, FRANK)).groups
    finally:
        for dn in dns:
            if await administrator.read(dn, ["cn"]) is not None:
                await administrator.delete(dn)


async def test_a_person_comes_with_mail_home_site_and_display_name(directory: ActiveDirectory) -> None:
    found = await user(directory, ALICE)
    assert (found.mail, found.home_site) == (ALICE.mail, ALICE.home_site)
    assert (found.display_name, found.domain, found.enabled) == ("Alice Archer", "dsm.test", True)


async def test_the_home_site_stands_in_the_attribute_that_the_settings_name(
    settings: ActiveDirectorySettings,
) -> None:
    async with ActiveDirectory(replace(settings, home_site_attribute="givenName")) as directory:
        assert (await user(directory, ALICE)).home_site == "Alice"


@pytest.mark.parametrize("person", [CAROL, ERIN], ids=lambda person: person.name)
async def test_a_disabled_or_expired_account_is_not_enabled(
    directory: ActiveDirectory, person: Person
) -> None:
    found = await user(directory, person)
    assert not found.enabled
    assert await directory.processes_for(found) == []


async def test_an_account_that_expires_in_a_moment_is_enabled_until_then(
    settings: ActiveDirectorySettings, administrator: Ldap
) -> None:
    clock = FakeClock()
    ends = clock.now() + timedelta(seconds=30)
    replacing = Change(Operation.REPLACE, "accountExpires", (str(filetime(ends)).encode(),))
    await administrator.modify(FRANK.dn, [replacing])
    try:
        async with ActiveDirectory(settings, clock=clock) as directory:
            assert (await user(directory, FRANK)).enabled
            clock.advance(31)
            assert not (await user(directory, FRANK)).enabled
    finally:
        await administrator.modify(FRANK.dn, [Change(Operation.REPLACE, "accountExpires", (b"0",))])


async def test_an_expired_password_does_not_disable(directory: ActiveDirectory, administrator: Ldap) -> None:
    await administrator.modify(FRANK.dn, [Change(Operation.REPLACE, "pwdLastSet", (b"0",))])
    try:
        assert (await user(directory, FRANK)).enabled
    finally:
        await administrator.modify(FRANK.dn, [Change(Operation.REPLACE, "pwdLastSet", (b"-1",))])


async def test_an_account_that_is_locked_is_not_enabled(
    directory: ActiveDirectory, administrator: Ldap
) -> None:
    async def allow_wrong_passwords(number: bytes) -> None:
        change = Change(Operation.REPLACE, "lockoutThreshold", (number,))
        await administrator.modify(BASE_DN, [change])

    await allow_wrong_passwords(b"2")
    try:
        for _ in range(3):
            with pytest.raises(CredentialsRefused):
                await directory.signed_in(FRANK.name, Secret("Fal5e-Passw0rd"))
        assert not (await user(directory, FRANK)).enabled
        await administrator.modify(FRANK.dn, [Change(Operation.REPLACE, "lockoutTime", (b"0",))])
        directory.forget()
        assert (await user(directory, FRANK)).enabled
    finally:
        await allow_wrong_passwords(b"0")


async def test_computers_and_groups_are_no_people(directory: ActiveDirectory) -> None:
    assert await directory.user_by_name(COMPUTER.name) is None
    assert await directory.user_by_name(f"DSM\\{COMPUTER.name}") is None
    assert await directory.user_by_name("ScanStaff") is None


NASTY = [
    "",
    "*",
    "a*",
    "*)(objectClass=*",
    "alice)(objectClass=*",
    "alice)(|(objectClass=user)",
    "*))(|(cn=*",
    "(alice)",
    "alice\0",
    "\0",
    "alice\\00",
    "\\2a",
    "\\2a)(objectClass=*)",
    "&",
    "|",
    "!(cn=x)",
    "alice\n",
    "alice\r\nbob",
    "alice,CN=Users,DC=dsm,DC=test",
    ALICE.dn,
    "<SID=S-1-5-32-544>",
    "<GUID=00000000-0000-0000-0000-000000000000>",
    "alice ",
    " alice",
    "ali  ce",
    "zoe(test)",
    "zoë test",
    "zoë*",
    "àlice",
    "\uff41lice",
    "alice\u200b",
    "alice\u202e",
    "alice\ud800",
    "DSM\\*",
    "*\\alice",
    "DSM\\DSM\\alice",
    "BUILTIN\\Administrators",
    "NOPE\\alice",
    "*@dsm.test",
    "alice@*",
    "alice@dsm.test*",
    "alice@dsm.test)(cn=*",
    "alice@@dsm.test",
    "@dsm.test",
    "alice@",
    "alice@dsm.test@evil.test",
    "SCANSRV$",
    "krbtgt*",
    "x" * 1_025,
    "x" * 100_000,
    "(" * 1_000,
    "\\" * 999,
    "é" * 1_000,
]


async def test_case_38_no_nasty_name_finds_anybody_and_the_controller_stays_well(
    directory: ActiveDirectory,
) -> None:
    found = {name: await directory.user_by_name(name) for name in NASTY}
    assert not [name for name, user in found.items() if user is not None]
    assert (await user(directory, ALICE)).name == "alice"
    await directory.ping()


async def test_case_38_no_nasty_name_is_a_host_or_gives_rights(directory: ActiveDirectory) -> None:
    known = await directory.known_names(NASTY, NASTY)
    assert (known.users, known.groups) == ({}, {})
    for name in NASTY:
        assert await directory.published_hash(name.replace("\ud800", "")) is None


@pytest.mark.parametrize(
    "text", ["", "S-1-5-21", "*", "S-1-5-32-544", "S-1-1-0", "S-1-5-21-1-2-3-4", "(S-1-5-11)"]
)
async def test_an_identifier_that_is_no_persons_finds_nobody(directory: ActiveDirectory, text: str) -> None:
    assert await directory.user_by_sid(text) is None


async def test_names_that_rights_are_given_to_have_one_spelling(directory: ActiveDirectory) -> None:
    alice = await user(directory, ALICE)
    known = await directory.known_names(
        ["ALICE", "alice@dsm.test", "dsm\\Alice", alice.sid, DAVE.principal, ZOE.principal, "ScanStaff"],
        ["scanstaff", "Büro (Süd)", "Administrators", "alice", "nobody"],
    )
    assert known.users == {
        "ALICE": "alice",
        "alice@dsm.test": "alice",
        "dsm\\Alice": "alice",
        alice.sid: "alice",
        DAVE.principal: "dave",
        ZOE.principal: ZOE.name,
    }
    assert known.groups == {
        "scanstaff": "ScanStaff",
        "Büro (Süd)": "Büro (Süd)",
        "Administrators": "Administrators",
    }


async def test_everybody_may_use_what_they_may_read(directory: ActiveDirectory) -> None:
    for person in USERS:
        if not person.enabled or person.expired:
            continue
        found = await directory.processes_for(await user(directory, person))
        wanted = {p.identifier for p in domain_processes() if person.name in p.readers and not p.broken}
        assert {process.identifier for process in found} == wanted, person


async def test_the_certificate_of_an_account_is_found_to_be_its_own(
    directory: ActiveDirectory, domain: Domain
) -> None:
    for person in (ALICE, DAVE, FRANK, ZOE):
        found = await user(directory, person)
        issued = issue_user(domain.authority(), found).certificate
        assert await directory.user_for_certificate(issued) == found


async def test_a_certificate_for_somebody_elses_name_is_nobodys_and_the_words_say_why(
    directory: ActiveDirectory,
) -> None:
    alice = await user(directory, ALICE)
    shown = certificate(sid=alice.sid, upns=[BOB.principal])
    assert await directory.user_for_certificate(shown) is None
    with pytest.raises(CertificateRefused, match=r"dsm\.test\\alice and dsm\.test\\bob"):
        await directory.certificate_owner(shown)


@pytest.mark.parametrize("form", ["<SR>", "<SKI>", "<SHA1-PUKEY>"])
async def test_a_mapping_in_the_account_says_whose_a_certificate_is(
    directory: ActiveDirectory, administrator: Ldap, form: str
) -> None:
    issuer = x509.Name.from_rfc4514_string('CN=Ünïted\\, \\"CA\\" (*),O=Smith+OU=x,DC=dsm,DC=test')
    shown = certificate(issuer=issuer, key_identifier=b"\x9a" * 20)
    values = [name.encode() for name in strong_names(shown) if form in name][:1]
    await administrator.modify(BOB.dn, [Change(Operation.REPLACE, "altSecurityIdentities", tuple(values))])
    try:
        found = await directory.user_for_certificate(shown)
        assert found is not None
        assert found.name == "bob"
        other = certificate(issuer=issuer, key=ec.generate_private_key(ec.SECP256R1()))
        assert await directory.user_for_certificate(other) is None
    finally:
        await administrator.modify(BOB.dn, [Change(Operation.REPLACE, "altSecurityIdentities")])


async def test_a_principal_name_alone_counts_as_the_settings_say(settings: ActiveDirectorySettings) -> None:
    shown = certificate(upns=[DAVE.principal])
    async with ActiveDirectory(settings) as directory:
        found = await directory.user_for_certificate(shown)
        assert found is not None
        assert found.name == "dave"
    async with ActiveDirectory(replace(settings, weak_mapping=WeakMapping.REFUSE)) as directory:
        assert await directory.user_for_certificate(shown) is None


async def test_what_the_directory_publishes_of_authorities_is_read(
    directory: ActiveDirectory, domain: Domain
) -> None:
    authority = domain.authority().certificate
    found = await directory.authorities()
    assert authority in found.roots
    assert found.may_sign_on(authority)
    assert not found.problems
    lists = [x509.load_der_x509_crl(der) for der in await directory.revocation_lists()]
    assert [crl.issuer for crl in lists] == [authority.subject]


async def test_the_scan_servers_certificate_is_published_read_and_withdrawn(
    directory: ActiveDirectory, domain: Domain
) -> None:
    shown = x509.load_pem_x509_certificate(domain.folder.server_certificate.read_bytes())
    try:
        assert await directory.publish_certificate(SCAN_SERVER, shown)
        assert not await directory.publish_certificate(SCAN_SERVER, shown)
        async with await directory.signed_in(ALICE.name, Secret(ALICE.password)) as alice:
            published = await alice.published_hash(SCAN_SERVER)
        assert published is not None
        assert published.algorithm == "sha256"
        assert published.matches(shown.public_bytes(Encoding.DER))
    finally:
        assert await directory.withdraw_certificate(SCAN_SERVER)
    assert await directory.published_hash(SCAN_SERVER) is None


async def test_who_may_not_write_the_computer_object_publishes_nothing(
    settings: ActiveDirectorySettings, domain: Domain
) -> None:
    async with ActiveDirectory(replace(settings, ldap=ldap_settings(domain.ca, BOB))) as directory:
        with pytest.raises(NotPermitted):
            await directory.publish_certificate(SCAN_SERVER, certificate())
