"""`postscan processes test`: whether a scan process would deliver, without a job."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode

import typer

from postscan.cli.exit_codes import ExitCode
from postscan.cli.job_text import short_dialect
from postscan.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from postscan.cli.output import Output

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings

_STYLES = {"Proven": "green", "Failed": "red", "Untried": "yellow"}
_WORDS = {"Proven": "works", "Failed": "FAILS", "Untried": "not tried: its filter has no dry run"}


def register(app: typer.Typer) -> None:
    """Add the command of this module to `postscan processes`."""
    app.command("test")(dry_run)


def dry_run(
    process: Annotated[str, typer.Argument(metavar="NAME|GUID", help="Its display name or identifier.")],
    config: ConfigOption = DEFAULT_CONFIG,
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            "-u",
            metavar="NAME",
            help="For whom to try it (name, UPN or SID); else for somebody who may use it.",
        ),
    ] = None,
    here: Annotated[
        bool,
        typer.Option("--here", help="Try it in this command, with its own account, not in the server."),
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=1, max=240, help="What each destination may take, in seconds.")
    ] = 60.0,
    json: JsonOption = False,
) -> None:
    """Prove the destinations of a scan process, without a job.

    A small file goes to each, is read back and removed again; a mail server is asked, and no mail is sent.
    The server that runs on this machine does it, as its account, with its secrets; the command itself where
    none runs. All destinations are tried at once.

    Exit status: 0 when all is well, 4 when there is no such scan process or nobody to try it for, 6 when a
    destination failed.
    """
    output = Output(json)
    report = asyncio.run(_tried(config, process, user, seconds, here))
    output.result(report)
    _print(output, report)
    if report["failures"]:
        raise typer.Exit(ExitCode.JOB_NOT_COMPLETED)


async def _tried(config: Path, process: str, user: str | None, seconds: float, here: bool) -> dict[str, Any]:
    from postscan.cli.admin_client import AdminClient, ServerNotRunning
    from postscan.cli.settings import load_settings

    loaded = load_settings(config, os.environ)
    if not here:
        query = {"seconds": f"{seconds:g}"} | ({"user": user} if user is not None else {})
        path = f"/processes/{quote(process, safe='')}/test?{urlencode(query)}"
        try:
            report = await AdminClient(loaded.settings.server.data).ask("POST", path, seconds=None)
        except ServerNotRunning:
            return {**await _tried_here(loaded, process, user, seconds), "server_runs": False}
        return {**report, "tried_by": "server", "server_runs": True}
    return {**await _tried_here(loaded, process, user, seconds), "server_runs": None}


async def _tried_here(
    loaded: LoadedSettings, process: str, user: str | None, seconds: float
) -> dict[str, Any]:
    from postscan.cli.directories import directory_of
    from postscan.cli.filters import filters_of
    from postscan.cli.output import quiet_logs
    from postscan.core.clock import SystemClock
    from postscan.server.dry_run import dry_run as run
    from postscan.server.dry_run import dry_run_facts

    quiet_logs()
    directory = directory_of(loaded)
    try:
        report = await run(directory, filters_of(loaded), SystemClock(), process, user, seconds=seconds)
    finally:
        await directory.close()
    return {**dry_run_facts(report), "tried_by": "command"}


def _print(output: Output, report: dict[str, Any]) -> None:
    where = {
        "server": "by the server",
        "command": "by this command, with its own account"
        + ("" if report["server_runs"] is None else " (no server runs here)"),
    }[report["tried_by"]]
    output.heading(f"{report['process']['name']}, for {report['user']['upn']}, tried {where}")
    for tried in report["filters"]:
        for place in tried["destinations"]:
            name = short_dialect(tried["dialect"])
            # The one destination of a step that makes documents says no more than its name does.
            has_label = place["label"] and tried["kind"] == "delivery"
            label = f"{name}: {place['label']}" if has_label else name
            took = f" ({place['seconds']:.2f} s)" if place["state"] != "Untried" else ""
            output.line(f"  {label}: {_WORDS[place['state']]}{took}", style=_STYLES[place["state"]])
            for sentence in place["proven"]:
                output.line(f"    {sentence}")
            if place["error"]:
                output.line(f"    {place['error']}")
            if place["advice"]:
                output.line(f"    what to do: {place['advice']}")
            if place["heals"]:
                output.line("    a job would try again later")
    count = report["failures"]
    if count:
        output.line(
            f"{count} {'destination fails' if count == 1 else 'destinations fail'}.", style="bold red"
        )
    else:
        output.line("A job would be delivered.", style="green")
