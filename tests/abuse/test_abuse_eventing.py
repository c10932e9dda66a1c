"""Abuse cases 15, 16 and 17 over the wire: who is called, who is answered, and how much one may ask for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postscan.contracts import wse
from postscan.soap.names import DSP, WSA, WSDP, WSE, qname
from support.scanning import Site, jpeg, running
from support.sinks import listening, nobody_listening
from support.wire import Answer, Wire, canary, envelope, job_request, reply_to, wire

END_STATE = f"{DSP}/PostScanJobEndStateEvent"


def endpoint(name: str, address: str) -> str:
    return f"<wse:{name}><wsa:Address>{address}</wsa:Address></wse:{name}>"


def subscribe(
    notify_to: str, end_to: str | None = None, *, expires: str = "PT10M", headers: str = ""
) -> bytes:
    return envelope(
        f"{WSE}/Subscribe",
        f"<wse:Subscribe>{endpoint('EndTo', end_to) if end_to else ''}"
        f"<wse:Delivery>{endpoint('NotifyTo', notify_to)}</wse:Delivery><wse:Expires>{expires}</wse:Expires>"
        f'<wse:Filter Dialect="{WSDP}/Action">{DSP}</wse:Filter></wse:Subscribe>',
        headers=headers,
    )


def manage(operation: str, which: str, *, headers: str = "") -> bytes:
    return envelope(
        f"{WSE}/{operation}",
        f"<wse:{operation}/>",
        headers=f"<wse:Identifier>{which}</wse:Identifier>{headers}",
    )


def identifier(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return answer.text("Identifier")


def subscriptions(site: Site) -> int:
    assert site.server is not None
    return sum(len(source) for source in site.server._events)


async def whole_job(peer: Wire) -> str:
    token = await peer.create()
    await peer.upload(token, jpeg(1))
    assert (await peer.post(job_request("EndPostScanJob", token))).status == 200
    return token


@asynccontextmanager
async def strict(folder: Path, **eventing: object) -> AsyncIterator[Site]:
    """Run a server with the default settings of eventing, save for what is given."""
    async with running(folder, eventing={"allow_loopback": False, **eventing}) as site:
        yield site


# Case 15 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["NotifyTo", "EndTo"])
async def test_case_15_nobody_is_called_at_addresses_that_are_not_the_subscribers(
    tmp_path: Path, where: str
) -> None:
    addresses = [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://127.0.0.1:{port}@192.0.2.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/",
        "http://[fe80::1]:{port}/",
        "http://224.0.0.251:5353/",
        "http://255.255.255.255:{port}/",
        "http://192.0.2.1:{port}/",
        "ftp://127.0.0.1:{port}/",
        "gopher://127.0.0.1:{port}/_x",
        "file:///etc/passwd",
        "http://127.0.0.1:{port}/%0d%0a",
    ]
    async with canary() as bird, strict(tmp_path / "site") as site, wire(site) as peer:
        for address in addresses:
            wanted = address.format(port=bird.port)
            message = subscribe(wanted) if where == "NotifyTo" else subscribe("http://192.0.2.1/", wanted)
            answer = await peer.post(message)
            assert (answer.status, answer.subcode) == (400, "InvalidMessage"), wanted
        await whole_job(peer)
        assert subscriptions(site) == 0


async def test_case_15_an_end_to_elsewhere_is_refused_though_the_sink_is_fine(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, wire(site) as peer, listening() as sink:
        answer = await peer.post(subscribe(sink.endpoint().address, "http://192.0.2.1:8080/"))
        assert (answer.status, answer.subcode) == (400, "InvalidMessage")
        assert subscriptions(site) == 0


@pytest.mark.parametrize("port", [22, 25, 111, 445, 631, 3306, 6379, 9100])
async def test_case_15_ports_of_other_services_are_refused_also_in_a_laboratory(
    tmp_path: Path, port: int
) -> None:
    async with running(tmp_path / "site") as site, wire(site) as peer:
        answer = await peer.post(subscribe(f"http://127.0.0.1:{port}/"))
        assert (answer.status, answer.subcode) == (400, "InvalidMessage")


async def test_case_15_ports_are_what_the_settings_say(tmp_path: Path) -> None:
    async with listening() as sink, listening() as other:
        ports = {"allow_loopback": True, "notify_ports": [str(sink.port)]}
        async with running(tmp_path / "site", eventing=ports) as site, wire(site) as peer:
            assert (await peer.post(subscribe(sink.endpoint().address))).status == 200
            assert (await peer.post(subscribe(other.endpoint().address))).subcode == "InvalidMessage"


async def test_case_15_no_redirect_is_followed(tmp_path: Path) -> None:
    async with (
        canary(),
        listening([302, 307, 308, 301]) as sink,
        listening() as ends,
        running(tmp_path / "site") as site,
        wire(site) as peer,
    ):
        message = subscribe(sink.endpoint().address, ends.endpoint().address)
        identifier(await peer.post(message))
        await whole_job(peer)
        told = await ends.next()
        assert told.body is not None
        assert wse.SubscriptionEnd.from_element(told.body).status == wse.DELIVERY_FAILURE
        assert subscriptions(site) == 0


async def test_case_15_a_name_that_means_something_else_later_leads_where_it_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    meaning = ["127.0.0.1"]

    def look_up(host: object, *rest: object, **more: object) -> object:
        name = meaning[0] if host == "device.example" else host
        return real(name, *rest, **more)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with listening() as sink, running(tmp_path / "site") as site, wire(site) as peer:
        identifier(await peer.post(subscribe(f"http://device.example:{sink.port}/sink")))
        # DNS rebinding: from now on the name leads elsewhere.
        meaning[0] = "192.0.2.66"
        await whole_job(peer)
        while (await sink.next()).headers.action != END_STATE:
            pass


async def test_case_15_the_servers_own_door_is_no_sink_even_from_its_own_address(tmp_path: Path) -> None:
    async with strict(tmp_path / "site") as site, wire(site) as peer:
        for path in ("/ScanServer", "/metrics"):
            answer = await peer.post(subscribe(site.url.replace("/ScanServer", path)))
            assert (answer.status, answer.subcode) == (400, "InvalidMessage")


# Case 16 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["ReplyTo", "FaultTo"])
async def test_case_16_eventing_answers_where_it_was_asked_and_nowhere_else(
    tmp_path: Path, header: str
) -> None:
    async with (
        canary() as bird,
        listening() as sink,
        running(tmp_path / "site") as site,
        wire(site) as peer,
    ):
        which = identifier(await peer.post(subscribe(sink.endpoint().address)))
        elsewhere = reply_to(bird.url, header)
        for message in (
            subscribe(sink.endpoint().address, headers=elsewhere),
            # One that would be refused anyway: the fault must not go elsewhere either.
            subscribe("http://192.0.2.1/", headers=elsewhere),
            manage("Renew", which, headers=elsewhere),
            manage("GetStatus", which, headers=elsewhere),
            manage("Unsubscribe", which, headers=elsewhere),
        ):
            answer = await peer.post(message)
            assert answer.status == 400
            assert answer.fault.subcode == qname(WSA, "InvalidMessageInformationHeader")
            assert answer.detail == f"wsa:{header}"
        assert subscriptions(site) == 1
        assert await peer.works()


# Case 17 --------------------------------------------------------------------------------------------------


async def test_case_17_one_device_gets_four_subscriptions_and_others_are_not_touched(tmp_path: Path) -> None:
    async with (
        listening() as sink,
        running(tmp_path / "site") as site,
        wire(site) as alice,
        wire(site, "bob") as bob,
    ):
        held = [identifier(await alice.post(subscribe(sink.endpoint().address))) for _ in range(4)]
        refused = await alice.post(subscribe(sink.endpoint().address))
        assert (refused.status, refused.subcode) == (500, "EventSourceUnableToProcess")
        identifier(await bob.post(subscribe(sink.endpoint().address)))
        assert (await alice.post(manage("Unsubscribe", held[0]))).status == 200
        identifier(await alice.post(subscribe(sink.endpoint().address)))
        assert subscriptions(site) == 5


async def test_case_17_all_together_have_a_limit_too(tmp_path: Path) -> None:
    limits = {"allow_loopback": True, "max_subscriptions": 3}
    async with (
        listening() as sink,
        running(tmp_path / "site", eventing=limits) as site,
        wire(site) as alice,
        wire(site, "bob") as bob,
    ):
        for peer in (alice, alice, bob):
            identifier(await peer.post(subscribe(sink.endpoint().address)))
        assert (await bob.post(subscribe(sink.endpoint().address))).subcode == "EventSourceUnableToProcess"


async def test_case_17_who_subscribes_again_and_again_is_slowed_down_alone(tmp_path: Path) -> None:
    limits = {"allow_loopback": True, "subscribes_per_minute": 10}
    async with (
        listening() as sink,
        running(tmp_path / "site", eventing=limits) as site,
        wire(site) as alice,
        wire(site, "bob") as bob,
    ):
        outcomes = []
        for _ in range(14):
            answer = await alice.post(subscribe(sink.endpoint().address))
            outcomes.append(answer.status)
            if answer.status == 200:
                await alice.post(manage("Unsubscribe", identifier(answer)))
        assert outcomes[:10] == [200] * 10
        assert 500 in outcomes[10:]
        identifier(await bob.post(subscribe(sink.endpoint().address)))


@pytest.mark.parametrize("expires", ["PT2H0.1S", "P1D", "P9999999Y", "9999-12-31T23:59:59Z"])
async def test_case_17_no_subscription_lives_longer_than_two_hours(tmp_path: Path, expires: str) -> None:
    async with listening() as sink, running(tmp_path / "site") as site, wire(site) as peer:
        answer = await peer.post(subscribe(sink.endpoint().address, expires=expires))
        assert answer.text("Expires") == "PT2H"
        renew = manage("Renew", identifier(answer)).replace(
            b"<wse:Renew/>", f"<wse:Renew><wse:Expires>{expires}</wse:Expires></wse:Renew>".encode()
        )
        assert (await peer.post(renew)).text("Expires") == "PT2H"


async def test_case_17_a_sink_that_fails_is_dropped_and_takes_no_more_room(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, wire(site) as peer, listening() as ends:
        with nobody_listening() as gone:
            for _ in range(4):
                message = subscribe(gone.endpoint().address, ends.endpoint().address)
                identifier(await peer.post(message))
            await whole_job(peer)
            for _ in range(4):
                assert (await ends.next()).headers.action == wse.SUBSCRIPTION_END_ACTION
        assert subscriptions(site) == 0


async def test_case_17_a_sink_that_takes_nothing_holds_up_neither_the_job_nor_others(tmp_path: Path) -> None:
    async with (
        listening(blocked=True) as silent,
        listening() as quick,
        running(tmp_path / "site") as site,
        wire(site) as peer,
    ):
        identifier(await peer.post(subscribe(silent.endpoint().address)))
        identifier(await peer.post(subscribe(quick.endpoint().address)))
        await whole_job(peer)
        while (await quick.next()).headers.action != END_STATE:
            pass
        silent.gate.set()
        while (await silent.next()).headers.action != END_STATE:
            pass


async def test_case_17_more_than_may_wait_ends_the_subscription(tmp_path: Path) -> None:
    limits = {"allow_loopback": True, "max_waiting_events": 10}
    more = {"max_open_jobs_per_owner": 100, "min_free_bytes": 0}
    async with (
        listening(blocked=True) as silent,
        listening() as ends,
        running(tmp_path / "site", eventing=limits, limits=more) as site,
        wire(site) as peer,
    ):
        identifier(await peer.post(subscribe(silent.endpoint().address, ends.endpoint().address)))
        for _ in range(14):
            await peer.create()
        told = await ends.next()
        assert told.body is not None
        assert wse.SubscriptionEnd.from_element(told.body).status == wse.DELIVERY_FAILURE
        assert subscriptions(site) == 0
        async with asyncio.timeout(10):
            assert await peer.works()
        silent.gate.set()
