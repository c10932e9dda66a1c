"""`postscan processes`: what scan processes there are, what they say, and whether they are right."""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postscan.cli.exit_codes import ExitCode
from postscan.cli.options import DEFAULT_CONFIG, JsonOption, OptionalConfigOption
from postscan.cli.output import Output, print_error, quiet_logs
from postscan.core.errors import ConfigurationError, PostscanError

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings
    from postscan.directory.embedded import EmbeddedDirectory
    from postscan.directory.model import StoredProcess, User

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--directory", metavar="DIR", help="The directory's folder, when there is no settings file."
    ),
]


class NoSuchEntry(PostscanError):
    """The directory has no such user or scan process, or several of that name."""

    advice = "`postscan processes list` shows what there is."
    exit_code = ExitCode.REFUSED


@app.callback()
def processes() -> None:
    """List, show and validate scan processes.

    They are looked up in the directory that --config names (./server.toml without it), or in --directory.
    """


@app.command("list")
def list_processes(
    config: OptionalConfigOption = None,
    directory: DirectoryOption = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only those this user may use (name, UPN or SID).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List scan processes, or those a user may use.

    Exit status: 0, also when there are none; 4 when there is no such user.
    """
    from postscan.cli.process_text import describe, may_use

    output = Output(json)
    source = _directory(config, directory)
    found = asyncio.run(_processes_for(source, user) if user else source.processes())
    if found:
        output.table(
            ["name", "identifier", "may use", "delivers to"],
            [
                (
                    process.display_name,
                    str(process.identifier),
                    may_use(process),
                    ", ".join(_destinations(describe(process))),
                )
                for process in found
            ],
            whole=["identifier"],
        )
    else:
        output.line(f"{user} may use no scan process." if user else "There are no scan processes.")
    output.result([describe(process) for process in found])
    for problem in source.problems():
        print_error(str(problem), warning=True)


@app.command()
def show(
    process: Annotated[str, typer.Argument(metavar="NAME|GUID", help="Its display name or identifier.")],
    config: OptionalConfigOption = None,
    directory: DirectoryOption = None,
    xml: Annotated[bool, typer.Option("--xml", help="Print the XML exactly as it is stored.")] = False,
    json: JsonOption = False,
) -> None:
    """Show one scan process in words, or its XML.

    Who may use it, what the device scans, and where the pages go.

    Exit status: 0; 4 when there is no such scan process.
    """
    from postscan.cli.process_text import describe

    if xml and json:
        raise typer.BadParameter("--xml and --json exclude each other")
    output = Output(json)
    stored = _find(asyncio.run(_directory(config, directory).processes()), process)
    if xml:
        text = stored.xml.decode("utf-8", errors="replace")
        output.stream.write(text if text.endswith("\n") else text + "\n")
        return
    described = describe(stored)
    output.result(described)
    output.heading(stored.display_name)
    for name, value in _rows(described):
        output.line(f"  {name:<14}{value}")


@app.command()
def validate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            exists=True,
            help="Scan process XML files, or folders of them; without any, the directory's.",
        ),
    ] = None,
    config: OptionalConfigOption = None,
    directory: DirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Check scan process files before they go into service.

    Checked are the XML, the schema and the filters, and with --config (or ./server.toml) also that the
    scan process is this server's and that the server may deliver where it says.

    Exit status: 0 when all are valid, 4 when one is not.
    """
    from postscan.cli.process_checks import problems_of

    output = Output(json)
    loaded = _settings(config)
    folder = directory or (loaded.settings.directory.folder if loaded else None)
    if not files and folder is None:
        raise typer.BadParameter("name files, or the directory with --config or --directory")
    paths = _xml_files(files or [folder / "processes"] if folder else files or [])
    results = []
    for path in paths:
        problems = problems_of(path.read_bytes(), loaded.settings if loaded else None)
        results.append((path, problems))
        if not problems:
            output.line(f"{path}: valid", style="green")
        for problem in problems:
            output.line(f"{path}:{problem.line}: {problem.message}", style="red")
            output.line(f"  what to do: {problem.advice}")
    if not paths:
        output.line("There are no scan processes (*.xml) there.")
    if loaded is None:
        output.line("Not checked without --config: the server's name, and where it may deliver.")
    invalid = sum(1 for _path, problems in results if problems)
    output.result(
        [
            {
                "file": str(path),
                "valid": not problems,
                "problems": [
                    {"line": found.line, "message": found.message, "advice": found.advice}
                    for found in problems
                ],
            }
            for path, problems in results
        ]
    )
    if invalid:
        output.line(f"{invalid} of {len(results)} not valid.", style="bold red")
        raise typer.Exit(ExitCode.REFUSED)


def _settings(config: Path | None) -> LoadedSettings | None:
    """Read the settings named, or ./server.toml if it is there."""
    if config is None and not DEFAULT_CONFIG.exists():
        return None
    from postscan.cli.settings import load_settings

    return load_settings(config or DEFAULT_CONFIG, os.environ)


def _directory(config: Path | None, folder: Path | None) -> EmbeddedDirectory:
    from postscan.directory.embedded import EmbeddedDirectory

    quiet_logs()
    if folder is not None:
        if not folder.is_dir():
            raise ConfigurationError(f"there is no folder {folder}", advice="name the directory's folder")
        return EmbeddedDirectory(folder)
    loaded = _settings(config)
    if loaded is None:
        raise ConfigurationError(
            "no directory is named, and there is no server.toml here",
            advice="name the settings with --config FILE, or the directory's folder with --directory DIR",
        )
    return EmbeddedDirectory(loaded.settings.directory.folder, domain=loaded.settings.directory_domain)


async def _processes_for(source: EmbeddedDirectory, name: str) -> list[StoredProcess]:
    user: User | None = await source.user_by_name(name) or await source.user_by_sid(name)
    if user is None:
        raise NoSuchEntry(f"there is no user {name}", advice="users stand in users.toml of the directory")
    return await source.processes_for(user)


def _find(stored: Sequence[StoredProcess], wanted: str) -> StoredProcess:
    guid = wanted.strip("{}").casefold()
    found = [
        process
        for process in stored
        if str(process.identifier) == guid or process.display_name.casefold() == wanted.casefold()
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise NoSuchEntry(
            f"{len(found)} scan processes are named {wanted}",
            advice=f"use an identifier: {', '.join(str(process.identifier) for process in found)}",
        )
    names = [process.display_name for process in stored]
    near = difflib.get_close_matches(wanted, names, n=1)
    raise NoSuchEntry(
        f"there is no scan process {wanted}", advice=f"did you mean {near[0]!r}?" if near else None
    )


def _xml_files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(path.glob("*.xml")) if path.is_dir() else [path]
    return found


def _destinations(described: dict[str, Any]) -> list[str]:
    return [
        place
        for filter_ in described["filters"]
        for place in (filter_["destinations"] or [f"({filter_['name']})"])
    ]


def _rows(described: dict[str, Any]) -> list[tuple[str, str]]:
    """Lay a scan process out as lines of a name and a value; further values of a name have none."""
    rows = [
        ("identifier", described["identifier"]),
        ("may use", described["may_use"]),
        ("server", described["scan_repository"]),
    ]
    change = " and ".join(described["device_may_change"])
    rows.append(
        (
            "documents",
            described["document_root_name"] + (f" (the device may change the {change})" if change else ""),
        )
    )
    rows.append(("on error", "go on with the other filters" if described["continue_on_error"] else "stop"))
    ticket = [f"{path} {value}" for path, value in described["ticket"].items()] or [
        "the device's own defaults"
    ]
    rows += zip(["scan ticket", *[""] * (len(ticket) - 1)], ticket, strict=True)
    for number, filter_ in enumerate(described["filters"], start=1):
        places = filter_["destinations"] or [""]
        rows.append((f"filter {number}", f"{filter_['name']}{': ' if places[0] else ''}{places[0]}"))
        rows += [("", f"{' ' * (len(filter_['name']) + 2)}{place}") for place in places[1:]]
    return rows
