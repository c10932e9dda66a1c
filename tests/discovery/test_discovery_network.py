"""Discovery over real sockets, between machines of a network that the tests make."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from postscan.contracts import wsd
from postscan.dpws.discovery.inspect import Device
from postscan.dpws.discovery.messages import read_datagram
from postscan.dpws.discovery.search import SearchPlan, search
from postscan.dpws.discovery.service import DiscoveryService, Reach
from postscan.soap.envelope import Envelope
from postscan.soap.names import WSCN, qname
from support.commands import PROGRAM, draw_page, environment, line_with, stop
from support.discovery import DEVICE, WS_DSP, Desk, probe
from support.netns import INTERFACE, SECONDS, Network, network
from support.netservers import Served, discover, first_found, install, serve, serving

GROUP4, PORT = "239.255.255.250", 3702
SCAN = (*PROGRAM, "scan", "--process", "Invoices", "--user", "alice", "--server", "auto")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Network, Served]]:
    """Run a server on one of three machines, for the tests that leave it as it is."""
    with network("server", "device", "console") as net:
        yield net, serving(net, "server", tmp_path_factory.mktemp("site") / "scans")


def asker(net: Network, machine: str, source: str | None = None) -> socket.socket:
    """Return a UDP socket of a machine, bound to one of its IPv4 addresses."""
    with net.inside(machine):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((source or net.address(machine), 0))
    sock.settimeout(SECONDS)
    return sock


def listener(net: Network, machine: str) -> socket.socket:
    """Return a socket that hears what is said to everybody over IPv4, bound as other daemons bind it."""
    with net.inside(machine):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", PORT))
        member = struct.pack("=4s4si", socket.inet_aton(GROUP4), bytes(4), socket.if_nametoindex(INTERFACE))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    sock.settimeout(SECONDS)
    return sock


def heard(sock: socket.socket, action: str, *, besides: str | None = None) -> Envelope:
    """Wait for a message with this action, and another id than ``besides``."""
    while True:
        envelope = read_datagram(sock.recv(65_535))
        assert envelope is not None
        if envelope.headers.action == action and envelope.headers.message_id != besides:
            return envelope


def with_news(envelope: Envelope) -> wsd.Hello:
    assert envelope.body is not None
    return wsd.Hello.from_element(envelope.body)


# Finding -----------------------------------------------------------------------------------------------


def test_a_server_is_found_with_all_it_says_of_itself(site: tuple[Network, Served]) -> None:
    net, served = site
    found = first_found(net, "device", "--ca", served.ca)
    assert found["endpoint"] == served.made.address
    assert found["addresses"] == [served.made.address]
    assert found["friendly_name"] == "Postscan scan server"
    assert found["model"] == "Postscan"
    assert DEVICE in found["types"]
    assert WS_DSP in found["types"]
    assert found["metadata_version"] == 1
    assert found["problem"] is None


@pytest.mark.parametrize("version", [4, 6])
async def test_a_server_is_found_over_each_version_of_ip(site: tuple[Network, Served], version: int) -> None:
    net, served = site
    plan = SearchPlan(wsd.Probe(types=(DEVICE,)), seconds=5, versions=frozenset({version}))
    with net.inside("device"):
        found = [news async for news in search(plan, None)]
    assert len(found) == 1
    assert isinstance(found[0], Device)
    sighting = found[0].sighting
    assert sighting.endpoint == served.made.address
    assert str(sighting.source) == (net.address("server") if version == 4 else net.link_local("server"))


def test_a_server_is_found_on_its_own_machine(site: tuple[Network, Served]) -> None:
    net, served = site
    found = first_found(net, "server", "--ca", served.ca)
    assert found["friendly_name"] == "Postscan scan server"


@pytest.mark.parametrize(
    "wanted", [("--type", qname(WSCN, "ScanDeviceType")), ("--scope", "ldap:///ou=elsewhere")]
)
def test_who_searches_something_else_finds_nothing(
    site: tuple[Network, Served], wanted: tuple[str, str]
) -> None:
    net, _ = site
    assert discover(net, "device", *wanted, "--timeout", 1) == []


def test_a_host_that_is_named_is_asked_alone(site: tuple[Network, Served]) -> None:
    net, served = site
    (found,) = discover(net, "device", "--ca", served.ca, "--host", net.fqdn("server"))
    assert found["endpoint"] == served.made.address
    assert found["friendly_name"] == "Postscan scan server"
    assert found["source"] is None


def test_a_server_that_cannot_prove_who_it_is_says_nothing_more(site: tuple[Network, Served]) -> None:
    net, _ = site
    (found,) = discover(net, "device", "--timeout", 5)
    assert found["friendly_name"] == ""
    assert "not trusted" in found["problem"]


def test_a_question_to_the_servers_own_port_is_answered_from_there(site: tuple[Network, Served]) -> None:
    net, _ = site
    with asker(net, "device") as sock:
        sock.sendto(probe(DEVICE, message_id="urn:uuid:alone"), (net.address("server"), 5362))
        data, source = sock.recvfrom(65_535)
    assert source == (net.address("server"), 5362)
    envelope = read_datagram(data)
    assert envelope is not None
    assert envelope.headers.relates_to == "urn:uuid:alone"


def test_the_port_of_discovery_itself_takes_no_question_to_one_alone(site: tuple[Network, Served]) -> None:
    net, _ = site
    with asker(net, "device") as sock:
        sock.connect((net.address("server"), PORT))
        sock.send(probe(DEVICE))
        with pytest.raises(ConnectionRefusedError):
            sock.recv(65_535)


# Not for everybody -------------------------------------------------------------------------------------


def test_case_18_a_source_that_is_not_on_the_link_gets_nothing(site: tuple[Network, Served]) -> None:
    net, _ = site
    net.ip("device", "address", "add", "172.16.9.9/24", "dev", INTERFACE)
    net.ip("server", "route", "add", "172.16.9.0/24", "via", net.address("device"))
    server = (net.address("server"), 5362)
    with asker(net, "device", "172.16.9.9") as distant, asker(net, "device") as near:
        distant.sendto(probe(DEVICE), server)
        near.sendto(probe(DEVICE), server)
        assert near.recv(65_535)
        distant.setblocking(False)
        with pytest.raises(BlockingIOError):
            distant.recv(65_535)


def test_case_18_one_who_floods_is_answered_at_a_bounded_rate(site: tuple[Network, Served]) -> None:
    net, _ = site
    server = (net.address("server"), 5362)
    began = time.monotonic()
    with asker(net, "console") as flood, asker(net, "device") as other:
        for number in range(60):
            flood.sendto(probe(DEVICE, message_id=f"urn:uuid:{number}"), server)
        assert _asked_until_answered(other, server)
        allowed = 10 + 5 * (time.monotonic() - began) + 1
        flood.setblocking(False)
        answered = set()
        while True:
            try:
                envelope = read_datagram(flood.recv(65_535))
            except BlockingIOError:
                break
            assert envelope is not None
            answered.add(envelope.headers.relates_to)
    assert 0 < len(answered) <= allowed


def _asked_until_answered(sock: socket.socket, server: tuple[str, int]) -> bytes:
    """Ask again and again, since a flood may push a question out of the receiver's buffer."""
    sock.settimeout(1)
    for _ in range(SECONDS):
        sock.sendto(probe(DEVICE), server)
        with contextlib.suppress(TimeoutError):
            return sock.recv(65_535)
    raise AssertionError("not answered")


# Coming, going, changing -------------------------------------------------------------------------------


def test_a_server_says_when_it_comes_and_goes(tmp_path: Path) -> None:
    with network("server", "device") as net, listener(net, "device") as sock:
        served = serving(net, "server", tmp_path / "scans")
        hello = with_news(heard(sock, wsd.HELLO_ACTION))
        assert hello.endpoint.address == served.made.address
        assert hello.xaddrs == (served.made.address,)
        status, log = stop(served.process)
        assert status == 0, log
        bye = heard(sock, wsd.BYE_ACTION)
        assert bye.body is not None
        assert wsd.Bye.from_element(bye.body).endpoint.address == served.made.address


def test_a_search_that_goes_on_sees_who_leaves(tmp_path: Path) -> None:
    with network("server", "device") as net:
        served = serving(net, "server", tmp_path / "scans")
        command = [*PROGRAM, "discover", "--json", "--ca", served.ca, "--timeout", SECONDS]
        process = net.popen("device", command, env=environment())
        assert json.loads(line_with(process, "found"))["endpoint"] == served.made.address
        served.process.terminate()
        gone = json.loads(line_with(process, "gone"))
    assert gone == {"event": "gone", "endpoint": served.made.address}


def test_a_new_address_is_told_by_another_hello(tmp_path: Path) -> None:
    with network("server", "device") as net, listener(net, "device") as sock:
        serving(net, "server", tmp_path / "scans")
        first = heard(sock, wsd.HELLO_ACTION).headers.message_id
        net.ip("server", "address", "add", "10.77.0.99/24", "dev", INTERFACE)
        assert heard(sock, wsd.HELLO_ACTION, besides=first) is not None


async def test_changed_metadata_are_told_by_another_hello() -> None:
    desk = Desk()
    with network("server", "device") as net, listener(net, "device") as sock:
        with net.inside("server"):
            service = DiscoveryService(desk.responder, Reach(5362))
            service.start()
        assert (INTERFACE, 4) in service.places
        first = await asyncio.to_thread(heard, sock, wsd.HELLO_ACTION)
        desk.target = replace(desk.target, metadata_version=8)
        service.announce()
        second = await asyncio.to_thread(heard, sock, wsd.HELLO_ACTION, besides=first.headers.message_id)
        await service.stop()
    assert with_news(first).metadata_version == 7
    assert with_news(second).metadata_version == 8


def test_a_laboratory_server_without_tls_is_found_at_the_interfaces_address(tmp_path: Path) -> None:
    with network("server", "device") as net:
        serving(net, "server", tmp_path / "scans", tls={"enabled": False})
        found = first_found(net, "device")
        assert found["endpoint"] == f"http://{net.fqdn('server')}:5362/ScanServer"
        assert found["addresses"] == [f"http://{net.address('server')}:5362/ScanServer"]
        assert found["friendly_name"] == "Postscan scan server"


def test_an_interface_that_comes_up_later_is_used(tmp_path: Path) -> None:
    with network("server", "device") as net, listener(net, "device") as sock:
        net.ip("server", "link", "set", INTERFACE, "down")
        served = serving(net, "server", tmp_path / "scans")
        net.ip("server", "link", "set", INTERFACE, "up")
        assert with_news(heard(sock, wsd.HELLO_ACTION)).endpoint.address == served.made.address


def test_a_machine_without_ipv6_is_found_over_ipv4(tmp_path: Path) -> None:
    with network("server", "device") as net:
        net.run("server", ["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6"], check=True)
        served = serving(net, "server", tmp_path / "scans")
        found = first_found(net, "device", "--ca", served.ca)
        assert found["source"] == net.address("server")


# Sharing -----------------------------------------------------------------------------------------------


def test_daemons_on_one_machine_share_the_port(tmp_path: Path) -> None:
    with network("server", "device") as net, listener(net, "server") as another:
        first = serving(net, "server", tmp_path / "one")
        second = serving(net, "server", tmp_path / "two", port=5363)
        trusted = tmp_path / "both.pem"
        trusted.write_text(first.ca.read_text() + second.ca.read_text())
        command = [*PROGRAM, "discover", "--json", "--ca", trusted, "--timeout", SECONDS]
        process = net.popen("device", command, env=environment())
        found = [json.loads(line_with(process, '"found"'))["endpoint"] for _ in range(2)]
        assert set(found) == {first.made.address, second.made.address}
        assert heard(another, wsd.PROBE_ACTION) is not None


def test_a_server_on_loopback_alone_says_nothing_to_the_network(tmp_path: Path) -> None:
    with network("server") as net:
        made = install(net, "server", tmp_path / "scans", server={"listen": "127.0.0.1:5362"})
        serve(net, "server", made)
        assert "0E76" not in net.run("server", ["cat", "/proc/net/udp", "/proc/net/udp6"]).stdout


# Scanning ----------------------------------------------------------------------------------------------


def test_a_scan_finds_its_server_by_itself(site: tuple[Network, Served], tmp_path: Path) -> None:
    net, served = site
    page = draw_page(tmp_path / "page.png")
    done = net.run(
        "device",
        [*SCAN, page, "--config", served.made.config],
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert f"to {served.made.address}" in done.stdout


def test_a_scan_shows_no_certificate_to_servers_that_are_not_trusted(
    site: tuple[Network, Served], tmp_path: Path
) -> None:
    net, served = site
    other = install(net, "console", tmp_path / "other")
    page = draw_page(tmp_path / "page.png")
    done = net.run(
        "device",
        [*SCAN, page, "--config", served.made.config, "--ca", other.pki / "ca.pem"],
        env=environment(),
    )
    assert done.returncode == 5
    assert "not used" in done.stderr
    assert "--ca FILE" in done.stderr
