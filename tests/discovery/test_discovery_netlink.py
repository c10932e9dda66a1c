"""What the kernel tells of the network interfaces."""

from __future__ import annotations

import ipaddress
import time

from hypothesis import given
from hypothesis import strategies as st

from postscan.dpws.discovery import netlink
from postscan.dpws.discovery.interfaces import Interface, chosen
from support.discovery import LINK, LOOPBACK, address
from support.netns import INTERFACE, network


def test_loopback_is_an_interface_with_its_address() -> None:
    with network("alone") as net, net.inside("alone"):
        found = {i.name: i for i in netlink.interfaces()}
        end = time.monotonic() + 60
        # The kernel makes the link-local address by itself, a moment after the link is up.
        while not any(a.ip.is_link_local for a in found[INTERFACE].addresses) and time.monotonic() < end:
            time.sleep(0.05)
            found = {i.name: i for i in netlink.interfaces()}
    assert found["lo"].loopback
    assert ipaddress.ip_interface("127.0.0.1/8") in found["lo"].addresses
    assert ipaddress.ip_interface(f"{net.address('alone')}/24") in found[INTERFACE].addresses
    assert any(a.ip.is_link_local for a in found[INTERFACE].addresses)


def test_an_interface_that_is_down_is_none() -> None:
    with network("alone") as net, net.inside("alone"):
        net.ip("alone", "link", "set", INTERFACE, "down")
        assert [i.name for i in netlink.interfaces()] == ["lo"]


def test_a_change_of_addresses_is_told() -> None:
    with network("alone") as net:
        with net.inside("alone"):
            listener = netlink.ChangeListener()
        try:
            listener.drain()
            net.ip("alone", "address", "add", "10.99.0.1/24", "dev", INTERFACE)
            assert listener._socket.recv(65_536)
        finally:
            listener.close()


@given(st.binary(max_size=200))
def test_any_octets_from_the_kernel_are_read_without_harm(data: bytes) -> None:
    for message in netlink.messages_in(data):
        assert len(message.body) <= len(data)


def test_a_neighbour_is_on_the_interfaces_networks_or_link_local() -> None:
    assert LINK.has_neighbour(address("192.168.7.9"))
    assert LINK.has_neighbour(address("fe80::9"))
    assert not LINK.has_neighbour(address("192.168.8.9"))
    assert not Interface(3, "v4", (ipaddress.ip_interface("10.0.0.1/8"),)).has_neighbour(address("fe80::9"))


def test_a_neighbour_is_spoken_to_from_the_address_on_its_own_network() -> None:
    both = Interface(
        2, "eth0", (ipaddress.ip_interface("10.0.0.1/8"), ipaddress.ip_interface("192.168.7.1/24"))
    )
    assert both.source_for(address("192.168.7.9")) == address("192.168.7.1")
    assert both.source_for(address("239.255.255.250")) == address("10.0.0.1")
    assert both.source_for(address("fe80::1")) is None


def test_interfaces_are_chosen_by_name() -> None:
    assert chosen((LINK, LOOPBACK), ()) == (LINK, LOOPBACK)
    assert chosen((LINK, LOOPBACK), ("eth0",)) == (LINK,)
