"""The directory that the `postscan processes` commands work on, and finding a scan process in it."""

from __future__ import annotations

import difflib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postscan.cli.exit_codes import ExitCode
from postscan.cli.options import DEFAULT_CONFIG
from postscan.cli.output import quiet_logs
from postscan.core.errors import ConfigurationError, PostscanError

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings
    from postscan.directory.model import Directory, StoredProcess, User
    from postscan.directory.process_import import EditableDirectory

DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--directory", metavar="DIR", help="An embedded directory's folder, when there is no settings file."
    ),
]


class NoSuchEntry(PostscanError):
    """The directory has no such user or scan process, or several of that name."""

    advice = "`postscan processes list` shows what there is."
    exit_code = ExitCode.REFUSED


def settings_of(config: Path | None) -> LoadedSettings | None:
    """Read the settings named, or ./server.toml if it is there."""
    if config is None and not DEFAULT_CONFIG.exists():
        return None
    from postscan.cli.settings import load_settings

    return load_settings(config or DEFAULT_CONFIG, os.environ)


@asynccontextmanager
async def opened(config: Path | None, folder: Path | None) -> AsyncIterator[EditableDirectory]:
    """Open the directory that the options name, and close it behind the block.

    :param config: the settings file, ./server.toml where None.
    :param folder: an embedded directory's folder; then there need be no settings.
    :raises ConfigurationError: neither names a directory.
    """
    quiet_logs()
    directory = _directory(config, folder)
    try:
        yield directory
    finally:
        await directory.close()


def _directory(config: Path | None, folder: Path | None) -> EditableDirectory:
    if folder is not None:
        from postscan.directory.embedded import EmbeddedDirectory

        if not folder.is_dir():
            raise ConfigurationError(f"there is no folder {folder}", advice="name the directory's folder")
        return EmbeddedDirectory(folder)
    loaded = settings_of(config)
    if loaded is None:
        raise ConfigurationError(
            "no directory is named, and there is no server.toml here",
            advice="name the settings with --config FILE, or the directory's folder with --directory DIR",
        )
    from postscan.cli.directories import directory_of

    return directory_of(loaded)


async def find_user(directory: Directory, name: str) -> User:
    """Return the user of this name, UPN or SID; raises NoSuchEntry."""
    from postscan.directory.model import is_sid

    user = await (directory.user_by_sid(name) if is_sid(name) else directory.user_by_name(name))
    if user is None:
        raise NoSuchEntry(f"there is no user {name}", advice="give the logon name, as it is in the directory")
    return user


def find(stored: Sequence[StoredProcess], wanted: str) -> StoredProcess:
    """Return the scan process with this display name or identifier; raises NoSuchEntry."""
    from postscan.cli.process_text import matching

    found = matching(stored, wanted)
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
