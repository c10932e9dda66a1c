"""The answering and announcing side with its sockets: follows the machine's interfaces while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import socket
from dataclasses import dataclass, field
from typing import Final

from postscan.core.log import get_logger
from postscan.dpws.discovery import netlink, sockets
from postscan.dpws.discovery.interfaces import Address, Interface, chosen
from postscan.dpws.discovery.messages import Datagram, Outgoing
from postscan.dpws.discovery.responder import Responder

_log = get_logger("discovery")
# A cable or a DHCP lease changes several things at once; one Hello tells them all.
_SETTLE_SECONDS: Final = 0.3
_MOST_PENDING: Final = 512
_NOT_HERE: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


@dataclass(frozen=True, slots=True)
class Reach:
    """Where discovery is spoken: interfaces by name (none: all), versions of IP, and the own UDP port."""

    port: int
    interfaces: tuple[str, ...] = ()
    versions: frozenset[int] = frozenset({4, 6})


@dataclass(slots=True)
class _Place:
    """One interface and version of IP that is spoken on."""

    interface: Interface
    hears: socket.socket
    addresses: frozenset[Address] = field(default_factory=frozenset)


class DiscoveryService:
    """Answers Probes and Resolves, says Hello and Bye, for one device."""

    def __init__(self, responder: Responder, reach: Reach) -> None:
        self._responder = responder
        self._reach = reach
        self._places: dict[tuple[int, int], _Place] = {}
        self._speaks: dict[int, socket.socket] = {}
        self._own: frozenset[Address] = frozenset()
        self._listener: netlink.ChangeListener | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._pending: dict[int, asyncio.TimerHandle] = {}
        self._numbers = itertools.count()
        self._told: set[object] = set()

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """The interfaces (by name) and versions of IP that are spoken on just now."""
        return tuple(sorted((p.interface.name, version) for (_, version), p in self._places.items()))

    def start(self) -> None:
        """Listen, and say Hello. What this machine cannot do is logged once; the rest works."""
        for version in sorted(self._reach.versions):
            self._speak(version)
        try:
            self._listener = netlink.ChangeListener()
        except OSError as error:
            self._tell_once("netlink", "changes of network interfaces go unnoticed", error)
        else:
            self._loop.add_reader(self._listener.fileno(), self._changed)
        self._follow()
        _log.info("discovery ready", port=self._reach.port, places=str(self.places))

    def announce(self) -> None:
        """Say Hello everywhere, because the metadata are others now."""
        for version, place in self._spoken():
            self._hello(place, version)

    async def stop(self) -> None:
        """Say Bye everywhere (this takes a second, for its copies), and stop listening."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
        if self._settling is not None:
            self._settling.cancel()
        self._forget_pending()
        spoken = self._spoken()
        for place in self._places.values():
            self._close(place.hears)
        self._places.clear()
        copies = [
            (moment, outgoing)
            for version, place in spoken
            for outgoing in (self._responder.bye(place.interface, version),)
            if outgoing is not None
            for moment in outgoing.times
        ]
        began = self._loop.time()
        for moment, outgoing in sorted(copies, key=lambda copy: copy[0]):
            await asyncio.sleep(max(0.0, began + moment - self._loop.time()))
            self._send(outgoing)
        for sock in self._speaks.values():
            self._close(sock)
        self._speaks.clear()

    # Interfaces ----------------------------------------------------------------------------------------

    def _speak(self, version: int) -> None:
        """Open the socket to speak with; on any port where the server's own is taken."""
        for port in (self._reach.port, 0):
            try:
                sock = sockets.open_port_socket(version, port)
            except OSError as error:
                if error.errno in _NOT_HERE:
                    self._tell_once(("speak", version), f"no discovery over IPv{version}", error)
                    return
                self._tell_once(("port", version), f"UDP port {port} cannot be used for discovery", error)
                continue
            self._speaks[version] = sock
            self._loop.add_reader(sock.fileno(), self._readable, sock)
            return

    def _changed(self) -> None:
        if self._listener is not None:
            self._listener.drain()
        if self._settling is None:
            self._settling = self._loop.call_later(_SETTLE_SECONDS, self._follow)

    def _follow(self) -> None:
        """Listen on the interfaces there are now, and say Hello where an address is new."""
        self._settling = None
        try:
            found = netlink.interfaces()
        except OSError as error:
            self._tell_once("interfaces", "the network interfaces cannot be listed: no discovery", error)
            return
        self._own = frozenset(a.ip for interface in found for a in interface.addresses)
        wanted = {
            (interface.index, version): interface
            for interface in chosen(found, self._reach.interfaces)
            for version in interface.families() & set(self._speaks)
        }
        for key in set(self._places) - set(wanted):
            self._close(self._places.pop(key).hears)
        for key, interface in wanted.items():
            self._follow_one(key, interface)
        if not any(not place.interface.loopback for place in self._places.values()):
            self._tell_once("none", "no network interface for discovery yet; waiting for one", None)

    def _follow_one(self, key: tuple[int, int], interface: Interface) -> None:
        version = key[1]
        place = self._places.get(key)
        if place is None:
            try:
                hears = sockets.open_group_socket(interface, version)
            except OSError as error:
                what = f"no multicast over IPv{version} on {interface.name}"
                self._tell_once(("join", interface.name, version), what, error)
                return
            place = self._places[key] = _Place(interface, hears)
            self._loop.add_reader(hears.fileno(), self._readable, hears)
        place.interface = interface
        addresses = frozenset(a.ip for a in interface.addresses if a.version == version)
        is_news = not addresses <= place.addresses
        place.addresses = addresses
        if is_news:
            self._hello(place, version)

    def _spoken(self) -> list[tuple[int, _Place]]:
        return [(version, place) for (_, version), place in self._places.items()]

    def _hello(self, place: _Place, version: int) -> None:
        outgoing = self._responder.hello(place.interface, version)
        if outgoing is not None:
            self._schedule(outgoing)

    # Datagrams -----------------------------------------------------------------------------------------

    def _readable(self, sock: socket.socket) -> None:
        for received in sockets.waiting(sock):
            self._take(received)

    def _take(self, received: sockets.Received) -> None:
        version = received.source.version
        place = self._places.get((received.interface, version))
        if place is None or len(self._pending) >= _MOST_PENDING:
            return
        datagram = Datagram(
            received.data, received.source, received.port, place.interface, received.destination
        )
        outgoing = self._responder.respond(datagram, self._own, self._loop.time())
        if outgoing is not None:
            self._schedule(outgoing)

    def _schedule(self, outgoing: Outgoing) -> None:
        for moment in outgoing.times:
            number = next(self._numbers)
            self._pending[number] = self._loop.call_later(moment, self._due, number, outgoing)

    def _due(self, number: int, outgoing: Outgoing) -> None:
        del self._pending[number]
        self._send(outgoing)

    def _send(self, outgoing: Outgoing) -> None:
        sock = self._speaks.get(outgoing.destination.version)
        if sock is None:
            return
        try:
            sockets.send(
                sock, outgoing.message.write(), outgoing.destination, outgoing.port, outgoing.interface
            )
        except OSError as error:
            what = f"discovery cannot send on {outgoing.interface.name}"
            self._tell_once(("send", outgoing.interface.name, outgoing.destination.version), what, error)

    def _forget_pending(self) -> None:
        for handle in self._pending.values():
            handle.cancel()
        self._pending.clear()

    # Inside --------------------------------------------------------------------------------------------

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def _close(self, sock: socket.socket) -> None:
        with contextlib.suppress(ValueError):
            self._loop.remove_reader(sock.fileno())
        sock.close()

    def _tell_once(self, about: object, what: str, error: OSError | None) -> None:
        if about not in self._told:
            self._told.add(about)
            why = "" if error is None else os.strerror(error.errno) if error.errno else str(error)
            _log.warning(what, why=why)
