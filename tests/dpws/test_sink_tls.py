"""Https sinks: whose certificates are believed, and who the server says it is."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from postscan.cli import pki as made_by
from postscan.cli.pki import KeyPair, create_ca, issue_server, write_pair
from postscan.contracts import wse
from postscan.core.errors import ConfigurationError
from postscan.dpws.eventing import EventLimits, EventSource
from postscan.dpws.http.messages import Peer
from postscan.dpws.notify_policy import NotifyPolicy
from postscan.server.tls import server_context, sink_context
from postscan.soap.envelope import EndpointReference
from postscan.soap.names import DSP
from support.clock import FakeClock
from support.events import number_of, status_event
from support.sinks import Sink, listening

STATUS = f"{DSP}/PostScanJobStatusEvent"
PEER = Peer("127.0.0.1", 1)


@dataclass
class Pki:
    """An authority, and certificates of it as files."""

    folder: Path
    ca: KeyPair

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def pair(self, name: str, *addresses: str) -> tuple[Path, Path]:
        files = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        write_pair(issue_server(self.ca, name, addresses), *files)
        return files


def make_pki(folder: Path) -> Pki:
    folder.mkdir()
    ca = create_ca(f"authority {folder.name}")
    (folder / "ca.pem").write_bytes(ca.certificate_pem())
    return Pki(folder, ca)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return make_pki(tmp_path / "pki")


@asynccontextmanager
async def source(tls: ssl.SSLContext) -> AsyncIterator[EventSource]:
    made = EventSource(
        address=lambda: "https://scan.example/",
        actions=(STATUS,),
        clock=FakeClock(),
        policy=NotifyPolicy(allow_loopback=True, hosts=frozenset({"localhost", "127.0.0.1"})),
        limits=EventLimits(retry_pauses=(0.0, 0.0)),
        tls=tls,
    )
    try:
        yield made
    finally:
        await made.close()


async def tell(events: EventSource, sink: Sink, host: str, ends: Sink | None = None) -> None:
    await events.subscribe(
        wse.Subscribe(
            notify_to=EndpointReference(f"https://{host}:{sink.port}/sink"),
            end_to=None if ends is None else ends.endpoint(),
            expires=wse.Expires(duration=timedelta(hours=1)),
        ),
        "alice",
        PEER,
    )
    events.publish(STATUS, partial(status_event, 7), "alice")


async def test_a_sink_of_the_trusted_authority_is_told(pki: Pki) -> None:
    tls = server_context(*pki.pair("localhost", "127.0.0.1"), None)
    async with listening(tls=tls) as sink, source(sink_context(pki.ca_file)) as events:
        for host in ("localhost", "127.0.0.1"):
            await tell(events, sink, host)
            assert number_of(await sink.next()) == 7


async def test_a_sink_that_asks_who_calls_sees_the_servers_certificate(pki: Pki) -> None:
    tls = server_context(*pki.pair("localhost"), None)
    tls.load_verify_locations(pki.ca_file)
    tls.verify_mode = ssl.CERT_REQUIRED
    own = pki.pair("scan.example")
    async with listening(tls=tls) as sink, source(sink_context(pki.ca_file, *own)) as events:
        await tell(events, sink, "localhost")
        assert number_of(await sink.next()) == 7


@pytest.mark.parametrize("what", ["another authority", "another name", "a user's certificate"])
async def test_a_sink_with_a_wrong_certificate_is_ended_at_once_and_the_log_says_why(
    pki: Pki, tmp_path: Path, what: str
) -> None:
    trusted, words = pki.ca_file, "for another name"
    name = "other.example"
    if what == "another authority":
        trusted, name, words = (
            make_pki(tmp_path / "other").ca_file,
            "localhost",
            "authority that is not trusted",
        )
    tls = server_context(*pki.pair(name), None)
    if what == "a user's certificate":
        # What devices show as clients is no proof of who listens.
        trusted = _only_for_clients(pki, "localhost")
        tls, words = server_context(trusted, trusted.with_suffix(".key"), None), "not trusted"
        trusted = pki.ca_file
    async with (
        listening(tls=tls) as sink,
        listening() as ends,
        source(sink_context(trusted)) as events,
    ):
        with capture_logs() as lines:
            await tell(events, sink, "localhost", ends)
            told = await ends.next()
        assert told.body is not None
        assert wse.SubscriptionEnd.from_element(told.body).status == wse.DELIVERY_FAILURE
        assert sink.attempts == 0
        (line,) = [one for one in lines if one["log_level"] == "warning"]
        assert words in line["why"]
        # Trying again cannot help.
        assert not [one for one in lines if one["event"] == "event not delivered"]


def _only_for_clients(pki: Pki, name: str) -> Path:
    pair = made_by._issue(
        pki.ca,
        common_name=name,
        days=1,
        purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,),
        algorithm=made_by.KeyAlgorithm.EC,
        extensions=[x509.SubjectAlternativeName([x509.DNSName(name)])],
    )
    file = pki.folder / "user.pem"
    write_pair(pair, file, file.with_suffix(".key"))
    return file


async def test_a_sink_that_speaks_no_tls_is_ended(pki: Pki) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    plain = await asyncio.start_server(refuse, "127.0.0.1", 0)
    sink = Sink(port=plain.sockets[0].getsockname()[1])
    async with plain, listening() as ends, source(sink_context(pki.ca_file)) as events:
        await tell(events, sink, "localhost", ends)
        told = await ends.next()
        assert told.headers.action == wse.SUBSCRIPTION_END_ACTION


def test_with_an_authority_named_those_of_the_system_do_not_count(pki: Pki) -> None:
    assert len(sink_context(pki.ca_file).get_ca_certs()) == 1


def test_a_file_that_is_no_certificate_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(ConfigurationError):
            sink_context(path)


async def test_the_connection_goes_to_the_checked_address_and_the_name_is_checked_all_the_same(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = server_context(*pki.pair("device.example"), None)
    async with listening(tls=tls) as sink, source(sink_context(pki.ca_file)) as events:
        real = socket.getaddrinfo
        with monkeypatch.context() as names:
            names.setattr(socket, "getaddrinfo", lambda _, *rest, **more: real("127.0.0.1", *rest, **more))
            await tell(events, sink, "device.example")
        assert number_of(await sink.next()) == 7
        # The name means something else by now: that changes nothing.
        async with asyncio.timeout(10):
            events.publish(STATUS, partial(status_event, 8), "alice")
            assert number_of(await sink.next()) == 8
