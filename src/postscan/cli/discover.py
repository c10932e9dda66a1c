"""`postscan discover`: who is there, on the network or at a host."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postscan.cli.exit_codes import ExitCode
from postscan.cli.options import JsonOption
from postscan.cli.output import Output, print_error, quiet_logs
from postscan.core.errors import PostscanError

if TYPE_CHECKING:
    from ssl import SSLContext

    from postscan.dpws.discovery.inspect import Device
    from postscan.dpws.discovery.search import SearchPlan

app = typer.Typer(rich_markup_mode=None)
_DEVICE = "wsdp:Device"
_SILENCE = (
    "Check that something is switched on, and on this network: routers pass no such search on. A firewall"
    " here may drop the answers (UDP, from any port there to any port here), one there the question (UDP"
    " 3702, multicast); some Wi-Fi networks carry no multicast at all. Devices may take 5 s: try a longer"
    " --timeout. Asking by name needs none of this: --host NAME."
)


class NothingFound(PostscanError):
    """Nobody answered a search."""

    advice = _SILENCE
    exit_code = ExitCode.UNREACHABLE


def _checked_type(name: str) -> str:
    """Return a type as Clark name; it is given so, or with one of the usual prefixes."""
    from postscan.soap.names import PREFIXES, qname

    if name.startswith("{") and "}" in name[2:-1]:
        return name
    prefix, colon, local = name.partition(":")
    if colon and prefix in PREFIXES and local.isidentifier():
        return qname(PREFIXES[prefix], local)
    known = ", ".join(sorted(PREFIXES))
    raise typer.BadParameter(f"{name!r} is no type; write {{namespace}}Name, or prefix:Name with {known}")


@app.command()
def discover(
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Only devices of this type, like wscn:ScanDeviceType or {namespace}Name; may stand several "
            f"times. Without it, {_DEVICE}.",
        ),
    ] = None,
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", metavar="URI", help="Only devices in or below this scope; may stand several times."
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.5, max=300, help="How long to listen. Devices may take 5 s."),
    ] = 6,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="Ask this host, or https://... address, instead of the network; may stand several times.",
        ),
    ] = None,
    interfaces: Annotated[
        list[str] | None,
        typer.Option(
            "--interface",
            metavar="NAME",
            help="Search on this network interface only; may stand several times.",
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The authority to trust for secure servers (pki/ca.pem); without it, those of this machine.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Search the network for devices and scan servers, and print each as it answers.

    Asks everybody on the links of this machine (WS-Discovery, IPv4 and IPv6), this machine included, and
    listens for those that come and go meanwhile. Each device found is asked for its name and model, but only
    at the address it answered from; no certificate or password is ever sent.

    With --host nobody else is asked: the host is, at the addresses where scan servers and devices listen.

    Exit status: 0 when something was found, 5 when not.
    """
    from postscan.contracts import wsd
    from postscan.dpws.discovery.search import SearchPlan
    from postscan.dpws.tls import client_context

    quiet_logs()
    plan = SearchPlan(
        probe=wsd.Probe(
            types=tuple(_checked_type(name) for name in types or [_DEVICE]), scopes=tuple(scopes or ())
        ),
        seconds=timeout,
        hosts=tuple(hosts or ()),
        multicast=not hosts,
        interfaces=tuple(interfaces or ()),
    )
    output = Output(json)
    if not asyncio.run(_discover(plan, client_context(ca), output)):
        if hosts:
            raise typer.Exit(ExitCode.UNREACHABLE)
        raise NothingFound(f"nobody answered within {timeout:g} s")


async def _discover(plan: SearchPlan, tls: SSLContext, output: Output) -> int:
    from postscan.dpws.discovery.inspect import Device
    from postscan.dpws.discovery.search import Left, search

    found = 0
    async for news in search(plan, tls):
        if isinstance(news, Device):
            found += 1
            _print(news, output)
        elif isinstance(news, Left):
            output.line(f"gone: {news.endpoint}")
            output.line()
            output.json_line({"event": "gone", "endpoint": news.endpoint})
        else:
            print_error(str(news), news.what_to_do)
            output.json_line({"event": "silent", "problem": str(news), "advice": news.what_to_do})
    return found


def _print(device: Device, output: Output) -> None:
    from postscan.soap.names import display_name

    seen = device.sighting
    services = [t for service in device.services for t in service.types]
    rows = [
        ("model", " ".join(part for part in (device.manufacturer, device.model) if part)),
        ("address", " ".join(seen.xaddrs)),
        ("endpoint", seen.endpoint if seen.endpoint not in seen.xaddrs else ""),
        ("types", " ".join(map(display_name, seen.types))),
        ("services", " ".join(map(display_name, services))),
        ("scopes", " ".join(seen.scopes)),
        ("metadata", f"version {seen.metadata_version}"),
        ("answered", _whence(device)),
    ]
    if device.problem is not None:
        rows += [("problem", str(device.problem)), ("advice", device.problem.what_to_do)]
    output.heading(device.friendly_name or "(a device that does not tell its name)")
    for name, text in rows:
        if text:
            output.line(f"  {name:<9} {text}")
    output.line()
    output.json_line(_as_json(device))


def _whence(device: Device) -> str:
    seen = device.sighting
    if seen.source is None or seen.interface is None:
        return ""
    return f"from {seen.source} on {seen.interface.name}"


def _as_json(device: Device) -> dict[str, Any]:
    seen = device.sighting
    return {
        "event": "found",
        "endpoint": seen.endpoint,
        "friendly_name": device.friendly_name,
        "manufacturer": device.manufacturer,
        "model": device.model,
        "types": list(seen.types),
        "scopes": list(seen.scopes),
        "addresses": list(seen.xaddrs),
        "metadata_version": seen.metadata_version,
        "services": [
            {"types": list(s.types), "addresses": list(s.addresses), "service_id": s.service_id}
            for s in device.services
        ],
        "source": str(seen.source) if seen.source else None,
        "interface": seen.interface.name if seen.interface else None,
        "problem": str(device.problem) if device.problem else None,
    }
