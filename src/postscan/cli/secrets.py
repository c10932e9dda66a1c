"""`postscan secrets`: passwords the server needs, entered once and never shown."""

from __future__ import annotations

import getpass
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from postscan.cli.exit_codes import ExitCode
from postscan.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from postscan.cli.output import Output, quiet_logs
from postscan.core.errors import PostscanError

if TYPE_CHECKING:
    from postscan.cli.secret_store import SecretUse
    from postscan.cli.settings import LoadedSettings
    from postscan.core.secret import Secret

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Such as directory.password.")]


class NoSuchSecret(PostscanError):
    """Nothing is kept, or used, under that name."""

    advice = "`postscan secrets list` shows what there is."
    exit_code = ExitCode.REFUSED


@app.callback()
def secrets() -> None:
    """Enter, list and remove passwords that the server needs.

    They are kept in secrets.toml beside the settings, for the server's account alone (0600), and each is
    used for the hosts it was entered for: when the settings name others, it has to be entered again.
    """


@app.command("set")
def set_secret(name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Enter a secret: asked for without showing it, or read as one line from standard input.

    It is bound to the hosts that the settings name now. A server that runs uses it with the next try.

    Exit status: 3 when the settings make no use of a secret of this name, or it cannot be kept.
    """
    output, loaded = Output(json), _settings(config)
    use = _use_of(loaded, name)
    loaded.secrets.store.keep(use, read_secret(name), _owner_of_data(loaded))
    output.line(f"{name} is kept in {loaded.secrets.store.path}, for {', '.join(use.destination)}")
    output.result({"name": name, "destination": use.destination, "file": loaded.secrets.store.path})
    other = _other_source(loaded, use)
    if other:
        output.line(f"but the server takes it from elsewhere first: {other}", style="yellow")


@app.command("list")
def list_secrets(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List the secrets that the settings need, and those that are kept, without their values.

    Exit status: 3 when one is missing or is not used because of where it lies or whom it was entered for.
    """
    from postscan.cli.filters import secret_uses

    output, loaded = Output(json), _settings(config)
    uses = {use.name: use for use in secret_uses(loaded)}
    rows = [_row(loaded, use) for use in uses.values()]
    for name, kept in loaded.secrets.store.read().items():
        if name not in uses:
            where = str(loaded.secrets.store.path)
            rows.append({"name": name, "state": "not needed", "from": where, "for": kept.destination})
    if rows:
        output.table(
            ["name", "state", "from", "for"],
            [(row["name"], row["state"], row["from"], ", ".join(row["for"] or ())) for row in rows],
            styles={"state": lambda state: "green" if state == "in use" else "yellow"},
            whole=["name"],
        )
    else:
        output.line("The settings need no secret, and none is kept.")
    output.result(rows)
    if any(row["state"] not in ("in use", "not needed") for row in rows):
        raise typer.Exit(ExitCode.CONFIGURATION)


@app.command()
def remove(name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Remove a secret that is kept.

    Exit status: 4 when none of this name is kept.
    """
    output, loaded = Output(json), _settings(config)
    if not loaded.secrets.store.forget(name):
        raise NoSuchSecret(f"no secret {name!r} is kept in {loaded.secrets.store.path}")
    output.line(f"{name} is removed from {loaded.secrets.store.path}")
    output.result({"name": name, "removed": True})


def read_secret(what: str, *, twice: bool = True) -> Secret:
    """Return a secret typed at the terminal without being shown, or the one line of standard input.

    :raises SecretRefused: it is empty, too long, or more than one line.
    """
    from postscan.cli.secret_file import MAX_OCTETS, SecretRefused, one_line
    from postscan.core.secret import Secret

    if not sys.stdin.isatty():
        return Secret(one_line(sys.stdin.buffer.read(MAX_OCTETS + 1), "standard input"))
    try:
        typed = getpass.getpass(f"{what} (is not shown): ")
        if twice and getpass.getpass("once more: ") != typed:
            raise SecretRefused("that was not the same", advice="Enter it again.")
    except EOFError as error:
        raise SecretRefused("nothing was entered", advice="Enter it again.") from error
    return Secret(one_line(typed.encode(errors="surrogateescape"), what))


def _settings(config: os.PathLike[str]) -> LoadedSettings:
    from pathlib import Path

    from postscan.cli.settings import load_settings

    quiet_logs()
    return load_settings(Path(config), os.environ)


def _use_of(loaded: LoadedSettings, name: str) -> SecretUse:
    from postscan.cli.filters import plugin_secret, secret_uses
    from postscan.core.errors import ConfigurationError

    uses = {use.name: use for use in secret_uses(loaded)}
    # Which secrets the filter of another package asks for, only the administrator knows.
    plugin_use = plugin_secret(loaded, name)
    if plugin_use is not None:
        uses[name] = plugin_use
    if name not in uses:
        raise ConfigurationError(
            f"the settings need no secret {name!r}",
            advice=f"They need: {', '.join(uses) or 'none'}. Write first where it goes, such as"
            ' kind = "active-directory" under [directory].',
        )
    return uses[name]


def _row(loaded: LoadedSettings, use: SecretUse) -> dict[str, str | tuple[str, ...]]:
    from postscan.cli.secret_file import SecretRefused

    row: dict[str, str | tuple[str, ...]] = {"name": use.name, "for": use.destination}
    try:
        found = loaded.secrets.find(use)
    except SecretRefused as error:
        return {**row, "state": f"not used: {error}", "from": "-"}
    if found is None:
        return {**row, "state": "missing", "from": "-"}
    return {**row, "state": "in use", "from": found.origin}


def _other_source(loaded: LoadedSettings, use: SecretUse) -> str:
    from postscan.cli.secret_file import SecretRefused

    try:
        found = loaded.secrets.find(use)
    except SecretRefused as error:
        return str(error)
    return found.origin if found is not None and found.origin != str(loaded.secrets.store.path) else ""


def _owner_of_data(loaded: LoadedSettings) -> tuple[int, int] | None:
    """Return the account the server runs as, by the folder that is its own; None when there is none yet."""
    try:
        status = loaded.settings.server.data.stat()
    except OSError:
        return None
    return status.st_uid, status.st_gid
