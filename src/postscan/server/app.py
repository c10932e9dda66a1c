"""The scan server as one object: rooms put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from postscan import __version__
from postscan.contracts.metadata import ThisDevice, ThisModel
from postscan.core.clock import Clock, SystemClock
from postscan.core.errors import ConfigurationError
from postscan.core.log import get_logger
from postscan.directory.model import Directory
from postscan.dpws.eventing import EventLimits, EventSource
from postscan.dpws.host import DeviceDescription, DeviceHost
from postscan.dpws.http.limits import HttpLimits
from postscan.dpws.http.server import HttpHost
from postscan.dpws.notify_policy import NotifyPolicy
from postscan.filters.contract import Filter
from postscan.jobs.engine import JobEngine, JobSettings
from postscan.jobs.spool import LocalSpool
from postscan.jobs.store import JobStore
from postscan.server.admin import AdminApp
from postscan.server.create import Admission
from postscan.server.identity import Authenticator, Mode, TrustedDevices
from postscan.server.installation import Installation
from postscan.server.local_socket import SOCKET_NAME, socket_in
from postscan.server.observe import Metrics, ObserveApp
from postscan.server.tls import server_context, sink_context
from postscan.server.wsdsp import EVENTS, WsDsp

_log = get_logger("server")
PATH = "/ScanServer"
_LISTEN_ADVICE = {
    errno.EADDRINUSE: "Another program uses the port (`ss -ltnp` shows which): stop it, or choose another.",
    errno.EADDRNOTAVAIL: "The address is none of this machine's; `ip address` shows those.",
    errno.EACCES: "Ports below 1024 need a privilege: choose another, or grant CAP_NET_BIND_SERVICE.",
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where certificate, key and the certification authority of client certificates are."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    min_version: str = "1.2"


@dataclass(frozen=True, slots=True)
class Appearance:
    """What the server says of itself in its metadata; empty strings are left out."""

    friendly_name: str = "Postscan scan server"
    manufacturer: str = "Postscan"
    manufacturer_url: str = ""
    model_name: str = "Postscan"
    model_number: str = ""
    model_url: str = ""
    presentation_url: str = ""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything a scan server is told. ``tls`` None serves plain HTTP (benchmarks and laboratories)."""

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
    devices: TrustedDevices = field(default_factory=TrustedDevices)


class ScanServer:
    """One scan server. ``address`` is known once it has started."""

    def __init__(
        self,
        settings: ServerSettings,
        directory: Directory,
        filters: Mapping[str, Filter],
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self._directory = directory
        self._filters = filters
        self._clock = clock or SystemClock()
        self._installation = Installation(settings.data)
        self._engine: JobEngine | None = None
        self._events: EventSource | None = None
        self._hosts: list[HttpHost] = []
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
        tls = settings.tls
        context = server_context(tls.certificate, tls.key, tls.client_ca, tls.min_version) if tls else None
        self._installation.open()
        try:
            await self._start_rooms(context is not None)
            await _listen(self._hosts[0], settings.listen, context, "server.listen")
            await self._listen_local()
        except BaseException:
            await self.stop()
            raise
        _log.info("scan server ready", address=self.address, mode=str(settings.mode), tls=bool(tls))

    async def _start_rooms(self, tls: bool) -> None:
        settings = self.settings
        scheme = "https" if tls else "http"
        self.address = f"{scheme}://{settings.fqdn}:{settings.listen[1]}{PATH}"
        described = f"{self.address}|{settings.appearance}|{settings.extra_types}|{__version__}"
        identity = self._installation.identity(described, now=int(self._clock.now().timestamp()))
        spool = LocalSpool(settings.data / "spool")
        store = JobStore(settings.data / "jobs.sqlite")
        engine = JobEngine(settings.jobs, spool, store, self._filters, self._clock)
        self._engine = engine
        authenticator = Authenticator(settings.mode, self._directory, settings.devices, self._clock)
        metrics = Metrics()
        looks = settings.appearance
        device = DeviceHost(
            DeviceDescription(
                address=self.address,
                device=ThisDevice(
                    friendly_names={"en": looks.friendly_name},
                    firmware_version=__version__,
                    serial_number=identity.serial_number,
                ),
                model=ThisModel(
                    manufacturers={"en": looks.manufacturer},
                    manufacturer_url=looks.manufacturer_url or None,
                    model_names={"en": looks.model_name},
                    model_number=looks.model_number or None,
                    model_url=looks.model_url or None,
                    presentation_url=looks.presentation_url or None,
                ),
                service_id="uri:postscan:scan-server",
                metadata_version=identity.metadata_version,
            ),
            path=PATH,
            owner_of=authenticator.owner,
            instance_id=identity.instance_id,
            max_envelope_bytes=settings.max_envelope_bytes,
            observe=metrics.observe,
        )
        wsdsp_address = device.address_of(identity.wsdsp)
        self._events = EventSource(
            address=lambda: wsdsp_address,
            actions=EVENTS,
            clock=self._clock,
            policy=settings.notify,
            limits=settings.events,
            tls=sink_context(settings.tls.client_ca if settings.tls else None),
        )
        admission = Admission(self._directory, authenticator, frozenset({settings.fqdn.casefold()}))
        service = WsDsp(engine, admission, self._events, self._clock)
        device.add(service.hosted(identity.wsdsp, extra_types=settings.extra_types))
        self.services = {"WS-DSP": wsdsp_address}
        engine.add_listener(metrics.changed)
        await engine.start()
        host = HttpHost(device.handle, settings.http)
        events = self._events
        observe = ObserveApp(
            engine,
            metrics,
            connections=lambda: host.connections,
            subscriptions=lambda: len(events),
            min_free_bytes=settings.jobs.min_free_bytes,
        )
        self._hosts = [host, HttpHost(AdminApp(engine).handle), HttpHost(observe.handle)]

    async def _listen_local(self) -> None:
        with socket_in(self.settings.data) as path:
            await self._hosts[1].listen_unix(path)
        if self.settings.metrics_listen is not None:
            bound = await _listen(self._hosts[2], self.settings.metrics_listen, None, "server.metrics_listen")
            self.metrics_address = f"http://{bound[0][0]}:{bound[0][1]}"

    async def stop(self) -> None:
        """Finish what is in flight, end the subscriptions, let the data folder go."""
        if self._hosts:
            await asyncio.gather(*(host.stop() for host in self._hosts))
            self._hosts = []
        if self._engine is not None:
            await self._engine.stop()
        if self._events is not None:
            await self._events.close()
        with contextlib.suppress(FileNotFoundError):
            (self.settings.data / SOCKET_NAME).unlink()
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
