"""Which domain controllers there are: by DNS SRV as [MS-ADTS] 6.3.2.3 says, or as they were given."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver

from postscan.core.errors import ConfigurationError
from postscan.directory.ldap.model import DirectoryAway, DirectoryUntrusted

_MOST: Final = 16
_MOST_ADDRESSES: Final = 4
_SHORTEST_TTL: Final = 5.0
_LONGEST_TTL: Final = 3600.0
# While DNS is away, what it said last counts, and it is asked again so much later.
_AWAY_SECONDS: Final = 30.0
# So long one of several DNS servers is waited for, or less, as each must have its turn.
_SERVER_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Controller:
    """A controller to try; ``port`` is None where the transport's usual one is meant."""

    host: str
    port: int | None = None


def controller(text: str) -> Controller:
    """Read ``host``, ``host:port``, ``address`` or ``[address]:port``.

    :raises ConfigurationError: it is none of these.
    """
    host, port = text.strip(), ""
    if not _is_address(host):
        before, colon, after = host.rpartition(":")
        if colon and not host.endswith("]"):
            host, port = before, after
            if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
                raise ConfigurationError(f"not a domain controller's name and port: {text!r}")
        host = host.removeprefix("[").removesuffix("]").removesuffix(".")
    if not host or any(c.isspace() or c in "/@[]" for c in host) or (":" in host and not _is_address(host)):
        raise ConfigurationError(f"not a domain controller's name and port: {text!r}")
    return Controller(host, int(port) if port else None)


class Locator:
    """Finds controllers and their addresses; what DNS says is kept as long as DNS says.

    DNS servers are often controllers themselves, and go with them. While none of them answers, what they
    said last holds on: whoever is found by it still has to prove its name.

    :param given: where it is not empty, DNS is not asked which controllers there are.
    :param dns_servers: addresses (``address`` or ``address:port``) to ask instead of the system's.
    :param seconds: how long one look-up may take.
    """

    def __init__(
        self,
        domain: str,
        *,
        given: Sequence[Controller] = (),
        forest: str | None = None,
        site: str | None = None,
        global_catalog: bool = False,
        dns_servers: Sequence[str] = (),
        seconds: float = 5.0,
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._given = tuple(given)
        self._domain = domain.removesuffix(".").lower()
        self._forest = (forest or domain).removesuffix(".").lower()
        self._global_catalog = global_catalog
        self._names = _service_names(self._forest if global_catalog else self._domain, site, global_catalog)
        self._dns_servers = tuple(dns_servers)
        self._seconds = seconds
        self._clock = clock
        self._random = rng or random.SystemRandom()
        self._found: tuple[float, list[_Record]] | None = None
        self._addresses: dict[str, tuple[float, list[str]]] = {}
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def controllers(self) -> list[Controller]:
        """Return the controllers in the order to try them; at most 16.

        :raises DirectoryAway: DNS does not answer, or knows none.
        :raises DirectoryUntrusted: DNS names only hosts outside the domain.
        """
        if self._given:
            return list(self._given)
        now = self._now()
        if self._found is None or self._found[0] <= now:
            self._found = await self._ask(now)
        return [Controller(record.target, record.port) for record in _in_order(self._found[1], self._random)][
            :_MOST
        ]

    async def addresses(self, host: str) -> list[str | None]:
        """Return the addresses to connect to; None leaves it to the system's resolver.

        :raises DirectoryAway: the given DNS servers do not answer, or do not know the host.
        """
        if not self._dns_servers or _is_address(host):
            return [None]
        now = self._now()
        kept = self._addresses.get(host)
        if kept is None or kept[0] <= now:
            kept = await self._ask_address(host, now)
            while len(self._addresses) >= _MOST * 2:
                self._addresses.pop(next(iter(self._addresses)))
            self._addresses[host] = kept
        return list(kept[1])

    async def _ask(self, now: float) -> tuple[float, list[_Record]]:
        found: dict[str, _Record] = {}
        foreign: set[str] = set()
        lives, why, away = _LONGEST_TTL, "there is no such name", False
        for rank, name in enumerate(self._names):
            try:
                answer = await self._resolve(name, dns.rdatatype.SRV)
            except dns.exception.DNSException as error:
                why, away = _in_words(error), away or _is_away(error)
                continue
            lives = min(lives, _ttl(answer))
            for data in answer:
                target = str(data.target).removesuffix(".").lower()
                if self._is_ours(target):
                    record = _Record(rank, data.priority, data.weight, target, data.port)
                    found.setdefault(target, record)
                else:
                    foreign.add(target)
        if not found and away and self._found is not None:
            return now + _AWAY_SECONDS, self._found[1]
        if not found and foreign:
            raise DirectoryUntrusted(
                f"DNS names only {', '.join(sorted(foreign))[:200]} as controllers of {self._domain},"
                " which lie outside of it",
                advice="If they are its controllers all the same, list them in [directory] controllers.",
            )
        if not found:
            raise DirectoryAway(
                f"DNS knows no domain controller of {self._domain} (SRV {self._names[-1]}): {why}",
                advice="Check the domain's name and dns_servers in [directory], or list the controllers.",
            )
        return now + max(lives, _SHORTEST_TTL), list(found.values())

    async def _ask_address(self, host: str, now: float) -> tuple[float, list[str]]:
        found: list[str] = []
        lives, why, away = _LONGEST_TTL, "there is no such name", False
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                answer = await self._resolve(host, kind)
            except dns.resolver.NoAnswer:
                continue
            except dns.exception.DNSException as error:
                why, away = _in_words(error), away or _is_away(error)
                continue
            lives = min(lives, _ttl(answer))
            found += [data.address for data in answer]
        if not found and away and host in self._addresses:
            return now + _AWAY_SECONDS, self._addresses[host][1]
        if not found:
            raise DirectoryAway(f"the address of {host} cannot be found: {why}")
        return now + max(lives, _SHORTEST_TTL), found[:_MOST_ADDRESSES]

    async def _resolve(self, name: str, kind: dns.rdatatype.RdataType) -> dns.resolver.Answer:
        if self._resolver is None:
            self._resolver = _new_resolver(self._dns_servers)
            several = max(len(self._resolver.nameservers), 1)
            self._resolver.timeout = min(_SERVER_SECONDS, self._seconds / several)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._resolver.resolve(
                    f"{name}.", kind, lifetime=self._seconds, raise_on_no_answer=True
                )
        except (OSError, TimeoutError) as error:
            raise dns.exception.Timeout from error

    def _is_ours(self, target: str) -> bool:
        """Tell whether a host lies in the domain or forest.

        DNS answers can be forged. A name outside of the domain could have a certificate that is in order,
        and would be given the account's password.
        """
        return any(target == zone or target.endswith(f".{zone}") for zone in {self._domain, self._forest})

    def _now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class _Record:
    rank: int
    priority: int
    weight: int
    target: str
    port: int


def _service_names(zone: str, site: str | None, global_catalog: bool) -> list[str]:
    kind = "gc" if global_catalog else "dc"
    names = [f"_ldap._tcp.{kind}._msdcs.{zone}"]
    if site:
        names.insert(0, f"_ldap._tcp.{site}._sites.{kind}._msdcs.{zone}")
    return names


def _in_order(records: Sequence[_Record], rng: random.Random) -> list[_Record]:
    """Put records in the order of RFC 2782: by priority, and among equals at random by weight.

    Those of the site come before all others.
    """
    ordered: list[_Record] = []
    groups: dict[tuple[int, int], list[_Record]] = {}
    for record in records:
        groups.setdefault((record.rank, record.priority), []).append(record)
    for key in sorted(groups):
        left = sorted(groups[key], key=lambda record: record.weight)
        while left:
            point, running = rng.randint(0, sum(record.weight for record in left)), 0
            for at, record in enumerate(left):
                running += record.weight
                if running >= point:
                    ordered.append(left.pop(at))
                    break
    return ordered


def _new_resolver(servers: Sequence[str]) -> dns.asyncresolver.Resolver:
    try:
        resolver = dns.asyncresolver.Resolver(configure=not servers)
    except dns.exception.DNSException as error:
        raise DirectoryAway("this computer knows no DNS server (/etc/resolv.conf)") from error
    if servers:
        listed = [controller(server) for server in servers]
        for server in listed:
            if not _is_address(server.host):
                raise ConfigurationError(f"a DNS server is given by its address, not as {server.host!r}")
        resolver.nameservers = [server.host for server in listed]
        resolver.nameserver_ports = {server.host: server.port for server in listed if server.port}
    return resolver


def _ttl(answer: dns.resolver.Answer) -> float:
    return min(float(answer.rrset.ttl) if answer.rrset is not None else 0.0, _LONGEST_TTL)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_away(error: dns.exception.DNSException) -> bool:
    """Tell whether no DNS server answered, in contrast to answering that there is nothing."""
    return isinstance(error, dns.exception.Timeout | dns.resolver.NoNameservers)


def _in_words(error: dns.exception.DNSException) -> str:
    if isinstance(error, dns.resolver.NXDOMAIN):
        return "there is no such name"
    if isinstance(error, dns.exception.Timeout):
        return "no DNS server answered in time"
    if isinstance(error, dns.resolver.NoNameservers):
        return "the DNS servers could not answer"
    return " ".join(str(error).split())[:200]
