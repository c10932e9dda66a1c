"""A subscription of ours: renewed in time, made anew only when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from lxml import etree

from postscan.contracts import wse
from postscan.core.errors import FaultParty, PostscanError
from postscan.dpws.client import RemoteFault, Unreachable
from postscan.dpws.kept_subscription import KeptSubscription
from postscan.soap.envelope import EndpointReference
from postscan.soap.faults import SoapFault
from postscan.soap.names import WSE, qname
from support.clock import FakeClock

HOUR = timedelta(hours=1)


def manager(number: int) -> EndpointReference:
    identifier = etree.Element(qname(WSE, "Identifier"))
    identifier.text = f"urn:{number}"
    return EndpointReference("https://scan.example/service", (identifier,))


def fault(subcode: str = "UnableToRenew") -> RemoteFault:
    return RemoteFault(SoapFault(FaultParty.RECEIVER, qname(WSE, subcode), "gone"))


class Source:
    """Grants an hour, unless it is told to fail next; remembers what it was asked."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.asked: list[str] = []
        self.failures: list[PostscanError] = []
        self.made = 0
        self.kept = KeptSubscription(
            self.subscribe, self.renew, monotonic=self.clock.monotonic, sleep=self.clock.sleep
        )

    async def subscribe(self) -> wse.SubscribeResponse:
        self._ask("subscribe")
        self.made += 1
        return wse.SubscribeResponse(manager(self.made), HOUR)

    async def renew(self, _: EndpointReference) -> timedelta:
        self._ask("renew")
        return HOUR

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.failures:
            raise self.failures.pop(0)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps, and whoever waits for it do what they want."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            for _ in range(10):
                await asyncio.sleep(0)

    async def settle(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not done():
                await asyncio.sleep(0)


@asynccontextmanager
async def keeping() -> AsyncIterator[Source]:
    source = Source()
    await source.kept.begin()
    task = asyncio.create_task(source.kept.keep())
    for _ in range(10):
        await asyncio.sleep(0)
    try:
        yield source
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_it_is_renewed_in_time_and_never_made_anew_by_a_timer() -> None:
    async with keeping() as source:
        await source.pass_time(3 * 3_600)
        assert source.asked[0] == "subscribe"
        assert set(source.asked[1:]) == {"renew"}
        assert 5 <= len(source.asked[1:]) <= 7


async def test_a_source_that_does_not_answer_is_asked_again_while_there_is_time() -> None:
    async with keeping() as source:
        source.failures = [Unreachable("away") for _ in range(4)]
        await source.pass_time(1_900)
        assert source.asked == ["subscribe", *["renew"] * 5]
        assert source.made == 1


async def test_a_subscription_the_source_has_lost_is_made_anew() -> None:
    async with keeping() as source:
        source.failures = [fault()]
        await source.pass_time(1_900)
        assert source.asked == ["subscribe", "renew", "subscribe"]
        assert source.kept.manager is not None


async def test_a_temporary_fault_is_no_loss() -> None:
    async with keeping() as source:
        source.failures = [fault("ServerErrorTemporaryError")]
        await source.pass_time(1_900)
        assert source.asked == ["subscribe", "renew", "renew"]


async def test_an_end_is_answered_with_a_new_subscription_after_a_while() -> None:
    async with keeping() as source:
        source.failures = [Unreachable("still stopping")]
        source.kept.ended(manager(1))
        assert source.kept.manager is None
        await source.pass_time(1)
        await source.pass_time(5)
        assert source.asked == ["subscribe", "subscribe", "subscribe"]
        assert source.made == 2


async def test_the_end_of_a_subscription_that_was_replaced_is_no_news() -> None:
    async with keeping() as source:
        source.kept.ended(manager(1))
        await source.pass_time(2)
        for late in (manager(1), manager(1), manager(7)):
            source.kept.ended(late)
        await source.pass_time(10)
        assert source.made == 2


async def test_a_subscription_that_ran_out_while_nobody_answered_is_made_anew() -> None:
    async with keeping() as source:
        source.failures = [Unreachable("away") for _ in range(200)]
        await source.pass_time(3_700)
        assert "subscribe" in source.asked[1:]
        source.failures.clear()
        await source.pass_time(40)
        assert source.made == 2


async def test_the_first_failure_is_told() -> None:
    source = Source()
    source.failures = [Unreachable("away")]
    with pytest.raises(Unreachable):
        await source.kept.begin()
