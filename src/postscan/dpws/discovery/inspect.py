"""A found device asked what it is: its metadata, from the machine that answered and from no other.

A datagram that anybody on the link can send must not make us call addresses of its choice (abuse case 19):
the host in an address has to be the machine the datagram came from, or the host that the user named; answers
are bounded in size and time, and nothing is followed elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from postscan.contracts import wsd
from postscan.contracts.metadata import DeviceMetadata, HostedService, read_metadata
from postscan.core.errors import PostscanError
from postscan.dpws.client import NotSoap, SoapClient
from postscan.dpws.discovery.findings import Sighting, sighting_of, usable_addresses
from postscan.dpws.discovery.interfaces import Address, plain_address
from postscan.dpws.pinned import PinnedResolver
from postscan.soap.names import WSX, WXF, qname
from postscan.soap.xml import XmlLimits

STABLE_PATH: Final = "/StableWSDiscoveryEndpoint/schemas-xmlsoap-org_ws_2005_04_discovery"
_LIMITS: Final = XmlLimits(max_bytes=256 * 1024)
_SECONDS: Final = 10.0
_MOST_MATCHES: Final = 16
_LOOK_UP_SECONDS: Final = 5.0


class NotItsAddress(PostscanError):
    """A device names an address that is not the one it answered from."""

    advice = "Ask it by name, with --host, if you know that this is the right machine."
    exit_code = 5


class NoAnswer(PostscanError):
    """A host that was asked by name is no device, or none that can be reached."""

    advice = "Check the name, and that the device or server is switched on; it may answer at another address."
    exit_code = 5


@dataclass(frozen=True, slots=True)
class Device:
    """A device that was found, with what it says of itself; ``problem`` tells why it says nothing."""

    sighting: Sighting
    friendly_name: str = ""
    manufacturer: str = ""
    model: str = ""
    services: tuple[HostedService, ...] = ()
    problem: PostscanError | None = None


async def inspect(sighting: Sighting, tls: ssl.SSLContext | None, own: Collection[Address]) -> Device:
    """Get the metadata of a device that answered a search; what goes wrong is in ``problem``.

    :param tls: whom to trust for https; it must hold no key, since anybody may answer a search.
    :param own: the addresses of this machine, on which a device may run too.
    """
    problem: PostscanError = NotItsAddress(f"{sighting.endpoint} names no address that can be used")
    for xaddr in sighting.xaddrs:
        try:
            address = await _its_own(xaddr, sighting, own)
            return await _described(sighting, xaddr, address, tls)
        except PostscanError as error:
            problem = error
    return Device(sighting, problem=problem)


async def ask_host(host: str, probe: wsd.Probe, tls: ssl.SSLContext | None) -> list[Device]:
    """Ask a host, or the service at a URL, by directed Probe (dpws.md, 1.2); return who matches.

    :raises NoAnswer: none of the usual addresses answers.
    """
    urls = [host] if "://" in host else _usual_addresses(host)
    outcomes = await asyncio.gather(*(_ask_url(url, probe, tls) for url in urls), return_exceptions=True)
    found: dict[str, Device] = {}
    problems: list[PostscanError] = []
    for outcome in outcomes:
        if isinstance(outcome, PostscanError):
            problems.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            for device in outcome:
                found.setdefault(device.sighting.endpoint, device)
    if len(problems) == len(urls):
        said = "; ".join(str(problem) for problem in problems)
        raise NoAnswer(f"{host} does not answer a search: {said}", advice=problems[0].what_to_do or None)
    return list(found.values())


async def _ask_url(url: str, probe: wsd.Probe, tls: ssl.SSLContext | None) -> list[Device]:
    try:
        async with asyncio.timeout(_SECONDS), _client(tls) as client:
            matches = await _matches_at(url, probe, client)
    except TimeoutError as error:
        raise NoAnswer(f"{url} did not answer in time") from error
    return [await _inspect_named(sighting_of(m, usable_addresses(m)), url, tls) for m in matches]


async def _matches_at(url: str, probe: wsd.Probe, client: SoapClient) -> list[wsd.ProbeMatch]:
    answer = await client.call(url, wsd.PROBE_ACTION, probe.to_element(), to=wsd.DISCOVERY_TO)
    if answer.body is None or answer.body.tag != wsd.ProbeMatches.TAG:
        raise NotSoap(f"{url} answers a Probe with something else")
    matches = []
    for match in wsd.ProbeMatches.from_element(answer.body).matches[:_MOST_MATCHES]:
        resolved = None
        if not match.xaddrs:
            resolve = wsd.Resolve(match.endpoint).to_element()
            told = (await client.call(url, wsd.RESOLVE_ACTION, resolve, to=wsd.DISCOVERY_TO)).body
            resolved = None if told is None else wsd.ResolveMatches.from_element(told).match
        matches.append(resolved or match)
    return matches


async def _inspect_named(sighting: Sighting, url: str, tls: ssl.SSLContext | None) -> Device:
    """Get the metadata of a device that was asked at ``url``, from the host in it."""
    problem: PostscanError = NotItsAddress(f"{sighting.endpoint} names no address that can be used")
    for xaddr in sighting.xaddrs:
        try:
            if _host_of(xaddr) == _host_of(url):
                return await _described(sighting, xaddr, None, tls)
            asked = await _addresses_of(url)
            shared = [a for a in await _addresses_of(xaddr) if a in asked]
            if not shared:
                raise NotItsAddress(f"{url} points to another host: {xaddr}")
            return await _described(sighting, xaddr, shared[0], tls)
        except PostscanError as error:
            problem = error
    return Device(sighting, problem=problem)


async def _its_own(xaddr: str, sighting: Sighting, own: Collection[Address]) -> Address:
    """Return the address to call for ``xaddr``; raises NotItsAddress unless it is who answered."""
    source = sighting.source
    addresses = await _addresses_of(xaddr)
    for address in addresses:
        here = source is not None and _is_here(source, own) and _is_here(address, own)
        if address == source or here:
            return address
    raise NotItsAddress(f"{source} answered, but names the address {xaddr} of another machine")


def _is_here(address: Address, own: Collection[Address]) -> bool:
    return address.is_loopback or address in own


async def _described(
    sighting: Sighting, xaddr: str, address: Address | None, tls: ssl.SSLContext | None
) -> Device:
    """Get the metadata at ``xaddr``, from no other address than ``address`` if that is given."""
    scope = None
    if address is not None and address.is_link_local and sighting.interface is not None:
        scope = sighting.interface.name
    resolver = None
    if address is not None:
        resolver = PinnedResolver()
        resolver.pin(xaddr, f"{address}%{scope}" if scope else str(address))
    try:
        async with asyncio.timeout(_SECONDS), _client(tls, resolver) as client:
            answer = await client.call(_url(xaddr, scope), f"{WXF}/Get", None, to=sighting.endpoint)
    except TimeoutError as error:
        raise NoAnswer(f"{xaddr} did not answer in time") from error
    if answer.body is None or answer.body.tag != qname(WSX, "Metadata"):
        raise NotSoap(f"{xaddr} answers Get with something else")
    metadata: DeviceMetadata = read_metadata(answer.body)
    return Device(
        sighting,
        friendly_name=_chosen(metadata.device.friendly_names),
        manufacturer=_chosen(metadata.model.manufacturers),
        model=_chosen(metadata.model.model_names),
        services=metadata.relationship.hosted,
    )


def _client(tls: ssl.SSLContext | None, resolver: PinnedResolver | None = None) -> SoapClient:
    return SoapClient(
        tls=tls, timeout_seconds=_SECONDS, resolver=resolver, max_connections=1, answer_limits=_LIMITS
    )


def _host_of(url: str) -> str:
    return (urlsplit(url).hostname or "").lower().rstrip(".")


def _url(xaddr: str, scope: str | None) -> str:
    """Return the URL to call: one with a link-local address needs the name of the interface in it."""
    host = urlsplit(xaddr).hostname or ""
    if scope is None or ":" not in host:
        return xaddr
    return xaddr.replace(f"[{host}]", f"[{host.partition('%')[0]}%25{scope}]", 1)


def _usual_addresses(host: str) -> list[str]:
    name = f"[{host.strip('[]')}]" if host.count(":") > 1 else host
    return [
        f"https://{name}:5362/ScanServer",
        f"http://{name}:5357{STABLE_PATH}",
        f"http://{name}{STABLE_PATH}",
    ]


async def _addresses_of(url: str) -> list[Address]:
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    try:
        return [plain_address(host)]
    except ValueError:  # a name
        pass
    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NoAnswer(f"the name {host} does not resolve to an address") from error
    return [plain_address(str(entry[4][0])) for entry in found]


def _chosen(names: Mapping[str, str]) -> str:
    """Return the English text, or the first."""
    english = [text for language, text in names.items() if language.lower().startswith("en")]
    return next(iter(english or names.values()), "")
