"""A user who signs in with a password, and what the directory shows to them.

The password is proved by a bind, and everything that follows is asked on that connection: who they are, the
directory says itself (tokenGroups of the root DSE, [MS-ADTS] 3.1.1.3.2.21), and which scan processes they may
read, its own access check decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from postscan.core.clock import Clock
from postscan.core.secret import Secret
from postscan.directory.active.authorities import Authorities, read_authorities
from postscan.directory.active.forest import Forest
from postscan.directory.active.memberships import sids_of
from postscan.directory.active.people import People
from postscan.directory.active.principals import Principals
from postscan.directory.active.processes import Processes
from postscan.directory.active.published import PublishedCertificates, PublishedHash
from postscan.directory.active.user_entries import AccountName, NameKind, read_name
from postscan.directory.ldap.binding import Mechanism, Sasl, SimplePassword
from postscan.directory.ldap.locator import controller
from postscan.directory.ldap.model import CredentialsRefused, LdapClient
from postscan.directory.ldap.settings import LdapSettings, Transport
from postscan.directory.model import StoredProcess, User

_BOUND_AS: Final = "tokenGroups"
_ADVICE: Final = "Check name and password; the domain may be written with the name, as in alice@example.com."


class SignedIn:
    """A user who proved their password; ``async with`` and :meth:`close` end it.

    ``user`` has the groups that count at the controller for this very connection.
    """

    def __init__(
        self, user: User, ldap: LdapClient, processes: Processes, *, catalog: LdapClient | None = None
    ) -> None:
        self.user = user
        self._ldap = ldap
        self._processes = processes
        self._catalog = catalog

    async def processes(self) -> list[StoredProcess]:
        """Return the scan processes that the directory lets the user read, by display name."""
        return await self._processes.all()

    async def process(self, identifier: UUID) -> StoredProcess | None:
        """Return one of those, None where there is none or the user may not read it."""
        return await self._processes.one(identifier)

    async def published_hash(self, host: str) -> PublishedHash | None:
        """Return what the directory publishes of the certificate of a scan server, by its full DNS name."""
        return await PublishedCertificates(self._ldap).read(host)

    async def authorities(self) -> Authorities:
        """Return the certificate authorities that the forest trusts."""
        return await read_authorities(self._ldap)

    async def close(self) -> None:
        """Let the connections go."""
        await _close(self._ldap, self._catalog)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def sign_in(
    settings: LdapSettings,
    name: str,
    password: Secret,
    *,
    connect: Callable[[LdapSettings], LdapClient],
    clock: Clock,
    container: str | None = None,
    home_site_attribute: str = "wWWHomePage",
    global_catalog: bool = False,
) -> SignedIn:
    r"""Sign in as ``alice``, ``DSM\alice`` or ``alice@dsm.test`` at the domain that ``settings`` name.

    :param settings: whose credentials are not used.
    :raises CredentialsRefused: the directory does not take name and password, or one of them is empty.
    """
    bound = user_settings(settings, name, password)
    ldap = connect(bound)
    catalog = connect(catalog_settings(bound)) if global_catalog else None
    try:
        user = await _bound_user(Forest(ldap, clock, catalog=catalog), clock, home_site_attribute)
    except BaseException:
        await _close(ldap, catalog)
        raise
    processes = Processes(ldap, None, container=container, as_user=True)
    return SignedIn(user, ldap, processes, catalog=catalog)


def catalog_settings(settings: LdapSettings) -> LdapSettings:
    """Return the settings for the Global Catalog of the same controllers; it has ports of its own."""
    hosts = tuple(controller(text).host for text in settings.controllers)
    return replace(settings, global_catalog=True, controllers=hosts)


def user_settings(settings: LdapSettings, name: str, password: Secret) -> LdapSettings:
    """Return the settings to bind as the user of this name.

    Over TLS by a simple bind, which takes a name in whichever way it is written; otherwise as the settings
    say, signed and sealed.

    :raises CredentialsRefused: no account is called so, or the password is empty: a bind without one would
        succeed and prove nothing (RFC 4513, 5.1.2).
    """
    parsed = read_name(name)
    if parsed is None:
        raise CredentialsRefused("no account can have the name that was entered", advice=_ADVICE)
    if not password:
        raise CredentialsRefused(f"no password was entered for {name}", advice=_ADVICE)
    credentials: SimplePassword | Sasl
    if settings.transport is Transport.SEALED:
        own = settings.credentials
        mechanism = own.mechanism if isinstance(own, Sasl) else Mechanism.NEGOTIATE
        credentials = Sasl(mechanism, _principal(parsed, settings.domain, sealed=True), password)
    else:
        credentials = SimplePassword(_principal(parsed, settings.domain, sealed=False), password)
    return replace(settings, credentials=credentials, global_catalog=False, pool_size=1)


def has_no_realm(settings: LdapSettings, name: str) -> bool:
    """Tell whether Kerberos could not find the user: a principal name may end in what is no domain."""
    own = settings.credentials
    if settings.transport is not Transport.SEALED or not isinstance(own, Sasl):
        return False
    parsed = read_name(name)
    other = parsed is not None and parsed.kind is NameKind.PRINCIPAL
    return (
        other
        and own.mechanism is Mechanism.KERBEROS
        and not _is_own(name.rpartition("@")[2], settings.domain)
    )


def _is_own(name: str, domain: str) -> bool:
    return name.casefold() in {"", domain.casefold(), domain.partition(".")[0].casefold()}


def _principal(name: AccountName, domain: str, *, sealed: bool) -> str:
    if _is_own(name.domain, domain) and (sealed or name.kind is NameKind.LOGON):
        # A realm of Kerberos is told apart by case, and is the domain in capitals.
        return f"{name.name}@{domain.upper() if sealed else domain}"
    return f"{name.domain}\\{name.name}" if name.kind is NameKind.DOWN_LEVEL else name.principal


async def _bound_user(forest: Forest, clock: Clock, home_site_attribute: str) -> User:
    # The first question binds; what the root DSE says after it is about whoever is bound.
    root = await forest.own.read("", [_BOUND_AS])
    token = sids_of(root[_BOUND_AS]) if root is not None else set()
    people = People(forest, Principals(forest, clock), clock, home_site_attribute=home_site_attribute)
    user = await people.bound_as(token)
    if user is None:
        raise CredentialsRefused(
            "the directory takes name and password, but shows no user of that name",
            advice="Sign in with an account of a person, of this domain.",
        )
    return user


async def _close(*clients: LdapClient | None) -> None:
    for client in clients:
        if client is not None:
            await client.close()
