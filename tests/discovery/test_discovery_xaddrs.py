"""Under which addresses the neighbours on an interface are told to come."""

from __future__ import annotations

import pytest

from postscan.server.discovery import XAddrs
from support.discovery import ADDRESS, LINK, LOOPBACK, address

PLAIN = "http://scan.example.com:5362/ScanServer"


@pytest.mark.parametrize("listening", ["0.0.0.0", "192.168.7.1", "::"])
def test_a_secure_server_has_one_address_whoever_asks(listening: str) -> None:
    assert XAddrs(ADDRESS, [address(listening)], 5362)(LINK) == (ADDRESS,)


def test_a_plain_server_is_told_by_the_address_of_the_interface() -> None:
    xaddrs = XAddrs(PLAIN, [address("0.0.0.0")], 5362)
    assert xaddrs(LINK) == ("http://192.168.7.1:5362/ScanServer",)
    assert xaddrs(LOOPBACK) == ("http://127.0.0.1:5362/ScanServer",)
    assert XAddrs(PLAIN, [address("::")], 5362)(LINK) == ("http://[fd07::1]:5362/ScanServer",)


@pytest.mark.parametrize("server", [ADDRESS, PLAIN])
def test_where_the_server_does_not_listen_it_is_not_told(server: str) -> None:
    assert XAddrs(server, [address("10.0.0.1")], 5362)(LINK) == ()
    assert XAddrs(server, [address("127.0.0.1")], 5362)(LINK) == ()


def test_the_machine_itself_reaches_every_address_of_its_own() -> None:
    assert XAddrs(ADDRESS, [address("192.168.7.1")], 5362)(LOOPBACK) == (ADDRESS,)
    assert XAddrs(PLAIN, [address("192.168.7.1")], 5362)(LOOPBACK) == ("http://192.168.7.1:5362/ScanServer",)
