"""The kernel's own word on network interfaces (rtnetlink(7)): which there are, and that something changed.

Own code because it is this little: two questions, one kind of answer, and a socket that becomes readable when
an address or a link changes.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from postscan.dpws.discovery.interfaces import Interface

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR, _DONE, _OVERRUN = 2, 3, 4
_NEW_LINK, _GET_LINK, _NEW_ADDRESS, _GET_ADDRESS = 16, 18, 20, 22
_REQUEST_DUMP: Final = 0x301
_IFLA_NAME, _IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 3, 1, 2, 8
_UP, _LOOPBACK = 0x1, 0x8
_MULTICAST: Final = 0x1000
# Not usable yet, or never: the address may be somebody else's.
_TENTATIVE, _DAD_FAILED = 0x40, 0x08
_CHANGES: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_BUFFER: Final = 65_536
_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the kernel: its type and what stands behind the header."""

    kind: int
    body: bytes


def messages_in(data: bytes) -> Iterator[Message]:
    """Yield the messages of one datagram; stops where the rest is none."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data):
            return
        yield Message(kind, data[at + _HEADER.size : at + length])
        at += _aligned(length)


def interfaces() -> tuple[Interface, ...]:
    """Return the interfaces that are up, have an address, and can do multicast (or are loopback).

    :raises OSError: the kernel does not tell.
    """
    links: dict[int, tuple[str, int]] = {}
    for message in _dump(_GET_LINK):
        if message.kind == _NEW_LINK and len(message.body) >= _LINK.size:
            _, _, index, flags, _ = _LINK.unpack_from(message.body)
            name = _attributes(message.body[_LINK.size :]).get(_IFLA_NAME, b"")
            links[index] = (name.rstrip(b"\0").decode("utf-8", "replace"), flags)
    addresses: dict[int, list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]] = defaultdict(list)
    for message in _dump(_GET_ADDRESS):
        if message.kind == _NEW_ADDRESS and len(message.body) >= _ADDRESS.size:
            found = _address_of(message.body)
            if found is not None:
                addresses[found[0]].append(found[1])
    return tuple(
        Interface(index, name, tuple(addresses[index]), loopback=bool(flags & _LOOPBACK))
        for index, (name, flags) in sorted(links.items())
        if addresses[index] and flags & _UP and flags & (_LOOPBACK | _MULTICAST)
    )


class ChangeListener:
    """A socket that is readable after an address or link changed; :meth:`drain` then empties it."""

    def __init__(self) -> None:
        """Listen. :raises OSError: this is not allowed here."""
        self._socket = _open(_CHANGES)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Take all that was said; what changed is asked anew, so nothing of it is read."""
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    self._socket.recv(_BUFFER)
                except OSError as error:
                    if isinstance(error, BlockingIOError):
                        raise
                    return  # so much was said that some is lost (ENOBUFS): all the same

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def _open(groups: int) -> socket.socket:
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        kernel.bind((0, groups))
    except BaseException:
        kernel.close()
        raise
    return kernel


def _dump(question: int) -> Iterator[Message]:
    with contextlib.closing(_open(0)) as kernel:
        kernel.settimeout(_TIMEOUT)
        kernel.send(_HEADER.pack(_HEADER.size + 1, question, _REQUEST_DUMP, 1, 0) + b"\0")
        while True:
            for message in messages_in(kernel.recv(_BUFFER)):
                if message.kind == _DONE:
                    return
                if message.kind in (_ERROR, _OVERRUN):
                    number = -struct.unpack_from("=i", message.body)[0] if len(message.body) >= 4 else 0
                    raise OSError(number, f"netlink: {os.strerror(number)}")
                yield message


def _address_of(
    body: bytes,
) -> tuple[int, ipaddress.IPv4Interface | ipaddress.IPv6Interface] | None:
    family, prefix, flags, _, index = _ADDRESS.unpack_from(body)
    attributes = _attributes(body[_ADDRESS.size :])
    if len(attributes.get(_IFA_FLAGS, b"")) == 4:
        flags = struct.unpack("=I", attributes[_IFA_FLAGS])[0]
    # On a point-to-point link ADDRESS is the other end and LOCAL our own.
    packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    if family == socket.AF_INET6 and flags & (_TENTATIVE | _DAD_FAILED):
        return None
    try:
        return index, ipaddress.ip_interface((packed, prefix))
    except ValueError:
        return None


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            break
        found[kind] = data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3
