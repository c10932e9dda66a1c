"""Scan processes of the embedded directory: ``processes/<stem>.xml``, each beside ``<stem>.toml``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from postscan.contracts.psp import read_process
from postscan.core.errors import PostscanError
from postscan.directory.embedded_entries import (
    FileProblems,
    Problem,
    ProcessFile,
    line_of,
    read_file,
    read_toml,
)
from postscan.directory.embedded_people import People
from postscan.directory.model import StoredProcess
from postscan.soap.xml import PROCESS_LIMITS

_LINE = re.compile(r"\bline (\d+)")
_SUFFIXES: Final = (".xml", ".toml")

Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One pair of files as last read; ``process`` is None when it cannot be used.

    ``identifier`` is known as soon as the TOML can be read.
    """

    signature: tuple[Signature | None, Signature | None]
    process: StoredProcess | None
    problems: tuple[Problem, ...]
    text: str = ""
    identifier: UUID | None = None


def signature_of(path: Path) -> Signature | None:
    """Return what changes when a file is written: time, size, inode; None when it is not there.

    :raises OSError: it cannot be asked for.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def version_of(toml: str, xml: bytes) -> str:
    """Return what differs after every change of a process: a hash of both its files."""
    return hashlib.sha256(len(xml).to_bytes(8, "big") + xml + toml.encode()).hexdigest()


class ProcessFolder:
    """The folder of scan processes; reads again only what changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, _Loaded] = {}

    def refresh(self) -> None:
        """Read what is new or changed, forget what is gone; a file that is wrong does not stop the others.

        :raises FileProblems: the folder itself cannot be read.
        """
        try:
            stems = {path.stem for path in self._folder.iterdir() if path.suffix in _SUFFIXES}
            fresh = {stem: self._load(stem) for stem in sorted(stems) if not stem.startswith(".")}
        except OSError as error:
            raise FileProblems([Problem(self._folder, f"cannot be read: {error.strerror}")]) from error
        self._loaded = fresh

    def stem_of(self, identifier: UUID) -> str | None:
        """Return the name, without suffix, of the files that counted for this identifier when last read."""
        stems = [stem for stem, loaded in self._loaded.items() if loaded.identifier == identifier]
        usable = [stem for stem in stems if self._loaded[stem].process is not None]
        return next(iter(usable or stems), None)

    def contents(self, people: People | None) -> tuple[Mapping[UUID, StoredProcess], list[Problem]]:
        """Return the processes that can be used, and all that is wrong.

        Of two with one identifier the first by file name counts. With ``people``, names that are nobody's
        are noted.
        """
        processes: dict[UUID, StoredProcess] = {}
        first: dict[UUID, str] = {}
        problems: list[Problem] = []
        for stem, loaded in self._loaded.items():
            problems += loaded.problems
            process = loaded.process
            if process is None:
                continue
            toml = self._folder / f"{stem}.toml"
            if process.identifier in processes:
                problems.append(
                    Problem(
                        toml,
                        f"identifier: {first[process.identifier]}.toml has the same; this one is left out",
                        line_of(loaded.text, ("identifier",)),
                    )
                )
                continue
            processes[process.identifier] = process
            first[process.identifier] = stem
            if people is not None:
                problems += _unknown_names(toml, loaded.text, process, people)
        return processes, problems

    def _load(self, stem: str) -> _Loaded:
        xml, toml = self._folder / f"{stem}.xml", self._folder / f"{stem}.toml"
        # Before reading: what is written meanwhile then has another signature the next time.
        signature = signature_of(xml), signature_of(toml)
        known = self._loaded.get(stem)
        if known is not None and known.signature == signature:
            return known
        problems: list[Problem] = []
        for path, beside, there in ((xml, toml, signature[0]), (toml, xml, signature[1])):
            if there is None:
                problems.append(Problem(path, f"is missing; {beside.name} is nothing without it"))
        if problems:
            return _Loaded(signature, None, tuple(problems))
        try:
            entry, text = read_toml(toml, ProcessFile)
        except FileProblems as error:
            return _Loaded(signature, None, tuple(error.problems))
        try:
            data = read_file(xml, PROCESS_LIMITS.max_bytes)
            process = read_process(data)
        except FileProblems as error:
            return _Loaded(signature, None, tuple(error.problems), text, entry.identifier)
        except PostscanError as error:
            found = _LINE.search(str(error))
            problem = Problem(xml, f"is no scan process: {error}", int(found[1]) if found else None)
            return _Loaded(signature, None, (problem,), text, entry.identifier)
        stored = StoredProcess(
            identifier=entry.identifier,
            display_name=entry.display_name,
            xml=data,
            process=process,
            users=frozenset(entry.users),
            groups=frozenset(entry.groups),
            version=version_of(text, data),
        )
        return _Loaded(signature, stored, (), text, entry.identifier)


def _unknown_names(path: Path, text: str, process: StoredProcess, people: People) -> list[Problem]:
    unknown = [("users", name) for name in sorted(process.users) if not people.knows_user(name)]
    unknown += [("groups", name) for name in sorted(process.groups) if not people.knows_group(name)]
    return [
        Problem(path, f"{key}: {name!r} is in no entry of users.toml", line_of(text, (key,)))
        for key, name in unknown
    ]
