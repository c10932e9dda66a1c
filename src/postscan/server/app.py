"""The scan server as one object: rooms put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from postscan.core.clock import Clock, SystemClock
from postscan.core.errors import ConfigurationError
from postscan.core.log import get_logger
from postscan.directory.model import Directory
from postscan.dpws.discovery.service import DiscoveryService
from postscan.dpws.eventing import EventLimits, EventSource
from postscan.dpws.host import DeviceHost
from postscan.dpws.http.limits import HttpLimits
from postscan.dpws.http.server import HttpHost
from postscan.dpws.notify_policy import NotifyPolicy
from postscan.filters.contract import Filter, Workers
from postscan.jobs.engine import JobEngine, JobSettings
from postscan.jobs.spool import LocalSpool
from postscan.jobs.store import JobStore
from postscan.server import wsdsc, wsdsp
from postscan.server.admin import AdminApp
from postscan.server.administrators import AdministratorPolicy, Administrators
from postscan.server.create import Admission
from postscan.server.description import Appearance, description_of, said_of
from postscan.server.discovery import DiscoverySettings, make_discovery
from postscan.server.enterprise import EnterpriseAuthorities
from postscan.server.identity import Authenticator, Mode, TrustedDevices
from postscan.server.installation import Installation
from postscan.server.local_socket import SOCKET_NAME, socket_in
from postscan.server.observe import Metrics, ObserveApp
from postscan.server.reload import (
    AuthoritySource,
    NotReloaded,
    Parts,
    Reloader,
    ReloadReport,
    SettingsSource,
    TlsSources,
)
from postscan.server.revocation.checker import RevocationChecker
from postscan.server.revocation.model import LdapLists, RevocationSettings
from postscan.server.subscriptions import JobStoreSubscriptions
from postscan.server.tls import sink_context
from postscan.server.upkeep import DirectoryUpkeep
from postscan.server.wsdsc import WsDsc
from postscan.server.wsdsp import WsDsp

_log = get_logger("server")
PATH = "/ScanServer"
_LISTEN_ADVICE = {
    errno.EADDRINUSE: "Another program uses the port (`ss -ltnp` shows which): stop it, or choose another.",
    errno.EADDRNOTAVAIL: "The address is none of this machine's; `ip address` shows those.",
    errno.EACCES: "Ports below 1024 need a privilege: choose another, or grant CAP_NET_BIND_SERVICE.",
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where certificate, key and the authorities of client certificates are.

    ``client_ca`` None: only authorities of the directory are believed, and certificates listed by hash.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    min_version: str = "1.2"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything a scan server is told. ``tls`` None serves plain HTTP (benchmarks and laboratories).

    ``sink_ca`` holds the authorities that https event sinks are trusted by; None: those of client
    certificates. ``keep_subscriptions`` keeps them when the server is stopped, instead of ending them.
    ``max_history`` bounds the ended jobs that WS-DSC lists.
    """

    fqdn: str
    listen: tuple[str, int]
    data: Path
    tls: TlsFiles | None
    mode: Mode = Mode.AUTHENTICATED
    appearance: Appearance = field(default_factory=Appearance)
    metrics_listen: tuple[str, int] | None = None
    extra_types: tuple[str, ...] = ()
    max_envelope_bytes: int = 262_144
    jobs: JobSettings = field(default_factory=JobSettings)
    http: HttpLimits = field(default_factory=HttpLimits)
    events: EventLimits = field(default_factory=EventLimits)
    notify: NotifyPolicy = field(default_factory=NotifyPolicy)
    sink_ca: Path | None = None
    keep_subscriptions: bool = False
    devices: TrustedDevices = field(default_factory=TrustedDevices)
    administrators: AdministratorPolicy = field(default_factory=AdministratorPolicy)
    max_history: int = 1_000
    discovery: DiscoverySettings = field(default_factory=DiscoverySettings)
    revocation: RevocationSettings = field(default_factory=RevocationSettings)


class ScanServer:
    """One scan server. ``address`` is known once it has started."""

    def __init__(
        self,
        settings: ServerSettings,
        directory: Directory,
        filters: Mapping[str, Filter],
        clock: Clock | None = None,
        *,
        settings_source: SettingsSource | None = None,
        authorities: AuthoritySource | None = None,
        enterprise: EnterpriseAuthorities | None = None,
        ldap_lists: LdapLists | None = None,
        workers: Workers | None = None,
    ) -> None:
        """Put the server together.

        ``settings_source`` reads its settings again when they are reloaded; ``authorities`` tells the
        directory's own, whose client certificates are believed as well as those of ``client_ca``, and
        ``enterprise`` is such a source that the server itself keeps fresh;
        ``ldap_lists`` reads the revocation lists that lie in the directory; ``workers`` are where processing
        filters decode images.
        """
        self.settings = settings
        self._directory = directory
        # One table for all who look into it: a reload changes what is in it.
        self._filters = dict(filters)
        self._settings_source = settings_source
        self._authorities = authorities if enterprise is None else enterprise
        self._enterprise = enterprise
        self._upkeep = DirectoryUpkeep(directory, enterprise, self.renew_authorities)
        self._ldap_lists = ldap_lists
        self._workers = workers
        self._revocation: RevocationChecker | None = None
        self._clock = clock or SystemClock()
        self._installation = Installation(settings.data)
        self._engine: JobEngine | None = None
        self._events: tuple[EventSource, ...] = ()
        self._ready = False
        self._stopping = False
        self._hosts: list[HttpHost] = []
        self._device: DeviceHost | None = None
        self._repository: WsDsc | None = None
        self._reloader: Reloader | None = None
        self._discovery: DiscoveryService | None = None
        self._metadata_listeners: list[Callable[[], None]] = []
        self.address = ""
        self.services: dict[str, str] = {}
        self.metrics_address: str | None = None

    @property
    def engine(self) -> JobEngine:
        """The job engine of a started server."""
        if self._engine is None:
            raise RuntimeError("the server has not been started")
        return self._engine

    async def start(self) -> None:
        """Take the data folder, recover what a crash left, listen. :raises ConfigurationError: it cannot."""
        _raise_file_limit()
        settings = self.settings
        self._trust_beside_enterprise()
        await self._upkeep.begin()
        try:
            tls = TlsSources.of(settings, self._authorities)
            context = tls.context(settings)
            self._installation.open()
        except BaseException:
            await self._directory.close()
            raise
        try:
            await self._start_rooms(tls)
            listening = await _listen(self._hosts[0], settings.listen, context, "server.listen")
            await self._listen_local()
            self._start_discovery(listening)
            self._upkeep.start()
        except BaseException:
            await self.stop()
            raise
        self._ready = True
        _log.info("scan server ready", address=self.address, mode=str(settings.mode), tls=context is not None)

    async def _start_rooms(self, tls: TlsSources) -> None:
        settings = self.settings
        scheme = "http" if settings.tls is None else "https"
        self.address = f"{scheme}://{settings.fqdn}:{settings.listen[1]}{PATH}"
        said = said_of(settings.appearance, self.address, settings.discovery.scopes, settings.extra_types)
        identity = self._installation.identity(said, now=int(self._clock.now().timestamp()))
        spool = LocalSpool(settings.data / "spool")
        store = JobStore(settings.data / "jobs.sqlite")
        engine = JobEngine(settings.jobs, spool, store, self._filters, self._clock, workers=self._workers)
        self._engine = engine
        metrics = Metrics()
        revocation = RevocationChecker(
            settings.revocation,
            self._clock,
            ldap_lists=self._ldap_lists,
            observe=metrics.revocation_looked_into,
        )
        self._revocation = revocation
        authenticator = Authenticator(
            settings.mode, self._directory, settings.devices, self._clock, revocation, self._enterprise
        )
        device = DeviceHost(
            description_of(
                settings.appearance,
                self.address,
                identity.serial_number,
                settings.discovery.scopes,
                identity.metadata_version,
            ),
            path=PATH,
            owner_of=authenticator.owner,
            instance_id=identity.instance_id,
            max_envelope_bytes=settings.max_envelope_bytes,
            observe=metrics.observe,
        )
        wsdsp_address = device.address_of(identity.wsdsp)
        wsdsc_address = device.address_of(identity.wsdsc)
        sinks = self._sink_context(), self._sink_context()
        events = self._event_source(wsdsp_address, wsdsp.EVENTS, store, "dsp", sinks[0])
        repository_events = self._event_source(wsdsc_address, wsdsc.EVENTS, store, "dsc", sinks[1])
        self._events = (events, repository_events)
        admission = Admission(self._directory, authenticator, frozenset({settings.fqdn.casefold()}))
        service = WsDsp(engine, admission, events, self._clock)
        device.add(service.hosted(identity.wsdsp, extra_types=settings.extra_types))
        administrators = Administrators(settings.administrators, self._directory, authenticator)
        repository = WsDsc(
            engine,
            administrators,
            repository_events,
            self._filters,
            self._clock,
            has_room=engine.has_room,
            max_history=settings.max_history,
        )
        device.add(repository.hosted(identity.wsdsc))
        self._device, self._repository = device, repository
        self.services = {"WS-DSP": wsdsp_address, "WS-DSC": wsdsc_address}
        device.check_metadata()
        engine.add_listener(metrics.changed)

        async def resume() -> None:
            await service.resume()
            await repository.resume()

        await engine.start(before_jobs_move=resume)
        host = HttpHost(device.handle, settings.http)
        parts = Parts(
            address=self.address,
            installation=self._installation,
            serial_number=identity.serial_number,
            engine=engine,
            device=device,
            host=host,
            authenticator=authenticator,
            revocation=revocation,
            administrators=administrators,
            wsdsc=repository,
            filters=self._filters,
            sinks=sinks,
            metadata_changed=self._metadata_changed,
        )
        self._reloader = Reloader(settings, parts, self._settings_source, tls)
        observe = ObserveApp(
            engine,
            metrics,
            connections=lambda: host.connections,
            subscriptions=lambda: len(events) + len(repository_events),
            min_free_bytes=settings.jobs.min_free_bytes,
            directory_trouble=lambda: self._upkeep.trouble,
        )
        admin = AdminApp(engine, self.reload, self._directory, self._filters, self._clock)
        self._hosts = [host, HttpHost(admin.handle), HttpHost(observe.handle)]

    def _event_source(
        self, address: str, actions: tuple[str, ...], store: JobStore, name: str, tls: ssl.SSLContext
    ) -> EventSource:
        settings = self.settings
        return EventSource(
            address=lambda: address,
            actions=actions,
            clock=self._clock,
            policy=replace(settings.notify, own_ports=self._own_ports()),
            limits=settings.events,
            tls=tls,
            store=JobStoreSubscriptions(store, name),
            keep_on_stop=settings.keep_subscriptions,
        )

    async def _close_events(self) -> None:
        """End the subscriptions; or keep them, when the settings say so or the server never was ready."""
        keep = None if self._ready else True
        await asyncio.gather(*(source.close(keep=keep) for source in self._events))

    def _own_ports(self) -> frozenset[int]:
        places = (self.settings.listen, self.settings.metrics_listen)
        return frozenset(place[1] for place in places if place is not None)

    def _sink_context(self) -> ssl.SSLContext:
        tls = self.settings.tls
        authority = self.settings.sink_ca or (tls.client_ca if tls else None)
        return sink_context(authority, *((tls.certificate, tls.key) if tls else ()))

    def _start_discovery(self, listening: list[tuple[str, int]]) -> None:
        if self._device is None:
            raise RuntimeError("the rooms have not been started")
        self._discovery = make_discovery(self.settings.discovery, self._device, listening)
        if self._discovery is not None:
            self._discovery.start()
            self.add_metadata_listener(self._discovery.announce)

    async def reload(self) -> ReloadReport:
        """Read the settings again and put into force what can be without a restart.

        :raises PostscanError: something is wrong with them, or the server is not running; all is as it was.
        """
        if self._reloader is None or not self._ready or self._stopping:
            raise NotReloaded("the server is starting or stopping", advice="Try again when it runs.")
        await self._upkeep.read_authorities()
        report = await self._reloader.reload()
        self.settings = self._reloader.settings
        self._trust_beside_enterprise()
        return report

    def _trust_beside_enterprise(self) -> None:
        if self._enterprise is not None:
            tls = self.settings.tls
            self._enterprise.beside(tls.client_ca if tls is not None else None)

    async def renew_authorities(self) -> bool:
        """Believe the authorities that the directory has now; return whether they are others than before.

        :raises PostscanError: TLS cannot be set up with them; all is as it was.
        """
        if self._reloader is None or not self._ready or self._stopping:
            return False
        return await self._reloader.renew_authorities()

    def _metadata_changed(self) -> None:
        for listener in self._metadata_listeners:
            listener()

    def add_metadata_listener(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called after the metadata changed and have a new version."""
        self._metadata_listeners.append(callback)

    async def _listen_local(self) -> None:
        with socket_in(self.settings.data) as path:
            await self._hosts[1].listen_unix(path)
        if self.settings.metrics_listen is not None:
            bound = await _listen(self._hosts[2], self.settings.metrics_listen, None, "server.metrics_listen")
            self.metrics_address = f"http://{bound[0][0]}:{bound[0][1]}"

    async def stop(self) -> None:
        """Finish what is in flight, end the subscriptions, let the data folder go."""
        self._stopping = True
        if self._repository is not None:
            self._repository.stopping()
        await self._upkeep.stop()
        # Bye is said while requests in flight end; its copies take a second.
        farewell = [self._discovery.stop()] if self._discovery is not None else []
        await asyncio.gather(*farewell, *(host.stop() for host in self._hosts))
        self._discovery, self._hosts = None, []
        if self._revocation is not None:
            await self._revocation.close()
        if self._engine is not None:
            await self._engine.stop(before_store_closes=self._close_events)
        with contextlib.suppress(FileNotFoundError):
            (self.settings.data / SOCKET_NAME).unlink()
        await self._directory.close()
        self._installation.close()
        _log.info("scan server stopped")


async def _listen(
    host: HttpHost, where: tuple[str, int], tls: ssl.SSLContext | None, setting: str
) -> list[tuple[str, int]]:
    try:
        return await host.listen(where[0], where[1], tls)
    except OSError as error:
        words = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise ConfigurationError(
            f"cannot listen on {where[0]}:{where[1]} ({setting}): {words}",
            advice=_LISTEN_ADVICE.get(error.errno or 0, f"Correct {setting} in the settings."),
        ) from error


def _raise_file_limit() -> None:
    """Each connection is a file: take what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
