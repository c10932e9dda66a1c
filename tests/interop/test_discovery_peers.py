"""Discovery with programs that others wrote, each on a machine of its own: WSDiscovery, wsdd, tshark.

Each test prints one line: the peer, its version, and what was exchanged.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from postscan.contracts import wsd
from postscan.dpws.discovery.messages import read_datagram
from postscan.dpws.discovery.timing import MULTICAST_COPIES, UNICAST_COPIES
from postscan.soap.envelope import Envelope
from postscan.soap.names import DSP, WSCN, WSDP, qname
from support.commands import stop
from support.netns import INTERFACE, SECONDS, Network, network
from support.netservers import Served, discover, install, serve
from support.peers import debian_version, program, version_of

PEER = Path(__file__).parent / "wsdiscovery_peer.py"
DEVICE = qname(WSDP, "Device")
WS_DSP = qname(DSP, "DistributedScanProcessingServiceType")
METRICS = "127.0.0.1:9362"
GROUPS = {4: "239.255.255.250", 6: "ff02::c"}
TRIES = 5
Figures = Callable[[str, object], None]


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    """Make the machines; each test runs a server of its own."""
    with network("server", "peer", "console") as net:
        yield net


@pytest.fixture
def served(net: Network, tmp_path: Path) -> Iterator[Served]:
    """Run a server while a test does."""
    server = {"friendly_name": "Server of the test", "metrics_listen": METRICS}
    with running(net, tmp_path, server=server) as served:
        yield served


@contextmanager
def running(net: Network, folder: Path, **overrides: Any) -> Iterator[Served]:
    served = serve(net, "server", install(net, "server", folder / "scans", **overrides))
    try:
        yield served
    finally:
        if served.process.poll() is None:
            stop(served.process)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """End a program with the block."""
    try:
        yield process
    finally:
        process.kill()
        with contextlib.suppress(ValueError):
            process.communicate(timeout=SECONDS)


def again(attempt: Callable[[], bool], what: str) -> None:
    """Try until it works: datagrams may be lost, and a peer may be slow to start."""
    for _ in range(TRIES):
        if attempt():
            return
    raise AssertionError(f"{what}: not in {TRIES} tries")


# WSDiscovery -------------------------------------------------------------------------------------------


def wsdiscovery(net: Network, *words: object) -> list[dict[str, Any]]:
    """Run the peer to its end; return what it said."""
    done = net.run("peer", [sys.executable, "-W", "ignore", PEER, *words])
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def next_event(peer: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """Read what the peer says until it tells of an event."""
    assert peer.stdout is not None
    for line in peer.stdout:
        said: dict[str, Any] = json.loads(line)
        if said["event"] == event:
            return said
    raise AssertionError(f"the peer ended without telling of {event}")


def started(net: Network, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", PEER, *words]
    peer = net.popen("peer", command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    next_event(peer, "ready")
    return peer


def test_wsdiscovery_finds_the_server_by_its_types(
    net: Network, served: Served, record_property: Figures
) -> None:
    found: list[dict[str, Any]] = []

    def search() -> bool:
        found[:] = wsdiscovery(net, "search", 3, DEVICE, WS_DSP)
        return bool(found)

    again(search, "WSDiscovery finds the server")
    (server,) = found
    assert server["endpoint"] == served.made.address
    assert server["addresses"] == [served.made.address]
    assert {DEVICE, WS_DSP} <= set(server["types"])
    # It would list any answer that fits: that there is none shows that the server kept silent.
    assert wsdiscovery(net, "search", 2, qname(WSCN, "ScanDeviceType")) == []
    record_property(
        "figures",
        f"interop: WSDiscovery {version('WSDiscovery')}: multicast Probe answered with "
        f"{server['addresses'][0]} and its types; Probe for another type not answered",
    )


def test_wsdiscovery_hears_the_server_come_and_go(
    net: Network, tmp_path: Path, record_property: Figures
) -> None:
    with ended(started(net, "watch")) as peer:
        with running(net, tmp_path) as served:
            hello = next_event(peer, "hello")
        bye = next_event(peer, "bye")
    assert hello["endpoint"] == bye["endpoint"] == served.made.address
    assert hello["addresses"] == [served.made.address]
    assert WS_DSP in hello["types"]
    record_property(
        "figures", f"interop: WSDiscovery {version('WSDiscovery')}: Hello with XAddrs and Bye heard"
    )


def test_wsdiscovery_is_found_by_discover(net: Network, served: Served, record_property: Figures) -> None:
    scanner = qname(WSCN, "ScanDeviceType")
    address = f"http://{net.address('peer')}:8018/wsd"
    found: list[dict[str, Any]] = []

    def search() -> bool:
        said = discover(net, "console", "--type", scanner, "--timeout", 3)
        found[:] = [one for one in said if one["event"] == "found"]
        return bool(found)

    with ended(started(net, "publish", scanner, address)):
        again(search, "WSDiscovery's service is found")
    (device,) = found
    assert device["types"] == [scanner]
    assert device["addresses"] == [address]
    # Nothing listens there, and that is told instead of a name.
    assert device["problem"]
    record_property(
        "figures",
        f"interop: WSDiscovery {version('WSDiscovery')}: found by `postscan discover` at {address}",
    )


# wsdd --------------------------------------------------------------------------------------------------


@dataclass
class Wsdd:
    """wsdd on a machine; its log is read from a file as it grows."""

    net: Network
    process: subprocess.Popen[str]
    log: Path

    def says(self, words: str) -> bool:
        """Wake it and give it a moment; tell whether its log has these words."""
        for _ in range(20):
            if words in self.log.read_text():
                return True
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.25)
        self.wake()
        return False

    def wake(self) -> None:
        """Let an address come and go, which makes an idle wsdd look at the network."""
        for word in ("add", "del"):
            self.net.ip("peer", "address", word, "10.77.0.99/24", "dev", INTERFACE)


@contextmanager
def wsdd(net: Network, folder: Path, ca: Path) -> Iterator[Wsdd]:
    path = program("wsdd", "wsdd")
    log = folder / "wsdd.log"
    command = [path, "-i", INTERFACE, "-4", "-vv", "--discovery", "--hostname", "WSDDHOST"]
    with log.open("w") as said:
        # It trusts whom Python trusts: here the authority of the installation.
        command = ["env", f"SSL_CERT_FILE={ca}", *command]
        process = net.popen("peer", command, stdout=said, stderr=said)
        with ended(process):
            yield Wsdd(net, process, log)


def gets_answered(net: Network) -> int:
    """Return how many Gets the server has answered with its metadata, as it counts them itself."""
    url = f"http://{METRICS}/metrics"
    code = f"import urllib.request as u; print(u.urlopen('{url}', timeout=20).read().decode())"
    metrics = net.run("server", [sys.executable, "-c", code]).stdout
    found = re.search(r'postscan_requests_total\{operation="Get",outcome="ok"\} (\d+)', metrics)
    return int(found.group(1)) if found else 0


def test_wsdd_finds_the_server_and_gets_its_metadata(
    net: Network, served: Served, tmp_path: Path, record_property: Figures
) -> None:
    with wsdd(net, tmp_path, served.ca) as peer:
        again(lambda: peer.says(f"probe match for {served.made.address}"), "wsdd finds the server")
        again(lambda: bool(gets_answered(net)) or peer.says("(never said)"), "wsdd gets the metadata")
        gets = gets_answered(net)
        stop(served.process)
        again(lambda: peer.says('"Bye urn:uuid:'), "wsdd hears the server go")
    record_property(
        "figures",
        f"interop: wsdd {debian_version('wsdd')}: Probe answered, {gets} Get over HTTPS answered with the "
        "metadata, Bye heard",
    )


def test_wsdd_is_found_by_discover(
    net: Network, served: Served, tmp_path: Path, record_property: Figures
) -> None:
    found: list[dict[str, Any]] = []

    with wsdd(net, tmp_path, served.ca) as peer:

        def search() -> bool:
            said = discover(net, "console", "--ca", served.ca, "--timeout", 4)
            found[:] = [one for one in said if one["event"] == "found" and one["model"] == "wsdd"]
            if not found:
                peer.wake()
            return bool(found)

        again(search, "wsdd is found")
    (computer,) = found
    assert computer["friendly_name"] == "WSD Device WSDDHOST"
    assert computer["problem"] is None
    assert "{http://schemas.microsoft.com/windows/pub/2005/07}Computer" in computer["types"]
    record_property(
        "figures",
        f"interop: wsdd {debian_version('wsdd')}: found by `postscan discover`, name and model read from its "
        f"metadata at {computer['addresses'][0]}",
    )


# tshark ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Datagram:
    """One datagram as tshark saw it."""

    when: float
    source: str
    destination: str
    hops: int
    port: int
    envelope: Envelope

    @property
    def action(self) -> str:
        """The last segment of the action."""
        return self.envelope.headers.action.rpartition("/")[2]

    @property
    def message_id(self) -> str:
        """The id of the message."""
        return self.envelope.headers.message_id or ""


class Capture:
    """What passes an interface, in a file."""

    def __init__(self, net: Network, file: Path) -> None:
        self._tshark = program("tshark", "tshark")
        self._net = net
        self._file = file

    @contextmanager
    def running(self) -> Iterator[None]:
        """Capture while the block runs."""
        command = [self._tshark, "-i", INTERFACE, "-f", "udp or igmp", "-w", self._file, "-q"]
        process = self._net.popen("console", command, stdout=subprocess.DEVNULL)
        assert process.stderr is not None
        for line in process.stderr:
            if "Capturing on" in line:
                break
        # It says so a moment before the first packet can be seen: wait for one of our own in the file.
        self._until_seen("127.0.0.1:started")
        try:
            yield
        finally:
            self._until_seen("127.0.0.1:ending")
            process.terminate()
            process.communicate(timeout=SECONDS)

    def _until_seen(self, mark: str) -> None:
        code = f"import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'{mark}', ('{{}}', 9))"
        for _ in range(200):
            self._net.run("console", [sys.executable, "-S", "-c", code.format(self._net.address("peer"))])
            if self._file.exists() and mark.encode() in self._file.read_bytes():
                return
            time.sleep(0.1)
        raise AssertionError("tshark captures nothing")

    def fields(self, wanted: str, *names: str) -> list[list[str]]:
        """Return fields of the packets that a display filter wants."""
        command = [self._tshark, "-r", self._file, "-n", "-Y", wanted, "-T", "fields", "-E", "separator=|"]
        for name in names:
            command += ["-e", name]
        done = self._net.run("console", command)
        assert done.returncode == 0, done.stderr
        return [line.split("|") for line in done.stdout.splitlines()]

    def datagrams(self) -> list[Datagram]:
        """Return the discovery messages in the order they passed."""
        rows = self.fields(
            "udp and !icmp and !icmpv6",
            *("frame.time_epoch", "ip.src", "ipv6.src", "ip.dst", "ipv6.dst", "ip.ttl", "ipv6.hlim"),
            *("udp.dstport", "udp.payload"),
        )
        seen = []
        for when, source4, source6, to4, to6, ttl, limit, port, payload in rows:
            envelope = read_datagram(bytes.fromhex(payload.replace(":", "")))
            if envelope is not None:
                hops = int(ttl or limit)
                seen.append(Datagram(float(when), source4 or source6, to4 or to6, hops, int(port), envelope))
        return seen


def copies(datagrams: list[Datagram], action: str, destination: str) -> list[list[Datagram]]:
    """Return the copies of each message with this action that went to a destination."""
    wanted = [d for d in datagrams if d.action == action and d.destination == destination]
    return [[d for d in wanted if d.message_id == one] for one in dict.fromkeys(d.message_id for d in wanted)]


def pauses(datagrams: list[Datagram]) -> str:
    times = [d.when for d in datagrams]
    return " ".join(f"{(later - earlier) * 1_000:.0f}" for earlier, later in itertools.pairwise(times))


def test_tshark_sees_multicast_as_it_should_be(
    net: Network, tmp_path: Path, record_property: Figures
) -> None:
    capture = Capture(net, tmp_path / "discovery.pcapng")
    server, console = net.address("server"), net.address("console")
    # The server has ended before the capture does, so the last copies of its Bye are in it.
    with capture.running(), running(net, tmp_path) as served:
        again(
            lambda: bool(discover(net, "console", "--ca", served.ca, "--timeout", 3)), "the server is found"
        )
    seen = capture.datagrams()
    own = [d for d in seen if d.source in (server, net.link_local("server"))]

    for action in ("Hello", "Bye"):
        for group in GROUPS.values():
            (message,) = copies(own, action, group)
            assert len(message) == MULTICAST_COPIES, f"{action} to {group}"
            assert {(d.port, d.hops) for d in message} == {(3702, 1)}
    told = copies(own, "Hello", GROUPS[4])[0][0].envelope
    assert told.body is not None
    assert wsd.Hello.from_element(told.body).xaddrs == (served.made.address,)

    # Answers: to the asker alone, each related to a question it asked, each sent twice, and not by multicast.
    asked = {d.message_id for d in seen if d.action == "Probe"}
    answers = [d for d in own if d.action == "ProbeMatches"]
    assert answers
    assert {d.destination for d in answers} <= {console, net.address6("console"), net.link_local("console")}
    assert {d.envelope.headers.relates_to for d in answers} <= asked
    for message in (m for to in {d.destination for d in answers} for m in copies(own, "ProbeMatches", to)):
        assert len(message) == UNICAST_COPIES
    assert all(d.action in ("Hello", "Bye") for d in own if d.destination in GROUPS.values())

    joined = {row[0] for row in capture.fields(f"igmp and ip.src == {server}", "igmp.maddr")}
    assert any(GROUPS[4] in addresses for addresses in joined)
    hello = copies(own, "Hello", GROUPS[4])[0]
    record_property(
        "figures",
        f"interop: tshark {version_of(['tshark', '--version'])}: IGMP join of {GROUPS[4]}; Hello and Bye to "
        f"{' and '.join(GROUPS.values())} port 3702 with TTL 1, {MULTICAST_COPIES} copies of one MessageID "
        f"each (pauses {pauses(hello)} ms); {len(answers)} ProbeMatches, unicast to the asker, "
        f"{UNICAST_COPIES} copies each",
    )
