"""`postscan processes`: what scan processes there are, what they say, and whether they are right."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postscan.cli import process_dry_run, process_editing, process_transfer
from postscan.cli.exit_codes import ExitCode
from postscan.cli.options import JsonOption, OptionalConfigOption
from postscan.cli.output import Output, print_error
from postscan.cli.process_source import DirectoryOption, find, find_user, opened, settings_of

if TYPE_CHECKING:
    from postscan.cli.process_checks import ProcessReport
    from postscan.cli.settings import LoadedSettings
    from postscan.directory.model import StoredProcess

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

_CORRECT = "correct the object in the directory, or delete it; until then it is left out"


@app.callback()
def processes() -> None:
    """List, validate, try, move and edit scan processes.

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
    found, problems = asyncio.run(_listed(config, directory, user))
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
    for problem in problems:
        print_error(problem, warning=True)


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
    stored = find(asyncio.run(_listed(config, directory, None))[0], process)
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
    """Check scan process files, or those of the directory.

    Do so before they go into service. Checked are the XML, the schema and the filters, and with --config (or
    ./server.toml) also that the scan process is this server's, that the filters it asks for are set up, and
    that the server may deliver where it says. Nothing is connected: `postscan processes test` proves the
    destinations themselves. Told as well are what may surprise, and the names that documents would get.

    Exit status: 0 when all are valid, 4 when one is not.
    """
    output = Output(json)
    loaded = settings_of(config)
    results = _validated(files or [], directory, loaded)
    for name, report in results:
        if not report.problems:
            output.line(f"{name}: valid", style="green")
        for problem in report.problems:
            output.line(f"{name}:{problem.line}: {problem.message}", style="red")
            output.line(f"  what to do: {problem.advice}")
        for line, hint in report.hints:
            output.line(f"{name}:{line}: note: {hint}", style="yellow")
        for line, sentence in report.previews:
            output.line(f"{name}:{line}: {sentence}")
    if not results:
        output.line("There are no scan processes (*.xml) there.")
    if loaded is None:
        output.line("Not checked without --config: the server's name, and where it may deliver.")
    invalid = sum(1 for _path, report in results if report.problems)
    output.result(
        [
            {
                "file": name,
                "valid": not report.problems,
                "problems": [
                    {"line": found.line, "message": found.message, "advice": found.advice}
                    for found in report.problems
                ],
                "hints": [{"line": line, "hint": hint} for line, hint in report.hints],
                "previews": [{"line": line, "preview": text} for line, text in report.previews],
            }
            for name, report in results
        ]
    )
    if invalid:
        output.line(f"{invalid} of {len(results)} not valid.", style="bold red")
        raise typer.Exit(ExitCode.REFUSED)


async def _listed(
    config: Path | None, folder: Path | None, user: str | None
) -> tuple[list[StoredProcess], list[str]]:
    """Return the scan processes (all, or those a user may use), and what is wrong with others."""
    async with opened(config, folder) as directory:
        if user is None:
            return await directory.processes(), [str(problem) for problem in directory.problems()]
        person = await find_user(directory, user)
        found = await directory.processes_for(person)
        problems = [str(problem) for problem in directory.problems()]
        if not person.enabled:
            problems.insert(0, f"the account of {person.upn} is disabled, locked or expired")
        return found, problems


def _validated(
    files: Sequence[Path], folder: Path | None, loaded: LoadedSettings | None
) -> list[tuple[str, ProcessReport]]:
    """Return what was checked, each by a name that finds it, and what was found."""
    from postscan.cli.process_checks import ProcessChecker, ProcessProblem, ProcessReport

    checker = ProcessChecker(loaded)
    if not files and folder is None and loaded is not None and loaded.settings.directory.is_active:
        found, unusable = asyncio.run(_listed(loaded.path, None, None))
        return [
            *((f"{one.display_name} ({one.identifier})", checker.report(one.xml)) for one in found),
            *(("directory", ProcessReport((ProcessProblem(1, problem, _CORRECT),))) for problem in unusable),
        ]
    if not files:
        folder = folder or (loaded.settings.directory.folder if loaded is not None else None)
        if folder is None:
            raise typer.BadParameter("name files, or the directory with --config or --directory")
        files = [folder / "processes"]
    return [(str(path), checker.report(path.read_bytes())) for path in _xml_files(files)]


def _xml_files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(path.glob("*.xml")) if path.is_dir() else [path]
    return found


def _destinations(described: dict[str, Any]) -> list[str]:
    return [
        place
        for filter_ in described["filters"]
        if not filter_["processing"]
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
        places = [*filter_["destinations"], *filter_["says"]] or [""]
        rows.append((f"filter {number}", f"{filter_['name']}{': ' if places[0] else ''}{places[0]}"))
        rows += [("", f"{' ' * (len(filter_['name']) + 2)}{place}") for place in places[1:]]
    return rows


process_transfer.register(app)
process_editing.register(app)
process_dry_run.register(app)
