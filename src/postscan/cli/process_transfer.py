"""`postscan processes export`, `import` and `diff`: scan processes move between directories as files."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postscan.cli.exit_codes import ExitCode
from postscan.cli.options import JsonOption, OptionalConfigOption
from postscan.cli.output import Output, print_error
from postscan.cli.process_difference_text import STATUS, comparison_json, difference_lines, planned_json
from postscan.cli.process_source import DirectoryOption, find, opened, settings_of
from postscan.core.errors import PostscanError

if TYPE_CHECKING:
    from postscan.directory.model import StoredProcess
    from postscan.directory.process_import import Comparison, Existing, PlannedProcess, Renaming

PathsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="PATH", exists=True, help="Exported folders, or single .xml files of them."),
]
MapGroupOption = Annotated[
    list[str] | None,
    typer.Option("--map-group", metavar="OLD=NEW", help="Grant to NEW what was OLD's; no NEW: to nobody."),
]
MapUserOption = Annotated[
    list[str] | None,
    typer.Option("--map-user", metavar="OLD=NEW", help="The same for a user."),
]
MapServerOption = Annotated[
    list[str] | None,
    typer.Option("--map-server", metavar="OLD=NEW", help="Hand scan processes of server OLD to server NEW."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `postscan processes`."""
    app.command("export")(export_processes)
    app.command("import")(import_processes)
    app.command("diff")(diff_processes)


def export_processes(
    to: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to; made if need be.")],
    processes: Annotated[
        list[str] | None, typer.Argument(metavar="NAME|GUID", help="Only these; without any, all.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Bring files of an earlier export up to date.")
    ] = False,
    config: OptionalConfigOption = None,
    directory: DirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Write scan processes as files, to keep, compare, or move.

    Each becomes a pair: NAME.xml, exactly as it is stored, and NAME.toml with its identifier, display name
    and who may use it. That is what an embedded directory's processes folder holds, too.

    Exit status: 0; 4 when one cannot be written, or a file there differs; then nothing was written.
    """
    from postscan.directory.process_export import write_exported

    output = Output(json)
    found, problems = asyncio.run(_stored(config, directory, processes))
    written = write_exported(to, found, replace=replace)
    for process, path, outcome in written:
        output.line(f"{path}: {process.display_name} ({outcome})")
    if not written:
        output.line("There are no scan processes.")
    output.result(
        [
            {
                "identifier": str(process.identifier),
                "display_name": process.display_name,
                "file": str(path),
                "status": str(outcome),
            }
            for process, path, outcome in written
        ]
    )
    for problem in problems:
        print_error(f"not exported: {problem}", warning=True)
    _warn_of_rules(found, "left out", "elsewhere more may use them, or fewer: look at their security")


def import_processes(
    paths: PathsArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and show what would be written.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Change scan processes that are there but differ.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave scan processes that are there but differ.")
    ] = False,
    map_group: MapGroupOption = None,
    map_user: MapUserOption = None,
    map_server: MapServerOption = None,
    config: OptionalConfigOption = None,
    directory: DirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Take exported scan processes into the directory.

    They keep their identifiers, and their XML as it is written. Everything is checked before the first is
    written: files, identifiers, users and groups. If writing stops in the middle, the same command goes on
    from there. A scan process that is only in the directory stays.

    Exit status: 0; 4 when something is wrong or differs; 5 when the directory cannot be reached. Nothing was
    written unless the output says so.
    """
    from postscan.directory.process_import import Existing

    if replace and skip_existing:
        raise typer.BadParameter("--replace and --skip-existing exclude each other")
    output = Output(json)
    run = _Import(
        Existing.REPLACE if replace else Existing.SKIP if skip_existing else Existing.REFUSE,
        _renaming(map_user, map_group, map_server),
        dry_run,
        output,
    )
    asyncio.run(run.carry_out(paths, config, directory))


def diff_processes(
    paths: PathsArgument,
    map_group: MapGroupOption = None,
    map_user: MapUserOption = None,
    map_server: MapServerOption = None,
    config: OptionalConfigOption = None,
    directory: DirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Show what importing would change.

    What is in the directory is marked with -, what would be there with +. When a whole folder is compared,
    scan processes that only the directory has are shown, too, although an import leaves them.

    Exit status, as of diff(1): 0 when there is no difference, 1 when there is; 4 when a file is wrong.
    """
    output = Output(json)
    comparison, warned = asyncio.run(
        _compared(paths, _renaming(map_user, map_group, map_server), config, directory)
    )
    only_there = list(comparison.only_there) if any(path.is_dir() for path in paths) else []
    different = _tell_plan(output, comparison.processes, would=False)
    for process in only_there:
        output.line(f"only in the directory: {process.display_name} ({process.identifier})")
    output.result(comparison_json(comparison, only_there))
    for warning in warned:
        print_error(warning, warning=True)
    _warn_of_kept_rules(comparison.processes)
    if different or only_there:
        raise typer.Exit(ExitCode.FAILURE)
    output.line("No difference.")


async def _stored(
    config: Path | None, folder: Path | None, wanted: Collection[str] | None
) -> tuple[list[StoredProcess], list[str]]:
    async with opened(config, folder) as directory:
        stored = await directory.processes()
        if not wanted:
            return stored, [str(problem) for problem in directory.problems()]
        return list({p.identifier: p for p in (find(stored, name) for name in wanted)}.values()), []


async def _compared(
    paths: list[Path], renaming: Renaming, config: Path | None, folder: Path | None
) -> tuple[Comparison, list[str]]:
    from postscan.directory.process_files import read_exported
    from postscan.directory.process_import import Step, compare

    processes = read_exported(paths)
    async with opened(config, folder) as directory:
        comparison = await compare(directory, processes, renaming)
    warned = [f"no scan process to import has the {name}" for name in renaming.unused(processes)]
    unknown = comparison.unknown(set(Step))
    for kind, names in (("user", unknown.users), ("group", unknown.groups)):
        warned += [f"the directory knows no {kind} {name} (of {process})" for name, process in names.items()]
    return comparison, warned


class _Import:
    """One run of `postscan processes import`."""

    def __init__(self, existing: Existing, renaming: Renaming, dry_run: bool, output: Output) -> None:
        self._existing = existing
        self._renaming = renaming
        self._dry_run = dry_run
        self._output = output

    async def carry_out(self, paths: list[Path], config: Path | None, folder: Path | None) -> None:
        """Check, write, and say what was done, also when writing stops in the middle."""
        from postscan.directory.process_files import read_exported
        from postscan.directory.process_import import carry_out, checked, compare

        processes = read_exported(paths)
        written: list[PlannedProcess] = []
        async with opened(config, folder) as directory:
            plan = checked(await compare(directory, processes, self._renaming), self._existing)
            _refuse_wrong_instructions(plan, config)
            for name in self._renaming.unused(processes):
                print_error(f"no scan process to import has the {name}", warning=True)
            _warn_of_kept_rules(plan)
            if not self._dry_run:
                try:
                    await carry_out(directory, plan, written.append)
                except (PostscanError, asyncio.CancelledError):
                    self._say_how_far(plan, written)
                    raise
        _tell_plan(self._output, plan, would=self._dry_run)
        if not plan:
            self._output.line("There are no scan processes to import.")
        self._output.result(
            {"dry_run": self._dry_run, "complete": True, "processes": [planned_json(p) for p in plan]}
        )

    def _say_how_far(self, plan: list[PlannedProcess], written: list[PlannedProcess]) -> None:
        _tell_plan(self._output, written, would=False)
        missing = plan[len(written) :]
        for planned in missing:
            self._output.line(f"not done: {_title(planned)}", style="red")
        self._output.line(f"{len(missing)} of {len(plan)} not done; the same command goes on from there.")
        self._output.result(
            {
                "dry_run": False,
                "complete": False,
                "processes": [planned_json(p) for p in written]
                + [planned_json(p) | {"status": "not done"} for p in missing],
            }
        )


def _refuse_wrong_instructions(plan: Iterable[PlannedProcess], config: Path | None) -> None:
    """Refuse instructions that break the schema of an installed filter. :raises EntryRefused: the first."""
    from postscan.cli.process_checks import InstalledSchemas
    from postscan.directory.model import EntryRefused

    schemas = InstalledSchemas(settings_of(config))
    for planned in plan:
        for wrong in schemas.problems(planned.draft.xml):
            raise EntryRefused(
                f"the XML of {planned.draft.display_name!r}, line {wrong.line}: {wrong.message}",
                advice=wrong.advice,
            )


def _tell_plan(output: Output, plan: Collection[PlannedProcess], *, would: bool) -> bool:
    """Tell of each scan process what happens (or would) to it; return whether anything does."""
    from postscan.directory.process_import import Step

    for planned in plan:
        if planned.step is Step.SAME:
            continue
        status = STATUS[planned.step]
        output.line(f"{'would be ' if would else ''}{status}: {_title(planned)}", style="bold")
        for line in difference_lines(planned.difference):
            output.line(f"  {line}")
    same = sum(1 for planned in plan if planned.step is Step.SAME)
    if same:
        output.line(f"the same already: {same} scan process{'es' if same > 1 else ''}")
    return same < len(plan)


def _warn_of_kept_rules(plan: Iterable[PlannedProcess]) -> None:
    seen = (planned.seen for planned in plan)
    _warn_of_rules(seen, "not compared, and stay", "look at the security of these objects in the directory")


def _title(planned: PlannedProcess) -> str:
    return f"{planned.draft.display_name} ({planned.draft.identifier})"


def _renaming(users: list[str] | None, groups: list[str] | None, servers: list[str] | None) -> Renaming:
    from postscan.directory.process_import import Renaming

    return Renaming(
        users=_pairs("--map-user", users),
        groups=_pairs("--map-group", groups),
        servers=_pairs("--map-server", servers),
    )


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given or ():
        old, equals, new = (part.strip() for part in text.partition("="))
        if not old or not equals or (option == "--map-server" and not new):
            raise typer.BadParameter(f"{option} {text!r}: write OLD=NEW")
        if old.casefold() in (known.casefold() for known in pairs):
            raise typer.BadParameter(f"{option} names {old!r} twice")
        pairs[old] = new
    return pairs


def _warn_of_rules(processes: Iterable[StoredProcess | None], what: str, advice: str) -> None:
    """Say of which scan processes the names of users and groups do not tell who may use them."""
    ruled = [p.display_name for p in processes if p and p.access is not None and not p.access.only_grants]
    if ruled:
        told = ", ".join(ruled)
        print_error(
            f"rights that no list of users and groups can tell are {what}: {told}", advice, warning=True
        )
