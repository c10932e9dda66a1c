"""`--server auto`: the scan server of this network, found by search; only one that proves who it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from postscan.cli.exit_codes import ExitCode
from postscan.core.errors import PostscanError
from postscan.soap.names import DSP, split_qname

if TYPE_CHECKING:
    from postscan.dpws.discovery.inspect import Device

AUTO = "auto"
# Our servers answer within half a second, others may take as long as DPWS lets them.
_SECONDS = 6.0


class NoServerFound(PostscanError):
    """No scan server on the network proved who it is."""

    exit_code = ExitCode.UNREACHABLE


class SeveralServers(PostscanError):
    """More than one scan server could be meant."""

    exit_code = ExitCode.REFUSED


async def find_server(
    wanted: str | None, ca: Path | None, trouble: Callable[[str], None], *, protocol: str = DSP
) -> str:
    """Return the address of the scan server to use.

    That is the one the scan process names (``wanted``, a host name), or the only one there is. Taken are
    servers whose certificate the authority ``ca`` certifies (None: this machine's authorities); nothing of
    the user's is shown to any of them yet.

    :param protocol: the namespace of the service that the server must host.
    :raises NoServerFound: none answers, or none that can be trusted.
    :raises SeveralServers: several do, and none is the one the scan process names.
    """
    from postscan.contracts import wsd
    from postscan.dpws.discovery.inspect import Device
    from postscan.dpws.discovery.search import SearchPlan, search
    from postscan.dpws.tls import client_context
    from postscan.soap.names import WSDP, qname

    plan = SearchPlan(probe=wsd.Probe(types=(qname(WSDP, "Device"),)), seconds=_SECONDS)
    found: dict[str, Device] = {}
    distrusted: list[Device] = []
    async for news in search(plan, client_context(ca)):
        if not isinstance(news, Device):
            continue
        address = _address_of(news, protocol)
        if address is None:
            if news.problem is not None and _hosts(protocol, news.sighting.types):
                distrusted.append(news)
            continue
        found[address] = news
        if wanted is not None and _host(address) == wanted.casefold().rstrip("."):
            return address
    for device in distrusted:
        trouble(f"not used: {device.problem}")
    if not found:
        sought = "" if wanted is None else f" (wanted: {wanted})"
        raise NoServerFound(
            f"no scan server that can be trusted answers on this network{sought}",
            advice="Name the server's authority with --ca FILE, or the server itself with --server URL;"
            " `postscan discover` shows who answers, and why others may not.",
        )
    if len(found) > 1:
        missing = "" if wanted is None else f", and none is {wanted}, which the scan process names"
        names = "\n".join(f"  --server {address}  ({d.friendly_name})" for address, d in found.items())
        raise SeveralServers(
            f"{len(found)} scan servers answer{missing}",
            advice=f"Choose one:\n{names}",
        )
    return next(iter(found))


def _address_of(device: Device, protocol: str) -> str | None:
    """Return the secure address of a device that hosts the service and proved it by its certificate."""
    types = [name for service in device.services for name in service.types]
    if device.problem is not None or not _hosts(protocol, types):
        return None
    return next((x for x in device.sighting.xaddrs if urlsplit(x).scheme == "https"), None)


def _hosts(protocol: str, types: Iterable[str]) -> bool:
    return any(split_qname(name)[0] == protocol for name in types)


def _host(address: str) -> str:
    return (urlsplit(address).hostname or "").casefold()
