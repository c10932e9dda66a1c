"""Controllers by DNS SRV, from a DNS server of the test's own."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.message
import dns.rcode
import dns.rrset
import pytest

from postscan.core.errors import ConfigurationError
from postscan.directory.ldap.locator import Controller, Locator, controller
from postscan.directory.ldap.model import DirectoryAway, DirectoryUntrusted

_ALL = "_ldap._tcp.dc._msdcs.dsm.test."
_SITE = "_ldap._tcp.Berlin._sites.dc._msdcs.dsm.test."
_CATALOG = "_ldap._tcp.gc._msdcs.dsm.test."


class Zone(asyncio.DatagramProtocol):
    """Answers from ``records`` (name and type to lines of a zone file), counts, and may be mute."""

    def __init__(self, records: dict[tuple[str, str], list[str]], ttl: int) -> None:
        self.records = records
        self.ttl = ttl
        self.asked: Counter[str] = Counter()
        self.mute = False
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        name, kind = question.name.to_text(), question.rdtype.name
        self.asked[name] += 1
        if self.mute or self._transport is None:
            return
        answer = dns.message.make_response(query)
        lines = self.records.get((name, kind))
        if lines:
            answer.answer.append(dns.rrset.from_text_list(name, self.ttl, "IN", kind, lines))
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def zone(
    records: dict[tuple[str, str], list[str]], ttl: int = 600, address: str = "127.0.0.1"
) -> AsyncIterator[Zone]:
    loop = asyncio.get_running_loop()
    transport, served = await loop.create_datagram_endpoint(
        lambda: Zone(records, ttl), local_addr=(address, 0)
    )
    served.port = transport.get_extra_info("sockname")[1]
    try:
        yield served
    finally:
        transport.close()


class Steady:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def locator(served: Zone, **further: object) -> Locator:
    values: dict[str, object] = {
        "dns_servers": [f"127.0.0.1:{served.port}"],
        "seconds": 5.0,
        "rng": random.Random(1),
    }
    return Locator("dsm.test", **(values | further))  # type: ignore[arg-type]


def srv(*targets: str) -> list[str]:
    return [f"0 100 389 {target}." for target in targets]


async def test_given_controllers_are_taken_and_dns_is_not_asked() -> None:
    async with zone({}) as served:
        given = [Controller("b.elsewhere.test"), Controller("a.dsm.test", 1636)]
        assert await locator(served, given=given).controllers() == given
        assert not served.asked


async def test_dns_says_which_controllers_there_are() -> None:
    async with zone({(_ALL, "SRV"): srv("dc1.dsm.test", "dc2.dsm.test")}) as served:
        found = await locator(served).controllers()
    assert set(found) == {Controller("dc1.dsm.test", 389), Controller("dc2.dsm.test", 389)}


async def test_lower_priorities_come_first() -> None:
    lines = ["20 0 389 last.dsm.test.", "0 1 389 first.dsm.test.", "10 0 389 second.dsm.test."]
    async with zone({(_ALL, "SRV"): lines}) as served:
        found = await locator(served).controllers()
    assert [one.host.partition(".")[0] for one in found] == ["first", "second", "last"]


async def test_weights_share_the_work() -> None:
    lines = ["0 90 389 much.dsm.test.", "0 10 389 little.dsm.test."]
    async with zone({(_ALL, "SRV"): lines}) as served:
        asking = locator(served)
        first = Counter([(await asking.controllers())[0].host for _ in range(500)])
    assert first["much.dsm.test"] > 400
    assert first["little.dsm.test"] > 20


async def test_controllers_of_the_site_come_before_all_others() -> None:
    records = {
        (_SITE, "SRV"): ["50 0 389 near.dsm.test."],
        (_ALL, "SRV"): srv("far.dsm.test", "near.dsm.test"),
    }
    async with zone(records) as served:
        found = await locator(served, site="Berlin").controllers()
    assert [one.host for one in found] == ["near.dsm.test", "far.dsm.test"]


async def test_a_site_that_dns_does_not_know_is_passed_over() -> None:
    async with zone({(_ALL, "SRV"): srv("dc1.dsm.test")}) as served:
        found = await locator(served, site="Nowhere").controllers()
    assert found == [Controller("dc1.dsm.test", 389)]


async def test_global_catalogs_are_those_of_the_forest() -> None:
    async with zone({(_CATALOG, "SRV"): ["0 100 3268 gc.dsm.test."]}) as served:
        asking = Locator(
            "child.dsm.test",
            forest="dsm.test",
            global_catalog=True,
            dns_servers=[f"127.0.0.1:{served.port}"],
        )
        assert await asking.controllers() == [Controller("gc.dsm.test", 3268)]


async def test_a_controller_outside_the_domain_is_not_taken_from_dns() -> None:
    async with zone({(_ALL, "SRV"): srv("dc.evil.test", "dc1.dsm.test", "evildsm.test")}) as served:
        assert await locator(served).controllers() == [Controller("dc1.dsm.test", 389)]


async def test_it_is_said_when_dns_names_none_but_strangers() -> None:
    async with zone({(_ALL, "SRV"): srv("dc.evil.test")}) as served:
        with pytest.raises(DirectoryUntrusted, match=r"dc\.evil\.test"):
            await locator(served).controllers()


async def test_a_domain_that_dns_does_not_know_is_told() -> None:
    async with zone({}) as served:
        with pytest.raises(DirectoryAway, match="no such name"):
            await locator(served).controllers()


async def test_mute_dns_ends_within_its_deadline() -> None:
    async with zone({}) as served:
        served.mute = True
        with pytest.raises(DirectoryAway, match="no DNS server answered in time"):
            await locator(served, seconds=0.3).controllers()


async def test_answers_hold_as_long_as_dns_says() -> None:
    clock = Steady()
    async with zone({(_ALL, "SRV"): srv("dc1.dsm.test")}, ttl=600) as served:
        asking = locator(served, clock=clock)
        for clock.seconds in (0.0, 599.0):
            await asking.controllers()
        assert served.asked[_ALL] == 1
        clock.seconds = 601.0
        await asking.controllers()
        assert served.asked[_ALL] == 2


async def test_while_dns_is_away_its_last_answers_hold_on() -> None:
    clock = Steady()
    records = {(_ALL, "SRV"): srv("dc1.dsm.test"), ("dc1.dsm.test.", "A"): ["10.53.0.1"]}
    async with zone(records, ttl=600) as served:
        asking = locator(served, clock=clock, seconds=0.3)
        known = await asking.controllers(), await asking.addresses("dc1.dsm.test")
        clock.seconds, served.mute = 601.0, True
        assert (await asking.controllers(), await asking.addresses("dc1.dsm.test")) == known
        before = served.asked.copy()
        clock.seconds += 29.0
        assert (await asking.controllers(), await asking.addresses("dc1.dsm.test")) == known
        assert served.asked == before
        clock.seconds, served.mute = clock.seconds + 1.0, False
        served.records[_ALL, "SRV"] = srv("dc2.dsm.test")
        assert [one.host for one in await asking.controllers()] == ["dc2.dsm.test"]


async def test_what_dns_says_is_gone_does_not_hold_on() -> None:
    clock = Steady()
    records = {(_ALL, "SRV"): srv("dc1.dsm.test"), ("dc1.dsm.test.", "A"): ["10.53.0.1"]}
    async with zone(records, ttl=600) as served:
        asking = locator(served, clock=clock)
        await asking.controllers()
        await asking.addresses("dc1.dsm.test")
        clock.seconds = 601.0
        served.records.clear()
        with pytest.raises(DirectoryAway, match="no such name"):
            await asking.controllers()
        with pytest.raises(DirectoryAway, match="no such name"):
            await asking.addresses("dc1.dsm.test")


async def test_the_second_dns_server_has_its_turn_when_the_first_is_mute() -> None:
    async with zone({}) as first, zone({(_ALL, "SRV"): srv("dc1.dsm.test")}, address="127.0.0.2") as second:
        first.mute = True
        servers = [f"127.0.0.1:{first.port}", f"127.0.0.2:{second.port}"]
        # As short as a setting may be, which is less than one server is waited for otherwise.
        asking = locator(first, dns_servers=servers, seconds=1.0)
        assert [one.host for one in await asking.controllers()] == ["dc1.dsm.test"]


async def test_addresses_come_from_the_same_servers_and_hold_too() -> None:
    clock = Steady()
    records = {("dc1.dsm.test.", "A"): ["10.53.0.1"], ("dc1.dsm.test.", "AAAA"): ["fd53::1"]}
    async with zone(records) as served:
        asking = locator(served, clock=clock)
        assert await asking.addresses("dc1.dsm.test") == ["10.53.0.1", "fd53::1"]
        assert await asking.addresses("dc1.dsm.test") == ["10.53.0.1", "fd53::1"]
        assert served.asked["dc1.dsm.test."] == 2


async def test_a_name_that_the_servers_do_not_know_is_told() -> None:
    async with zone({}) as served:
        with pytest.raises(DirectoryAway, match=r"dc1\.dsm\.test cannot be found"):
            await locator(served).addresses("dc1.dsm.test")


async def test_without_servers_of_its_own_the_system_looks_names_up() -> None:
    assert await Locator("dsm.test").addresses("dc1.dsm.test") == [None]


async def test_an_address_needs_no_look_up() -> None:
    async with zone({}) as served:
        assert await locator(served).addresses("10.53.0.1") == [None]


async def test_a_dns_server_is_given_by_its_address() -> None:
    with pytest.raises(ConfigurationError, match="by its address"):
        await Locator("dsm.test", dns_servers=["dns.dsm.test"]).controllers()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("dc1.dsm.test", Controller("dc1.dsm.test")),
        ("dc1.dsm.test.:1636", Controller("dc1.dsm.test", 1636)),
        ("10.53.0.1", Controller("10.53.0.1")),
        ("[fd53::1]:636", Controller("fd53::1", 636)),
        ("[fd53::1]", Controller("fd53::1")),
        ("fd53::1", Controller("fd53::1")),
    ],
)
def test_a_controller_is_read(text: str, read: Controller) -> None:
    assert controller(text) == read


@pytest.mark.parametrize("text", ["", ":636", "ldaps://dc1", "dc1:0", "dc1:65536", "a b", "dc1:x"])
def test_what_is_no_controller_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        controller(text)
