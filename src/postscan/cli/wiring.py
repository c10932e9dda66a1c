"""Settings handed down: from what the administrator wrote to what each room takes."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from postscan.cli.directories import directory_of
from postscan.cli.filters import filters_of
from postscan.cli.settings import LoadedSettings
from postscan.cli.settings_model import Settings
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.model import DirectoryError
from postscan.dpws.discovery.guards import AnswerRates
from postscan.dpws.discovery.responder import ResponderPolicy
from postscan.dpws.eventing import EventLimits
from postscan.dpws.http.limits import HttpLimits
from postscan.dpws.notify_policy import NotifyPolicy, NotifyPorts
from postscan.jobs.settings import JobSettings, RetryPolicy
from postscan.server.administrators import AdministratorPolicy
from postscan.server.app import ScanServer, ServerSettings, TlsFiles
from postscan.server.description import Appearance
from postscan.server.discovery import DiscoverySettings
from postscan.server.enterprise import EnterpriseAuthorities
from postscan.server.identity import Mode, TrustedDevices
from postscan.server.revocation.files import read_file
from postscan.server.revocation.model import LdapLists, OcspUse, Policy, RevocationSettings, SourceFailed

if TYPE_CHECKING:
    from postscan.cli.reloading import SettingsFile
    from postscan.directory.active.directory import ActiveDirectory


def scan_server(loaded: LoadedSettings, source: SettingsFile) -> ScanServer:
    """Return a scan server put together from settings, not yet started; ``source`` reads them again."""
    settings = loaded.settings
    directory = directory_of(loaded)
    enterprise, ldap_lists = None, None
    if not isinstance(directory, EmbeddedDirectory):
        ldap_lists = _lists_of(directory)
        if settings.directory.enterprise_roots and settings.server.mode == "authenticated":
            enterprise = EnterpriseAuthorities(directory.authorities)
    return ScanServer(
        server_settings(settings),
        directory,
        filters_of(loaded, source.workers),
        settings_source=source,
        enterprise=enterprise,
        ldap_lists=ldap_lists,
        workers=source.workers,
    )


def _lists_of(directory: ActiveDirectory) -> LdapLists:
    async def lists(address: str) -> Sequence[bytes]:
        try:
            return await directory.revocation_lists(address)
        except (ValueError, DirectoryError) as error:
            raise SourceFailed(f"{address}: {error}") from error

    return lists


def server_settings(settings: Settings) -> ServerSettings:
    """Return what the scan server is told."""
    server, limits = settings.server, settings.limits
    tls = settings.tls
    mode = Mode(server.mode)
    return ServerSettings(
        fqdn=server.fqdn,
        listen=server.listen_address,
        data=Path(server.data),
        tls=TlsFiles(tls.certificate, tls.key, tls.client_ca or None, tls.min_version)
        if tls.enabled
        else None,
        mode=mode,
        appearance=Appearance(
            friendly_name=server.friendly_name,
            friendly_names=server.friendly_names,
            manufacturer=server.manufacturer,
            manufacturer_url=server.manufacturer_url,
            model_name=server.model_name,
            model_number=server.model_number,
            model_url=server.model_url,
            presentation_url=server.presentation_url,
        ),
        metrics_listen=server.metrics_address,
        extra_types=tuple(server.extra_types),
        max_envelope_bytes=limits.max_envelope_bytes,
        jobs=_job_settings(settings),
        http=HttpLimits(
            max_body_bytes=limits.max_image_bytes + 2 * limits.max_envelope_bytes,
            max_connections=limits.max_connections,
            head_seconds=limits.header_timeout_seconds,
            idle_seconds=limits.idle_timeout_seconds,
            keep_alive_seconds=limits.keep_alive_seconds,
            rate_window_seconds=limits.min_rate_window_seconds,
            min_bytes_per_window=limits.min_rate_bytes * limits.min_rate_window_seconds,
            stop_seconds=server.stop_seconds,
        ),
        events=EventLimits(
            max_subscriptions=settings.eventing.max_subscriptions,
            max_subscriptions_per_owner=settings.eventing.max_subscriptions_per_user,
            max_subscriptions_per_peer=settings.eventing.max_subscriptions_per_peer,
            subscribes_per_minute=settings.eventing.subscribes_per_minute,
            max_expires=settings.eventing.max_expires_hours * 3600.0,
            max_queue=settings.eventing.max_waiting_events,
        ),
        notify=NotifyPolicy(
            hosts=frozenset(h.lower() for h in settings.eventing.notify_hosts),
            allow_loopback=settings.eventing.allow_loopback,
            ports=NotifyPorts.parse(settings.eventing.notify_ports),
        ),
        sink_ca=settings.eventing.sink_ca or None,
        keep_subscriptions=settings.eventing.on_stop == "keep",
        devices=_devices(settings.devices.allow),
        administrators=AdministratorPolicy(
            groups=tuple(settings.administrators.groups),
            certificates=frozenset(settings.administrators.certificates),
        ),
        max_history=settings.administrators.history_jobs,
        discovery=_discovery(settings),
        revocation=_revocation(settings),
    )


def _discovery(settings: Settings) -> DiscoverySettings:
    said = settings.discovery
    return DiscoverySettings(
        enabled={"auto": None, "yes": True, "no": False}[said.enabled],
        interfaces=tuple(said.interfaces),
        ipv4=said.ipv4,
        ipv6=said.ipv6,
        scopes=tuple(said.scopes),
        policy=ResponderPolicy(
            size_ratio=said.max_answer_ratio,
            rates=AnswerRates(total=said.max_answers_per_second, per_source=said.max_answers_per_peer),
        ),
    )


def _revocation(settings: Settings) -> RevocationSettings:
    said = settings.revocation
    for path in said.crl_files:
        read_file(path)  # a wrong one stops the start, and leaves all as it was at a reload
    return RevocationSettings(
        policy=Policy(said.policy),
        crl_files=tuple(said.crl_files),
        fetch=said.fetch,
        ocsp=OcspUse(said.ocsp),
        timeout_seconds=said.timeout_seconds,
        cache_seconds=said.cache_hours * 3600.0,
        allow_loopback=said.fetch_from_loopback,
    )


def _job_settings(settings: Settings) -> JobSettings:
    limits, retry, keep = settings.limits, settings.retry, settings.retention
    return JobSettings(
        max_open_jobs=limits.max_open_jobs,
        max_open_jobs_per_owner=limits.max_open_jobs_per_owner,
        max_images_per_job=limits.max_images_per_job,
        max_image_bytes=limits.max_image_bytes,
        max_job_bytes=limits.max_job_bytes,
        idle_limit=timedelta(minutes=limits.idle_minutes),
        min_free_bytes=limits.min_free_bytes,
        retry=RetryPolicy(
            first=timedelta(seconds=retry.first_seconds),
            cap=timedelta(seconds=retry.cap_seconds),
            give_up=timedelta(days=retry.give_up_days),
        ),
        retain_undelivered=timedelta(days=keep.undelivered_days),
        retain_delivered=timedelta(hours=keep.delivered_hours),
        retain_canceled=timedelta(hours=keep.canceled_hours),
        history_days=keep.history_days,
        history_jobs=keep.history_jobs,
        parallel_deliveries=limits.parallel_deliveries,
        parallel_per_destination=limits.parallel_per_destination,
    )


def _devices(allowed: list[str]) -> TrustedDevices:
    networks = []
    certificates = set()
    for entry in allowed:
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError:
            certificates.add(entry)
    return TrustedDevices(tuple(networks), frozenset(certificates))
