"""`postscan server`: looking after a scan server from anywhere, as an administrator (WS-DSC)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from postscan.cli.admin_client import AdminClient
from postscan.cli.connection import Keys, address_of, checked_address
from postscan.cli.installation import ADMINISTRATOR
from postscan.cli.job_text import news, state_style
from postscan.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, OptionalConfigOption
from postscan.cli.output import Output, print_error, quiet_logs
from postscan.cli.server_search import AUTO, find_server
from postscan.cli.server_text import (
    event_facts,
    event_line,
    filters_of,
    status_facts,
    status_words,
    summary_facts,
    token_among,
)
from postscan.core.errors import ConfigurationError
from postscan.soap.names import DSC, FSF

if TYPE_CHECKING:
    from postscan.console.client import RepositoryClient

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
_T = TypeVar("_T")

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        callback=lambda text: text if text in (None, AUTO) else checked_address(text),
        help="The scan server, as https://FQDN:5362/ScanServer; without it, the one of --config."
        " auto: search the network for it.",
    ),
]
UserOption = Annotated[
    str,
    typer.Option(
        "--user", "-u", metavar="NAME", help="The administrator, whose certificate is in PKI's users/."
    ),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option("--cert", "--certificate", metavar="FILE", help="The administrator's certificate."),
]
KeyOption = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="The certificate's private key.")
]
CaOption = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="The authority to trust, instead of PKI's ca.pem."),
]
PkiOption = Annotated[
    Path | None,
    typer.Option("--pki", metavar="DIR", help="Where ca.pem and users/NAME.pem and .key are."),
]


@app.callback()
def server() -> None:
    """Look after a scan server, here or elsewhere, as one of its administrators.

    Speaks WS-DSC, the protocol that Windows' own console uses too: over the network, with an administrator's
    certificate. Who is one, [administrators] in the server's settings says. (reload alone is for the server
    on this machine, and for the account it runs as.)

    Without --server and --config, server.toml is taken from the current folder.
    """


@dataclass(frozen=True, slots=True)
class _Target:
    """Which server to ask, and with which keys."""

    server: str | None
    config: Path | None
    user: str
    keys: Keys

    def ask(self, work: Callable[[RepositoryClient], Coroutine[Any, Any, _T]]) -> _T:
        """Do some work with a client of the server.

        :raises PostscanError: a refusal, a server out of reach, wrong files.
        """
        from postscan.console.client import RepositoryClient
        from postscan.dpws.tls import client_context

        quiet_logs()
        address, keys = self._found()
        certificate, key = keys.pair_of(self.user)
        if certificate is None and keys.pki is not None:
            print_error(f"no certificate of {self.user} in {keys.pki / 'users'}: going without", warning=True)
        tls = client_context(keys.authority, certificate, key)

        async def run() -> _T:
            found = address
            if found == AUTO:
                found = await find_server(None, keys.authority, _not_used, protocol=DSC)
            async with RepositoryClient(found, tls=tls) as client:
                return await work(client)

        return asyncio.run(run())

    def _found(self) -> tuple[str, Keys]:
        from postscan.cli.settings import load_settings

        config = self.config
        if config is None and self.server is None and DEFAULT_CONFIG.exists():
            config = DEFAULT_CONFIG
        if config is None:
            if self.server is None:
                raise ConfigurationError(
                    "which server?",
                    advice="Name it with --server URL, or its settings with --config FILE.",
                )
            return self.server, self.keys
        settings = load_settings(config, os.environ).settings
        scheme = "https" if settings.tls.enabled else "http"
        own = address_of(settings.server.fqdn, settings.server.listen_address[1], scheme)
        keys = self.keys
        pki = keys.pki or settings.tls.folder
        return self.server or own, Keys(pki, keys.ca, keys.certificate, keys.key)


def _not_used(trouble: str) -> None:
    print_error(trouble, warning=True)


@app.command()
def status(
    server: ServerOption = None,
    user: UserOption = ADMINISTRATOR,
    config: OptionalConfigOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    pki: PkiOption = None,
    json: JsonOption = False,
) -> None:
    """Show how the server stands, and which filters it offers.

    Exit status: 0 when it answered, 4 when it refused (no administrator), 5 when it could not be reached.
    """
    from postscan.contracts import dsc

    async def ask(client: RepositoryClient) -> tuple[Any, ...]:
        return client.url, await client.status(), await client.configuration(), await client.active_jobs()

    keys = Keys(pki, ca, certificate, key)
    address, standing, offered, active = _Target(server, config, user, keys).ask(ask)
    number = len(active.jobs) if active.total is None else active.total
    output = Output(json)
    output.result(
        {
            "server": address,
            **status_facts(standing),
            "active_jobs": number,
            "filters": [
                {
                    "dialect": (dialect := dsc.dialect_uri(f.dialect)),
                    "shares": places if dialect == FSF else [],
                    "places": places,
                }
                for f, places in filters_of(offered)
            ],
        }
    )
    output.heading(address)
    output.line(f"{status_words(standing)}; {number} job{'' if number == 1 else 's'} under way")
    output.gap()
    output.table(
        ["filter", "configuration"],
        [(f.dialect.rpartition("}")[2], ", ".join(places) or None) for f, places in filters_of(offered)],
    )


@app.command("jobs")
def list_jobs(
    server: ServerOption = None,
    history: Annotated[bool, typer.Option("--history", help="Jobs that have ended, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most jobs of each kind to list.")] = 50,
    user: UserOption = ADMINISTRATOR,
    config: OptionalConfigOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    pki: PkiOption = None,
    json: JsonOption = False,
) -> None:
    """List the jobs that have not ended, and with --history those that have, newest first.

    Exit status: 0 when the server answered, 4 when it refused (no administrator), 5 when it could not be
    reached.
    """

    async def ask(client: RepositoryClient) -> tuple[Any, Any]:
        ended = await client.all_of(client.history, limit) if history else None
        return await client.all_of(client.active_jobs, limit), ended

    active, ended = _Target(server, config, user, Keys(pki, ca, certificate, key)).ask(ask)
    output = Output(json)
    output.result(
        {
            "active": [summary_facts(job) for job in active.jobs],
            "active_total": active.total,
            **(
                {"history": [summary_facts(job) for job in ended.jobs], "history_total": ended.total}
                if ended is not None
                else {}
            ),
        }
    )
    found = [*active.jobs, *(ended.jobs if ended is not None else ())]
    if not found:
        output.line("no jobs" if history else "no jobs that have not ended; --history shows the others")
        return
    output.table(
        ["token", "user", "process", "images", "state", "reason"],
        [
            (
                job.job_token,
                job.user_name,
                job.psp_display_name,
                job.images_received,
                job.state,
                ", ".join(news([str(reason) for reason in job.reasons])) or None,
            )
            for job in found
        ],
        styles={"state": state_style},
        whole=["token"],
    )
    for kind, part in (("that have not ended", active), ("that have ended", ended)):
        if part is not None and part.total is not None and part.total > len(part.jobs):
            output.line(f"{len(part.jobs)} of {part.total} jobs {kind}; --limit shows more")


@app.command()
def cancel(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The job's token, or how it begins.")],
    server: ServerOption = None,
    user: UserOption = ADMINISTRATOR,
    config: OptionalConfigOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    pki: PkiOption = None,
    json: JsonOption = False,
) -> None:
    """Cancel a job of anybody's. What was delivered already stays where it is.

    Exit status: 0 when the server takes it back, 4 when there is no such job under way or the server
    refused, 5 when it could not be reached.
    """

    async def ask(client: RepositoryClient) -> Any:
        active = await client.all_of(client.active_jobs, 10_000)
        whole = token_among(token, [job.job_token for job in active.jobs])
        await client.cancel(whole)
        return await client.job_status(whole)

    standing = _Target(server, config, user, Keys(pki, ca, certificate, key)).ask(ask)
    output = Output(json)
    output.result({"token": standing.job_token, "state": str(standing.state)})
    output.line(f"{standing.job_token}  {standing.state}")


@app.command()
def watch(
    server: ServerOption = None,
    user: UserOption = ADMINISTRATOR,
    config: OptionalConfigOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    pki: PkiOption = None,
    notify_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Listen for the server's events on this address.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the server's events as they come, until Ctrl-C: of every job, its status, its configuration.

    First how everything stands. The subscription is renewed in time, and made again when the server was
    started anew. With --json every line is an object.

    Exit status: 4 when the server refused (no administrator), 5 when it could not be reached at the start.
    """
    from postscan.console.follow import FollowPlan, following

    output = Output(json)

    async def follow(client: RepositoryClient) -> None:
        async with following(client, FollowPlan(sink_address=notify_address)) as found:
            async for one in found:
                output.json_line(event_facts(one))
                for line in event_line(one):
                    output.line(line)

    try:
        _Target(server, config, user, Keys(pki, ca, certificate, key)).ask(follow)
    except KeyboardInterrupt:
        # The one way to end it; nothing was interrupted by it.
        return


@app.command()
def reload(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Have the server on this machine read its settings again, as SIGHUP does.

    Prints which settings are in force now and which wait for a restart. When one is wrong, all stay as they
    were. The files of [tls] are read again too.

    Exit status: 0 when they were read, 3 when the file cannot be read, 4 when a setting in it is wrong,
    5 when no server runs.
    """
    from postscan.cli.settings import load_settings

    client = AdminClient(load_settings(config, os.environ).settings.server.data)
    report = asyncio.run(client.ask("POST", "/reload"))
    output = Output(json)
    output.result(report)
    output.line(f"in force now: {', '.join(report['applied']) or 'nothing has changed'}")
    if report["waiting"]:
        output.line(f"after a restart: {', '.join(report['waiting'])}", style="yellow")
