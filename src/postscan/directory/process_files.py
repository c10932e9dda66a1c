"""Reads exported scan processes: pairs of ``<stem>.xml`` and ``<stem>.toml``, as the embedded directory has.

An export may come from a stranger. Only regular files that lie in the folder itself are read, nothing that a
link leads to; sizes, names and XML are held to the limits every other reader has; a file's name says nothing.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from postscan.contracts.psp import read_process
from postscan.core.errors import PostscanError
from postscan.directory.embedded_entries import FileProblems, Problem, ProcessFile, read_file, read_toml
from postscan.directory.model import EntryRefused, StoredProcess
from postscan.soap.xml import PROCESS_LIMITS

MAX_PROCESSES: Final = 20_000
_MAX_TOML_BYTES: Final = 1 << 20
_MOST_TOLD: Final = 50
_SUFFIXES: Final = (".xml", ".toml")


class ImportRefused(EntryRefused):
    """Files cannot be taken into a directory; nothing was written."""

    advice = "Correct every file that the message names, then import again."


def some_of(texts: Sequence[str], between: str) -> str:
    """Join what a person is to read; of very many only the first, and how many more there are."""
    more = len(texts) - _MOST_TOLD
    return between.join([*texts[:_MOST_TOLD], *([f"and {more} more"] if more > 0 else [])])


def read_exported(paths: Iterable[Path]) -> list[StoredProcess]:
    """Read scan processes from folders of pairs, or from pairs of which one file is named; by display name.

    A folder that holds ``users.toml`` and ``processes/`` stands for the latter.

    :raises ImportRefused: a file is wrong, or two have one identifier; names all that is wrong.
    """
    problems: list[Problem] = []
    found: dict[UUID, tuple[Path, StoredProcess]] = {}
    for path in _pairs(paths):
        try:
            process = _read_pair(path)
        except FileProblems as error:
            problems += error.problems
            continue
        if (other := found.get(process.identifier)) is not None:
            problems.append(Problem(path.with_suffix(".toml"), f"identifier: {other[0]}.toml has the same"))
            continue
        found[process.identifier] = path, process
    if problems:
        raise ImportRefused(some_of([str(problem) for problem in problems], "\n"))
    return sorted(
        (process for _, process in found.values()), key=lambda p: (p.display_name.casefold(), p.identifier)
    )


def _pairs(paths: Iterable[Path]) -> list[Path]:
    """Return the pairs by their path without suffix, each once."""
    pairs: dict[Path, None] = {}
    try:
        for path in paths:
            if path.is_dir():
                inner = path / "processes"
                folder = inner if (path / "users.toml").is_file() and inner.is_dir() else path
                names = sorted(entry for entry in folder.iterdir() if entry.suffix in _SUFFIXES)
                pairs.update((entry.with_suffix(""), None) for entry in names if entry.name[0] != ".")
            elif path.suffix in _SUFFIXES:
                pairs[path.with_suffix("")] = None
            else:
                raise ImportRefused(f"{path} is no folder, and no .xml or .toml file")
            if len(pairs) > MAX_PROCESSES:
                raise ImportRefused(f"more than {MAX_PROCESSES} scan processes at once")
    except OSError as error:
        raise ImportRefused(f"{error.filename} cannot be read: {error.strerror}") from error
    return list(pairs)


def _read_pair(path: Path) -> StoredProcess:
    xml, toml = path.with_name(f"{path.name}.xml"), path.with_name(f"{path.name}.toml")
    problems = [*_not_plain(xml, PROCESS_LIMITS.max_bytes), *_not_plain(toml, _MAX_TOML_BYTES)]
    if problems:
        raise FileProblems(problems)
    entry, _ = read_toml(toml, ProcessFile)
    data = read_file(xml, PROCESS_LIMITS.max_bytes)
    try:
        process = read_process(data)
    except PostscanError as error:
        raise FileProblems([Problem(xml, f"is no scan process: {error}")]) from error
    return StoredProcess(
        identifier=entry.identifier,
        display_name=entry.display_name,
        xml=data,
        process=process,
        users=frozenset(entry.users),
        groups=frozenset(entry.groups),
    )


def _not_plain(path: Path, max_bytes: int) -> list[Problem]:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return [Problem(path, "is missing; a scan process is a pair of .xml and .toml")]
    except OSError as error:
        return [Problem(path, f"cannot be read: {error.strerror}")]
    if not stat.S_ISREG(status.st_mode):
        return [Problem(path, "is no regular file (links are not followed)")]
    return [Problem(path, f"is larger than {max_bytes} octets")] if status.st_size > max_bytes else []
