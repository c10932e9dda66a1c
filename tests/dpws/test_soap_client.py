"""The SOAP client against servers that say what a test wants said."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from lxml import etree

from postscan.cli.installation import InstallationPlan, create_installation
from postscan.contracts import schemas
from postscan.core.errors import FaultKind, FaultParty, PostscanError
from postscan.device.client import client_context
from postscan.dpws.client import NotSoap, RemoteFault, SoapClient, Unreachable, Untrusted, Upload
from postscan.soap.envelope import Headers, read_envelope, write_envelope
from postscan.soap.faults import fault_of, write_fault
from postscan.soap.mime import parse_content_type
from postscan.soap.names import DSP, WSA, qname
from postscan.soap.xml import parse
from support.scanning import make_installation
from support.wire import canary, chunked

Serving = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answering = Callable[[dict[str, str], bytes], bytes]
BODY = etree.Element("{urn:test}Hello")


def http(body: bytes, status: str = "200 OK", *lines: str) -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        "Content-Type: application/soap+xml",
        f"Content-Length: {len(body)}",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def answer_to(request: bytes, **more: str) -> bytes:
    """Return a good answer to the request; ``relates_to`` may be another message."""
    message_id = read_envelope(parse(request)).headers.message_id
    headers = Headers(action="urn:answer", relates_to=more.get("relates_to", message_id or ""))
    return write_envelope(headers, etree.Element("{urn:test}World"))


@asynccontextmanager
async def listening(serve: Serving, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run ``serve`` for every connection; in the end all of them are closed. Yields the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await asyncio.gather(*tasks)


@asynccontextmanager
async def server(answering: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list]]:
    """Serve what ``answering`` returns for head and body; the list holds what was asked, in order."""
    asked: list[tuple[dict[str, str], bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
            headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            asked.append((headers, body))
            said = answering(headers, body)
            writer.write(said)
            await writer.drain()
            if b"\r\nContent-Length" not in said and b"\r\nTransfer-Encoding" not in said:
                return

    scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
    async with listening(serve, tls) as port:
        yield f"{scheme}://{host}:{port}/x", asked


async def test_a_request_is_valid_asks_for_an_anonymous_answer_and_names_nothing_compressed() -> None:
    async with server(lambda _, body: http(answer_to(body))) as (url, asked), SoapClient() as client:
        answer = await client.call(url, "urn:ask", BODY)
        assert answer.body is not None
        assert answer.body.tag == "{urn:test}World"
    headers, body = asked[0]
    root = parse(body)
    schemas.validate(root)
    sent = read_envelope(root).headers
    assert (sent.action, sent.to) == ("urn:ask", url)
    assert sent.reply_to is not None
    assert sent.reply_to.address.endswith("anonymous")
    assert headers["accept-encoding"] == "identity"
    assert "cookie" not in headers


class Refusal(PostscanError):
    fault = FaultKind(FaultParty.SENDER, qname(DSP, "InvalidArgs"), "no")


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Internal Server Error", "202 Accepted"])
async def test_a_fault_is_one_whatever_the_http_status_says(status: str) -> None:
    def refuse(_: object, body: bytes) -> bytes:
        fault = fault_of(Refusal("no", detail="dsp:JobToken"), DSP)
        return http(write_fault(fault, read_envelope(parse(body)).headers), status)

    async with server(refuse) as (url, _), SoapClient() as client:
        with pytest.raises(RemoteFault) as raised:
            await client.call(url, "urn:ask", BODY)
    assert (raised.value.subcode, raised.value.detail) == ("InvalidArgs", "dsp:JobToken")


async def test_a_chunked_answer_is_read() -> None:
    def pieces(_: object, body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(answer_to(body), 7)

    async with server(pieces) as (url, _), SoapClient() as client:
        assert (await client.call(url, "urn:ask", BODY)).headers.action == "urn:answer"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent"])
async def test_no_redirect_is_followed(status: str) -> None:
    async with canary() as bird:
        redirect = http(b"", status, f"Location: {bird.url}")
        async with server(lambda *_: redirect) as (url, asked), SoapClient() as client:
            with pytest.raises(NotSoap):
                await client.call(url, "urn:ask", BODY)
            with pytest.raises(Unreachable):
                await client.notify(url, "urn:event", BODY)
            assert len(asked) == 2


@pytest.mark.parametrize("framing", ["counted", "chunked", "until closed"])
async def test_an_answer_without_end_is_not_read_to_its_end(framing: str) -> None:
    size = 3_000_000
    flood = {
        "counted": http(b" " * size),
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b" " * size, 60_000),
        "until closed": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * size,
    }[framing]
    async with server(lambda *_: flood) as (url, _), SoapClient() as client:
        with pytest.raises(NotSoap):
            await client.call(url, "urn:ask", BODY)


async def test_the_answer_to_another_request_is_not_taken() -> None:
    async with (
        server(lambda _, body: http(answer_to(body, relates_to="urn:uuid:other"))) as (url, _),
        SoapClient() as client,
    ):
        with pytest.raises(NotSoap):
            await client.call(url, "urn:ask", BODY)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html/>",
        b"hello",
        b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>",
        b"\0" * 50,
    ],
)
async def test_what_is_no_soap_is_told_as_such(body: bytes) -> None:
    async with server(lambda *_: http(body)) as (url, _), SoapClient() as client:
        with pytest.raises(NotSoap):
            await client.call(url, "urn:ask", BODY)


@pytest.mark.parametrize(
    "said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx"]
)
async def test_a_peer_that_breaks_off_is_unreachable(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)

    async with listening(serve) as port, SoapClient() as client:
        with pytest.raises(Unreachable):
            await client.call(f"http://127.0.0.1:{port}/", "urn:ask", BODY)


async def test_a_peer_that_never_answers_is_given_up() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(serve) as port, SoapClient(timeout_seconds=0.1) as client:
        url = f"http://127.0.0.1:{port}/"
        with pytest.raises(Unreachable, match="in time"):
            await client.call(url, "urn:ask", BODY)
        with pytest.raises(Unreachable, match="in time"):
            await client.notify(url, "urn:event", BODY, timeout_seconds=0.1)


async def test_nobody_at_the_address_is_unreachable() -> None:
    async with SoapClient() as client:
        for url in ("http://127.0.0.1:1/", "http://", "nonsense", "http://127.0.0.1:99999/"):
            with pytest.raises(Unreachable):
                await client.call(url, "urn:ask", BODY)


@pytest.mark.parametrize("size", [10, 700_000])
@pytest.mark.parametrize("as_file", [False, True])
async def test_an_upload_is_counted_mtom(tmp_path: Path, size: int, as_file: bool) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    path = tmp_path / "page"
    path.write_bytes(data)

    def reply(_: object, body: bytes) -> bytes:
        at = body.index(b"<?xml")
        return http(answer_to(body[at : body.index(b"\r\n--", at)]))

    def make(content_id: str) -> etree._Element:
        return etree.Element("{urn:test}Image", cid=content_id)

    async with server(reply) as (url, asked), SoapClient() as client:
        await client.upload(url, "urn:send", make, Upload(path if as_file else data, "image/jpeg"))
    headers, body = asked[0]
    assert headers["content-length"] == str(len(body))
    boundary = parse_content_type(headers["content-type"]).parameters["boundary"]
    assert body.endswith(data + f"\r\n--{boundary}--\r\n".encode())


async def test_a_connection_is_used_again() -> None:
    peers = set()

    def remember(headers: dict[str, str], body: bytes) -> bytes:
        peers.add(headers.get("connection", ""))
        return http(answer_to(body))

    async with server(remember) as (url, asked), SoapClient(max_connections=1) as client:
        for _ in range(3):
            await client.call(url, "urn:ask", BODY)
    assert len(asked) == 3
    assert "close" not in peers


def serving_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


async def test_a_certificate_of_another_name_is_not_trusted(tmp_path: Path) -> None:
    """The certificate is good, of a trusted authority, and for another host."""
    made = create_installation(
        InstallationPlan(tmp_path / "site", fqdn="scan.example.com", listen="192.0.2.1:5362")
    )
    tls = serving_context(made.pki)
    async with (
        server(lambda _, body: http(answer_to(body)), tls) as (url, asked),
        SoapClient(tls=client_context(made.pki / "ca.pem")) as client,
    ):
        with pytest.raises(Untrusted):
            await client.call(url, "urn:ask", BODY)
    assert asked == []


async def test_a_certificate_of_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    made, other = make_installation(tmp_path / "site"), make_installation(tmp_path / "other")
    async with (
        server(lambda _, body: http(answer_to(body)), serving_context(made.pki)) as (url, asked),
        SoapClient(tls=client_context(other.pki / "ca.pem")) as stranger,
        SoapClient(tls=client_context(made.pki / "ca.pem")) as client,
    ):
        with pytest.raises(Untrusted):
            await stranger.call(url, "urn:ask", BODY)
        assert asked == []
        assert (await client.call(url, "urn:ask", BODY)).headers.action == "urn:answer"


async def test_a_subcode_of_a_foreign_namespace_is_told_by_its_name() -> None:
    def refuse(_: object, body: bytes) -> bytes:
        kind = type("Odd", (PostscanError,), {"fault": FaultKind(FaultParty.RECEIVER, "{urn:v}Odd", "why")})
        return http(write_fault(fault_of(kind("x"), DSP), read_envelope(parse(body)).headers), "500 Error")

    async with server(refuse) as (url, _), SoapClient() as client:
        with pytest.raises(RemoteFault, match="Odd: why") as raised:
            await client.call(url, "urn:ask", BODY)
    assert raised.value.soap.action == f"{WSA}/fault"
