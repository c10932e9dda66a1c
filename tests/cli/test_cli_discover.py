"""`postscan discover`, and the search of `postscan scan --server auto`, as a user meets them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postscan.cli.server_search import NoServerFound, SeveralServers, find_server
from postscan.contracts.metadata import HostedService
from postscan.dpws.client import Untrusted
from postscan.dpws.discovery import search as searching
from postscan.dpws.discovery.findings import Sighting
from postscan.dpws.discovery.inspect import Device
from postscan.dpws.discovery.search import Left, News, SearchPlan
from postscan.soap.names import DSC
from support.commands import PROGRAM, Desk, environment, make_desk, postscan
from support.discovery import DEVICE, LINK, NEIGHBOUR, WS_DSC, WS_DSP
from support.netns import network


def test_a_type_that_is_none_is_refused_with_the_prefixes_there_are() -> None:
    done = postscan("discover", "--type", "scanner")
    assert done.returncode == 2
    assert "wscn" in done.stderr


def test_nothing_found_is_told_with_what_may_be_the_cause() -> None:
    with network("alone") as net:
        done = net.run("alone", [*PROGRAM, "discover", "--timeout", "0.5"], env=environment())
    assert done.returncode == 5
    assert done.stdout == ""
    assert "nobody answered within 0.5 s" in done.stderr
    for cause in ("firewall", "3702", "multicast", "--host"):
        assert cause in done.stderr


def test_an_interface_that_is_not_there_is_told() -> None:
    done = postscan("discover", "--interface", "nope0", "--timeout", "0.5")
    assert done.returncode == 5
    assert "no network interface to search on" in done.stderr


def test_a_host_that_does_not_answer_is_told() -> None:
    done = postscan("discover", "--host", "http://127.0.0.1:1/")
    assert done.returncode == 5
    assert "does not answer a search" in done.stderr


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_desk(tmp_path / "scans")


def test_what_is_found_is_told_in_words(desk: Desk) -> None:
    with desk.serving():
        done = postscan("discover", "--host", desk.made.address, "--ca", desk.made.pki / "ca.pem")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Postscan scan server"
    assert f"  address   {desk.made.address}" in lines
    assert any(line.startswith("  services  dsp:DistributedScanProcessingServiceType") for line in lines)
    assert "  metadata  version 1" in lines


# The choice of a server ------------------------------------------------------------------------------------


def server(
    host: str, *, types: tuple[str, ...] = (WS_DSP,), trusted: bool = True, scheme: str = "https"
) -> Device:
    url = f"{scheme}://{host}:5362/ScanServer"
    sighting = Sighting(url, (DEVICE, *types), (), (url,), 1, NEIGHBOUR, LINK)
    if not trusted:
        return Device(sighting, problem=Untrusted(f"the certificate of {url} is not trusted"))
    return Device(sighting, host, services=(HostedService((url,), types, "uri:x"),))


def answer(monkeypatch: pytest.MonkeyPatch, *news: News) -> None:
    async def found(plan: SearchPlan, tls: object) -> AsyncIterator[News]:
        for one in news:
            yield one

    monkeypatch.setattr(searching, "search", found)


async def choose(wanted: str = "scan.example.com") -> str:
    return await find_server(wanted, None, lambda what: None)


async def test_the_server_that_the_process_names_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, server("other.example.com"), server("Scan.Example.com"))
    assert await choose() == "https://Scan.Example.com:5362/ScanServer"


async def test_the_only_server_there_is_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, server("dc.example.com", types=(WS_DSC,)), server("other.example.com"), Left("urn:x"))
    assert await choose() == "https://other.example.com:5362/ScanServer"


async def test_among_several_servers_the_user_has_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, server("a.example.com"), server("b.example.com"))
    with pytest.raises(SeveralServers) as caught:
        await choose()
    assert "--server https://a.example.com:5362/ScanServer" in caught.value.what_to_do
    assert "--server https://b.example.com:5362/ScanServer" in caught.value.what_to_do


@pytest.mark.parametrize(
    "found",
    [
        server("scan.example.com", trusted=False),
        server("scan.example.com", scheme="http"),
        server("scan.example.com", types=(WS_DSC,)),
    ],
)
async def test_a_server_that_proves_nothing_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, found: Device
) -> None:
    answer(monkeypatch, found)
    with pytest.raises(NoServerFound):
        await choose()


async def test_a_console_takes_the_only_server_that_can_be_administered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer(monkeypatch, server("scan.example.com"), server("dc.example.com", types=(WS_DSP, WS_DSC)))
    found = await find_server(None, None, lambda what: None, protocol=DSC)
    assert found == "https://dc.example.com:5362/ScanServer"


async def test_a_console_is_told_which_servers_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, *(server(f"{name}.example.com", types=(WS_DSC,)) for name in "ab"))
    with pytest.raises(SeveralServers, match=r"^2 scan servers answer$"):
        await find_server(None, None, lambda what: None, protocol=DSC)
