"""HTTP towards sinks, against peers that answer in every way they should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postscan.dpws.failures import BrokenOff, Unreachable
from postscan.dpws.sink_pool import SinkPool
from support.sinks import nobody_listening

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


class Raw:
    """A listener that gives one prepared answer a request, and keeps what it was sent."""

    def __init__(self, answers: list[bytes], *, close: bool = False) -> None:
        self.answers = answers
        self.close = close
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self.answers.pop(0) if self.answers else OK)
                if self.close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/sink?a=b"


@asynccontextmanager
async def raw(*answers: bytes, close: bool = False) -> AsyncIterator[tuple[Raw, SinkPool]]:
    peer = Raw(list(answers), close=close)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    pool = SinkPool(None)
    try:
        yield peer, pool
    finally:
        await pool.close()
        server.close()
        await server.wait_closed()


async def post(pool: SinkPool, url: str, seconds: float = 10) -> None:
    await pool.post(url, "127.0.0.1", b"<x/>", "application/soap+xml", seconds=seconds)


async def test_a_request_is_as_http_wants_it() -> None:
    async with raw() as (peer, pool):
        await post(pool, peer.url)
    first, *lines = peer.requests[0].decode().split("\r\n")
    assert first == "POST /sink?a=b HTTP/1.1"
    assert f"Host: 127.0.0.1:{peer.port}" in lines
    assert lines[-1] == "<x/>"


async def test_a_path_cannot_add_lines_to_the_request() -> None:
    async with raw() as (peer, pool):
        await post(pool, f"http://127.0.0.1:{peer.port}/a%0d%0aX-Evil: 1 \x01")
    head = peer.requests[0].split(b"\r\n\r\n")[0]
    assert len(head.split(b"\r\n")) == 5
    assert head.startswith(b"POST /a%0d%0aX-Evil:%201%20%01 HTTP/1.1\r\n")


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_any_success_is_fine(status: int) -> None:
    async with raw(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status) as (peer, pool):
        await post(pool, peer.url)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    ],
)
async def test_answers_of_every_form_count_and_the_next_one_is_not_confused(answer: bytes) -> None:
    async with raw(answer) as (peer, pool):
        await post(pool, peer.url)
        await post(pool, peer.url)
        assert len(peer.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 400, 403, 404, 410, 500, 503])
async def test_anything_else_is_a_failure_and_no_redirect_is_followed(status: int) -> None:
    answer = b"HTTP/1.1 %d x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n" % status
    async with raw(answer) as (peer, pool):
        with pytest.raises(Unreachable, match=str(status)):
            await post(pool, peer.url)
        assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [b"220 mail.example ESMTP\r\n", b"\x00\x01\x02", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n"],
)
async def test_what_is_no_http_is_a_failure(answer: bytes) -> None:
    async with raw(answer) as (peer, pool):
        with pytest.raises(Unreachable):
            await post(pool, peer.url)


async def test_a_head_without_end_is_a_failure() -> None:
    async with raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000) as (peer, pool):
        with pytest.raises(Unreachable):
            await post(pool, peer.url)


async def test_a_peer_that_says_nothing_is_given_up() -> None:
    async with raw(b"") as (peer, pool):
        with pytest.raises(Unreachable, match="in time"):
            await post(pool, peer.url, seconds=0.2)


async def test_a_peer_that_closes_without_a_word_is_a_failure() -> None:
    async with raw(b"", close=True) as (peer, pool):
        with pytest.raises(BrokenOff):
            await post(pool, peer.url)
        assert len(peer.requests) == 1


async def test_a_connection_is_used_again_and_one_that_was_closed_meanwhile_is_made_anew() -> None:
    async with raw() as (peer, pool):
        for _ in range(3):
            await post(pool, peer.url)
        assert (peer.connections, len(pool)) == (1, 1)
    async with raw(close=True) as (peer, pool):
        for _ in range(3):
            await post(pool, peer.url)
        assert peer.connections == 3


async def test_idle_connections_are_few_and_are_closed_after_a_while() -> None:
    async with raw() as (peer, _):
        pool = SinkPool(None, max_idle=2, idle_seconds=0.05)
        await asyncio.gather(*(post(pool, peer.url) for _ in range(6)))
        assert len(pool) <= 2
        async with asyncio.timeout(10):
            while len(pool):
                await asyncio.sleep(0.01)
        await pool.close()


async def test_nobody_there_is_a_failure() -> None:
    pool = SinkPool(None)
    with nobody_listening() as gone, pytest.raises(Unreachable, match="refused"):
        await post(pool, gone.endpoint().address)
    await pool.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=st.binary(max_size=200) | st.binary(max_size=100).map(lambda end: b"HTTP/1.1 202 OK\r\n" + end))
async def test_no_answer_breaks_the_pool(answer: bytes) -> None:
    async with raw(answer, close=True) as (peer, pool):
        try:
            await post(pool, peer.url)
        except Unreachable:
            assert not len(pool)
