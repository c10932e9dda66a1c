"""Looking one scan process up again, by its name, in a real Active Directory where it may have changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sansldap import LDAPFilter

from postscan.core.clock import SystemClock
from postscan.core.secret import Secret
from postscan.directory.active.forest import Forest
from postscan.directory.active.principals import Principals
from postscan.directory.active.processes import Processes
from postscan.directory.ldap.binding import SimplePassword
from postscan.directory.ldap.client import Ldap, LdapSettings
from postscan.directory.ldap.model import Change, Entry, Operation, Scope
from postscan.directory.model import ProcessDraft
from support.domain import Domain
from testdomain.facts import CONTROLLER, DNS_DOMAIN, PROCESSES_DN, SERVICE
from testdomain.processes import own_xml

CONTAINER = PROCESSES_DN


class CountingLdap(Ldap):
    """Counts the searches of the container of scan processes."""

    searches = 0

    async def search(
        self, base: str, scope: Scope, where: LDAPFilter, attributes: Sequence[str], **options: Any
    ) -> list[Entry]:
        self.searches += base == CONTAINER
        return await super().search(base, scope, where, attributes, **options)


class Server:
    """The server's own account, and one scan process that it made."""

    def __init__(self, ldap: CountingLdap) -> None:
        self.ldap = ldap
        self.identifier = uuid4()

    def fresh(self) -> Processes:
        """Return a server's look-up that has not looked yet."""
        return Processes(self.ldap, Principals(Forest(self.ldap, SystemClock()), SystemClock()))

    async def make(self, name: str) -> str:
        draft = ProcessDraft(self.identifier, name, own_xml(name), groups=frozenset({"ScanFinance"}))
        await self.fresh().create_process(draft)
        return f"CN={self.identifier},{CONTAINER}"


@pytest.fixture
async def server(domain: Domain) -> AsyncIterator[Server]:
    settings = LdapSettings(
        domain=DNS_DOMAIN,
        credentials=SimplePassword(SERVICE.principal, Secret(SERVICE.password)),
        controllers=(CONTROLLER,),
        dns_servers=(domain.address,),
        ca=domain.ca,
    )
    ldap = CountingLdap(settings)
    here = Server(ldap)
    try:
        yield here
        for left in await here.fresh().entries(here.identifier):
            await ldap.delete(left.dn)
    finally:
        await ldap.close()


async def name_of(processes: Processes, identifier: UUID) -> str | None:
    found = await processes.one(identifier)
    return None if found is None else found.display_name


async def test_what_was_found_is_read_by_name_the_next_time(server: Server) -> None:
    await server.make("First")
    processes = server.fresh()
    assert await name_of(processes, server.identifier) == "First"
    searches = server.ldap.searches
    assert await name_of(processes, server.identifier) == "First"
    assert server.ldap.searches == searches


async def test_what_was_listed_is_read_by_name(server: Server) -> None:
    await server.make("First")
    processes = server.fresh()
    await processes.all()
    searches = server.ldap.searches
    assert await name_of(processes, server.identifier) == "First"
    assert server.ldap.searches == searches


async def test_rights_and_xml_are_read_anew_each_time(server: Server) -> None:
    await server.make("First")
    processes = server.fresh()
    seen = await processes.one(server.identifier)
    assert seen is not None
    draft = ProcessDraft(seen.identifier, "Second", own_xml("Second"), groups=frozenset({"ScanStaff"}))
    await server.fresh().change_process(seen, draft)
    found = await processes.one(server.identifier)
    assert found is not None
    assert (found.display_name, found.xml, found.groups) == ("Second", own_xml("Second"), {"ScanStaff"})


async def test_what_was_deleted_is_gone(server: Server) -> None:
    dn = await server.make("First")
    processes = server.fresh()
    assert await name_of(processes, server.identifier) == "First"
    await server.ldap.delete(dn)
    assert await name_of(processes, server.identifier) is None


async def test_what_stands_elsewhere_now_is_found_there(server: Server) -> None:
    dn = await server.make("First")
    processes = server.fresh()
    assert await name_of(processes, server.identifier) == "First"
    moved = replace(ProcessDraft(uuid4(), "Other", own_xml("Other")), groups=frozenset({"ScanFinance"}))
    # Another object takes the identifier over, and the old one gets a new one.
    octets = server.identifier.bytes_le
    await server.fresh().create_process(moved)
    other = f"CN={moved.identifier},{CONTAINER}"
    for where, value in ((dn, moved.identifier.bytes_le), (other, octets)):
        await server.ldap.modify(where, [Change(Operation.REPLACE, "msImaging-PSPIdentifier", (value,))])
    try:
        assert await name_of(processes, server.identifier) == "Other"
        assert await name_of(processes, server.identifier) == "Other"
    finally:
        await server.ldap.delete(dn)


async def test_an_unknown_identifier_is_nobody_s(server: Server) -> None:
    assert await name_of(server.fresh(), uuid4()) is None
