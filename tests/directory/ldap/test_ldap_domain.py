"""Searching and changing a real domain: paging, descriptors, refusals, and a controller that dies."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from postscan.core.secret import Secret
from postscan.directory.ldap import filters
from postscan.directory.ldap.binding import Mechanism, Sasl, SimplePassword
from postscan.directory.ldap.client import Ldap
from postscan.directory.ldap.model import (
    AlreadyThere,
    Change,
    DirectoryAway,
    NoSuchObject,
    NotPermitted,
    Operation,
    OutcomeUnknown,
    RequestRefused,
    Scope,
)
from postscan.directory.ldap.names import child
from postscan.directory.ldap.settings import LdapSettings, Transport
from support.domain import Domain
from testdomain.facts import ADDRESS, BOB, DNS_DOMAIN, SERVICE

_BASE = "DC=dsm,DC=test"
_CONTAINER = f"CN=PSPs,CN=System,{_BASE}"
_ADMINISTRATOR = ("Administrator@dsm.test", "Adm1n-Passw0rd")
_ANYTHING = filters.present("objectClass")


@asynccontextmanager
async def connected(
    domain: Domain,
    account: str = SERVICE.principal,
    password: str = SERVICE.password,
    transport: Transport = Transport.LDAPS,
    **further: object,
) -> AsyncIterator[Ldap]:
    secret = Secret(password)
    sealed = transport is Transport.SEALED
    values: dict[str, object] = {
        "credentials": Sasl(Mechanism.NTLM, account, secret) if sealed else SimplePassword(account, secret),
        "transport": transport,
        "controllers": ("dc1.dsm.test",),
        "dns_servers": (ADDRESS,),
        "ca": domain.ca,
        "connect_seconds": 20.0,
        "answer_seconds": 20.0,
    }
    ldap = Ldap(LdapSettings(DNS_DOMAIN, **(values | further)))  # type: ignore[arg-type]
    try:
        yield ldap
    finally:
        await ldap.close()


@asynccontextmanager
async def container(ldap: Ldap, name: str) -> AsyncIterator[str]:
    """Make an object that holds others, and remove it with them afterwards."""
    dn = child("CN", name, f"CN=Users,{_BASE}")
    await ldap.add(dn, {"objectClass": [b"container"]})
    try:
        yield dn
    finally:
        for entry in await ldap.search(dn, Scope.ONE_LEVEL, _ANYTHING, ["cn"]):
            await ldap.delete(entry.dn)
        await ldap.delete(dn)


async def test_the_controller_says_what_it_is(domain: Domain) -> None:
    async with connected(domain) as ldap:
        root = await ldap.root()
    assert (root.host, root.default_naming_context) == ("dc1.dsm.test", _BASE)
    assert root.configuration_naming_context == f"CN=Configuration,{_BASE}"
    assert "GSS-SPNEGO" in root.supported_mechanisms
    assert "1.2.840.113556.1.4.319" in root.supported_controls
    assert root.highest_usn > 0


async def test_an_object_is_read(domain: Domain) -> None:
    async with connected(domain) as ldap:
        entry = await ldap.read(BOB.dn, ["objectSid", "sAMAccountName"])
    assert entry is not None
    assert entry.text("samaccountname") == BOB.name
    assert (entry.octets("objectSid") or b"").startswith(b"\x01\x05")


async def test_what_is_not_there_is_none(domain: Domain) -> None:
    async with connected(domain) as ldap:
        assert await ldap.read(f"CN=nobody,CN=Users,{_BASE}", ["cn"]) is None


async def test_groups_within_groups_are_in_the_token(domain: Domain) -> None:
    async with connected(domain) as ldap:
        entry = await ldap.read(BOB.dn, ["tokenGroups"])
    assert entry is not None
    assert len(entry["tokenGroups"]) >= 2


async def test_a_base_that_is_not_there_is_told(domain: Domain) -> None:
    async with connected(domain) as ldap:
        with pytest.raises(NoSuchObject):
            await ldap.search(f"CN=nowhere,{_BASE}", Scope.SUBTREE, _ANYTHING, ["cn"])


async def test_references_to_other_parts_of_the_forest_are_left_alone(domain: Domain) -> None:
    async with connected(domain) as ldap:
        found = await ldap.search(_BASE, Scope.SUBTREE, filters.equal("objectClass", "domainDNS"), ["dc"])
    assert [entry.dn for entry in found] == [_BASE]


async def test_an_object_of_a_foreign_domain_is_not_sought_there(domain: Domain) -> None:
    async with connected(domain) as ldap:
        with pytest.raises(RequestRefused, match=r"not followed|noSuchObject"):
            await ldap.search("DC=elsewhere,DC=test", Scope.SUBTREE, _ANYTHING, ["cn"])


@pytest.mark.parametrize(
    ("transport", "objects", "page"), [(Transport.LDAPS, 1100, 400), (Transport.SEALED, 30, 10)]
)
async def test_more_objects_than_a_page_or_the_servers_limit_are_all_found(
    domain: Domain, transport: Transport, objects: int, page: int
) -> None:
    async with (
        connected(domain, *_ADMINISTRATOR, transport, page_size=page) as ldap,
        container(ldap, f"many {transport}") as dn,
    ):
        for number in range(objects):
            await ldap.add(child("CN", f"object {number}", dn), {"objectClass": [b"container"]})
        for limit, found in ((None, objects), (page + 1, page + 1), (2, 2)):
            entries = await ldap.search(dn, Scope.ONE_LEVEL, _ANYTHING, ["cn"], limit=limit)
            assert len({entry.dn for entry in entries}) == found


@pytest.mark.parametrize("transport", [Transport.LDAPS, Transport.SEALED])
async def test_an_object_is_added_changed_and_deleted(domain: Domain, transport: Transport) -> None:
    name = 'Zoë, "x" + <y>; #1 \\ (test) *'
    async with (
        connected(domain, *_ADMINISTRATOR, transport) as ldap,
        container(ldap, f"changes {transport}") as held,
    ):
        dn = child("CN", name, held)
        await ldap.add(dn, {"objectClass": [b"container"], "description": [b"first"]})
        found = await ldap.search(held, Scope.ONE_LEVEL, filters.equal("cn", name), ["cn", "description"])
        assert [(entry.text("cn"), entry.text("description")) for entry in found] == [(name, "first")]
        changes = [
            Change(Operation.REPLACE, "description", ("zweitens ü".encode(),)),
            Change(Operation.ADD, "displayName", (b"shown",)),
        ]
        await ldap.modify(dn, changes)
        entry = await ldap.read(dn, ["description", "displayName"])
        assert entry is not None
        assert (entry.text("description"), entry.text("displayName")) == ("zweitens ü", "shown")
        with pytest.raises(AlreadyThere):
            await ldap.add(dn, {"objectClass": [b"container"]})
        await ldap.delete(dn)
        assert await ldap.read(dn, ["cn"]) is None
        with pytest.raises(NoSuchObject):
            await ldap.delete(dn)


async def test_half_a_million_characters_go_through_the_seal_and_back(domain: Domain) -> None:
    text = ("ü" * 524_288).encode()
    async with connected(domain, *_ADMINISTRATOR, Transport.SEALED) as ldap:
        dn = child("CN", "large", _CONTAINER)
        await ldap.add(
            dn,
            {
                "objectClass": [b"msImaging-PostScanProcess"],
                "displayName": [b"large"],
                "msImaging-PSPIdentifier": [bytes(16)],
                "msImaging-PSPString": [text],
            },
        )
        try:
            entry = await ldap.read(dn, ["msImaging-PSPString"])
            assert entry is not None
            assert entry.octets("msImaging-PSPString") == text
        finally:
            await ldap.delete(dn)


async def test_a_descriptor_is_read_without_its_sacl(domain: Domain) -> None:
    async with connected(domain) as ldap:
        entry = await ldap.read(_CONTAINER, ["nTSecurityDescriptor"], descriptors=True)
    assert entry is not None
    descriptor = entry.octets("nTSecurityDescriptor") or b""
    control = int.from_bytes(descriptor[2:4], "little")
    assert control & 0x0004  # SE_DACL_PRESENT
    assert not control & 0x0010  # SE_SACL_PRESENT


async def test_what_the_account_may_not_do_is_told(domain: Domain) -> None:
    async with connected(domain, BOB.principal, BOB.password) as ldap:
        with pytest.raises(NotPermitted):
            await ldap.add(child("CN", "x", f"CN=Users,{_BASE}"), {"objectClass": [b"container"]})


async def test_what_the_schema_does_not_allow_is_told_in_its_words(domain: Domain) -> None:
    async with connected(domain, *_ADMINISTRATOR) as ldap:
        with pytest.raises(RequestRefused, match="objectClassViolation") as told:
            await ldap.add(child("CN", "x", _CONTAINER), {"objectClass": [b"msImaging-PostScanProcess"]})
    assert told.value.code == 65


@pytest.mark.parametrize("name", ["*", "*)(objectClass=*", "a(b", "a\\", "nul\0", "(|(cn=*))"])
async def test_a_name_with_the_characters_of_filters_finds_nobody_else(domain: Domain, name: str) -> None:
    async with connected(domain) as ldap:
        assert await ldap.search(_BASE, Scope.SUBTREE, filters.equal("sAMAccountName", name), ["cn"]) == []


async def test_a_controller_that_died_is_away_and_found_again_when_it_is_back(domain: Domain) -> None:
    async with connected(domain, connect_seconds=2.0, answer_seconds=5.0) as ldap:
        assert await ldap.read(BOB.dn, ["cn"]) is not None
        domain.stop()
        with pytest.raises(DirectoryAway):
            await ldap.read(BOB.dn, ["cn"])
        domain.start()
        assert await ldap.read(BOB.dn, ["cn"]) is not None


async def test_a_controller_that_hangs_ends_reading_in_time_and_is_used_again(domain: Domain) -> None:
    async with connected(domain, connect_seconds=2.0, answer_seconds=2.0) as ldap:
        assert await ldap.read(BOB.dn, ["cn"]) is not None
        domain.freeze()
        try:
            with pytest.raises(DirectoryAway, match="within 2 s"):
                await ldap.read(BOB.dn, ["cn"])
        finally:
            domain.thaw()
    async with connected(domain) as ldap:
        assert await ldap.read(BOB.dn, ["cn"]) is not None


async def test_a_change_under_which_the_controller_hangs_may_have_happened(domain: Domain) -> None:
    async with connected(domain, *_ADMINISTRATOR, connect_seconds=5.0, answer_seconds=2.0) as ldap:
        assert await ldap.read(BOB.dn, ["cn"]) is not None
        dn = child("CN", "perhaps", f"CN=Users,{_BASE}")
        domain.freeze()
        try:
            with pytest.raises(OutcomeUnknown):
                await ldap.add(dn, {"objectClass": [b"container"]})
        finally:
            domain.thaw()
    async with connected(domain, *_ADMINISTRATOR) as ldap:
        if await ldap.read(dn, ["cn"]) is not None:
            await ldap.delete(dn)


def test_it_works_with_the_event_loop_of_the_server_too(domain: Domain) -> None:
    async def ask() -> None:
        for transport in (Transport.LDAPS, Transport.STARTTLS, Transport.SEALED):
            async with connected(domain, transport=transport) as ldap:
                assert await ldap.read(BOB.dn, ["cn"]) is not None

    uvloop.run(ask())
