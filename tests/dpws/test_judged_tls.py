"""TLS whose client certificates are judged after the handshake: as a transport, under both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from hypothesis import given, reject
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL._util import lib as openssl  # what no public function tells: its queue of errors

from postscan.core.errors import ConfigurationError
from postscan.dpws.http.certificates import CertificateFlaw
from postscan.dpws.http.connection import Phase, Request
from postscan.dpws.http.judged_tls import JudgedSession, JudgingContext
from postscan.dpws.http.limits import HttpLimits
from postscan.dpws.http.messages import Peer, Response
from postscan.dpws.http.server import HttpHost
from postscan.server.tls import TrustAnchors, server_context
from support.issuing import SERVER, Authority, Issued, Wish, altered, root, self_signed

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
LARGE = 3_000_000


@dataclass
class Place:
    """A server's files, and what clients connect with."""

    folder: Path
    authority: Authority

    def context(self, min_version: str = "1.2") -> ssl.SSLContext:
        anchors = TrustAnchors((self.folder / "root.pem",))
        return server_context(self.folder / "server.pem", self.folder / "server.pem", anchors, min_version)

    def client(self, version: ssl.TLSVersion, *, certificate: bool = True) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.folder / "root.pem")
        context.check_hostname = False
        context.minimum_version = context.maximum_version = version
        if certificate:
            context.load_cert_chain(self.folder / "client.pem")
        return context


def make_place(folder: Path) -> Place:
    authority = root()
    (folder / "root.pem").write_bytes(authority.pem())
    authority.issue(Wish("server", purposes=SERVER)).write(folder / "server.pem")
    authority.issue(Wish("client")).write(folder / "client.pem")
    return Place(folder, authority)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


@dataclass
class Echo:
    """A server that answers with what it got, and remembers its peers."""

    host: HttpHost
    port: int
    peers: list[Peer]


def serve(
    place: Place, loop: str, client: Callable[[Echo], Awaitable[None]], context: ssl.SSLContext | None = None
) -> None:
    """Run a server in an event loop of a kind, and ``client`` beside it."""

    async def run() -> None:
        peers: list[Peer] = []

        async def handle(request: Request) -> Response:
            peers.append(request.peer)
            request.body.widen()
            return Response(200, await request.body.read_all(5 * LARGE))

        host = HttpHost(handle, HttpLimits(handshake_seconds=20.0))
        [(_, port)] = await host.listen("127.0.0.1", 0, context or place.context())
        try:
            await client(Echo(host, port, peers))
        finally:
            await host.stop()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


def request(body: bytes, *headers: str) -> bytes:
    lines = ("POST / HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def read_answer(secure: ssl.SSLSocket) -> bytes:
    """Read one answer; return its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = secure.recv(65_536)
        assert piece, data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        piece = secure.recv(65_536)
        assert piece
        body += piece
    assert len(body) == length
    return body


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


each_loop = pytest.mark.parametrize("loop", LOOPS)
each_version = pytest.mark.parametrize("version", VERSIONS)


@each_loop
@each_version
def test_requests_and_answers_of_all_sizes_arrive_whole(place: Place, loop: str, version: str) -> None:
    def talk(echo: Echo) -> None:
        with (
            connected(echo.port) as plain,
            place.client(VERSIONS[version]).wrap_socket(plain, server_hostname="server") as secure,
        ):
            assert secure.version() == version.replace(" ", "v")
            for size in (0, 1, 16_383, 16_384, 16_385, 65_536, 262_144, 262_145, LARGE):
                body = bytes(range(256)) * (size // 256) + bytes(size % 256)
                secure.sendall(request(body))
                assert read_answer(secure) == body

    async def client(echo: Echo) -> None:
        await asyncio.to_thread(talk, echo)
        assert all(peer.tls and peer.certificate is not None for peer in echo.peers)
        assert all(len(peer.chain) == 2 and peer.refused is None for peer in echo.peers)

    serve(place, loop, client)


@each_loop
@each_version
def test_octets_that_trickle_in_are_put_together(place: Place, loop: str, version: str) -> None:
    def talk(echo: Echo) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = place.client(VERSIONS[version]).wrap_bio(incoming, outgoing)
        with connected(echo.port) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def until_done(step: Callable[[], object]) -> object:
                while True:
                    try:
                        done = step()
                    except ssl.SSLWantReadError:
                        done = None
                    waiting = outgoing.read()
                    for at in range(0, len(waiting), 7):
                        plain.sendall(waiting[at : at + 7])
                    if done is not None:
                        return done
                    incoming.write(plain.recv(3))

            until_done(lambda: session.do_handshake() or True)
            body = b"x" * 20_000
            until_done(lambda: session.write(request(body, "Connection: close")))
            answer = b""
            while b"x" * 20_000 not in answer:
                answer += until_done(lambda: session.read(65_536))  # type: ignore[operator] # octets

    async def client(echo: Echo) -> None:
        await asyncio.to_thread(talk, echo)

    serve(place, loop, client)


@each_loop
@each_version
def test_no_session_is_resumed_so_that_every_connection_is_judged(
    place: Place, loop: str, version: str
) -> None:
    def talk(echo: Echo) -> None:
        context = place.client(VERSIONS[version])
        session = None
        for _ in range(3):
            with (
                connected(echo.port) as plain,
                context.wrap_socket(plain, server_hostname="server", session=session) as secure,
            ):
                secure.sendall(request(b"again"))
                assert read_answer(secure) == b"again"
                assert not secure.session_reused
                session = secure.session

    async def client(echo: Echo) -> None:
        await asyncio.to_thread(talk, echo)
        assert [peer.certificate is not None for peer in echo.peers] == [True] * 3

    serve(place, loop, client)


@each_loop
@each_version
def test_the_end_of_a_session_is_answered_in_kind(place: Place, loop: str, version: str) -> None:
    def talk(echo: Echo) -> None:
        with connected(echo.port) as plain:
            secure = place.client(VERSIONS[version]).wrap_socket(plain, server_hostname="server")
            with secure:
                secure.sendall(request(b"last"))
                assert read_answer(secure) == b"last"
                # Fails unless the server says that it ends, too.
                secure.unwrap().close()

    async def client(echo: Echo) -> None:
        await asyncio.to_thread(talk, echo)

    serve(place, loop, client)


@each_loop
@each_version
def test_the_server_ends_a_session_with_a_word(place: Place, loop: str, version: str) -> None:
    def talk(echo: Echo) -> None:
        with (
            connected(echo.port) as plain,
            place.client(VERSIONS[version]).wrap_socket(
                plain, server_hostname="server", suppress_ragged_eofs=False
            ) as secure,
        ):
            secure.sendall(request(b"only one", "Connection: close"))
            assert read_answer(secure) == b"only one"
            # A connection that was cut off raises.
            assert secure.recv(1) == b""

    async def client(echo: Echo) -> None:
        await asyncio.to_thread(talk, echo)

    serve(place, loop, client)


@each_loop
def test_who_breaks_off_or_does_not_speak_tls_harms_nobody_else(place: Place, loop: str) -> None:
    def talk(echo: Echo) -> None:
        context = place.client(ssl.TLSVersion.TLSv1_3)
        with connected(echo.port) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP/1.1" not in plain.recv(1_000)
        hello = ssl.MemoryBIO()
        session = context.wrap_bio(ssl.MemoryBIO(), hello)
        with pytest.raises(ssl.SSLWantReadError):
            session.do_handshake()
        whole = hello.read()
        for cut in (0, 1, 5, len(whole) // 2, len(whole)):
            with connected(echo.port) as plain:
                plain.sendall(whole[:cut])
                # Reset, not closed in good order.
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with connected(echo.port) as plain:
            plain.sendall(whole[:100] + bytes(len(whole) - 100))
            plain.recv(1_000)
        with connected(echo.port) as plain, context.wrap_socket(plain, server_hostname="server") as secure:
            secure.sendall(request(LARGE * b"x")[:1_000_000])
        with connected(echo.port) as plain, context.wrap_socket(plain, server_hostname="server") as secure:
            secure.sendall(request(b"fine"))
            assert read_answer(secure) == b"fine"

    async def client(echo: Echo) -> None:
        await asyncio.to_thread(talk, echo)
        async with asyncio.timeout(20):
            while echo.host.connections:
                await asyncio.sleep(0.01)

    serve(place, loop, client)


@each_loop
def test_a_tampered_record_ends_its_connection(place: Place, loop: str) -> None:
    def talk(echo: Echo) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = place.client(ssl.TLSVersion.TLSv1_3).wrap_bio(incoming, outgoing)
        with connected(echo.port) as plain:
            while True:
                try:
                    session.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65_536))
            session.write(request(b"hello"))
            said = bytearray(outgoing.read())
            said[-1] ^= 1
            plain.sendall(said)
            while plain.recv(65_536):
                pass

    async def client(echo: Echo) -> None:
        await asyncio.to_thread(talk, echo)
        assert echo.peers == []

    serve(place, loop, client)


@each_loop
def test_an_answer_that_is_read_late_arrives_whole(place: Place, loop: str) -> None:
    """It does not fit the buffers of the system, so that the server has to keep some of it."""

    def talk(echo: Echo, answering: threading.Event) -> None:
        with connected(echo.port) as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)
            with place.client(ssl.TLSVersion.TLSv1_3).wrap_socket(plain, server_hostname="server") as secure:
                secure.sendall(request(b"y" * 5 * LARGE))
                assert answering.wait(20)
                assert read_answer(secure) == b"y" * 5 * LARGE

    async def client(echo: Echo) -> None:
        answering = threading.Event()
        reading = asyncio.create_task(asyncio.to_thread(talk, echo, answering))
        async with asyncio.timeout(20):
            while not any(one.phase is Phase.BETWEEN for one in echo.host._connections if echo.peers):
                await asyncio.sleep(0.01)
        answering.set()
        await reading

    serve(place, loop, client)


def test_versions_and_suites_are_what_the_settings_say(place: Place) -> None:
    def shake(echo: Echo, context: ssl.SSLContext) -> str | None:
        with connected(echo.port) as plain, context.wrap_socket(plain, server_hostname="server") as secure:
            cipher = secure.cipher()
            return cipher[0] if cipher else None

    async def client(echo: Echo) -> None:
        suite = await asyncio.to_thread(shake, echo, place.client(ssl.TLSVersion.TLSv1_2))
        assert suite is not None
        assert suite.startswith("ECDHE-")
        assert "GCM" in suite or "CHACHA20" in suite
        weak = place.client(ssl.TLSVersion.TLSv1_2)
        weak.set_ciphers("ECDHE+AES+SHA:AES+SHA:AESGCM+kRSA")
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(shake, echo, weak)

    async def newest(echo: Echo) -> None:
        assert await asyncio.to_thread(shake, echo, place.client(ssl.TLSVersion.TLSv1_3))
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(shake, echo, place.client(ssl.TLSVersion.TLSv1_2))

    serve(place, "uvloop", client)
    serve(place, "uvloop", newest, place.context("1.3"))


def test_a_chain_of_more_octets_than_any_real_one_ends_the_handshake(place: Place) -> None:
    """OpenSSL reads 100 KiB of certificates; nothing is verified before they are all there."""
    stuffing = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.2"), bytes(40_000))
    flood = tuple(root("authority", extensions=((stuffing, False),)).issued.der for _ in range(4))
    Authority(self_signed(Wish("client")), flood).issue(Wish("client")).write(place.folder / "client.pem")

    def talk(echo: Echo) -> None:
        context = place.client(ssl.TLSVersion.TLSv1_2)
        with connected(echo.port) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(plain, server_hostname="server")

    async def client(echo: Echo) -> None:
        await asyncio.to_thread(talk, echo)
        assert echo.peers == []

    serve(place, "uvloop", client)


def test_a_failed_verification_leaves_no_error_for_another_connection_to_find(
    lasting: tuple[Place, Issued, ssl.SSLContext],
) -> None:
    """OpenSSL keeps errors in a queue of the thread; up to version 3 others take them for their own."""
    place, issued, context = lasting
    other = pair(ssl.create_default_context(cafile=place.folder / "root.pem"), context)
    altered(issued, lambda der: der[:-1] + bytes([der[-1] ^ 1])).write(place.folder / "client.pem")
    both = pair(place.client(ssl.TLSVersion.TLSv1_3), context)
    both.shake()
    assert both.server.shown.refused is not None
    assert openssl.ERR_peek_error() == 0
    with pytest.raises(ssl.SSLWantReadError):
        other.server.do_handshake()


def test_a_session_that_nobody_verified_proves_nothing(place: Place) -> None:
    """Whatever the library did not look at is not believed: here, it is told not to verify."""
    inner = SSL.Context(SSL.TLS_SERVER_METHOD)
    inner.use_certificate_chain_file(str(place.folder / "server.pem"))
    inner.use_privatekey_file(str(place.folder / "server.pem"))
    inner.load_verify_locations(str(place.folder / "root.pem"))
    inner.set_verify(SSL.VERIFY_PEER, lambda *_: True)

    def talk(echo: Echo) -> None:
        context = place.client(ssl.TLSVersion.TLSv1_3)
        with connected(echo.port) as plain, context.wrap_socket(plain, server_hostname="server") as secure:
            secure.sendall(request(b"believe me"))
            read_answer(secure)

    async def client(echo: Echo) -> None:
        await asyncio.to_thread(talk, echo)
        assert echo.peers[0].certificate is None
        assert echo.peers[0].refused is not None

    serve(place, "uvloop", client, JudgingContext(inner))


@pytest.mark.parametrize(
    ("broken", "octets"),
    [("root.pem", b"nothing"), ("server.pem", b"nothing"), ("key.pem", b"nothing"), ("key.pem", None)],
)
def test_files_that_do_not_fit_are_named(place: Place, broken: str, octets: bytes | None) -> None:
    other = root().issue(Wish("other"))
    key = place.folder / "key.pem"
    key.write_bytes(other.pem())
    if octets is not None:
        (place.folder / broken).write_bytes(octets)
    with pytest.raises(ConfigurationError, match=str(place.folder)):
        server_context(place.folder / "server.pem", key, TrustAnchors((place.folder / "root.pem",)))


@dataclass
class Pair:
    """A client and a server that talk in memory."""

    client: ssl.SSLObject
    server: JudgedSession
    to_client: ssl.MemoryBIO
    to_server: ssl.MemoryBIO

    def shake(self) -> None:
        """Let both finish the handshake. :raises ssl.SSLError: one of them will not."""
        done: set[object] = set()
        for _ in range(20):
            for side in (self.client, self.server):
                if side not in done:
                    with contextlib.suppress(ssl.SSLWantReadError):
                        side.do_handshake()
                        done.add(side)
        assert done == {self.client, self.server}


def pair(client: ssl.SSLContext, server: ssl.SSLContext) -> Pair:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = server.wrap_bio(to_server, to_client, server_side=True)
    assert isinstance(made, JudgedSession)
    return Pair(client.wrap_bio(to_client, to_server), made, to_client, to_server)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Issued, ssl.SSLContext]:
    folder = tmp_path_factory.mktemp("judged")
    place = make_place(folder)
    name = x509.SubjectAlternativeName([x509.RFC822Name("alice@example.com"), x509.DNSName("x")])
    return place, place.authority.issue(Wish("client", extensions=((name, False),))), place.context()


@given(data=st.data())
def test_a_certificate_with_any_other_octet_is_not_believed(
    lasting: tuple[Place, Issued, ssl.SSLContext], data: st.DataObject
) -> None:
    place, issued, context = lasting
    at = data.draw(st.integers(0, len(issued.der) - 1))
    octet = data.draw(st.integers(1, 255))
    changed = issued.der[:at] + bytes([issued.der[at] ^ octet]) + issued.der[at + 1 :]
    Issued(changed, issued.key).write(place.folder / "client.pem")
    version = data.draw(st.sampled_from(sorted(VERSIONS.values())))
    try:
        client = place.client(version)
    except ssl.SSLError:
        reject()  # Not even the client can read it, or it is for another key.
    both = pair(client, context)
    try:
        both.shake()
    except ssl.SSLError:
        return
    assert both.server.shown.certificate is None
    assert both.server.shown.refused is not None


def test_a_certificate_of_a_version_that_does_not_exist_is_refused_and_harms_nobody(
    lasting: tuple[Place, Issued, ssl.SSLContext],
) -> None:
    place, issued, context = lasting
    changed = issued.der.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020104"), 1)
    Issued(changed, issued.key).write(place.folder / "client.pem")
    both = pair(place.client(ssl.TLSVersion.TLSv1_3), context)
    both.shake()
    assert both.server.shown.refused is not None
    assert CertificateFlaw.BROKEN in both.server.shown.refused.flaws


def test_a_reader_that_pauses_holds_a_bounded_part_of_what_came(
    lasting: tuple[Place, Issued, ssl.SSLContext],
) -> None:
    """What is not decrypted yet stays where the event loop sees it, and stops reading the socket."""
    place, issued, context = lasting
    issued.write(place.folder / "client.pem")
    both = pair(place.client(ssl.TLSVersion.TLSv1_3), context)
    both.shake()
    both.client.write(bytes(1_000_000))
    before = both.to_server.pending
    assert both.server.read(16_384, bytearray(16_384)) == 16_384
    assert before - both.to_server.pending <= 65_536
    assert both.server.pending() > 0


@pytest.mark.parametrize("size", [1, 16_384, 40_000])
def test_the_end_of_a_session_is_told_after_all_that_came_before_it(
    lasting: tuple[Place, Issued, ssl.SSLContext], size: int
) -> None:
    place, issued, context = lasting
    issued.write(place.folder / "client.pem")
    both = pair(place.client(ssl.TLSVersion.TLSv1_3), context)
    both.shake()
    both.client.write(bytes(size))
    with pytest.raises(ssl.SSLWantReadError):
        both.client.unwrap()
    room = bytearray(262_144)
    got = both.server.read(len(room), room)
    assert isinstance(got, int)
    while both.server.pending() and got < size:
        more = both.server.read(len(room), room)
        assert isinstance(more, int)
        got += more
    assert got == size
    # uvloop reads on only where something is pending.
    assert both.to_server.pending or both.server.pending()
    assert both.server.read(len(room), room) == 0
    both.server.unwrap()
