"""Abuse case 19: what is said in a datagram makes a search call nobody but who said it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postscan.contracts import wsd
from postscan.dpws.discovery import inspect as inspecting
from postscan.dpws.discovery.findings import Sighting
from postscan.dpws.discovery.inspect import NoAnswer, NotItsAddress, ask_host, inspect
from support.discovery import DEVICE, LINK, NEIGHBOUR, address, message
from support.scanning import running

HERE = address("127.0.0.1")
PROBE = wsd.Probe(types=(DEVICE,))
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def canary(talk: Talk | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """Listen on loopback; yield the port, and the request lines that came."""
    calls: list[str] = []

    async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append((await reader.readline()).decode())
        try:
            if talk is not None:
                await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(called, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], calls
    finally:
        server.close()
        await server.wait_closed()


def sighting(xaddr: str, source: object = HERE) -> Sighting:
    assert source in (HERE, NEIGHBOUR)
    where = HERE if source is HERE else NEIGHBOUR
    return Sighting("urn:uuid:1", (DEVICE,), (), (xaddr,), 1, where, LINK)


def answering(head: str, body: bytes = b"") -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    return talk


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_case_19_an_address_of_another_machine_is_not_called(host: str) -> None:
    async with canary() as (port, calls):
        found = await inspect(
            sighting(f"http://{host}:{port}/device", NEIGHBOUR), None, {LINK.addresses[0].ip}
        )
    assert isinstance(found.problem, NotItsAddress)
    assert calls == []


async def test_case_19_who_answered_is_called() -> None:
    async with canary(answering("404 Not Found")) as (port, calls):
        found = await inspect(sighting(f"http://127.0.0.1:{port}/device"), None, {HERE})
    assert found.problem is not None
    assert calls == ["POST /device HTTP/1.1\r\n"]


async def test_case_19_a_redirect_is_not_followed() -> None:
    async with canary() as (elsewhere, calls):
        moved = answering(f"307 Moved\r\nLocation: http://127.0.0.1:{elsewhere}/")
        async with canary(moved) as (port, _):
            found = await inspect(sighting(f"http://127.0.0.1:{port}/"), None, {HERE})
    assert found.problem is not None
    assert calls == []


async def test_case_19_metadata_have_an_end() -> None:
    async with canary(answering("200 OK", b"<a>" + b" " * 300_000 + b"</a>")) as (port, _):
        found = await inspect(sighting(f"http://127.0.0.1:{port}/"), None, {HERE})
    assert "more than 262144 octets" in str(found.problem)


async def test_case_19_who_never_ends_its_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "_SECONDS", 0.05)

    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with canary(dawdle) as (port, _):
        found = await inspect(sighting(f"http://127.0.0.1:{port}/"), None, {HERE})
    assert "in time" in str(found.problem)


async def test_case_19_a_host_that_was_named_leads_to_no_other() -> None:
    async with canary() as (elsewhere, calls):
        match = wsd.ProbeMatch(
            wsd.EndpointReference("urn:uuid:1"), (DEVICE,), (), (f"http://127.0.0.9:{elsewhere}/",), 1
        )
        body = message(wsd.PROBE_MATCHES_ACTION, wsd.ProbeMatches((match,)).to_element())
        async with canary(answering("200 OK", body)) as (port, _):
            (found,) = await ask_host(f"http://127.0.0.1:{port}/", PROBE, None)
    assert isinstance(found.problem, NotItsAddress)
    assert calls == []


async def test_a_host_that_is_none_is_told_with_what_to_do() -> None:
    with pytest.raises(NoAnswer) as caught:
        await ask_host("http://127.0.0.1:1/", PROBE, None)
    assert "does not answer a search" in str(caught.value)
    assert caught.value.what_to_do


async def test_a_server_asked_by_name_tells_what_it_is(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        (found,) = await ask_host(site.url, PROBE, site.tls(None))
    assert found.problem is None
    assert found.friendly_name == "Postscan scan server"
    assert found.sighting.endpoint == site.url
    assert len(found.services) >= 1


async def test_a_server_on_loopback_opens_no_discovery(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        assert site.server is not None
        assert site.server._discovery is None
