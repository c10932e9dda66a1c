"""A Windows domain as a directory: people, scan processes, and what is published beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self, TypeVar
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from postscan.core.clock import Clock, SystemClock
from postscan.core.log import get_logger
from postscan.core.secret import Secret
from postscan.directory.active.authorities import (
    Authorities,
    read_authorities,
    read_revocation_list,
    read_revocation_lists,
)
from postscan.directory.active.cache import Cache, CacheCounts
from postscan.directory.active.certificate_accounts import CertificateAccounts, WeakMapping
from postscan.directory.active.forest import Forest
from postscan.directory.active.people import People
from postscan.directory.active.principals import Principals
from postscan.directory.active.process_reading import Outline
from postscan.directory.active.processes import Processes
from postscan.directory.active.published import PublishedCertificates, PublishedHash
from postscan.directory.active.signing_in import SignedIn, catalog_settings, has_no_realm, sign_in
from postscan.directory.certificates import CertificateRefused
from postscan.directory.ldap.client import Ldap
from postscan.directory.ldap.filters import present
from postscan.directory.ldap.model import LdapClient, Scope
from postscan.directory.ldap.settings import LdapSettings
from postscan.directory.model import DirectoryProblem, KnownNames, ProcessDraft, StoredProcess, User
from postscan.directory.spelling import folded

__all__ = ["ActiveDirectory", "ActiveDirectorySettings", "SignedIn", "WeakMapping", "catalog_settings"]

# Who or what was not there a moment ago may just have been made: somebody is waiting at the device.
_MISSING_SECONDS: Final = 2.0
# A scan process may be as large as 2 MiB, so fewer of them are kept than of people.
_MOST_PROCESSES: Final = 500
_MOST_LISTS: Final = 100
_log = get_logger("directory")
_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class ActiveDirectorySettings:
    """Which domain is asked, how, and how long its answers hold.

    ``processes`` is the distinguished name of the container of scan processes where it is not
    ``CN=PSPs,CN=System`` of the domain; ``home_site_attribute`` the attribute a user's own site stands in.
    A right that was taken away is gone ``cache_seconds`` later, whatever happens. With ``global_catalog``
    people of the other domains of the forest are known, too.
    """

    ldap: LdapSettings
    processes: str | None = None
    home_site_attribute: str = "wWWHomePage"
    weak_mapping: WeakMapping = WeakMapping.ALLOW
    cache_seconds: float = 10.0
    cache_entries: int = 10_000
    global_catalog: bool = False


class ActiveDirectory:
    """Implements Directory and ProcessEditor of :mod:`postscan.directory.model` over LDAP.

    Nothing is connected before the first question. Look-ups of people and processes may be answered from
    memory, where they are kept for ``cache_seconds`` and never longer, even while no controller answers;
    everything else asks a controller each time.

    :param connect: makes what asks a domain.
    """

    def __init__(
        self,
        settings: ActiveDirectorySettings,
        *,
        clock: Clock | None = None,
        connect: Callable[[LdapSettings], LdapClient] = Ldap,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._connect = connect
        self.ldap = connect(settings.ldap)
        self._catalog: LdapClient | None = None
        if settings.global_catalog:
            self._catalog = connect(catalog_settings(settings.ldap))
        self._forest = Forest(
            self.ldap,
            self._clock,
            catalog=self._catalog,
            connect=self._connect_domain if settings.global_catalog else None,
        )
        self._principals = Principals(self._forest, self._clock)
        self._people = People(
            self._forest,
            self._principals,
            self._clock,
            home_site_attribute=settings.home_site_attribute,
        )
        self._certificates = CertificateAccounts(self._people, settings.weak_mapping)
        self._outlines: Cache[str, tuple[Outline, ...]] = self._cache(1)
        self._stored = Processes(
            self.ldap, self._principals, container=settings.processes, outlines=self._outlines
        )
        self._published = PublishedCertificates(self.ldap)
        self._users: Cache[tuple[str, str], User] = self._cache(settings.cache_entries)
        self._one: Cache[UUID, StoredProcess] = self._cache(min(settings.cache_entries, _MOST_PROCESSES))
        self._all: Cache[str, list[StoredProcess]] = self._cache(1)
        self._granted: Cache[frozenset[str], list[StoredProcess]] = self._cache(_MOST_LISTS)

    async def user_by_sid(self, sid: str) -> User | None:
        """Return the user with this security identifier."""
        return await self._users.get(("sid", sid.casefold()), lambda: self._people.by_sid(sid))

    async def user_by_name(self, name: str) -> User | None:
        r"""Return the user called so: ``alice``, ``DSM\alice`` or ``alice@dsm.test``, in any case."""
        return await self._users.get(("name", folded(name)), lambda: self._people.by_name(name))

    async def user_for_certificate(self, certificate: x509.Certificate) -> User | None:
        """Return the one account a client certificate maps to, or None when there is none or several."""

        async def ask() -> User | None:
            try:
                return await self.certificate_owner(certificate)
            except CertificateRefused as error:
                _log.warning("client certificate refused", error=str(error), advice=error.what_to_do)
                return None

        digest = certificate.fingerprint(hashes.SHA256()).hex()
        return await self._users.get(("certificate", digest), ask)

    async def certificate_owner(self, certificate: x509.Certificate) -> User | None:
        """Return the account a certificate maps to, asked anew, None when it names nobody.

        :raises CertificateRefused: says in words why it cannot be anybody's.
        """
        return await self._certificates.user_of(certificate)

    async def process(self, identifier: UUID) -> StoredProcess | None:
        """Return the scan process with this identifier, whoever may use it."""
        return await self._one.get(identifier, lambda: self._stored.one(identifier))

    async def processes(self) -> list[StoredProcess]:
        """Return every scan process that the account of the settings may read, by display name."""
        return list(await self._all.get("", self._stored.all) or ())

    async def processes_for(self, user: User) -> list[StoredProcess]:
        """Return the scan processes ``user`` may use, by display name."""
        if not user.enabled:
            return []
        token = user.token
        return list(await self._granted.get(token, lambda: self._stored.readable_by(token)) or ())

    def problems(self) -> Sequence[DirectoryProblem]:
        """Return what is wrong with entries, as of when they were last read; such entries are left out."""
        return self._stored.problems()

    async def ping(self) -> None:
        """Find out whether the directory answers now; raises DirectoryError when it does not."""
        await self.ldap.search("", Scope.BASE, present("objectClass"), ["currentTime"])

    async def known_names(self, users: Collection[str], groups: Collection[str]) -> KnownNames:
        """Return those of the names that drafts may give rights to; the others are nobody's here."""
        return await self._stored.known_names(users, groups)

    async def create_process(self, draft: ProcessDraft) -> StoredProcess:
        """Add a scan process; see ProcessEditor for this and the two below."""
        return await self._writing(lambda: self._stored.create_process(draft))

    async def change_process(self, seen: StoredProcess, draft: ProcessDraft) -> StoredProcess:
        """Write what differs between ``seen``, as it was read, and ``draft``."""
        return await self._writing(lambda: self._stored.change_process(seen, draft))

    async def delete_process(self, seen: StoredProcess) -> None:
        """Delete a scan process."""
        await self._writing(lambda: self._stored.delete_process(seen))

    async def signed_in(self, name: str, password: Secret) -> SignedIn:
        """Return what the directory shows to the user of this name, whose password is proved by a bind.

        :raises CredentialsRefused: wrong name or password, or an empty one.
        """
        if has_no_realm(self._settings.ldap, name):
            found = await self._people.find_by_name(name)
            name = name if found is None else f"{found.account.name}@{found.account.domain}"
        return await sign_in(
            self._settings.ldap,
            name,
            password,
            connect=self._connect,
            clock=self._clock,
            container=self._settings.processes,
            home_site_attribute=self._settings.home_site_attribute,
            global_catalog=self._settings.global_catalog,
        )

    async def authorities(self) -> Authorities:
        """Return the certificate authorities that the forest trusts."""
        return await read_authorities(self.ldap)

    async def revocation_lists(self, address: str | None = None) -> list[bytes]:
        """Return revocation lists that are published in the directory (DER, unverified).

        :param address: a certificate's ``ldap:///`` distribution point; None for all lists of the forest.
        :raises ValueError: the address is not that of a revocation list in this forest.
        """
        if address is None:
            return await read_revocation_lists(self.ldap)
        return await read_revocation_list(self.ldap, address)

    async def published_hash(self, host: str) -> PublishedHash | None:
        """Return what is published of the certificate of a scan server, by its full DNS name.

        :raises PublishedHashUnusable: what is published cannot be compared with.
        """
        return await self._published.read(host)

    async def publish_certificate(self, host: str, certificate: x509.Certificate) -> bool:
        """Publish the hash of a scan server's certificate; tell whether anything had to be changed.

        :raises NoSuchComputer: no computer object has this DNS name.
        """
        return await self._published.publish(host, certificate)

    async def withdraw_certificate(self, host: str) -> bool:
        """Remove what is published of a scan server's certificate; tell whether there was anything."""
        return await self._published.withdraw(host)

    @property
    def cache_counts(self) -> Mapping[str, CacheCounts]:
        """How often each kind of look-up was answered from memory."""
        return {
            "users": self._users.counts,
            "process": self._one.counts,
            "processes": self._all.counts,
            "granted": self._granted.counts,
            "outlines": self._outlines.counts,
        }

    def forget(self) -> None:
        """Ask anew for everything."""
        self._users.forget()
        self._principals.forget()
        self._forest.forget()
        self._forget_processes()

    async def close(self) -> None:
        """Let every connection go; who still waits for an answer gets a DirectoryError."""
        for cache in (self._users, self._one, self._all, self._granted, self._outlines):
            await cache.close()
        await self._forest.close()
        if self._catalog is not None:
            await self._catalog.close()
        await self.ldap.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _writing(self, write: Callable[[], Awaitable[_T]]) -> _T:
        try:
            return await write()
        finally:
            # Also after an error: what was written may have arrived all the same.
            self._forget_processes()

    def _forget_processes(self) -> None:
        self._one.forget()
        self._all.forget()
        self._granted.forget()
        self._outlines.forget()

    def _cache(self, entries: int) -> Cache[_K, _V]:
        return Cache(
            seconds=self._settings.cache_seconds,
            missing_seconds=_MISSING_SECONDS,
            entries=entries,
            clock=self._clock,
        )

    def _connect_domain(self, domain: str) -> LdapClient:
        settings = replace(self._settings.ldap, domain=domain, controllers=(), site=None, pool_size=1)
        return self._connect(settings)
