"""Abuse cases 4, 6, 7 and 9 to 11: HTTP that wants memory, patience or two readings of the server."""

import asyncio
import gzip
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from postscan.cli.directories import directory_of
from postscan.cli.filters import filters_of
from postscan.cli.settings import load_settings
from postscan.cli.wiring import server_settings
from postscan.dpws.http.limits import HttpLimits
from postscan.server.app import ScanServer
from support.scanning import Site, jpeg, make_installation, running
from support.wire import (
    SOAP_TYPE,
    Wire,
    chunked,
    images_of,
    job_request,
    mtom_type,
    new_id,
    no_temporary_files,
    probe,
    upload,
    wire,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def with_limits(folder: Path, **limits: float) -> AsyncIterator[Site]:
    """Run a server whose HTTP limits are smaller than settings allow (whole seconds are too long here)."""
    made = make_installation(folder)
    loaded = load_settings(made.config, {})
    settings = loaded.settings
    small = HttpLimits(**limits)  # type: ignore[arg-type] # test shorthand: all are numbers
    wired = replace(server_settings(settings), http=small)
    server = ScanServer(wired, directory_of(loaded), filters_of(loaded))
    await server.start()
    try:
        yield Site(made, server)
    finally:
        await server.stop()


async def connections(site: Site, wanted: int) -> None:
    assert site.server is not None
    async with asyncio.timeout(15):
        while site.server._hosts[0].connections != wanted:
            await asyncio.sleep(0.005)


# Case 4, 6, 7 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [3 * 2**30, 2**31, 2**32 + 1, 2**63, 10**17])
async def test_case_4_three_gibibytes_are_refused_from_the_head(site: Site, length: int) -> None:
    async with wire(site) as peer:
        await peer.say(peer.head(f"Content-Type: {mtom_type()}", f"Content-Length: {length}"))
        answer = await peer.answer()
        assert answer.status in (400, 413)
        assert answer.headers["connection"] == "close"


async def test_case_4_three_gibibytes_in_chunks_are_refused_where_they_are_announced(site: Site) -> None:
    async with wire(site) as peer:
        await peer.say(peer.head(f"Content-Type: {mtom_type()}", "Transfer-Encoding: chunked"))
        await peer.say(b"C0000000\r\n")
        answer = await peer.answer()
        assert answer.status == 413
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("cookie", ["a=b", "a" * 8_000, '=;=;,,"', "session=../../etc/passwd; $Version=1"])
async def test_case_6_cookies_are_ignored(site: Site, cookie: str) -> None:
    async with wire(site) as peer:
        answer = await peer.post(
            probe(), SOAP_TYPE, f"Cookie: {cookie}", "Cookie: second=1", path="/ScanServer"
        )
        assert answer.status == 200
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("coding", ["gzip", "deflate", "x-gzip", "gzip, gzip", "br"])
async def test_case_7_a_compressed_request_is_refused_unread(site: Site, coding: str) -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * 10_000_000))
    async with wire(site) as peer:
        head = peer.head(
            f"Content-Type: {SOAP_TYPE}", f"Content-Encoding: {coding}", f"Content-Length: {len(bomb)}"
        )
        await peer.say(head + bomb)
        assert (await peer.answer()).status == 415


# Case 9 ---------------------------------------------------------------------------------------------------

MALFORMED_CHUNKS = {
    "negative": b"-1\r\nx\r\n",
    "plus": b"+5\r\nhello\r\n",
    "0x": b"0x5\r\nhello\r\n",
    "huge": b"f" * 17 + b"\r\n",
    "endless size": b"1" * 10_000,
    "longer than said": b"2\r\nhello\r\n",
    "no size": b"\r\n\r\n",
    "bare line feed": b"5\nhello\n",
    "endless extension": b"5;" + b"x" * 10_000,
    "endless trailer": b"0\r\n" + b"X: y\r\n" * 5_000,
}


@pytest.mark.parametrize("name", list(MALFORMED_CHUNKS))
@pytest.mark.parametrize("content_type", [SOAP_TYPE, mtom_type()], ids=["SOAP", "MTOM"])
async def test_case_9_a_malformed_chunk_ends_the_connection(site: Site, name: str, content_type: str) -> None:
    async with wire(site) as peer:
        await peer.say(peer.head(f"Content-Type: {content_type}", "Transfer-Encoding: chunked"))
        await peer.say(MALFORMED_CHUNKS[name])
        answer = await peer.answer()
        assert answer.status in (400, 413)
        assert answer.headers["connection"] == "close"
        # What comes behind it belongs to no request any more, however whole it looks.
        await peer.say(b"0\r\n\r\n" + peer.head("Content-Length: 0", path="/elsewhere", method="GET"))
        peer.writer.write_eof() if peer.writer.can_write_eof() else peer.writer.close()
        assert await peer.closed() == b""


@pytest.mark.parametrize(
    "sent", [b"", b"5", b"5\r\n", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"0\r\n"]
)
async def test_case_9_an_end_amid_a_chunk_closes_at_once(site: Site, sent: bytes) -> None:
    async with wire(site) as peer:
        await peer.say(peer.head(f"Content-Type: {SOAP_TYPE}", "Transfer-Encoding: chunked"))
        await peer.say(sent)
        peer.writer.close()
        await connections(site, 0)


async def test_case_9_chunks_that_never_end_are_cut_off_at_the_limit(site: Site) -> None:
    async with wire(site) as peer:
        await peer.say(peer.head(f"Content-Type: {SOAP_TYPE}", "Transfer-Encoding: chunked"))
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(8):
            await peer.say(chunk)
        answer = await peer.answer()
        assert answer.status == 413
        for _ in range(8):
            await peer.say(chunk)
        # Once it does end, the connection is of use again.
        await peer.say(b"0\r\n\r\n")
        assert await peer.works()


# Case 10 --------------------------------------------------------------------------------------------------


async def trickle(peer: Wire, octets: bytes) -> None:
    """Send octet by octet until the server has had enough."""
    for octet in octets:
        peer.writer.write(bytes([octet]))
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("octets", "limits"),
    [
        (b"POST /ScanServer HTTP/1.1\r\nHost: x\r\n" + b"X-Slow: 1\r\n" * 100, {"head_seconds": 0.3}),
        (b"\r\n" * 200, {"head_seconds": 0.3, "keep_alive_seconds": 0.3}),
        (b"", {"keep_alive_seconds": 0.3}),
    ],
    ids=["head", "empty lines", "nothing"],
)
async def test_case_10_a_head_that_trickles_in_is_timed_out(
    tmp_path: Path, octets: bytes, limits: dict[str, float]
) -> None:
    async with with_limits(tmp_path / "site", **limits) as site, wire(site) as peer:
        task = asyncio.create_task(trickle(peer, octets))
        said = await peer.closed()
        task.cancel()
        assert said == b"" or said.startswith(b"HTTP/1.1 408 ")


async def test_case_10_a_slow_upload_is_timed_out_and_leaves_nothing(tmp_path: Path) -> None:
    limits = {"rate_window_seconds": 0.5, "min_bytes_per_window": 10_000}
    async with with_limits(tmp_path / "site", **limits) as site, wire(site) as peer:
        token = await peer.create()
        body = upload(token, jpeg(1, 300_000))
        await peer.say(peer.head(f"Content-Type: {mtom_type()}", f"Content-Length: {len(body)}"))
        await peer.say(body[:150_000])
        task = asyncio.create_task(trickle(peer, body[150_000:]))
        assert (await peer.answer()).status == 408
        task.cancel()
        await connections(site, 0)
        await no_temporary_files(site)
        assert await images_of(site, token) == 0


async def test_case_10_an_upload_that_stops_is_timed_out_and_leaves_nothing(tmp_path: Path) -> None:
    async with with_limits(tmp_path / "site", idle_seconds=0.3) as site, wire(site) as peer:
        token = await peer.create()
        body = upload(token, jpeg(1, 300_000))
        await peer.say(peer.head(f"Content-Type: {mtom_type()}", f"Content-Length: {len(body)}"))
        await peer.say(body[:150_000])
        assert (await peer.answer()).status == 408
        await connections(site, 0)
        await no_temporary_files(site)


async def test_case_10_a_peer_that_reads_no_answers_is_timed_out(tmp_path: Path) -> None:
    async with with_limits(tmp_path / "site", idle_seconds=0.3) as site, wire(site) as peer:
        assert await peer.works()
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined] # a peer that does not read
        request = peer.head(
            f"Content-Length: {len(probe())}", f"Content-Type: {SOAP_TYPE}", path="/ScanServer"
        )

        async def ask() -> None:
            while True:
                peer.writer.write((request + probe()) * 100)
                await peer.writer.drain()

        asking = asyncio.create_task(ask())
        # One to begin with, none in the end.
        await connections(site, 0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        peer.tear()


async def test_case_10_a_thousand_idle_connections_do_not_stop_a_scan(tmp_path: Path) -> None:
    wanted = 1_000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + 300
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"the hard limit of open files is {hard}, {needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    async with running(tmp_path / "site") as site, AsyncExitStack() as stack:
        port = int(site.url.rsplit(":", 1)[1].split("/")[0])
        # Most never begin with TLS, some have, and say nothing more, or half a request.
        for _ in range(wanted - 20):
            idle = stack.enter_context(socket.socket())
            idle.setblocking(False)
            await asyncio.get_running_loop().sock_connect(idle, ("127.0.0.1", port))
        for number in range(20):
            peer = await stack.enter_async_context(wire(site))
            if number % 2:
                await peer.say(b"POST /ScanServer HTTP/1.1\r\nHost: x\r\nContent-Le")
        async with wire(site) as peer:
            token = await peer.create()
            assert (await peer.upload(token, jpeg(1, 100_000))).status == 200
            assert (await peer.post(job_request("EndPostScanJob", token))).status == 200


async def test_case_10_at_the_limit_an_idle_connection_makes_room(tmp_path: Path) -> None:
    async with (
        with_limits(tmp_path / "site", max_connections=3) as site,
        AsyncExitStack() as stack,
    ):
        for _ in range(6):
            peer = await stack.enter_async_context(wire(site))
            assert await peer.works()


async def test_noise_in_place_of_tls_harms_nobody(site: Site) -> None:
    port = int(site.url.rsplit(":", 1)[1].split("/")[0])
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 500, b"\0" * 5_000):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(noise)
        writer.close()
    async with wire(site) as peer:
        assert await peer.works()


# Case 11 --------------------------------------------------------------------------------------------------

SMUGGLED = b"POST /elsewhere HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Content-Length: 4", "Content-Length: 5"),
        ("Content-Length: 4", "Content-Length: 4"),
        ("Content-Length: 4, 4",),
        ("Content-Length: +4",),
        ("Content-Length: 4 4",),
        ("Content-Length: \xb2",),
        ("Content-Length: 0x4",),
        ("Content-Length : 4",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Transfer-Encoding:\x0bchunked",),
        ("X-Fold: a", " Content-Length: 4"),
        ("X-Fold: a", "\tTransfer-Encoding: chunked"),
        ("X-Bare: a\nContent-Length: 4",),
        ("X-Bare: a\rContent-Length: 4",),
        ("Host: other",),
    ],
)
async def test_case_11_a_request_of_two_readings_is_refused_and_ends_the_connection(
    site: Site, lines: tuple[str, ...]
) -> None:
    async with wire(site) as peer:
        await peer.say(peer.head(f"Content-Type: {SOAP_TYPE}", *lines) + b"0\r\n\r\n" + SMUGGLED)
        answer = await peer.answer()
        assert answer.status in (400, 501)
        assert answer.headers["connection"] == "close"
        peer.writer.close()
        assert await peer.closed() == b""


async def test_case_11_chunks_behind_http_1_0_are_refused(site: Site) -> None:
    async with wire(site) as peer:
        await peer.say(b"POST /ScanServer HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED)
        assert (await peer.answer()).status == 400
        peer.writer.close()
        assert await peer.closed() == b""


# Methods and media types ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
async def test_other_methods_are_not_allowed(site: Site, method: str) -> None:
    async with wire(site) as peer:
        await peer.say(peer.head(method=method))
        answer = await peer.answer() if method != "HEAD" else None
        if answer is not None:
            assert answer.status == 405
            assert answer.headers["allow"] == "POST"
            assert await peer.works()
        else:
            assert (await peer.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize("path", ["/", "/ScanServer/x", "/ScanServer/../x", "/metrics", "/jobs", "/%2e%2e/"])
async def test_other_addresses_do_not_exist(site: Site, path: str) -> None:
    async with wire(site) as peer:
        answer = await peer.post(probe(), path=path)
        assert (answer.status, answer.body) == (404, b"")
        assert await peer.works()


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("text/plain", 415),
        ("text/html; charset=utf-8", 415),
        ("application/json", 415),
        ("multipart/form-data; boundary=x", 415),
        ("image/jpeg", 415),
        ("", 400),
        ("nonsense", 400),
        ("application/soap+xml; charset=", 400),
    ],
)
async def test_what_cannot_hold_soap_is_refused_with_a_fault(
    site: Site, content_type: str, status: int
) -> None:
    async with wire(site) as peer:
        answer = await peer.post(job_request("EndPostScanJob", new_id()), content_type)
        assert (answer.status, answer.subcode) == (status, "Sender")
        assert await peer.works()


async def test_a_client_that_waits_to_be_told_to_continue_gets_the_fault_instead_of_sending(
    site: Site,
) -> None:
    async with wire(site) as peer:
        body = upload("no-such-job", jpeg(1, 300_000))
        root = body[: body.index(b"Content-Type: image/jpeg")]
        await peer.say(
            peer.head(f"Content-Type: {mtom_type()}", f"Content-Length: {len(body)}", "Expect: 100-continue")
        )
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await peer.say(root)
        assert (await peer.answer()).subcode == "ClientErrorJobTokenNotFound"


async def test_requests_in_a_row_are_answered_in_their_order(site: Site) -> None:
    async with wire(site) as peer:
        requests = [probe(), job_request("EndPostScanJob", "x"), probe()]
        await peer.say(
            b"".join(
                peer.head(
                    f"Content-Type: {SOAP_TYPE}",
                    "Transfer-Encoding: chunked",
                    path="/ScanServer" if one is not requests[1] else None,
                )
                + chunked(one, 100)
                for one in requests
            )
        )
        assert [(await peer.answer()).status for _ in requests] == [200, 400, 200]


async def test_old_tls_is_refused(site: Site) -> None:
    context = site.tls()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    port = int(site.url.rsplit(":", 1)[1].split("/")[0])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
