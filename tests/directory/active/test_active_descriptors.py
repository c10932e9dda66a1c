"""SIDs, GUIDs and security descriptors: what octets say, and who may therefore use a scan process."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.directory.active.descriptor_octets import (
    MAX_OCTETS,
    DescriptorError,
    read_descriptor,
    write_descriptor,
)
from postscan.directory.active.descriptor_text import sddl
from postscan.directory.active.descriptors import (
    FULL_CONTROL,
    READING,
    Ace,
    AceFlag,
    AceKind,
    Right,
    SecurityDescriptor,
    new_descriptor,
)
from postscan.directory.active.identifiers import guid, sid_octets, sid_text
from postscan.directory.model import AUTHENTICATED_USERS, EVERYONE, AccessRule, is_sid

DOMAIN = "S-1-5-21-1004336348-1177238915-682003330"
ALICE, BOB, FINANCE = f"{DOMAIN}-1103", f"{DOMAIN}-1104", f"{DOMAIN}-1201"
OBJECT_CLASS = UUID("bf9679e5-0de6-11d0-a285-00aa003049e2")
DISPLAY_NAME = UUID("bf967953-0de6-11d0-a285-00aa003049e2")
PSP_IDENTIFIER = UUID("51583ce9-94fa-4b12-b990-304c35b18595")
PSP_STRING = UUID("7b6760ae-d6ed-44a6-b6be-9de62c09ec67")
CLASS = UUID("1f7c257c-b8a3-4525-82f8-11ccc7bee36e")
GENERAL = UUID("59ba2f42-79a2-11d0-9020-00c04fc2d3cf")
PUBLIC = UUID("e48d0154-bcf8-11d1-8702-00c04fb96050")
PERSONAL = UUID("77b5b886-944a-11d1-aebd-0000f80367c1")

sids = st.builds(
    lambda authority, parts: "-".join(("S-1", authority, *map(str, parts))),
    st.integers(0, 2**32 - 1).map(str) | st.integers(2**32, 2**48 - 1).map("0x{:012X}".format),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=15),
)
aces = st.builds(
    Ace,
    st.sampled_from([AceKind.ALLOW, AceKind.DENY]),
    st.integers(0, 31),
    st.integers(0, 2**32 - 1),
    sids,
    rest=st.binary(max_size=3).map(lambda octets: octets * 4),
) | st.builds(
    Ace,
    st.sampled_from([AceKind.ALLOW_OBJECT, AceKind.DENY_OBJECT, AceKind.DENY_CALLBACK_OBJECT]),
    st.integers(0, 31),
    st.integers(0, 2**32 - 1),
    sids,
    st.none() | st.uuids(),
    st.none() | st.uuids(),
)


def token(*sids: str) -> frozenset[str]:
    return frozenset({*sids, EVERYONE, AUTHENTICATED_USERS})


def with_dacl(*aces: Ace, owner: str | None = None) -> SecurityDescriptor:
    return SecurityDescriptor(owner, None, aces)


def allow(sid: str, mask: int = READING, flags: int = 0) -> Ace:
    return Ace(AceKind.ALLOW, flags, mask, sid)


def deny(sid: str, mask: int = READING) -> Ace:
    return Ace(AceKind.DENY, 0, mask, sid)


def allow_on(sid: str, *types: UUID | None, kind: AceKind = AceKind.ALLOW_OBJECT) -> tuple[Ace, ...]:
    return tuple(Ace(kind, 0, Right.READ_PROPERTY, sid, one) for one in types)


def test_a_sid_is_written_as_windows_writes_it() -> None:
    octets = bytes.fromhex("010500000000000515000000dc f4dc3b 833d2b46 828ba628 00020000")
    assert sid_text(octets) == f"{DOMAIN}-512"
    assert sid_octets(f"{DOMAIN}-512") == octets


@given(sids)
def test_any_sid_survives_octets(sid: str) -> None:
    assert is_sid(sid)
    assert sid_text(sid_octets(sid)) == sid


@given(st.binary(max_size=80))
def test_any_octets_are_a_sid_or_refused(octets: bytes) -> None:
    try:
        text = sid_text(octets)
    except ValueError:
        return
    assert sid_octets(text) == octets


@pytest.mark.parametrize("text", ["", "S-1-5", "S-2-5-1", "S-1-5-4294967296", "S-1-5-1)(x=*", "S-1-5-1\n"])
def test_what_is_no_sid_has_no_octets(text: str) -> None:
    with pytest.raises(ValueError, match="no security identifier"):
        sid_octets(text)


def test_a_guid_has_little_endian_fields() -> None:
    assert guid(bytes.fromhex("c799f1c47668 4945 a86ea85035952448".replace(" ", ""))) == UUID(
        "c4f199c7-6876-4549-a86e-a85035952448"
    )
    with pytest.raises(ValueError, match="15 octets"):
        guid(bytes(15))


def test_the_default_descriptor_of_the_class_is_read() -> None:
    """As Samba has it: D:(A;;RPWPCRCCDCLCLORCWOWDSDDTSW;;;SY)(A;;RPLCLORC;;;AU), owned by Administrators."""
    octets = bytes.fromhex(
        "0100048014000000240000000000000034000000"
        "01020000000000052000000020020000"
        "01020000000000052000000020020000"
        "0200300002000000"
        "00001400ff010f00010100000000000512000000"
        "0000140094000200010100000000000 50b000000".replace(" ", "")
    )
    read = read_descriptor(octets)
    assert sddl(read) == "O:BAG:BAD:(A;;RPWPCRCCDCLCLORCWOWDSDDTSW;;;SY)(A;;RPLCLORC;;;AU)"
    assert write_descriptor(read) == octets
    assert read.allows(token(ALICE))
    assert read.grants == {AUTHENTICATED_USERS}


@given(
    st.builds(
        SecurityDescriptor,
        st.none() | sids,
        st.none() | sids,
        st.none() | st.lists(aces, max_size=5).map(tuple),
    )
)
def test_any_descriptor_survives_octets(descriptor: SecurityDescriptor) -> None:
    assert read_descriptor(write_descriptor(descriptor)) == descriptor
    assert sddl(descriptor)


@given(
    st.binary(max_size=200)
    | st.binary(max_size=120).map(lambda rest: b"\x01\x00\x04\x80" + bytes(12) + b"\x14\x00\x00\x00" + rest)
)
def test_any_octets_are_a_descriptor_or_refused(octets: bytes) -> None:
    try:
        read = read_descriptor(octets)
    except DescriptorError:
        return
    read.allows(token(ALICE))
    assert read.grants is not None
    assert sddl(read) is not None


@given(st.data())
def test_a_damaged_descriptor_is_read_or_refused(data: st.DataObject) -> None:
    octets = bytearray(write_descriptor(new_descriptor([ALICE], DOMAIN, BOB)))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(octets[: data.draw(st.integers(0, len(octets)))])
    try:
        read_descriptor(damaged)
    except DescriptorError:
        return


def test_a_descriptor_of_any_length_is_not_looked_through() -> None:
    with pytest.raises(DescriptorError, match="are allowed"):
        read_descriptor(bytes(MAX_OCTETS + 1))


def test_an_entry_of_unknown_kind_is_kept_and_gives_nothing() -> None:
    octets = bytearray(write_descriptor(with_dacl(allow(EVERYONE), allow(ALICE))))
    octets[28] = 0x21
    read = read_descriptor(bytes(octets))
    assert write_descriptor(read) == octets
    assert not read.allows(token())
    assert read.dacl is not None
    assert read.dacl[0].sid is None
    assert sddl(read).startswith("D:(?)")


def test_more_entries_than_a_list_can_hold_are_not_written() -> None:
    with pytest.raises(ValueError, match="more than"):
        write_descriptor(with_dacl(*[allow(ALICE)] * 2_000))


CASES: list[tuple[str, SecurityDescriptor, frozenset[str], bool]] = [
    ("granted to the user", with_dacl(allow(ALICE)), token(ALICE), True),
    ("granted to somebody else", with_dacl(allow(BOB)), token(ALICE), False),
    ("granted to a group", with_dacl(allow(FINANCE)), token(ALICE, FINANCE), True),
    ("granted to everybody", with_dacl(allow(AUTHENTICATED_USERS)), token(ALICE), True),
    ("granted to the network", with_dacl(allow("S-1-5-2")), token(ALICE), True),
    ("no list", SecurityDescriptor(None, None, None), token(ALICE), True),
    ("an empty list", with_dacl(), token(ALICE), False),
    ("owned", with_dacl(owner=ALICE), token(ALICE), False),
    ("owned, with rights for owners", with_dacl(allow("S-1-3-4"), owner=ALICE), token(ALICE), False),
    ("owners denied", with_dacl(deny("S-1-3-4"), allow(ALICE), owner=ALICE), token(ALICE), False),
    ("owners denied, not owned", with_dacl(deny("S-1-3-4"), allow(ALICE), owner=BOB), token(ALICE), True),
    ("denied first", with_dacl(deny(FINANCE), allow(ALICE)), token(ALICE, FINANCE), False),
    ("denied after", with_dacl(allow(ALICE), deny(FINANCE)), token(ALICE, FINANCE), True),
    ("denied to others", with_dacl(deny(BOB), allow(FINANCE)), token(ALICE, FINANCE), True),
    ("writing denied", with_dacl(deny(ALICE, Right.WRITE_PROPERTY), allow(ALICE)), token(ALICE), True),
    ("listing only", with_dacl(allow(ALICE, READING & ~Right.READ_PROPERTY)), token(ALICE), False),
    ("full control", with_dacl(allow(ALICE, FULL_CONTROL)), token(ALICE), True),
    ("generic reading", with_dacl(allow(ALICE, Right.GENERIC_READ)), token(ALICE), True),
    ("generic all", with_dacl(allow(ALICE, Right.GENERIC_ALL)), token(ALICE), True),
    ("generic all denied", with_dacl(deny(ALICE, Right.GENERIC_ALL), allow(ALICE)), token(ALICE), False),
    ("generic writing", with_dacl(allow(ALICE, Right.GENERIC_WRITE)), token(ALICE), False),
    ("generic execution", with_dacl(allow(ALICE, Right.GENERIC_EXECUTE)), token(ALICE), False),
    ("for children only", with_dacl(allow(ALICE, flags=AceFlag.INHERIT_ONLY)), token(ALICE), False),
    ("inherited", with_dacl(allow(ALICE, flags=AceFlag.INHERITED)), token(ALICE), True),
    ("an object entry of everything", with_dacl(*allow_on(ALICE, None)), token(ALICE), True),
    ("the class", with_dacl(*allow_on(ALICE, CLASS)), token(ALICE), True),
    (
        "each attribute",
        with_dacl(*allow_on(ALICE, OBJECT_CLASS, DISPLAY_NAME, PSP_IDENTIFIER, PSP_STRING)),
        token(ALICE),
        True,
    ),
    (
        "attributes and property sets",
        with_dacl(*allow_on(ALICE, PUBLIC, GENERAL, PSP_IDENTIFIER, PSP_STRING)),
        token(ALICE),
        True,
    ),
    ("not the XML", with_dacl(*allow_on(ALICE, PUBLIC, GENERAL, PSP_IDENTIFIER)), token(ALICE), False),
    (
        "not the class attribute",
        with_dacl(*allow_on(ALICE, GENERAL, PSP_IDENTIFIER, PSP_STRING)),
        token(ALICE),
        False,
    ),
    (
        "the XML denied first",
        with_dacl(*allow_on(BOB, PSP_STRING, kind=AceKind.DENY_OBJECT), allow(BOB)),
        token(BOB),
        False,
    ),
    (
        "a property set denied first",
        with_dacl(*allow_on(BOB, GENERAL, kind=AceKind.DENY_OBJECT), allow(BOB)),
        token(BOB),
        False,
    ),
    (
        "another property set denied",
        with_dacl(*allow_on(BOB, PERSONAL, kind=AceKind.DENY_OBJECT), allow(BOB)),
        token(BOB),
        True,
    ),
    ("on a condition", with_dacl(replace(allow(ALICE), kind=AceKind.ALLOW_CALLBACK)), token(ALICE), False),
    (
        "denied on a condition",
        with_dacl(replace(allow(ALICE), kind=AceKind.DENY_CALLBACK), allow(ALICE)),
        token(ALICE),
        False,
    ),
]


@pytest.mark.parametrize(
    ("rule", "who", "allowed"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_who_may_read_may_use(rule: AccessRule, who: frozenset[str], allowed: bool) -> None:
    assert rule.allows(who) is allowed


def test_grants_are_what_a_new_process_was_made_for() -> None:
    made = new_descriptor([FINANCE, ALICE], DOMAIN, BOB)
    assert made.grants == {FINANCE, ALICE}
    assert made.only_grants
    assert made.allows(token(BOB))
    assert not made.allows(token(f"{DOMAIN}-1105"))
    assert sddl(made).startswith(f"D:(A;;RPWPCRCCDCLCLORCWOWDSDDTSW;;;{DOMAIN}-512)")


def test_grants_change_and_all_else_stays() -> None:
    inherited = allow(f"{DOMAIN}-1300", flags=AceFlag.INHERITED)
    delegated = Ace(AceKind.ALLOW_OBJECT, 0, Right.WRITE_PROPERTY, BOB, PSP_STRING)
    before = with_dacl(
        deny(BOB), allow(ALICE, FULL_CONTROL), delegated, allow(FINANCE), allow(BOB, 0x30), inherited
    )
    after = before.with_grants([ALICE], {FINANCE, BOB})
    assert after.dacl == (
        deny(BOB),
        allow(ALICE, FULL_CONTROL),
        delegated,
        allow(BOB, Right.WRITE_PROPERTY),
        allow(ALICE),
        inherited,
    )
    assert (before.grants, after.grants) == ({FINANCE, BOB}, {ALICE})


def test_a_grant_to_everybody_is_one_however_it_comes_about() -> None:
    inherited = with_dacl(allow(AUTHENTICATED_USERS, flags=AceFlag.INHERITED))
    assert inherited.grants == {AUTHENTICATED_USERS}
    assert inherited.with_grants([], inherited.grants).grants == {AUTHENTICATED_USERS}
    assert with_dacl(allow(EVERYONE, FULL_CONTROL)).grants == {EVERYONE}
    assert SecurityDescriptor(None, None, None).grants == {EVERYONE}


@pytest.mark.parametrize(
    ("ace", "only"),
    [
        (allow(FINANCE), True),
        (deny(BOB), False),
        (deny(BOB, Right.WRITE_PROPERTY), True),
        (allow_on(ALICE, PSP_STRING)[0], False),
        (Ace(AceKind.ALLOW_OBJECT, 0, Right.WRITE_PROPERTY, BOB, PSP_STRING), True),
        (replace(allow(ALICE), kind=AceKind.ALLOW_CALLBACK), False),
    ],
)
def test_it_is_told_when_names_do_not_say_all(ace: Ace, only: bool) -> None:
    assert with_dacl(allow(ALICE), ace).only_grants is only


@given(st.lists(aces, max_size=6), st.sets(sids, max_size=2), st.data())
def test_what_is_revoked_is_gone_and_what_is_granted_is_there(
    dacl: list[Ace], granted: set[str], data: st.DataObject
) -> None:
    before = with_dacl(*dacl)
    own = {ace.sid for ace in dacl if ace.sid and not ace.is_inherited}
    revoked = (
        data.draw(st.sets(st.sampled_from(sorted(before.grants & own)))) if before.grants & own else set()
    )
    after = before.with_grants(granted, revoked)
    assert not after.grants & revoked - granted
    assert after.grants >= granted
    assert [ace for ace in after.dacl or () if ace.denies] == [ace for ace in dacl if ace.denies]
