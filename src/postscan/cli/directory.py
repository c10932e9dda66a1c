"""`postscan directory`: whether the directory works, and the server's certificate published in it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postscan.cli.exit_codes import ExitCode
from postscan.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from postscan.cli.output import Output, quiet_logs
from postscan.core.errors import ConfigurationError, PostscanError

if TYPE_CHECKING:
    from postscan.cli.directory_steps import Step
    from postscan.cli.settings import LoadedSettings
    from postscan.directory.active.directory import ActiveDirectory
    from postscan.directory.model import User

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "not tried": "dim"}


class NoSuchUser(PostscanError):
    """The directory has no such user."""

    advice = "Write the logon name (alice), the UPN (alice@example.com) or the SID."
    exit_code = ExitCode.REFUSED


@app.callback()
def directory() -> None:
    """Check the directory, and publish the server's certificate in it.

    The directory is the one of [directory] in the settings: embedded, or an Active Directory.
    """


@app.command()
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    user: Annotated[
        str | None, typer.Option("--user", "-u", metavar="NAME", help="Look this user up: name, UPN or SID.")
    ] = None,
    process: Annotated[
        str | None,
        typer.Option(
            "--process",
            "-p",
            metavar="NAME",
            help="Look at this scan process; without it, one of this server.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Walk the whole way to the directory, and say of each step how it went and what to do.

    For an Active Directory: DNS, connection, TLS, log-on, clock, schema, container, rights, global catalog,
    scan processes, user, administrators, the server's published certificate, the enterprise's authorities.
    Nothing is changed. Steps whose ground is missing are not tried.

    Exit status: 0 when nothing failed (warnings included), 5 when the directory cannot be reached, 3 when
    something else failed.
    """
    from postscan.cli.directory_findings import in_words
    from postscan.cli.directory_steps import Outcome, Walk
    from postscan.cli.directory_walk import exit_code, walk_to_directory

    output, loaded = Output(json), _settings(config)
    output.line(f"directory: {in_words(loaded)}")
    walk = Walk(lambda step: _tell(output, step))
    asyncio.run(walk_to_directory(loaded, walk, user, process))
    failed, warnings = walk.count(Outcome.FAILED), walk.count(Outcome.WARNING)
    verdict = f"{failed} failed, {warnings} to look at." if failed or warnings else "All is in order."
    output.line(verdict, style="bold red" if failed else "bold green")
    output.result(
        {
            "directory": in_words(loaded),
            "ok": not failed,
            "steps": [
                {
                    "step": step.name,
                    "outcome": step.told.outcome,
                    "said": step.told.said,
                    "details": step.told.details,
                    "advice": step.told.advice,
                }
                for step in walk.steps
            ],
        }
    )
    if failed:
        raise typer.Exit(exit_code(walk))


@app.command("publish-certificate")
def publish_certificate(
    config: ConfigOption = DEFAULT_CONFIG,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is published.")] = False,
    json: JsonOption = False,
) -> None:
    """Publish the hash of the server's certificate on its computer object, for devices to compare.

    The account of [directory] needs the right to write msImaging-ThumbprintHash and msImaging-HashAlgorithm
    there. Run it again after each change of the certificate; it changes nothing that is right already.

    Exit status: 0; 4 when there is no such computer object or the account may not write it.
    """
    output, loaded = Output(json), _settings(config)
    fqdn = loaded.settings.server.fqdn
    before, changed = asyncio.run(_publish(loaded, remove=remove))
    if before is not None:
        output.line(f"published for {fqdn} until now: {before}")
    if remove:
        output.line("removed" if changed else f"nothing is published for {fqdn}")
    else:
        output.line(
            f"published for {fqdn}: the hash of {loaded.settings.tls.certificate}"
            if changed
            else "that is this server's certificate: nothing to change"
        )
    output.result({"server": fqdn, "before": before, "changed": changed, "removed": remove and changed})


@app.command("user")
def show_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Logon name, UPN or SID.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show a user as the directory has them: names, SID, mail, groups, and the scan processes they may use.

    Exit status: 0; 4 when there is no such user.
    """
    from postscan.directory.model import is_sid

    output = Output(json)
    user, processes = asyncio.run(_user(_settings(config), name))
    groups = sorted(group for group in user.groups if not is_sid(group))
    output.heading(user.display_name or user.name)
    for label, value in (
        ("logon name", user.name),
        ("UPN", user.upn),
        ("SID", user.sid),
        ("account", "enabled" if user.enabled else "disabled, locked or expired: no job begins"),
        ("mail", user.mail or "-"),
        ("own site", user.home_site or "-"),
        ("groups", ", ".join(groups) or "-"),
        ("may use", ", ".join(processes) or "no scan process"),
    ):
        output.line(f"  {label:<12}{value}")
    output.result(
        {
            "name": user.name,
            "domain": user.domain,
            "upn": user.upn,
            "sid": user.sid,
            "display_name": user.display_name,
            "enabled": user.enabled,
            "mail": user.mail,
            "home_site": user.home_site,
            "groups": groups,
            "group_sids": sorted(group for group in user.groups if is_sid(group)),
            "processes": processes,
        }
    )


def _settings(config: Path) -> LoadedSettings:
    from postscan.cli.settings import load_settings

    quiet_logs()
    return load_settings(config, os.environ)


def _tell(output: Output, step: Step) -> None:
    told = step.told
    output.line(f"{told.outcome.upper():<10}{step.name}: {told.said}", style=_STYLES[told.outcome])
    for detail in told.details:
        output.line(f"{'':<12}{detail}")
    if told.advice:
        output.line(f"{'':<12}what to do: {told.advice}")


@asynccontextmanager
async def _domain(loaded: LoadedSettings) -> AsyncIterator[ActiveDirectory]:
    from postscan.cli.directories import active_directory_settings
    from postscan.directory.active.directory import ActiveDirectory

    if not loaded.settings.directory.is_active:
        raise ConfigurationError(
            "the embedded directory publishes no certificates",
            advice='This is for kind = "active-directory" under [directory].',
        )
    async with ActiveDirectory(active_directory_settings(loaded)) as found:
        yield found


async def _publish(loaded: LoadedSettings, *, remove: bool) -> tuple[str | None, bool]:
    from postscan.cli.directory_check_contents import own_certificate
    from postscan.directory.active.published import PublishedHashUnusable

    fqdn = loaded.settings.server.fqdn
    certificate = own_certificate(loaded.settings)
    if certificate is None and not remove:
        raise ConfigurationError(
            f"{loaded.settings.tls.certificate} is no certificate that can be read",
            advice="`postscan config check` tells what is wrong with it.",
        )
    async with _domain(loaded) as found:
        try:
            there = await found.published_hash(fqdn)
            before = f"{there.algorithm} {there.digest.hex()}" if there is not None else None
        except PublishedHashUnusable as error:
            before = f"something that cannot be compared with ({error})"
        if certificate is None or remove:
            return before, await found.withdraw_certificate(fqdn)
        return before, await found.publish_certificate(fqdn, certificate)


async def _user(loaded: LoadedSettings, name: str) -> tuple[User, list[str]]:
    from postscan.cli.directories import directory_of
    from postscan.directory.model import is_sid

    found = directory_of(loaded)
    try:
        user = await (found.user_by_sid(name) if is_sid(name) else found.user_by_name(name))
        if user is None:
            raise NoSuchUser(f"the directory knows no user {name!r}")
        return user, [process.display_name for process in await found.processes_for(user)]
    finally:
        await found.close()
