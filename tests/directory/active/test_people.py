"""Finding people: in our domain, in another of the forest, and what nasty names and entries do."""

from __future__ import annotations

import pytest

from postscan.directory.active.forest import Forest, NoDomain
from postscan.directory.active.identifiers import sid_octets
from postscan.directory.active.people import GroupsUnreadable
from postscan.directory.active.principals import Principals
from postscan.directory.active.user_entries import filetime
from postscan.directory.ldap.model import DirectoryAway
from support.clock import FakeClock
from support.memory_forest import (
    ALICE,
    CHILD_ALICE,
    CHILD_FINANCE,
    CONFIGURATION,
    FINANCE,
    MAIL_LOCAL,
    OWN,
    SECURITY_GLOBAL,
    SECURITY_LOCAL,
    STAFF,
    ZOE,
    MemoryForest,
    sid,
)
from support.memory_ldap import MemoryLdap


def principals(forest: MemoryForest) -> Principals:
    return Principals(Forest(forest.own, forest.clock), forest.clock)


@pytest.mark.parametrize(
    "name", ["alice", "ALICE", "DSM\\alice", "dsm.test\\Alice", "alice@dsm.test", "Alice@DSM.TEST"]
)
async def test_a_user_is_found_by_each_of_their_names(name: str) -> None:
    found = await MemoryForest().people.by_name(name)
    assert found is not None
    assert found.sid == ALICE


async def test_a_user_comes_with_what_the_directory_knows() -> None:
    forest = MemoryForest()
    forest.user(
        forest.own,
        "dana",
        sid(1200),
        [FINANCE],
        displayName="Dana Doe",
        mail="dana@mail.test",
        wWWHomePage=" https://sites.test/dana ",
        userPrincipalName="d.doe@corp.test",
    )
    found = await forest.people.by_sid(sid(1200))
    assert found is not None
    assert (found.name, found.domain, found.upn) == ("dana", "dsm.test", "d.doe@corp.test")
    assert (found.display_name, found.mail) == ("Dana Doe", "dana@mail.test")
    assert found.home_site == "https://sites.test/dana"
    assert found.groups == {"ScanFinance", FINANCE}
    assert found.enabled


async def test_a_user_has_the_principal_name_that_follows_from_name_and_domain() -> None:
    found = await MemoryForest().people.by_name("zoë@dsm.test")
    assert found is not None
    assert (found.sid, found.upn, found.display_name) == (ZOE, "zoë@dsm.test", "zoë")


async def test_a_principal_name_that_means_two_accounts_means_nobody() -> None:
    forest = MemoryForest()
    forest.user(forest.own, "mallory", sid(1300), [STAFF], userPrincipalName="zoë@dsm.test")
    assert await forest.people.by_name("zoë@dsm.test") is None
    assert await forest.people.by_name("zoë") is not None


async def test_a_letter_with_another_accent_is_another_name() -> None:
    forest = MemoryForest()
    forest.own.objects[f"CN=zoë,CN=Users,{OWN}"]["samaccountname"] = [b"zoe"]
    # As a controller does that overlooks accents: it finds zoe for zoë.
    forest.own._matches = lambda where, held: held.get("samaccountname") == [b"zoe"]  # type: ignore[method-assign]
    assert await forest.people.by_name("zoë") is None


async def test_spaces_around_a_name_make_it_another() -> None:
    assert await MemoryForest().people.by_name("alice ") is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "*",
        "ali*",
        "*)(objectClass=*",
        "alice)(|(objectClass=*)",
        "alice\0",
        "alice\r\n",
        "\\2a",
        "alice\\",
        "\\alice",
        "DSM\\DSM\\alice",
        "OTHER\\alice",
        "@dsm.test",
        "alice@",
        "alice@other.test",
        "CN=alice,CN=Users,DC=dsm,DC=test",
        "<SID=S-1-5-21-1-2-3-1103>",
        "alice\ud800",
        "a" * 100_000,
    ],
)
async def test_a_nasty_name_finds_nobody(name: str) -> None:
    assert await MemoryForest().with_catalog().people.by_name(name) is None


@pytest.mark.parametrize(
    "text", ["", "S-1-5-21-1-2-3-1103-", "S-1-5-21-1-2-3-01103", "*", "S-1-999999999999999-1"]
)
async def test_what_is_no_security_identifier_finds_nobody(text: str) -> None:
    assert await MemoryForest().people.by_sid(text) is None


async def test_a_group_is_no_user() -> None:
    people = MemoryForest().people
    assert await people.by_sid(FINANCE) is None
    assert await people.by_name("ScanFinance") is None


async def test_a_computer_is_no_user() -> None:
    forest = MemoryForest()
    forest.user(forest.own, "SCANSRV$", sid(1500), [STAFF], objectClass=["top", "person", "user", "computer"])
    assert await forest.people.by_name("SCANSRV$") is None


@pytest.mark.parametrize(
    ("state", "enabled"),
    [
        ({}, True),
        ({"userAccountControl": 514}, False),
        ({"userAccountControl": 0x200 | 0x800000}, True),  # the password has expired
        ({"accountExpires": 0}, True),
        ({"accountExpires": 0x7FFFFFFFFFFFFFFF}, True),
        ({"accountExpires": filetime(FakeClock().now())}, False),
        ({"accountExpires": filetime(FakeClock().now()) + 1}, True),
        ({"msDS-User-Account-Control-Computed": 0x10}, False),
        ({"msDS-User-Account-Control-Computed": 0x800000}, True),
        ({"userAccountControl": "?"}, False),
        ({"userAccountControl": []}, False),
    ],
)
async def test_an_account_is_enabled_unless_disabled_expired_locked_or_unreadable(
    state: dict[str, str | int], enabled: bool
) -> None:
    forest = MemoryForest()
    forest.user(forest.own, "erin", sid(1400), [STAFF], **state)
    found = await forest.people.by_name("erin")
    assert found is not None
    assert found.enabled is enabled


async def test_without_groups_nobody_is_let_in_as_a_user_who_has_none() -> None:
    forest = MemoryForest()
    forest.user(forest.own, "frank", sid(1600), [])
    with pytest.raises(GroupsUnreadable) as caught:
        await forest.people.by_name("frank")
    assert "Windows Authorization Access Group" in caught.value.what_to_do


@pytest.mark.parametrize("name", [sid(512), sid(512).lower()])
async def test_a_group_called_like_a_security_identifier_does_not_pass_for_it(name: str) -> None:
    forest = MemoryForest()
    forest.group(forest.own, name, sid(2666), SECURITY_GLOBAL)
    forest.user(forest.own, "mallory", sid(1300), [sid(2666)])
    found = await forest.people.by_name("mallory")
    assert found is not None
    assert name not in found.groups
    assert sid(2666) in found.token


async def test_a_thousand_groups_are_named_in_batches() -> None:
    forest = MemoryForest()
    groups = [sid(10_000 + n) for n in range(1_015)]
    for n, group in enumerate(groups):
        forest.group(forest.own, f"Group {n}", group, SECURITY_GLOBAL)
    forest.user(forest.own, "gina", sid(1700), groups)
    found = await forest.people.by_name("gina")
    assert found is not None
    assert {f"Group {n}" for n in range(1_015)} <= found.groups
    # The partitions, the user, their groups, twice everybody's groups, and eleven batches of names.
    assert len(forest.own.asked) == 16


async def test_the_names_of_groups_are_remembered_for_a_while() -> None:
    forest = MemoryForest()
    people = forest.people
    await people.by_name("alice")
    asked = len(forest.own.asked)
    await people.by_name("alice")
    assert len(forest.own.asked) == asked + 4
    forest.clock.advance(60)
    await people.by_name("alice")
    assert len(forest.own.asked) == asked + 9


async def test_a_group_that_holds_everybody_holds_each_user() -> None:
    forest = MemoryForest()
    dn = "CN={0},CN=Users,DC=dsm,DC=test".format
    forest.own.put(
        f"CN=S-1-5-11,CN=ForeignSecurityPrincipals,{OWN}",
        {
            "objectClass": "foreignSecurityPrincipal",
            "objectSid": sid_octets("S-1-5-11"),
            "memberOf": [dn("All"), dn("Mail")],
        },
    )
    for name, number, kind, outer in (
        ("All", 3001, SECURITY_LOCAL, ["Outer"]),
        ("Outer", 3002, SECURITY_LOCAL, ["All"]),
        ("Mail", 3003, MAIL_LOCAL, ["Beyond"]),
        ("Beyond", 3004, SECURITY_LOCAL, []),
    ):
        forest.group(forest.own, name, sid(number), kind)
        forest.own.objects[dn(name)]["memberof"] = [dn(each).encode() for each in outer]
    found = await forest.people.by_name("alice")
    assert found is not None
    assert found.token > {sid(3001), sid(3002)}
    assert found.groups > {"All", "Outer"}
    assert not found.groups & {"Mail", "Beyond"}


async def test_a_user_of_another_domain_is_unknown_without_a_global_catalog() -> None:
    people = MemoryForest().people
    assert await people.by_sid(CHILD_ALICE) is None
    assert await people.by_name("CHILD\\alice") is None


@pytest.mark.parametrize("name", ["CHILD\\alice", "child.dsm.test\\ALICE", "alice@child.dsm.test"])
async def test_a_user_of_another_domain_is_found_in_the_global_catalog(name: str) -> None:
    found = await MemoryForest().with_catalog().people.by_name(name)
    assert found is not None
    assert (found.sid, found.domain, found.upn) == (CHILD_ALICE, "child.dsm.test", "alice@child.dsm.test")


async def test_groups_of_another_domain_carry_its_name() -> None:
    found = await MemoryForest().with_catalog().people.by_sid(CHILD_ALICE)
    assert found is not None
    assert found.groups == {CHILD_FINANCE, "child.dsm.test\\ScanFinance"}


async def test_a_user_of_another_domain_is_in_the_groups_ours_gives_rights_to() -> None:
    forest = MemoryForest()
    forest.group(forest.own, "Local", sid(3001), SECURITY_LOCAL, [f"<SID={CHILD_FINANCE}>"])
    forest.group(forest.own, "Nested", sid(3002), SECURITY_LOCAL, [f"CN=Local,CN=Users,{OWN}"])
    forest.group(forest.own, "Ring", sid(3003), SECURITY_LOCAL, [f"CN=Nested,CN=Users,{OWN}"])
    forest.own.objects[f"CN=Local,CN=Users,{OWN}"]["member"] += [f"CN=Ring,CN=Users,{OWN}".encode()]
    forest.group(forest.own, "Mail", sid(3004), MAIL_LOCAL, [f"<SID={CHILD_ALICE}>"])
    found = await forest.with_catalog().people.by_sid(CHILD_ALICE)
    assert found is not None
    assert found.token > {sid(3001), sid(3002), sid(3003)}
    assert sid(3004) not in found.token


async def test_a_user_whose_own_domain_is_away_is_not_let_in_with_half_of_their_groups() -> None:
    forest = MemoryForest().with_catalog()
    forest.other.away = True
    with pytest.raises(DirectoryAway):
        await forest.people.by_sid(CHILD_ALICE)


async def test_a_user_of_a_domain_that_nobody_told_of_is_not_let_in() -> None:
    forest = MemoryForest().with_catalog()
    del forest.own.objects[f"CN=CHILD,CN=Partitions,{CONFIGURATION}"]
    with pytest.raises(DirectoryAway, match="cannot be asked"):
        await forest.people.by_sid(CHILD_ALICE)


async def test_our_own_domain_needs_no_global_catalog() -> None:
    forest = MemoryForest().with_catalog()
    assert forest.catalog is not None
    forest.catalog.away = True
    assert await forest.people.by_name("alice") is not None


async def test_who_goes_between_two_questions_is_nobody() -> None:
    forest = MemoryForest()
    people = forest.people
    found = await people.find_by_name("alice")
    del forest.own.objects[f"CN=alice,CN=Users,{OWN}"]
    assert await people.user_of(found) is None


async def test_who_takes_anothers_place_between_two_questions_lends_them_no_groups() -> None:
    forest = MemoryForest()
    people = forest.people
    found = await people.find_by_name("zoë")
    place = forest.own.objects
    place[f"CN=zoë,CN=Users,{OWN}"] = place.pop(f"CN=alice,CN=Users,{OWN}")
    assert await people.user_of(found) is None


async def test_who_is_bound_is_told_by_the_token_alone() -> None:
    people = MemoryForest().people
    found = await people.bound_as({ALICE, FINANCE, "S-1-5-32-545", "S-1-1-0", "S-1-5-64-10"})
    assert found is not None
    assert found.sid == ALICE
    assert found.groups == {FINANCE, "ScanFinance", "S-1-5-32-545", "Users"}


async def test_who_is_bound_may_be_of_another_domain() -> None:
    found = await MemoryForest().with_catalog().people.bound_as({CHILD_ALICE, CHILD_FINANCE, STAFF})
    assert found is not None
    assert (found.sid, found.domain) == (CHILD_ALICE, "child.dsm.test")
    assert found.token > {CHILD_FINANCE, STAFF}


@pytest.mark.parametrize("token", [set(), {"S-1-5-7"}, {FINANCE}, {ALICE, ZOE, FINANCE}])
async def test_a_token_of_nobody_or_of_two_is_nobodys(token: set[str]) -> None:
    assert await MemoryForest().people.bound_as(token) is None


async def test_a_directory_of_another_kind_is_told() -> None:
    forest = MemoryForest(own=MemoryLdap("", CONFIGURATION))
    with pytest.raises(NoDomain, match="memory names no domain") as caught:
        await forest.people.by_name("alice")
    assert "controllers" in caught.value.what_to_do


@pytest.mark.parametrize("name", ["Everyone", "authenticated users", "child.dsm.test\\ScanFinance"])
async def test_a_group_called_like_others_goes_by_its_security_identifier(name: str) -> None:
    forest = MemoryForest()
    forest.group(forest.own, "Odd", sid(2666), SECURITY_GLOBAL)
    forest.own.objects[f"CN=Odd,CN=Users,{OWN}"]["samaccountname"] = [name.encode()]
    found = (await principals(forest).with_sids([sid(2666)]))[sid(2666)]
    assert (found.name, found.is_group) == (sid(2666), True)


async def test_a_group_that_is_not_there_is_not_everybody_of_a_like_name() -> None:
    forest = MemoryForest()
    names = ["Network", "Interactive", r"NT AUTHORITY\NETWORK"]
    known = (await principals(forest).named([], names)).groups
    assert {name: account.sid for name, account in known.items()} == {r"NT AUTHORITY\NETWORK": "S-1-5-2"}
    forest.group(forest.own, "Network", sid(2667), SECURITY_GLOBAL)
    known = (await principals(forest).named([], names)).groups
    assert known["Network"].sid == sid(2667)
    assert known[r"NT AUTHORITY\NETWORK"].sid == "S-1-5-2"
