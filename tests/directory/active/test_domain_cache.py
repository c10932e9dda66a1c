"""What is remembered of a real domain, and for how long; what happens while no controller answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from postscan.directory.active.directory import ActiveDirectory, ActiveDirectorySettings
from postscan.directory.ldap.client import Ldap
from postscan.directory.ldap.model import Change, CredentialsRefused, DirectoryAway, LdapClient, Operation
from postscan.directory.ldap.settings import LdapSettings
from postscan.directory.model import Directory, DirectoryError, ProcessDraft, ProcessEditor, User
from support.account_certificates import certificate
from support.active_directory import ldap_settings
from support.clock import FakeClock
from support.domain import Domain
from testdomain.facts import ADMINISTRATOR, ALICE, BASE_DN, BOB, SCAN_ADMIN
from testdomain.processes import domain_processes

STAFF_DN = f"CN=ScanStaff,CN=Users,{BASE_DN}"
STAFF_ARCHIVE = next(p for p in domain_processes() if p.display_name == "Staff archive")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def directory(domain: Domain, clock: FakeClock) -> AsyncIterator[ActiveDirectory]:
    hasty = replace(ldap_settings(domain.ca), connect_seconds=1, answer_seconds=2)
    async with ActiveDirectory(ActiveDirectorySettings(hasty), clock=clock) as made:
        yield made


@pytest.fixture
async def administrator(domain: Domain) -> AsyncIterator[Ldap]:
    """Change the domain as its administrator; whoever changes something puts it back."""
    client = Ldap(ldap_settings(domain.ca, ADMINISTRATOR))
    yield client
    await client.close()


async def bob(directory: ActiveDirectory) -> User:
    found = await directory.user_by_name(BOB.name)
    assert found is not None
    return found


async def test_it_is_a_directory_and_an_editor(directory: ActiveDirectory) -> None:
    as_directory: Directory = directory
    as_editor: ProcessEditor = directory
    assert as_directory is as_editor


async def test_who_leaves_a_group_loses_its_rights_when_the_time_is_over(
    directory: ActiveDirectory, administrator: Ldap, clock: FakeClock
) -> None:
    member = (BOB.dn.encode(),)
    assert STAFF_ARCHIVE.identifier in {
        p.identifier for p in await directory.processes_for(await bob(directory))
    }
    await administrator.modify(STAFF_DN, [Change(Operation.DELETE, "member", member)])
    try:
        clock.advance(9.9)
        assert "ScanStaff" in (await bob(directory)).groups
        clock.advance(0.1)
        now = await bob(directory)
        assert "ScanStaff" not in now.groups
        assert STAFF_ARCHIVE.identifier not in {p.identifier for p in await directory.processes_for(now)}
        process = await directory.process(STAFF_ARCHIVE.identifier)
        assert process is not None
        assert not process.granted_to(now)
    finally:
        await administrator.modify(STAFF_DN, [Change(Operation.ADD, "member", member)])


async def test_what_is_remembered_is_given_out_while_the_controller_is_down_but_not_for_longer(
    directory: ActiveDirectory, domain: Domain, clock: FakeClock
) -> None:
    known = await bob(directory)
    identifier = STAFF_ARCHIVE.identifier
    await directory.process(identifier)
    listed = await directory.processes_for(known)
    domain.stop()
    clock.advance(9)
    assert await bob(directory) == known
    assert await directory.process(identifier) is not None
    assert await directory.processes_for(known) == listed
    with pytest.raises(DirectoryAway):
        await directory.ping()
    clock.advance(1)
    for look in (
        lambda: directory.user_by_sid(known.sid),
        lambda: directory.user_by_name(BOB.name),
        lambda: directory.user_for_certificate(certificate(sid=known.sid)),
        lambda: directory.process(identifier),
        lambda: directory.processes(),
        lambda: directory.processes_for(known),
    ):
        with pytest.raises(DirectoryAway):
            await look()


async def test_after_the_controller_is_back_it_is_asked_again(
    directory: ActiveDirectory, domain: Domain, clock: FakeClock
) -> None:
    domain.stop()
    with pytest.raises(DirectoryAway):
        await bob(directory)
    domain.start()
    assert (await bob(directory)).name == BOB.name


async def test_a_frozen_controller_makes_nobody_wait_for_ever(
    directory: ActiveDirectory, domain: Domain
) -> None:
    await directory.ping()
    domain.freeze()
    with pytest.raises(DirectoryError):
        await bob(directory)


async def test_fifty_who_ask_at_once_ask_the_controller_once(directory: ActiveDirectory) -> None:
    found = await asyncio.gather(*(bob(directory) for _ in range(50)))
    assert len({user.sid for user in found}) == 1
    counts = directory.cache_counts["users"]
    assert (counts.misses, counts.hits + counts.joined) == (1, 49)


async def test_a_process_is_seen_as_it_is_after_each_change_of_ours(directory: ActiveDirectory) -> None:
    xml, identifier = _xml(uuid4())
    assert await directory.process(identifier) is None
    count = len(await directory.processes())
    draft = ProcessDraft(identifier, "New", xml, users=frozenset({ALICE.name}))
    made = await directory.create_process(draft)
    try:
        seen = await directory.process(identifier)
        assert seen is not None
        assert seen.version == made.version
        assert len(await directory.processes()) == count + 1
        made = await directory.change_process(made, replace(draft, display_name="Newer"))
        seen = await directory.process(identifier)
        assert seen is not None
        assert seen.display_name == "Newer"
        assert not seen.granted_to(await bob(directory))
    finally:
        await directory.delete_process(made)
    assert await directory.process(identifier) is None
    assert len(await directory.processes()) == count


async def test_those_who_are_listed_share_the_look_at_all_rights(directory: ActiveDirectory) -> None:
    await directory.processes_for(await bob(directory))
    alice = await directory.user_by_name(ALICE.name)
    assert alice is not None
    await directory.processes_for(alice)
    assert directory.cache_counts["granted"].misses == 2
    assert directory.cache_counts["outlines"].misses == 1


async def test_a_right_that_was_taken_away_is_gone_though_the_look_at_all_rights_is_older(
    directory: ActiveDirectory, domain: Domain, clock: FakeClock
) -> None:
    xml, identifier = _xml(uuid4())
    draft = ProcessDraft(identifier, "Shared", xml, users=frozenset({ALICE.name, BOB.name}))
    async with ActiveDirectory(ActiveDirectorySettings(ldap_settings(domain.ca, SCAN_ADMIN))) as other:
        made = await other.create_process(draft)
        try:
            alice = await directory.user_by_name(ALICE.name)
            assert alice is not None
            assert identifier in {p.identifier for p in await directory.processes_for(alice)}
            made = await other.change_process(made, replace(draft, users=frozenset({ALICE.name})))
            now = await bob(directory)
            assert identifier not in {p.identifier for p in await directory.processes_for(now)}
            made = await other.change_process(made, draft)
            clock.advance(10)
            assert identifier in {p.identifier for p in await directory.processes_for(await bob(directory))}
        finally:
            await other.delete_process(made)


async def test_who_was_not_there_a_moment_ago_is_found_soon_after(
    directory: ActiveDirectory, administrator: Ldap, clock: FakeClock
) -> None:
    dn = f"CN=newcomer,CN=Users,{BASE_DN}"
    assert await directory.user_by_name("newcomer") is None
    await administrator.add(dn, {"objectClass": [b"user"], "sAMAccountName": [b"newcomer"]})
    try:
        assert await directory.user_by_name("newcomer") is None
        clock.advance(2)
        found = await directory.user_by_name("newcomer")
        assert found is not None
        assert not found.enabled  # an account without a password is made disabled
    finally:
        await administrator.delete(dn)


async def test_a_wrong_password_of_the_service_account_is_told(
    domain: Domain,
) -> None:
    wrong = ldap_settings(domain.ca, replace(BOB, password="Fal5e-Passw0rd"))
    async with ActiveDirectory(ActiveDirectorySettings(wrong)) as directory:
        with pytest.raises(CredentialsRefused):
            await directory.user_by_name(ALICE.name)


async def test_the_global_catalog_is_asked_for_who_is_not_in_our_domain(domain: Domain) -> None:
    made: list[tuple[LdapSettings, Ldap]] = []

    def connect(settings: LdapSettings) -> LdapClient:
        made.append((settings, Ldap(settings)))
        return made[-1][1]

    settings = replace(ldap_settings(domain.ca), controllers=("dc1.dsm.test:636",))
    async with ActiveDirectory(
        ActiveDirectorySettings(settings, global_catalog=True), connect=connect
    ) as directory:
        assert (await bob(directory)).name == BOB.name
        assert await directory.user_by_sid("S-1-5-21-1-2-3-4") is None
        assert await directory.user_by_name("nobody@elsewhere.test") is None
        assert [s.global_catalog for s, _ in made] == [False, True]
        assert made[1][0].controllers == ("dc1.dsm.test",)
        assert (await made[1][1].facts()).port == 3269


async def test_who_waits_when_the_directory_is_closed_gets_an_error(
    directory: ActiveDirectory, domain: Domain
) -> None:
    await directory.ping()
    domain.freeze()
    waiting = asyncio.ensure_future(bob(directory))
    await asyncio.sleep(0)
    await directory.close()
    with pytest.raises(DirectoryError, match="being closed"):
        await waiting


def _xml(identifier: UUID) -> tuple[bytes, UUID]:
    return STAFF_ARCHIVE.xml.replace(
        str(STAFF_ARCHIVE.identifier).encode(), str(identifier).encode()
    ), identifier
