"""A search with its sockets: asks everybody on the links, listens, and yields devices as they are known."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Collection, Coroutine
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any, Final

from postscan.contracts import wsd
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.dpws.discovery import netlink, sockets
from postscan.dpws.discovery.findings import Findings, Gone, Question, Sighting
from postscan.dpws.discovery.inspect import Device, NoAnswer, NotItsAddress, ask_host, inspect
from postscan.dpws.discovery.interfaces import GROUPS, PORT, Address, Interface, chosen
from postscan.dpws.discovery.timing import MULTICAST_COPIES, copy_times

_log = get_logger("discovery")
_AT_ONCE: Final = 8
_MOST_TASKS: Final = 512
_GRACE_SECONDS: Final = 10.0


class NoMulticast(PostscanError):
    """There is no network interface over which anybody could be asked."""

    advice = "Check the network (`ip address`), and the names given with --interface; or ask by --host."
    exit_code = 5


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What to search, where, and for how long.

    ``hosts`` are asked by directed Probe; ``multicast`` asks everybody, on ``interfaces`` (names; none: all).
    """

    probe: wsd.Probe
    seconds: float = 6.0
    hosts: tuple[str, ...] = ()
    multicast: bool = True
    interfaces: tuple[str, ...] = ()
    versions: frozenset[int] = frozenset({4, 6})


@dataclass(frozen=True, slots=True)
class Left:
    """A device that was found has taken its leave."""

    endpoint: str


News = Device | Left | NoAnswer


async def search(plan: SearchPlan, tls: ssl.SSLContext | None) -> AsyncIterator[News]:
    """Yield devices as they are known: each once, and again when it changed; a NoAnswer for a silent host.

    Devices that would not say what they are come last, since one may answer by another way yet.

    :param tls: whom to trust for the metadata of secure devices; it must hold no key.
    :raises NoMulticast: everybody is to be asked, and there is no way to.
    """
    async with _Search(plan, tls) as running:
        while (news := await running.next()) is not None:
            yield news


@dataclass
class _Search:
    """One search while it runs."""

    plan: SearchPlan
    tls: ssl.SSLContext | None
    findings: Findings = field(init=False)
    own: frozenset[Address] = frozenset()
    places: dict[tuple[int, int], Interface] = field(default_factory=dict)
    speaks: dict[int, socket.socket] = field(default_factory=dict)
    hears: list[socket.socket] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    told: dict[str, Device] = field(default_factory=dict)
    unclear: dict[str, Device] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.findings = Findings(self.plan.probe)
        self.news: asyncio.Queue[News | None] = asyncio.Queue()
        self.room = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> _Search:
        try:
            if self.plan.multicast:
                self._open()
        except BaseException:
            self._close()
            raise
        for host in self.plan.hosts:
            self._start(self._ask(host))
        self._start(self._end())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def next(self) -> News | None:
        """Return the next news; None when the search is over."""
        return await self.news.get()

    # Asking --------------------------------------------------------------------------------------------

    def _open(self) -> None:
        found = netlink.interfaces()
        self.own = frozenset(a.ip for interface in found for a in interface.addresses)
        for version in sorted(self.plan.versions):
            with contextlib.suppress(OSError):  # no IPv6 here, or no IPv4
                self.speaks[version] = sockets.open_port_socket(version, 0)
        for interface in chosen(found, self.plan.interfaces):
            for version in interface.families() & set(self.speaks):
                self.places[interface.index, version] = interface
                with contextlib.suppress(OSError):  # without it Hello and Bye go unheard, answers do not
                    self.hears.append(sockets.open_group_socket(interface, version))
        if not self.places:
            raise NoMulticast("there is no network interface to search on")
        loop = asyncio.get_running_loop()
        for sock in (*self.speaks.values(), *self.hears):
            loop.add_reader(sock.fileno(), self._readable, sock)
        self._to_all(self.findings.question())

    def _to_all(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        for moment in copy_times(SystemRandom(), MULTICAST_COPIES):
            self.timers.append(loop.call_later(moment, self._send, data))

    def _send(self, data: bytes) -> None:
        for (_, version), interface in self.places.items():
            try:
                sockets.send(self.speaks[version], data, GROUPS[version], PORT, interface)
            except OSError as error:
                _log.debug("cannot ask", interface=interface.name, version=version, why=str(error))

    async def _ask(self, host: str) -> None:
        try:
            for device in await ask_host(host, self.plan.probe, self.tls):
                self._tell(device)
        except NoAnswer as error:
            self.news.put_nowait(error)

    # Hearing -------------------------------------------------------------------------------------------

    def _readable(self, sock: socket.socket) -> None:
        for received in sockets.waiting(sock):
            self._take(received)

    def _take(self, received: sockets.Received) -> None:
        interface = self.places.get((received.interface, received.source.version))
        # What a machine of this very host says over its network address comes in over loopback.
        if interface is None and received.source in self.own:
            interface = next((i for i in self.places.values() if i.loopback), None)
        if interface is None or not _is_near(received.source, interface, self.own):
            return
        for news in self.findings.hear(received.data, received.source, interface):
            if isinstance(news, Sighting):
                self._start(self._inspect(news))
            elif isinstance(news, Question):
                self._to_all(news.data)
            elif isinstance(news, Gone):
                self.unclear.pop(news.endpoint, None)
                if self.told.pop(news.endpoint, None) is not None:
                    self.news.put_nowait(Left(news.endpoint))

    async def _inspect(self, sighting: Sighting) -> None:
        async with self.room:
            if self._is_newer(sighting):
                self._tell(await inspect(sighting, self.tls, self.own))

    def _tell(self, device: Device) -> None:
        endpoint = device.sighting.endpoint
        if device.problem is not None:
            # Answers over the other version of IP often name the same machine by its first.
            if endpoint not in self.unclear or not isinstance(device.problem, NotItsAddress):
                self.unclear[endpoint] = device
        elif self._is_newer(device.sighting):
            self.unclear.pop(endpoint, None)
            self.told[endpoint] = device
            self.news.put_nowait(device)

    def _is_newer(self, sighting: Sighting) -> bool:
        known = self.told.get(sighting.endpoint)
        return known is None or sighting.metadata_version > known.sighting.metadata_version

    # Inside --------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if len(self.tasks) >= _MOST_TASKS:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _end(self) -> None:
        """End the search after its time; who is being asked then has a moment to answer."""
        if self.plan.multicast:
            await asyncio.sleep(self.plan.seconds)
            self._close()
        others = self.tasks - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=_GRACE_SECONDS)
        for endpoint, device in self.unclear.items():
            if endpoint not in self.told:
                self.news.put_nowait(device)
        self.news.put_nowait(None)

    def _close(self) -> None:
        loop = asyncio.get_running_loop()
        for timer in self.timers:
            timer.cancel()
        for sock in (*self.speaks.values(), *self.hears):
            loop.remove_reader(sock.fileno())
            sock.close()
        self.speaks, self.hears, self.timers = {}, [], []


def _is_near(source: Address, interface: Interface, own: Collection[Address]) -> bool:
    return source.is_loopback or source in own or interface.has_neighbour(source)
