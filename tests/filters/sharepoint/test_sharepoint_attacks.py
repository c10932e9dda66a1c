"""What a reviewer tried against the SharePoint filter: sites that never come to an end, or send too much."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postscan.filters.sharepoint.address import AddressError, Origin, parse_library_address, parse_origin
from postscan.filters.sharepoint.connection import HttpSite, SiteLimits
from postscan.filters.sharepoint.library import LibraryError, Trouble

MEBIBYTE = 1024 * 1024
Say = Callable[[bytes], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n"


@asynccontextmanager
async def saying(pki: Path, talk: Callable[[Say], Awaitable[None]]) -> AsyncIterator[Origin]:
    """Run a server that reads one request's head, and then says what it wants."""

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(octets: bytes) -> None:
            if writer.transport.is_closing():
                raise ConnectionResetError
            writer.write(octets)
            await writer.drain()

        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(say)
        except (OSError, asyncio.IncompleteReadError):
            pass  # how it ends is the test's affair
        finally:
            writer.transport.abort()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    server = await asyncio.start_server(session, "127.0.0.1", 0, ssl=context)
    async with server:
        yield parse_origin(f"https://localhost:{server.sockets[0].getsockname()[1]}")


def site_at(origin: Origin, pki: Path, seconds: float = 1.0) -> HttpSite:
    """Return a connection that waits for an answer no longer than this."""
    tls = ssl.create_default_context(cafile=pki / "ca.pem")
    limits = SiteLimits(connect_seconds=seconds, answer_seconds=seconds)
    return HttpSite(origin, None, tls=tls, limits=limits)


async def drip(say: Say) -> None:
    """Answer one octet at a time, each soon enough to be no silence, and never come to an end."""
    await say(HEAD + b"Content-Length: 100000\r\n\r\n")
    while True:
        await say(b"x")
        await asyncio.sleep(0.05)


async def drip_head(say: Say) -> None:
    """Begin an answer, and never come to the end of its head."""
    await say(HEAD)
    while True:
        await say(b"X-More: x\r\n")
        await asyncio.sleep(0.05)


async def go_on(say: Say) -> None:
    """Say for ever that the request may be sent."""
    while True:
        await say(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.05)


class TestNoEnd:
    @pytest.mark.parametrize("talk", [drip, drip_head, go_on])
    @pytest.mark.parametrize("method", ["GET", "PROPFIND", "POST"])
    async def test_an_answer_that_never_ends_is_given_up(
        self, web_pki: Path, talk: Callable[[Say], Awaitable[None]], method: str
    ) -> None:
        async with saying(web_pki, talk) as origin:
            site = site_at(origin, web_pki)
            with pytest.raises(LibraryError) as caught:
                await asyncio.wait_for(site.request(method, "/"), 120)
            await site.close()
        assert caught.value.trouble in (Trouble.AWAY, Trouble.UNREADABLE)

    @pytest.mark.parametrize("talk", [drip, drip_head, go_on])
    async def test_a_file_that_is_read_back_too_slowly_is_given_up(
        self, web_pki: Path, talk: Callable[[Say], Awaitable[None]]
    ) -> None:
        async def read_back(site: HttpSite) -> None:
            async with site.download("/x.tif") as content:
                async for _ in content:
                    pass

        async with saying(web_pki, talk) as origin:
            site = site_at(origin, web_pki)
            with pytest.raises(LibraryError) as caught:
                await asyncio.wait_for(read_back(site), 120)
            await site.close()
        assert caught.value.trouble in (Trouble.AWAY, Trouble.UNREADABLE)


class TestTooMuch:
    @pytest.mark.parametrize(
        "head",
        [b"Transfer-Encoding: chunked\r\n\r\n", b"Content-Length: 1073741824\r\n\r\n", b"\r\n"],
        ids=["chunked", "1 GiB", "until the end"],
    )
    async def test_an_answer_beyond_all_measure_takes_little_memory(self, web_pki: Path, head: bytes) -> None:
        sent = 0

        async def flood(say: Say) -> None:
            nonlocal sent
            await say(HEAD + head)
            piece = b" " * 65_536
            while sent < 1024 * MEBIBYTE:
                await say(b"10000\r\n" + piece + b"\r\n" if b"chunked" in head else piece)
                sent += len(piece)

        async with saying(web_pki, flood) as origin:
            site = site_at(origin, web_pki, 30.0)
            tracemalloc.start()
            with pytest.raises(LibraryError, match="answers with more than") as caught:
                await site.request("PROPFIND", "/", most=MEBIBYTE)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            await site.close()
        assert caught.value.trouble is Trouble.UNREADABLE
        assert peak < 12 * MEBIBYTE
        assert sent < 100 * MEBIBYTE

    async def test_a_compressed_bomb_stays_packed(self, web_pki: Path) -> None:
        bomb = gzip.compress(b" " * 200 * MEBIBYTE)

        async def send(say: Say) -> None:
            await say(HEAD + f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode() + bomb)

        async with saying(web_pki, send) as origin:
            site = site_at(origin, web_pki, 30.0)
            answer = await site.request("PROPFIND", "/")
            await site.close()
        assert answer.body == bomb


@pytest.mark.parametrize(
    "text",
    [
        "https://user@sp.example.com/sites/a/Docs",
        "https://sp.example.com@evil.example/sites/a/Docs",
        "https://sp.example.com\\@evil.example/sites/a/Docs",
        "https://sp.example.com/sites/a/../b/Docs",
        "https://sp.example.com/sites/a/%2e%2e/Docs",
        "https://sp.example.com/sites/a/.%2E/Docs",
        "https://sp.example.com/sites/a/%2fDocs",
        "https://sp.example.com/sites/a/%5cDocs",
        "https://sp.example.com/sites/a/Docs#x",
        "https://sp.example.com/sites/a/Docs?x=1",
        "https://sp.example.com/sites/a/Docs%0d%0aHost:%20evil.example",
        "https://sp.exаmple.com/sites/a/Docs",
        "https://sp.example.com:99999/sites/a/Docs",
        "https://sp.example.com:/sites/a/Docs",
        "file:///etc/passwd",
        "//sp.example.com/sites/a/Docs",
    ],
)
def test_an_address_with_a_trick_in_it_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_library_address(text)


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("https://SP.Example.COM/sites/a/Docs", "https://sp.example.com/sites/a/Docs"),
        ("https://sp.example.com:443/sites/a/Docs", "https://sp.example.com/sites/a/Docs"),
        ("https://sp.example.com./sites/a/Docs", "https://sp.example.com/sites/a/Docs"),
        ("https://sp.example.com/sites/a/%252f", "https://sp.example.com/sites/a/%252f"),
        ("https://sp.example.com/sites/a/https:%2F", None),
        (
            "https://sp.example.com/sites/a//evil.example/Docs",
            "https://sp.example.com/sites/a/evil.example/Docs",
        ),
    ],
)
def test_an_address_is_sent_to_the_host_it_names(text: str, sent: str | None) -> None:
    if sent is None:
        with pytest.raises(AddressError):
            parse_library_address(text)
    else:
        assert str(parse_library_address(text)) == sent
