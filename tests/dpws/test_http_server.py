import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from postscan.dpws.http.connection import Request
from postscan.dpws.http.limits import HttpLimits
from postscan.dpws.http.messages import Response
from postscan.dpws.http.server import HttpHost
from postscan.dpws.http.window import LARGE, SMALL

Handler = Callable[[Request], Awaitable[Response]]


async def echo(request: Request) -> Response:
    return Response(200, await request.body.read_all(1_000_000), "application/octet-stream")


@asynccontextmanager
async def serving(handler: Handler = echo, **limits: float) -> AsyncIterator[tuple[HttpHost, int]]:
    host = HttpHost(handler, HttpLimits(**limits))  # type: ignore[arg-type] # test shorthand: all are numbers
    ((_, port),) = await host.listen("127.0.0.1", 0)
    try:
        yield host, port
    finally:
        await host.stop()


class Client:
    """A socket that says exactly what a test wants said."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client
    finally:
        await client.close()


def post(body: bytes, *lines: str) -> bytes:
    head = ["POST / HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


async def test_several_requests_use_one_connection() -> None:
    async with serving() as (_, port), connected(port) as client:
        for body in (b"one", b"x" * 300_000, b"three"):
            client.writer.write(post(body))
            assert await client.answer() == (200, body)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as (_, port), connected(port) as client:
        client.writer.write(post(b"one") + post(b"two") + post(b"three"))
        assert [(await client.answer())[1] for _ in range(3)] == [b"one", b"two", b"three"]


async def test_a_chunked_request_is_put_together() -> None:
    async with serving() as (_, port), connected(port) as client:
        client.writer.write(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        assert await client.answer() == (200, b"abcde")


async def test_a_client_that_expects_it_is_told_to_continue() -> None:
    async with serving() as (_, port), connected(port) as client:
        client.writer.write(
            post(b"")[:-4].replace(b"Length: 0", b"Length: 3") + b"\r\nExpect: 100-continue\r\n\r\n"
        )
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"abc")
        assert await client.answer() == (200, b"abc")


async def test_a_body_nobody_read_is_drained_and_the_connection_lives_on() -> None:
    async def refuse(_request: Request) -> Response:
        return Response(400)

    async with serving(refuse) as (_, port), connected(port) as client:
        for _ in range(2):
            client.writer.write(post(b"x" * 2_000_000))
            assert (await client.answer())[0] == 400


async def test_a_refused_body_beyond_the_drain_limit_ends_the_connection() -> None:
    async def refuse(_request: Request) -> Response:
        return Response(400)

    async with serving(refuse, drain_bytes=100_000) as (_, port), connected(port) as client:
        client.writer.write(post(b"x" * 3_000_000))
        assert (await client.answer())[0] == 400
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(1)


async def test_a_head_that_never_ends_is_timed_out() -> None:
    async with serving(head_seconds=0.2) as (_, port), connected(port) as client:
        client.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n")
        assert (await client.answer())[0] == 408


async def test_a_body_that_stops_coming_is_timed_out() -> None:
    async with serving(idle_seconds=0.2) as (_, port), connected(port) as client:
        client.writer.write(post(b"x" * 10)[:-5])
        assert (await client.answer())[0] == 408


async def test_a_body_that_trickles_is_timed_out() -> None:
    async with (
        serving(rate_window_seconds=0.3, min_bytes_per_window=1_000) as (_, port),
        connected(port) as client,
    ):
        client.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")

        async def trickle() -> None:
            while True:
                client.writer.write(b"x")
                await asyncio.sleep(0.05)

        task = asyncio.create_task(trickle())
        assert (await client.answer())[0] == 408
        task.cancel()


async def test_a_torn_request_leaves_no_connection() -> None:
    async with serving() as (host, port):
        async with connected(port) as client:
            client.writer.write(post(b"x" * 100_000)[:-5])
            await client.writer.drain()
        async with asyncio.timeout(5):
            while host.connections:
                await asyncio.sleep(0.01)


async def test_a_new_connection_takes_the_place_of_the_longest_idle_one() -> None:
    async with serving(max_connections=2) as (_, port), connected(port) as first:
        first.writer.write(post(b"1"))
        await first.answer()
        async with connected(port) as second:
            second.writer.write(post(b"2"))
            await second.answer()
            async with connected(port) as third:
                third.writer.write(post(b"3"))
                assert await third.answer() == (200, b"3")
                assert await first.reader.read() == b""


async def test_with_every_connection_busy_a_new_one_is_told_to_come_back() -> None:
    release = asyncio.Event()

    async def hold(_request: Request) -> Response:
        await release.wait()
        return Response(200)

    async with serving(hold, max_connections=1) as (host, port), connected(port) as first:
        first.writer.write(post(b"1"))
        async with asyncio.timeout(5):
            while not host.connections:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        async with connected(port) as second:
            async with asyncio.timeout(5):
                status, _ = await second.answer()
            assert status == 503
        release.set()
        assert (await first.answer())[0] == 200


async def test_stopping_lets_a_request_in_flight_finish() -> None:
    began, release = asyncio.Event(), asyncio.Event()

    async def hold(_request: Request) -> Response:
        began.set()
        await release.wait()
        return Response(200, b"done")

    host = HttpHost(hold)
    ((_, port),) = await host.listen("127.0.0.1", 0)
    async with connected(port) as client, connected(port) as idle:
        client.writer.write(post(b"1"))
        await began.wait()
        stopping = asyncio.create_task(host.stop())
        assert await idle.reader.read() == b""
        release.set()
        assert await client.answer() == (200, b"done")
        await stopping


async def test_stopping_cancels_what_outlives_the_grace() -> None:
    began = asyncio.Event()

    async def hang(_request: Request) -> Response:
        began.set()
        await asyncio.Event().wait()
        return Response(200)

    host = HttpHost(hang, HttpLimits(stop_seconds=0.05))
    ((_, port),) = await host.listen("127.0.0.1", 0)
    async with connected(port) as client:
        client.writer.write(post(b"1"))
        await began.wait()
        await host.stop()
        assert (await client.answer())[0] == 503


async def test_a_handler_that_fails_ends_its_connection_alone() -> None:
    async def fail(request: Request) -> Response:
        if request.head.path == "/bad":
            raise ValueError("bug")
        return Response(200)

    async with serving(fail) as (_, port), connected(port) as bad, connected(port) as good:
        bad.writer.write(post(b"").replace(b"POST /", b"POST /bad"))
        assert await bad.reader.read() == b""
        good.writer.write(post(b""))
        assert (await good.answer())[0] == 200


async def refuse(request: Request) -> Response:
    return Response(400, b"no", "text/plain")


async def test_a_request_answered_before_it_was_sent_gets_no_second_answer_when_its_body_stops() -> None:
    async with serving(refuse, idle_seconds=0.1) as (_, port), connected(port) as client:
        client.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nonly this")
        assert await client.answer() == (400, b"no")
        async with asyncio.timeout(10):
            assert await client.reader.read() == b""


async def test_a_refused_request_that_waits_to_be_told_to_continue_learns_that_the_connection_ends() -> None:
    async with serving(refuse) as (_, port), connected(port) as client:
        client.writer.write(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
        )
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nConnection: close\r\n" in head


async def test_a_refused_request_that_does_not_wait_to_be_told_to_continue_can_read_the_answer() -> None:
    answered = asyncio.Event()

    async def refuse_late(request: Request) -> Response:
        await answered.wait()
        return Response(400, b"no", "text/plain")

    body = b"x" * 2_000_000
    async with serving(refuse_late, linger_seconds=5) as (_, port), connected(port) as client:
        client.writer.write(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n"
        )
        answered.set()
        # As WSDAPI does: everything is sent before anything is read.
        client.writer.write(body)
        await client.writer.drain()
        assert await client.answer() == (400, b"no")


async def test_a_sender_of_much_is_given_a_large_buffer_only_when_the_handler_wants_it() -> None:
    sizes: list[int] = []

    async def handler(request: Request) -> Response:
        for widen in (False, True):
            if widen:
                request.body.widen()
            while request.body.end - request.body.start < 16_000 and await request.body.fill():
                pass
            sizes.append(len(request.body.buffer))
            request.body.consume_to(request.body.end)
        return Response(200, str(len(await request.body.read_all(1_000_000))).encode())

    async with serving(handler) as (_, port), connected(port) as client:
        client.writer.write(post(b"x" * 500_000))
        status, rest = await client.answer()
    assert (status, sizes) == (200, [SMALL, LARGE])
    assert 0 < int(rest) < 500_000
