"""The settings of the SharePoint filter: the sites it may deliver to, and how it logs on at each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from postscan.cli.settings_base import Contradiction, HostName, Section, setting
from postscan.cli.toml_text import dotted
from postscan.filters.sharepoint.address import AddressError, Origin, parse_origin
from postscan.filters.sharepoint.columns import COLUMN_FIELDS
from postscan.filters.sharepoint.reach import is_forbidden_host
from postscan.filters.templates import Template, TemplateError

_COLUMN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_NOT_A_SECRETS_NAME: Final = re.compile(r"[^a-z0-9]+")
_SEGMENT_FORBIDDEN: Final = frozenset('\\:*?"<>|')
_OF_ENTRA: Final = ("tenant", "client_id", "certificate", "key")


def _checked_origin(text: str) -> str:
    try:
        origin = parse_origin(text)
    except AddressError as error:
        raise ValueError(f'is no site; write one like "https://sp.example.com" ({error})') from error
    if is_forbidden_host(origin.host):
        raise ValueError("is an address of this link, of a group or of no host, and is never called")
    return str(origin)


def _checked_column(text: str) -> str:
    if not _COLUMN.fullmatch(text):
        raise ValueError("is no internal name of a column; write one like Title or Scan_x0020_User")
    return text


def _checked_template(text: str) -> str:
    try:
        Template.parse(text, COLUMN_FIELDS)
    except TemplateError as error:
        raise ValueError(f"is no template: {error}. {error.what_to_do}") from error
    return text


def _checked_library(text: str) -> str:
    segments = text.split("/")
    if any(not one.strip(" .") or _SEGMENT_FORBIDDEN & set(one) for one in segments):
        raise ValueError("is no name of a library; write one like Shared Documents, not encoded")
    return text


SiteOrigin = Annotated[str, AfterValidator(_checked_origin)]
ColumnName = Annotated[str, AfterValidator(_checked_column)]
ColumnText = Annotated[str, AfterValidator(_checked_template)]
LibraryName = Annotated[str, AfterValidator(_checked_library)]


class SharePointSiteSettings(Section):
    """One SharePoint server, or tenant of Online, that may be delivered to."""

    api: Literal["webdav", "rest", "graph"] = setting(
        "webdav",
        "How documents get there. webdav: SharePoint 2007 to Subscription Edition. rest: 2013 and later, and"
        " Online. graph: Online.",
    )
    auth: Literal["kerberos", "ntlm", "basic", "entra"] = setting(
        "kerberos",
        "How the account proves itself. kerberos: with the keytab, the password, or this process's tickets"
        " (needs postscan[kerberos]). ntlm, basic: with the password; basic only over TLS. entra: an app of"
        " Microsoft Entra ID with a certificate, for Online.",
    )
    account: str = setting(
        "",
        r"The account that stores documents, like svc-scan@example.com (or DOMAIN\name for ntlm and basic)."
        " It needs to add folders and items in the libraries, and no more.",
    )
    password_file: Literal[""] | Path = setting(
        "",
        "A file with the account's password, which others cannot read (0600 or 0400). Empty: the systemd"
        " credential, the environment, or what `postscan secrets set sharepoint.HOST.password` has kept.",
    )
    keytab: Literal[""] | Path = setting("", "The account's Kerberos keys, in place of a password.")
    ca: Literal[""] | Path = setting(
        "",
        "The authorities, in a PEM file, that the server's certificate must come from. Empty: those that this"
        " system trusts.",
    )
    library: LibraryName = setting(
        "Shared Documents",
        "The library that is meant where a scan process names a site and no library of it.",
    )
    my_site_library: LibraryName = setting("Documents", "The same for users' own sites (SaveToMySite).")
    names: Literal["", "strict", "modern"] = setting(
        "",
        "Which names the server takes. strict: those that all versions take. modern: those of 2016 and later"
        " and Online, longer and with more characters. Empty: modern for graph, else strict.",
    )
    columns: dict[ColumnName, ColumnText] = setting(
        {},
        'Columns of the libraries to fill, by internal name; a line Title = "{document}" each. Fields:'
        f" {', '.join(COLUMN_FIELDS)}. A column that a library lacks is a warning.",
    )
    insecure: bool = setting(
        False,
        "Allow an http:// site: documents travel in clear text, and nobody proves to be the server. For a"
        " laboratory, never on a network.",
    )
    answer_seconds: int = setting(
        120, "A server that does not answer a request for this long is away.", unit="seconds", least=1
    )
    tenant: str = setting(
        "", "For entra: the tenant's id (a GUID), or a domain name of it like example.onmicrosoft.com."
    )
    client_id: str = setting("", "For entra: the Application (client) ID of the registered app.")
    certificate: Literal[""] | Path = setting(
        "", "For entra: the app's certificate, a PEM file; it is registered with the app."
    )
    key: Literal[""] | Path = setting(
        "", "For entra: the certificate's private RSA key, a PEM file which others cannot read (0600)."
    )
    key_has_passphrase: bool = setting(
        False, "For entra: the key is encrypted; `postscan secrets set sharepoint.HOST.passphrase` opens it."
    )
    authority: HostName = setting(
        "login.microsoftonline.com", "For entra: the host that gives tokens; national clouds have their own."
    )
    graph_host: HostName = setting(
        "graph.microsoft.com", "For graph: the host of Graph; national clouds have their own."
    )
    upload_hosts: list[SiteOrigin] = setting(
        [],
        "For graph: further hosts that large documents may be sent to, like"
        ' "https://example-my.sharepoint.com"; the site itself always may.',
    )

    @property
    def has_password(self) -> bool:
        """Whether the account logs on with a password."""
        return bool(self.account) and self.auth != "entra" and not self.keytab

    def contradictions(self) -> Iterator[Contradiction]:
        """Tell which values of this site do not fit together."""
        if self.auth == "entra":
            yield from self._of_entra()
            return
        if self.api == "graph":
            yield Contradiction(
                "auth", f"is {self.auth}, and Graph takes tokens alone", 'write auth = "entra"'
            )
        for key in _OF_ENTRA:
            if getattr(self, key):
                yield Contradiction(key, f"counts for entra alone, and auth is {self.auth}", "take it out")
        if not self.account and self.auth != "kerberos":
            yield Contradiction(
                "account",
                f"is missing, and {self.auth} needs one",
                'write it like account = "svc-scan@example.com"',
            )
        if self.keytab and self.auth != "kerberos":
            yield Contradiction(
                "keytab", f"is a file of Kerberos keys, and auth is {self.auth}", 'write auth = "kerberos"'
            )
        if self.keytab and self.password_file:
            yield Contradiction("password_file", "stands beside keytab, and one can count", "take out one")
        if self.keytab and not self.account:
            yield Contradiction(
                "account", "is missing: a keytab may hold several", "write whose keys to take"
            )
        if self.password_file and not self.account:
            yield Contradiction("account", "is missing, and a password is given", "write whose it is")
        if self.auth == "kerberos" and "\\" in self.account:
            yield Contradiction(
                "account",
                f"is {self.account}, and Kerberos knows name@domain",
                "write it like name@example.com",
            )
        if self.auth == "basic" and ":" in self.account:
            yield Contradiction("account", "has a colon, which basic cannot send", "use another account")

    def _of_entra(self) -> Iterator[Contradiction]:
        if self.api == "webdav":
            yield Contradiction("api", "is webdav, and Online takes no token there", 'write api = "graph"')
        for key in _OF_ENTRA:
            if not getattr(self, key):
                yield Contradiction(
                    key, "is missing, and entra needs it", "write what the app registration says"
                )
        for key in ("account", "password_file", "keytab"):
            if getattr(self, key):
                yield Contradiction(key, "has no meaning for entra, where an app logs on", "take it out")


class SharePointSettings(Section):
    """Which SharePoint sites documents may be delivered to. See docs/sharepoint.md."""

    sites: dict[SiteOrigin, SharePointSiteSettings] = setting(
        {},
        "The servers that may be delivered to, each a table by scheme and host (and port, if it is another)."
        " An address of a scan process on any other is refused.",
        example="https://sp.example.com",
    )

    def origins(self) -> Iterator[tuple[Origin, SharePointSiteSettings]]:
        """Return the sites by what they are."""
        for text, site in self.sites.items():
            yield parse_origin(text), site

    def contradictions(self) -> Iterator[Contradiction]:
        """Tell which sites cannot be called as their values say."""
        names: dict[str, Origin] = {}
        for origin, site in self.origins():
            where = dotted("sharepoint", "sites", str(origin))
            if origin.scheme == "http" and not site.insecure:
                yield Contradiction(
                    where,
                    "has no TLS: documents would travel in clear text",
                    'write the name of the table with "https://"; in a laboratory, insecure = true',
                )
            if origin.scheme == "http" and site.auth in ("basic", "entra"):
                yield Contradiction(
                    f"{where}.auth",
                    f"is {site.auth}, which shows its secret to everybody on the way without TLS",
                    'write the name of the table with "https://"',
                )
            name = secret_prefix(origin)
            if name in names:
                yield Contradiction(
                    where,
                    f"and {names[name]} would share the secrets named {name}",
                    "leave one of them out",
                )
            names[name] = origin


def secret_prefix(origin: Origin) -> str:
    """Return how the names of a site's secrets begin, like ``sharepoint.sp.example.com``.

    A port other than the scheme's own follows the host.
    """
    parts = (_NOT_A_SECRETS_NAME.sub("-", part).strip("-") for part in origin.host.split("."))
    port = [] if str(origin).endswith(origin.host) else [str(origin.port)]
    return ".".join(["sharepoint", *(part for part in parts if part), *port])
