"""A real server is killed, or stopped, between a Subscribe and its events: who subscribed hears of it all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from postscan.contracts import dsp, wse
from postscan.contracts.keywords import DocumentFormat
from postscan.device.client import Patience
from postscan.dpws.client import RemoteFault, SoapClient
from postscan.soap.envelope import EndpointReference, Envelope
from postscan.soap.names import DSP
from support.commands import Desk, make_desk, stop
from support.scanning import Site, jpeg
from support.sinks import Sink, listening, mark_of

STATUS, END_STATE = f"{DSP}/PostScanJobStatusEvent", f"{DSP}/PostScanJobEndStateEvent"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_desk(tmp_path / "site")


class Device:
    """Alice's device: subscribes, scans, manages its subscription."""

    def __init__(self, desk: Desk) -> None:
        self.site = Site(desk.made)
        # A server that was just started may not answer at once.
        self.client = self.site.device(patience=Patience(pauses=(0.2,) * 20, finding=20))

    async def subscribe(self, sink: Sink) -> EndpointReference:
        return (await self.client.subscribe(sink.endpoint(), timedelta(minutes=30))).manager

    async def begin_job(self) -> str:
        user = await self.site.user()
        return await self.client.create(await self.site.process("Invoices"), user.sid)

    async def scan(self) -> str:
        token = await self.begin_job()
        await self.client.send_image(token, 1, DocumentFormat.JFIF, jpeg(1))
        await self.client.end(token)
        return token

    async def left(self, manager: EndpointReference) -> timedelta | None:
        async with SoapClient(tls=self.site.tls()) as client:
            answer = await client.call(
                manager.address,
                wse.GET_STATUS_ACTION,
                wse.GetStatus().to_element(),
                parameters=manager.parameters,
            )
        assert answer.body is not None
        return wse.GetStatusResponse.from_element(answer.body).expires


@asynccontextmanager
async def device(desk: Desk) -> AsyncIterator[Device]:
    made = Device(desk)
    async with made.client:
        yield made


def about(message: Envelope) -> tuple[str, str]:
    assert message.body is not None
    if message.headers.action == END_STATE:
        end = dsp.PostScanJobEndStateEvent.from_element(message.body).end_state
        return end.job_token, str(end.state)
    status = dsp.PostScanJobStatusEvent.from_element(message.body).status
    return status.job_token, str(status.state)


async def until(sink: Sink, action: str, token: str) -> str:
    """Read on to an event of a job and return its state."""
    while True:
        message = await sink.next()
        assert mark_of(message) == "urn:mark"
        if message.headers.action == action and about(message)[0] == token:
            return about(message)[1]


async def test_a_subscription_outlives_a_kill(desk: Desk) -> None:
    async with listening() as sink, device(desk) as alice:
        with desk.serving() as server:
            manager = await alice.subscribe(sink)
            server.kill()
        with desk.serving() as server:
            left = await alice.left(manager)
            assert left is not None
            assert timedelta(minutes=25) < left <= timedelta(minutes=30)
            assert await until(sink, END_STATE, await alice.scan()) == "Completed"
            await alice.client.unsubscribe(manager)
            server.kill()
        with desk.serving(), pytest.raises(RemoteFault, match="InvalidMessage"):
            await alice.left(manager)


async def test_what_was_not_confirmed_when_the_server_was_killed_is_told_again(desk: Desk) -> None:
    async with listening(blocked=True) as sink, device(desk) as alice:
        with desk.serving() as server:
            await alice.subscribe(sink)
            begun = await alice.begin_job()
            ended = await alice.scan()
            async with asyncio.timeout(30):
                while str((await alice.client.status(ended)).state) != "Completed":
                    await asyncio.sleep(0.05)
            # Not one event has arrived.
            server.kill()
        sink.gate.set()
        with desk.serving():
            assert await until(sink, END_STATE, ended) == "Completed"
            assert await until(sink, STATUS, begun) == "Creating"


async def test_what_was_confirmed_is_not_told_again(desk: Desk) -> None:
    async with listening() as sink, device(desk) as alice:
        with desk.serving() as server:
            await alice.subscribe(sink)
            first = await alice.scan()
            await until(sink, END_STATE, first)
            # Its confirmation is on the disk a second later; what is told again before is told twice.
            async with asyncio.timeout(30):
                while not _confirmed(desk):
                    await asyncio.sleep(0.05)
            server.kill()
        with desk.serving():
            second = await alice.scan()
            while True:
                message = await sink.next()
                assert about(message)[0] == second
                if message.headers.action == END_STATE:
                    break


def _confirmed(desk: Desk) -> bool:
    raw = sqlite3.connect(desk.made.folder / "data" / "jobs.sqlite")
    try:
        return all(mark for (mark,) in raw.execute("SELECT confirmed FROM subscriptions"))
    finally:
        raw.close()


async def test_a_stop_in_good_order_ends_what_a_kill_does_not(desk: Desk) -> None:
    async with listening() as sink, device(desk) as alice:
        with desk.serving() as server:
            manager = await alice.subscribe(sink)
            await asyncio.to_thread(stop, server)
        told = await sink.next()
        assert told.body is not None
        end = wse.SubscriptionEnd.from_element(told.body)
        assert end.status == wse.SOURCE_SHUTTING_DOWN
        assert (end.manager.address, end.manager.parameters[0].text) == (
            manager.address,
            manager.parameters[0].text,
        )
        with desk.serving(), pytest.raises(RemoteFault, match="InvalidMessage"):
            await alice.left(manager)


async def test_a_planned_restart_may_keep_them(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / "site", eventing={"on_stop": "keep", "allow_loopback": True})
    async with listening() as sink, device(desk) as alice:
        with desk.serving() as server:
            manager = await alice.subscribe(sink)
            status, _ = await asyncio.to_thread(stop, server)
            assert status == 0
        with desk.serving():
            assert await alice.left(manager) is not None
            assert await until(sink, END_STATE, await alice.scan()) == "Completed"
        assert sink.heard.empty()


async def test_a_server_that_cannot_start_ends_nobodys_subscription(desk: Desk) -> None:
    async with listening() as sink, device(desk) as alice:
        with desk.serving() as server:
            manager = await alice.subscribe(sink)
            server.kill()
        port = urlsplit(alice.site.url).port
        taken = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
        async with taken:
            done = await asyncio.to_thread(desk.run, "serve")
            assert done.returncode == 3
        with desk.serving():
            assert await alice.left(manager) is not None
        assert sink.heard.empty()
