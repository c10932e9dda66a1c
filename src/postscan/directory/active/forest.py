"""The domains of a forest: which there are, and whom to ask about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from postscan.core.clock import Clock
from postscan.directory.active.cache import Cache
from postscan.directory.ldap.filters import all_of, has_bits, present
from postscan.directory.ldap.model import LdapClient, Scope
from postscan.directory.ldap.names import InvalidName, dns_domain, same
from postscan.directory.model import DirectoryError

# systemFlags of a crossRef: FLAG_CR_NTDS_DOMAIN, a domain of this forest ([MS-ADTS] 2.2.10).
_IS_DOMAIN: Final = 0x2
# Domains come and go with years.
_DOMAINS_SECONDS: Final = 600.0


class NoDomain(DirectoryError):
    """What was asked is a directory of another kind."""

    retry_helps = False
    advice = "Name domain controllers in [directory] controllers, not another LDAP server."


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of the forest: distinguished name, DNS name and short (NetBIOS) name."""

    dn: str
    dns: str
    short: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look for somebody: the service to ask, and the top of what to search."""

    client: LdapClient
    base: str


class Forest:
    """The domain we belong to, and the others of its forest.

    :param own: asks our domain.
    :param catalog: asks the Global Catalog, which knows something of everybody in the forest.
    :param connect: makes what asks a domain, by its DNS name; needed for the groups of its people.
    """

    def __init__(
        self,
        own: LdapClient,
        clock: Clock,
        *,
        catalog: LdapClient | None = None,
        connect: Callable[[str], LdapClient] | None = None,
    ) -> None:
        self.own = own
        self.catalog = catalog
        self._connect = connect
        self._others: dict[str, LdapClient] = {}
        self._domains: Cache[str, tuple[Domain, ...]] = Cache(
            seconds=_DOMAINS_SECONDS, missing_seconds=0, entries=1, clock=clock
        )

    async def domains(self) -> tuple[Domain, ...]:
        """Return the domains of the forest, our own first."""
        return await self._domains.get("", self._read_domains) or ()

    async def own_domain(self) -> Domain:
        """Return the domain we belong to."""
        return (await self.domains())[0]

    async def is_own_domain(self, name: str) -> bool:
        """Tell whether ``name`` is the DNS or short name of our domain."""
        return _is(await self.own_domain(), name)

    async def is_in(self, dn: str, name: str) -> bool:
        """Tell whether an object belongs to the domain with this DNS or short name."""
        domain = dns_domain(dn).casefold()
        return any(_is(each, name) and each.dns.casefold() == domain for each in await self.domains())

    async def place_of(self, name: str) -> Place | None:
        """Return where to look for the people of a domain, by its DNS or short name; empty: our own."""
        domains = await self.domains()
        if not name or _is(domains[0], name):
            return Place(self.own, domains[0].dn)
        if self.catalog is None:
            return None
        return next((Place(self.catalog, d.dn) for d in domains[1:] if _is(d, name)), None)

    async def client_of(self, dns: str) -> LdapClient | None:
        """Return what asks a domain of this forest, None for any other name."""
        domains = await self.domains()
        if _is(domains[0], dns):
            return self.own
        domain = next((d for d in domains[1:] if _is(d, dns)), None)
        if domain is None or self._connect is None:
            return None
        if domain.dns not in self._others:
            self._others[domain.dns] = self._connect(domain.dns)
        return self._others[domain.dns]

    def forget(self) -> None:
        """Ask anew which domains there are."""
        self._domains.forget()

    async def close(self) -> None:
        """Let go of the connections to the other domains; ``own`` and ``catalog`` are their makers'."""
        await self._domains.close()
        others, self._others = self._others, {}
        for client in others.values():
            await client.close()

    async def _read_domains(self) -> tuple[Domain, ...]:
        root = await self.own.root()
        own_dn = root.default_naming_context
        try:
            # Who may not read the partitions still knows their own domain by its DNS name.
            own = Domain(own_dn, dns_domain(own_dn), "")
        except InvalidName as error:
            raise NoDomain(f"{root.host} names no domain of its own: it is no domain controller") from error
        entries = await self.own.search(
            f"CN=Partitions,{root.configuration_naming_context}",
            Scope.ONE_LEVEL,
            all_of(present("nETBIOSName"), has_bits("systemFlags", _IS_DOMAIN)),
            ["nCName", "dnsRoot", "nETBIOSName"],
        )
        others = []
        for entry in entries:
            dn, dns, short = (entry.text(name) or "" for name in ("nCName", "dnsRoot", "nETBIOSName"))
            if same(dn, own_dn):
                own = Domain(own_dn, own.dns, short)
            elif dn and dns:
                others.append(Domain(dn, dns, short))
        return (own, *others)


def _is(domain: Domain, name: str) -> bool:
    return bool(name) and name.casefold().rstrip(".") in {domain.dns.casefold(), domain.short.casefold()}
