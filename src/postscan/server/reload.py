"""Settings taken over while the server runs: all that can be, or, when one of them is wrong, none."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from postscan.core.errors import ConfigurationError, PostscanError
from postscan.core.log import get_logger
from postscan.dpws.host import DeviceHost
from postscan.dpws.http.server import HttpHost
from postscan.filters.contract import Filter
from postscan.jobs.engine import JobEngine
from postscan.server.administrators import Administrators
from postscan.server.description import description_of, said_of
from postscan.server.identity import Authenticator
from postscan.server.installation import Installation
from postscan.server.revocation.checker import RevocationChecker
from postscan.server.tls import TrustAnchors, server_context, sink_context
from postscan.server.wsdsc import WsDsc

if TYPE_CHECKING:
    from postscan.server.app import ServerSettings

_log = get_logger("reload")
_FILES: Final = "files of [tls]"
_AUTHORITIES: Final = "authorities of the directory"


class NotReloaded(PostscanError):
    """The settings cannot be read again."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class NewSettings:
    """Settings as they are now.

    ``settings`` and ``filters`` are what is to be in force: what needs a restart is in them as it was.
    ``applied`` are the dotted keys that change with them, ``waiting`` those that a restart will change.
    ``of_the_repository`` tells whether any of the former is the server's own, and not just its log's.
    ``commit`` is called when all else is in force.
    """

    settings: ServerSettings
    filters: Mapping[str, Filter]
    applied: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    of_the_repository: bool = True
    commit: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What a reload changed: dotted keys that are in force now, and those that wait for a restart."""

    applied: tuple[str, ...]
    waiting: tuple[str, ...]


SettingsSource = Callable[[], NewSettings]
# Certificates of authorities as last read from a directory; called often, so it only remembers.
AuthoritySource = Callable[[], Sequence[x509.Certificate]]


@dataclass(slots=True)
class Parts:
    """What of a running server takes other settings; ``filters`` is the table that all of them look into."""

    address: str
    installation: Installation
    serial_number: str
    engine: JobEngine
    device: DeviceHost
    host: HttpHost
    authenticator: Authenticator
    revocation: RevocationChecker
    administrators: Administrators
    wsdsc: WsDsc
    filters: dict[str, Filter]
    sinks: tuple[ssl.SSLContext, ...]
    metadata_changed: Callable[[], None]


class Reloader:
    """Takes over other settings; one reload at a time."""

    def __init__(
        self, settings: ServerSettings, parts: Parts, source: SettingsSource | None, tls: TlsSources
    ) -> None:
        """Take over from a server that serves with what ``tls`` says."""
        self.settings = settings
        self._parts = parts
        self._source = source
        self._tls = tls
        self._lock = asyncio.Lock()

    async def reload(self) -> ReloadReport:
        """Read the settings again and put into force what can be.

        :raises PostscanError: something is wrong with them; everything is as it was.
        """
        if self._source is None:
            raise NotReloaded("this server was not started from a settings file", advice="Restart it.")
        async with self._lock:
            try:
                new = await asyncio.to_thread(self._source)
                report = await self._put_into_force(new)
            except PostscanError as error:
                _log.error("settings not reloaded", why=str(error), advice=error.what_to_do)
                raise
        _log.info("settings reloaded", applied=", ".join(report.applied) or "nothing")
        if report.waiting:
            _log.warning("settings that need a restart", waiting=", ".join(report.waiting))
        return report

    async def renew_authorities(self) -> bool:
        """Believe client certificates of the authorities the directory has now; return whether they changed.

        :raises PostscanError: the files of TLS, which are read with them, are unfit; all is as it was.
        """
        async with self._lock:
            tls = await asyncio.to_thread(self._tls.again, self.settings)
            if tls.authorities == self._tls.authorities:
                return False
            context = await asyncio.to_thread(tls.context, self.settings)
            if context is not None:
                await self._parts.host.renew_tls(context)
            self._tls = tls
        _log.info("authorities renewed", count=len(tls.authorities))
        return True

    async def _put_into_force(self, new: NewSettings) -> ReloadReport:
        settings, parts = new.settings, self._parts
        tls = await asyncio.to_thread(self._tls.again, settings)
        before = self._tls
        contexts = None if tls == before else await asyncio.to_thread(_contexts_of, settings, tls)
        is_news = bool(new.applied) and new.of_the_repository
        if is_news:
            self._describe(settings)
        # From here on only the operating system could object, and it did not a moment ago.
        if contexts is not None:
            await parts.host.renew_tls(contexts)
            self._renew_sinks(settings)
            self._tls = tls
        self._limit(settings)
        await parts.revocation.change(settings.revocation)
        parts.filters.update(new.filters)
        for dialect in set(parts.filters) - set(new.filters):
            del parts.filters[dialect]
        await parts.administrators.change(settings.administrators)
        self.settings = settings
        new.commit()
        if is_news:
            parts.wsdsc.configuration_changed()
            parts.metadata_changed()
        applied = list(new.applied)
        if tls.files != before.files and not any(key.startswith("tls.") for key in new.applied):
            applied.append(_FILES)
        if tls.authorities != before.authorities:
            applied.append(_AUTHORITIES)
        return ReloadReport(tuple(applied), new.waiting)

    def _describe(self, settings: ServerSettings) -> None:
        """Give the device its other description, with a version of its own."""
        device, installation = self._parts.device, self._parts.installation
        before = device.description
        scopes = settings.discovery.scopes
        device.description = description_of(
            settings.appearance,
            self._parts.address,
            self._parts.serial_number,
            scopes,
            before.metadata_version,
        )
        try:
            device.check_metadata()
            said = said_of(settings.appearance, self._parts.address, scopes, settings.extra_types)
            version = installation.changed(said)
        except PostscanError:
            device.description = before
            raise
        device.description = replace(device.description, metadata_version=version)

    def _limit(self, settings: ServerSettings) -> None:
        parts = self._parts
        parts.engine.limit(settings.jobs)
        parts.host.limits = settings.http
        parts.authenticator.trust(settings.devices)
        parts.wsdsc.max_history = settings.max_history

    def _renew_sinks(self, settings: ServerSettings) -> None:
        """Show event sinks the new certificate; an authority that was trusted stays so until a restart."""
        tls = settings.tls
        for context in self._parts.sinks:
            if tls is not None:
                context.load_cert_chain(tls.certificate, tls.key, password="")
            authority = settings.sink_ca or (tls.client_ca if tls else None)
            if authority is not None:
                context.load_verify_locations(authority)


@dataclass(frozen=True, slots=True)
class TlsSources:
    """What TLS was last set up from, to tell whether it must be anew.

    ``files`` are paths with hashes; ``is_asking`` tells whether client certificates are asked for.
    """

    files: tuple[str, ...]
    authorities: tuple[x509.Certificate, ...]
    is_asking: bool
    source: AuthoritySource | None

    @classmethod
    def of(cls, settings: ServerSettings, source: AuthoritySource | None) -> Self:
        """Look at the files and the authorities now. :raises ConfigurationError: a file is not there."""
        tls = settings.tls
        if tls is None:
            return cls((), (), False, source)
        paths = (tls.certificate, tls.key, tls.client_ca, settings.sink_ca)
        files = tuple(f"{path}:{_hash_of(path)}" for path in paths if path is not None)
        listed = settings.devices.certificates | settings.administrators.certificates
        is_asking = bool(listed) or tls.client_ca is not None or source is not None
        # Each controller may name them in another order, which is no news.
        named = sorted(source(), key=lambda one: one.fingerprint(hashes.SHA256())) if source else []
        return cls(files, tuple(named), is_asking, source)

    def again(self, settings: ServerSettings) -> Self:
        """Look once more, with the same source."""
        return self.of(settings, self.source)

    def context(self, settings: ServerSettings) -> ssl.SSLContext | None:
        """Return what to serve with, None for plain HTTP; raises ConfigurationError for files unfit."""
        tls = settings.tls
        if tls is None:
            return None
        anchors = TrustAnchors((tls.client_ca,) if tls.client_ca is not None else (), self.authorities)
        return server_context(tls.certificate, tls.key, anchors if self.is_asking else None, tls.min_version)


def _contexts_of(settings: ServerSettings, sources: TlsSources) -> ssl.SSLContext | None:
    """Return what to serve with; raises ConfigurationError for files that are unfit, the sinks' too."""
    tls = settings.tls
    if tls is not None:
        sink_context(settings.sink_ca or tls.client_ca, tls.certificate, tls.key)
    return sources.context(settings)


def _hash_of(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}",
            advice="Let [tls] name the right file, and let the account the server runs as read it.",
        ) from error
