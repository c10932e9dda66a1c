"""The SharePoint filter out of the settings: an adapter for each site, and the secrets it logs on with."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from postscan.cli.findings import Finding, problem
from postscan.cli.secret_file import SecretRefused, read_private
from postscan.cli.secret_store import SecretUse
from postscan.cli.secret_uses import secret_of
from postscan.cli.settings_sharepoint import secret_prefix
from postscan.cli.toml_text import dotted
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.entra.app import EntraApp
from postscan.filters.entra.tokens import EntraTokens
from postscan.filters.sharepoint.address import LibraryAddress, Origin, encoded, parse_origin
from postscan.filters.sharepoint.auth import BasicAuth, KerberosAuth, NtlmAuth
from postscan.filters.sharepoint.bearer import BearerAuth
from postscan.filters.sharepoint.columns import COLUMN_FIELDS
from postscan.filters.sharepoint.connection import SHAREPOINT_HEADERS, HttpSite, SiteLimits
from postscan.filters.sharepoint.filter import SharePointFilter
from postscan.filters.sharepoint.graph import GraphLibrary
from postscan.filters.sharepoint.names import NameRules
from postscan.filters.sharepoint.refused_password import RefusedPassword
from postscan.filters.sharepoint.rest import RestLibrary
from postscan.filters.sharepoint.visit import SharePointSite
from postscan.filters.sharepoint.webdav import WebdavLibrary
from postscan.filters.templates import Template

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings
    from postscan.cli.settings_model import Settings
    from postscan.cli.settings_sharepoint import SharePointSiteSettings
    from postscan.filters.sharepoint.http import HttpAuth
    from postscan.filters.sharepoint.library import DocumentLibrary

SHAREPOINT_NOT_SET_UP: Final = "[sharepoint] names no site that may be delivered to"
_MOST_OF_A_KEY: Final = 64 * 1024


def sharepoint_filter(loaded: LoadedSettings) -> SharePointFilter | None:
    """Return the filter, None without any site; neither secrets nor files are read."""
    zone = loaded.settings.fileshare.time_zone
    sites = {
        origin: SharePointSite(
            open_library=_Opener(loaded, origin, said).open,
            library=said.library,
            my_site_library=said.my_site_library,
            rules=_rules(said),
            columns={name: Template.parse(text, COLUMN_FIELDS) for name, text in said.columns.items()},
        )
        for origin, said in loaded.settings.sharepoint.origins()
    }
    return SharePointFilter(sites, ZoneInfo(zone) if zone else None) if sites else None


def sharepoint_secret_uses(settings: Settings) -> list[SecretUse]:
    """Return the secrets of all sites, each bound to its host (abuse case 26)."""
    uses = (use for origin, said in settings.sharepoint.origins() for use in _uses(origin, said))
    return list(uses)


def check_sharepoint(loaded: LoadedSettings) -> Iterator[Finding]:
    """Check the files that the sites need; nothing is connected."""
    for origin, said in loaded.settings.sharepoint.origins():
        where = dotted("sharepoint", "sites", str(origin))
        for key in ("ca", "keytab", "certificate"):
            path = getattr(said, key)
            if path and not path.is_file():
                yield problem(f"{where}.{key}", f"{path} is no file", "write the path of the file")
        try:
            if said.ca and said.ca.is_file():
                _trust(said)
            if said.key:
                read_private(said.key, max_octets=_MOST_OF_A_KEY)
        except SecretRefused as error:
            yield problem(f"{where}.key", str(error), error.what_to_do)
        except ConfigurationError as error:
            yield problem(f"{where}.ca", str(error), error.what_to_do)


class _Opener:
    """Opens libraries of one site; what it logs on with is read anew each time, as it may be corrected."""

    def __init__(self, loaded: LoadedSettings, origin: Origin, said: SharePointSiteSettings) -> None:
        self._loaded = loaded
        self._origin = origin
        self._said = said
        self._refused = RefusedPassword()
        self._app: EntraApp | None = None
        self._tokens: EntraTokens | None = None

    def open(self, address: LibraryAddress) -> DocumentLibrary:
        """Return the adapter of a library, not connected yet.

        :raises ConfigurationError: what it logs on with is missing, or must not be used.
        """
        if self._said.api == "graph":
            graph = Origin("https", self._said.graph_host, 443)
            return GraphLibrary(
                self._site(graph, self._auth(graph), "/"),
                address,
                upload_site=partial(self._site, auth=None, path="/"),
                upload_origins=[parse_origin(text) for text in self._said.upload_hosts],
            )
        site = self._site(self._origin, self._auth(self._origin), encoded(*address.path) + "/")
        return RestLibrary(site, address) if self._said.api == "rest" else WebdavLibrary(site, address)

    def _site(self, origin: Origin, auth: HttpAuth | None, path: str) -> HttpSite:
        tls = _trust(self._said) if origin.scheme == "https" else None
        limits = SiteLimits(answer_seconds=self._said.answer_seconds)
        headers = SHAREPOINT_HEADERS if origin == self._origin else None
        return HttpSite(origin, auth, tls=tls, limits=limits, log_on_path=path, headers=headers)

    def _auth(self, origin: Origin) -> HttpAuth:
        said = self._said
        if said.auth == "entra":
            return BearerAuth(self._entra(), origin)
        password = self._secret("password") if said.has_password else None
        if said.auth == "kerberos":
            keytab = Path(said.keytab) if said.keytab else None
            return KerberosAuth(origin, said.account, password=password, keytab=keytab, refused=self._refused)
        if password is None:
            raise ConfigurationError(f"{origin} needs an account and its password")
        return (NtlmAuth if said.auth == "ntlm" else BasicAuth)(origin, said.account, password, self._refused)

    def _entra(self) -> EntraTokens:
        """Return where tokens come from: the same as before, unless the app's files changed meanwhile."""
        said = self._said
        if not said.certificate or not said.key:
            raise ConfigurationError(f"{self._origin} needs certificate and key of an Entra app")
        try:
            certificate = said.certificate.read_text("ascii")
            key = Secret(read_private(said.key, max_octets=_MOST_OF_A_KEY).decode("ascii"))
        except OSError as error:
            raise ConfigurationError(f"{said.certificate} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            # Without the cause, which holds the octets.
            raise ConfigurationError(f"{said.certificate} or {said.key} is no PEM file") from None
        app = EntraApp(
            tenant=said.tenant,
            client_id=said.client_id,
            certificate=certificate,
            private_key=key,
            passphrase=self._secret("passphrase") if said.key_has_passphrase else None,
            authority=said.authority,
        )
        if self._tokens is None or app != self._app:
            self._app, self._tokens = app, EntraTokens(app, context=_trust(said))
        return self._tokens

    def _secret(self, kind: str) -> Secret:
        name = f"{secret_prefix(self._origin)}.{kind}"
        [use] = [use for use in _uses(self._origin, self._said) if use.name == name]
        return secret_of(self._loaded, use)


def _uses(origin: Origin, said: SharePointSiteSettings) -> Iterator[SecretUse]:
    trusted = f"authorities of {said.ca}" if said.ca else "authorities of this system"
    if said.has_password:
        clear = ["in clear text"] if origin.scheme == "http" else []
        yield SecretUse(
            f"{secret_prefix(origin)}.password",
            (f"site {origin}", f"account {said.account}", f"by {said.auth}", trusted, *clear),
            said.password_file or None,
        )
    if said.auth == "entra" and said.key_has_passphrase:
        yield SecretUse(
            f"{secret_prefix(origin)}.passphrase",
            (
                f"site {origin}",
                f"authority {said.authority}",
                f"tenant {said.tenant}",
                f"app {said.client_id}",
                trusted,
            ),
        )


def _rules(said: SharePointSiteSettings) -> NameRules:
    return NameRules(said.names or ("modern" if said.api == "graph" else "strict"))


def _trust(said: SharePointSiteSettings) -> ssl.SSLContext:
    """Return which certificates are believed; raises ConfigurationError."""
    try:
        return ssl.create_default_context(cafile=said.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"{said.ca} holds no authorities in PEM: {getattr(error, 'reason', None) or error.strerror}",
            advice="Name a file that begins with -----BEGIN CERTIFICATE-----.",
        ) from error
