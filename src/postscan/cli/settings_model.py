"""Every setting of the server: one typed model a section, each value with its meaning, default and unit.

The descriptions are the documentation: `postscan init` writes them into server.toml, error messages and
`postscan config check` quote them. Values that come without a file are the defaults here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from postscan.cli.settings_base import Contradiction, HostName, Section, parse_host_name, setting
from postscan.cli.settings_directory import DirectorySettings
from postscan.cli.settings_email import EmailSettings
from postscan.cli.settings_fileshare import FileShareSettings
from postscan.cli.settings_filters import FilterSettings
from postscan.cli.settings_processing import ProcessingSettings
from postscan.cli.settings_revocation import RevocationSettings
from postscan.cli.settings_sharepoint import SharePointSettings
from postscan.cli.settings_tables import table_contradictions
from postscan.dpws.notify_policy import NotifyPorts

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,2000}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


def parse_listen(text: str) -> tuple[str, int]:
    """Split ``HOST:PORT`` (an IPv6 address in brackets); raises ValueError when it is something else."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("is not HOST:PORT; write it like 0.0.0.0:5362 or [::]:5362")
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    if ":" in host:
        raise ValueError("has an IPv6 address without brackets; write it like [::]:5362")
    return parse_host_name(host), int(port)


def _checked_listen(text: str) -> str:
    parse_listen(text)
    return text


def _checked_device(text: str) -> str:
    fingerprint = text.replace(":", "").lower()
    if _SHA256.fullmatch(fingerprint):
        return fingerprint
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise ValueError(
            "is neither an address, nor a network like 10.1.0.0/16, nor a certificate's SHA-256 in hex"
        ) from error


def _checked_fingerprint(text: str) -> str:
    fingerprint = text.lower().removeprefix("sha256:").replace(":", "")
    if not _SHA256.fullmatch(fingerprint):
        raise ValueError("is no SHA-256 fingerprint of a certificate: 64 hex digits")
    return fingerprint


def _checked_port(text: str) -> str:
    NotifyPorts.parse([text])
    return text


def _checked_language(text: str) -> str:
    if not _LANGUAGE.fullmatch(text):
        raise ValueError("is no language tag; write one like de or pt-BR")
    return text


def _checked_uri(text: str) -> str:
    if not _URI.fullmatch(text):
        raise ValueError("is no absolute URI without spaces; write one like urn:example:north")
    return text


ListenAddress = Annotated[str, AfterValidator(_checked_listen)]
DeviceId = Annotated[str, AfterValidator(_checked_device)]
Fingerprint = Annotated[str, AfterValidator(_checked_fingerprint)]
NotifyPort = Annotated[str, AfterValidator(_checked_port)]
Uri = Annotated[str, AfterValidator(_checked_uri)]
LanguageTag = Annotated[str, AfterValidator(_checked_language)]


class ServerSettings(Section):
    """Who the server is, where it listens, and how it logs."""

    fqdn: HostName = setting(
        ..., "The name by which devices reach the server; it stands in its certificate and in scan processes."
    )
    listen: ListenAddress = setting(
        "0.0.0.0:5362", "Where to accept HTTPS. 5362 is the port IANA gave WS-DSP."
    )
    mode: Literal["authenticated", "unauthenticated"] = setting(
        "authenticated",
        "authenticated: a client certificate says who the user is. unauthenticated: the device vouches for"
        " the user, and only devices listed under [devices] are believed.",
    )
    data: Path = setting("data", "Folder of the job store and the spool of accepted images. Keep it private.")
    metrics_listen: Literal[""] | ListenAddress = setting(
        "127.0.0.1:9362", "Where to serve /metrics and /health over plain HTTP; empty for nowhere."
    )
    friendly_name: str = setting(
        "Postscan scan server", "The name devices and consoles show for this server."
    )
    friendly_names: dict[LanguageTag, str] = setting(
        {}, 'That name in other languages; a line de = "Scanserver" each. The one above is English.'
    )
    manufacturer: str = setting("Postscan", "Who made the server, in its metadata.")
    manufacturer_url: str = setting("", "The maker's web address, in its metadata.")
    model_name: str = setting("Postscan", "The model's name, in its metadata.")
    model_number: str = setting("", "The model's number, in its metadata.")
    model_url: str = setting("", "The model's web address, in its metadata.")
    presentation_url: str = setting("", "A web page for people about this server, in its metadata.")
    extra_types: list[str] = setting(
        [], "Further port types to advertise, each as {namespace}Name, for devices that look for others."
    )
    stop_seconds: int = setting(
        30, "When told to stop: how long requests in flight may take to end.", unit="seconds", least=0
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "INFO", "The least severity that is logged."
    )
    log_format: Literal["json", "text"] = setting(
        "json",
        "json: one object a line. text: for reading. On a terminal it is text unless set here.",
    )

    @property
    def listen_address(self) -> tuple[str, int]:
        """``listen`` as host and port."""
        return parse_listen(self.listen)

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """``metrics_listen`` as host and port, None for nowhere."""
        return parse_listen(self.metrics_listen) if self.metrics_listen else None


class TlsSettings(Section):
    """Certificates and keys, PEM files."""

    enabled: bool = setting(
        True, "Serve HTTPS. false serves plain HTTP: for measuring in a laboratory, never on a network."
    )
    certificate: Path = setting("pki/server.pem", "The server's certificate, followed by its chain if any.")
    key: Path = setting(
        "pki/server.key", "The certificate's private key, readable by the server alone (0600)."
    )
    client_ca: Literal[""] | Path = setting(
        "pki/ca.pem",
        "The authorities whose client certificates are accepted. Empty: none but those that an Active"
        " Directory names (directory.enterprise_roots).",
    )
    min_version: Literal["1.2", "1.3"] = setting("1.2", "The oldest TLS version accepted.")

    @property
    def folder(self) -> Path:
        """Where the installation's certificates are: beside the authority's, or else the server's own."""
        return Path(self.client_ca or self.certificate).parent


class LimitSettings(Section):
    """What one message, one job, one user and all together may take."""

    max_envelope_bytes: int = setting(262_144, "The largest SOAP envelope read.", unit="bytes", least=16_384)
    max_image_bytes: int = setting(536_870_912, "The largest image accepted.", unit="bytes", least=1)
    max_job_bytes: int = setting(
        4_294_967_296, "The most that one job's images may take.", unit="bytes", least=1
    )
    max_images_per_job: int = setting(2000, "The most images in one job.", unit="images", least=1)
    max_open_jobs: int = setting(500, "The most jobs that wait for images at a time.", unit="jobs", least=1)
    max_open_jobs_per_owner: int = setting(
        20, "The most jobs of one user that wait for images at a time.", unit="jobs", least=1
    )
    idle_minutes: int = setting(
        15, "A job that gets neither image nor end for this long is aborted.", unit="minutes", least=1
    )
    min_free_bytes: int = setting(
        268_435_456, "With less room than this in the data folder, no new job begins.", unit="bytes", least=0
    )
    max_connections: int = setting(4096, "The most connections at a time.", unit="connections", least=1)
    header_timeout_seconds: int = setting(
        10, "A request's head must be complete after this.", unit="seconds", least=1
    )
    idle_timeout_seconds: int = setting(
        30, "A connection on which nothing moves for this long is closed.", unit="seconds", least=1
    )
    keep_alive_seconds: int = setting(
        120, "A connection between two requests is kept this long.", unit="seconds", least=1
    )
    min_rate_bytes: int = setting(
        1024, "A sender slower than this on average is cut off.", unit="bytes a second", least=0
    )
    min_rate_window_seconds: int = setting(
        60, "The time over which a sender's rate is averaged.", unit="seconds", least=1
    )
    parallel_deliveries: int = setting(
        32, "The most deliveries that run at a time.", unit="deliveries", least=1
    )
    parallel_per_destination: int = setting(
        4,
        "The most of them to one destination, so that a slow one starves no other.",
        unit="deliveries",
        least=1,
    )


class RetrySettings(Section):
    """How a delivery is tried again when time can heal its failure (share away, disk full)."""

    first_seconds: int = setting(
        30, "The pause before the second try; each later one is longer.", unit="seconds", least=1
    )
    cap_seconds: int = setting(3600, "The longest pause between tries.", unit="seconds", least=1)
    give_up_days: int = setting(3, "After this long the delivery has failed.", unit="days", least=1)


class RetentionSettings(Section):
    """How long what a job leaves behind is kept."""

    delivered_hours: int = setting(
        0, "Images of a job that delivered everything; 0 removes them at once.", unit="hours", least=0
    )
    canceled_hours: int = setting(
        0, "Images of a job that its user took back; 0 removes them at once.", unit="hours", least=0
    )
    undelivered_days: int = setting(
        30,
        "Images of a job that did not deliver everything, for delivering them again.",
        unit="days",
        least=1,
    )
    history_days: int = setting(90, "What is known of an ended job.", unit="days", least=1)
    history_jobs: int = setting(
        100_000, "The most ended jobs of which anything is known.", unit="jobs", least=1
    )


class EventingSettings(Section):
    """Telling devices how their jobs stand (WS-Eventing)."""

    max_subscriptions: int = setting(
        10_000, "The most subscriptions of each service at a time.", unit="subscriptions", least=1
    )
    max_subscriptions_per_user: int = setting(
        16, "The most of them for one user, whatever the devices.", unit="subscriptions", least=1
    )
    max_subscriptions_per_peer: int = setting(
        4, "The most of them for one user at one device.", unit="subscriptions", least=1
    )
    subscribes_per_minute: int = setting(
        60,
        "How often one user may subscribe; more is refused until the minute is over.",
        unit="times a minute",
        least=1,
    )
    max_expires_hours: int = setting(2, "The longest a subscription is granted.", unit="hours", least=1)
    max_waiting_events: int = setting(
        200,
        "With more events than this waiting for one device that takes none, its subscription ends.",
        unit="events",
        least=10,
    )
    on_stop: Literal["end", "keep"] = setting(
        "end",
        "When the server is stopped in good order. end: tell every subscriber that its subscription is over."
        " keep: say nothing and go on after the next start, for planned restarts. (After a crash they always"
        " go on.)",
    )
    sink_ca: Literal[""] | Path = setting(
        "",
        "The authorities, in a PEM file, that certificates of https event listeners must come from. Empty:"
        " those of tls.client_ca alone, which certify the devices anyway. The system's authorities count only"
        " when their file is named here.",
    )
    notify_hosts: list[str] = setting(
        [], "Host names or addresses that may be notified besides the device that subscribes itself."
    )
    notify_ports: list[NotifyPort] = setting(
        ["80", "443", "1024-65535"],
        "Ports that may be notified, single ones and ranges; Windows listens at 5357 and 5358. A range leaves"
        " out ports of well-known other services (databases, remote desktops, raw printing at 9100); one that"
        " is named singly is allowed.",
    )
    allow_loopback: bool = setting(
        False,
        "Allow notifications to this machine itself, the server's own ports included: what a laboratory on"
        " one machine needs, with devices that listen at 127.0.0.1, and nothing else should have. A device"
        " that listens at another address than it calls from needs notify_hosts instead. Link-local addresses"
        " (169.254.0.0/16, fe80::) are never notified.",
    )


class DeviceSettings(Section):
    """Which devices are believed in unauthenticated mode."""

    allow: list[DeviceId] = setting(
        [], "Addresses, networks (10.1.0.0/16) or SHA-256 fingerprints of client certificates."
    )


class AdministratorSettings(Section):
    """Who may administer this server over the network (WS-DSC): see, follow and cancel every job."""

    groups: list[str] = setting(
        ["Scan Administrators"],
        "Groups of the directory, by name or SID, whose members may; they prove who they are by certificate."
        " Without effect in unauthenticated mode.",
    )
    certificates: list[Fingerprint] = setting(
        [], "SHA-256 fingerprints of client certificates whose holders may, in either mode."
    )
    history_jobs: int = setting(
        1_000, "The most ended jobs that are told of, newest first.", unit="jobs", least=1
    )


class DiscoverySettings(Section):
    """Being found without being named (WS-Discovery over UDP), by machines on the same links alone."""

    enabled: Literal["auto", "yes", "no"] = setting(
        "auto", "auto: unless server.listen is a loopback address. yes or no: in any case."
    )
    interfaces: list[str] = setting([], 'Network interfaces to be found on, like "eth0"; none: all of them.')
    ipv4: bool = setting(True, "Speak on 239.255.255.250.")
    ipv6: bool = setting(True, "Speak on FF02::C.")
    scopes: list[Uri] = setting(
        [], "Scopes by which it may be sought, URIs such as ldap:///ou=north,dc=example,dc=com."
    )
    max_answers_per_second: int = setting(
        50, "The most answers to all searchers together, on average.", unit="answers a second", least=1
    )
    max_answers_per_peer: int = setting(
        5, "The most answers to one address, on average.", unit="answers a second", least=1
    )
    max_answer_ratio: int = setting(
        3,
        "An answer has at most so many times the octets of the question, so that the server amplifies no"
        " forged one. With less than 3, searchers with short questions get none.",
        unit="times",
        least=1,
    )


class Settings(BaseSettings):
    """All settings; see each section."""

    model_config = SettingsConfigDict(
        env_prefix="POSTSCAN_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    server: ServerSettings
    tls: TlsSettings = TlsSettings()
    directory: DirectorySettings = DirectorySettings()
    limits: LimitSettings = LimitSettings()
    retry: RetrySettings = RetrySettings()
    retention: RetentionSettings = RetentionSettings()
    fileshare: FileShareSettings = FileShareSettings()
    email: EmailSettings = EmailSettings()
    sharepoint: SharePointSettings = SharePointSettings()
    processing: ProcessingSettings = ProcessingSettings()
    filters: FilterSettings = FilterSettings()
    eventing: EventingSettings = EventingSettings()
    devices: DeviceSettings = DeviceSettings()
    administrators: AdministratorSettings = AdministratorSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    revocation: RevocationSettings = RevocationSettings()

    @property
    def directory_domain(self) -> str:
        """The users' DNS domain: as set, or derived from the server's name."""
        return self.directory.domain or domain_of(self.server.fqdn)

    def contradictions(self) -> Iterator[Contradiction]:
        """Tell which values do not fit together, within a section and across."""
        for name in SECTIONS:
            section: Section = getattr(self, name)
            yield from section.contradictions()
            yield from table_contradictions(name, section)
        asks = self.server.mode == "authenticated" and self.tls.enabled
        enterprise = self.directory.is_active and self.directory.enterprise_roots
        if asks and not self.tls.client_ca and not enterprise:
            yield Contradiction(
                "tls.client_ca",
                "is empty, so that no client certificate would be accepted",
                'write client_ca = "pki/ca.pem" under [tls]: the authorities of the users\' certificates',
            )
        domain = self.directory_domain
        if self.directory.is_active and "." not in domain:
            yield Contradiction(
                "directory.domain",
                "is empty, and server.fqdn has none to take" if not self.directory.domain else "has no dot",
                'write domain = "example.com" under [directory]: the DNS name of the Active Directory domain',
            )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what is handed over: load_settings merges file and environment, to know origins."""
        return (init_settings,)


def domain_of(fqdn: str) -> str:
    """Return the DNS domain of a host: what follows the first dot; ``local`` for an address."""
    try:
        ipaddress.ip_address(fqdn)
    except ValueError:
        return fqdn.partition(".")[2] or fqdn
    return "local"


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
