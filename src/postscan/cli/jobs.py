"""`postscan jobs`: the jobs of the server that runs on this machine."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from postscan.cli.admin_client import AdminClient
from postscan.cli.exit_codes import ExitCode
from postscan.cli.job_text import all_delivered, local_time, news, print_job, standing, state_style
from postscan.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from postscan.cli.output import Output

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
TokenArgument = Annotated[str, typer.Argument(metavar="TOKEN", help="The job's token, or how it begins.")]
_ENDED = frozenset({"Completed", "Aborted", "Canceled"})
_SHOWN_OF_TOKEN = 8
_REFUSED = {
    "cancel": "Only a job that has not ended can be canceled; `postscan jobs show` tells how it ended.",
    "retry": "A job can be delivered again when it ended without delivering everything, and as long as its"
    " images are kept ([retention] undelivered_days); and while a delivery waits for its next try.",
}


def _client(config: Path) -> AdminClient:
    from postscan.cli.settings import load_settings

    return AdminClient(load_settings(config, os.environ).settings.server.data)


@app.callback()
def jobs() -> None:
    """Follow, cancel and deliver again the jobs of the server that runs on this machine."""


@app.command("list")
def list_jobs(
    config: ConfigOption = DEFAULT_CONFIG,
    active: Annotated[bool, typer.Option("--active", help="Only jobs that have not ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most jobs to list.")] = 50,
    json: JsonOption = False,
) -> None:
    """List jobs, newest first. Times are this machine's; in JSON they are UTC."""
    output = Output(json)
    query = f"/jobs?limit={limit}" + ("&active=true" if active else "")
    found = asyncio.run(_client(config).ask("GET", query))
    output.result(found)
    if not found:
        output.line("no jobs" + (" that have not ended" if active else ""))
        return
    output.table(
        ["token", "created", "user", "process", "images", "state", "reason"],
        [
            (
                job["token"][:_SHOWN_OF_TOKEN],
                local_time(job["created"]),
                job["user"]["upn"],
                job["process"]["name"],
                job["images"],
                job["state"],
                ", ".join(news(job["reasons"])) or None,
            )
            for job in found
        ],
        styles={"state": state_style},
        whole=["token", "created"],
    )


@app.command()
def show(token: TokenArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show one job: its images, what the server made of them, and per destination what was delivered where.

    With --json a script gets all of it, as GET /jobs/TOKEN of the server's local socket answers it; sizes are
    octets and times UTC. docs/jobs.md tells what each key holds.
    """
    output = Output(json)
    job = asyncio.run(_client(config).find(token))
    output.result(job)
    print_job(output, job)


@app.command()
def cancel(token: TokenArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Cancel a job. What was delivered already stays where it is."""
    _act("cancel", token, config, json)


@app.command()
def retry(token: TokenArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Deliver again what a job could not deliver, as long as its images are kept.

    A delivery that waits for its next try is tried at once: for when what kept it has been mended.
    """
    _act("retry", token, config, json)


@app.command()
def watch(
    token: Annotated[
        str,
        typer.Argument(
            metavar="[TOKEN]", help="Only this job, and until it ends; its token, or how it begins."
        ),
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    seconds: Annotated[float, typer.Option(min=0.1, help="How often to look, in seconds.")] = 1.0,
    json: JsonOption = False,
) -> None:
    """Print a line whenever a job changes, until Ctrl-C; one job's changes, until it ends.

    Without TOKEN, jobs that have ended already are left out. With --json every line is a job.

    Exit status: with TOKEN, 6 when the job ended without delivering everything.
    """
    output = Output(json)
    try:
        last = asyncio.run(_watch(_client(config), output, seconds, token))
    except KeyboardInterrupt:
        # The one way to end it; nothing was interrupted by it.
        return
    if not (last["state"] == "Completed" and all_delivered(last)):
        raise typer.Exit(ExitCode.JOB_NOT_COMPLETED)


async def _watch(client: AdminClient, output: Output, seconds: float, token: str) -> dict[str, Any]:
    """Return the one watched job once it has ended."""
    wanted = (await client.find(token))["token"] if token else None
    known: dict[str, str] = {}
    first = True
    while True:
        if wanted is not None:
            found = [await client.find(wanted)]
        else:
            found = list(reversed(await client.ask("GET", "/jobs?limit=1000")))
        for job in found:
            now = standing(job)
            if known.get(job["token"]) == now:
                continue
            known[job["token"]] = now
            if first and wanted is None and job["state"] in _ENDED:
                continue
            output.json_line(job)
            who = f"{job['user']['upn']}  {job['process']['name']}"
            output.line(f"{job['token'][:_SHOWN_OF_TOKEN]}  {who}  {now}")
        if wanted is not None and found[0]["state"] in _ENDED:
            return found[0]
        first = False
        await asyncio.sleep(seconds)


def _act(what: str, token: str, config: Path, json: bool) -> None:
    output = Output(json)
    client = _client(config)

    async def act() -> dict[str, Any]:
        found = await client.find(token)
        path = f"/jobs/{quote(found['token'])}/{what}"
        answer: dict[str, Any] = await client.ask("POST", path, advice=_REFUSED[what])
        return answer

    job = asyncio.run(act())
    output.result(job)
    output.line(f"{job['token']}  {standing(job)}")
