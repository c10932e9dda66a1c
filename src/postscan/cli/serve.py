"""`postscan serve`: the scan server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import typer

from postscan.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from postscan.cli.output import Output
from postscan.core.errors import ConfigurationError

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings
    from postscan.server.app import ScanServer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def serve(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Run the scan server until it is told to stop (Ctrl-C or SIGTERM).

    Prints its address and services once it accepts jobs; the log goes to standard error, as JSON lines (as
    text on a terminal, unless log_format says otherwise). What `postscan config check` would find is logged
    first. Tells systemd when it is ready and when it stops (Type=notify).

    When told to stop it finishes what is in flight, tells subscribers, and keeps everything else for the
    next start. A second signal stops it at once; nothing acknowledged is lost even then.

    Exit status: 0 after a clean stop, 3 when the settings, keys or folders do not allow it to start.
    """
    import uvloop

    from postscan.cli.settings import load_settings
    from postscan.cli.wiring import scan_server
    from postscan.core.log import configure_logging

    loaded = load_settings(config, os.environ)
    configure_logging(level=loaded.settings.server.log_level, as_json=_log_is_json(loaded))
    if loaded.settings.server.listen_address[1] == 0:
        raise ConfigurationError(
            "server.listen has port 0, which no device could know",
            advice="Write a port; 5362 is the one IANA gave WS-DSP.",
        )
    _log_findings(loaded)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(scan_server(loaded), Output(json), loaded.settings.server.stop_seconds))


def _log_is_json(loaded: LoadedSettings) -> bool:
    from postscan.cli.settings import DEFAULT

    if loaded.origins["server.log_format"] == DEFAULT and sys.stderr.isatty():
        return False
    return loaded.settings.server.log_format == "json"


def _log_findings(loaded: LoadedSettings) -> None:
    from postscan.cli.checks import Severity, check_installation
    from postscan.core.log import get_logger

    log = get_logger("server")
    for found in check_installation(loaded):
        tell = log.error if found.severity is Severity.PROBLEM else log.warning
        tell("the installation needs attention", key=found.key, found=found.message, advice=found.advice)


async def _serve(server: ScanServer, output: Output, stop_seconds: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told_to_stop(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop, number)
    await server.start()
    try:
        _announce(server, output)
        _tell_systemd("READY=1")
        await stop.wait()
        _tell_systemd("STOPPING=1")
        output.line(
            f"stopping; what is in flight has {stop_seconds} s to end (a second signal stops at once)"
        )
    finally:
        await server.stop()
    output.line("stopped")


def _announce(server: ScanServer, output: Output) -> None:
    settings = server.settings
    output.line(f"scan server ready at {server.address}")
    for name, address in server.services.items():
        output.line(f"  {name}: {address}")
    host, port = settings.listen
    output.line(f"  listening on {f'[{host}]' if ':' in host else host}:{port}, {settings.mode} mode")
    if server.metrics_address is not None:
        output.line(
            f"  metrics and health: {server.metrics_address}/metrics, {server.metrics_address}/health"
        )
    output.json_line(
        {
            "event": "ready",
            "address": server.address,
            "services": server.services,
            "metrics": server.metrics_address,
            "mode": str(settings.mode),
        }
    )


def _tell_systemd(state: str) -> None:
    """Tell the service manager, if there is one (sd_notify(3)); it is no matter if it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        # "@" stands for the zero octet of a name in the abstract namespace.
        service_manager.connect("\0" + address[1:] if address[0] == "@" else address)
        service_manager.sendall(state.encode())
