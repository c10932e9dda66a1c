"""Takes scan processes into a directory: everything is checked first, then they are written one by one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Protocol

from postscan.contracts.psp_editing import with_scan_repository
from postscan.directory.model import (
    Directory,
    KnownNames,
    ProcessDraft,
    ProcessEditor,
    StoredProcess,
)
from postscan.directory.process_difference import ProcessDifference, difference
from postscan.directory.process_files import ImportRefused, some_of

_ADVICE: Final = (
    "Map names with --map-user or --map-group OLD=NEW (no NEW: leave it out); for what differs, say --replace"
    " or --skip-existing; `postscan processes diff` shows everything."
)


class EditableDirectory(Directory, ProcessEditor, Protocol):
    """A directory whose scan processes can be read and written."""


class Existing(StrEnum):
    """What becomes of a scan process that is in the directory already, but differs."""

    REFUSE = "refuse"
    REPLACE = "replace"
    SKIP = "skip"


class Step(StrEnum):
    """What an import does with one scan process."""

    ADD = "add"
    CHANGE = "change"
    SAME = "same"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Renaming:
    """What names of the old place are in the new one; old names in any case.

    A user or group renamed to nothing loses the right. ``servers`` names scan servers (ScanRepository).
    """

    users: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    servers: Mapping[str, str] = field(default_factory=dict)

    def draft(self, process: StoredProcess) -> ProcessDraft:
        """Return what is to be written for ``process``.

        :raises PostscanError: a new server's name cannot stand in a scan process.
        """
        server = _folded(self.servers).get(process.process.scan_repository.strip().casefold())
        return ProcessDraft(
            identifier=process.identifier,
            display_name=process.display_name,
            xml=process.xml if server is None else with_scan_repository(process.xml, server),
            users=_renamed(process.users, self.users),
            groups=_renamed(process.groups, self.groups),
        )

    def unused(self, processes: Collection[StoredProcess]) -> list[str]:
        """Return the old names that none of the processes has: probably mistyped."""
        used = {
            "user": {name.casefold() for process in processes for name in process.users},
            "group": {name.casefold() for process in processes for name in process.groups},
            "server": {process.process.scan_repository.strip().casefold() for process in processes},
        }
        given = {"user": self.users, "group": self.groups, "server": self.servers}
        return [
            f"{kind} {name!r}" for kind in used for name in given[kind] if name.casefold() not in used[kind]
        ]


@dataclass(frozen=True, slots=True)
class PlannedProcess:
    """One scan process of an import: what is to be done, and how it differs from ``seen``, what is there."""

    step: Step
    draft: ProcessDraft
    seen: StoredProcess | None = None
    difference: ProcessDifference = field(default_factory=ProcessDifference)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scan processes to take in, beside the directory: each of them, and those only the directory has.

    ``names`` are those of all their users and groups that the directory knows.
    """

    processes: tuple[PlannedProcess, ...]
    only_there: tuple[StoredProcess, ...]
    names: KnownNames

    def unknown(self, steps: Collection[Step]) -> KnownNames:
        """Return the names the directory does not know, each with a process to be written that has it."""
        users: dict[str, str] = {}
        groups: dict[str, str] = {}
        for planned in self.processes:
            if planned.step in steps:
                draft = planned.draft
                users.update(dict.fromkeys(draft.users - self.names.users.keys(), draft.display_name))
                groups.update(dict.fromkeys(draft.groups - self.names.groups.keys(), draft.display_name))
        return KnownNames(users, groups)


async def compare(
    directory: EditableDirectory, processes: Sequence[StoredProcess], renaming: Renaming
) -> Comparison:
    """Return what taking ``processes`` in would do; those that differ are to be changed."""
    drafts = [renaming.draft(process) for process in processes]
    there = {process.identifier: process for process in await directory.processes()}
    pairs = [(draft, there.pop(draft.identifier, None)) for draft in drafts]
    names = await _known_names(directory, pairs)
    planned = []
    for draft, seen in pairs:
        if seen is None:
            planned.append(PlannedProcess(Step.ADD, draft))
            continue
        found = difference(seen, draft, names)
        planned.append(PlannedProcess(Step.CHANGE if found else Step.SAME, draft, seen, found))
    return Comparison(
        tuple(planned),
        tuple(
            sorted(there.values(), key=lambda process: (process.display_name.casefold(), process.identifier))
        ),
        names,
    )


def checked(comparison: Comparison, existing: Existing) -> list[PlannedProcess]:
    """Return what an import is to do, in order.

    :raises ImportRefused: users or groups are unknown, or (with REFUSE) there are processes that differ;
        names all of them.
    """
    complaints = []
    written = {Step.ADD} if existing is Existing.SKIP else {Step.ADD, Step.CHANGE}
    unknown = comparison.unknown(written)
    for kind, names in (("users", unknown.users), ("groups", unknown.groups)):
        if names:
            told = [f"{name} (of {process})" for name, process in sorted(names.items())]
            complaints.append(f"{kind} that the directory does not know: {some_of(told, ', ')}")
    differing = [p.draft.display_name for p in comparison.processes if p.step is Step.CHANGE]
    if differing and existing is Existing.REFUSE:
        complaints.append(f"in the directory already, but different: {some_of(differing, ', ')}")
    if complaints:
        raise ImportRefused("\n".join(complaints), advice=_ADVICE)
    if existing is not Existing.SKIP:
        return list(comparison.processes)
    return [
        replace(planned, step=Step.SKIP) if planned.step is Step.CHANGE else planned
        for planned in comparison.processes
    ]


async def carry_out(
    directory: ProcessEditor,
    plan: Iterable[PlannedProcess],
    done: Callable[[PlannedProcess], None] = lambda _planned: None,
) -> None:
    """Write what a plan says, and call ``done`` after each; stops at the first that fails.

    Planned anew, the same import goes on where this one stopped: what is written is the same by then.
    """
    for planned in plan:
        if planned.step is Step.ADD:
            await directory.create_process(planned.draft)
        elif planned.step is Step.CHANGE and planned.seen is not None:
            await directory.change_process(planned.seen, planned.draft)
        done(planned)


async def _known_names(
    directory: ProcessEditor, pairs: Iterable[tuple[ProcessDraft, StoredProcess | None]]
) -> KnownNames:
    """Ask once for all names; those that stand in the directory already are wanted in its own spelling."""
    users: set[str] = set()
    groups: set[str] = set()
    for draft, seen in pairs:
        for side in (draft, seen):
            if side is not None:
                users |= side.users
                groups |= side.groups
    return await directory.known_names(users, groups)


def _folded(names: Mapping[str, str]) -> dict[str, str]:
    return {old.casefold(): new for old, new in names.items()}


def _renamed(names: Collection[str], renaming: Mapping[str, str]) -> frozenset[str]:
    new = _folded(renaming)
    return frozenset(name for name in (new.get(old.casefold(), old) for old in names) if name)
