"""The LDAP client: a few bound connections, and another controller when one goes away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from sansldap import LDAPFilter

from postscan.directory.ldap import codec
from postscan.directory.ldap.answers import Control
from postscan.directory.ldap.connection import Answer
from postscan.directory.ldap.dialling import Dialler
from postscan.directory.ldap.filters import present
from postscan.directory.ldap.locator import Controller
from postscan.directory.ldap.model import (
    Change,
    DirectoryAway,
    Entry,
    NoSuchObject,
    OutcomeUnknown,
    RootDse,
    Scope,
)
from postscan.directory.ldap.pool import Pool, Pooled
from postscan.directory.ldap.results import SUCCESS, failure
from postscan.directory.ldap.settings import LdapSettings
from postscan.directory.model import DirectoryError

__all__ = ["ConnectionFacts", "Ldap", "LdapSettings"]

_T = TypeVar("_T")

_LARGEST_RESULT: Final = 200_000
_MOST_PAGES: Final = 10_000
_READ_ATTEMPTS: Final = 2

_ROOT_ATTRIBUTES: Final = (
    "dnsHostName",
    "defaultNamingContext",
    "configurationNamingContext",
    "schemaNamingContext",
    "rootDomainNamingContext",
    "supportedControl",
    "supportedSASLMechanisms",
    "isGlobalCatalogReady",
    "highestCommittedUSN",
)


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """How a connection in use is made and protected, for an administrator.

    ``tls`` is the version as in ``TLSv1.3``, and ``certificate`` the controller's as DER; both are None
    without TLS. ``mechanism`` is ``simple``, ``kerberos`` or ``ntlm``.
    """

    host: str
    port: int
    tls: str | None
    certificate: bytes | None
    mechanism: str
    sealed: bool


class Ldap:
    """A directory service behind one account; implements ``LdapClient``.

    Reading is repeated once on another connection when a connection ends. Writing is not repeated once it
    was sent, as it may have taken effect: OutcomeUnknown says so.
    """

    def __init__(self, settings: LdapSettings) -> None:
        self._settings = settings
        self._dialler = Dialler(settings)
        self._pool = Pool(self._dialler, size=settings.pool_size, patience=settings.patience)

    async def root(self) -> RootDse:
        """Return what the controller in use says of itself; asked once for each connection."""
        return await self._reading(self._root)

    async def facts(self) -> ConnectionFacts:
        """Return how a connection is made and protected; makes one if there is none."""

        async def tell(pooled: Pooled) -> ConnectionFacts:
            one = pooled.connection
            return ConnectionFacts(
                one.host, one.port, one.tls_version, one.certificate, one.mechanism, one.sealed
            )

        return await self._reading(tell)

    async def controllers(self) -> list[Controller]:
        """Return the controllers given, or those that DNS names, in the order they would be tried.

        :raises DirectoryAway: DNS does not answer, or knows none.
        """
        return await self._dialler.controllers()

    async def search(
        self,
        base: str,
        scope: Scope,
        where: LDAPFilter,
        attributes: Sequence[str],
        *,
        descriptors: bool = False,
        limit: int | None = None,
    ) -> list[Entry]:
        """Return the objects found, page by page; see ``LdapClient``."""
        most = _LARGEST_RESULT if limit is None else limit

        async def pages(pooled: Pooled) -> list[Entry]:
            found: list[Entry] = []
            cookie = b""
            for _ in range(_MOST_PAGES):
                size = min(self._settings.page_size, most - len(found))
                if size <= 0:
                    break
                controls = [codec.page_control(size, cookie), *_controls(descriptors)]
                answer = await self._searched(pooled, base, scope, where, attributes, controls)
                found += answer.entries
                cookie = codec.next_cookie(answer.end)
                if not cookie:
                    return found[:most]
            if limit is None or len(found) < most:
                raise DirectoryError(f"searching {base}: there is no end to what is found")
            return found[:most]

        return await self._reading(pages)

    async def read(self, dn: str, attributes: Sequence[str], *, descriptors: bool = False) -> Entry | None:
        """Return one object, None when it is not there (or may not be seen)."""

        async def one(pooled: Pooled) -> Entry | None:
            anything = present("objectClass")
            try:
                answer = await self._searched(
                    pooled, dn, Scope.BASE, anything, attributes, _controls(descriptors)
                )
            except NoSuchObject:
                return None
            return answer.entries[0] if answer.entries else None

        return await self._reading(one)

    async def add(
        self, dn: str, attributes: Mapping[str, Sequence[bytes]], *, descriptors: bool = False
    ) -> None:
        """Add an object."""
        controls = [codec.descriptor_control(written=True)] if descriptors else []
        await self._writing(f"adding {dn}", lambda number: codec.add(number, dn, attributes, controls))

    async def modify(self, dn: str, changes: Sequence[Change], *, descriptors: bool = False) -> None:
        """Change an object."""
        controls = [codec.descriptor_control(written=True)] if descriptors else []
        await self._writing(f"changing {dn}", lambda number: codec.modify(number, dn, changes, controls))

    async def delete(self, dn: str) -> None:
        """Delete an object."""
        await self._writing(f"deleting {dn}", lambda number: codec.delete(number, dn))

    async def close(self) -> None:
        """Let every connection go; requests under way end with DirectoryAway."""
        await self._pool.close()

    async def _reading(self, use: Callable[[Pooled], Awaitable[_T]]) -> _T:
        reason: DirectoryError = DirectoryAway("the directory was not asked")
        for _ in range(_READ_ATTEMPTS):
            try:
                async with self._pool.connection() as pooled:
                    return await use(pooled)
            except _ConnectionEnded as error:
                reason = error.reason
        raise reason

    async def _writing(self, operation: str, write: Callable[[int], bytes]) -> None:
        try:
            async with self._pool.connection() as pooled:
                await self._ask(pooled, operation, write)
        except _ConnectionEnded as error:
            if error.answered:
                raise error.reason from None
            raise OutcomeUnknown(
                f"{operation}: it is not known whether this took effect, as the connection ended before the"
                f" answer came: {error.reason}"
            ) from error.reason

    async def _searched(
        self,
        pooled: Pooled,
        base: str,
        scope: Scope,
        where: LDAPFilter,
        attributes: Sequence[str],
        controls: Sequence[Control],
    ) -> Answer:
        return await self._ask(
            pooled,
            f"searching {base or 'what the controller says of itself'}",
            lambda number: codec.search(number, base, scope, where, attributes, controls),
        )

    async def _ask(self, pooled: Pooled, operation: str, write: Callable[[int], bytes]) -> Answer:
        try:
            answer = await pooled.connection.ask(write, self._settings.answer_seconds)
        except DirectoryError as error:
            self._pool.gone(pooled)
            raise _ConnectionEnded(error) from error
        if answer.result.code != SUCCESS:
            refusal = failure(operation, answer.result)
            if isinstance(refusal, DirectoryAway):
                self._pool.gone(pooled)
                raise _ConnectionEnded(refusal, answered=True)
            raise refusal
        return answer

    async def _root(self, pooled: Pooled) -> RootDse:
        if pooled.root is None:
            answer = await self._searched(
                pooled, "", Scope.BASE, present("objectClass"), _ROOT_ATTRIBUTES, ()
            )
            entry = answer.entries[0] if answer.entries else Entry("", {})
            pooled.root = _root_dse(entry, pooled.connection.host, self._settings.global_catalog)
        return pooled.root


class _ConnectionEnded(Exception):
    """A connection is of no more use to a request; never leaves this module.

    ``answered`` tells that the controller did answer, namely that it cannot serve now.
    """

    def __init__(self, reason: DirectoryError, *, answered: bool = False) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.answered = answered


def _controls(descriptors: bool) -> list[Control]:
    scope = [codec.domain_scope_control()]
    return [*scope, codec.descriptor_control()] if descriptors else scope


def _root_dse(entry: Entry, host: str, global_catalog: bool) -> RootDse:
    usn = entry.text("highestCommittedUSN") or "0"
    return RootDse(
        host=entry.text("dnsHostName") or host,
        default_naming_context=entry.text("defaultNamingContext") or "",
        configuration_naming_context=entry.text("configurationNamingContext") or "",
        schema_naming_context=entry.text("schemaNamingContext") or "",
        root_domain_naming_context=entry.text("rootDomainNamingContext") or "",
        supported_controls=frozenset(entry.texts("supportedControl")),
        supported_mechanisms=frozenset(entry.texts("supportedSASLMechanisms")),
        is_global_catalog=global_catalog or (entry.text("isGlobalCatalogReady") or "").upper() == "TRUE",
        highest_usn=int(usn) if usn.isascii() and usn.isdigit() else 0,
    )
