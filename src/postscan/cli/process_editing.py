"""`postscan processes grant`, `revoke` and `remove`: who may use a scan process, and its end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postscan.cli.options import JsonOption, OptionalConfigOption
from postscan.cli.output import Output, printable
from postscan.cli.process_source import DirectoryOption, NoSuchEntry, find, opened
from postscan.cli.process_text import describe, may_use

if TYPE_CHECKING:
    from postscan.directory.model import KnownNames, StoredProcess

ProcessArgument = Annotated[str, typer.Argument(metavar="NAME|GUID", help="Its display name or identifier.")]
GroupOption = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="NAME", help="A group's name or SID, or Everyone; may be repeated."),
]
UserOption = Annotated[
    list[str] | None,
    typer.Option("--user", metavar="NAME", help="A user's name, UPN or SID; may be repeated."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `postscan processes`."""
    app.command()(grant)
    app.command()(revoke)
    app.command()(remove)


def grant(
    process: ProcessArgument,
    group: GroupOption = None,
    user: UserOption = None,
    config: OptionalConfigOption = None,
    directory: DirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Let users and groups use a scan process.

    Exit status: 0, also when they may already; 4 when there is no such process, user or group.
    """
    _change(_Grants(_names(user, group), add=True), process, config, directory, Output(json))


def revoke(
    process: ProcessArgument,
    group: GroupOption = None,
    user: UserOption = None,
    config: OptionalConfigOption = None,
    directory: DirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Take the right to use a scan process from users and groups.

    A user may still be in a group that has the right.

    Exit status: 0; 4 when there is no such process, or one of them does not have the right.
    """
    _change(_Grants(_names(user, group), add=False), process, config, directory, Output(json))


def remove(
    processes: Annotated[
        list[str], typer.Argument(metavar="NAME|GUID", help="Their display names or identifiers.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: OptionalConfigOption = None,
    directory: DirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Delete scan processes; `export` keeps them first.

    Exit status: 0; 4 when there is no such process, or it was changed meanwhile.
    """
    output = Output(json)
    removed = asyncio.run(_remove(processes, yes, config, directory))
    for process in removed:
        output.line(f"removed: {process.display_name} ({process.identifier})")
    output.result([describe(process) for process in removed])


@dataclass(frozen=True, slots=True)
class _Names:
    """Users and groups as they were given."""

    users: frozenset[str]
    groups: frozenset[str]


def _names(users: list[str] | None, groups: list[str] | None) -> _Names:
    if not users and not groups:
        raise typer.BadParameter("name who: --group NAME or --user NAME")
    return _Names(frozenset(users or ()), frozenset(groups or ()))


@dataclass(frozen=True, slots=True)
class _Grants:
    """A change of who may use a scan process."""

    names: _Names
    add: bool

    def apply(self, process: StoredProcess, known: KnownNames) -> _Names:
        """Return who may use it then; raises NoSuchEntry, which names all that is wrong."""
        users = self._apply(process.users, self.names.users, known.users, "user")
        groups = self._apply(process.groups, self.names.groups, known.groups, "group")
        complaints = [text for text in (users, groups) if isinstance(text, str)]
        if complaints or isinstance(users, str) or isinstance(groups, str):
            advice = (
                "`postscan directory user NAME` shows how the directory calls a user and their groups"
                if self.add
                else f"those who may use it: {may_use(process)}"
            )
            raise NoSuchEntry("; ".join(complaints), advice=advice)
        return _Names(users, groups)

    def _apply(
        self, before: Collection[str], given: Collection[str], known: Mapping[str, str], kind: str
    ) -> frozenset[str] | str:
        from postscan.directory.process_difference import same_name

        there = {same_name(name, known): name for name in before}
        wanted = {same_name(name, known): name for name in given}
        if self.add:
            unknown = sorted(name for name in given if name not in known)
            if unknown:
                return f"the directory knows no {kind} {', '.join(unknown)}"
            return frozenset(before) | {known[name] for key, name in wanted.items() if key not in there}
        absent = sorted(name for key, name in wanted.items() if key not in there)
        if absent:
            return f"it is not granted to {kind} {', '.join(absent)}"
        return frozenset(name for key, name in there.items() if key not in wanted)


def _change(grants: _Grants, wanted: str, config: Path | None, folder: Path | None, output: Output) -> None:
    before, after = asyncio.run(_changed(grants, wanted, config, folder))
    if after is before:
        output.line(f"{before.display_name}: nothing to change; it may be used by {may_use(before)}")
    else:
        output.line(f"{after.display_name}: may be used by {may_use(after)} (before: {may_use(before)})")
    output.result(describe(after))


async def _changed(
    grants: _Grants, wanted: str, config: Path | None, folder: Path | None
) -> tuple[StoredProcess, StoredProcess]:
    from postscan.directory.model import ProcessDraft

    async with opened(config, folder) as directory:
        seen = find(await directory.processes(), wanted)
        names = grants.names
        known = await directory.known_names(names.users | seen.users, names.groups | seen.groups)
        then = grants.apply(seen, known)
        if (then.users, then.groups) == (seen.users, seen.groups):
            return seen, seen
        draft = ProcessDraft(seen.identifier, seen.display_name, seen.xml, then.users, then.groups)
        return seen, await directory.change_process(seen, draft)


async def _remove(
    wanted: list[str], yes: bool, config: Path | None, folder: Path | None
) -> list[StoredProcess]:
    async with opened(config, folder) as directory:
        stored = await directory.processes()
        chosen = list({p.identifier: p for p in (find(stored, name) for name in wanted)}.values())
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("say --yes to delete without being asked")
            names = ", ".join(printable(process.display_name) for process in chosen)
            typer.confirm(f"Delete {names}?", abort=True, err=True)
        for process in chosen:
            await directory.delete_process(process)
    return chosen
