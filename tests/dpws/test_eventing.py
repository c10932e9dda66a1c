"""WS-Eventing: subscriptions with a clock moved by hand, delivery to real sinks, and the same on the wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from postscan.contracts import wse
from postscan.core.clock import xs_datetime
from postscan.core.errors import PostscanError
from postscan.dpws import courier
from postscan.dpws.courier import CourierLimits
from postscan.dpws.eventing import EventLimits, EventSource
from postscan.dpws.http.messages import Peer
from postscan.dpws.notify_policy import NotifyPolicy
from postscan.server.tls import server_context
from postscan.soap.names import DSP, WSDP, WSE, qname
from support.clock import FakeClock
from support.events import number_of, status_event
from support.scanning import Site, jpeg, running
from support.sinks import Sink, listening, mark_of, nobody_listening
from support.wire import Answer, canary, envelope, job_request, wire

STATUS, END_STATE = f"{DSP}/PostScanJobStatusEvent", f"{DSP}/PostScanJobEndStateEvent"
ADDRESS = "https://localhost:5362/ScanServer/service"
PEER = Peer("127.0.0.1", 1)
HOUR = wse.Expires(duration=timedelta(hours=1))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@asynccontextmanager
async def source(clock: FakeClock, **limits: float) -> AsyncIterator[EventSource]:
    """Run an event source that tries twice more at once."""
    made = EventSource(
        address=lambda: ADDRESS,
        actions=(STATUS, END_STATE),
        clock=clock,
        policy=NotifyPolicy(allow_loopback=True),
        limits=EventLimits(**({"retry_pauses": (0.0, 0.0)} | limits)),  # type: ignore[arg-type] # all are numbers
    )
    try:
        yield made
    finally:
        await made.close()


def wish(sink: Sink, *actions: str, **more: object) -> wse.Subscribe:
    values: dict[str, object] = {"notify_to": sink.endpoint(), "expires": HOUR}
    if actions:
        values |= {"filter_dialect": f"{WSDP}/Action", "filter_actions": actions}
    return wse.Subscribe(**(values | more))  # type: ignore[arg-type] # test shorthand


def identifier(answer: wse.SubscribeResponse) -> str:
    return answer.manager.parameters[0].text or ""


def publish(events: EventSource, action: str = STATUS, number: int = 1, owner: str = "alice") -> None:
    events.publish(action, lambda: status_event(number), lambda who: who == owner)


# Delivery -------------------------------------------------------------------------------------------------


async def test_an_event_arrives_with_its_action_and_the_subscribers_parameters(clock: FakeClock) -> None:
    async with listening() as sink, source(clock) as events:
        answer = await events.subscribe(wish(sink), "alice", PEER)
        assert answer.manager.address == ADDRESS
        assert answer.expires == timedelta(hours=1)
        publish(events)
        message = await sink.next()
        assert message.headers.action == STATUS
        assert message.headers.to == sink.endpoint().address
        assert mark_of(message) == "urn:mark"


async def test_events_keep_their_order_also_when_one_must_be_repeated(clock: FakeClock) -> None:
    async with listening([202, 500, 503, 202]) as sink, source(clock) as events:
        await events.subscribe(wish(sink), "alice", PEER)
        for number in range(30):
            publish(events, number=number)
        assert [number_of(await sink.next()) for _ in range(30)] == list(range(30))


async def test_a_slow_subscriber_does_not_hold_up_the_others(clock: FakeClock) -> None:
    async with listening(blocked=True) as slow, listening() as quick, source(clock) as events:
        await events.subscribe(wish(slow), "alice", PEER)
        await events.subscribe(wish(quick), "alice", PEER)
        for number in range(5):
            publish(events, number=number)
        assert [number_of(await quick.next()) for _ in range(5)] == list(range(5))
        assert slow.heard.empty()
        slow.gate.set()
        assert [number_of(await slow.next()) for _ in range(5)] == list(range(5))


async def test_many_subscribers_that_answer_nothing_do_not_hold_up_another(clock: FakeClock) -> None:
    async with (
        listening(blocked=True) as dead,
        listening() as quick,
        source(clock, delivery_seconds=60, stop_seconds=1) as events,
    ):
        for number in range(400):
            await events.subscribe(wish(dead), f"dead {number}", PEER)
            publish(events, owner=f"dead {number}")
        await events.subscribe(wish(quick), "alice", PEER)
        publish(events)
        assert number_of(await quick.next()) == 1
        # Only so many at a time are tried at one host and port.
        assert dead.attempts <= 8
        dead.gate.set()


async def test_sinks_that_answer_nothing_give_their_places_to_others(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "_QUICK_SECONDS", 0.05)
    async with (
        AsyncExitStack() as stack,
        listening() as quick,
        source(clock, delivery_seconds=60, stop_seconds=1) as events,
    ):
        monkeypatch.setattr(events._courier, "_limits", CourierLimits(parallel=4, delivery_seconds=60))
        silent = [await stack.enter_async_context(listening(blocked=True)) for _ in range(10)]
        for number, sink in enumerate(silent):
            await events.subscribe(wish(sink), f"dead {number}", PEER)
            publish(events, owner=f"dead {number}")
        await events.subscribe(wish(quick), "alice", PEER)
        publish(events)
        # All four places are taken, by deliveries that never end; still it comes.
        assert number_of(await quick.next()) == 1


async def test_a_newer_status_takes_the_place_of_one_that_waits_for_a_slow_sink(clock: FakeClock) -> None:
    async with listening(blocked=True) as slow, source(clock, merge_from=2, max_queue=5) as events:
        await events.subscribe(wish(slow), "alice", PEER)
        for number in range(50):
            events.publish(STATUS, partial(status_event, number), "alice", subject="one job")
        events.publish(STATUS, partial(status_event, 99), "alice", subject="another job")
        slow.gate.set()
        # The first is on its way, the second in its place; then come the newest of each job.
        heard = [number_of(await slow.next()) for _ in range(3)]
        assert heard == [0, 49, 99]
        assert len(events) == 1


async def test_an_end_state_is_never_merged_away(clock: FakeClock) -> None:
    async with listening(blocked=True) as slow, source(clock, merge_from=2, max_queue=10) as events:
        await events.subscribe(wish(slow), "alice", PEER)
        for number in range(4):
            events.publish(STATUS, partial(status_event, number), "alice", subject="one job")
            events.publish(END_STATE, partial(status_event, number), "alice", subject=f"end {number}")
        slow.gate.set()
        ends = []
        while len(ends) < 4:
            message = await slow.next()
            if message.headers.action == END_STATE:
                ends.append(number_of(message))
        assert ends == [0, 1, 2, 3]


async def test_a_subscription_without_events_has_no_task_and_no_connection(clock: FakeClock) -> None:
    async with listening() as sink, source(clock) as events:
        before = len(asyncio.all_tasks())
        for number in range(200):
            await events.subscribe(wish(sink), f"user {number}", PEER)
        assert len(asyncio.all_tasks()) == before
        publish(events, owner="user 7")
        await sink.next()
        assert await events._courier.drained(10)
        assert len(events._pool) <= 1


async def test_connections_to_sinks_are_used_again(clock: FakeClock) -> None:
    async with listening() as sink, source(clock) as events:
        await events.subscribe(wish(sink), "alice", PEER)
        for number in range(20):
            publish(events, number=number)
            await sink.next()
        assert sink.connections == 1


async def test_nobody_is_told_twice_that_a_subscription_is_over(clock: FakeClock) -> None:
    async with listening([500] * 3) as sink, listening() as ends:
        async with source(clock) as events:
            await events.subscribe(wish(sink, end_to=ends.endpoint()), "alice", PEER)
            # It fails while the source closes.
            publish(events)
        assert ends.heard.qsize() == 1


async def test_a_subscription_whose_time_was_over_is_not_ended_again(clock: FakeClock) -> None:
    async with listening() as sink, listening() as ends:
        async with source(clock) as events:
            await events.subscribe(wish(sink, end_to=ends.endpoint()), "alice", PEER)
            clock.advance(3_601)
        assert ends.attempts == 0


async def test_nobody_hears_of_what_is_not_theirs(clock: FakeClock) -> None:
    async with listening() as hers, listening() as his, source(clock) as events:
        await events.subscribe(wish(hers), "alice", PEER)
        await events.subscribe(wish(his), "bob", PEER)
        publish(events, number=1, owner="alice")
        publish(events, number=2, owner="bob")
        assert number_of(await his.next()) == 2
        assert number_of(await hers.next()) == 1
    assert hers.heard.empty()
    assert his.heard.empty()


@pytest.mark.parametrize(
    ("wanted", "heard"),
    [
        ((END_STATE,), [END_STATE]),
        ((STATUS,), [STATUS]),
        ((STATUS, END_STATE), [STATUS, END_STATE]),
        ((DSP,), [STATUS, END_STATE]),
        (("urn:unknown", END_STATE), [END_STATE]),
        ((), [STATUS, END_STATE]),
    ],
)
async def test_the_filter_lets_through_what_it_names_or_is_a_prefix_of(
    clock: FakeClock, wanted: tuple[str, ...], heard: list[str]
) -> None:
    async with listening() as sink, source(clock) as events:
        await events.subscribe(wish(sink, *wanted), "alice", PEER)
        publish(events, STATUS)
        publish(events, END_STATE)
        for action in heard:
            assert (await sink.next()).headers.action == action
    assert sink.heard.empty()


# Failure and end ------------------------------------------------------------------------------------------


async def test_a_subscriber_that_fails_three_times_is_dropped_and_told(clock: FakeClock) -> None:
    async with listening([500] * 10) as sink, listening() as ends, source(clock) as events:
        await events.subscribe(wish(sink, end_to=ends.endpoint("urn:end")), "alice", PEER)
        publish(events)
        told = await ends.next()
        assert told.headers.action == wse.SUBSCRIPTION_END_ACTION
        assert mark_of(told) == "urn:end"
        assert told.body is not None
        end = wse.SubscriptionEnd.from_element(told.body)
        assert end.status == wse.DELIVERY_FAILURE
        assert end.manager.address == ADDRESS
        assert sink.attempts == 3
        assert len(events) == 0


async def test_a_subscriber_that_is_gone_is_dropped(clock: FakeClock) -> None:
    with nobody_listening() as gone:
        async with listening() as ends, source(clock) as events:
            await events.subscribe(wish(gone, end_to=ends.endpoint()), "alice", PEER)
            publish(events)
            await ends.next()
            assert len(events) == 0


async def test_a_redirect_is_a_failure_and_is_not_followed(clock: FakeClock) -> None:
    async with canary(), listening([302, 307, 301]) as sink, listening() as ends, source(clock) as events:
        await events.subscribe(wish(sink, end_to=ends.endpoint()), "alice", PEER)
        publish(events)
        await ends.next()
        assert len(events) == 0


async def test_a_queue_that_grows_too_long_ends_the_subscription(clock: FakeClock) -> None:
    async with listening(blocked=True) as sink, listening() as ends, source(clock, max_queue=5) as events:
        await events.subscribe(wish(sink, end_to=ends.endpoint()), "alice", PEER)
        for number in range(6):
            publish(events, number=number)
        told = await ends.next()
        assert told.body is not None
        assert wse.SubscriptionEnd.from_element(told.body).status == wse.DELIVERY_FAILURE
        assert len(events) == 0


async def test_closing_delivers_what_waits_and_tells_that_the_source_shuts_down(clock: FakeClock) -> None:
    async with listening() as sink, listening() as ends:
        async with source(clock) as events:
            await events.subscribe(wish(sink, end_to=ends.endpoint()), "alice", PEER)
            for number in range(10):
                publish(events, number=number)
        assert [number_of(await sink.next()) for _ in range(10)] == list(range(10))
        told = await ends.next()
        assert told.body is not None
        assert wse.SubscriptionEnd.from_element(told.body).status == wse.SOURCE_SHUTTING_DOWN


async def test_closing_waits_for_the_ends_that_are_on_their_way(clock: FakeClock) -> None:
    async with listening([500] * 3) as sink, listening() as ends:
        async with source(clock) as events:
            await events.subscribe(wish(sink, end_to=ends.endpoint()), "alice", PEER)
            publish(events)
            async with asyncio.timeout(10):
                while len(events):
                    await asyncio.sleep(0)
        assert ends.heard.qsize() == 1


# Life -----------------------------------------------------------------------------------------------------


async def test_a_subscription_ends_when_its_time_is_over(clock: FakeClock) -> None:
    async with listening() as sink, source(clock) as events:
        answer = await events.subscribe(wish(sink), "alice", PEER)
        clock.advance(3_599)
        assert events.status(identifier(answer), "alice") == timedelta(seconds=1)
        clock.advance(1)
        assert len(events) == 0
        with pytest.raises(wse.InvalidMessage):
            events.status(identifier(answer), "alice")
        with pytest.raises(wse.UnableToRenew):
            events.renew(identifier(answer), None, "alice")
        with pytest.raises(wse.InvalidMessage):
            events.unsubscribe(identifier(answer), "alice")
        publish(events)
    assert sink.attempts == 0


async def test_renewing_counts_from_now_and_a_jump_of_the_wall_clock_counts_nothing(clock: FakeClock) -> None:
    async with listening() as sink, source(clock) as events:
        answer = await events.subscribe(wish(sink), "alice", PEER)
        clock.advance(3_000)
        granted = events.renew(identifier(answer), wse.Expires(duration=timedelta(minutes=30)), "alice")
        assert granted == timedelta(minutes=30)
        clock.jump(1)
        assert events.status(identifier(answer), "alice") == timedelta(minutes=30)
        clock.jump(-2)
        assert events.status(identifier(answer), "alice") == timedelta(minutes=30)


async def test_nobody_gets_more_time_than_the_limit(clock: FakeClock) -> None:
    async with listening() as sink, source(clock, max_expires=7_200, default_expires=600) as events:
        for expires, granted in (
            (wse.Expires(duration=timedelta(days=9_000)), 7_200),
            (wse.Expires(moment=clock.now() + timedelta(hours=1)), 3_600),
            (None, 600),
        ):
            answer = await events.subscribe(wish(sink, expires=expires), "alice", PEER)
            assert answer.expires == timedelta(seconds=granted)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"mode": "urn:pull"}, wse.DeliveryModeRequestedUnavailable),
        ({"filter_dialect": "urn:xpath", "filter_actions": ("x",)}, wse.FilteringRequestedUnavailable),
        ({"filter_dialect": f"{WSDP}/Action", "filter_actions": ("urn:no",)}, wse.FilterActionNotSupported),
        ({"filter_dialect": f"{WSDP}/Action", "filter_actions": ()}, wse.FilterActionNotSupported),
        ({"expires": wse.Expires(duration=timedelta(0))}, wse.InvalidExpirationTime),
        ({"expires": wse.Expires(duration=timedelta(seconds=-1))}, wse.InvalidExpirationTime),
    ],
)
async def test_what_cannot_be_granted_is_refused(
    clock: FakeClock, more: dict[str, object], error: type[PostscanError]
) -> None:
    async with listening() as sink, source(clock) as events:
        with pytest.raises(error):
            await events.subscribe(wish(sink, **more), "alice", PEER)
        assert len(events) == 0


async def test_a_subscription_of_another_identity_does_not_exist(clock: FakeClock) -> None:
    async with listening() as sink, source(clock) as events:
        known = identifier(await events.subscribe(wish(sink), "alice", PEER))
        for who, which in (("bob", known), ("alice", "urn:uuid:other"), ("alice", None), ("alice", "")):
            with pytest.raises(wse.InvalidMessage):
                events.status(which, who)
            with pytest.raises(wse.UnableToRenew):
                events.renew(which, None, who)
            with pytest.raises(wse.InvalidMessage):
                events.unsubscribe(which, who)
        assert len(events) == 1


async def test_one_identity_cannot_take_all_subscriptions_not_even_at_once(clock: FakeClock) -> None:
    async with listening() as sink, source(clock, max_subscriptions_per_owner=3) as events:
        tries = [events.subscribe(wish(sink), "alice", PEER) for _ in range(10)]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        refused = [o for o in outcomes if isinstance(o, wse.EventSourceUnableToProcess)]
        assert len(refused) == 7
        await events.subscribe(wish(sink), "bob", PEER)
        assert len(events) == 4


async def test_unsubscribing_ends_it_without_a_word(clock: FakeClock) -> None:
    async with listening() as sink, listening() as ends, source(clock) as events:
        answer = await events.subscribe(wish(sink, end_to=ends.endpoint()), "alice", PEER)
        events.unsubscribe(identifier(answer), "alice")
        publish(events)
        assert len(events) == 0
    assert sink.attempts == ends.attempts == 0


# On the wire ----------------------------------------------------------------------------------------------


def subscribe(address: str, *, expires: str = "PT10M", actions: str = DSP, more: str = "") -> bytes:
    return envelope(
        f"{WSE}/Subscribe",
        f"<wse:Subscribe>{more}<wse:Delivery><wse:NotifyTo><wsa:Address>{address}</wsa:Address></wse:NotifyTo>"
        f'</wse:Delivery><wse:Expires>{expires}</wse:Expires><wse:Filter Dialect="{WSDP}/Action">{actions}'
        "</wse:Filter></wse:Subscribe>",
    )


def manage(operation: str, which: str, content: str = "") -> bytes:
    return envelope(
        f"{WSE}/{operation}",
        f"<wse:{operation}>{content}</wse:{operation}>",
        headers=f"<wse:Identifier>{which}</wse:Identifier>",
    )


async def accepted(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return next(answer.envelope.body.iter(qname(WSE, "Identifier"))).text or ""  # type: ignore[union-attr] # it has one


async def test_a_subscription_is_managed_over_the_wire(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, listening() as sink, wire(site) as peer:
        which = await accepted(await peer.post(subscribe(sink.endpoint().address)))
        renewed = await peer.post(manage("Renew", which, "<wse:Expires>PT20M</wse:Expires>"))
        assert renewed.text("Expires") == "PT20M"
        assert (await peer.post(manage("GetStatus", which))).text("Expires").startswith("PT19M59")
        async with wire(site, "bob") as bob:
            for operation in ("Renew", "GetStatus", "Unsubscribe"):
                assert (await bob.post(manage(operation, which))).status in (400, 500)
        gone = await peer.post(manage("Unsubscribe", which))
        assert (gone.status, gone.envelope.body) == (200, None)
        assert (await peer.post(manage("Unsubscribe", which))).subcode == "InvalidMessage"
        assert (await peer.post(manage("Renew", which))).subcode == "UnableToRenew"


WINDOWS = f"""<wse:Subscribe>
 <wse:EndTo><wsa:Address>{{ends}}</wsa:Address>
  <wsa:ReferenceProperties><v:Zone xmlns:v="urn:v">7</v:Zone></wsa:ReferenceProperties>
  <wsa:ReferenceParameters><wse:Identifier>urn:uuid:A</wse:Identifier></wsa:ReferenceParameters></wse:EndTo>
 <wse:Delivery Mode="{WSE}/DeliveryModes/Push"><wse:NotifyTo><wsa:Address>{{sink}}</wsa:Address>
  <wsa:ReferenceProperties><v:Zone xmlns:v="urn:v" v:kind="wsdp:x">8</v:Zone></wsa:ReferenceProperties>
  <wsa:ReferenceParameters><wse:Identifier>urn:uuid:B</wse:Identifier></wsa:ReferenceParameters>
 </wse:NotifyTo></wse:Delivery>
 <wse:Expires>PT1H</wse:Expires>
 <wse:Filter Dialect="{WSDP}/Action">
   {DSP}/PostScanJobStatusEvent  {DSP}/PostScanJobEndStateEvent
 </wse:Filter>
 <w:ScanDestinations xmlns:w="http://schemas.microsoft.com/windows/2006/08/wdp/scan"><w:ScanDestination/>
 </w:ScanDestinations></wse:Subscribe>"""


async def test_a_subscribe_as_windows_writes_it_gets_properties_and_parameters_back(tmp_path: Path) -> None:
    async with listening() as sink, listening() as ends:
        async with running(tmp_path / "site") as site, wire(site) as peer:
            body = WINDOWS.format(sink=sink.endpoint().address, ends=ends.endpoint().address)
            await accepted(await peer.post(envelope(f"{WSE}/Subscribe", body)))
            await peer.create()
            message = await sink.next()
            assert message.headers.action == STATUS
            assert (message.headers.reply_to, message.headers.relates_to) == (None, None)
            assert message.headers.message_id is not None
            sent = {str(h.tag): h.text for h in message.headers.others}
            assert sent == {"{urn:v}Zone": "8", qname(WSE, "Identifier"): "urn:uuid:B"}
            (zone,) = [h for h in message.headers.others if h.tag == "{urn:v}Zone"]
            # A qualified name in a value means what it meant.
            assert zone.nsmap["wsdp"] == WSDP
        told = await ends.next()
        assert {h.text for h in told.headers.others} == {"7", "urn:uuid:A"}


async def test_points_in_time_are_taken_and_answered_with_durations(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, listening() as sink, wire(site) as peer:
        soon = xs_datetime(datetime.now(UTC) + timedelta(minutes=30))
        answer = await peer.post(subscribe(sink.endpoint().address, expires=soon))
        granted = wse.parse_duration(answer.text("Expires"))
        assert timedelta(minutes=29) < granted <= timedelta(minutes=30)
        which = await accepted(answer)
        later = xs_datetime(datetime.now(UTC) + timedelta(minutes=50))
        renewed = await peer.post(manage("Renew", which, f"<wse:Expires>{later}</wse:Expires>"))
        assert wse.parse_duration(renewed.text("Expires")) > timedelta(minutes=49)
        # Without a wish it is the source's choice.
        assert (await peer.post(manage("Renew", which))).text("Expires") == "PT1H"


@pytest.mark.parametrize(
    ("change", "subcode", "detail"),
    [
        (
            ("<wse:Delivery>", '<wse:Delivery Mode="urn:pull">'),
            "DeliveryModeRequestedUnavailable",
            "/Push</wse:Sup",
        ),
        ((f"{WSDP}/Action", "urn:other-dialect"), "FilteringRequestedUnavailable", "/Action</wse:Sup"),
        ((f">{DSP}<", ">urn:nothing-we-raise<"), "FilterActionNotSupported", ""),
        (("PT10M", "-PT1S"), "InvalidExpirationTime", ""),
        (("PT10M", "2001-01-01T00:00:00Z"), "InvalidExpirationTime", ""),
        (("PT10M", "soon"), "InvalidExpirationTime", ""),
    ],
)
async def test_each_refusal_has_its_own_fault(
    tmp_path: Path, change: tuple[str, str], subcode: str, detail: str
) -> None:
    async with running(tmp_path / "site") as site, listening() as sink, wire(site) as peer:
        message = subscribe(sink.endpoint().address).decode().replace(*change).encode()
        answer = await peer.post(message)
        assert (answer.status, answer.subcode) == (400, subcode)
        assert detail.encode() in answer.body
        if subcode == "FilterActionNotSupported":
            assert answer.fault.subcode == qname(WSDP, subcode)


async def test_two_people_hear_of_their_own_jobs_alone(tmp_path: Path) -> None:
    async with listening() as hers, listening() as his, running(tmp_path / "site") as site:
        tokens = {}
        async with wire(site) as alice, wire(site, "bob") as bob:
            for peer, sink in ((alice, hers), (bob, his)):
                await accepted(await peer.post(subscribe(sink.endpoint().address)))
            for name, peer in (("alice", alice), ("bob", bob)):
                tokens[name] = await peer.create(user=name)
                await peer.upload(tokens[name], jpeg(1))
                assert (await peer.post(job_request("EndPostScanJob", tokens[name]))).status == 200
            for name, sink in (("alice", hers), ("bob", his)):
                states = []
                while True:
                    message = await sink.next()
                    assert message.body is not None
                    assert next(message.body.iter(qname(DSP, "JobToken"))).text == tokens[name]
                    if message.headers.action == END_STATE:
                        break
                    states.append(next(message.body.iter(qname(DSP, "JobState"))).text)
                assert states[0] == "Creating"
                assert states[-1] == "Completed"
                order = ["Creating", "Pending", "Started", "Processing", "Completed"]
                assert [order.index(s or "") for s in states] == sorted(order.index(s or "") for s in states)


async def test_events_reach_a_sink_with_a_certificate_of_the_sites_own_authority(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, wire(site) as peer:
        pki = site.made.pki
        secure = server_context(pki / "server.pem", pki / "server.key", None)
        async with listening(tls=secure) as sink:
            await accepted(await peer.post(subscribe(f"https://localhost:{sink.port}/sink")))
            token = await peer.create()
            message = await sink.next()
            assert message.body is not None
            assert next(message.body.iter(qname(DSP, "JobToken"))).text == token


async def test_stopping_the_server_ends_subscriptions(tmp_path: Path) -> None:
    async with listening() as sink, listening() as ends:
        async with running(tmp_path / "site") as site, wire(site) as peer:
            end_to = f"<wse:EndTo><wsa:Address>{ends.endpoint().address}</wsa:Address></wse:EndTo>"
            await accepted(await peer.post(subscribe(sink.endpoint().address, more=end_to)))
        told = await ends.next()
        assert told.body is not None
        assert wse.SubscriptionEnd.from_element(told.body).status == wse.SOURCE_SHUTTING_DOWN


@pytest.mark.parametrize(
    "address",
    [
        "http://192.0.2.1/sink",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0/",
        "http://[::]/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://user:password@127.0.0.1/",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "http:///nohost",
        "http://" + "a" * 70 + ".example/",
        "http://..example/",
        "urn:uuid:1",
        "mailto:x@y",
        "",
    ],
)
async def test_an_address_that_is_not_the_subscribers_own_is_refused_with_a_fault(
    tmp_path: Path, address: str
) -> None:
    async with running(tmp_path / "site") as site, wire(site) as peer:
        answer = await peer.post(subscribe(address))
        assert (answer.status, answer.subcode) == (400, "InvalidMessage")
        assert len(live(site)) == 0


def live(site: Site) -> EventSource:
    assert site.server is not None
    return site.server._events[0]


async def test_loopback_is_refused_unless_the_settings_allow_it(tmp_path: Path) -> None:
    async with (
        canary() as bird,
        running(tmp_path / "site", eventing={"allow_loopback": False}) as site,
        wire(site) as peer,
    ):
        for host in ("127.0.0.1", "localhost", "[::1]", "127.1", "[::ffff:127.0.0.1]"):
            answer = await peer.post(subscribe(f"http://{host}:{bird.port}/"))
            assert (answer.status, answer.subcode) == (400, "InvalidMessage")
        token = await peer.create()
        assert (await peer.post(job_request("CancelPostScanJob", token))).status == 200


@pytest.mark.parametrize(
    "message",
    [
        envelope(f"{WSE}/Subscribe", "<wse:Subscribe/>"),
        envelope(f"{WSE}/Subscribe", "<wse:Subscribe><wse:Delivery/></wse:Subscribe>"),
        subscribe("http://127.0.0.1/", expires="tomorrow"),
        subscribe("http://127.0.0.1/", expires="P" + "9" * 100 + "Y"),
        subscribe("http://127.0.0.1/", expires="PT0S"),
        subscribe("http://127.0.0.1/", expires="0001-01-01T00:00:00+14:00"),
        subscribe("http://127.0.0.1/", actions="http://[broken"),
        envelope(f"{WSE}/Renew", "<wse:Subscribe/>"),
        envelope(f"{WSE}/Nonsense", "<wse:Nonsense/>"),
        envelope(f"{WSE}/SubscriptionEnd", "<wse:SubscriptionEnd/>"),
        manage("GetStatus", "x" * 5_000),
    ],
)
async def test_malformed_eventing_messages_never_give_an_internal_error(
    tmp_path: Path, message: bytes
) -> None:
    async with running(tmp_path / "site") as site, wire(site) as peer:
        answer = await peer.post(message)
        if answer.status != 200:
            assert answer.status == 400
            assert "ServerError" not in answer.subcode
        assert await peer.works()


async def test_without_identity_nobody_subscribes(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, listening() as sink, wire(site, None) as nobody:
        answer = await nobody.post(subscribe(sink.endpoint().address))
        assert answer.subcode == "FailedAuthentication"
