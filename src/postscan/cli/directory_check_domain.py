"""What a controller lets us see of the domain: log-on, clock, schema, container, rights, certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from postscan.cli.directory_check_network import CONNECTION, TLS
from postscan.cli.directory_steps import Told, Walk, doubtful, fine, left_out, wrong
from postscan.core.errors import PostscanError
from postscan.directory.active.directory import ActiveDirectorySettings, catalog_settings
from postscan.directory.ldap.binding import Sasl, in_words
from postscan.directory.ldap.client import Ldap
from postscan.directory.ldap.filters import any_of, equal, has_bits
from postscan.directory.ldap.model import CredentialsRefused, RootDse, Scope
from postscan.directory.ldap.names import dns_domain, same

BIND: Final = "log-on"
CONTAINER: Final = "container"
_PROCESS: Final = "msImaging-PostScanProcess"
_CLASSES: Final = ("msImaging-PSPs", _PROCESS)
_ATTRIBUTES: Final = ("msImaging-PSPIdentifier", "msImaging-PSPString")
_PINNING: Final = ("msImaging-ThumbprintHash", "msImaging-HashAlgorithm")
_CHILDREN: Final = "allowedChildClassesEffective"
# objectVersion of the schema, by the Windows Server that brought it ([MS-ADTS] 3.1.1.2.3.2 and later).
_SCHEMAS: Final = {47: "2008 R2", 56: "2012", 69: "2012 R2", 87: "2016", 88: "2019 or 2022", 91: "2025"}
# Kerberos takes no more; and tickets that are wrong by less already confuse whoever reads logs.
_MOST_SKEW: Final = timedelta(minutes=5)
_SOME_SKEW: Final = timedelta(seconds=30)
_IS_DOMAIN: Final = 0x2
_ENTER_IT: Final = "(A password that postscan keeps: `postscan secrets set directory.password`.)"


class DomainCheck:
    """Looks at the domain through one bound connection.

    :param settings: as the server asks with.
    :param account: as the settings write it.
    """

    def __init__(self, settings: ActiveDirectorySettings, account: str) -> None:
        self._settings = settings
        self._account = account
        self._ldap = Ldap(settings.ldap)
        self._root: RootDse | None = None
        self._may_create = False

    async def walk(self, walk: Walk) -> None:
        """Take all steps, and let the connection go."""
        try:
            await walk.take(BIND, self._bind, [TLS if self._settings.ldap.transport.tls else CONNECTION])
            await walk.take("clock", self._clock, [BIND])
            await walk.take("schema", self._schema, [BIND])
            await walk.take(CONTAINER, self._container, [BIND])
            await walk.take("rights", self._rights, [CONTAINER])
            await walk.take("global catalog", self._global_catalog, [BIND])
        finally:
            await self._ldap.close()

    @property
    def root(self) -> RootDse:
        """What the controller said of itself; known once the log-on went well."""
        if self._root is None:
            raise RuntimeError("the log-on comes first")
        return self._root

    async def _bind(self) -> Told:
        try:
            self._root = await self._ldap.root()
        except CredentialsRefused as error:
            raise CredentialsRefused(str(error), advice=f"{error.what_to_do} {_ENTER_IT}") from error
        facts = await self._ldap.facts()
        by = {"simple": "a simple bind", "kerberos": "Kerberos", "ntlm": "NTLM"}.get(
            facts.mechanism, facts.mechanism
        )
        guard = facts.tls or ("signed and encrypted" if facts.sealed else "in clear text")
        told = f"as {in_words(self._settings.ldap.credentials)} at {self._root.host}, by {by}, {guard}"
        domain = dns_domain(self._root.default_naming_context)
        if domain.casefold() != self._settings.ldap.domain.casefold():
            return wrong(
                f"{told}, which is a controller of {domain}, not of {self._settings.ldap.domain}",
                "Correct domain, or controllers, under [directory].",
            )
        if facts.tls is None and not facts.sealed:
            return doubtful(told, 'Set transport = "ldaps" outside of a laboratory.')
        return fine(told)

    async def _clock(self) -> Told:
        entry = await self._ldap.read("", ["currentTime"])
        text = entry.text("currentTime") if entry is not None else None
        now = datetime.now(UTC)
        try:
            theirs = datetime.strptime((text or "")[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            return doubtful("the controller does not tell the time", "Compare the clocks yourself.")
        skew = abs(now - theirs)
        said = f"{skew.total_seconds():.0f} s between this machine and the controller"
        advice = "Have both set their clocks by the same time servers (chrony, or systemd-timesyncd)."
        if skew < _SOME_SKEW:
            return fine(said)
        if skew > _MOST_SKEW and isinstance(self._settings.ldap.credentials, Sasl):
            return wrong(f"{said}; Kerberos takes 5 minutes at most", advice)
        return doubtful(said, advice)

    async def _schema(self) -> Told:
        names = (*_CLASSES, *_ATTRIBUTES, *_PINNING)
        schema = self.root.schema_naming_context
        found = await self._ldap.search(
            schema,
            Scope.ONE_LEVEL,
            any_of(*(equal("lDAPDisplayName", name) for name in names)),
            ["lDAPDisplayName"],
        )
        there = {entry.text("lDAPDisplayName") for entry in found}
        top = await self._ldap.read(schema, ["objectVersion"])
        version = (top.text("objectVersion") if top is not None else None) or "unknown"
        year = _SCHEMAS.get(int(version)) if version.isascii() and version.isdigit() else None
        of = f"version {version}{f' (Windows Server {year})' if year else ''}"
        missing = [name for name in names if name not in there]
        if set(missing) - set(_PINNING):
            return wrong(
                f"{of} lacks {', '.join(missing)}",
                "Scan processes need the schema of Windows Server 2008 R2 or later: `adprep /forestprep`"
                " brings it.",
            )
        if missing:
            return doubtful(
                f"{of} lacks {', '.join(missing)}",
                "Without them the server's certificate cannot be published; Windows Server 2012 brings them.",
            )
        return fine(f"{of} has both classes and all {len(names) - len(_CLASSES)} attributes")

    async def _container(self) -> Told:
        dn = self._settings.processes or f"CN=PSPs,CN=System,{self.root.default_naming_context}"
        entry = await self._ldap.read(dn, ["objectClass", _CHILDREN])
        if entry is None:
            return wrong(
                f"there is no {dn}, or {self._account or 'this account'} may not see it",
                "Let the account read it, name another as processes under [directory], or make it: an object"
                " of class msImaging-PSPs.",
            )
        self._may_create = _PROCESS.casefold() in {name.casefold() for name in entry.texts(_CHILDREN)}
        if "msimaging-psps" not in {name.casefold() for name in entry.texts("objectClass")}:
            return doubtful(
                f"{entry.dn} is no msImaging-PSPs, in which Windows consoles look for scan processes",
                "Name the one of the domain, or leave processes empty.",
            )
        return fine(entry.dn)

    async def _rights(self) -> Told:
        top = await self._ldap.read(self.root.default_naming_context, [_CHILDREN])
        may = "may read, and create scan processes" if self._may_create else "may read"
        if top is not None and top[_CHILDREN]:
            return doubtful(
                f"{may}; it may also create objects at the top of the domain, as an administrator may",
                "Use an account that has no more than docs/active-directory.md lists.",
            )
        if not self._may_create:
            return fine(
                f"{may}, which is all the server needs; to create scan processes from here, delegate it"
            )
        return fine(may)

    async def _global_catalog(self) -> Told:
        others = await self._other_domains()
        if not self._settings.global_catalog:
            if others:
                return doubtful(
                    f"not asked, and the forest has other domains: {', '.join(others[:5])}",
                    "global_catalog = true under [directory] lets their people use scan processes here.",
                )
            return left_out("the forest has one domain")
        catalog = Ldap(catalog_settings(self._settings.ldap))
        try:
            root = await catalog.root()
        except PostscanError as error:
            return wrong(
                f"does not answer: {error}",
                "Let a firewall pass TCP 3269 (LDAPS) or 3268, or set global_catalog = false.",
            )
        finally:
            await catalog.close()
        return fine(f"{root.host} knows the people of {1 + len(others)} domains")

    async def _other_domains(self) -> list[str]:
        found = await self._ldap.search(
            f"CN=Partitions,{self.root.configuration_naming_context}",
            Scope.ONE_LEVEL,
            has_bits("systemFlags", _IS_DOMAIN),
            ["nCName", "dnsRoot"],
        )
        own = self.root.default_naming_context
        return [
            entry.text("dnsRoot") or entry.dn for entry in found if not same(entry.text("nCName") or "", own)
        ]
