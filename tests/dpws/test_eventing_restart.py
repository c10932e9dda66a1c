"""Subscriptions over a restart: what is kept, for how long, and what is told afterwards."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.contracts import wse
from postscan.core.errors import InvalidArgument, PostscanError
from postscan.dpws import eventing
from postscan.dpws.eventing import EventLimits, EventSource
from postscan.dpws.http.messages import Peer
from postscan.dpws.notify_policy import NotifyPolicy
from postscan.dpws.subscriptions import StoredSubscription, Subscription
from postscan.soap.names import DSP, WSDP
from support.clock import FakeClock
from support.events import number_of, status_event
from support.sinks import Sink, listening, mark_of
from support.wire import canary

STATUS, END_STATE = f"{DSP}/PostScanJobStatusEvent", f"{DSP}/PostScanJobEndStateEvent"
PEER = Peer("127.0.0.1", 1)
HOUR = wse.Expires(duration=timedelta(hours=1))


class Memory:
    """A store that remembers, and can be told to fail."""

    def __init__(self) -> None:
        self.rows: dict[str, StoredSubscription] = {}
        self.writes = 0
        self.error: Exception | None = None

    async def load(self) -> Sequence[StoredSubscription]:
        return list(self.rows.values())

    def save(self, kept: StoredSubscription) -> Awaitable[None]:
        return self._write(lambda: self.rows.__setitem__(kept.identifier, kept))

    def remove(self, identifiers: Sequence[str]) -> Awaitable[None]:
        return self._write(lambda: [self.rows.pop(one, None) for one in identifiers])

    def confirm(self, marks: Mapping[str, int]) -> Awaitable[None]:
        def change() -> None:
            for one, mark in marks.items():
                if one in self.rows:
                    self.rows[one] = replace(self.rows[one], confirmed=mark)

        return self._write(change)

    def _write(self, change: object) -> Awaitable[None]:
        self.writes += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.error is not None:
            future.set_exception(self.error)
        else:
            change()  # type: ignore[operator] # test shorthand
            future.set_result(None)
        return future


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def memory() -> Memory:
    return Memory()


def make(
    clock: FakeClock, memory: Memory, *, policy: NotifyPolicy | None = None, keep: bool = False
) -> EventSource:
    return EventSource(
        address=lambda: "https://localhost:5362/ScanServer/service",
        actions=(STATUS, END_STATE),
        clock=clock,
        policy=policy or NotifyPolicy(allow_loopback=True),
        limits=EventLimits(retry_pauses=(), first_retry_pauses=()),
        store=memory,
        keep_on_stop=keep,
    )


@asynccontextmanager
async def running(clock: FakeClock, memory: Memory, **more: object) -> AsyncIterator[EventSource]:
    """Run a source that dies without a word at the end of the block, as a killed process does."""
    source = make(clock, memory, **more)  # type: ignore[arg-type] # test shorthand
    await source.restore()
    try:
        yield source
    finally:
        await source._courier.close()
        await source._pool.close()


async def subscribed(source: EventSource, sink: Sink, *actions: str, **more: object) -> str:
    values: dict[str, object] = {"notify_to": sink.endpoint(), "expires": HOUR}
    if actions:
        values |= {"filter_dialect": f"{WSDP}/Action", "filter_actions": actions}
    answer = await source.subscribe(wse.Subscribe(**(values | more)), "alice", PEER)  # type: ignore[arg-type]
    return answer.manager.parameters[0].text or ""


async def test_a_subscription_goes_on_as_what_it_was(clock: FakeClock, memory: Memory) -> None:
    async with listening() as sink:
        async with running(clock, memory) as source:
            which = await subscribed(source, sink, END_STATE)
        clock.advance(600)
        async with running(clock, memory) as source:
            assert source.status(which, "alice") == timedelta(minutes=50)
            with pytest.raises(wse.InvalidMessage):
                source.status(which, "bob")
            source.publish(STATUS, partial(status_event, 1), "alice")
            source.publish(END_STATE, partial(status_event, 2), "alice")
            message = await sink.next()
            assert (number_of(message), mark_of(message)) == (2, "urn:mark")
            assert source.renew(which, HOUR, "alice") == timedelta(hours=1)
            source.unsubscribe(which, "alice")
        assert memory.rows == {}


async def test_it_is_kept_before_the_subscriber_hears_of_it(clock: FakeClock, memory: Memory) -> None:
    memory.error = PostscanError("no disk")
    async with listening() as sink, running(clock, memory) as source:
        with pytest.raises(PostscanError, match="no disk"):
            await subscribed(source, sink)
        assert len(source) == 0


async def test_a_renewal_that_cannot_be_kept_is_told(clock: FakeClock, memory: Memory) -> None:
    async with listening() as sink, running(clock, memory) as source:
        which = await subscribed(source, sink)
        memory.error = PostscanError("no disk")
        source.renew(which, HOUR, "alice")
        with pytest.raises(PostscanError, match="no disk"):
            await source.stored()


@pytest.mark.parametrize("how", ["unsubscribe", "expire", "fail"])
async def test_what_is_over_is_forgotten(clock: FakeClock, memory: Memory, how: str) -> None:
    async with listening([500] * 5) as sink, running(clock, memory) as source:
        which = await subscribed(source, sink)
        assert list(memory.rows) == [which]
        if how == "unsubscribe":
            source.unsubscribe(which, "alice")
        elif how == "expire":
            clock.advance(3_600)
        else:
            source.publish(STATUS, partial(status_event, 1), "alice")
            await source._courier.drained(10)
        assert len(source) == 0
        await source.stored()
        assert memory.rows == {}


# Time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("away", "jump_days", "left"),
    [
        (600, 0, 3_000),
        (3_599, 0, 1),
        (3_600, 0, None),
        # The clock was set back: no more than there was, however far.
        (0, -1, 3_600),
        (600, -365, 3_600),
        # Or forward: it is over, which its subscriber learns from its Renew.
        (0, 1, None),
    ],
)
async def test_time_away_counts_and_a_clock_that_jumps_adds_nothing(
    clock: FakeClock, memory: Memory, away: float, jump_days: float, left: float | None
) -> None:
    async with listening() as sink:
        async with running(clock, memory) as source:
            which = await subscribed(source, sink)
        clock.advance(away)
        clock.jump(jump_days)
        async with running(clock, memory) as source:
            if left is None:
                assert len(source) == 0
                assert memory.rows == {}
            else:
                assert source.status(which, "alice") == timedelta(seconds=left)


async def test_a_clock_that_stays_behind_does_not_prolong_it_with_every_restart(
    clock: FakeClock, memory: Memory
) -> None:
    async with listening() as sink:
        async with running(clock, memory) as source:
            await subscribed(source, sink)
        clock.jump(-1)
        for _ in range(3):
            async with running(clock, memory) as source:
                assert len(source) == 1
            clock.advance(1_200)
        async with running(clock, memory) as source:
            assert len(source) == 0


async def test_nobody_gets_more_than_the_settings_allow_now(clock: FakeClock, memory: Memory) -> None:
    async with listening() as sink:
        async with running(clock, memory) as source:
            which = await subscribed(source, sink)
        source = make(clock, memory)
        source._limits = EventLimits(max_expires=60)
        await source.restore()
        assert source.status(which, "alice") == timedelta(seconds=60)


# Marks ----------------------------------------------------------------------------------------------------


async def test_what_was_taken_is_written_down_later_and_together(
    clock: FakeClock, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eventing, "_CONFIRM_SECONDS", 3_600)
    async with listening() as sink, running(clock, memory) as source:
        which = await subscribed(source, sink)
        for number in range(1, 21):
            source.publish(END_STATE, partial(status_event, number), "alice", mark=number)
        assert await source._courier.drained(10)
        assert memory.writes == 1
        source._write_marks()
        await source.stored()
        assert (memory.writes, memory.rows[which].confirmed) == (2, 20)
    async with running(clock, memory) as source:
        pass
    (again,) = await make(clock, memory).restore()
    assert (again.identifier, again.owner, again.confirmed) == (which, "alice", 20)


async def test_a_new_subscription_owes_nothing_of_before(clock: FakeClock, memory: Memory) -> None:
    source = make(clock, memory)
    await source.restore(last_mark=7)
    async with listening() as sink:
        assert memory.rows[await subscribed(source, sink)].confirmed == 7
        source.publish(END_STATE, partial(status_event, 1), "bob", mark=9)
        assert memory.rows[await subscribed(source, sink)].confirmed == 9
        await source.close()


async def test_what_is_told_after_a_restart_does_not_end_a_subscription(
    clock: FakeClock, memory: Memory
) -> None:
    async with listening() as sink:
        async with running(clock, memory) as source:
            which = await subscribed(source, sink)
        async with running(clock, memory) as source:
            for number in range(400):
                source.tell(which, STATUS, partial(status_event, number))
            source.publish(STATUS, partial(status_event, 400), "alice")
            assert [number_of(await sink.next()) for _ in range(401)] == list(range(401))
            assert len(source) == 1


# Sinks that are not what they were ------------------------------------------------------------------------


async def test_a_sink_is_checked_again_before_it_is_called(clock: FakeClock, memory: Memory) -> None:
    async with canary() as bird, listening() as sink:
        async with running(clock, memory) as source:
            aside = replace(sink.endpoint(), address=bird.url)
            await subscribed(source, sink, notify_to=aside, end_to=aside)
        async with running(clock, memory, policy=NotifyPolicy()) as source:
            source.publish(STATUS, partial(status_event, 1), "alice")
            assert await source._courier.drained(10)
            assert len(source) == 0
    assert memory.rows == {}


async def test_a_row_that_nobody_can_read_is_dropped_and_the_others_go_on(
    clock: FakeClock, memory: Memory
) -> None:
    async with listening() as sink:
        async with running(clock, memory) as source:
            which = await subscribed(source, sink)
        memory.rows["urn:broken"] = replace(memory.rows[which], identifier="urn:broken", content=b"{")
        async with running(clock, memory) as source:
            assert len(source) == 1
        assert list(memory.rows) == [which]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_content_is_a_subscription_or_refused(content: bytes) -> None:
    clock = FakeClock()
    kept = StoredSubscription("urn:x", content, clock.now(), 1.0, 0)
    with pytest.raises(InvalidArgument):
        Subscription.restored(kept, 1.0, clock, ())


# Stopping -------------------------------------------------------------------------------------------------


async def test_a_stop_in_good_order_ends_and_forgets_everything(clock: FakeClock, memory: Memory) -> None:
    async with listening() as sink, listening() as ends:
        source = make(clock, memory)
        await subscribed(source, sink, end_to=ends.endpoint())
        await source.close()
        told = await ends.next()
        assert told.body is not None
        assert wse.SubscriptionEnd.from_element(told.body).status == wse.SOURCE_SHUTTING_DOWN
    assert memory.rows == {}


async def test_a_stop_that_keeps_them_says_nothing_and_writes_down_what_was_taken(
    clock: FakeClock, memory: Memory
) -> None:
    async with listening() as sink, listening() as ends:
        source = make(clock, memory, keep=True)
        which = await subscribed(source, sink, end_to=ends.endpoint())
        source.publish(END_STATE, partial(status_event, 1), "alice", mark=5)
        await source.close()
        assert number_of(await sink.next()) == 1
        assert memory.rows[which].confirmed == 5
        assert ends.attempts == 0
        async with running(clock, memory) as source:
            assert source.status(which, "alice") == timedelta(hours=1)


async def test_a_source_that_stops_takes_no_new_subscriptions(clock: FakeClock, memory: Memory) -> None:
    async with listening() as sink:
        source = make(clock, memory)
        await source.close()
        with pytest.raises(wse.EventSourceUnableToProcess):
            await subscribed(source, sink)


async def test_stopping_waits_for_no_number_of_silent_sinks(clock: FakeClock, memory: Memory) -> None:
    async with listening(blocked=True) as silent, listening() as ends:
        source = EventSource(
            address=lambda: "urn:a",
            actions=(STATUS,),
            clock=clock,
            policy=NotifyPolicy(allow_loopback=True),
            limits=EventLimits(delivery_seconds=3_600, stop_seconds=0.5),
            store=memory,
        )
        for number in range(100):
            request = wse.Subscribe(notify_to=silent.endpoint(), end_to=silent.endpoint(), expires=HOUR)
            await source.subscribe(request, f"user {number}", PEER)
        await source.subscribe(
            wse.Subscribe(notify_to=ends.endpoint(), end_to=ends.endpoint(), expires=HOUR), "alice", PEER
        )
        # The timeout of the tests would tell if it took an hour.
        await source.close()
        assert (await ends.next()).headers.action == wse.SUBSCRIPTION_END_ACTION
    assert memory.rows == {}
