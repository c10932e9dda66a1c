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
from postscan.core.errors import ConfigurationError, PostscanError

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

    SIGHUP, or `postscan server reload`, makes it read its settings again. What is wrong is told, and leaves
    all as it was; what needs a restart is named.

    When told to stop it finishes what is in flight, tells subscribers, and keeps everything else for the
    next start. A second signal stops it at once; nothing acknowledged is lost even then.

    Exit status: 0 after a clean stop, 3 when the settings, keys or folders do not allow it to start.
    """
    import uvloop

    from postscan.cli.reloading import SettingsFile
    from postscan.cli.settings import load_settings
    from postscan.cli.wiring import scan_server
    from postscan.core.log import configure_logging

    loaded = load_settings(config, os.environ)

    def set_log_level(level: str) -> None:
        configure_logging(level=level, as_json=_log_is_json(loaded))

    set_log_level(loaded.settings.server.log_level)
    if loaded.settings.server.listen_address[1] == 0:
        raise ConfigurationError(
            "server.listen has port 0, which no device could know",
            advice="Write a port; 5362 is the one IANA gave WS-DSP.",
        )
    _log_findings(loaded)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        server = scan_server(loaded, SettingsFile(loaded, os.environ, set_log_level))
        runner.run(_serve(server, Output(json), loaded.settings.server.stop_seconds))


def _log_is_json(loaded: LoadedSettings) -> bool:
    from postscan.cli.settings import DEFAULT

    if loaded.origins["server.log_format"] == DEFAULT and sys.stderr.isatty():
        return False
    return loaded.settings.server.log_format == "json"


def _log_findings(loaded: LoadedSettings) -> None:
    from postscan.cli.checks import check_installation
    from postscan.cli.findings import Severity
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

    reloads: set[asyncio.Task[None]] = set()

    def told_to_reload() -> None:
        task = loop.create_task(_reload(server, output))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop, number)
    loop.add_signal_handler(signal.SIGHUP, told_to_reload)
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


async def _reload(server: ScanServer, output: Output) -> None:
    """Reload the settings as a signal asked; the log tells what came of it."""
    try:
        report = await server.reload()
    except PostscanError as error:
        output.line(f"settings not reloaded, all is as it was: {error}")
        output.json_line({"event": "not reloaded", "error": str(error), "advice": error.what_to_do})
        return
    output.line(f"settings reloaded: {', '.join(report.applied) or 'nothing changed'}")
    if report.waiting:
        output.line(f"  these need a restart: {', '.join(report.waiting)}")
    output.json_line({"event": "reloaded", "applied": report.applied, "waiting": report.waiting})


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
