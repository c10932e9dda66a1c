"""Writes scan processes of any directory as files: as pairs, which an embedded directory can be made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from pydantic import ValidationError

from postscan.directory import embedded_writing
from postscan.directory.embedded_entries import FileProblems, ProcessFile
from postscan.directory.embedded_processes import ProcessFolder
from postscan.directory.model import EntryRefused, KnownNames, ProcessDraft, StoredProcess
from postscan.directory.process_difference import difference
from postscan.directory.process_files import some_of


class ExportRefused(EntryRefused):
    """Scan processes cannot be written as files; nothing was written."""

    advice = "Correct what the message names, or name the scan processes to export."


class Written(StrEnum):
    """What became of one pair of files."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "same"


def write_exported(
    folder: Path, processes: Sequence[StoredProcess], *, replace: bool = False
) -> list[tuple[StoredProcess, Path, Written]]:
    """Write each as ``<stem>.xml`` and ``<stem>.toml`` into ``folder``, made where it is not there.

    Pairs that the folder has of other scan processes stay. Returns the path of each XML.

    :param replace: change pairs of the same identifiers that differ; comments in their TOML stay.
    :raises ExportRefused: a name cannot be written, or (without ``replace``) a pair differs; names all.
    """
    there = ProcessFolder(folder)
    known: Mapping[UUID, StoredProcess] = {}
    if folder.exists():
        try:
            there.refresh()
        except FileProblems as error:
            raise ExportRefused(str(error)) from error
        known = there.contents(None)[0]
    complaints = [complaint for process in processes if (complaint := _unwritable(process))]
    plan: list[tuple[StoredProcess, StoredProcess | None, bool]] = []
    for process in processes:
        seen = known.get(process.identifier)
        if seen is None and (stem := there.stem_of(process.identifier)) is not None:
            complaints.append(f"{_called(process)}: {folder / stem}.xml is there, but cannot be read")
        differs = seen is not None and bool(difference(seen, _draft(process), KnownNames({}, {})))
        if seen is not None and differs and not replace:
            complaints.append(
                f"{_called(process)}: {folder / (there.stem_of(seen.identifier) or '')}.xml is there,"
                " but differs"
            )
        plan.append((process, seen, differs))
    if complaints:
        raise ExportRefused(some_of(complaints, "\n"))
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder, there, *planned) for planned in plan]


def _write(
    folder: Path, there: ProcessFolder, process: StoredProcess, seen: StoredProcess | None, differs: bool
) -> tuple[StoredProcess, Path, Written]:
    if seen is None:
        stem = embedded_writing.free_stem(folder, process.display_name, process.identifier)
        return process, embedded_writing.write_process(folder, stem, process), Written.NEW
    stem = there.stem_of(seen.identifier) or ""
    if differs:
        embedded_writing.change_process(folder, stem, seen, _draft(process))
    return process, folder / f"{stem}.xml", Written.CHANGED if differs else Written.SAME


def _draft(process: StoredProcess) -> ProcessDraft:
    return ProcessDraft(process.identifier, process.display_name, process.xml, process.users, process.groups)


def _unwritable(process: StoredProcess) -> str:
    """Tell what of a process the files cannot hold, such as a display name with control characters."""
    try:
        ProcessFile.model_validate(
            {
                "identifier": str(process.identifier),
                "display_name": process.display_name,
                "users": sorted(process.users),
                "groups": sorted(process.groups),
            }
        )
    except ValidationError as error:
        told = [
            f"{details['loc'][0]} {details['msg'].removeprefix('Value error, ')}"
            for details in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        return f"{_called(process)}: {'; '.join(told)}"
    return ""


def _called(process: StoredProcess) -> str:
    """Return its name on one line: others chose it, and each complaint is a line of its own."""
    return " ".join(process.display_name.split()) or str(process.identifier)
