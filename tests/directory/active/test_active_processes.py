"""Scan processes in a real Active Directory: who sees which, and what writing changes and leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from postscan.core.clock import SystemClock
from postscan.core.secret import Secret
from postscan.directory.active.descriptor_octets import read_descriptor, write_descriptor
from postscan.directory.active.descriptor_text import sddl
from postscan.directory.active.descriptors import (
    FULL_CONTROL,
    READING,
    Ace,
    AceFlag,
    AceKind,
    Right,
    SecurityDescriptor,
)
from postscan.directory.active.forest import Forest
from postscan.directory.active.identifiers import sid_text
from postscan.directory.active.principals import Principals
from postscan.directory.active.processes import Processes
from postscan.directory.ldap.binding import SimplePassword
from postscan.directory.ldap.client import Ldap, LdapSettings
from postscan.directory.ldap.filters import equal
from postscan.directory.ldap.model import Change, Entry, NoSuchObject, NotPermitted, Operation, Scope
from postscan.directory.model import (
    AUTHENTICATED_USERS,
    EVERYONE,
    EntryChanged,
    EntryExists,
    EntryRefused,
    NoSuchEntry,
    ProcessDraft,
    StoredProcess,
)
from support.domain import Domain
from testdomain.facts import (
    ADMINISTRATOR,
    ALICE,
    BASE_DN,
    BOB,
    COMPUTER,
    CONTROLLER,
    DAVE,
    DNS_DOMAIN,
    PROCESSES_DN,
    SCAN_ADMIN,
    SERVICE,
    Person,
)
from testdomain.processes import DomainProcess, domain_processes, own_xml

STORED: Final = domain_processes()
XML: Final = own_xml("Made here")
PEOPLE: Final = (ALICE, BOB, DAVE)


def processes_named(name: str) -> DomainProcess:
    return next(process for process in STORED if process.display_name == name)


class Bound:
    """A connection as one account, and the scan processes as seen over it."""

    def __init__(self, domain: Domain, person: Person, *, as_user: bool = False) -> None:
        self.person = person
        self.ldap = Ldap(
            LdapSettings(
                domain=DNS_DOMAIN,
                credentials=SimplePassword(person.principal, Secret(person.password)),
                controllers=(CONTROLLER,),
                ca=domain.ca,
            )
        )
        accounts = None if as_user else Principals(Forest(self.ldap, SystemClock()), SystemClock())
        self.processes = Processes(self.ldap, accounts, as_user=as_user)

    async def token(self) -> frozenset[str]:
        """Return what :attr:`postscan.directory.model.User.token` would be, by the directory's own word."""
        [user] = await self.ldap.search(
            BASE_DN, Scope.SUBTREE, equal("sAMAccountName", self.person.name), ["objectSid"]
        )
        read = await self.ldap.read(user.dn, ["tokenGroups", "objectSid"])
        assert read is not None
        sids = {sid_text(octets) for octets in (*read["tokenGroups"], *read["objectSid"])}
        return frozenset(sids | {EVERYONE, AUTHENTICATED_USERS})


@asynccontextmanager
async def bound(domain: Domain, person: Person, *, as_user: bool = False) -> AsyncIterator[Bound]:
    made = Bound(domain, person, as_user=as_user)
    try:
        yield made
    finally:
        await made.ldap.close()


@pytest.fixture
async def server(domain: Domain) -> AsyncIterator[Bound]:
    """Give the service account's view; what a test adds is removed, by an administrator."""
    async with bound(domain, ADMINISTRATOR) as administrator, bound(domain, SERVICE) as made:
        try:
            yield made
        finally:
            ours = {process.dn.casefold() for process in STORED}
            for entry in await administrator.ldap.search(
                PROCESSES_DN, Scope.ONE_LEVEL, equal("objectClass", "msImaging-PostScanProcess"), ["cn"]
            ):
                if entry.dn.casefold() not in ours:
                    await administrator.ldap.delete(entry.dn)


async def test_the_service_account_sees_all_it_may_read(server: Bound) -> None:
    with capture_logs() as logs:
        found = await server.processes.all()
        await server.processes.all()
    assert {(p.identifier, p.display_name, p.xml) for p in found} == {
        (p.identifier, p.display_name, p.xml) for p in STORED if p.display_name != "Hidden" and not p.broken
    }
    assert [problem.dn for problem in server.processes.problems()] == [processes_named("Broken").dn]
    assert [log["event"] for log in logs] == ["directory entry is wrong"]


@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.name)
async def test_each_user_may_use_what_the_directory_lets_them_read(
    domain: Domain, server: Bound, person: Person
) -> None:
    async with bound(domain, person, as_user=True) as user:
        seen = await user.processes.all()
        token = await user.token()
    evaluated = await server.processes.readable_by(token)
    wanted = [p.display_name for p in STORED if person.name in p.readers and not p.broken]
    assert [p.display_name for p in seen] == sorted(wanted, key=str.casefold)
    assert [p.display_name for p in evaluated] == [p.display_name for p in seen]


OBJECT_TYPES: Final = (
    None,
    UUID("1f7c257c-b8a3-4525-82f8-11ccc7bee36e"),  # the class
    UUID("bf9679e5-0de6-11d0-a285-00aa003049e2"),  # objectClass
    UUID("bf967953-0de6-11d0-a285-00aa003049e2"),  # displayName
    UUID("51583ce9-94fa-4b12-b990-304c35b18595"),  # msImaging-PSPIdentifier
    UUID("7b6760ae-d6ed-44a6-b6be-9de62c09ec67"),  # msImaging-PSPString
    UUID("59ba2f42-79a2-11d0-9020-00c04fc2d3cf"),  # General Information
    UUID("e48d0154-bcf8-11d1-8702-00c04fb96050"),  # Public Information
    UUID("77b5b886-944a-11d1-aebd-0000f80367c1"),  # Personal Information
)
TRUSTEES: Final = (
    *("alice", "bob", "ScanFinance", "ScanStaff", "ScanDeep1", "Domain Users"),
    *(EVERYONE, AUTHENTICATED_USERS, "S-1-5-2", "S-1-5-10", "S-1-5-32-545"),
)
masks = st.sampled_from(
    [
        *(
            READING,
            READING,
            READING,
            Right.READ_PROPERTY,
            FULL_CONTROL,
            Right.GENERIC_READ,
            Right.GENERIC_ALL,
        ),
        *(Right.GENERIC_WRITE, Right.GENERIC_EXECUTE, Right.WRITE_PROPERTY, Right.LIST_CONTENTS),
    ]
)
flags = st.sampled_from(
    [0, 0, 0, AceFlag.CONTAINER_INHERIT, AceFlag.CONTAINER_INHERIT | AceFlag.INHERIT_ONLY]
)
plain_aces = st.builds(
    Ace,
    st.sampled_from([AceKind.ALLOW, AceKind.ALLOW, AceKind.DENY]),
    flags,
    masks,
    st.sampled_from(TRUSTEES),
)
object_aces = st.builds(
    Ace,
    st.sampled_from([AceKind.ALLOW_OBJECT, AceKind.ALLOW_OBJECT, AceKind.DENY_OBJECT]),
    flags,
    masks,
    st.sampled_from(TRUSTEES),
    st.sampled_from(OBJECT_TYPES),
    st.sampled_from([None, None, OBJECT_TYPES[1]]),
)
# Some that grant everything piece by piece, or all but a piece, which chance would hardly make.
pieces = st.builds(
    lambda sid, types, first: [
        *first,
        *(Ace(AceKind.ALLOW_OBJECT, 0, Right.READ_PROPERTY, sid, one) for one in types),
    ],
    st.sampled_from(TRUSTEES[:4]),
    st.sampled_from(
        [
            OBJECT_TYPES[2:6],
            (*OBJECT_TYPES[4:8],),
            OBJECT_TYPES[3:6],
            (OBJECT_TYPES[1],),
            (OBJECT_TYPES[7], *OBJECT_TYPES[3:6]),
        ]
    ),
    st.lists(object_aces, max_size=1),
)
lists = st.lists(plain_aces | object_aces, min_size=1, max_size=6) | pieces


@given(entries=lists, owned=st.booleans(), protected=st.booleans())
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_any_descriptor_is_judged_as_the_directory_does(
    server: Bound, domain: Domain, entries: list[Ace], owned: bool, protected: bool
) -> None:
    identifier = uuid4()
    dn = f"CN={identifier},{PROCESSES_DN}"
    names = Principals(Forest(server.ldap, SystemClock()), SystemClock())
    known = await names.named(TRUSTEES[:2], TRUSTEES[2:6])
    sids = {name: account.sid for part in (known.users, known.groups) for name, account in part.items()}
    assert len(sids) == 6
    dacl = tuple(replace(ace, sid=sids.get(ace.sid or "", ace.sid)) for ace in entries)
    values = {
        "objectClass": [b"msImaging-PostScanProcess"],
        "displayName": [b"Tried"],
        "msImaging-PSPIdentifier": [identifier.bytes_le],
        "msImaging-PSPString": [XML],
        "nTSecurityDescriptor": [
            write_descriptor(SecurityDescriptor(None, None, dacl, 0x1000 if protected else 0))
        ],
    }
    async with (
        bound(domain, ADMINISTRATOR) as administrator,
        bound(domain, SCAN_ADMIN if owned else ADMINISTRATOR) as owner,
    ):
        await owner.ldap.add(dn, values, descriptors=True)
        try:
            stored = await owner.ldap.read(dn, ["nTSecurityDescriptor"], descriptors=True)
            assert stored is not None
            octets = stored.octets("nTSecurityDescriptor")
            assert octets is not None
            rule = read_descriptor(octets)
            for person in (*PEOPLE, SCAN_ADMIN):
                async with bound(domain, person, as_user=True) as user:
                    seen = await user.processes.one(identifier)
                    assert rule.allows(await user.token()) is (seen is not None), (person.name, sddl(rule))
        finally:
            await administrator.ldap.delete(dn)


def draft(name: str = "Made here", **values: object) -> ProcessDraft:
    made = ProcessDraft(uuid4(), name, XML, frozenset({"dave"}), frozenset({"ScanFinance"}))
    return replace(made, **values)  # type: ignore[arg-type]


def again(seen: StoredProcess, **values: object) -> ProcessDraft:
    """Return a draft that is what was seen, but for some values."""
    same = ProcessDraft(seen.identifier, seen.display_name, seen.xml, seen.users, seen.groups)
    return replace(same, **values)  # type: ignore[arg-type]


async def users_of(domain: Domain, identifier: UUID) -> set[str]:
    """Return who of the people sees a process, by binding as each."""
    seeing = set()
    for person in PEOPLE:
        async with bound(domain, person, as_user=True) as user:
            if await user.processes.one(identifier) is not None:
                seeing.add(person.name)
    return seeing


async def raw(server: Bound, identifier: UUID) -> Entry:
    found = await server.ldap.read(
        f"CN={identifier},{PROCESSES_DN}",
        [
            "displayName",
            "msImaging-PSPIdentifier",
            "msImaging-PSPString",
            "serverName",
            "nTSecurityDescriptor",
        ],
        descriptors=True,
    )
    assert found is not None
    return found


async def test_a_process_is_created_for_users_and_groups(domain: Domain, server: Bound) -> None:
    wanted = draft()
    made = await server.processes.create_process(wanted)
    assert (made.identifier, made.display_name, made.xml) == (wanted.identifier, "Made here", XML)
    assert (made.users, made.groups) == ({"dave"}, {"ScanFinance"})
    assert made.access is not None
    assert made.access.only_grants, sddl(made.access)
    assert await users_of(domain, wanted.identifier) == {"alice", "dave"}
    entry = await raw(server, wanted.identifier)
    assert entry["msImaging-PSPIdentifier"] == (wanted.identifier.bytes_le,)
    assert entry["msImaging-PSPString"] == (XML,)
    assert entry["serverName"] == (b"scansrv.dsm.test",)


async def test_the_service_account_goes_on_editing_what_an_administrator_made(
    domain: Domain, server: Bound
) -> None:
    async with bound(domain, ADMINISTRATOR) as administrator:
        made = await administrator.processes.create_process(draft())
    seen = await server.processes.one(made.identifier)
    assert seen is not None
    assert (seen.users, seen.groups, seen.version) == (made.users, made.groups, made.version)
    changed = await server.processes.change_process(seen, again(seen, display_name="Ours now"))
    assert changed.display_name == "Ours now"
    await server.processes.delete_process(changed)
    assert await server.processes.one(made.identifier) is None


@pytest.mark.parametrize("person", [DAVE, COMPUTER], ids=lambda person: person.name)
async def test_an_account_that_may_only_create_goes_on_editing_what_it_made(
    domain: Domain, server: Bound, person: Person
) -> None:
    """Right to create by an entry of its own on the container, nothing handed down."""
    async with bound(domain, ADMINISTRATOR) as administrator:
        [account] = await administrator.ldap.search(
            BASE_DN, Scope.SUBTREE, equal("sAMAccountName", person.name), ["objectSid"]
        )
        sid = sid_text(account.octets("objectSid") or b"")
        before = await administrator.ldap.read(PROCESSES_DN, ["nTSecurityDescriptor"], descriptors=True)
        assert before is not None
        octets = before.octets("nTSecurityDescriptor") or b""
        rule = read_descriptor(octets)
        entry = Ace(AceKind.ALLOW_OBJECT, 0, Right.CREATE_CHILD, sid, OBJECT_TYPES[1])
        wider = write_descriptor(replace(rule, dacl=(entry, *(rule.dacl or ()))))
        place = Change(Operation.REPLACE, "nTSecurityDescriptor", (wider,))
        await administrator.ldap.modify(PROCESSES_DN, [place], descriptors=True)
        try:
            async with bound(domain, person) as his:
                made = await his.processes.create_process(draft(users=frozenset({"bob"}), groups=frozenset()))
                changed = await his.processes.change_process(made, again(made, xml=XML + b"\n"))
                assert changed.xml == XML + b"\n"
                assert (changed.users, changed.groups) == ({"bob"}, frozenset())
                await his.processes.delete_process(changed)
        finally:
            back = Change(Operation.REPLACE, "nTSecurityDescriptor", (octets,))
            await administrator.ldap.modify(PROCESSES_DN, [back], descriptors=True)


async def test_who_may_only_read_creates_nothing(domain: Domain, server: Bound) -> None:
    async with bound(domain, ALICE) as alice:
        with pytest.raises(NotPermitted):
            await alice.processes.create_process(draft())


async def test_everyone_is_every_account(domain: Domain, server: Bound) -> None:
    made = await server.processes.create_process(draft(users=frozenset(), groups=frozenset({"everyone"})))
    assert (made.users, made.groups) == (frozenset(), {"Everyone"})
    assert await users_of(domain, made.identifier) == {"alice", "bob", "dave"}
    fewer = await server.processes.change_process(made, again(made, groups=frozenset({"ScanDeep1"})))
    assert fewer.groups == {"ScanDeep1"}
    assert await users_of(domain, made.identifier) == {"dave"}


@pytest.mark.parametrize("name", ["Made *)(objectClass=*", 'Büro \\ 契約, #1 "x" <y>;+=', "🖨 " * 60])
async def test_a_name_is_kept_whatever_is_in_it(server: Bound, name: str) -> None:
    name = name.strip()
    made = await server.processes.create_process(draft(name))
    assert made.display_name == name
    changed = await server.processes.change_process(made, again(made, display_name=f"{name}!"))
    assert changed.display_name == f"{name}!"


async def test_an_identifier_that_is_there_is_not_created_again(server: Bound) -> None:
    for stored in (processes_named("For everybody"), processes_named("Broken"), processes_named("Hidden")):
        with pytest.raises(EntryExists, match=str(stored.identifier)):
            await server.processes.create_process(draft(identifier=stored.identifier))


async def test_all_unknown_names_are_told_at_once(server: Bound) -> None:
    wanted = draft(users=frozenset({"alice", "mallory", "*"}), groups=frozenset({"Nobodies", "alice"}))
    with pytest.raises(EntryRefused, match=r"'\*', 'mallory', 'Nobodies', 'alice'"):
        await server.processes.create_process(wanted)
    assert await server.processes.one(wanted.identifier) is None


async def test_the_greatest_length_is_taken_and_one_more_is_refused(server: Bound) -> None:
    full = XML + b"\n" * (524_288 - len(XML))
    made = await server.processes.create_process(draft(xml=full))
    assert made.xml == full
    with pytest.raises(EntryRefused, match="524,289 characters; a directory holds 524,288"):
        await server.processes.change_process(made, again(made, xml=full + b"\n"))
    other = full[:-1] + b" "
    assert (await server.processes.change_process(made, again(made, xml=other))).xml == other


async def test_a_new_name_leaves_foreign_xml_octet_for_octet(domain: Domain, server: Bound) -> None:
    foreign = processes_named("Written elsewhere")
    seen = await server.processes.one(foreign.identifier)
    assert seen is not None
    before = await raw(server, foreign.identifier)
    changed = await server.processes.change_process(seen, again(seen, display_name="Renamed"))
    try:
        after = await raw(server, foreign.identifier)
        assert after["msImaging-PSPString"] == (foreign.xml,)
        assert after["displayName"] == (b"Renamed",)
        assert [after[name] for name in ("serverName", "nTSecurityDescriptor")] == [
            before[name] for name in ("serverName", "nTSecurityDescriptor")
        ]
    finally:
        await server.processes.change_process(changed, again(changed, display_name="Written elsewhere"))


async def test_new_grants_leave_what_else_the_rights_say(domain: Domain, server: Bound) -> None:
    made = await server.processes.create_process(draft())
    names = await Principals(Forest(server.ldap, SystemClock()), SystemClock()).named(["bob", "alice"], [])
    bob, alice = names.users["bob"].sid, names.users["alice"].sid
    rule = read_descriptor((await raw(server, made.identifier)).octets("nTSecurityDescriptor") or b"")
    theirs = (
        Ace(AceKind.DENY, 0, READING, bob),
        Ace(AceKind.ALLOW_OBJECT, 0, Right.WRITE_PROPERTY, alice, OBJECT_TYPES[5]),
    )
    wider = write_descriptor(replace(rule, dacl=(*theirs, *(rule.dacl or ()))))
    place = Change(Operation.REPLACE, "nTSecurityDescriptor", (wider,))
    await server.ldap.modify(f"CN={made.identifier},{PROCESSES_DN}", [place], descriptors=True)
    seen = await server.processes.one(made.identifier)
    assert seen is not None
    assert seen.access is not None
    assert not seen.access.only_grants
    changed = await server.processes.change_process(seen, again(seen, groups=frozenset({"ScanStaff"})))
    assert (changed.users, changed.groups) == ({"dave"}, {"ScanStaff"})
    after = read_descriptor((await raw(server, made.identifier)).octets("nTSecurityDescriptor") or b"")
    assert after.dacl is not None
    assert after.dacl[:2] == theirs
    assert {ace for ace in after.dacl if ace.is_inherited} == {
        ace for ace in rule.dacl or () if ace.is_inherited
    }
    # Bob is in ScanStaff, and denied.
    assert await users_of(domain, made.identifier) == {"alice", "dave"}
    with pytest.raises(EntryRefused, match="denies reading"):
        await server.processes.change_process(changed, again(changed, users=frozenset({"bob"})))


async def test_an_account_in_another_spelling_keeps_its_right(server: Bound) -> None:
    made = await server.processes.create_process(draft(users=frozenset({"alice", "dave"})))
    before = (await raw(server, made.identifier)).octets("nTSecurityDescriptor")
    spelled = again(made, users=frozenset({"ALICE@dsm.test", "dave"}), groups=frozenset({"SCANFINANCE"}))
    same = await server.processes.change_process(made, spelled)
    assert same.version == made.version
    changed = await server.processes.change_process(same, replace(spelled, display_name="New"))
    assert (changed.users, changed.groups) == ({"alice", "dave"}, {"ScanFinance"})
    assert (await raw(server, made.identifier)).octets("nTSecurityDescriptor") == before
    only = again(changed, users=frozenset({"DSM\\alice"}), groups=frozenset())
    left = await server.processes.change_process(changed, only)
    assert (left.users, left.groups) == ({"alice"}, frozenset())


async def test_everything_changes_at_once_or_nothing(server: Bound) -> None:
    made = await server.processes.create_process(draft())
    xml = XML.replace(b"scansrv.dsm.test", b"other.dsm.test", 1)
    wanted = again(made, display_name="New", xml=xml, users=frozenset({"nobody"}))
    with pytest.raises(EntryRefused, match="nobody"):
        await server.processes.change_process(made, wanted)
    same = await server.processes.one(made.identifier)
    assert same is not None
    assert same.version == made.version
    changed = await server.processes.change_process(made, replace(wanted, users=frozenset({"alice"})))
    assert (changed.display_name, changed.xml, changed.users) == ("New", xml, {"alice"})
    assert changed.server_name == "other.dsm.test"


@pytest.mark.parametrize("theirs", ["display_name", "xml", "users"])
async def test_what_somebody_changed_meanwhile_is_not_overwritten(server: Bound, theirs: str) -> None:
    values: dict[str, object] = {
        "display_name": "Theirs",
        "xml": XML + b"<!-- theirs -->",
        "users": frozenset({"bob"}),
    }
    seen = await server.processes.create_process(draft())
    first = await server.processes.change_process(seen, again(seen, **{theirs: values[theirs]}))
    with pytest.raises(EntryChanged):
        await server.processes.change_process(seen, again(seen, display_name="Ours"))
    with pytest.raises(EntryChanged):
        await server.processes.delete_process(seen)
    now = await server.processes.one(seen.identifier)
    assert now is not None
    assert now.version == first.version != seen.version


@pytest.mark.parametrize("ours", ["display_name", "xml", "users"])
async def test_a_change_between_looking_and_writing_is_noticed_by_the_controller(
    server: Bound, monkeypatch: pytest.MonkeyPatch, ours: str
) -> None:
    values: dict[str, object] = {"display_name": "Ours", "xml": XML + b"\n", "users": frozenset({"bob"})}
    seen = await server.processes.create_process(draft())
    modify = server.ldap.modify
    dn = f"CN={seen.identifier},{PROCESSES_DN}"

    async def after_somebody_else(*arguments: Any, **options: Any) -> None:
        theirs = [
            Change(Operation.REPLACE, "displayName", (b"Theirs",)),
            Change(Operation.REPLACE, "msImaging-PSPString", (XML + b"<!-- theirs -->",)),
        ]
        await modify(dn, theirs)
        await modify(*arguments, **options)

    monkeypatch.setattr(server.ldap, "modify", after_somebody_else)
    with pytest.raises(EntryChanged, match="at the same time"):
        await server.processes.change_process(seen, again(seen, **{ours: values[ours]}))
    now = await server.processes.one(seen.identifier)
    assert now is not None
    assert (now.display_name, now.users) == ("Theirs", {"dave"})


async def test_what_is_gone_is_neither_changed_nor_deleted(server: Bound) -> None:
    seen = await server.processes.create_process(draft())
    await server.processes.delete_process(seen)
    with pytest.raises(NoSuchEntry):
        await server.processes.change_process(seen, again(seen, display_name="New"))
    with pytest.raises(NoSuchEntry):
        await server.processes.delete_process(seen)


async def test_nothing_to_change_writes_nothing(server: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = await server.processes.create_process(draft())
    monkeypatch.setattr(server.ldap, "modify", None)
    assert (await server.processes.change_process(seen, again(seen))).version == seen.version


async def test_of_two_with_one_identifier_the_older_counts(domain: Domain, server: Bound) -> None:
    older = processes_named("For everybody")
    values = {
        "objectClass": [b"msImaging-PostScanProcess"],
        "displayName": [b"Twin"],
        "msImaging-PSPIdentifier": [older.identifier.bytes_le],
        "msImaging-PSPString": [XML],
    }
    await server.ldap.add(f"CN=0 twin,{PROCESSES_DN}", values)
    found = await server.processes.all()
    assert [p.display_name for p in found if p.identifier == older.identifier] == ["For everybody"]
    assert any("same identifier" in str(problem) for problem in server.processes.problems())
    async with bound(domain, ALICE, as_user=True) as alice:
        token = await alice.token()
    assert "Twin" not in [p.display_name for p in await server.processes.readable_by(token)]


async def test_xml_that_claims_another_encoding_is_read_and_kept(server: Bound) -> None:
    claimed = XML.replace(b"utf-8", b"UTF-16", 1).replace(b"UTF-8", b"UTF-16", 1)
    assert b"UTF-16" in claimed
    made = await server.processes.create_process(draft())
    place = Change(Operation.REPLACE, "msImaging-PSPString", (claimed,))
    await server.ldap.modify(f"CN={made.identifier},{PROCESSES_DN}", [place])
    seen = await server.processes.one(made.identifier)
    assert seen is not None
    assert seen.xml == claimed.replace(b"UTF-16", b"utf-8")
    await server.processes.change_process(seen, again(seen, display_name="Renamed"))
    assert (await raw(server, made.identifier))["msImaging-PSPString"] == (claimed,)
    sixteen = XML.decode().replace("utf-8", "utf-16", 1).replace("UTF-8", "utf-16", 1).encode("utf-16")
    made = await server.processes.create_process(draft(xml=sixteen))
    assert made.process.scan_repository == "scansrv.dsm.test"


async def test_known_names_have_the_spelling_of_grants(server: Bound) -> None:
    known = await server.processes.known_names(
        ["ALICE", "alice@dsm.test", "david.long@corp.dsm.test", "mallory"],
        ["scanfinance", "Büro (Süd)", "EVERYONE", "Nobodies"],
    )
    assert known.users == {"ALICE": "alice", "alice@dsm.test": "alice", "david.long@corp.dsm.test": "dave"}
    assert known.groups == {"scanfinance": "ScanFinance", "Büro (Süd)": "Büro (Süd)", "EVERYONE": "Everyone"}


async def test_a_users_own_view_is_not_edited(domain: Domain) -> None:
    async with bound(domain, ALICE, as_user=True) as alice:
        with pytest.raises(EntryRefused, match="own view"):
            await alice.processes.create_process(draft())


async def test_a_process_whose_rights_may_not_be_read_is_nobodys(domain: Domain, server: Bound) -> None:
    identifier = uuid4()
    rights = READING & ~Right.READ_CONTROL
    values = {
        "objectClass": [b"msImaging-PostScanProcess"],
        "displayName": [b"Half"],
        "msImaging-PSPIdentifier": [identifier.bytes_le],
        "msImaging-PSPString": [XML],
        "nTSecurityDescriptor": [
            write_descriptor(
                SecurityDescriptor(None, None, (Ace(AceKind.ALLOW, 0, rights, AUTHENTICATED_USERS),), 0x1000)
            )
        ],
    }
    async with bound(domain, ADMINISTRATOR) as administrator:
        await administrator.ldap.add(f"CN={identifier},{PROCESSES_DN}", values, descriptors=True)
    assert identifier not in [p.identifier for p in await server.processes.all()]
    assert any("may not be read" in str(problem) for problem in server.processes.problems())
    assert await server.processes.one(identifier) is None
    async with bound(domain, BOB, as_user=True) as bob:
        seen = await bob.processes.one(identifier)
        token = await bob.token()
        assert seen is not None
        assert seen.access is not None
        assert seen.access.allows(token)
    assert identifier not in [p.identifier for p in await server.processes.readable_by(token)]


async def test_the_container_is_elsewhere_where_settings_say_so(domain: Domain) -> None:
    async with bound(domain, SERVICE) as made:
        elsewhere = Processes(made.ldap, None, container=f"CN=Users,{BASE_DN}")
        assert await elsewhere.all() == []
        with pytest.raises(NoSuchObject):
            await Processes(made.ldap, None, container=f"CN=Nothing,{BASE_DN}").all()
