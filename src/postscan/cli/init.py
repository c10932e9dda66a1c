"""`postscan init`: a complete installation in one command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postscan.cli.options import JsonOption
from postscan.cli.output import Output

if TYPE_CHECKING:
    from postscan.cli.installation import Installation

app = typer.Typer(rich_markup_mode=None)

# What a logon name may hold without quoting anywhere: in a file name, a UPN, a command line.
_LOGON_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,18}[a-z0-9])?", re.IGNORECASE)


def _checked_listen(text: str) -> str:
    from postscan.cli.settings_model import parse_listen

    try:
        parse_listen(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}") from error
    return text


def _checked_fqdn(text: str) -> str:
    from postscan.cli.settings_base import parse_host_name

    try:
        return parse_host_name(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}") from error


def _checked_domain(text: str) -> str:
    return _checked_fqdn(text) if text else ""


def _checked_users(names: list[str]) -> list[str]:
    for name in names:
        if not _LOGON_NAME.fullmatch(name):
            raise typer.BadParameter(
                f"{name!r} is no logon name: letters, digits, dot, hyphen and underscore, at most 20"
            )
    if len({name.casefold() for name in names}) < len(names):
        raise typer.BadParameter("the same user is named twice")
    return names


def _checked_keys(text: str) -> str:
    if text not in ("ec", "rsa"):
        raise typer.BadParameter(f"{text!r} is neither ec nor rsa")
    return text


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to make it; empty or not there yet.")],
    fqdn: Annotated[
        str,
        typer.Option(
            metavar="NAME", callback=_checked_fqdn, help="The name by which devices reach the server."
        ),
    ],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", callback=_checked_listen, help="Where the server listens.")
    ] = "0.0.0.0:5362",
    user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            callback=lambda names: _checked_users(list(names or ())),
            help="A user to make instead of the samples alice and bob; may be given several times. "
            "The first is a member of the sample group Accounting. An administrator, admin, is made besides.",
        ),
    ] = None,
    domain: Annotated[
        str,
        typer.Option(
            metavar="DOMAIN",
            callback=_checked_domain,
            help="The users' domain; without it, what follows the first dot of --fqdn.",
        ),
    ] = "",
    keys: Annotated[
        str,
        typer.Option(
            metavar="ec|rsa",
            callback=_checked_keys,
            help="P-256 keys, or RSA 2048 for old devices.",
        ),
    ] = "ec",
    json: JsonOption = False,
) -> None:
    """Make a complete installation: settings, keys, directory, folders.

    DIR gets server.toml (every setting, explained), pki/ (an authority and the certificates of the server
    and of each user; private keys 0600), directory/ (users and three sample scan processes), data/ and
    delivered/. The user admin is a member of Scan Administrators, who may look after the server over the
    network (`postscan server`). Nothing is ever overwritten: unless DIR is empty or absent, nothing is
    written at all.

    Exit status: 0 when all was made, 4 when DIR holds something.
    """
    from postscan.cli.installation import InstallationPlan, create_installation
    from postscan.cli.pki import KeyAlgorithm

    output = Output(json)
    made = create_installation(
        InstallationPlan(
            folder=folder,
            fqdn=fqdn,
            listen=listen,
            users=tuple(user) if user else ("alice", "bob"),
            domain=domain,
            keys=KeyAlgorithm(keys),
        )
    )
    _tell(output, made, folder)


def _tell(output: Output, made: Installation, folder: Path) -> None:
    first = made.users[0]
    serve = ["postscan", "serve", "--config", str(folder / "server.toml")]
    scan = ["postscan", "scan", "FILE", "--process", "Scan to my folder", "--user", first.name]
    scan += ["--config", str(folder / "server.toml")]
    check = ["postscan", "config", "check", "--config", str(folder / "server.toml")]

    output.heading(f"Made an installation in {made.folder}")
    output.line()
    output.table(
        ["file or folder", "what it is"],
        [
            ("server.toml", "every setting, explained"),
            ("pki/", "certificates and private keys; keep ca.key safe, away from the server if you can"),
            ("directory/users.toml", f"users: {', '.join(user.name for user in made.users)}"),
            ("directory/processes/", f"scan processes: {', '.join(p.display_name for p in made.processes)}"),
            ("data/", "the server's own: jobs and accepted images"),
            ("delivered/", "where the sample scan processes deliver"),
        ],
    )
    output.line()
    output.line("Check it, start the server, and from another terminal scan a page:")
    output.line()
    for command in (check, serve, scan):
        output.line(f"  {shlex.join(command)}")
    output.result(
        {
            "folder": made.folder,
            "address": made.address,
            "files": made.files,
            "users": [
                {"name": user.name, "sid": user.sid, "upn": user.upn, "groups": sorted(user.groups)}
                for user in made.users
            ],
            "processes": [
                {
                    "identifier": process.identifier,
                    "display_name": process.display_name,
                    "users": sorted(process.users),
                    "groups": sorted(process.groups),
                }
                for process in made.processes
            ],
            "next": [shlex.join(command) for command in (check, serve, scan)],
        }
    )
