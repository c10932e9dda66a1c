"""The sockets of discovery: one a group and interface to hear with, one a version of IP to speak with.

Those to hear with are bound to the group's own address, so that they take no unicast away from other daemons
on port 3702, with which they share it. All that is sent has a TTL (hop limit) of 1.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from postscan.dpws.discovery.interfaces import GROUPS, PORT, Address, Interface, plain_address
from postscan.dpws.discovery.timing import MAX_DATAGRAM

# linux/in.h, linux/in6.h; Python names only some of them.
_IP_PKTINFO, _IP_MULTICAST_ALL = 8, 49
_IPV6_MULTICAST_ALL, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 29, 49, 50
_INFO4: Final = struct.Struct("=i4s4s")
_INFO6: Final = struct.Struct("=16si")
_MEMBER4: Final = struct.Struct("=4s4si")
_MEMBER6: Final = struct.Struct("=16si")
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_ANY: Final = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - answers come to the interface the question went out by
_NO_ADDRESS: Final = bytes(4)
_BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class Received:
    """A datagram as it came: from where, over which interface (its index), to which address."""

    data: bytes
    source: Address
    port: int
    interface: int
    destination: Address


def open_group_socket(interface: Interface, version: int) -> socket.socket:
    """Return a socket that hears the group of discovery on one interface. :raises OSError: not possible."""
    group = str(GROUPS[version])
    sock = _open(version)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Either option suffices to share the port with a daemon that sets only that one.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if version == 4:
            sock.bind((group, PORT))
            membership = _MEMBER4.pack(GROUPS[4].packed, _NO_ADDRESS, interface.index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        else:
            sock.bind((group, PORT, 0, interface.index))
            membership = _MEMBER6.pack(GROUPS[6].packed, interface.index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
    except BaseException:
        sock.close()
        raise
    return sock


def open_port_socket(version: int, port: int) -> socket.socket:
    """Return a socket on a UDP port (0: any) to send from and be asked at. :raises OSError: not possible."""
    sock = _open(version)
    try:
        if version == 4:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        sock.bind((_ANY[version], port))
    except BaseException:
        sock.close()
        raise
    return sock


def receive(sock: socket.socket) -> Received | None:
    """Take one datagram; None for one that cannot be placed (no interface told, longer than any may be).

    :raises BlockingIOError: none is there.
    """
    data, ancillary, flags, source = sock.recvmsg(MAX_DATAGRAM + 1, 256)
    if flags & socket.MSG_TRUNC or len(data) > MAX_DATAGRAM:
        return None
    for level, kind, info in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(info) >= _INFO4.size:
            index, _, destination = _INFO4.unpack_from(info)
            to: Address = ipaddress.IPv4Address(destination)
        elif (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO) and len(info) >= _INFO6.size:
            packed, index = _INFO6.unpack_from(info)
            to = ipaddress.IPv6Address(packed)
        else:
            continue
        return Received(data, plain_address(str(source[0])), int(source[1]), index, to)
    return None


def waiting(sock: socket.socket) -> Iterator[Received]:
    """Take the datagrams that wait, at most a few: a flood must not keep everything else waiting."""
    for _ in range(_BATCH):
        try:
            received = receive(sock)
        except OSError:
            return
        if received is not None:
            yield received


def send(sock: socket.socket, data: bytes, destination: Address, port: int, interface: Interface) -> None:
    """Send a datagram over one interface, from its own address there. :raises OSError: it does not go."""
    if isinstance(destination, ipaddress.IPv4Address):
        own = interface.source_for(destination)
        info = _INFO4.pack(interface.index, own.packed if own else _NO_ADDRESS, _NO_ADDRESS)
        control = (socket.IPPROTO_IP, _IP_PKTINFO, info)
        sock.sendmsg([data], [control], 0, (str(destination), port))
    else:
        info = _INFO6.pack(bytes(16), interface.index)
        scope = interface.index if destination.is_link_local or destination.is_multicast else 0
        control = (socket.IPPROTO_IPV6, _IPV6_PKTINFO, info)
        sock.sendmsg([data], [control], 0, (str(destination), port, 0, scope))


def _open(version: int) -> socket.socket:
    sock = socket.socket(_FAMILY[version], socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        if version == 4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            # Only what this very socket joined, not what any program of this machine did.
            sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    except BaseException:
        sock.close()
        raise
    return sock
