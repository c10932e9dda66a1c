"""The device's event sink: it takes what its own subscription sends, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest
from lxml import etree

from postscan.contracts import dsp, wse
from postscan.contracts.keywords import FilterState, JobState, JobStateReason
from postscan.device.sink import EventSink, SubscriptionEnded, address_towards
from postscan.dpws.client import SoapClient, Unreachable
from postscan.soap.envelope import EndpointReference
from postscan.soap.names import DSP, FSF, WSE, qname

TOKEN = "0e0a5a8f-7bd9-4a0b-9a3a-0a2f3b7c9d11"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FILTERS = (dsp.FilterStatus(dialect=FSF, state=FilterState.PENDING, reasons=()),)


def status_event() -> etree._Element:
    status = dsp.JobStatus(
        job_token=TOKEN,
        state=JobState.CREATING,
        reasons=(JobStateReason.NONE,),
        filters=FILTERS,
        images_received=1,
        created=NOW,
    )
    return dsp.PostScanJobStatusEvent(status=status).to_element()


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[EventSink, EndpointReference]]:
    sink = EventSink()
    endpoint = await sink.start("127.0.0.1")
    try:
        yield sink, endpoint
    finally:
        await sink.stop()


async def notify(
    endpoint: EndpointReference, body: etree._Element, parameters: tuple[etree._Element, ...] | None = None
) -> None:
    async with SoapClient() as server:
        await server.notify(
            endpoint.address,
            f"{DSP}/PostScanJobStatusEvent",
            body,
            parameters=endpoint.parameters if parameters is None else parameters,
        )


async def test_an_event_of_the_subscription_is_taken() -> None:
    async with listening() as (sink, endpoint):
        await notify(endpoint, status_event())
        event = sink.events.get_nowait()
    assert isinstance(event, dsp.PostScanJobStatusEvent)
    assert (event.status.job_token, event.status.images_received) == (TOKEN, 1)


async def test_the_end_of_the_subscription_is_an_event_too() -> None:
    async with listening() as (sink, endpoint):
        end = wse.SubscriptionEnd(manager=EndpointReference("http://localhost/"), status=f"{WSE}/Shutdown")
        await notify(endpoint, end.to_element())
        assert sink.events.get_nowait() == SubscriptionEnded("Shutdown")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Status", f"{WSE}/SourceCancelling"),
        ("Status", f"{WSE}/SourceCanceling"),
        ("Code", "wse:SourceCanceling"),
        ("Code", f"{WSE}/SourceCancelling"),
    ],
)
async def test_an_end_is_understood_in_every_form_that_peers_write(name: str, text: str) -> None:
    async with listening() as (sink, endpoint):
        end = wse.SubscriptionEnd(manager=EndpointReference("http://localhost/"), status="x").to_element()
        (status,) = end.findall(qname(WSE, "Status"))
        status.tag, status.text = qname(WSE, name), text
        await notify(endpoint, end)
        assert sink.events.get_nowait() == SubscriptionEnded("SourceCancelling")


def another_identifier() -> tuple[etree._Element, ...]:
    identifier = etree.Element(qname(WSE, "Identifier"))
    identifier.text = "urn:uuid:guessed"
    return (identifier,)


@pytest.mark.parametrize("parameters", [(), another_identifier()])
async def test_an_event_of_a_stranger_is_dropped(parameters: tuple[etree._Element, ...]) -> None:
    async with listening() as (sink, endpoint):
        with pytest.raises(Unreachable, match="403"):
            await notify(endpoint, status_event(), parameters)
        assert sink.events.empty()


async def test_what_is_no_event_is_refused() -> None:
    async with listening() as (sink, endpoint), aiohttp.ClientSession() as stranger:
        for sent in (b"", b"nonsense", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"):
            async with stranger.post(endpoint.address, data=sent) as answer:
                assert answer.status == 400
        async with stranger.get(endpoint.address) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert sink.events.empty()


async def test_an_event_of_an_unknown_kind_is_taken_and_passed_over() -> None:
    async with listening() as (sink, endpoint):
        await notify(endpoint, wse.Unsubscribe().to_element())
        assert sink.events.empty()


async def test_a_flood_is_answered_with_the_wish_for_a_pause() -> None:
    async with listening() as (sink, endpoint):
        while not sink.events.full():
            sink.events.put_nowait(SubscriptionEnded("filler"))
        with pytest.raises(Unreachable, match="503"):
            await notify(endpoint, status_event())


async def test_each_sink_has_an_address_of_its_own_that_nobody_guesses() -> None:
    async with listening() as (_, one), listening() as (_, other):
        assert one.address.rpartition("/")[2] != other.address.rpartition("/")[2]
        assert one.parameters[0].text != other.parameters[0].text


def test_the_own_address_is_the_one_the_other_side_sees() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert address_towards("localhost", server.getsockname()[1]) == "127.0.0.1"


def test_without_a_way_to_the_other_side_there_is_no_own_address() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            address_towards("127.0.0.1", bound.getsockname()[1])
